"""The number formats and what one stored value costs in bytes, scales included.

`fp8` carries one scale per tensor, `fp8_block` one FP32 scale per 128 x 128 weights: other kernels, other speed.
`fp4` is NVFP4 (one FP8 scale per 16 values), `mxfp4` and `mxfp8` are the OCP formats (one 8-bit scale per 32 values).
"""

from silicast.errors import PrecisionError, nearest

#: bits of a value + bits of a scale / values that share it
_BITS: dict[str, float] = {
    "fp32": 32,
    "tf32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "fp8_block": 8 + 32 / (128 * 128),
    "mxfp8": 8 + 8 / 32,
    "int8": 8,
    "int4": 4 + 16 / 32,
    "fp4": 4 + 8 / 16,
    "mxfp4": 4 + 8 / 32,
}

BYTES: dict[str, float] = {name: bits / 8 for name, bits in _BITS.items()}

#: formats whose products run on the same matrix engine mode
MATRIX_MODE: dict[str, str] = {"fp8_block": "fp8", "mxfp8": "fp8", "mxfp4": "fp4", "fp16": "bf16"}


def checked(dtype: str) -> str:
    """`dtype` if known. Raises PrecisionError naming the nearest known one."""
    if not isinstance(dtype, str) or dtype not in BYTES:
        shown = str(dtype)[:40]
        guess = nearest(shown, BYTES)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise PrecisionError(f"Unknown dtype '{shown}'.{hint} Known: {', '.join(BYTES)}.")
    return dtype


def matrix_mode(dtype: str) -> str:
    """The mode of the matrix engine that multiplies `dtype` (scales do not change it)."""
    return MATRIX_MODE.get(dtype, dtype)
