"""Weight matrices, norms and the exchanges every block uses."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from silicast.model.blocks.shard import Shard, present
from silicast.model.ops import Collective, Gemm, Part, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import SharedCut

#: vector operations per value; the bytes decide, so the counts only need their order of magnitude
NORM_OPERATIONS = 4
ACTIVATION_OPERATIONS = 8
ROPE_OPERATIONS = 4


@dataclass(frozen=True, slots=True)
class Linear:
    """One weight matrix `inputs x (outputs + few)`, several projections fused where engines fuse them.

    `cut` is the Megatron cut (arXiv:1909.08053): by columns, by rows, or whole on every rank. `few` more columns
    belong to only `units` heads or groups: they are cut over at most that many ranks and are replicated beyond (K and
    V with tp > KV heads).
    """

    name: str
    scope: Scope
    inputs: int
    outputs: int
    cut: Literal["columns", "rows", "whole"]
    bias: int = 0
    few: int = 0
    units: int = 1

    @property
    def weights(self) -> int:
        """Weights of the whole matrix."""
        return self.inputs * (self.outputs + self.few)

    @property
    def parameters(self) -> int:
        return self.weights + self.bias

    def shape(self, tp: Size) -> tuple[Size, Size]:
        """(n, k) on one of `tp` ranks."""
        if self.cut == "rows":
            return self.outputs, self.inputs / tp
        if self.cut == "whole":
            return self.outputs + self.few, self.inputs
        n = self.outputs / tp
        return (n + self.few / np.minimum(tp, self.units) if self.few else n), self.inputs

    def held(self, tp: Size) -> Size:
        """Weights held by one of `tp` ranks."""
        n, k = self.shape(tp)
        return n * k

    def gemm(self, part: Part, m: Size, tp: Size, count: Size = 1, inside: Size = 0) -> Gemm:
        n, k = self.shape(tp)
        return Gemm(self.name, part, self.scope, m, n, k, count=count, inside=inside)


def held_weights(linears: tuple[Linear, ...], parameters: int, tp: Size) -> Size:
    """Weights of one rank: matrices by their cut; biases and norms, the rest of `parameters`, whole on every rank."""
    rest = parameters - sum(linear.weights for linear in linears)
    return sum((linear.held(tp) for linear in linears), rest)


def norm(name: str, part: Part, m: Size, width: int, count: Size = 1) -> Vector:
    """RMS or layer normalisation of m rows, residual added in the same pass."""
    moved = m * (2 * width)
    return Vector(name, part, moved, moved, moved * (NORM_OPERATIONS / 2), count)


def norms(part: Part, m: Size, width: int, count: int) -> list[Vector]:
    """The `count` norms of a block as one operator (sandwich norms have two)."""
    return [norm("norm", part, m, width, count)] if count else []


def all_reduce_tp(part: Part, shard: Shard, hidden: int) -> Collective:
    """Sum of the partial results of the tensor-parallel ranks."""
    return Collective(f"{part}_all_reduce", part, "all_reduce", shard.rows * hidden, shard.tp, 1, count=shard.parallel)


def kv_gather_cp(part: Part, shard: Shard, values: Size) -> list[Collective]:
    """Under context parallelism a prefill needs the K and V of the other ranks, cached ones too, for its queries."""
    if not shard.divides:
        return []
    cp, load = shard.layout.cp, shard.load
    gathered = load.prefill_sequences * (load.prefill_tokens + load.prefill_context) * values
    count = present(cp > 1) * shard.prefills
    return [Collective("kv_gather", part, "all_gather", gathered, cp, shard.tp, count=count)]


def partial_sums_cp(part: Part, shard: Shard, values: Size) -> list[Collective]:
    """Under context parallelism each rank decodes on its share of the keys: `values` per token are summed."""
    if not shard.divides:
        return []
    cp = shard.layout.cp
    count = present(cp > 1) * shard.decodes
    return [Collective("partial_sums", part, "all_reduce", shard.decoded * values, cp, shard.tp, count=count)]


def cut_ranks(cut: SharedCut, layout: Layout) -> Size:
    """Ranks over which a part that experts do not own is cut.

    A stack may hold it whole where tokens travel between attention groups; within one group it is cut.
    """
    if cut == "tensor":
        return layout.tp
    travels = present(layout.attention_dp * layout.cp > 1)
    return layout.tp - (layout.tp - 1) * travels
