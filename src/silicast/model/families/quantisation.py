"""`quantization_config` of a checkpoint -> formats, and the scopes it leaves in 16 bit.

A config names what it excludes by module: exact paths, globs (`model.layers.*.self_attn`), regular expressions after
`re:`, or the last part of a path. A scope is excluded when a module of it in a middle layer is: lists that spare only
the first and last layers do not count.
"""

import re
from fnmatch import translate
from typing import Any

from silicast.errors import ConfigError
from silicast.model.architecture import Quantisation
from silicast.model.config import Fields, shown
from silicast.model.ops import Scope

LINEARS: frozenset[Scope] = frozenset({"attention", "indexer", "ffn", "experts", "shared"})

#: modules of a layer, as checkpoints name them, that stand for their scope
_MODULES: tuple[tuple[Scope, str], ...] = (
    ("attention", "self_attn.o_proj"),
    ("attention", "linear_attn.out_proj"),
    ("attention", "mixer.out_proj"),
    ("indexer", "self_attn.indexer.wq_b"),
    ("ffn", "mlp.down_proj"),
    ("experts", "mlp.experts.7.down_proj"),
    ("experts", "block_sparse_moe.experts.7.w2"),
    ("experts", "mixer.experts.7.down_proj"),
    ("shared", "mlp.shared_experts.down_proj"),
    ("shared", "mlp.shared_expert.down_proj"),
    ("shared", "mixer.shared_experts.down_proj"),
)
_PREFIXES = ("model.layers.", "language_model.model.layers.", "model.language_model.layers.", "backbone.layers.")
#: regular expressions are run only without repetition of groups, which could take for ever
_SAFE = re.compile(r"[\w.\\*|()^$/-]+")
_MOST_STARS, _LONGEST, _MIDDLE = 8, 200, 5

#: quant_method or format -> (weights, activations), where the config does not describe its groups
_NAMED: dict[str, tuple[str, str]] = {
    "mxfp4": ("mxfp4", "bf16"),
    "nvfp4": ("fp4", "fp4"),
    "fp8": ("fp8", "fp8"),
    "fbgemm_fp8": ("fp8", "fp8"),
    "mxfp8": ("mxfp8", "mxfp8"),
    "awq": ("int4", "bf16"),
    "gptq": ("int4", "bf16"),
    "w4a16_awq": ("int4", "bf16"),
    "int4_awq": ("int4", "bf16"),
}
#: methods of transformers that have no law here: 16 bit with a note. Anything else is taken for a mistake
_WITHOUT_LAW = (
    "aqlm", "quanto", "hqq", "eetq", "higgs", "torchao", "spqr", "vptq", "bitnet", "quip", "auto-round", "fp_quant",
)  # fmt: skip
_DESCRIBED = ("compressed-tensors", "modelopt", "bitsandbytes")

UNKNOWN = "checkpoint format: the method of quantization_config has no law here, weights are taken to be BF16"


def quantisation(fields: Fields) -> Quantisation | None:
    """Formats of the checkpoint; None where it is 16 bit, or where the method is not known."""
    config = fields.nested("quantization_config")
    formats = _formats(config) if config else None
    if config is None or formats is None:
        return None
    weights, activations = formats
    layers = fields.size("num_hidden_layers", "num_layers", "n_layer", "n_layers", default=0, zero=True)
    excluded = _excluded(config.items("modules_to_not_convert", "ignore", "exclude_modules") or [], layers)
    kv_cache = "fp8" if config.has("kv_cache_scheme") or config.has("kv_cache_quant_algo") else None
    own = Quantisation(weights, activations, LINEARS - excluded, kv_cache)
    return _narrow_experts(fields, own)


def _narrow_experts(fields: Fields, own: Quantisation) -> Quantisation:
    """DeepSeek-V4 names a format of its own for the experts; the rest keeps the format of the config."""
    if fields.text("expert_dtype") != "fp4":
        return own
    rest = Quantisation(own.weights, own.activations, own.scopes - {"experts"}, own.kv_cache)
    return Quantisation("mxfp4", own.activations, frozenset({"experts"}), own.kv_cache, rest)


def _formats(config: Fields) -> tuple[str, str] | None:
    groups = config.nested("config_groups")
    if groups is not None and groups.values:
        return _group_formats(groups)
    if config.has("weight_block_size"):
        return "fp8_block", "fp8_block"
    names = [config.text(key).lower() for key in ("quant_algo", "quant_method", "format")]
    bits = config.values.get("bits", config.values.get("w_bit"))
    if bits == 8 and names[1] in ("awq", "gptq"):
        return "int8", "bf16"
    for name in names:
        if name in _NAMED:
            return _NAMED[name]
    if names[1] == "bitsandbytes":
        return "int4" if config.flag("load_in_4bit") else "int8", "bf16"
    if any(names) and not any(name in (*_WITHOUT_LAW, *_DESCRIBED) for name in names):
        known = ", ".join(sorted((*_NAMED, *_DESCRIBED, *_WITHOUT_LAW)))
        raise ConfigError(f"{config.where}: unknown quantisation method {shown(names[1] or names[0])}. Known: {known}.")
    return None


def _group_formats(groups: Fields) -> tuple[str, str]:
    """Formats of the first group: bits, type and group size of weights and of input activations."""
    group = groups.nested(next(iter(groups.values)))
    weights = group.nested("weights") if group else None
    if group is None or weights is None:
        raise ConfigError(f"{groups.where}: the first group does not describe its weights.")
    activations = group.nested("input_activations")
    return _format(weights), _format(activations) if activations else "bf16"


def _format(numbers: Fields) -> str:
    bits, kind = numbers.size("num_bits"), numbers.text("type", default="int")
    size: int = numbers.size("group_size", default=0, zero=True)
    if kind == "int" and bits in (4, 8):
        return f"int{bits}"
    if kind == "float" and bits == 8:
        return {32: "mxfp8", 128: "fp8_block"}.get(size, "fp8_block" if numbers.text("strategy") == "block" else "fp8")
    if kind == "float" and bits == 4:
        return "mxfp4" if size == 32 else "fp4"
    raise ConfigError(f"{numbers.where}: {bits} bits of type {shown(kind)} are not a known format.")


def _excluded(items: list[Any], layers: int) -> set[Scope]:
    """Scopes with a module of a middle layer among the entries, under any prefix that checkpoints use."""
    named = (item for item in items if isinstance(item, str) and _is_in_the_middle(item, layers))
    middle = {re.sub(r"layers\.\d+\.", f"layers.{_MIDDLE}.", item) for item in named}
    patterns = [pattern for item in middle if len(item) <= _LONGEST and (pattern := _pattern(item)) is not None]
    return {
        scope
        for scope, module in _MODULES
        for prefix in _PREFIXES
        if any(pattern.match(f"{prefix}{_MIDDLE}.{module}") for pattern in patterns)
    }


def _is_in_the_middle(item: str, layers: int) -> bool:
    """Whether an entry names no layer, or one of the middle half of `layers` (0 = their number is not known)."""
    found = re.search(r"layers\.(\d{1,6})\.", item)
    return found is None or not layers or layers <= 4 * int(found[1]) <= 3 * layers


def _pattern(item: str) -> re.Pattern[str] | None:
    """A regular expression for one entry; None where it is not safe to run."""
    if item.startswith("re:"):
        text = item.removeprefix("re:")
        if not _SAFE.fullmatch(text) or ")*" in text or text.count("*") > _MOST_STARS:
            return None
    elif "*" in item:
        # a path under the excluded module is excluded with it
        text = f"{translate(item)[:-2]}(\\..*)?$"
    else:
        text = rf"(.*\.)?{re.escape(item)}(\..*)?$"
    try:
        return re.compile(text)
    except re.error:
        return None
