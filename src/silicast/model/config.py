"""Reads a Hugging Face `config.json` (a path, a folder with one, or an id of the catalog) into a Model."""

import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, overload

from silicast.catalog import data_folder, search_path
from silicast.errors import ConfigError, InputError, not_found
from silicast.model.architecture import Model

MAX_CONFIG_BYTES = 4 * 1024 * 1024
#: a size beyond this is a mistake, not a model
MAX_SIZE = 1 << 24
#: formats of a checkpoint that ModelOpt wrote, beside its config.json
QUANTISATION_FILE = "hf_quant_config.json"

#: what JSON calls a value that is no object
KINDS = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}

_NO_DEFAULT = object()


class Fields:
    """Checked access to the keys of a config.json: a missing, null or absurd value is one clear ConfigError."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    @overload
    def size(self, *keys: str, default: int = ..., zero: bool = False, most: int = MAX_SIZE) -> int: ...

    @overload
    def size(self, *keys: str, default: None, zero: bool = False, most: int = MAX_SIZE) -> int | None: ...

    def size(self, *keys: str, default: Any = _NO_DEFAULT, zero: bool = False, most: int = MAX_SIZE) -> int | None:
        """A positive whole number under the first of `keys` that is present (`zero` allows 0), else `default`."""
        key, value = self._first(keys, default)
        if value is default:
            return default if isinstance(default, int) else None
        return self.whole(key, value, zero, most)

    def whole(self, key: str, value: Any, zero: bool = False, most: int = MAX_SIZE) -> int:
        """`value` as a whole number in range, named `key` in the error."""
        least = 0 if zero else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ConfigError(
                f"{self.where}: '{key}' must be a whole number from {least} to {most}, got {shown(value)}."
            )
        return value

    def number(self, *keys: str) -> float:
        """A positive number."""
        key, value = self._first(keys, _NO_DEFAULT)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SIZE:
            raise ConfigError(f"{self.where}: '{key}' must be a positive number, got {shown(value)}.")
        return float(value)

    def sizes(self, key: str, count: int, zero: bool = False) -> list[int] | None:
        """One whole number per layer (or one for all of them); None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            return [self.whole(key, value, zero)] * count
        if len(value) < count:
            raise ConfigError(f"{self.where}: '{key}' has {len(value)} entries for {count} layers.")
        return [self.whole(f"{key}[{place}]", item, zero) for place, item in enumerate(value[:count])]

    def kinds(self, key: str, count: int, known: tuple[str, ...]) -> list[str] | None:
        """One of the `known` words per layer; None where the key is absent."""
        value = self.items(key)
        if value is None:
            return None
        if len(value) < count:
            raise ConfigError(f"{self.where}: '{key}' has {len(value)} entries for {count} layers.")
        for item in value[:count]:
            if item not in known:
                raise ConfigError(f"{self.where}: '{key}' knows {', '.join(known)}, not {shown(item)}.")
        return value[:count]

    def flat(self, key: str) -> "Fields":
        """The fields of the nested object `key` in front of the outer ones, except `model_type`; self without it."""
        inner = self.nested(key)
        if inner is None:
            return self
        own = {name: value for name, value in inner.values.items() if value is not None and name != "model_type"}
        return Fields({**self.values, **own}, self.where)

    def flag(self, *keys: str, default: bool = False) -> bool:
        """A boolean."""
        key, value = self._first(keys, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: '{key}' must be true or false, got {shown(value)}.")
        return value

    def items(self, *keys: str) -> list[Any] | None:
        """A list, or None where it is absent."""
        key, value = self._first(keys, None)
        if value is not None and not isinstance(value, list):
            raise ConfigError(f"{self.where}: '{key}' must be a list, got {shown(value)}.")
        return value

    def nested(self, *keys: str) -> "Fields | None":
        """A nested object, or None where it is absent."""
        key, value = self._first(keys, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ConfigError(f"{self.where}: '{key}' must be an object, got {shown(value)}.")
        return Fields(value, f"{self.where}: {key}")

    def text(self, *keys: str, default: str = "") -> str:
        """A string."""
        key, value = self._first(keys, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}: '{key}' must be a string, got {shown(value)}.")
        return value

    def has(self, key: str) -> bool:
        """Whether the key is present and not null."""
        return self.values.get(key) is not None

    def _first(self, keys: tuple[str, ...], default: Any) -> tuple[str, Any]:
        for key in keys:
            if self.values.get(key) is not None:
                return key, self.values[key]
        if default is _NO_DEFAULT:
            raise ConfigError(f"{self.where}: '{keys[0]}' is missing or null.")
        return keys[0], default


def shown(value: Any) -> str:
    """A value of a config in one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def read_model(name: str | Path) -> Model:
    """A Model by catalog id, alias or path, or `gpt:layers=..,hidden=..,heads=..,vocab=..`.

    A folder may hold `hf_quant_config.json` beside `config.json`. Raises NotFoundError, ConfigError or InputError.
    """
    if not isinstance(name, str | Path):
        raise InputError(f"A model is named by an id or a path, got {type(name).__name__}.")
    name = str(name)
    target = aliases().get(name, name)
    if target.startswith("gpt:"):
        return _from_text(target)
    path = _shipped(target)
    if path is not None:
        return _read_shipped(path, path.stat().st_mtime_ns, target, name)
    path = _given(name)
    beside = path.with_name(QUANTISATION_FILE)
    stamp = beside.stat().st_mtime_ns if beside.is_file() else 0
    return _read(path, path.stat().st_mtime_ns, _identity(path), stamp)


def model_ids() -> list[str]:
    """All ids of the shipped configs and of those in the user's folder and in packs, sorted."""
    found = {path for folder in search_path() for path in (folder / "models").glob("*/*.json")}
    return sorted({f"{path.parent.name}/{path.stem}" for path in found})


@cache
def aliases() -> dict[str, str]:
    """Other names of one architecture: `data/models/aliases.toml`, a table alias -> id or dimensions."""
    path = data_folder() / "models" / "aliases.toml"
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["aliases"]) if path.is_file() else {}


@cache
def _from_text(text: str) -> Model:
    from silicast.model.families.gpt import gpt_from_text

    return gpt_from_text(text)


def _shipped(target: str) -> Path | None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", target):
        return None
    paths = (folder / "models" / f"{target}.json" for folder in search_path())
    return next((path for path in paths if path.is_file()), None)


def _given(name: str) -> Path:
    """The config.json at a path, or in the folder at a path."""
    path = Path(name)
    try:
        folder, file = path.is_dir(), path.is_file()
    except OSError:  # a name longer than any path
        folder = file = False
    if file:
        return path
    if folder and (path / "config.json").is_file():
        return path / "config.json"
    if folder:
        raise ConfigError(f"'{name}' is a folder without a config.json.")
    look = "List them with: silicast models, or give the path of a config.json"
    raise not_found("Model", name, [*model_ids(), *aliases()], look)


def _identity(path: Path) -> str:
    return path.resolve().parent.name if path.name == "config.json" else path.stem


@cache
def _read_shipped(path: Path, _modified: int, identity: str, name: str) -> Model:
    from silicast.model.checkpoint import with_format_of, with_named_format
    from silicast.model.provenance import provenance

    model = _built(path, identity, _read_json(path))
    known = provenance(identity)
    if known is not None and known.checkpoint:
        return with_format_of(model, read_model(known.checkpoint))
    return with_named_format(model, name)


@cache
def _read(path: Path, _modified: int, identity: str, quantised: int) -> Model:
    values = _read_json(path)
    if quantised and values.get("quantization_config") is None:
        beside = _read_json(path.with_name(QUANTISATION_FILE))
        values["quantization_config"] = beside.get("quantization")
    return _built(path, identity, values)


def _built(path: Path, identity: str, values: dict[str, Any]) -> Model:
    from silicast.model.families import build

    return build(identity, Fields(values, path.name))


def _read_json(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        most = MAX_CONFIG_BYTES >> 20
        raise ConfigError(f"{path.name} has {size / 1e6:.0f} MB; a config.json has at most {most} MB.")
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path.name} is not a text file (UTF-8).") from None
    except RecursionError:
        raise ConfigError(f"{path.name} is nested too deeply for a config.json.") from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error.strerror}.") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name} is not JSON (truncated?): {error}.") from None
    except ValueError as error:
        raise ConfigError(f"{path.name} is not JSON: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name} must hold one JSON object, got {KINDS[type(values)]}.")
    return values
