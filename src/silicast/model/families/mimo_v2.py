"""MiMo-V2-Flash (arXiv:2601.02780) and Step-3.7: sliding windows with heads of their own between full layers, experts.

MiMo-V2's values are narrower than its keys; windowed layers have attention sinks. Step gates the output of each head.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import (
    decoder,
    dense_first,
    draft_layer,
    gated_network,
    grouped,
    heads_of,
    layer_count,
)

MODEL_TYPES = ("mimo_v2_flash", "step3p7")

STEP_SLIDING_HEADS = "heads of the sliding layers are not in the file: taken to be those of the full layers"


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, full or within a window, then a dense network or experts."""
    return step(identity, fields) if fields.text("model_type") == "step3p7" else mimo(identity, fields)


def mimo(identity: str, fields: Fields) -> Model:
    """MiMo-V2: which layers are windowed, and which have experts, is listed."""
    layers = layer_count(fields)
    windowed = fields.sizes("hybrid_layer_pattern", layers, zero=True) or [0] * layers
    sparse = fields.sizes("moe_layer_freq", layers, zero=True) or [1] * layers
    blocks: list[Block] = []
    for layer in range(layers):
        network = mimo_experts(fields) if sparse[layer] else gated_network(fields)
        blocks += [mimo_attention(fields, bool(windowed[layer])), network]
    return decoder(identity, fields, counted(blocks))


def mimo_attention(fields: Fields, windowed: bool) -> SelfAttention:
    """Windowed layers have keys named swa_..., more KV heads, and sinks."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    value_dim = fields.size("v_head_dim", default=head_dim)
    if windowed:
        heads = fields.size("swa_num_attention_heads", default=heads)
        kv_heads = fields.size("swa_num_key_value_heads", default=kv_heads)
        head_dim = fields.size("swa_head_dim", default=head_dim)
        value_dim = fields.size("swa_v_head_dim", default=value_dim)
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=grouped(fields, heads, kv_heads),
        head_dim=head_dim,
        v_head_dim=value_dim,
        window=fields.size("sliding_window") if windowed else None,
        qkv_bias=fields.flag("attention_bias"),
        sinks=fields.flag("add_swa_attention_sink_bias" if windowed else "add_full_attention_sink_bias"),
        norm_parameters=hidden,
    )


def mimo_experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("n_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width * fields.size("n_shared_experts", default=0, zero=True),
        norm_parameters=hidden,
    )


def step(identity: str, fields: Fields) -> Model:
    """Step-3.7: full attention in every fourth layer, the first networks dense."""
    text = fields.flat("text_config")
    layers = layer_count(text)
    kinds = text.kinds("layer_types", layers, ("full_attention", "sliding_attention")) or ["full_attention"] * layers
    dense = dense_first(text, layers)
    blocks: list[Block] = []
    for layer, kind in enumerate(kinds):
        network = gated_network(text) if layer < dense else step_experts(text)
        blocks += [step_attention(text, kind == "sliding_attention"), network]
    draft = draft_layer(
        text, "num_nextn_predict_layers", (step_attention(text, windowed=True), 1), (gated_network(text), 1)
    )
    known = text.has("num_sliding_attention_heads")
    return decoder(identity, text, counted(blocks), omissions=() if known else (STEP_SLIDING_HEADS,), **draft)


def step_attention(fields: Fields, windowed: bool) -> SelfAttention:
    """Q and K are normed per head, the output of each head is gated."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    if windowed:
        heads = fields.size("num_sliding_attention_heads", default=heads)
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=grouped(fields, heads, kv_heads),
        head_dim=head_dim,
        window=fields.size("sliding_window") if windowed else None,
        gate=heads,
        qk_norm=2 * head_dim,
        norm_parameters=hidden,
    )


def step_experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer and one shared expert."""
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=fields.size("num_experts", "n_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=fields.size("share_expert_dim"),
        norm_parameters=hidden,
    )
