"""The laws compiled into tables: seconds of a step by its tokens, its prompts, its decodes and their context.

A step's time is a sum over operators, and an operator sees either all tokens of the step, or the prompts alone, or the
decoding sequences alone. Hence three small tables say all that one of five dimensions would:

    t = together(n, B) + prompts(p, s, k) + decode(B, c) - decode(B, 0),  n = p + B q

with s prompts of p tokens in all, each behind k cached ones, and B decoding sequences of q tokens each behind c cached
ones on average. `together` is taken with one fresh prompt and without context; `prompts` is what others cost beyond it.
All attention ranks are taken to carry the same; where they do not, two more tables say what the experts, which all of
them share, cost more or less at their mean tokens.

Batches have a row each, so every staircase in B is exact. Tokens are cut into cells that end where tiles end: linear
within a cell, a jump at its border. Along s, k and c the tables are linear between knots.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from silicast.scenario import Load

Array = NDArray[Any]
StepSeconds = Callable[[Load], Array]

#: cells along the tokens of a step, (up to, width): single tokens, then tiles of the matrix engines, then four of them
CELLS = ((64, 1), (2048, 16), (1 << 20, 64))
#: knots per doubling along the context of decodes
PER_DOUBLING = 2
#: steps along the share of a step's tokens that decode
SHARES = 16
#: prompts side by side at which `prompts` is tabulated: beyond, each costs like the last ones
SIDE_BY_SIDE = np.array([1.0, 2, 3, 4, 6, 8, 16, 32, 64])
#: the first cached tokens after 0 at which the tables have a knot
LEAST_CONTEXT = 16.0
#: knots per doubling of the mean tokens of the ranks over those of one rank, and the most of it in the tables
SHARE_KNOTS, MOST_SHARE = 2, 4
#: a share of decodes that stands for the first of many: their attention is launched, and does nothing yet
HARDLY = 1e-6
#: rows evaluated at once: bounds the memory of building
ROWS = 8192


@dataclass(slots=True)
class Surface:
    """Tables of seconds, for compiled and for plain Python.

    decode      (batch 0..most, context knot)
    together    (cell, first and last token of the cell, share of the tokens that decode)
                none, hardly any, and SHARES steps up to all of them
    prompts     (cell, first and last token of the cell, prompts knot, cached knot)
    contexts    mean cached tokens of decoding sequences at each knot, from 0
    cached      mean cached tokens of prompts at each knot, from 0
    side        prompts at each knot
    cell        cell of each number of tokens; first, last: the tokens at which a cell begins and ends
    query       tokens that a decoding sequence processes in a step
    uneven      (cell, first and last token of the cell, share knot) and
    uneven_decode   (batch 0..most, share knot): seconds beyond a step in which all ranks carry as much as this one
    shares      mean tokens of all attention ranks over those of this one at each knot
    floor       (prompts alone, prompts beside decodes) by (seconds, seconds per sequence): a step with prompts takes no
                less, as its kernels are launched one by one
    """

    decode: Array
    together: Array
    prompts: Array
    contexts: Array
    cached: Array
    side: Array
    cell: Array
    first: Array
    last: Array
    query: int
    uneven: Array
    uneven_decode: Array
    shares: Array
    floor: Array


class Prompts(NamedTuple):
    """The prompts of one step: tokens they process, how many they are, query-key pairs, tokens cached before."""

    tokens: int
    number: int
    pairs: float
    cached: int


def compile_surface(
    seconds: StepSeconds,
    most_sequences: int,
    most_tokens: int,
    most_context: int,
    query_tokens: int = 1,
    graph_batches: tuple[int, ...] = (),
    floor: Array | None = None,
    ranks: int = 1,
) -> Surface:
    """Tabulate `seconds` (a load with arrays -> seconds of each row) up to the given sizes.

    `most_tokens` are those of the prompts of one step. Decode batches are padded to the next of `graph_batches`. What
    holds a step with prompts up beside its device, and does not add to it, is no table but the `floor`. `ranks` are the
    attention ranks of a replica.
    """
    contexts = np.concatenate([[0.0], _knots(LEAST_CONTEXT, most_context)])
    cached = np.concatenate([[0.0], contexts[1::PER_DOUBLING], contexts[-1:] * 2])
    side = SIDE_BY_SIDE[max(most_sequences, 2) >= SIDE_BY_SIDE]
    cell, first, last = _cells(most_tokens + most_sequences * query_tokens)
    build = _Build(seconds, query_tokens, graph_batches)
    nodes = np.stack([first, last], axis=-1)
    batches = np.arange(most_sequences + 1.0)
    shares = _shares(ranks)
    return Surface(
        decode=build.decode(batches, contexts),
        together=build.together(nodes, np.concatenate([[0.0, HARDLY], np.linspace(0, 1, SHARES + 1)[1:]])),
        prompts=build.prompts(nodes, side, cached),
        contexts=contexts,
        cached=cached,
        side=side,
        cell=cell,
        first=first,
        last=last,
        query=query_tokens,
        uneven=build.uneven(nodes, shares) if ranks > 1 else np.zeros((1, 2, shares.size)),
        uneven_decode=build.uneven_decode(batches, shares) if ranks > 1 else np.zeros((1, shares.size)),
        shares=shares,
        floor=np.zeros((2, 2)) if floor is None else floor,
    )


def constant_surface(step: float, most_sequences: int, most_tokens: int) -> Surface:
    """Every step takes the same time: for tests of queues."""
    most_context = int(LEAST_CONTEXT)
    return compile_surface(lambda load: np.full(np.shape(load.tokens), step), most_sequences, most_tokens, most_context)


def _knots(low: float, high: float) -> Array:
    count = max(int(np.ceil(np.log2(max(high / low, 2)) * PER_DOUBLING)), 1)
    return low * 2.0 ** (np.arange(count + 1) / PER_DOUBLING)


def _shares(ranks: int) -> Array:
    """From one rank that has all tokens to one that has few of them; 1, all alike, is among the knots."""
    least = int(np.ceil(np.log2(ranks) * SHARE_KNOTS))
    most = int(np.log2(MOST_SHARE) * SHARE_KNOTS)
    return np.asarray(2.0 ** (np.arange(-least, most + 1) / SHARE_KNOTS))


def _cells(most: int) -> tuple[Array, Array, Array]:
    """(cell of 0..most tokens, first token of each cell, last token)."""
    ends = [0]
    for limit, width in CELLS:
        while ends[-1] < min(limit, most):
            ends.append(ends[-1] + width)
    last = np.array(ends[1:])
    first = np.array(ends[:-1]) + 1
    cell = np.searchsorted(last, np.arange(most + 1)).astype(np.int32)
    return cell, first.astype(float), last.astype(float)


class _Build:
    """Evaluates the laws on the nodes of the tables."""

    def __init__(self, seconds: StepSeconds, query: int, graphs: tuple[int, ...]) -> None:
        self.seconds, self.query = seconds, float(query)
        self.graphs = np.array(sorted(graphs), dtype=float)

    def decode(self, batches: Array, contexts: Array) -> Array:
        B, c = (column.ravel() for column in np.meshgrid(batches, contexts, indexing="ij"))
        run = self.padded(B)
        # padding adds rows to the products, not keys to attention
        load = (np.zeros_like(B), np.ones_like(B), np.zeros_like(B), run, c * B / np.maximum(run, 1))
        return self._evaluate(*load).reshape(batches.size, contexts.size) * (batches[:, None] > 0)

    def together(self, nodes: Array, shares: Array) -> Array:
        n, decoding = (column.ravel() for column in np.meshgrid(nodes.ravel(), shares, indexing="ij"))
        one, none = np.ones_like(n), np.zeros_like(n)
        # the last share is the limit of a prompt that gets shorter, not a step without one
        prompt = np.maximum(n * (1 - decoding), 0.5)
        found = self._evaluate(one, prompt, none, (n - prompt) / self.query, none)
        return found.reshape(*nodes.shape, shares.size)

    def prompts(self, nodes: Array, side: Array, cached: Array) -> Array:
        """What `side` prompts with context cost beyond one fresh prompt of as many tokens."""
        fresh = self._evaluate(*_alone(nodes.ravel()))
        p, s, k = (column.ravel() for column in np.meshgrid(nodes.ravel(), side, cached, indexing="ij"))
        none = np.zeros_like(p)
        found = self._evaluate(s, p / s, k, none, none).reshape(*nodes.shape, side.size, cached.size)
        return found - fresh.reshape(*nodes.shape, 1, 1)

    def uneven(self, nodes: Array, shares: Array) -> Array:
        """What one fresh prompt on this rank costs beyond the same on all ranks."""
        n, share = (column.ravel() for column in np.meshgrid(nodes.ravel(), shares, indexing="ij"))
        one, none = np.ones_like(n), np.zeros_like(n)
        found = self._evaluate(one, n, none, none, none, prefill_share=share) - self._evaluate(one, n, none, none, none)
        return found.reshape(*nodes.shape, shares.size)

    def uneven_decode(self, batches: Array, shares: Array) -> Array:
        """What decoding sequences on this rank cost beyond as many on all ranks."""
        B, share = (column.ravel() for column in np.meshgrid(np.maximum(batches, 1), shares, indexing="ij"))
        none, run = np.zeros_like(B), self.padded(B)
        load = (none, np.ones_like(B), none, run, none)
        found = self._evaluate(*load, decode_share=share) - self._evaluate(*load)
        return found.reshape(batches.size, shares.size)

    def padded(self, batches: Array) -> Array:
        """The captured batch that a batch runs as; beyond the largest it runs as it is."""
        if not self.graphs.size:
            return batches
        at = np.minimum(np.searchsorted(self.graphs, batches), self.graphs.size - 1)
        return np.where(batches > 0, np.maximum(self.graphs[at], batches), batches)

    def _evaluate(self, s: Array, p: Array, context: Array, B: Array, c: Array, **shares: Array) -> Array:
        """Seconds of `s` prompts of `p` tokens each behind `context` cached ones, beside B decodes behind c."""
        parts = []
        for start in range(0, p.size, ROWS):
            row = slice(start, start + ROWS)
            busy = {name: share[row] for name, share in shares.items()}
            load = Load(s[row], p[row], context[row], B[row], c[row], self.query, **busy)
            parts.append(np.broadcast_to(np.asarray(self.seconds(load), dtype=float), p[row].shape))
        return np.concatenate(parts)


def _alone(tokens: Array) -> tuple[Array, Array, Array, Array, Array]:
    """One fresh prompt and nothing else."""
    none = np.zeros_like(tokens)
    return np.ones_like(tokens), tokens, none, none, none


def knot(knots: Array, value: float) -> int:
    """The segment of `knots` in which `value` lies; the first and the last one reach beyond the ends."""
    low, high = 0, len(knots) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if knots[middle] <= value:
            low = middle
        else:
            high = middle
    return low


def decode_seconds(surface: Surface, batch: int, context: float) -> float:
    """Seconds of a step of `batch` decoding sequences behind `context` cached tokens on average."""
    k = knot(surface.contexts, context)
    low, high = surface.decode[batch, k], surface.decode[batch, k + 1]
    start, end = surface.contexts[k], surface.contexts[k + 1]
    found: float = low + (high - low) * (context - start) / (end - start)
    return found


def step_seconds(surface: Surface, batch: int, context: float, prompts: Prompts) -> float:
    """Seconds of a step: prompts beside `batch` decoding sequences behind `context` cached tokens on average."""
    if prompts.tokens == 0:
        return decode_seconds(surface, batch, context)
    return max(_device_seconds(surface, batch, context, prompts), _launch_seconds(surface, batch, prompts))


def uneven_step_seconds(surface: Surface, batch: int, context: float, prompts: Prompts, mean: float) -> float:
    """The same of a step with prompts where the attention ranks of the replica have `mean` tokens on average."""
    tokens = prompts.tokens + batch * surface.query
    k = knot(surface.shares, mean / tokens)
    share = (mean / tokens - surface.shares[k]) / (surface.shares[k + 1] - surface.shares[k])
    experts = _in_cell(surface, surface.uneven, tokens, k, share)
    return max(_device_seconds(surface, batch, context, prompts) + experts, _launch_seconds(surface, batch, prompts))


def _launch_seconds(surface: Surface, batch: int, prompts: Prompts) -> float:
    kind = 1 if batch > 0 else 0
    least: float = surface.floor[kind, 0] + surface.floor[kind, 1] * (batch + prompts.number)
    return least


def _device_seconds(surface: Surface, batch: int, context: float, prompts: Prompts) -> float:
    decodes = batch * surface.query
    tokens = prompts.tokens + decodes
    if batch == 0:
        return _in_cell(surface, surface.together, tokens, 0, 0.0) + prompts_seconds(surface, prompts)
    share = decodes * SHARES / tokens
    k = int(share)
    beside: float = decode_seconds(surface, batch, context) - surface.decode[batch, 0]
    return _in_cell(surface, surface.together, tokens, k + 1, share - k) + prompts_seconds(surface, prompts) + beside


def prompts_seconds(surface: Surface, prompts: Prompts) -> float:
    """What the prompts of a step cost beyond one fresh prompt of as many tokens.

    Unequal prompts count as the number of equal ones with the same tokens, pairs and cached tokens: s prompts of p / s
    behind K / s have p / s (K + p / 2) + p / 2 pairs.
    """
    p = prompts.tokens
    keys = prompts.pairs / p
    equal = min(max((prompts.cached + p / 2) / max(keys - 0.5, 0.5), 1.0), prompts.number)
    behind = max(keys - (p / equal + 1) / 2, 0.0)
    if equal == 1.0 and behind == 0.0:
        return 0.0
    j, k = knot(surface.side, equal), knot(surface.cached, behind)
    side = (equal - surface.side[j]) / (surface.side[j + 1] - surface.side[j])
    share = (behind - surface.cached[k]) / (surface.cached[k + 1] - surface.cached[k])
    fewer: float = _in_cell(surface, surface.prompts[:, :, j], p, k, share)
    more = _in_cell(surface, surface.prompts[:, :, j + 1], p, k, share)
    found: float = fewer + (more - fewer) * side
    return found


def uneven_decode_seconds(surface: Surface, batch: int, mean: float) -> float:
    """What `batch` decoding sequences cost beyond as many on all ranks, where these have `mean` on average."""
    k = knot(surface.shares, mean / batch)
    low, high = surface.uneven_decode[batch, k], surface.uneven_decode[batch, k + 1]
    found: float = low + (high - low) * (mean / batch - surface.shares[k]) / (surface.shares[k + 1] - surface.shares[k])
    return found


def _in_cell(surface: Surface, table: Array, tokens: int, k: int, share: float) -> float:
    """Linear between the first and the last token of a cell, and between knots k and k + 1."""
    cell = surface.cell[tokens]
    first, last = surface.first[cell], surface.last[cell]
    before: float = table[cell, 0, k] + (table[cell, 0, k + 1] - table[cell, 0, k]) * share
    after = table[cell, 1, k] + (table[cell, 1, k + 1] - table[cell, 1, k]) * share
    if last == first:
        return before
    found: float = before + (after - before) * (tokens - first) / (last - first)
    return found
