"""config.json in, operators out: `read_model` gives a Model, whose blocks give parameters, bytes and operators."""

from silicast.model.architecture import Model
from silicast.model.config import read_model

__all__ = ["Model", "read_model"]
