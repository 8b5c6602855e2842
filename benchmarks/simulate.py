"""Figures of the serving simulator, one line each: medians of runs in seconds of one core, whatever else it does.

A limit, written down before optimising: a request at saturation costs about one step of its own (a decision, a look at
four tables, two list operations) and about 110 bytes of state that is read and written a few times: 0.2 to 0.5 us.
"""

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import silicast
from silicast.serving.columns import columns
from silicast.serving.fleet import Fleet, simulate_fleet
from silicast.serving.policies import policy_of
from silicast.serving.requests import Requests, requests
from silicast.serving.simulate import Limits, run_all, served, simulate
from silicast.serving.surface import Surface
from silicast.tabulated import tabulate

MODEL, CHIP, LAYOUT = "deepseek-ai/DeepSeek-R1", "h200-sxm", silicast.Layout(tp=8, ep=8)
LIMITS = Limits(8192, 256, 40_000)
COUNT = 1_000_000
RUNS = 3


def main() -> None:
    """Print every figure."""
    surface, seconds = timed(lambda: tabulate(silicast.pool_model(MODEL, CHIP), LAYOUT, 1 << 16).surface)
    report("R1 step times as tables, built", seconds, "s", "goal < 2")
    plain = traffic(4000, 12.0)
    _, seconds = timed(lambda: simulate(plain, surface, LIMITS, compile=False))
    report("simulate, uncompiled", len(plain) / seconds, "requests/s", "goal >= 20,000")
    _, seconds = timed(lambda: simulate(plain, surface, LIMITS, compile=True))
    report("simulate, first compiled call (compiles, or loads what was compiled before)", seconds, "s", "no goal")
    most = saturation(surface)
    report("saturation of the replica", most, "requests/s of the service", "no goal")
    for share in (0.8, 1.1):
        figures(
            f"simulate, no prefix cache, {share:.0%} of saturation", traffic(COUNT, share * most), surface, 1_000_000
        )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cached = prefixed(traffic(COUNT // 5, 0.8 * most))
    figures("simulate, paged cache and prefix cache", cached, surface, 200_000)
    fleet = Fleet(64, surface, LIMITS)
    sent = prefixed(traffic(COUNT // 5, 0.8 * 64 * most), block=512)
    simulate_fleet(sent, fleet, "prefix-aware", compile=True)
    spent = [timed(lambda: simulate_fleet(sent, fleet, "prefix-aware", compile=True))[1] for _ in range(RUNS)]
    seconds = statistics.median(spent)
    report("64 replicas, prefix-aware router", len(sent) / seconds, "requests/s", "goal >= 50,000")
    whole = columns(traffic(1000, 1.0), surface, LIMITS, policy_of("vllm"))
    report("state per request", whole.rows.itemsize, "bytes", f"goal < 200; peak of the process {memory / 1e3:,.0f} MB")


def figures(name: str, sent: Requests, surface: Surface, goal: int) -> None:
    """Requests per second of the whole call, and of the loop of events alone."""
    whole, loop = [], []
    for _ in range(RUNS):
        start = time.process_time()
        replica = columns(sent, surface, LIMITS, policy_of("vllm"))
        built = time.process_time()
        log = run_all(replica, True)
        ran = time.process_time()
        served(sent, replica, log)
        whole.append(time.process_time() - start)
        loop.append(ran - built)
    report(name, len(sent) / statistics.median(whole), "requests/s", f"goal >= {goal:,}")
    report(f"{name}, the loop alone", len(sent) / statistics.median(loop), "requests/s", "no goal")


def saturation(surface: Surface) -> float:
    """Requests/s that one replica completes when they all come at once."""
    out = simulate(traffic(20_000, 1e4), surface, LIMITS, compile=True)
    return float(len(out.finished) / out.finished.max())


def traffic(count: int, rate: float) -> Requests:
    """Poisson arrivals, lognormal lengths with means of 1,000 and 200 tokens and a spread of the logarithm of 1."""
    random = np.random.default_rng(1)

    def lengths(mean: float) -> np.ndarray:
        return np.maximum(1, np.rint(mean * np.exp(random.standard_normal(count) - 0.5)))

    return requests(np.cumsum(random.exponential(1 / rate, count)), lengths(1000), lengths(200))


def prefixed(plain: Requests, families: int = 2000, block: int = LIMITS.block_tokens) -> Requests:
    """The same requests; each shares a part of its prompt with one of `families`, some of them far more common."""
    random = np.random.default_rng(2)
    blocks = plain.input_tokens // block
    family = random.zipf(1.3, len(plain)) % families
    common = (random.random(len(plain)) * blocks * 0.8).astype(int)
    offsets = np.concatenate([[0], np.cumsum(blocks)])
    row = np.repeat(np.arange(len(plain)), blocks)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], blocks)
    own = place >= common[row]
    most = int(place.max()) + 1
    ids = np.where(own, families * most + np.cumsum(own), family[row] * most + place)
    return replace(plain, hashes=(offsets, ids), block_tokens=block)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and how many seconds it took."""
    start = time.process_time()
    return call(), time.process_time() - start


def report(name: str, value: float, unit: str, note: str) -> None:
    """One line per figure."""
    print(f"{name}: {value:,.3g} {unit} ({note})" if value < 1000 else f"{name}: {value:,.0f} {unit} ({note})")


if __name__ == "__main__":
    main()
