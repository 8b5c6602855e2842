"""Llama-Nemotron (arXiv:2505.00949): Llama 3 whose layers a search changed one by one (arXiv:2411.19146).

A layer may lack attention, have other KV heads, or a narrower network; or a single matrix in place of either.
"""

from silicast.errors import ConfigError
from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, FeedForward, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, grouped, head_size, layer_count

MODEL_TYPES = ("nemotron-nas",)

#: widths of networks are rounded up to this many columns
ROUNDED = 256


def build(identity: str, fields: Fields) -> Model:
    """Layers as listed in block_configs."""
    layers = layer_count(fields)
    listed = fields.items("block_configs")
    if listed is None or len(listed) < layers:
        raise ConfigError(f"{fields.where}: 'block_configs' must list {layers} layers.")
    blocks: list[Block] = []
    for place, layer in enumerate(listed[:layers]):
        if not isinstance(layer, dict):
            raise ConfigError(f"{fields.where}: 'block_configs[{place}]' must be an object.")
        own = Fields(layer, f"{fields.where}: block_configs[{place}]")
        blocks += [found for found in (attention(fields, own), network(fields, own)) if found]
    return decoder(identity, fields, counted(blocks), depth=layers)


def attention(fields: Fields, layer: Fields) -> SelfAttention | None:
    """Attention of one layer, None where it has none."""
    own = part(layer, "attention")
    if own is None:
        return None
    hidden, heads = fields.size("hidden_size"), fields.size("num_attention_heads")
    per_group = own.size("n_heads_in_group")
    if heads % per_group:
        raise ConfigError(f"{own.where}: groups of {per_group} do not divide {heads} heads.")
    kv_heads = grouped(fields, heads, heads // per_group)
    window = own.size("window_length", default=None)
    return SelfAttention(hidden, heads, kv_heads, head_size(fields, heads), window=window, norm_parameters=hidden)


def network(fields: Fields, layer: Fields) -> FeedForward | None:
    """Network of one layer: 2/3 ffn_mult hidden columns, rounded up; None where it has none."""
    own = part(layer, "ffn")
    if own is None:
        return None
    hidden = fields.size("hidden_size")
    columns = int(2 * own.number("ffn_mult") * hidden / 3)
    return FeedForward(hidden, -(-columns // ROUNDED) * ROUNDED, norm_parameters=hidden)


def part(layer: Fields, key: str) -> Fields | None:
    """The settings of one part of a layer, None where it is left out. Raises ConfigError for a form not known."""
    own = layer.nested(key)
    if own is None:
        raise ConfigError(f"{layer.where}: '{key}' is missing or null.")
    if own.flag("replace_with_linear"):
        raise ConfigError(f"{own.where}: 'replace_with_linear' is not supported.")
    return None if own.flag("no_op") else own
