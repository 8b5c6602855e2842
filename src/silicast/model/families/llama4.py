"""Llama 4: three of four layers attend within chunks of tokens; every or every second layer has experts.

The config nests the decoder in `text_config`. Expert layers add one shared expert of the width of a routed one.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, gated_network, heads_of, layer_count
from silicast.model.families.vision import NO_VISION_CONFIG

MODEL_TYPES = ("llama4", "llama4_text")


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, chunked but for every fourth one, then experts or a dense network."""
    text = fields.flat("text_config")
    layers = layer_count(text)
    step = text.size("interleave_moe_layer_step", default=1)
    rotary = text.sizes("no_rope_layers", layers, zero=True)
    interval = text.size("no_rope_layer_interval", default=4)
    blocks: list[Block] = []
    for layer in range(layers):
        chunked = bool(rotary[layer]) if rotary else (layer + 1) % interval != 0
        sparse = (layer + 1) % step == 0
        dense = text.size("intermediate_size_mlp", "intermediate_size")
        blocks += [attention(text, chunked), experts(text) if sparse else gated_network(text, dense)]
    omissions = (NO_VISION_CONFIG,) if fields.text("model_type") == "llama4" else ()
    return decoder(identity, text, counted(blocks), omissions=omissions)


def attention(fields: Fields, chunked: bool) -> SelfAttention:
    """The attention of one layer; layers without rotation see all tokens. The norm of Q and K has no parameters."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    chunk = fields.size("attention_chunk_size", default=None)
    bias = fields.flag("attention_bias")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=chunk if chunked else None,
        chunked=chunked and chunk is not None,
        qkv_bias=bias,
        o_bias=bias,
        norm_parameters=hidden,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden, width = fields.size("hidden_size"), fields.size("intermediate_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("num_local_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width,
        norm_parameters=hidden,
    )
