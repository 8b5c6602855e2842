"""The software between model and chip, as far as it changes what runs: casts, cuts, exchanges, scheduling, fusion.

How fast it runs is not here: efficiencies and floors are coefficients (`data/coefficients`), replaced by calibration.
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from silicast.dtypes import BYTES, checked, matrix_mode
from silicast.hardware import Chip, Confidence, Frozen, Number, Source

#: how a part of the layer that experts do not own is cut over the ranks of one attention group
Cut = Literal["tensor", "replicated"]
#: how the shared expert is held; spare: by ranks of its own where a layout has more ranks than routed experts
SharedCut = Literal["tensor", "replicated", "spare"]
Exchange = Literal["all_to_all", "all_gather"]
Scheduler = Literal["chunked", "prefill_first"]
#: what the memory share is a share of, see `Stack`
MemoryBasis = Literal["whole", "static", "free"]

Dtype = Annotated[str, AfterValidator(checked)]
Count = Annotated[int, Field(ge=1)]

GIB = float(1 << 30)

#: small kernels that an engine may run inside their neighbours
FUSIONS: dict[str, str] = {
    "qk_norm": "the norms of Q and K run with the rotation",
    "latent_prologue": "in decode what comes before latent attention (projections, norms, rotation) is one kernel",
    "latent_norm": "the norms of the latents run with the projections or the rotation",
    "quantise_tensor": "inputs of FP8 products with one scale per tensor are quantised by the kernel before them",
    "quantise": "inputs of products are quantised by the norm or the activation before them",
}


class Cast(Frozen):
    """What runs when a chip has no matrix mode for the activations of a checkpoint.

    Reads: weights of format `weights` on a chip that lacks `lacks` are stored as `stored` and multiplied as `math`.
    """

    weights: Dtype
    lacks: Dtype
    stored: Dtype
    math: Dtype
    source: Source
    note: str = ""


class Native(Frozen):
    """How a checkpoint that quantises weights only is run, where a stack has a habit of its own.

    Reads: weights of format `weights` on a chip with the matrix mode `has` (of these ids or generations; empty = any)
    are multiplied with `activations`, and kept as `stored` where that is another format. The first that applies holds.
    """

    weights: Dtype
    has: Dtype
    activations: Dtype
    stored: Dtype | None = None
    chips: tuple[str, ...] = ()
    source: Source
    confidence: Confidence
    note: str = ""


class Habit(Frozen):
    """What a stack fuses in its own code for some architectures only, by `model_type`."""

    model_types: tuple[str, ...]
    fused: tuple[str, ...]
    source: Source
    confidence: Confidence
    note: str = ""


class Ground(Frozen):
    """Why a field of a stack has its value; `note` also gives the range where the value is assumed."""

    field: str
    source: Source
    confidence: Confidence
    note: str = ""


class Variant(Frozen):
    """What a stack does otherwise on some chips: of these ids or generations (empty = any), by memory per device."""

    chips: tuple[str, ...] = ()
    memory_from_gib: Annotated[float, Field(ge=0)] = 0.0
    memory_below_gib: Annotated[float, Field(gt=0)] | None = None
    chunk_tokens: Count | None = None
    max_sequences: Count | None = None
    exchange: Exchange | None = None
    exchange_wide: Exchange | None = None
    source: Source
    confidence: Confidence
    note: str = ""

    def applies(self, chip: Chip) -> bool:
        """Whether the chip is one of those meant; a chip of unknown memory is in no memory class."""
        named = not self.chips or _is_among(chip, self.chips)
        return named and self._holds(chip)

    def _holds(self, chip: Chip) -> bool:
        if not self.memory_from_gib and self.memory_below_gib is None:
            return True
        capacity = chip.hbm.capacity
        most = self.memory_below_gib or float("inf")
        return capacity is not None and self.memory_from_gib <= capacity.value / GIB < most

    def changes(self) -> dict[str, Any]:
        """The fields of the stack that this variant replaces."""
        fields = ("chunk_tokens", "max_sequences", "exchange", "exchange_wide")
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}

    def grounds(self) -> dict[str, Ground]:
        """Why those fields have their new values."""
        why = {"source": self.source, "confidence": self.confidence, "note": self.note}
        return {name: Ground(field=name, **why) for name in self.changes()}


class Stack(Frozen):
    """One serving (or training) engine on one vendor's software.

    scheduler            chunked: chunks of prompts run in the steps of the others' decode;
                         prefill_first: prompts run alone and decode waits
    chunk_tokens         prompt tokens that one step of one attention rank may carry
    max_sequences        sequences that one attention rank decodes together at most
    memory_basis         whole: the share of the device holds weights, activations and cache; static: weights and cache,
                         activations live in the rest; free: the share of what weights and activations leave is cache
    kv_cache             format of the cache whatever the checkpoint says; None = as the checkpoint says, else 16 bit
    dense_cut            where tokens travel between attention groups; within one group the dense network is cut
    shared_cut           where tokens travel between attention groups; within one group the shared expert is cut;
                         spare = on ranks of its own where there are more ranks than routed experts, else whole
    exchange             how tokens reach their experts and come back between attention groups; `exchange_wide` in
                         expert groups of at least `wide_from` ranks, where it differs
    exchange_sets_ep     whether all-to-all makes the engine spread experts over all ranks, whatever its flag says
    microbatches_*       2 = halves of a batch overlap each other's exchange by default
    microbatch_streams   2 = each half computes on a stream of its own, so that they hide each other's launches too
    fused                names of FUSIONS; `habits` are those of some architectures only
    policy               name of its scheduling policy in a simulation, where its scheduler does not say it
    host_of              stack whose scheduler and workers it runs: its host times hold where none of its own are fitted
    facts                why: a source for each field that is not a number of its own
    """

    id: str
    name: str
    vendors: tuple[str, ...] = ()
    scheduler: Scheduler = "chunked"
    chunk_tokens: Count = 8192
    block_tokens: Count = 16
    max_sequences: Count = 1024
    memory_share: Number
    memory_basis: MemoryBasis = "whole"
    kv_cache: Dtype | None = None
    dense_cut: Cut = "tensor"
    shared_cut: SharedCut = "tensor"
    head_cut: Cut = "tensor"
    exchange: Exchange = "all_to_all"
    exchange_wide: Exchange | None = None
    wide_from: Count = 16
    exchange_sets_ep: bool = False
    microbatches_prefill: Literal[1, 2] = 1
    microbatches_decode: Literal[1, 2] = 1
    microbatch_streams: Literal[1, 2] = 1
    fused: tuple[str, ...] = ()
    host_of: str | None = None
    policy: str | None = None
    habits: tuple[Habit, ...] = ()
    casts: tuple[Cast, ...] = ()
    natives: tuple[Native, ...] = ()
    variants: tuple[Variant, ...] = ()
    transfer_in_ttft: bool = True
    note: str = ""
    facts: tuple[Ground, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> "Stack":
        _all_known("fused", (*self.fused, *(name for habit in self.habits for name in habit.fused)), FUSIONS)
        _all_known("field of facts", (ground.field for ground in self.facts), type(self).model_fields)
        return self

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source of the stack, once, in order of appearance."""
        cited: tuple[Number | Ground | Cast | Native | Variant | Habit, ...]
        cited = (self.memory_share, *self.facts, *self.casts, *self.natives, *self.variants, *self.habits)
        return tuple(dict.fromkeys(item.source for item in cited))

    def on(self, chip: Chip) -> "Stack":
        """The stack as it sets itself up on this chip: its variants applied in order, what is for other chips gone."""
        variants = tuple(variant for variant in self.variants if variant.applies(chip))
        natives = tuple(item for item in self.natives if not item.chips or _is_among(chip, item.chips))
        changes: dict[str, Any] = {"variants": variants, "natives": natives}
        facts = {ground.field: ground for ground in self.facts}
        for variant in variants:
            changes |= variant.changes()
            facts |= variant.grounds()
        return self.model_copy(update=changes | {"facts": tuple(facts.values())})

    def running(self, model_type: str) -> "Stack":
        """The stack as it runs models of this type: what its code for them fuses besides."""
        more = {name for habit in self.habits if model_type in habit.model_types for name in habit.fused}
        return self.model_copy(update={"fused": (*self.fused, *sorted(more - set(self.fused)))}) if more else self

    def native(self, weights: str, activations: str, modes: Collection[str]) -> tuple[str, str]:
        """(stored weights, activations) of a checkpoint when nobody asks for others; `modes` are the chip's.

        A checkpoint that says how its activations are quantised is taken at its word.
        """
        if BYTES[activations] < BYTES["bf16"]:
            return weights, activations
        for item in self.natives:
            if item.weights == weights and matrix_mode(item.has) in modes:
                return item.stored or weights, item.activations
        return weights, activations

    def all_to_all(self, ranks: Any) -> Any:
        """Whether tokens travel by all-to-all in expert groups of `ranks` ranks, else all of them are gathered."""
        near, far = self.exchange == "all_to_all", (self.exchange_wide or self.exchange) == "all_to_all"
        return np.where(np.asarray(ranks) >= self.wide_from, far, near)


def _is_among(chip: Chip, names: tuple[str, ...]) -> bool:
    return not {chip.id, chip.generation, chip.based_on}.isdisjoint(names)


def _all_known(what: str, names: Any, known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"unknown {what} '{name[:40]}'; known: {', '.join(known)}")
