"""Pools for the properties of steps, memory and steady states: real models on real chips, and chips made faster."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from silicast import api
from silicast.estimate import Sampler
from silicast.hardware import Number
from silicast.machine import Machine
from silicast.planning.space import layouts
from silicast.pool import PoolModel
from silicast.scenario import Layout, Load
from silicast.step import Step

R1 = "deepseek-ai/DeepSeek-R1"
LLAMA = "meta-llama/Llama-3.1-70B-Instruct"
QWEN = "Qwen/Qwen3-235B-A22B"
HYBRID = "Qwen/Qwen3-Next-80B-A3B-Instruct"
MODELS = (R1, LLAMA, QWEN, HYBRID)
#: two vendors' fast ones, a slow link, a torus, two dies per package
CHIPS = ("h100-sxm", "ascend-910c", "mi300x", "l40s", "tpu-v5p")

#: rounding of sums in another order
EXACT = 1 + 1e-9


@cache
def pool(model: str, chip: str, stack: str | None = None, draws: int = 0) -> PoolModel:
    return api.pool_model(model, chip, api.Setup(stack=stack), draws)


@cache
def space(model: str, chip: str, most: int = 32) -> Layout:
    return layouts(pool(model, chip), most)


def on(pool: PoolModel, chip: Any = None, system: Any = None, sampler: Sampler | None = None) -> PoolModel:
    """The same pool on another chip or system, or drawn."""
    old = pool.machine
    table, draws = old._coefficients, sampler or old.sampler
    machine = Machine(chip or old.chip, system or old.system, old.stack, table, draws)
    return replace(pool, machine=machine)


def scaled(noun: Any, factor: float, *fields: str) -> Any:
    """A copy of a noun in which every number below a field is `factor` times larger."""

    def larger(value: Any) -> Any:
        if isinstance(value, Number):
            ends = {end: getattr(value, end) * factor for end in ("low", "value", "high")}
            return value.model_copy(update=ends)
        if isinstance(value, dict):
            return {key: larger(below) for key, below in value.items()}
        if isinstance(value, tuple):
            return tuple(larger(below) for below in value)
        if hasattr(value, "bandwidth"):
            return value.model_copy(update={"bandwidth": larger(value.bandwidth)})
        return value

    return noun.model_copy(update={field: larger(getattr(noun, field)) for field in fields})


def faster(pool: PoolModel, what: str, factor: float) -> PoolModel:
    """The pool on a chip with more of one thing."""
    chip, system = pool.machine.chip, pool.machine.system
    if what == "matrix":
        compute = scaled(chip.compute, factor, "matrix", "measured_gemm")
        return on(pool, chip.model_copy(update={"compute": compute}))
    if what == "matrix on paper":
        return on(pool, chip.model_copy(update={"compute": scaled(chip.compute, factor, "matrix")}))
    if what == "vector":
        return on(pool, chip.model_copy(update={"compute": scaled(chip.compute, factor, "vector")}))
    if what == "memory":
        return on(pool, scaled(chip, factor, "memory"))
    return on(pool, scaled(chip, factor, "links"), scaled(system, factor, "domains"))


FASTER = ("matrix", "matrix on paper", "vector", "memory", "links")

models = st.sampled_from(MODELS)
chips = st.sampled_from(CHIPS)


@dataclass(frozen=True)
class Case:
    """A model on a chip in one of its layouts, whole numbers, and one step: prefill, decode or both."""

    model: str
    chip: str
    layout: Layout
    load: Load

    @property
    def pool(self) -> PoolModel:
        return pool(self.model, self.chip)

    def seconds(self, load: Load | None = None, pool: PoolModel | None = None) -> float:
        """The step, points."""
        return seconds(pool or self.pool, self.layout, load or self.load)

    def step(self) -> Step:
        return self.pool.step(self.load, self.layout)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    model, chip = draw(models), draw(chips)
    found = space(model, chip)
    index = draw(st.integers(0, np.size(found.tp) - 1))
    return Case(model, chip, found.pick(index).whole(), draw(loads))


batches = st.sampled_from((1, 2, 3, 7, 8, 16, 33, 64, 128, 256, 512))
contexts = st.integers(1, 1 << 17)
tokens = st.integers(1, 8192)
decodes = st.builds(Load, decode_sequences=batches, decode_context=contexts)
prefills = st.builds(
    Load, prefill_sequences=st.integers(1, 4), prefill_tokens=tokens, prefill_context=st.integers(0, 1 << 16)
)
mixed = st.builds(
    Load,
    prefill_sequences=st.integers(1, 2),
    prefill_tokens=tokens,
    prefill_context=st.integers(0, 1 << 14),
    decode_sequences=batches,
    decode_context=contexts,
)
loads = st.one_of(decodes, prefills, mixed)


def seconds(pool: PoolModel, layout: Layout, load: Load) -> float:
    """One step, points."""
    return float(pool.step(load, layout).seconds[0])
