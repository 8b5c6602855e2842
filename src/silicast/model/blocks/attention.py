"""Softmax attention with a cache of keys and values per head."""

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
from silicast.model.ops import Op, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class SelfAttention(Stateless):
    """Multi-head, grouped-query (arXiv:2305.13245) or multi-query attention with rotary or learned positions.

    window      keys a query sees at most: the last ones, or those of its own chunk where `chunked`
    qk_norm     parameters of the norms of Q and K
    gate        columns of an output gate: one per value, or one per head
    sinks       one learned logit per head joins the softmax
    k_is_v      one projection gives K and V (Gemma 4); the cache still holds both, they are normed apart
    reuses_kv   takes K and V of an earlier layer: no projections and no cache of its own
    index       chooses `index.topk` keys per query: sparse attention
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int | None = None
    window: int | None = None
    chunked: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: int = 0
    gate: int = 0
    sinks: bool = False
    k_is_v: bool = False
    reuses_kv: bool = False
    index: Indexer | None = None
    norm_parameters: int = 0
    norms: int = 1
    name: str = "attention"

    @property
    def value_dim(self) -> int:
        return self.v_head_dim or self.head_dim

    @property
    def kind(self) -> str:
        grouped = {self.heads: "MHA", 1: "MQA"}.get(self.kv_heads, "GQA")
        limited = "sparse" if self.index else "chunked" if self.chunked else "window" if self.window else ""
        return f"{grouped} {limited}".strip()

    def _linears(self) -> tuple[Linear, Linear]:
        q = self.heads * self.head_dim
        values = 0 if self.k_is_v else self.value_dim
        kv = 0 if self.reuses_kv else self.kv_heads * (self.head_dim + values)
        qkv_bias = q + kv if self.qkv_bias else 0
        o_bias = self.hidden if self.o_bias else 0
        return (
            Linear("qkv", "attention", self.hidden, q + self.gate, "columns", qkv_bias, kv, self.kv_heads),
            Linear("o", "attention", self.heads * self.value_dim, self.hidden, "rows", o_bias),
        )

    def parameters(self) -> dict[Scope, int]:
        extra = self.qk_norm + (self.heads if self.sinks else 0) + self.norm_parameters
        own: dict[Scope, int] = {"attention": sum(linear.parameters for linear in self._linears()) + extra}
        return own | ({"indexer": self.index.parameters} if self.index else {})

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        held: dict[Scope, Size] = {**self.parameters()}
        held["attention"] = held_weights(self._linears(), self.parameters()["attention"], layout.tp)
        return held

    def kv_values(self, tp: Size) -> Size:
        """Values of one token in the cache of one of `tp` ranks; replicated when tp exceeds the KV heads."""
        return self.kv_heads * (self.head_dim + self.value_dim) / np.minimum(tp, self.kv_heads)

    def cache_values(self, layout: Layout, context: Size) -> Size:
        if self.reuses_kv:
            return 0
        kept = np.minimum(context, self.window) if self.window else context
        return self.kv_values(layout.tp) * kept / layout.cp

    def index_values(self, layout: Layout, context: Size) -> Size:
        return self.index.cached(layout, context) if self.index else 0

    def head_units(self) -> tuple[int, ...]:
        return (self.heads,)

    def ops(self, shard: Shard) -> list[Op]:
        qkv, o = self._linears()
        core = self._core(shard.tp)
        return [
            *norms("attention", shard.rows, self.hidden, self.norms),
            qkv.gemm("attention", shard.rows, shard.tp),
            *self._positions(shard),
            *(self.index.ops(shard) if self.index else []),
            *kv_gather_cp("attention", shard, core.values),
            *core.both(shard),
            *partial_sums_cp("attention", shard, core.heads * self.value_dim),
            *self._gating(shard),
            o.gemm("attention", shard.rows, shard.tp),
            all_reduce_tp("attention", shard, self.hidden),
        ]

    def _core(self, tp: Size) -> AttentionCore:
        sizes = (self.heads / tp, self.head_dim, self.value_dim, self.kv_values(tp))
        if self.index:
            return AttentionCore(*sizes, self.index.topk, "topk")
        return AttentionCore(*sizes, self.window or UNLIMITED, "chunk" if self.chunked else "window")

    def _positions(self, shard: Shard) -> list[Op]:
        """Norm of Q and K, rotation of Q and K, write of K and V to the cache."""
        rotated = shard.rows * ((self.heads + self.kv_heads) * self.head_dim) / shard.tp
        kernels: list[Op] = []
        if self.qk_norm and "qk_norm" not in shard.stack.fused:
            kernels.append(Vector("qk_norm", "attention", rotated, rotated, NORM_OPERATIONS * rotated))
        kernels.append(Vector("rope_and_cache", "attention", rotated, rotated, ROPE_OPERATIONS * rotated))
        return kernels

    def _gating(self, shard: Shard) -> list[Op]:
        if not self.gate:
            return []
        mixed = shard.rows * (self.heads * self.value_dim) / shard.tp
        return [Vector("output_gate", "attention", 2 * mixed, mixed, ACTIVATION_OPERATIONS * mixed)]
