"""The indexer of a sparse attention: cheap scores of all cached tokens choose the few that attention reads."""

from dataclasses import dataclass

from silicast.model.blocks.core import AttentionCore
from silicast.model.blocks.linear import ROPE_OPERATIONS, Linear
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Attention, Op, Size, Vector
from silicast.scenario import Layout

#: one FP8 value and its share of one FP32 scale per key of 128 values, in bytes
INDEX_KEY_BYTES = 1 + 4 / 128
#: 16-bit values moved per score: an FP32 logit is written and read again by the selection
SCORE_VALUES = 4
#: vector operations of the selection per score
SELECT_OPERATIONS = 4


@dataclass(frozen=True, slots=True)
class Indexer:
    """Lightning indexer of DeepSeek Sparse Attention (DeepSeek-V3.2, arXiv:2512.02556).

    score(t, s) = sum over heads of w(t, head) ReLU(q(t, head) . k(s)): an attention without values, on one FP8 key of
    `dim` values per token that it caches itself. Every rank of the attention group computes all heads. Then the
    `topk` best tokens are selected.

    inputs    width the queries are projected from (the query latent, or hidden)
    weighted  scores of the heads are summed with weights projected from hidden; else each head selects for itself
    blocked   keys that share one selection: the score of a block is its best (MiniMax-M3)
    stride    tokens behind one key (compressed keys of DeepSeek-V4)
    compress  columns of the projections that make a compressed key, instead of one key per token
    """

    hidden: int
    inputs: int
    heads: int
    dim: int
    topk: int
    weighted: bool = True
    norm_parameters: int = 0
    blocked: int = 1
    stride: int = 1
    compress: int = 0

    def linears(self) -> tuple[Linear, ...]:
        """Queries, key, and the weights of the heads."""
        query = Linear("index_q", "indexer", self.inputs, self.heads * self.dim, "whole")
        key = Linear("index_k", "indexer", self.hidden, self.compress or self.dim, "whole")
        weights = Linear("index_weights", "indexer", self.hidden, self.heads, "whole")
        return (query, key, weights) if self.weighted else (query, key)

    @property
    def parameters(self) -> int:
        return sum(linear.parameters for linear in self.linears()) + self.norm_parameters

    def cached(self, layout: Layout, context: Size) -> Size:
        """8-bit values one sequence keeps on one device."""
        return self.dim / self.stride * context / layout.cp

    def ops(self, shard: Shard) -> list[Op]:
        """Projections, rotation and quantisation, scores, selection."""
        rotated = shard.rows * ((self.heads + 1) * self.dim)
        core = AttentionCore(
            self.heads, self.dim, 0, self.dim, stride=self.stride, kv_bytes=INDEX_KEY_BYTES, name="index"
        )
        prefill, decode = core.prefill(shard), core.decode(shard)
        return [
            *(linear.gemm("attention", shard.rows, shard.tp) for linear in self.linears()),
            Vector("index_rope_and_cache", "attention", rotated, rotated / 2, ROPE_OPERATIONS * rotated),
            prefill,
            self._select(prefill),
            decode,
            self._select(decode),
        ]

    def _select(self, scores: Attention) -> Vector:
        """Top-k over the scores: one per key, or one per block and head."""
        each = (1 if self.weighted else self.heads) / self.blocked
        found = scores.pairs * each
        return Vector(
            f"{scores.name}_topk", scores.part, SCORE_VALUES * found, 0, SELECT_OPERATIONS * found, scores.count
        )
