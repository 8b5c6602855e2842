"""Reads a Hugging Face `config.json` (a path, a folder with one, or an id of the catalog) into a Model."""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, overload

from silicast.catalog import data_folder
from silicast.errors import ConfigError, not_found
from silicast.model.architecture import Model

MAX_CONFIG_BYTES = 4 * 1024 * 1024
#: a size beyond this is a mistake, not a model
MAX_SIZE = 1 << 24

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
                f"{self.where}: '{key}' must be a whole number from {least} to {most}, got {_short(value)}."
            )
        return value

    def number(self, *keys: str) -> float:
        """A positive number."""
        key, value = self._first(keys, _NO_DEFAULT)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_SIZE:
            raise ConfigError(f"{self.where}: '{key}' must be a positive number, got {_short(value)}.")
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
                raise ConfigError(f"{self.where}: '{key}' knows {', '.join(known)}, not {_short(item)}.")
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
            raise ConfigError(f"{self.where}: '{key}' must be true or false, got {_short(value)}.")
        return value

    def items(self, *keys: str) -> list[Any] | None:
        """A list, or None where it is absent."""
        key, value = self._first(keys, None)
        if value is not None and not isinstance(value, list):
            raise ConfigError(f"{self.where}: '{key}' must be a list, got {_short(value)}.")
        return value

    def nested(self, *keys: str) -> "Fields | None":
        """A nested object, or None where it is absent."""
        key, value = self._first(keys, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ConfigError(f"{self.where}: '{key}' must be an object, got {_short(value)}.")
        return Fields(value, f"{self.where}: {key}")

    def text(self, *keys: str, default: str = "") -> str:
        """A string."""
        key, value = self._first(keys, default)
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}: '{key}' must be a string, got {_short(value)}.")
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


def _short(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 40 else shown[:37] + "..."


def read_model(name: str) -> Model:
    """A Model by catalog id, alias or path. Raises NotFoundError or ConfigError."""
    path, identity = _locate(name)
    return _read(path, path.stat().st_mtime_ns, identity)


def model_ids() -> list[str]:
    """All ids of the shipped configs, sorted."""
    folder = data_folder() / "models"
    return sorted(f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*.json"))


@cache
def aliases() -> dict[str, str]:
    """Other names of one architecture: `data/models/aliases.toml`, a table alias -> id."""
    path = data_folder() / "models" / "aliases.toml"
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["aliases"]) if path.is_file() else {}


def _locate(name: str) -> tuple[Path, str]:
    target = aliases().get(name, name)
    shipped = data_folder() / "models" / f"{target}.json"
    if "\0" not in target and ".." not in target and shipped.is_file():
        return shipped, target
    path = Path(name)
    if path.is_dir() and (path / "config.json").is_file():
        return path / "config.json", path.resolve().name
    if path.is_dir():
        raise ConfigError(f"'{name}' is a folder without a config.json.")
    if path.is_file():
        return path, path.stem if path.stem != "config" else path.resolve().parent.name
    raise not_found(
        "Model", name, [*model_ids(), *aliases()], "List them with: silicast models, or give the path of a config.json"
    )


@cache
def _read(path: Path, _modified: int, identity: str) -> Model:
    from silicast.model.families import build

    return build(identity, Fields(_read_json(path), path.name))


def _read_json(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > MAX_CONFIG_BYTES:
        raise ConfigError(
            f"{path.name} has {size / 1e6:.0f} MB; a config.json has at most {MAX_CONFIG_BYTES >> 20} MB."
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, OSError, RecursionError) as error:
        raise ConfigError(f"{path.name} cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path.name} is not JSON (truncated?): {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path.name} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name} must hold one JSON object, got a {type(values).__name__}.")
    return values
