"""Qwen 1 (arXiv:2309.16609), ChatGLM3 (arXiv:2406.12793): Llama-like layers under names of their own."""

from silicast.errors import ConfigError
from silicast.model.architecture import Model
from silicast.model.blocks import FeedForward, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, grouped, head_size, layer_count

MODEL_TYPES = ("qwen", "chatglm")


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention with biases on Q, K and V, and a gated network without."""
    return chatglm(identity, fields) if fields.text("model_type") == "chatglm" else qwen(identity, fields)


def qwen(identity: str, fields: Fields) -> Model:
    """Qwen 1: `intermediate_size` counts both halves of the gated network."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    both = fields.size("intermediate_size")
    if both % 2:
        raise ConfigError(f"{fields.where}: 'intermediate_size' counts two equal halves, got {both}.")
    attention = SelfAttention(hidden, heads, heads, head_size(fields, heads), qkv_bias=True, norm_parameters=hidden)
    network = FeedForward(hidden, both // 2, norm_parameters=hidden)
    layers = layer_count(fields)
    context = fields.size("max_position_embeddings", "seq_length")
    return decoder(identity, fields, ((attention, layers), (network, layers)), context=context)


def chatglm(identity: str, fields: Fields) -> Model:
    """ChatGLM2 and 3: multi-query attention of a few groups, a padded vocabulary."""
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    kv_heads = heads
    if fields.flag("multi_query_attention"):
        kv_heads = grouped(fields, heads, fields.size("multi_query_group_num"))
    bias = fields.flag("add_bias_linear")
    attention = SelfAttention(
        hidden, heads, kv_heads, head_size(fields, heads),
        qkv_bias=bias or fields.flag("add_qkv_bias"), o_bias=bias, norm_parameters=hidden,
    )  # fmt: skip
    network = FeedForward(hidden, fields.size("ffn_hidden_size"), bias=bias, norm_parameters=hidden)
    layers = layer_count(fields, "num_layers")
    named = Fields({**fields.values, "vocab_size": fields.size("padded_vocab_size", "vocab_size")}, fields.where)
    return decoder(
        identity, named, ((attention, layers), (network, layers)), context=fields.size("seq_length"),
        final_norm=hidden if fields.flag("post_layer_norm", default=True) else 0,
    )  # fmt: skip
