"""How far a measured operator may lie from its law: drawn from the errors of held-out shapes, or of chips left out."""

import numpy as np
from numpy.typing import NDArray

from silicast.evidence.columns import Scenario
from silicast.evidence.misses import shipped_misses
from silicast.machine import Format, Machine

#: the law of an operator, and its kernel where the format does not name it
ATTENTION = {
    "attention_fwd": "prefill",
    "attention_fwd_causal": "prefill",
    "mla_prefill": "mla_prefill",
    "mla_decode": "mla_decode",
    "attention_decode": "decode",
}
PRODUCTS = {"gemm": "gemm", "grouped_gemm": "grouped_gemm", "moe_mlp": "grouped_gemm"}
EXCHANGES = ("moe_dispatch", "moe_combine", "p2p")


def strayed(scenario: Scenario, fmt: Format, machine: Machine) -> NDArray[np.float64]:
    """Draws around 1 by which the latency of one operator may be multiplied.

    The coefficients of a fitted kernel carry the size of its log error on held-out shapes, to either side alike. Others
    get the errors of their law on chips that were left out of the fit.
    """
    op = scenario.op or ""
    law, *kernels = _law(op, fmt, scenario.kv_cache == "fp8")
    size = machine.optional(law, "residual", *kernels) if kernels else None
    key = f"{machine.chip.id}/{law}/{'/'.join(kernels)}/{op}"
    if size is not None:
        return np.asarray(np.exp(size * _signs(key, machine)))
    low, high = _left_out(law)
    return np.asarray(machine.sampler.between(f"{key}/left out", 1.0, low, high))


def _law(op: str, fmt: Format, narrow: bool) -> tuple[str, ...]:
    if op in ATTENTION:
        kernel = ATTENTION[op]
        return ("attention", f"{kernel}_fp8", kernel) if narrow and "decode" in kernel else ("attention", kernel)
    if op in PRODUCTS:
        return PRODUCTS[op], fmt.kernel
    if op in EXCHANGES:
        return ("collective",) if op == "p2p" else ("collective", "all_to_all")
    return ("vector",)


def _signs(key: str, machine: Machine) -> NDArray[np.float64]:
    """As many draws above as below."""
    middle = machine.sampler.between(f"{key}/side", 1.0, 0.5, 2.0)
    return np.where(np.asarray(middle) > 1, 1.0, -1.0)


def _left_out(law: str) -> tuple[float, float]:
    """80 % of the factors measured / forecast of a law on chips left out, around 1."""
    for one in shipped_misses():
        if (one.left_out, one.chip, one.law) == ("chip", "", law):
            return min(float(np.exp(-one.high)), 1.0), max(float(np.exp(-one.low)), 1.0)
    return 1.0, 1.0
