"""Mixture of experts: router, routed and shared experts, and the exchange of tokens."""

from dataclasses import dataclass, replace

import numpy as np

from silicast.model.blocks.feed_forward import FeedForward
from silicast.model.blocks.linear import ACTIVATION_OPERATIONS, Linear, cut_ranks, norms
from silicast.model.blocks.protocol import Stateless
from silicast.model.blocks.shard import Shard, present
from silicast.model.ops import Collective, Gemm, GroupedGemm, Op, Scope, Size, Vector
from silicast.scenario import Layout
from silicast.stack import Stack

#: vector operations of the router per expert and token: score, bias, and a partial sort
ROUTER_OPERATIONS = 8


@dataclass(frozen=True, slots=True)
class MixtureOfExperts(Stateless):
    """Routed experts (arXiv:1701.06538) with optional shared experts: one dense network of their joint width.

    With one attention group its tokens are on every rank: partial sums are all-reduced. With attention data
    parallelism tokens travel to the experts and back: all-to-all (each rank sends the tokens it owns), or an
    all-gather and a reduce-scatter over all ranks.

    shared_gate        a gate of one column weighs the shared experts
    latent             width to which tokens are projected before, and from which after, the routed experts;
                       `latent_norm` norms their sum in between
    zero_experts       further choices of the router that compute nothing (LongCat-Flash, arXiv:2509.01322)
    router_parameters  beyond its matrix: biases, scales
    """

    hidden: int
    intermediate: int
    routed: int
    topk: int
    shared_intermediate: int = 0
    shared_gate: bool = False
    gated: bool = True
    expert_bias: bool = False
    latent: int | None = None
    latent_norm: bool = False
    zero_experts: int = 0
    router_parameters: int = 0
    norm_parameters: int = 0
    norms: int = 1
    name: str = "experts"

    @property
    def width(self) -> int:
        """Values of a token as the routed experts see it."""
        return self.latent or self.hidden

    @property
    def choices(self) -> int:
        """Columns of the router."""
        return self.routed + self.zero_experts

    @property
    def computing(self) -> int:
        """Routed experts that a token is multiplied with: all its choices, less the mean share of zero experts."""
        return max(1, round(self.topk * self.routed / self.choices))

    def _columns(self) -> int:
        return self.intermediate * (2 if self.gated else 1)

    def expert_parameters(self) -> int:
        """Parameters of one routed expert."""
        bias = self._columns() + self.width if self.expert_bias else 0
        return self.width * (self._columns() + self.intermediate) + bias

    def _shared(self) -> FeedForward | None:
        if not self.shared_intermediate:
            return None
        return FeedForward(self.hidden, self.shared_intermediate, self.gated, norms=0, scope="shared")

    def _projections(self) -> tuple[Linear, ...]:
        """To and from the latent, whole on every rank."""
        if not self.latent:
            return ()
        return (
            Linear("to_latent", "shared", self.hidden, self.latent, "whole"),
            Linear("from_latent", "shared", self.latent, self.hidden, "whole"),
        )

    def _projection_parameters(self) -> int:
        matrices = sum(linear.parameters for linear in self._projections())
        return matrices + (self.width if self.latent_norm else 0)

    def parameters(self) -> dict[Scope, int]:
        shared = self._shared()
        projections = self._projection_parameters()
        gate = self.hidden if self.shared_gate else 0
        return {
            "experts": self.routed * self.expert_parameters(),
            "shared": (shared.parameters()["shared"] if shared else 0) + projections,
            "router": self.choices * self.hidden + self.router_parameters + gate + self.norm_parameters,
        }

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        own, shared = self.parameters(), self._shared()
        here = 1 - self._spare(stack, layout)
        cut = here * shared.held(cut_ranks(stack.shared_cut, layout))["shared"] if shared else 0
        return {
            "experts": np.ceil(self.routed / layout.ep) * self.expert_parameters() / layout.expert_tp,
            "shared": cut + self._projection_parameters(),
            "router": own["router"],
        }

    def head_units(self) -> tuple[int, ...]:
        return (self.shared_intermediate,) if self.shared_intermediate else ()

    def experts(self) -> int:
        return self.routed

    def ops(self, shard: Shard) -> list[Op]:
        rows = shard.rows
        return [
            *norms("experts", rows, self.hidden, self.norms),
            *self._router(rows),
            *self._shared_products(shard),
            *(linear.gemm("experts", rows, shard.tp) for linear in self._projections()),
            *self._experts(shard),
            *self._exchange(shard),
        ]

    def _spare(self, stack: Stack, layout: Layout) -> Size:
        """1 where the shared expert has ranks of its own: tokens travel to it as to a routed one of the same width."""
        if stack.shared_cut != "spare" or self.shared_intermediate != self.intermediate:
            return 0
        return present((layout.attention_dp > 1) & (layout.ep > self.routed))

    def _shared_products(self, shard: Shard) -> list[Op]:
        shared, here = self._shared(), 1 - self._spare(shard.stack, shard.layout)
        if shared is None:
            return []
        products = shared.products("experts", shard, cut_ranks(shard.stack.shared_cut, shard.layout))
        return [replace(op, count=op.count * here) for op in products]

    def _router(self, rows: Size) -> list[Op]:
        logits = rows * self.choices
        return [
            Gemm("router", "experts", "router", rows, self.choices, self.hidden),
            Vector("topk", "experts", logits, rows * (2 * self.topk), ROUTER_OPERATIONS * logits),
        ]

    def _experts(self, shard: Shard) -> list[Op]:
        ep, cut = shard.layout.ep, shard.expert_tp
        n, inner = self._columns() / cut, self.intermediate / cut
        spare = self._spare(shard.stack, shard.layout)
        choices = self.computing + spare
        routed = (shard.tokens, choices, self.routed + spare, ep)
        rows = shard.tokens * choices / ep
        values, mixed = rows * self.width, rows * inner
        read = 2 * mixed if self.gated else mixed
        return [
            Vector("permute", "experts", values, values, values),
            GroupedGemm("experts_up", "experts", "experts", *routed, n, self.width),
            Vector("expert_activation", "experts", read, mixed, ACTIVATION_OPERATIONS * mixed),
            GroupedGemm("experts_down", "experts", "experts", *routed, self.width, inner),
            Vector("unpermute", "experts", values, values / choices, values),
        ]

    def _summed(self) -> int:
        """Width of the partial sums: a latent is summed before it is normed or projected, beside the shared experts."""
        return self.latent + (self.hidden if self.shared_intermediate else 0) if self.latent else self.hidden

    def _exchange(self, shard: Shard) -> list[Op]:
        """Partial sums within one attention group; between groups tokens travel to the experts and back."""
        summed = shard.rows * self._summed()
        if not shard.spreads:
            return [
                Collective("experts_all_reduce", "exchange", "all_reduce", summed, shard.tp, 1, count=shard.parallel)
            ]
        travels = present(shard.layout.attention_dp * shard.layout.cp > 1)
        regather = travels * shard.parallel
        whole = shard.rows * self.hidden
        ops: list[Op] = [
            Collective(
                "experts_all_reduce", "exchange", "all_reduce", summed, shard.tp, 1, count=shard.parallel - regather
            ),
            Collective("experts_regather", "exchange", "all_gather", whole, shard.tp, 1, count=regather),
        ]
        if self.shared_intermediate and shard.stack.shared_cut == "tensor":
            ops.append(Collective("shared_scatter", "exchange", "reduce_scatter", whole, shard.tp, 1, count=regather))
        return ops + self._journeys(shard, travels)

    def _journeys(self, shard: Shard, travels: Size) -> list[Op]:
        """Dispatch and combine where the stack has an all-to-all and ep > 1, else gather and scatter of all tokens."""
        ep, ranks = shard.layout.ep, shard.ranks
        values = shard.tokens * self.width
        gather, ops = travels, list[Op]()
        direct = shard.stack.all_to_all(ep)
        if np.any(direct):
            count = travels * present((ep > 1) & direct)
            gather = travels - count
            # every rank that holds a part of an expert needs the token
            copies = (self.computing + self._spare(shard.stack, shard.layout)) * shard.expert_tp
            owned, sizes = shard.owned * self.width, (ranks, 1, copies)
            ops += [
                Collective("dispatch", "exchange", "all_to_all", owned, *sizes, True, shard.relayed, count),
                Collective("combine", "exchange", "all_to_all", owned, *sizes, False, shard.relayed, count),
            ]
        return [
            *ops,
            Collective("token_gather", "exchange", "all_gather", values, ranks, 1, count=gather),
            Collective("token_scatter", "exchange", "reduce_scatter", values, ranks, 1, count=gather),
        ]
