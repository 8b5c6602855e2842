"""Attention over compressed keys (DeepSeek-V4)."""

from dataclasses import dataclass

import numpy as np

from silicast.model.blocks.core import UNLIMITED, AttentionCore
from silicast.model.blocks.indexer import Indexer
from silicast.model.blocks.linear import (
    ACTIVATION_OPERATIONS,
    NORM_OPERATIONS,
    ROPE_OPERATIONS,
    Linear,
    all_reduce_tp,
    held_weights,
    kv_gather_cp,
    norms,
    partial_sums_cp,
)
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Gemm, Op, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class CompressedAttention(Stateless):
    """Attention of DeepSeek-V4: many query heads on one key head whose key is the value too.

    A query sees the last `window` tokens and, where `stride` > 0, one compressed key per `stride` tokens: all of them
    (heavily compressed), or the top-k of an indexer (compressed sparse). Compressed keys are softmax-weighted sums of
    `series` projections of their tokens. The output goes through `groups` projections to `out_rank` each, then to
    hidden. The single key head is on every tensor-parallel rank.
    """

    hidden: int
    heads: int
    head_dim: int
    q_rank: int
    out_rank: int
    groups: int
    window: int
    stride: int = 0
    series: int = 1
    index: Indexer | None = None
    norm_parameters: int = 0
    norms: int = 1
    name: str = "attention"

    @property
    def kind(self) -> str:
        return "MQA compressed" if self.stride else "MQA window"

    def _down(self) -> Linear:
        """To the query latent, the key, and key and gate of the compressor: whole on every rank."""
        compressor = 2 * self.series * self.head_dim if self.stride else 0
        return Linear("qkv_down", "attention", self.hidden, self.q_rank + self.head_dim + compressor, "whole")

    def _query(self) -> Linear:
        return Linear("q_up", "attention", self.q_rank, self.heads * self.head_dim, "columns")

    def _grouped(self) -> Linear:
        """The block-diagonal projection of all groups, as one matrix of the same weights."""
        width = self.heads * self.head_dim // self.groups
        return Linear("o_groups", "attention", width, self.groups * self.out_rank, "columns")

    def _output(self) -> Linear:
        return Linear("o", "attention", self.groups * self.out_rank, self.hidden, "rows")

    def _linears(self) -> tuple[Linear, ...]:
        return self._down(), self._query(), self._grouped(), self._output()

    def parameters(self) -> dict[Scope, int]:
        linears = sum(linear.parameters for linear in self._linears())
        compressor = self.series * self.head_dim * self.stride + self.head_dim if self.stride else 0
        extra = self.heads + self.q_rank + self.head_dim + compressor + self.norm_parameters
        own: dict[Scope, int] = {"attention": linears + extra}
        return own | ({"indexer": self.index.parameters} if self.index else {})

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        held: dict[Scope, Size] = {**self.parameters()}
        held["attention"] = held_weights(self._linears(), self.parameters()["attention"], layout.tp)
        return held

    def cache_values(self, layout: Layout, context: Size) -> Size:
        kept = np.minimum(context, self.window)
        compressed = context / self.stride if self.stride else 0
        return self.head_dim * (kept + compressed) / layout.cp

    def index_values(self, layout: Layout, context: Size) -> Size:
        return self.index.cached(layout, context) if self.index else 0

    def head_units(self) -> tuple[int, ...]:
        return (self.heads, self.groups)

    def ops(self, shard: Shard) -> list[Op]:
        rows, tp = shard.rows, shard.tp
        heads = self.heads / tp
        return [
            *norms("attention", rows, self.hidden, self.norms),
            self._down().gemm("attention", rows, tp),
            self._query().gemm("attention", rows, tp),
            *self._positions(shard, heads),
            *(self.index.ops(shard) if self.index else []),
            *kv_gather_cp("attention", shard, self.head_dim),
            *self._cores(shard, heads),
            *partial_sums_cp("attention", shard, heads * self.head_dim),
            self._group_gemm(shard),
            self._output().gemm("attention", rows, tp),
            all_reduce_tp("attention", shard, self.hidden),
        ]

    def _positions(self, shard: Shard, heads: Size) -> list[Op]:
        """Norm of the query heads, rotation, write to the cache, and the compression of the new keys."""
        queries = shard.rows * (heads + 1) * self.head_dim
        kernels: list[Op] = [
            Vector("rope_and_cache", "attention", queries, queries, (NORM_OPERATIONS + ROPE_OPERATIONS) * queries)
        ]
        if self.stride:
            mixed = shard.rows * (2 * self.series * self.head_dim)
            written = mixed / (2 * self.series * self.stride)
            kernels.append(Vector("compress", "attention", mixed, written, ACTIVATION_OPERATIONS * mixed))
        return kernels

    def _cores(self, shard: Shard, heads: Size) -> list[Op]:
        """The window and the compressed keys; one kernel in practice, two terms of its work here."""
        sizes = (heads, self.head_dim, self.head_dim, self.head_dim)
        near = AttentionCore(*sizes, self.window).both(shard)
        if not self.stride:
            return near
        limit = self.index.topk if self.index else UNLIMITED
        far = AttentionCore(*sizes, limit, "topk", self.stride, name="compressed_attention")
        return near + far.both(shard)

    def _group_gemm(self, shard: Shard) -> Gemm:
        width = self.heads * self.head_dim // self.groups
        groups = self.groups / shard.tp
        return Gemm("o_groups", "attention", "attention", shard.rows, self.out_rank, width, groups)
