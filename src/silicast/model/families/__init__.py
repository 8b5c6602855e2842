"""One file per family of architectures. A file lists its `MODEL_TYPES` and has `build(id, fields) -> Model`.

To add a family, add a file; nothing else changes. Packs of third parties name such modules as entry points of the
group `silicast.families`.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from itertools import takewhile
from types import ModuleType

from silicast.errors import ConfigError
from silicast.model.architecture import Model
from silicast.model.config import Fields, shown


@cache
def registry() -> dict[str, ModuleType]:
    """model_type -> the module that builds it."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    modules += [point.load() for point in entry_points(group="silicast.families")]
    return {name: module for module in modules for name in getattr(module, "MODEL_TYPES", ())}


def build(identity: str, fields: Fields) -> Model:
    """The Model of a config. Raises ConfigError: for an unknown model_type with the nearest one and how to add it."""
    if not fields.has("model_type"):
        raise ConfigError(f"{fields.where}: 'model_type' is missing or null.")
    model_type = fields.text("model_type")
    module = registry().get(model_type)
    if module is None:
        raise _unsupported(fields, model_type)
    model: Model = module.build(identity, fields)
    return model


def _unsupported(fields: Fields, model_type: str) -> ConfigError:
    stem = "".join(takewhile(str.isalpha, model_type))
    kin = [name for name in registry() if stem and name.startswith(stem)]
    guess = get_close_matches(model_type[:100], kin or registry(), n=1, cutoff=0.0)
    hint = f" The nearest supported one by name is '{guess[0]}'."
    return ConfigError(
        f"{fields.where}: model_type {shown(model_type)} is not supported.{hint} A new architecture is one file in "
        "silicast/model/families (docs/how-to-add.md); a GPT-style model is also given by its dimensions: "
        "gpt:layers=96,hidden=12288,heads=96,vocab=51200"
    )
