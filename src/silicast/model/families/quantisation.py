"""`quantization_config` of a checkpoint -> formats and scopes."""

from silicast.model.architecture import Quantisation
from silicast.model.config import Fields
from silicast.model.ops import Scope

LINEARS: frozenset[Scope] = frozenset({"attention", "indexer", "ffn", "experts", "shared"})

#: names of modules in ignore lists -> the scope they exclude
_IGNORED: tuple[tuple[str, Scope], ...] = (
    ("self_attn", "attention"),
    ("linear_attn", "attention"),
    ("shared_expert", "shared"),
    ("mlp\\.(gate|up|gate_up|down)_proj", "ffn"),
)


def quantisation(fields: Fields) -> Quantisation | None:
    """Formats of the checkpoint, None where it is 16 bit."""
    config = fields.nested("quantization_config")
    if config is None:
        return None
    method = config.text("quant_method", "quant_algo").lower()
    algorithm = config.text("quant_algo", "format").lower()
    ignored = [str(item) for item in config.items("modules_to_not_convert", "ignore") or []]
    scopes = LINEARS - {scope for name, scope in _IGNORED if any(_whole(name, item) for item in ignored)}
    weights, activations = _formats(method, algorithm, config)
    kv_scheme = config.values.get("kv_cache_scheme")
    return Quantisation(weights, activations, frozenset(scopes), "fp8" if kv_scheme else None)


def _whole(name: str, item: str) -> bool:
    """Whether an ignore entry excludes the whole module, not a norm or a gate inside it."""
    return (name in item and item.rstrip("*.$").split(".")[-1].strip("*") in (name, *_tails(name))) or f".*{name}" in item


def _tails(name: str) -> tuple[str, ...]:
    return (f"{name}s",)


def _formats(method: str, algorithm: str, config: Fields) -> tuple[str, str]:
    if method == "mxfp4":
        return "mxfp4", "bf16"
    if "mxfp4" in algorithm:
        return "mxfp4", "bf16"
    if "nvfp4" in algorithm:
        return "fp4", "fp4"
    if method in ("awq", "gptq") or "pack" in algorithm:
        return "int4", "bf16"
    if method == "fp8":
        blocked = "fp8_block" if config.has("weight_block_size") else "fp8"
        return blocked, blocked
    return "fp8", "fp8"
