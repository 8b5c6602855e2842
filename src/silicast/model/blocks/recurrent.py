"""Layers with a recurrent state in place of a cache: linear attention and state-space models."""

from dataclasses import dataclass
from typing import NamedTuple

from silicast.model.blocks.linear import (
    ACTIVATION_OPERATIONS,
    Linear,
    all_reduce_tp,
    held_weights,
    norms,
)
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard
from silicast.model.ops import Op, Scan, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack

#: tokens of a chunk in the kernels of flash-linear-attention
DELTA_CHUNK = 64


class StateFlops(NamedTuple):
    """FLOPs per state value and token: token by token (decode), and in chunks of matrix products (prefill)."""

    recurrent: float
    chunked: float


def delta_rule_flops(key_dim: int, value_dim: int, chunk: int = DELTA_CHUNK) -> StateFlops:
    """Gated delta rule (arXiv:2412.06464), and with a gate per channel Kimi Delta Attention (arXiv:2510.26692).

    Token by token, per value of the state S (d_k x d_v): decay 1, S^T k 2, add k u^T 2, S^T q 2 = 7.
    In chunks of C tokens (WY form, arXiv:2406.06484), per token and head: K K^T, T K and Q K^T are 2 C d_k each, T V
    and (Q K^T) U 2 C d_v each, W S, Q S and K^T U 2 d_k d_v each: 6 d_k d_v + C (6 d_k + 4 d_v). The inverse of the
    triangular C x C matrix is left out (C^2 / 3 per token).
    """
    return StateFlops(7, 6 + chunk * (6 / value_dim + 4 / key_dim))


def state_space_flops(state: int, head_dim: int, chunk: int, heads_per_group: float) -> StateFlops:
    """Mamba-2 (state-space duality, arXiv:2405.21060, section 6).

    Token by token, per value of the state h (N x P): decay 1, add B x^T 2, C^T h 2 = 5.
    In chunks of L tokens, per token and head: C B^T 2 L N (once per group of heads), its product with X 2 L P, the
    states B^T X and the read-out C h 2 N P each: 4 N P + 2 L P + 2 L N / heads per group.
    """
    return StateFlops(5, 4 + chunk * (2 / state + 2 / (head_dim * heads_per_group)))


@dataclass(frozen=True, slots=True)
class LinearAttention(Stateless):
    """A layer with a state of heads x key_dim x value_dim per sequence: gated delta rule, Mamba-2.

    `projections` are the linears in order; the last one is cut by rows. `conv_channels` pass a short convolution of
    `conv_width` taps. `units` heads or groups must be divided by tp.
    """

    hidden: int
    heads: int
    key_dim: int
    value_dim: int
    projections: tuple[Linear, ...]
    flops: StateFlops
    units: int
    conv_channels: int = 0
    conv_width: int = 0
    extra_parameters: int = 0
    norm_parameters: int = 0
    norms: int = 1
    name: str = "linear_attention"

    @property
    def kind(self) -> str:
        return "linear"

    def parameters(self) -> dict[Scope, int]:
        own = sum(linear.parameters for linear in self.projections)
        conv = self.conv_channels * self.conv_width
        return {"attention": own + conv + self.extra_parameters + self.norm_parameters}

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        del stack
        return {"attention": held_weights(self.projections, self.parameters()["attention"], layout.tp)}

    def state_values(self, layout: Layout) -> Size:
        conv = self.conv_channels * max(self.conv_width - 1, 0)
        return (self.heads * self.key_dim * self.value_dim + conv) / layout.tp

    def head_units(self) -> tuple[int, ...]:
        return (self.units,)

    def ops(self, shard: Shard) -> list[Op]:
        rows, tp = shard.rows, shard.tp
        conv = rows * self.conv_channels / tp
        mixed = rows * (self.heads * self.value_dim) / tp
        return [
            *norms("attention", rows, self.hidden, self.norms),
            *(linear.gemm("attention", rows, tp) for linear in self.projections[:-1]),
            Vector("convolution", "attention", conv, conv, 2 * self.conv_width * conv),
            *self._scans(shard),
            Vector("gated_norm", "attention", 2 * mixed, mixed, ACTIVATION_OPERATIONS * mixed),
            self.projections[-1].gemm("attention", rows, tp),
            all_reduce_tp("attention", shard, self.hidden),
        ]

    def _scans(self, shard: Shard) -> list[Op]:
        """In chunks over the prompts, token by token in decode."""
        load, flops = shard.load, self.flops
        return [
            self._scan(
                "scan_prefill", load.prefill_sequences, shard.prefilled, flops.chunked, shard.prefills, shard.tp
            ),
            self._scan("scan_decode", load.decode_sequences, shard.decoded, flops.recurrent, shard.decodes, shard.tp),
        ]

    def _scan(self, name: str, sequences: Size, tokens: Size, flops: float, count: Size, tp: Size) -> Scan:
        heads = self.heads / tp
        return Scan(name, "attention", sequences, tokens, heads, self.key_dim, self.value_dim, flops, count)
