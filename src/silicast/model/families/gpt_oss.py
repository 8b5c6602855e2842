"""gpt-oss (arXiv:2508.10925): alternating windows, attention sinks, experts with biases, MXFP4 experts."""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, heads_of, layer_count

MODEL_TYPES = ("gpt_oss",)


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, every second one within a window, and experts."""
    layers = layer_count(fields)
    kinds = fields.kinds("layer_types", layers, ("sliding_attention", "full_attention"))
    kinds = kinds or [("sliding_attention", "full_attention")[layer % 2] for layer in range(layers)]
    blocks: list[Block] = []
    for kind in kinds:
        blocks += [attention(fields, kind == "sliding_attention"), experts(fields)]
    return decoder(identity, fields, counted(blocks))


def attention(fields: Fields, windowed: bool) -> SelfAttention:
    """The attention of one layer: biases, and one learned sink per head."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias", default=True)
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=fields.size("sliding_window") if windowed else None,
        qkv_bias=bias,
        o_bias=bias,
        sinks=True,
        norm_parameters=hidden,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer; router and experts have biases."""
    hidden, routed = fields.size("hidden_size"), fields.size("num_local_experts")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("intermediate_size"),
        routed=routed,
        topk=fields.size("num_experts_per_tok", "experts_per_token"),
        expert_bias=True,
        router_parameters=routed,
        norm_parameters=hidden,
    )
