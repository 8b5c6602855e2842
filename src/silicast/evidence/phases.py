"""Rows of one phase at a stated batch: a prefill step, a decode step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.evidence.binding import told
from silicast.evidence.deployment import Plan
from silicast.evidence.serve import Answer, column, layouts, speculation, workloads
from silicast.pool import PoolModel
from silicast.scenario import Load
from silicast.step import Step

Array = NDArray[Any]


def decode(pool: PoolModel, plans: Sequence[Plan]) -> Answer:
    """One decode step of `batch_per_device` sequences at `kv_tokens` of context; TPOT is the step over its yield.

    Where the context is not stated it is the input and half of the output.
    """
    pool = replace(pool, speculation=speculation(plans))
    cut = layouts(plans)
    ranks = np.asarray(cut.attention_dp)
    sequences = column(plans, "batch_per_device") * cut.devices / ranks
    load = Load(decode_sequences=sequences, decode_context=_context(plans), query_tokens=1 + pool.speculation.tokens)
    step = pool.staged_step(load, cut)
    step = replace(step, seconds=step.seconds * pool.discrepancy("decode"))
    gained, per_device = (
        _like(step, values) for values in (pool.speculation.yield_per_step, sequences * ranks / cut.devices)
    )
    token = step.seconds / gained
    samples = {
        "step_ms": step.seconds * 1e3,
        "tpot_ms": token * 1e3,
        "output_tokens_per_s_per_device": per_device / token,
    }
    return _explained(Answer(samples, reasons=_unstated(plans, "batch_per_device")), pool, step)


def prefill(pool: PoolModel, plans: Sequence[Plan]) -> Answer:
    """One batch of prompts, a full chunk where no batch is stated. A prompt beyond the chunk budget takes n passes.

    With pp stages the passes of one prompt follow each other through the stages: (n + pp - 1) / pp of a pass of all.
    """
    cut, work = layouts(plans), workloads(plans)
    ranks, stages = np.asarray(cut.attention_dp), np.asarray(cut.pp)
    batch = column(plans, "batch_per_device") * cut.devices / ranks
    full = pool.full_chunk(work)
    sequences = np.where(np.isnan(batch), full.prefill_sequences, batch)
    step = pool.step(replace(full, prefill_sequences=sequences), cut)
    step = replace(step, seconds=step.seconds * pool.discrepancy("prefill"))
    passes = np.ceil(np.maximum(work.input_tokens * (1 - np.asarray(work.prefix_hit)), 1) / full.prefill_tokens)
    seconds = step.seconds * _like(step, (passes + stages - 1) / stages)
    rate = sequences * ranks * work.input_tokens * stages / (passes * cut.devices)
    samples = {
        "step_ms": seconds * 1e3,
        "ttft_ms": seconds * 1e3,
        "input_tokens_per_s_per_device": _like(step, rate) / step.seconds,
    }
    return _explained(Answer(samples, reasons=_unstated(plans, "input_tokens")), pool, step)


def _context(plans: Sequence[Plan]) -> Array:
    stated = column(plans, "kv_tokens")
    inputs, outputs = np.array([plan.lengths for plan in plans]).T
    known = ~np.isnan(column(plans, "input_tokens"))
    return np.where(np.isnan(stated) & known, inputs + outputs / 2, stated)


def _explained(answer: Answer, pool: PoolModel, step: Step) -> Answer:
    if not pool.machine.draws:
        why = told(step, pool.machine.tiers())
        answer.told = dict.fromkeys(answer.samples, why)
    return answer


def _like(step: Step, values: Any) -> Array:
    return np.asarray(values)[..., None] if step.seconds.ndim > 1 else np.asarray(values)


def _unstated(plans: Sequence[Plan], *names: str) -> dict[int, str]:
    return {
        row: f"{name} is not stated"
        for name in names
        for row, plan in enumerate(plans)
        if getattr(plan.scenario, name) is None
    }
