"""Traffic, limits and step times for the properties of the simulator."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from silicast.scenario import Load
from silicast.serving.columns import Below
from silicast.serving.policies import POLICIES
from silicast.serving.requests import ClosedLoop, Requests, requests
from silicast.serving.simulate import Limits
from silicast.serving.surface import Surface, compile_surface

TOKENS, SEQUENCES, CONTEXT, BLOCK = 96, 12, 1024, 4
#: most attention ranks of a replica
RANKS = 4


def seconds(load: Load) -> np.ndarray:
    """A step with all its parts: fixed, per token, per pair, per cached token, and a staircase in the batch.

    Two fifths of the time per token are of experts that all attention ranks share.
    """
    prompts = load.prefill_sequences * load.prefill_tokens
    pairs = prompts * (load.prefill_context + load.prefill_tokens / 2)
    read = load.decode_sequences * load.decode_context
    stairs = np.ceil(np.asarray(load.decode_sequences) / 4)
    return (
        0.0101
        + 1.13e-4 * (0.6 * load.tokens + 0.4 * load.mean_tokens)
        + 1.7e-6 * pairs
        + 3.3e-6 * read**0.97
        + 7e-4 * stairs
    )


SURFACE: Surface = compile_surface(seconds, SEQUENCES, TOKENS, CONTEXT, ranks=RANKS)
#: every decoding sequence checks two guesses
GUESSING: Surface = compile_surface(seconds, SEQUENCES, TOKENS, CONTEXT, query_tokens=3, ranks=RANKS)


@dataclass(frozen=True)
class Case:
    """A run: who comes, what the replica may carry, and how it schedules."""

    policy: str
    traffic: Requests
    limits: Limits
    loop: ClosedLoop | None
    acceptance: float | None = None

    @property
    def surface(self) -> Surface:
        return SURFACE if self.acceptance is None else GUESSING

    @property
    def options(self) -> dict[str, Any]:
        return {"acceptance": self.acceptance or 0.0, "random": np.random.default_rng(5)}


def prefixed(traffic: Requests, random: np.random.Generator, block: int) -> Requests:
    """The same requests, most of which share beginnings: families of prompts that part ways somewhere."""
    ids, offsets = [], [0]
    for r in range(len(traffic)):
        family, blocks = int(random.integers(4)), int(traffic.input_tokens[r]) // block
        common = int(random.integers(blocks + 1))
        ids += [family * 1000 + j if j < common else 10_000 + r * 1000 + j for j in range(blocks)]
        offsets.append(len(ids))
    return replace(traffic, hashes=(np.array(offsets), np.array(ids, dtype=np.int64)), block_tokens=block)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few requests, little memory, all policies; arrivals that hit no boundary exactly."""
    policy = draw(st.sampled_from(list(POLICIES)))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    count = draw(st.integers(1, 40))
    rate = draw(st.sampled_from([0.3, 3.0, 30.0]))
    longest = draw(st.sampled_from([3, 40, 150]))
    arrival = np.cumsum(random.exponential(1 / rate, count))
    traffic = requests(arrival, random.integers(1, 2 * longest, count), random.integers(1, longest, count))
    if draw(st.booleans()):
        traffic = prefixed(traffic, random, BLOCK * draw(st.sampled_from([1, 2])))
    if policy == "vllm" and draw(st.booleans()):
        traffic = replace(traffic, priority=random.integers(0, 3, count))
    acceptance = draw(st.sampled_from([None, None, 0.0, 0.6, 1.0]))
    tokens = draw(st.integers(SEQUENCES if acceptance is None else 3 * SEQUENCES, TOKENS))
    host, remote = (Below(draw(st.sampled_from([0, 7, 60])), draw(st.sampled_from([0.0, 1e-3]))) for _ in range(2))
    limits = Limits(tokens, draw(st.integers(1, SEQUENCES)), draw(st.integers(20, 300)), BLOCK, host, remote)
    loop = ClosedLoop(draw(st.integers(1, 8)), float(random.exponential(0.1))) if draw(st.booleans()) else None
    return Case(policy, traffic, limits, loop, acceptance)
