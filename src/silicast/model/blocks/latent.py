"""Multi-head latent attention."""

from dataclasses import dataclass

from silicast.model.blocks.core import UNLIMITED, AttentionCore
from silicast.model.blocks.indexer import Indexer
from silicast.model.blocks.linear import (
    ACTIVATION_OPERATIONS,
    ROPE_OPERATIONS,
    Linear,
    all_reduce_tp,
    held_weights,
    kv_gather_cp,
    norm,
    norms,
    partial_sums_cp,
)
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Gemm, Op, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class LatentAttention(Stateless):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): the cache holds one latent per token.

    Prefill expands the latent to full K and V (`kv_up`), earlier chunks and prefix hits again. Decode absorbs `kv_up`
    into the query and the output: attention runs on the latent itself, 1 KV head of kv_rank + rope values, which
    every tensor-parallel rank holds in full.

    With `sparse_keys` it is sparse (DeepSeek-V3.2, arXiv:2512.02556): each query reads its own top-k latents, so
    prefill is absorbed too, as nothing expanded could be shared. The layer selects with its own `index`, or reuses the
    selection of an earlier layer (GLM-5.2, arXiv:2603.12201).
    """

    hidden: int
    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    bias: bool = False
    gate: bool = False
    sparse_keys: int | None = None
    index: Indexer | None = None
    norm_parameters: int = 0
    norms: int = 1
    name: str = "attention"

    @property
    def qk_dim(self) -> int:
        return self.nope_dim + self.rope_dim

    @property
    def latent(self) -> int:
        """Values of one token in the cache."""
        return self.kv_rank + self.rope_dim

    @property
    def kind(self) -> str:
        return "MLA sparse" if self.sparse_keys else "MLA"

    def _down(self) -> Linear:
        """The projections that every rank computes whole: to the query rank and to the latent."""
        columns = (self.q_rank or 0) + self.latent
        return Linear("qkv_down", "attention", self.hidden, columns, "whole", columns if self.bias else 0)

    def _query(self) -> Linear:
        return Linear("q_up", "attention", self.q_rank or self.hidden, self.heads * self.qk_dim, "columns")

    def _key_value(self) -> Linear:
        return Linear("kv_up", "attention", self.kv_rank, self.heads * (self.nope_dim + self.v_dim), "columns")

    def _output(self) -> Linear:
        bias = self.hidden if self.bias else 0
        return Linear("o", "attention", self.heads * self.v_dim, self.hidden, "rows", bias)

    def _gate(self) -> tuple[Linear, ...]:
        if not self.gate:
            return ()
        return (Linear("output_gate", "attention", self.hidden, self.heads * self.v_dim, "columns"),)

    def _linears(self) -> tuple[Linear, ...]:
        return self._down(), self._query(), self._key_value(), self._output(), *self._gate()

    def parameters(self) -> dict[Scope, int]:
        latent_norms = (self.q_rank or 0) + self.kv_rank
        linears = sum(linear.parameters for linear in self._linears())
        own: dict[Scope, int] = {"attention": linears + latent_norms + self.norm_parameters}
        return own | ({"indexer": self.index.parameters} if self.index else {})

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        held: dict[Scope, Size] = {**self.parameters()}
        held["attention"] = held_weights(self._linears(), self.parameters()["attention"], layout.tp)
        return held

    def cache_values(self, layout: Layout, context: Size) -> Size:
        return self.latent * context / layout.cp

    def index_values(self, layout: Layout, context: Size) -> Size:
        return self.index.cached(layout, context) if self.index else 0

    def head_units(self) -> tuple[int, ...]:
        return (self.heads,)

    def ops(self, shard: Shard) -> list[Op]:
        return [
            *norms("attention", shard.rows, self.hidden, self.norms),
            self._down().gemm("attention", shard.rows, shard.tp),
            *self._latent_kernels(shard),
            self._query().gemm("attention", shard.rows, shard.tp, inside=_prologue(shard)),
            *(self.index.ops(shard) if self.index else []),
            *kv_gather_cp("attention", shard, self.latent),
            *(self._sparse(shard) if self.sparse_keys else self._dense(shard)),
            *partial_sums_cp("attention", shard, self.heads / shard.tp * self.kv_rank),
            *self._gating(shard),
            self._output().gemm("attention", shard.rows, shard.tp),
            all_reduce_tp("attention", shard, self.hidden),
        ]

    def _latent_kernels(self, shard: Shard) -> list[Op]:
        """Norms of the two latents, rotation of the rope parts of Q and of the one K, write to the cache."""
        rotated = shard.rows * (self.heads / shard.tp + 1) * self.rope_dim
        kernels: list[Op] = []
        if "latent_norm" not in shard.stack.fused:
            kernels.append(norm("latent_norm", "attention", shard.rows, (self.q_rank or 0) + self.kv_rank))
        operations, inside = ROPE_OPERATIONS * rotated, _prologue(shard)
        kernels.append(Vector("rope_and_cache", "attention", rotated, rotated, operations, inside=inside))
        return kernels

    def _gating(self, shard: Shard) -> list[Op]:
        if not self.gate:
            return []
        mixed = shard.rows * (self.heads * self.v_dim) / shard.tp
        gates = (linear.gemm("attention", shard.rows, shard.tp) for linear in self._gate())
        return [*gates, Vector("output_gate", "attention", 2 * mixed, mixed, ACTIVATION_OPERATIONS * mixed)]

    def _dense(self, shard: Shard) -> list[Op]:
        """Prefill on expanded K and V, decode on the latent."""
        load, heads = shard.load, self.heads / shard.tp
        expanded = load.prefill_sequences * (load.prefill_tokens + load.prefill_context)
        absorb, restore = self._absorption(shard.decoded, heads, shard.decodes, _prologue(shard))
        full = heads * (self.qk_dim + self.v_dim)
        return [
            self._key_value().gemm("attention", expanded, shard.tp, shard.prefills),
            AttentionCore(heads, self.qk_dim, self.v_dim, full).prefill(shard),
            absorb,
            AttentionCore(heads, self.latent, self.kv_rank, self.latent).decode(shard),
            restore,
        ]

    def _sparse(self, shard: Shard) -> list[Op]:
        """Prefill and decode on the chosen latents."""
        heads = self.heads / shard.tp
        absorb, restore = self._absorption(shard.rows, heads, 1, _prologue(shard))
        core = AttentionCore(heads, self.latent, self.kv_rank, self.latent, self.sparse_keys or UNLIMITED, "topk")
        return [absorb, *core.both(shard), restore]

    def _absorption(self, rows: Size, heads: Size, count: Size, inside: Size) -> tuple[Gemm, Gemm]:
        """`kv_up` applied to the queries before, and to the output after, attention on latents."""
        return (
            Gemm("q_absorb", "attention", "attention", rows, self.kv_rank, self.nope_dim, heads, count, inside),
            Gemm("v_up", "attention", "attention", rows, self.v_dim, self.kv_rank, heads, count),
        )


def _prologue(shard: Shard) -> Size:
    """1 where what comes before latent attention is one kernel, that of the first projection: decode only."""
    return shard.decodes * (1 - shard.prefills) if "latent_prologue" in shard.stack.fused else 0
