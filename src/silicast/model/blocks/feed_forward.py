"""The dense feed-forward network."""

from dataclasses import dataclass, replace

from silicast.model.blocks.linear import ACTIVATION_OPERATIONS, Linear, cut_ranks, held_weights, norms
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard, present
from silicast.model.ops import Collective, Op, Part, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class FeedForward(Stateless):
    """The dense feed-forward network, gated (three matrices, arXiv:2002.05202) or not (two).

    `parallel`: it runs beside attention, and its partial sums join the all-reduce of attention (Falcon).
    """

    hidden: int
    intermediate: int
    gated: bool = True
    bias: bool = False
    norm_parameters: int = 0
    norms: int = 1
    parallel: bool = False
    scope: Scope = "ffn"
    name: str = "ffn"

    def linears(self) -> tuple[Linear, Linear]:
        """Up (with the gate) and down."""
        width = self.intermediate * (2 if self.gated else 1)
        return (
            Linear("up", self.scope, self.hidden, width, "columns", width if self.bias else 0),
            Linear("down", self.scope, self.intermediate, self.hidden, "rows", self.hidden if self.bias else 0),
        )

    def parameters(self) -> dict[Scope, int]:
        return {self.scope: sum(linear.parameters for linear in self.linears()) + self.norm_parameters}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        return self.held(cut_ranks(stack.dense_cut, layout))

    def held(self, ranks: Size) -> dict[Scope, Size]:
        """Parameters held by one of `ranks` ranks."""
        return {self.scope: held_weights(self.linears(), self.parameters()[self.scope], ranks)}

    def head_units(self) -> tuple[int, ...]:
        return (self.intermediate,)

    def ops(self, shard: Shard) -> list[Op]:
        return [
            *norms("ffn", shard.rows, self.hidden, self.norms),
            *self.products("ffn", shard, cut_ranks(shard.stack.dense_cut, shard.layout)),
            *self._exchange(shard),
        ]

    def _exchange(self, shard: Shard) -> list[Op]:
        """Partial sums are all-reduced; the results of a network that every rank holds whole are gathered."""
        if self.parallel:
            return []
        values, tp = shard.rows * self.hidden, shard.tp
        summed = Collective("ffn_all_reduce", "ffn", "all_reduce", values, tp, 1, count=shard.parallel)
        if shard.stack.dense_cut == "tensor":
            return [summed]
        whole = shard.parallel * present(shard.layout.attention_dp * shard.layout.cp > 1)
        gathered = Collective("ffn_all_gather", "ffn", "all_gather", values, tp, 1, count=whole)
        return [replace(summed, count=shard.parallel - whole), gathered]

    def products(self, part: Part, shard: Shard, ranks: Size) -> list[Op]:
        """Up, activation, down, cut over `ranks` ranks: 1 = a rank holds all of it and has a share of the tokens."""
        inner = shard.rows * self.intermediate / shard.tp
        rows = shard.rows if ranks is shard.tp else shard.rows * (ranks / shard.tp)
        up, down = self.linears()
        read = 2 * inner if self.gated else inner
        return [
            up.gemm(part, rows, ranks),
            Vector("activation", part, read, inner, ACTIVATION_OPERATIONS * inner),
            down.gemm(part, rows, ranks),
        ]
