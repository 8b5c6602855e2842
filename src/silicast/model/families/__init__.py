"""One file per family of architectures. A file lists its `MODEL_TYPES` and has `build(id, fields) -> Model`.

To add a family, add a file; nothing else changes.
"""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from silicast.errors import ConfigError, nearest
from silicast.model.architecture import Model
from silicast.model.config import Fields


@cache
def registry() -> dict[str, ModuleType]:
    """model_type -> the module that builds it."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {name: module for module in modules for name in getattr(module, "MODEL_TYPES", ())}


def build(identity: str, fields: Fields) -> Model:
    """The Model of a config. Raises ConfigError: for an unknown model_type with the nearest one and how to add it."""
    model_type = fields.text("model_type")
    module = registry().get(model_type)
    if module is None:
        guess = nearest(model_type, registry())
        hint = f" The nearest supported one is '{guess}'." if guess else ""
        raise ConfigError(
            f"{fields.where}: model_type '{model_type[:60]}' is not supported.{hint} Supported: "
            f"{', '.join(sorted(registry()))}. A new architecture is one file in silicast/model/families "
            "(docs/how-to-add.md); or give layers=, hidden=, heads=, vocab= for a GPT-style model."
        )
    model: Model = module.build(identity, fields)
    return model
