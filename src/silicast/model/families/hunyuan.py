"""Hunyuan-A13B: attention with normed Q and K, experts and shared experts in every layer, tied embeddings.

The config gives expert sizes per layer, or once for all.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, FeedForward, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, gated_network, heads_of, layer_count

MODEL_TYPES = ("hunyuan", "hunyuan_v1_moe")


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, and experts after the first dense ones. With cross-layer attention some reuse K and V."""
    layers = layer_count(fields)
    dense = fields.size("moe_layer_num_skipped", default=0, zero=True)
    share = fields.size("cla_share_factor", default=1) if fields.flag("use_cla") else 1
    blocks: list[Block] = []
    for layer in range(layers):
        network = gated_network(fields) if layer < dense else experts(fields, layers, layer)
        blocks += [attention(fields, reuses=layer % share != 0), network]
    return decoder(identity, fields, counted(blocks))


def attention(fields: Fields, reuses: bool) -> SelfAttention:
    """The attention of one layer."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias")
    normed = (1 if reuses else 2) * head_dim
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        qkv_bias=bias,
        o_bias=bias,
        qk_norm=normed if fields.flag("use_qk_norm", default=True) else 0,
        reuses_kv=reuses,
        norm_parameters=hidden,
    )


def experts(fields: Fields, layers: int, layer: int) -> MixtureOfExperts | FeedForward:
    """The experts of one layer; shared experts have the width of the dense network."""
    hidden = fields.size("hidden_size")
    widths = fields.sizes("moe_intermediate_size", layers) or fields.sizes("intermediate_size", layers)
    topk = fields.sizes("moe_topk", layers) or [1] * layers
    shared = fields.sizes("num_shared_expert", layers, zero=True) or [0] * layers
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=(widths or [1])[layer],
        routed=fields.size("num_experts"),
        topk=topk[layer],
        shared_intermediate=shared[layer] * fields.size("intermediate_size"),
        norm_parameters=hidden,
    )
