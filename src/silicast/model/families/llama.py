"""Llama 2 and 3 (arXiv:2407.21783) and families with the same layers: Mistral, Qwen2, Qwen3, Yi, Phi-3, Baichuan 2,
InternLM, MiMo.

Some window a part of the layers, have biases on Q, K and V, or norm Q and K; MiMo has a draft layer.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, draft_layer, gated_network, heads_of, layer_count

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "baichuan", "internlm", "mimo")

#: Q, K and V have biases whatever the config says
BIASED = ("qwen2",)
#: Q and K are normed per head
NORMED = ("qwen3",)


def build(identity: str, fields: Fields) -> Model:
    """Layers: grouped-query attention and a gated feed-forward network."""
    layers = layer_count(fields)
    network = gated_network(fields)
    blocks: list[Block] = []
    for window in windows(fields, layers):
        blocks += [attention(fields, window), network]
    draft = draft_layer(fields, "num_nextn_predict_layers", (attention(fields), 1), (network, 1))
    return decoder(identity, fields, counted(blocks), **draft)


def attention(fields: Fields, window: int | None = None) -> SelfAttention:
    """The attention of one layer."""
    hidden, model_type = fields.size("hidden_size"), fields.text("model_type")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias", "bias")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=window,
        qkv_bias=bias or model_type in BIASED,
        o_bias=bias and model_type != "mimo",
        qk_norm=2 * head_dim if model_type in NORMED else 0,
        norm_parameters=hidden,
    )


def windows(fields: Fields, layers: int) -> list[int | None]:
    """The sliding window of each layer. Qwen windows only the layers from max_window_layers on, if at all."""
    window = fields.size("sliding_window", default=None)
    if window is None or not fields.flag("use_sliding_window", default=not fields.has("max_window_layers")):
        return [None] * layers
    first = fields.size("max_window_layers", default=0, zero=True)
    return [window if layer >= first else None for layer in range(layers)]
