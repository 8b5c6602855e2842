"""What a draft layer has beside a layer of the model."""

from dataclasses import dataclass

from silicast.model.blocks.linear import Linear, held_weights, norm
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Op, Scope, Size
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class JoinInputs(Stateless):
    """Multi-token prediction joins the embedding of the next token with the hidden state (arXiv:2412.19437, 2.2).

    Both are normed and projected together, 2 hidden -> hidden, on every rank.
    """

    hidden: int
    name: str = "join"

    def _linear(self) -> Linear:
        return Linear("join_inputs", "attention", 2 * self.hidden, self.hidden, "whole")

    def parameters(self) -> dict[Scope, int]:
        return {"attention": self._linear().parameters + 2 * self.hidden}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        return {"attention": held_weights((self._linear(),), self.parameters()["attention"], layout.tp)}

    def ops(self, shard: Shard) -> list[Op]:
        return [
            norm("norm", "attention", shard.rows, 2 * self.hidden),
            self._linear().gemm("attention", shard.rows, shard.tp),
        ]
