"""Residual streams that are more than a sum, and inputs that are given to every layer."""

from dataclasses import dataclass

from silicast.model.blocks.linear import ACTIVATION_OPERATIONS, NORM_OPERATIONS, Linear, held_weights
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Gemm, Op, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class HyperConnection(Stateless):
    """Manifold-constrained hyper-connections (arXiv:2512.24880): `streams` copies of the residual around each block.

    Before a block the streams are mixed into its input, after it into each other and with its output; a projection of
    all streams gives the weights. With `closes` it is the last one, which only mixes into one.
    """

    hidden: int
    streams: int
    closes: bool = False
    name: str = "hyper_connection"

    @property
    def columns(self) -> int:
        return self.streams if self.closes else (2 + self.streams) * self.streams

    def parameters(self) -> dict[Scope, int]:
        projection = self.columns * self.streams * self.hidden
        return {"router": projection + self.columns + (1 if self.closes else 3)}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del layout, stack
        return {**self.parameters()}

    def ops(self, shard: Shard) -> list[Op]:
        rows, wide = shard.rows, self.streams * self.hidden
        values, single = rows * wide, rows * self.hidden
        read = 2 * values if self.closes else 3 * values + single
        written = single if self.closes else values + single
        return [
            Gemm("hyper_weights", "attention", "router", rows, self.columns, wide),
            Vector("hyper_mix", "attention", read, written, (NORM_OPERATIONS + 2 * self.streams) * values),
        ]


@dataclass(frozen=True, slots=True)
class ResidualAttention(Stateless):
    """Attention residuals (Kimi K3): the input of a block is a softmax-weighted sum of `kept` earlier residuals.

    One score per kept residual (a norm and a projection to one value), then their weighted sum.
    """

    hidden: int
    kept: int
    name: str = "residual"

    def parameters(self) -> dict[Scope, int]:
        return {"router": 2 * self.hidden}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del layout, stack
        return {**self.parameters()}

    def ops(self, shard: Shard) -> list[Op]:
        values = shard.rows * (self.hidden * self.kept)
        return [Vector("residual_mix", "attention", 2 * values, shard.rows * self.hidden, NORM_OPERATIONS * values)]


@dataclass(frozen=True, slots=True)
class PerLayerInput(Stateless):
    """Per-layer embeddings (Gemma 3n, Gemma 4): each layer adds a gated small vector of the token, `width` wide.

    Three products: the layer's share of the projection of the embeddings, the gate, and the way back to hidden.
    """

    hidden: int
    width: int
    name: str = "per_layer_input"

    def _linears(self) -> tuple[Linear, ...]:
        return (
            Linear("per_layer_inputs", "ffn", self.hidden, 2 * self.width, "whole"),
            Linear("per_layer_back", "ffn", self.width, self.hidden, "whole"),
        )

    def parameters(self) -> dict[Scope, int]:
        return {"ffn": sum(linear.parameters for linear in self._linears()) + self.hidden}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        return {"ffn": held_weights(self._linears(), self.parameters()["ffn"], layout.tp)}

    def ops(self, shard: Shard) -> list[Op]:
        small, values = shard.rows * self.width, shard.rows * self.hidden
        into, back = (linear.gemm("ffn", shard.rows, shard.tp) for linear in self._linears())
        gate = Vector("per_layer_gate", "ffn", 3 * small, small, ACTIVATION_OPERATIONS * small)
        return [into, gate, back, Vector("norm", "ffn", 2 * values, values, NORM_OPERATIONS * values)]
