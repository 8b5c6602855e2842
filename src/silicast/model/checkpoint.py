"""The weight format of a checkpoint whose config.json does not name it: most quantised copies say it in their name."""

import re
from dataclasses import replace

from silicast.dtypes import BYTES
from silicast.model.architecture import Model, Quantisation

#: formats that differ by less than this many bytes per value differ in their scales only
SAME_WIDTH = 0.1
#: word of a name -> (weights, activations) of published checkpoints with that word
FORMATS: dict[str, tuple[str, str]] = {
    "fp8": ("fp8", "fp8"),
    "fp4": ("fp4", "fp4"),
    "nvfp4": ("fp4", "fp4"),
    "mxfp4": ("mxfp4", "bf16"),
    "awq": ("int4", "bf16"),
    "gptq": ("int4", "bf16"),
    "int4": ("int4", "bf16"),
    "int8": ("int8", "bf16"),
    "w4a16": ("int4", "bf16"),
    "w8a8": ("int8", "int8"),
}


def with_named_format(model: Model, name: str) -> Model:
    """`model` with the format that `name` contains as a word, and a note of it. A config's own format comes first."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    found = next((FORMATS[word] for word in words if word in FORMATS), None)
    if found is None or _agrees(model.quantisation, found[0]):
        return model
    weights, activations = found
    model = replace(model, quantisation=None)
    quantisation = Quantisation(weights, activations, model.quantised_scopes(weights))
    note = f"checkpoint format: {weights}, as the name {name} says; there is no quantization_config of it"
    return replace(model, quantisation=quantisation, omissions=(*model.omissions, note))


def _agrees(own: Quantisation | None, weights: str) -> bool:
    """Whether a config's own format has the width that the name says: then the config knows more."""
    return own is not None and abs(BYTES[own.weights] - BYTES[weights]) < SAME_WIDTH


def with_format_of(model: Model, other: Model) -> Model:
    """`model` with the formats of another one, whose checkpoint is made the same way, and a note of it."""
    note = f"checkpoint format: that of {other.id}; the file read has no quantization_config"
    return replace(model, quantisation=other.quantisation, omissions=(*model.omissions, note))
