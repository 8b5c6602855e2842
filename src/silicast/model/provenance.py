"""Where a shipped config was read from: `data/models/sources.toml`, one table per id."""

import tomllib
from dataclasses import dataclass
from functools import cache
from typing import Any

from silicast.catalog import data_folder


@dataclass(frozen=True, slots=True)
class Provenance:
    """Source of one shipped config. Empty text = nothing to say.

    read_from   the public copy, or what it was assembled from
    published   the size its makers publish, and where
    count       parameters counted with transformers or by formula, vision tower included where the file has one
    counted     how, where it was not the class that the file names
    doubts      what is not certain about the values
    checkpoint  id of a shipped config whose checkpoint is quantised alike, where this file does not say how
    """

    read_from: str
    published: str = ""
    count: int | None = None
    counted: str = ""
    doubts: str = ""
    checkpoint: str = ""


@cache
def _tables() -> dict[str, Any]:
    path = data_folder() / "models" / "sources.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["models"] if path.is_file() else {}


def provenance(identity: str) -> Provenance | None:
    """The source of a shipped config, None for any other."""
    table = _tables().get(identity)
    return Provenance(**table) if table else None
