"""Steady state of a pool: batch, step time and arrival rate as one fixed point.

Notation, per attention rank: B sequences in flight, I input and O output tokens, y output tokens per step,
S = (O - 1) / y decode steps per request, n = ceil(uncached input / chunk budget) prefill steps per request,
t_d a pure decode step, t_m a step that also carries one chunk, t_p a step of one chunk alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.scenario import Load, Size, Speculation, Workload

Array = NDArray[Any]
StepSeconds = Callable[[Load], Array]
Curve = Callable[[Array], "Steady"]

#: batch sizes at which an open loop is sampled before it is solved by interpolation, and the smallest of them
GRID = 33
LEAST_SEQUENCES = 1 / 64
#: the width of a uniform distribution over its standard deviation, squared
UNIFORM = 12.0
#: no decode steps at all (one output token): keeps shares finite
LEAST_STEPS = 1e-9


@dataclass(slots=True)
class Steady:
    """Means over requests, seconds and requests/s per replica; shape `(config[, draw])`.

    `sequences` is the mean number decoding together on one attention rank. `busy` is the share of time the prefill
    work takes of the pool; at 1 the pool cannot keep up and the queue, not the device, sets TTFT.
    """

    ttft: Array
    tpot: Array
    e2e: Array
    requests: Array
    sequences: Array
    busy: Array
    decode_step: Array
    prefill_step: Array


@dataclass(frozen=True, slots=True)
class Discipline:
    """How a pool interleaves and what surrounds it.

    chunk_tokens  prompt tokens that one step may carry
    stalls        prefill runs alone and decode waits (prefill first); else it runs in steps of the others' decode
    ranks         attention ranks in lock-step
    stages        pipeline stages
    front         seconds from the client to the queue: network, tokeniser, per request and per input token
    lag           decode steps between the end of a prefill and its first token at the client (asynchronous engines)
    """

    chunk_tokens: Size
    stalls: bool
    ranks: Size = 1
    stages: Size = 1
    front: tuple[Any, Any] = (0.0, 0.0)
    lag: Any = 0.0


def loads(workload: Workload, sequences: Size, chunk: Size, drafts: Size) -> tuple[Load, Load, Size]:
    """(decode load, load of one chunk, chunks per request) of the mean request with `sequences` in flight.

    With fewer than one sequence per rank some ranks idle: the load is that of a rank with one.
    """
    cached = workload.input_tokens * workload.prefix_hit
    fresh = np.maximum(workload.input_tokens - cached, 1)
    chunks = np.ceil(fresh / chunk)
    resident = np.maximum(sequences, np.minimum(1, np.ceil(sequences)))
    decode = Load(
        decode_sequences=resident,
        decode_context=workload.input_tokens + np.maximum(np.asarray(workload.output_tokens) - 2, 0) / 2,
        query_tokens=1 + drafts,
        decode_share=np.minimum(sequences, 1) if np.any(np.asarray(sequences) > 0) else 1,
    )
    # chunk i of n sees cached + i/n of the fresh tokens: on average half of the other n - 1 chunks
    piece = fresh / chunks
    prefill = Load(prefill_sequences=1, prefill_tokens=piece, prefill_context=cached + piece * (chunks - 1) / 2)
    return decode, prefill, chunks


def closed_loop(step: StepSeconds, workload: Workload, sequences: Size, how: Discipline, draft: Speculation) -> Steady:
    """Mixed pool with a fixed number of requests in flight.

    q prompts of a rank share a prefill pass: those that arrive within one (`_sharing`). Per cycle of a request the
    others, o = B / q - (1 + (r - 1) a) / r groups per rank, pay n prefill steps each; its own pass, which it shares
    with the q - 1 of its group and with the share a of the other ranks, follows one decode step, those of the others
    follow the rest: f = o n / (S - 1). r ranks run in lock-step, so of them (S - 1) (1 - (1 - min(f, 1))^r) +
    max(o n - S + 1, 0) = S g are steps in which at least one rank prefills (`_interleaved`). Requests arrive where
    others complete, at the ends of steps.

    prefill first:
        wait = min(c g, o n) t_p / 2, decoding = S (t_d + g t_p) - wait, TTFT = n t_p + wait
    chunked, counted in the K passes that K pipeline stages start per step, K (S + n) of them in a cycle without waits:
        w = max(min(w_q, p / 2), (1 - 1/(c rho)) p / 2, B n / q - K (S + n)), rho = p / (K (S + n))
        w_q = (sqrt(d^2 + 2 n p) - d) / 2, d = K (S + n) - p, p = o n q / (prompts that fill a budget)
        decoding = S (t_d + (1 - (1 - u)^r) (t_m - t_d)), u = (o n - w) / (K S) within 0..1, TTFT = n t_m + w t_m / K
        (w_q: M/D/1, w = rho' n / (2 (1 - rho')) at the utilisation rho' = p / (K (S + n) + w) that the waits leave;
        at most half of the others; nothing for equal lengths, which keep their distance; the fluid queue of a bunch;
        where chunks fill all passes, the rest of the cycle); a chunk runs beside the (B - 1) S / (S + n + w / K)
        others that decode and do not wait
    c is how bunched arrivals still are (`_bunching`): all slots start together and drift apart with their lengths;
    plus front + t_d / 2 + lag t_d on TTFT: the way to the queue, the running step, the way of the first token.

    A run of `requests` starts with all slots at once. This first wave, the share B / N of the requests, finds nobody
    decoding: TTFT = (ceil(B / q) + 1) / 2 n t_p, and a request that prefilled early meets on average half of the
    others' prefills, (ceil(B / q) n - 1) / 2 of them at full budget, in its decode; the others only meet those of
    later waves. Equal lengths on a prefill-first engine stay in step: every wave is such a burst.
    """
    decode, prefill, chunks = loads(workload, sequences, how.chunk_tokens, draft.tokens)
    steps = np.maximum((workload.output_tokens - 1) / draft.yield_per_step, LEAST_STEPS)
    # prompts arrive where others complete: in decode steps, or in every pass of an engine that mixes them in
    openings = steps if how.stalls else how.stages * (steps + chunks)
    full = _side_by_side(prefill, sequences, how)
    prompts = _sharing(workload, sequences * chunks / openings, full)
    shared, met, others = _interleaved(prefill, prompts, sequences, chunks, openings, how)
    t_d, t_p = step(decode), step(shared)
    trail = trailing(t_d)
    c = _bunching(workload, sequences * how.ranks, steps, chunks * others, how.stalls)
    S, n, g, o, B, c, q = (trail(value) for value in (steps, chunks, met, others, sequences, c, prompts))
    occupied = t_p / trail(how.stages)
    first = trail(_in_bursts(workload, sequences * how.ranks, how.stalls))
    t_m = t_p + t_d
    if how.stalls:
        wait = np.minimum(c * g, o * n) * occupied / 2
        ttft, paid = n * t_p + wait, S * g * occupied - wait
    else:
        K = trail(how.stages)
        passes = K * (S + n)
        # the chunks of all others at full budget: what there is to wait for
        ahead = o * q / trail(full) * n
        busy = np.minimum(ahead / passes, 1.0)
        random = trail((np.asarray(workload.length_spread) > 0) * 1.0)
        idle = passes - ahead
        queued = random * np.minimum((np.sqrt(idle**2 + 2 * n * ahead) - idle) / 2, ahead / 2)
        bunch = np.maximum(1 - 1 / np.maximum(c * busy, LEAST_STEPS), 0) * ahead / 2
        w = np.maximum(np.maximum(queued, bunch), B * n / q - passes)
        mixed = 1 - (1 - np.clip((o * n - w) / (K * S), 0, 1)) ** trail(how.ranks)
        # who waits for a prefill slot does not decode: of a full pool the share S / (S + n + w / K)
        running = S / (S + n + w / K)
        t_m = step(_joined(decode, shared, running[..., 0] if t_d.ndim > 1 else running))
        ttft, paid = (n + w / K) * t_m, S * mixed * np.maximum(t_m - t_d, 0)
    if np.any(first > 0):
        waves, t_full = _wave(step, prefill, np.asarray(sequences, dtype=float), chunks, how)
        before = (trail(waves) - 1) / 2
        ttft = ttft + first * np.maximum((before + 1) * t_full - ttft, 0)
        felt = 1.0 if how.stalls else np.maximum(t_m - t_d, 0) / t_p
        paid = (1 - first) * paid + first * np.minimum(before, S) * felt * t_full
    decoding = S * t_d + paid
    # of one token the first is the last: the whole cycle is its wait
    single = trail(np.asarray(workload.output_tokens) <= 1) > 0
    ttft, decoding = ttft + np.where(single, decoding, 0), np.where(single, 0, decoding)
    busy = np.minimum(np.minimum(o + 1, B) * n * occupied / (ttft + decoding), 1.0) if how.stalls else busy
    ttft = ttft + how.front[0] + how.front[1] * trail(workload.input_tokens) + (how.lag + (B > 1) / 2) * t_d
    cycle, token = ttft + decoding, decoding / S
    return Steady(ttft, token / trail(draft.yield_per_step), cycle, B * trail(how.ranks) / cycle, B, busy, t_d, t_p)


def _side_by_side(prefill: Load, sequences: Size, how: Discipline) -> Array:
    """Prompts (or chunks) of the mean length that one budget holds, of as many as there are."""
    return np.clip(np.floor(how.chunk_tokens / prefill.prefill_tokens), 1, np.maximum(sequences, 1))


def _sharing(workload: Workload, arriving: Size, full: Array) -> Array:
    """Prompts that share a pass: those that arrive within one; equal ones, which started together, stay together."""
    return np.where(np.asarray(workload.length_spread) > 0, np.clip(arriving, 1, full), full)


def _interleaved(
    prefill: Load, prompts: Array, sequences: Size, chunks: Size, openings: Size, how: Discipline
) -> tuple[Load, Size, Size]:
    """(the prefill load as the experts see it, prefill steps that one decode step meets, other groups of prompts).

    `prompts` (q) of a rank share a pass. The pass of a request is also one for those of other ranks that come in the
    same, of the r - 1 others the share a = min(B n / (q openings), 1): so o = B / q - (1 + (r - 1) a) / r remain.
    Of all passes in a cycle, its own n and those met, a rank fills B n / q: the share that the experts see.
    `openings` are the decode steps (prefill first) or passes (chunked) of a cycle, in which others may prefill.
    Ranks in lock-step wait for the one with most tokens: as often as one of the others prefills too, that is a full
    chunk, where a rank alone has the mean one.
    """
    ranks, sequences = np.asarray(how.ranks), np.asarray(sequences, dtype=float)
    coming = np.minimum(sequences * chunks / (prompts * openings), 1)
    others = np.maximum(sequences / prompts - (1 + (ranks - 1) * coming) / ranks, 0)
    rest = np.maximum(openings - 1, LEAST_STEPS)
    per_step = others * chunks / rest
    met = (rest * (1 - (1 - np.minimum(per_step, 1)) ** ranks) + np.maximum(others * chunks - rest, 0)) / openings
    share = np.clip(sequences * chunks / prompts / (chunks + met * openings), 1 / ranks, 1)
    mean, longest = prefill.prefill_tokens, np.minimum(prefill.prefill_tokens * chunks, how.chunk_tokens)
    fellow = (share * ranks - 1) / np.maximum(ranks - 1, 1)
    full = mean + (longest - mean) * (1 - (1 - fellow) ** (ranks - 1))
    # the experts, which all ranks share, still see the mean
    share = share * mean / full
    return replace(prefill, prefill_sequences=prompts, prefill_tokens=full, prefill_share=share), met, others


def _wave(step: StepSeconds, prefill: Load, sequences: Array, chunks: Size, how: Discipline) -> tuple[Size, Array]:
    """(steps in which a wave of `sequences` prompts prefills, seconds of one of them): as many as a budget holds."""
    full = _side_by_side(prefill, sequences, how)
    seconds = step(replace(prefill, prefill_sequences=full))
    return np.ceil(sequences / full) * chunks, seconds


def _bunching(workload: Workload, slots: Size, steps: Size, prefills: Size, stalls: bool) -> Size:
    """How much denser arrivals are than spread evenly over a cycle, mean over the rounds of a run after the first.

    All slots start together. After k rounds of lengths with relative spread s the starts have a standard deviation of
    s sqrt(k) cycles: they fill a window of a sqrt(k), a = s sqrt(12), of the cycle (as wide as a uniform one of that
    deviation), at least the time that the prefills themselves take where these stagger the slots (chunked). Over R
    rounds, with K = min(R, 1/a^2): c = ((2 / a) sqrt(K) + R - K) / R. A long run has forgotten its start: c = 1.
    """
    if workload.requests is None:
        return 1.0
    rounds = np.maximum(np.asarray(workload.requests, dtype=float) / slots - 1, LEAST_STEPS)
    a = np.clip(np.asarray(workload.length_spread) * np.sqrt(UNIFORM), LEAST_STEPS, 1)
    together = np.minimum(rounds, 1 / a**2)
    dense = np.where(np.isfinite(rounds), (2 / a * np.sqrt(together) + rounds - together) / rounds, 1.0)
    window = 0.0 if stalls else prefills / np.maximum(steps + prefills, LEAST_STEPS)
    return np.clip(dense, 1, 1 / np.maximum(window, LEAST_STEPS))


def _in_bursts(workload: Workload, slots: Size, stalls: bool) -> Size:
    """Share of the requests that start together with all others: the first wave; all, where equal ones keep in step."""
    start = 0.0 if workload.requests is None else np.minimum(slots / np.asarray(workload.requests, dtype=float), 1.0)
    in_step = (np.asarray(workload.length_spread) <= 0) * 1.0 * stalls
    return np.asarray(np.maximum(start, in_step))


def _joined(decode: Load, prefill: Load, running: Size) -> Load:
    """A chunk beside the decodes of the others, of which a share is running."""
    return replace(
        prefill,
        decode_sequences=np.maximum(np.asarray(decode.decode_sequences) - 1, 0) * running,
        decode_context=decode.decode_context,
        query_tokens=decode.query_tokens,
    )


def open_loop(curve: Curve, rate: Size, most: Size) -> tuple[Array, Array]:
    """(sequences per rank, overloaded) at which `curve` completes `rate` requests/s per replica.

    Throughput grows with the sequences in flight (Little 1961): it is sampled on a geometric grid from 1/64 to
    `most` and inverted by linear interpolation. Below the grid few requests overlap; above it the pool is overloaded.
    """
    most = np.atleast_1d(np.asarray(most, dtype=float))
    most = np.maximum(most, LEAST_SEQUENCES)
    batches = np.geomspace(np.full(most.shape, LEAST_SEQUENCES), most, GRID)
    done = np.stack([np.median(_rows(curve(batch).requests), axis=1) for batch in batches])
    done = np.maximum.accumulate(done, axis=0)
    wanted = np.broadcast_to(np.asarray(rate, dtype=float), most.shape)
    found = np.array([np.interp(wanted[i], done[:, i], batches[:, i]) for i in range(most.size)])
    return found, wanted > done[-1]


def _rows(values: Array) -> Array:
    return values if values.ndim > 1 else values[:, None]


def trailing(like: Array) -> Callable[[Any], Any]:
    """Adds the trailing draw axis where `like` has one."""

    def trail(value: Any) -> Any:
        array = np.asarray(value, dtype=float)
        return array[..., None] if like.ndim > 1 and array.ndim else array

    return trail
