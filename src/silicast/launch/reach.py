"""The model of a pool under limits that its command sets, instead of those of its stack."""

from dataclasses import replace
from typing import Any

from silicast.errors import InputError
from silicast.hardware import Source
from silicast.launch.settings import Limits
from silicast.pool import PoolModel
from silicast.scenario import Workload

GIVEN = Source(title="The launch command", date="as given")


def limited(points: PoolModel, limits: Limits) -> PoolModel:
    """The pool with the limits that are given; the others stay those of the stack."""
    names = ("max_sequences", "chunk_tokens", "block_tokens")
    changes: dict[str, Any] = {name: getattr(limits, name) for name in names if getattr(limits, name) is not None}
    machine = points.machine
    if limits.memory_share is not None:
        share = limits.memory_share
        told = {"value": share, "low": share, "high": share, "source": GIVEN, "confidence": "high"}
        changes["memory_share"] = machine.stack.memory_share.model_copy(update=told)
    # what the stack changes on this chip is applied already, and must not come back over what is given
    stack = machine.stack.model_copy(update={**changes, "variants": ()})
    return replace(points, machine=machine.under(stack), kv_blocks=limits.kv_blocks or points.kv_blocks)


def served(workload: Workload, limits: Limits) -> tuple[Workload, list[str]]:
    """The workload as the limits let it through, and what was changed. Raises InputError for too long a request."""
    length = workload.input_tokens + workload.output_tokens
    if limits.context_tokens is not None and length > limits.context_tokens:
        raise InputError(
            f"A request of {workload.input_tokens} input and {workload.output_tokens} output tokens is longer than the "
            f"command allows ({limits.context_tokens} tokens): give --input-tokens and --output-tokens that fit."
        )
    if limits.prefix_cache is False and workload.prefix_hit:
        return replace(workload, prefix_hit=0.0), ["The command turns the prefix cache off: no prefix is hit."]
    return workload, []
