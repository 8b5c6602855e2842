"""What most decoder configs name alike: heads, layer patterns, the gated network, and the Model around the blocks."""

from typing import Any

from silicast.errors import ConfigError
from silicast.model.architecture import Counted, Model
from silicast.model.blocks import FeedForward, JoinInputs, MixtureOfExperts
from silicast.model.config import Fields
from silicast.model.families.quantisation import UNKNOWN, quantisation

MAX_LAYERS = 4096


def decoder(identity: str, fields: Fields, blocks: Counted, **more: Any) -> Model:
    """The Model around `blocks`; `more` are fields of Model that the family sets itself."""
    hidden = fields.size("hidden_size")
    _check_experts(fields, blocks)
    formats = quantisation(fields)
    if formats is None and fields.has("quantization_config"):
        more["omissions"] = (*more.get("omissions", ()), UNKNOWN)
    settings: dict[str, Any] = {
        "tied": fields.flag("tie_word_embeddings"),
        "final_norm": hidden,
        "quantisation": formats,
    }
    return Model(
        id=identity,
        model_type=fields.text("model_type"),
        hidden=hidden,
        vocabulary=fields.size("vocab_size"),
        blocks=tuple((block, count) for block, count in blocks if count),
        context=more.pop("context", None) or fields.size("max_position_embeddings"),
        **(settings | more),
    )


def _check_experts(fields: Fields, blocks: Counted) -> None:
    for block, _ in blocks:
        if isinstance(block, MixtureOfExperts) and block.topk > block.choices:
            raise ConfigError(f"{fields.where}: a token cannot choose {block.topk} of {block.choices} experts.")


def layer_count(fields: Fields, *keys: str) -> int:
    """Number of layers."""
    return fields.size(*(keys or ("num_hidden_layers",)), most=MAX_LAYERS)


def heads_of(fields: Fields) -> tuple[int, int, int]:
    """(heads, KV heads, head size). Raises ConfigError where one does not divide the other."""
    heads = fields.size("num_attention_heads", "n_head", "n_heads")
    kv_heads = fields.size("num_key_value_heads", default=heads)
    return heads, grouped(fields, heads, kv_heads), head_size(fields, heads)


def grouped(fields: Fields, heads: int, kv_heads: int) -> int:
    """`kv_heads`, which must divide `heads`."""
    if heads % kv_heads:
        raise ConfigError(f"{fields.where}: {kv_heads} KV heads do not divide {heads} heads.")
    return kv_heads


def head_size(fields: Fields, heads: int) -> int:
    """`head_dim`, or hidden over heads, which must divide it."""
    given = fields.size("head_dim", "attention_head_dim", "kv_channels", default=None)
    if given is not None:
        return given
    hidden = fields.size("hidden_size", "n_embd", "d_model")
    if hidden % heads:
        raise ConfigError(f"{fields.where}: {heads} heads do not divide the width {hidden}, and head_dim is not given.")
    return hidden // heads


def gated_network(fields: Fields, width: int | None = None, norms: int = 1) -> FeedForward:
    """The gated feed-forward network of one layer, with its norms."""
    hidden = fields.size("hidden_size")
    width = width or fields.size("intermediate_size")
    return FeedForward(hidden, width, bias=fields.flag("mlp_bias"), norm_parameters=norms * hidden, norms=norms)


def draft_layer(fields: Fields, key: str, *layer: tuple[Any, int]) -> dict[str, Any]:
    """Fields of Model for the draft layers counted by `key`: inputs joined, one `layer`, a norm of its own."""
    count = fields.size(key, default=0, zero=True, most=MAX_LAYERS)
    if not count:
        return {}
    hidden = fields.size("hidden_size")
    return {"mtp": ((JoinInputs(hidden), 1), *layer), "mtp_layers": count, "mtp_extra": hidden}


def dense_first(fields: Fields, layers: int, key: str = "first_k_dense_replace") -> int:
    """How many of the first layers have a dense network in place of experts. Raises ConfigError beyond all layers."""
    dense: int = fields.size(key, default=0, zero=True)
    if dense > layers:
        raise ConfigError(f"{fields.where}: {key} = {dense}, but the model has {layers} layers.")
    return dense


def check_experts_in_every_layer(fields: Fields) -> None:
    """Raises ConfigError where the layers behind the dense ones do not all have experts: none was published so."""
    every = fields.size("moe_layer_freq", default=1)
    if every != 1:
        raise ConfigError(
            f"{fields.where}: moe_layer_freq = {every} is not supported: in this family every layer behind the first "
            "dense ones has experts (1)."
        )
