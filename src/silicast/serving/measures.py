"""What the users of a service felt: latencies per request, their statistics, goodput and throughput.

Keys and definitions are those of `vllm bench serve` (vLLM 0.11.0, vllm/benchmarks/serve.py: `calculate_metrics` from
line 270 on, result keys from line 717 on), so that scripts for its JSON read this too. What differs: a statistic of
nothing is None, not 0; tokens of one request are spread evenly between its first and its last for the peak of one
second; gaps come from a histogram. Keys that it does not have are named as the columns of the evidence are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.serving.outcome import Gaps, Served
from silicast.serving.requests import Requests
from silicast.serving.state import FINISHED, LOST, OPEN, REJECTED, SHED

Array = NDArray[Any]
Summary = dict[str, float | int | bool | None]

#: ms per s
MS = 1e3
#: percentiles beside the median
PERCENTILES = (90.0, 95.0, 99.0)
#: of a hundred requests
HUNDRED = 100.0
#: an SLO without a percentile of its own is met when so many percent of the requests meet it
SLO_PERCENTILE = 90.0
#: seconds of a run in which the busiest one is looked for
MOST_BUCKETS = 10**7
#: standard deviations of a Poisson count that a queue in balance does not reach
FLUCTUATION = 4.0
#: s: tokens that take less time together come at once, for the peak of one second
LEAST_FLOW = 1e-3


@dataclass(frozen=True, slots=True)
class Slo:
    """Targets that each request must meet, in ms (None = none), and the percent of requests that must meet them."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    percentile: float = SLO_PERCENTILE

    def __post_init__(self) -> None:
        for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise InputError(f"The target {name} must be a positive number of ms, got {value:g}.")
        if not 0 < self.percentile <= HUNDRED:
            raise InputError(f"The percentile of an SLO is above 0 and at most 100, got {self.percentile:g}.")

    @property
    def stated(self) -> bool:
        """Whether there is any target."""
        return any(value is not None for value in (self.ttft_ms, self.tpot_ms, self.e2e_ms))


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests with what happened to them, one row each; shape `(request,)`."""

    arrival: Array
    dispatched: Array
    first_token: Array
    finished: Array
    input_tokens: Array
    output_tokens: Array
    preemptions: Array
    cached_tokens: Array
    host_tokens: Array
    remote_tokens: Array
    state: Array

    @classmethod
    def of(cls, served: Served, requests: Requests) -> "Rows":
        """From what was sent and what came of it."""
        taken = {item.name: getattr(served, item.name) for item in fields(cls) if item.name != "input_tokens"}
        return cls(input_tokens=requests.input_tokens, **taken)

    def where(self, kept: Array) -> "Rows":
        """Some of the rows."""
        return Rows(*(getattr(self, item.name)[kept] for item in fields(self)))

    @property
    def done(self) -> Array:
        """Which requests were answered."""
        return np.asarray(self.state == FINISHED)

    @property
    def ttft(self) -> Array:
        """Seconds from sending to the first token, queue included."""
        return np.asarray(self.first_token - self.arrival)

    @property
    def e2e(self) -> Array:
        """Seconds from sending to the last token."""
        return np.asarray(self.finished - self.arrival)

    @property
    def tpot(self) -> Array:
        """(E2E - TTFT) / (output tokens - 1) in s; not a number for one token, which has no next one."""
        later = np.maximum(self.output_tokens - 1, 1)
        return np.where(self.output_tokens > 1, (self.finished - self.first_token) / later, np.nan)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What rates are divided by."""

    devices: float = 1
    packages: float = 1


def summary(
    rows: Rows,
    slo: Slo | None = None,
    gaps: Gaps | None = None,
    hardware: Hardware | None = None,
    duration: float | None = None,
) -> Summary:
    """All measures of a run, or of some of its requests with the `duration` (s) of the whole run."""
    done = rows.where(rows.done)
    span = _duration(done) if duration is None else duration
    found = _counts(rows, done) | {"duration": span}
    found |= _rates(done, span) | _goodput(rows, done, slo or Slo(), span)
    found |= _busiest(done)
    found |= statistics("ttft", done.ttft) | statistics("tpot", done.tpot)
    if gaps is not None:
        found |= gap_statistics(gaps)
    found |= statistics("e2el", done.e2e) | statistics("queue", done.dispatched - done.arrival)
    return found | _shares(found, hardware) if hardware else found


def summaries(
    rows: Rows, group: Array, names: Sequence[str], slo: Slo | None = None, duration: float | None = None
) -> dict[str, Summary]:
    """The measures of each group of requests (tenant, class, pool, replica); `group` has a place in `names`.

    Rates are over the duration of the whole run, so they add up. Gaps are not kept by group.
    """
    span = _duration(rows.where(rows.done)) if duration is None else duration
    return {name: summary(rows.where(group == place), slo, duration=span) for place, name in enumerate(names)}


def good(rows: Rows, slo: Slo) -> Array:
    """Which requests were answered and met all targets; one token has no TPOT to miss."""
    met = rows.done.copy()
    for limit, seconds in ((slo.ttft_ms, rows.ttft), (slo.tpot_ms, rows.tpot), (slo.e2e_ms, rows.e2e)):
        if limit is not None:
            met &= ~(seconds * MS > limit)
    return met


def sustainable_rate(rows: Rows) -> float | None:
    """Requests/s that an open loop can answer, where more came than that; None where it kept up.

    In the second half of the time in which requests were sent, arrivals and answers differ by what the system holds
    more at the end. In a stable system that is a fluctuation, of the order of the root of their number; under overload
    it grows with the time, and the answers per second are what the deployment can do.
    """
    taken = rows.where((rows.state != REJECTED) & np.isfinite(rows.arrival))
    last = float(np.max(taken.arrival, initial=0.0))
    if last == 0:
        return None
    middle = last / 2
    arrived = int(np.sum(taken.arrival > middle))
    answered = int(np.sum(taken.done & (taken.finished > middle) & (taken.finished <= last)))
    growing = arrived - answered > FLUCTUATION * np.sqrt(arrived + answered)
    return answered / middle if growing else None


def statistics(name: str, seconds: Array) -> Summary:
    """Mean, median, standard deviation and percentiles in ms; NaN is left out."""
    known = seconds[~np.isnan(seconds)] * MS
    keys = [f"mean_{name}_ms", f"median_{name}_ms", f"std_{name}_ms", *(_key(p, name) for p in PERCENTILES)]
    if not known.size:
        return dict.fromkeys(keys)
    values = [known.mean(), np.median(known), known.std(), *np.percentile(known, PERCENTILES)]
    return {key: float(value) for key, value in zip(keys, values, strict=True)}


def gap_statistics(gaps: Gaps) -> Summary:
    """The same of the gaps between tokens (ITL), each bin as often as it was seen."""
    seen = np.asarray(gaps.weights) > 0
    if not np.any(seen):
        return statistics("itl", np.array([]))
    values, counts = np.asarray(gaps.seconds)[seen] * MS, np.asarray(gaps.weights)[seen]
    mean = float(np.average(values, weights=counts))
    deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
    share = np.cumsum(counts) / np.sum(counts)

    def at(quantile: float) -> float:
        return float(values[min(int(np.searchsorted(share, quantile)), values.size - 1)])

    found: Summary = {"mean_itl_ms": mean, "median_itl_ms": at(0.5), "std_itl_ms": deviation}
    return found | {_key(p, "itl"): at(p / HUNDRED) for p in PERCENTILES}


def _key(percentile: float, name: str) -> str:
    return f"p{percentile:g}_{name}_ms"


def _duration(done: Rows) -> float:
    """Seconds from the start of the run to the last token."""
    return float(np.max(done.finished, initial=0.0))


def _counts(rows: Rows, done: Rows) -> Summary:
    cached, inputs = int(done.cached_tokens.sum()), int(done.input_tokens.sum())
    return {
        "completed": int(done.state.size),
        "failed": int(np.sum(np.isin(rows.state, (REJECTED, LOST, SHED)))),
        "rejected": int(np.sum(rows.state == REJECTED)),
        "lost": int(np.sum(rows.state == LOST)),
        "shed": int(np.sum(rows.state == SHED)),
        "total_input_tokens": inputs,
        "total_output_tokens": int(done.output_tokens.sum()),
        "preemptions": int(rows.preemptions.sum()),
        "prefix_hit": cached / inputs if inputs else None,
        "prefix_hit_host": int(done.host_tokens.sum()) / inputs if inputs else None,
        "prefix_hit_remote": int(done.remote_tokens.sum()) / inputs if inputs else None,
    }


def _rates(done: Rows, span: float) -> Summary:
    inputs, outputs = int(done.input_tokens.sum()), int(done.output_tokens.sum())
    counted = {
        "request_throughput": done.state.size,
        "input_throughput": inputs,
        "output_throughput": outputs,
        "total_token_throughput": inputs + outputs,
    }
    return {name: count / span if span > 0 else 0.0 for name, count in counted.items()}


def _goodput(rows: Rows, done: Rows, slo: Slo, span: float) -> Summary:
    if not slo.stated:
        return {"request_goodput": None, "slo_attainment": None, "slo_met": None}
    count = int(np.sum(good(done, slo)))
    # what was still open when the run was broken off neither met nor missed a target
    judged = int(np.sum(rows.state != OPEN))
    share = count / judged if judged else None
    met = None if share is None else share * HUNDRED >= slo.percentile
    return {"request_goodput": count / span if span > 0 else 0.0, "slo_attainment": share, "slo_met": met}


def _shares(found: Summary, hardware: Hardware) -> Summary:
    kinds = {"input": "input_throughput", "output": "output_throughput", "total": "total_token_throughput"}
    parts = {"device": hardware.devices, "package": hardware.packages}
    return {
        f"{kind}_tokens_per_s_per_{part}": float(found[key] or 0) / count
        for kind, key in kinds.items()
        for part, count in parts.items()
    }


def _busiest(done: Rows) -> Summary:
    """The most tokens and the most requests in any one second, counted from the first request."""
    start = float(np.min(done.arrival, initial=np.inf))
    length = _duration(done) - start
    if not 0 <= length < MOST_BUCKETS:
        return {"max_output_tokens_per_s": None, "max_concurrent_requests": None}
    seconds = int(np.ceil(length)) + 1
    begins = np.bincount((done.arrival - start).astype(np.int64), minlength=seconds + 1)
    ends = np.bincount((done.finished - start).astype(np.int64) + 1, minlength=seconds + 2)
    running = np.cumsum(begins[:seconds]) - np.cumsum(ends[:seconds])
    flowing = done.finished - done.first_token > LEAST_FLOW
    at_once = np.where(flowing, 1, done.output_tokens)
    first = (done.first_token - start).astype(np.int64)
    tokens = np.bincount(first, weights=at_once, minlength=seconds)[:seconds]
    tokens = tokens + np.diff(_flowed(done.where(flowing), start, np.arange(seconds + 1.0)))
    return {"max_output_tokens_per_s": float(tokens.max()), "max_concurrent_requests": int(running.max())}


def _flowed(done: Rows, start: float, times: Array) -> Array:
    """Tokens after the first ones up to each of `times`, those of one request evenly spread until it finished."""
    begins, ends = done.first_token - start, done.finished - start
    if not begins.size:
        return np.zeros(times.size)
    moments = np.concatenate((begins, ends))
    order = np.argsort(moments, kind="stable")
    # C(t) = sum of later (t - begin) / (end - begin) between begin and end: its value at the corners, then linear
    share = (done.output_tokens - 1) / (ends - begins)
    slopes = np.cumsum(np.concatenate((share, -share))[order])
    corners = moments[order]
    sums = np.concatenate(([0.0], np.cumsum(slopes[:-1] * np.diff(corners))))
    return np.interp(times, corners, sums, left=0.0)
