"""The operators of a step. Dimensions may be arrays of shape `(config,)`; all are per device.

FLOPs and values moved follow from the kind of operator. A layout that lacks an operator has `count` 0, not a branch.
`scope` names the group of weights that a checkpoint quantises together; `part` is where `explain` files the operator.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Size = int | float | Array

Scope = Literal["attention", "indexer", "ffn", "experts", "shared", "router", "head", "embedding"]
Part = Literal["attention", "ffn", "experts", "head", "embedding", "exchange", "draft"]
Phase = Literal["prefill", "decode"]
Limit = Literal["window", "chunk", "topk"]
Pattern = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"]


@dataclass(frozen=True, slots=True)
class Gemm:
    """`batch` products of (m, k) by (k, n). FLOPs = 2 batch m n k.

    `inside` is 1 where it runs inside the kernel of its neighbour, without a launch of its own.
    """

    name: str
    part: Part
    scope: Scope
    m: Size
    n: Size
    k: Size
    batch: Size = 1
    count: Size = 1
    inside: Size = 0

    @property
    def flops(self) -> Size:
        return 2.0 * self.batch * self.m * self.n * self.k


@dataclass(frozen=True, slots=True)
class GroupedGemm:
    """Products of the routed experts on one device: `tokens` of the whole stage choose `topk` of `experts`.

    The device holds `local` experts, each (k, n); where ep does not divide the experts some are held twice
    (redundant experts). With even routing it multiplies `tokens topk / ep` rows.
    """

    name: str
    part: Part
    scope: Scope
    tokens: Size
    topk: Size
    experts: Size
    ep: Size
    n: Size
    k: Size
    count: Size = 1

    @property
    def rows(self) -> Size:
        return self.tokens * self.topk / self.ep

    @property
    def local(self) -> Size:
        return np.ceil(self.experts / np.asarray(self.ep))

    @property
    def flops(self) -> Size:
        return 2.0 * self.rows * self.n * self.k


@dataclass(frozen=True, slots=True)
class Attention:
    """Scaled dot-product attention of `sequences`, each with `query` new tokens behind `context` cached ones.

    Causal: query i attends to context + i tokens, at most `limit` of them. `limited_by` says which: the last ones
    (a window), those of its own chunk, or the top-k of a sparse attention, which may lie anywhere. `kv_values` are
    the values of one key in the cache of this device (K and V; the latent once). A compressed attention has one key
    per `stride` tokens. `kv_bytes` are bytes per value where the format of the cache does not hold (index keys).
    `share` is the part of the queries (prefill) or of the keys (decode) that this device works on under cp.
    """

    name: str
    part: Part
    phase: Phase
    sequences: Size
    query: Size
    context: Size
    heads: Size
    qk_dim: int
    v_dim: int
    kv_values: Size
    limit: float = float("inf")
    share: Size = 1
    causal: bool = True
    count: Size = 1
    limited_by: Limit = "window"
    stride: int = 1
    kv_bytes: float | None = None

    @property
    def pairs(self) -> Size:
        """Query-key pairs per head on this device, all sequences."""
        limit = self.limit * self.stride
        if self.limited_by == "chunk":
            pairs = chunked_pairs(self.query, self.context, limit)
        else:
            pairs = attended_pairs(self.query, self.context, limit, self.causal)
        return self.sequences * pairs * (self.share if self.stride == 1 else self.share / self.stride)

    @property
    def keys(self) -> Size:
        """Cached and new keys read, all sequences."""
        span = self.context + self.query
        if self.limit < float("inf"):
            span = np.minimum(span, self.limit * self.stride * self.query if self.limited_by == "topk" else self._reach)
        if self.stride > 1:
            span = span / self.stride
        return self.sequences * (span * self.share if self.phase == "decode" else span)

    @property
    def _reach(self) -> Size:
        return self.limit * self.stride + self.query - 1

    @property
    def flops(self) -> Size:
        return 2.0 * self.pairs * self.heads * (self.qk_dim + self.v_dim)


@dataclass(frozen=True, slots=True)
class Scan:
    """A linear recurrence (gated delta rule, state-space): a state of `heads x key_dim x value_dim` per sequence.

    `flops_per_state` FLOPs touch each state value per token: update, decay and read-out.
    """

    name: str
    part: Part
    sequences: Size
    tokens: Size
    heads: Size
    key_dim: int
    value_dim: int
    flops_per_state: float
    count: Size = 1

    @property
    def state_values(self) -> Size:
        return self.sequences * self.heads * self.key_dim * self.value_dim

    @property
    def flops(self) -> Size:
        return self.flops_per_state * self.tokens * self.heads * self.key_dim * self.value_dim


@dataclass(frozen=True, slots=True)
class Vector:
    """An element-wise or row-wise operator: `read` and `written` values, `operations` on the vector units.

    `inside` is 1 where it runs inside the kernel of its neighbour, without a launch of its own.
    """

    name: str
    part: Part
    read: Size
    written: Size
    operations: Size
    count: Size = 1
    inside: Size = 0

    @property
    def flops(self) -> Size:
        return self.operations


@dataclass(frozen=True, slots=True)
class Collective:
    """`values` per rank exchanged in a group of `group` ranks, `stride` ranks apart in the device numbering.

    all_reduce, reduce_scatter: `values` = size of the tensor on each rank. all_gather: size of the result.
    all_to_all: `values` = the tokens one rank owns, each with `fan` copies (top-k). `relayed` is the
    share of tokens of which one copy per node crosses the outer domain and is passed on inside it (prefill); the
    copies of the others travel alone.
    """

    name: str
    part: Part
    pattern: Pattern
    values: Size
    group: Size
    stride: Size
    fan: Size = 1
    quantised: bool = False
    relayed: Size = 0
    count: Size = 1

    @property
    def flops(self) -> Size:
        return 0.0


Op = Gemm | GroupedGemm | Attention | Scan | Vector | Collective


def attended_pairs(query: Size, context: Size, limit: float, causal: bool = True) -> Size:
    """Query-key pairs of one sequence: sum over i = 1..query of min(context + i, limit).

    With `free` = queries whose keys are not cut, free = clip(limit - context, 0, query):
    pairs = free context + free (free + 1) / 2 + (query - free) limit. Without causality: query x (context + query).
    """
    if not causal:
        reach: Size = np.minimum(context + query, limit)
        return query * reach
    if limit == float("inf"):
        return query * context + query * (query + 1) / 2
    free: Size = np.clip(limit - context, 0, query)
    return free * context + free * (free + 1) / 2 + (query - free) * limit


def chunked_pairs(query: Size, context: Size, chunk: float) -> Size:
    """Query-key pairs of one sequence whose tokens attend within their own chunk (Llama 4).

    A token at position p of a chunk has p keys. Within the first chunk that is exact; beyond, requests stand anywhere
    in their chunk, so a token has (chunk + 1) / 2 keys on average. Exact at whole chunks.
    """
    after: Size = np.minimum(context + query, chunk)
    before: Size = np.minimum(context, chunk)
    mean = (chunk + 1) / 2
    return (after * (after + 1) - before * (before + 1)) / 2 + (query - (after - before)) * mean
