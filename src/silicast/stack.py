"""The software between model and chip, as far as it changes what runs: casts, cuts, exchanges, scheduling, fusion.

How fast it runs is not here: efficiencies and floors are coefficients (`data/coefficients`), replaced by calibration.
"""

from typing import Annotated, Literal

from pydantic import Field

from silicast.hardware import Frozen, Number, Source

#: how a part of the layer that experts do not own is cut over the ranks of one attention group
Cut = Literal["tensor", "replicated"]
Exchange = Literal["all_to_all", "all_gather"]
Scheduler = Literal["chunked", "prefill_first"]


class Cast(Frozen):
    """What runs when a chip has no matrix mode for the activations of a checkpoint.

    Reads: weights of format `weights` on a chip that lacks `lacks` are stored as `stored` and multiplied as `math`.
    """

    weights: str
    lacks: str
    stored: str
    math: str
    source: Source


class Stack(Frozen):
    """One serving (or training) engine on one vendor's software."""

    id: str
    name: str
    vendors: tuple[str, ...] = ()
    scheduler: Scheduler = "chunked"
    chunk_tokens: Annotated[int, Field(ge=1)] = 8192
    block_tokens: Annotated[int, Field(ge=1)] = 16
    max_sequences: Annotated[int, Field(ge=1)] = 1024
    memory_share: Number
    kv_cache: str | None = None
    dense_cut: Cut = "tensor"
    shared_cut: Cut = "tensor"
    head_cut: Cut = "tensor"
    exchange: Exchange = "all_to_all"
    microbatches_prefill: Literal[1, 2] = 1
    microbatches_decode: Literal[1, 2] = 1
    fused: tuple[str, ...] = ()
    casts: tuple[Cast, ...] = ()
    transfer_in_ttft: bool = True
    note: str = ""
    sources: tuple[Source, ...] = ()
