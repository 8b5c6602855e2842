"""Runs a policy step by step and writes down what it decides."""

from typing import Any

from silicast.serving.columns import Limits, Setting, columns
from silicast.serving.policies import POLICIES
from silicast.serving.replica import arrive, begin, complete, next_arrival
from silicast.serving.requests import Requests
from silicast.serving.state import Replica
from silicast.serving.surface import constant_surface


def plain_replica(traffic: Requests, surface: Any, limits: Limits, policy: str, leaps: bool = False) -> Replica:
    return columns(traffic, surface, limits, POLICIES[policy], Setting(leaps)).objects()


def schedule(policy: str, traffic: Requests, limits: Limits) -> list[str]:
    """Each step of one second: `0+5 1+3 | 2 4 !7`: tokens of prompts | who decodes, and who was preempted."""
    surface = constant_surface(1.0, limits.sequences, limits.step_tokens)
    replica = plain_replica(traffic, surface, limits, policy)
    state, steps = replica.state, []
    before = [0] * len(traffic)
    while next_arrival(replica) < float("inf") or state.until < float("inf"):
        coming = next_arrival(replica)
        if coming <= state.until and coming < float("inf"):
            arrive(replica, coming)
        else:
            complete(replica)
            begin(replica)
        if state.until < float("inf") and state.start == state.now and (not steps or steps[-1][0] < state.start):
            steps.append((state.start, describe(replica, before)))
            before = [row.preemptions for row in replica.rows]
    return [step for _, step in steps]


def describe(replica: Replica, before: list[int]) -> str:
    state = replica.state
    chosen = list(zip(replica.chosen, replica.chunks, strict=True))[: state.step_prompts]
    prompts = " ".join(f"{r}+{tokens}" for r, tokens in sorted(chosen))
    lost = [f"!{r}" for r, row in enumerate(replica.rows) if row.preemptions > before[r]]
    return " ".join(
        filter(None, [prompts, " ".join(["|", *map(str, decoding(replica))]) * bool(state.step_decodes), *lost])
    )


def decoding(replica: Replica) -> list[int]:
    r, found = replica.heads[replica.state.classes], []
    while r >= 0:
        if replica.rows[r].computed == replica.rows[r].target:
            found.append(r)
        r = replica.rows[r].following
    return sorted(found)
