"""Qwen3 mixtures of experts (arXiv:2505.09388): Qwen3-30B-A3B to Qwen3-Coder-480B."""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, gated_network, heads_of, layer_count

MODEL_TYPES = ("qwen3_moe",)


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention with normed Q and K; experts, or a dense network in the layers named."""
    layers = layer_count(fields)
    blocks: list[Block] = []
    for layer in range(layers):
        blocks += [attention(fields), experts(fields) if is_sparse(fields, layer) else gated_network(fields)]
    return decoder(identity, fields, counted(blocks))


def attention(fields: Fields) -> SelfAttention:
    """The attention of one layer: Q and K are normed per head."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias")
    return SelfAttention(
        hidden, heads, kv_heads, head_dim, qkv_bias=bias, o_bias=bias, qk_norm=2 * head_dim, norm_parameters=hidden
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer, without shared ones."""
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=fields.size("num_experts"),
        topk=fields.size("num_experts_per_tok"),
        norm_parameters=hidden,
    )


def is_sparse(fields: Fields, layer: int) -> bool:
    """Whether a layer has experts: every decoder_sparse_step-th, unless it is named dense."""
    dense = fields.items("mlp_only_layers") or []
    return layer not in dense and (layer + 1) % fields.size("decoder_sparse_step", default=1) == 0
