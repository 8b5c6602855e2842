"""The weight format of a checkpoint whose config.json does not name it: from the file beside it, or from its name.

NVIDIA's ModelOpt writes `hf_quant_config.json` beside `config.json`; most quantised copies say it in their name.
"""

import re
from dataclasses import replace

from silicast.model.architecture import Model, Quantisation

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
    """`model` with the format that `name` contains as a word, if its config has none, and a note of it."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    found = next((FORMATS[word] for word in words if word in FORMATS), None)
    if model.quantisation is not None or found is None:
        return model
    weights, activations = found
    quantisation = Quantisation(weights, activations, model.quantised_scopes(weights))
    note = f"checkpoint format: {weights} as '{name[-40:]}' says; config.json has no quantization_config"
    return replace(model, quantisation=quantisation, omissions=(*model.omissions, note))
