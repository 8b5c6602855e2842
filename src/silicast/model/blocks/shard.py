"""What one device sees of a step, computed once and shared by all blocks."""

from dataclasses import dataclass

import numpy as np

from silicast.model.ops import Size
from silicast.scenario import Layout, Load
from silicast.stack import Stack


@dataclass(frozen=True, slots=True)
class Shard:
    """One device's part of a step.

    rows      rows of its GEMMs: prefill tokens are divided over cp, decode tokens are not
    tokens    tokens of all attention groups of the stage, of which a share may prefill
    owned     tokens that this device sends to the experts: a busy rank's, divided over tp and cp
    ranks     devices of the stage, which share its experts; each expert is cut over `expert_tp` of them
    prefilled, decoded   tokens of sequences that prefill (this rank's share) and that decode (on every rank)
    parallel  1 where tp > 1, else 0: the count of an exchange among the tensor-parallel ranks
    prefills, decodes    1 where any sequence prefills or decodes, else 0
    relayed              share of the tokens that prefill: their copies are relayed inside a node
    divides, spreads     whether any row has cp > 1, or several ranks with tokens of their own: else nothing to exchange
    """

    load: Load
    layout: Layout
    stack: Stack
    rows: Size
    tokens: Size
    owned: Size
    ranks: Size
    expert_tp: Size
    prefilled: Size
    decoded: Size
    parallel: Size
    prefills: Size
    relayed: Size
    decodes: Size
    divides: bool
    spreads: bool

    @property
    def tp(self) -> Size:
        return self.layout.tp


def shard(load: Load, layout: Layout, stack: Stack) -> Shard:
    """The part of one device."""
    whole = load.prefill_sequences * load.prefill_tokens
    decoded = load.decode_sequences * load.query_tokens
    prefilled = whole / layout.cp
    divides = bool(np.any(layout.cp > 1))
    ranks = layout.stage_devices
    return Shard(
        load=load,
        layout=layout,
        stack=stack,
        rows=prefilled + decoded,
        tokens=load.mean_tokens * layout.attention_dp,
        owned=(whole + decoded) / (layout.tp * layout.cp),
        ranks=ranks,
        expert_tp=ranks // layout.ep,
        prefilled=prefilled,
        decoded=decoded,
        parallel=present(layout.tp > 1),
        prefills=present(prefilled > 0),
        relayed=whole / np.maximum(whole + decoded, np.finfo(float).tiny),
        decodes=present(decoded > 0),
        divides=divides,
        spreads=divides or bool(np.any(layout.attention_dp > 1)),
    )


def present(condition: Size | bool) -> Size:
    """1.0 where the condition holds, else 0.0."""
    return condition * 1.0
