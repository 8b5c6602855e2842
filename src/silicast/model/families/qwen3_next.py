"""Qwen3-Next and Qwen3.5: three of four layers are gated delta nets (arXiv:2412.06464), the fourth is gated attention.

Qwen3.5 is multimodal: its decoder lies in `text_config`.
"""

from typing import Any

from silicast.model.architecture import Model, counted
from silicast.model.blocks import (
    Block,
    FeedForward,
    Linear,
    LinearAttention,
    MixtureOfExperts,
    SelfAttention,
    delta_rule_flops,
)
from silicast.model.config import Fields
from silicast.model.families.qwen3_moe import is_sparse
from silicast.model.families.transformer import decoder, draft_layer, gated_network, heads_of, layer_count
from silicast.model.families.vision import qwen_vision

MODEL_TYPES = ("qwen3_next", "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text")

KINDS = ("linear_attention", "full_attention")


def build(identity: str, fields: Fields) -> Model:
    """Layers: a gated delta net or attention, then a gated network or experts with one gated shared expert."""
    text = fields.flat("text_config")
    layers = layer_count(text)
    blocks: list[Block] = []
    for layer, kind in enumerate(layer_kinds(text, layers)):
        mixer = attention(text) if kind == "full_attention" else delta_net(text)
        blocks += [mixer, network(text, layer)]
    return decoder(identity, text, counted(blocks), **draft(text), **qwen_vision(fields))


def layer_kinds(fields: Fields, layers: int) -> list[str]:
    """The kind of each layer: as listed, else full attention in every full_attention_interval-th."""
    interval = fields.size("full_attention_interval", default=4)
    listed = fields.kinds("layer_types", layers, KINDS)
    return listed or [KINDS[(layer + 1) % interval == 0] for layer in range(layers)]


def attention(fields: Fields) -> SelfAttention:
    """Attention whose output is gated per value; Q and K are normed per head."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        gate=heads * head_dim,
        qkv_bias=bias,
        o_bias=bias,
        qk_norm=2 * head_dim,
        norm_parameters=hidden,
    )


def delta_net(fields: Fields) -> LinearAttention:
    """Gated delta net: a state of key x value per value head, decay and step size per head, an output gate."""
    hidden = fields.size("hidden_size")
    key_heads, key_dim = fields.size("linear_num_key_heads"), fields.size("linear_key_head_dim")
    heads, value_dim = fields.size("linear_num_value_heads"), fields.size("linear_value_head_dim")
    keys, values = key_heads * key_dim, heads * value_dim
    return LinearAttention(
        hidden=hidden,
        heads=heads,
        key_dim=key_dim,
        value_dim=value_dim,
        projections=(
            Linear("qkv_gate", "attention", hidden, 2 * keys + 2 * values, "columns"),
            Linear("decay_and_step", "attention", hidden, 2 * heads, "columns"),
            Linear("o", "attention", values, hidden, "rows"),
        ),
        flops=delta_rule_flops(key_dim, value_dim),
        units=key_heads,
        conv_channels=2 * keys + values,
        conv_width=fields.size("linear_conv_kernel_dim"),
        # decay rate and its bias per head, the gated norm of one head
        extra_parameters=2 * heads + value_dim,
        norm_parameters=hidden,
    )


def network(fields: Fields, layer: int) -> FeedForward | MixtureOfExperts:
    """Experts with one gated shared expert, or a gated network where the config has no experts."""
    if not fields.has("num_experts") or not is_sparse(fields, layer):
        return gated_network(fields)
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=fields.size("num_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=fields.size("shared_expert_intermediate_size"),
        shared_gate=True,
        norm_parameters=hidden,
    )


def draft(fields: Fields) -> dict[str, Any]:
    """The draft layer has full attention."""
    last = layer_count(fields) - 1
    return draft_layer(fields, "mtp_num_hidden_layers", (attention(fields), 1), (network(fields, last), 1))
