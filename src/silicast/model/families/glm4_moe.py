"""GLM-4.5 and 4.6 (arXiv:2508.06471), Hy3: grouped-query attention, dense networks first, experts with shared ones.

Hy3 norms Q and K; GLM norms them where the config says so, and has biases on Q, K and V alone.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import (
    decoder,
    dense_first,
    draft_layer,
    gated_network,
    heads_of,
    layer_count,
)

MODEL_TYPES = ("glm4_moe", "hy_v3")


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, then a dense network (the first ones) or experts."""
    blocks: list[Block] = []
    for sparse in sparse_layers(fields):
        blocks += [attention(fields), experts(fields) if sparse else gated_network(fields)]
    draft = draft_layer(fields, "num_nextn_predict_layers", (attention(fields), 1), (experts(fields), 1))
    return decoder(identity, fields, counted(blocks), **draft)


def sparse_layers(fields: Fields) -> list[bool]:
    """Which layers have experts: as listed, else those after the first dense ones."""
    layers = layer_count(fields)
    kinds = fields.kinds("mlp_layer_types", layers, ("dense", "sparse"))
    if kinds:
        return [kind == "sparse" for kind in kinds]
    dense = dense_first(fields, layers)
    return [layer >= dense for layer in range(layers)]


def attention(fields: Fields) -> SelfAttention:
    """The attention of one layer."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    normed = fields.flag("use_qk_norm", default=fields.text("model_type") == "hy_v3")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        qkv_bias=fields.flag("attention_bias"),
        qk_norm=2 * head_dim if normed else 0,
        norm_parameters=hidden,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("n_routed_experts", "num_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width * fields.size("n_shared_experts", "num_shared_experts", default=0, zero=True),
        norm_parameters=hidden,
    )
