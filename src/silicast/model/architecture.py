"""A Model: dimensions and a list of (block, count). A step is a sum over blocks, so their order does not matter."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np

from silicast.dtypes import BYTES
from silicast.model.blocks import Block, Linear, MixtureOfExperts, Shard, norm, shard
from silicast.model.blocks.indexer import INDEX_KEY_BYTES
from silicast.model.layouts import Rule, all_hold, attention_rules, expert_rules, raise_broken
from silicast.model.ops import Collective, Op, Scope, Size, Vector
from silicast.scenario import Layout, Load, Precision
from silicast.stack import Stack

Counted = tuple[tuple[Block, int], ...]


@dataclass(frozen=True)
class Quantisation:
    """How a checkpoint stores its weights: the format, and the scopes it applies to; `rest` has another one."""

    weights: str
    activations: str
    scopes: frozenset[Scope]
    kv_cache: str | None = None
    rest: "Quantisation | None" = None


@dataclass(frozen=True)
class Model:
    """One architecture. `mtp` are the blocks of one multi-token-prediction (draft) layer, run once per draft token.

    depth                 layers as published, where that is not the number of blocks that mix tokens
    embedding_parameters  where positions or norms join the word embedding
    mtp_extra             parameters of one draft layer beside its blocks
    draft_vocabulary      words a draft layer chooses from, where these are not the model's
    assumptions           what is not read from the checkpoint
    vision_parameters     weights of a vision tower: memory only, its compute is one of the `omissions`
    """

    id: str
    model_type: str
    hidden: int
    vocabulary: int
    blocks: Counted
    context: int
    tied: bool = False
    final_norm: int = 0
    embedding_parameters: int | None = None
    head_bias: int = 0
    depth: int | None = None
    mtp: Counted = ()
    mtp_layers: int = 0
    mtp_extra: int = 0
    draft_vocabulary: int | None = None
    vision_parameters: int = 0
    quantisation: Quantisation | None = None
    omissions: tuple[str, ...] = field(default_factory=tuple)
    assumptions: tuple[str, ...] = ()

    @staticmethod
    def from_hf(name: str) -> "Model":
        """The Model of a Hugging Face id, an alias, or a path. Raises NotFoundError or ConfigError."""
        from silicast.model.config import read_model

        return read_model(name)

    @cached_property
    def parameters_by_scope(self) -> dict[Scope, int]:
        """Exact parameters of the text decoder, tied weights once, draft layers apart."""
        head = 0 if self.tied else self._head
        totals: dict[Scope, int] = {"embedding": self._embedding, "head": head + self.head_bias + self.final_norm}
        return _add(totals, self.blocks)

    @property
    def _embedding(self) -> int:
        given = self.embedding_parameters
        return self.vocabulary * self.hidden if given is None else given

    @property
    def _head(self) -> int:
        return self.vocabulary * self.hidden

    @cached_property
    def parameters(self) -> int:
        """Parameters of the text decoder."""
        return sum(self.parameters_by_scope.values())

    @cached_property
    def mtp_parameters(self) -> int:
        """Parameters of the draft layers of their own, without copies of the embedding and the head."""
        return self.mtp_layers * (sum(_add({}, self.mtp).values()) + self.mtp_extra)

    @cached_property
    def active_parameters(self) -> int:
        """Parameters that one token passes: its routed experts only, the head, not the embedding table."""
        idle = sum(
            count * (block.routed - block.computing) * block.expert_parameters()
            for block, count in self.blocks
            if isinstance(block, MixtureOfExperts)
        )
        tables = self._embedding + (0 if self.tied else self._head)
        return self.parameters - tables + self._head - idle

    @cached_property
    def experts(self) -> int:
        """Routed experts per layer (0 = a dense model)."""
        return max((block.experts() for block, _ in self.blocks), default=0)

    @cached_property
    def experts_per_token(self) -> int:
        """Routed experts a token is multiplied with (0 = a dense model)."""
        return max((block.computing for block, _ in self.blocks if isinstance(block, MixtureOfExperts)), default=0)

    @cached_property
    def layers(self) -> int:
        """Layers as published, else blocks that mix tokens."""
        return self.depth or sum(count for block, count in self.blocks if block.name.endswith("attention"))

    @cached_property
    def attention(self) -> str:
        """The kinds of attention, the most frequent first."""
        counts: dict[str, int] = {}
        for block, count in self.blocks:
            if block.kind:
                counts[block.kind] = counts.get(block.kind, 0) + count
        return " + ".join(sorted(counts, key=lambda kind: -counts[kind]))

    def default_precision(self) -> Precision:
        """The precision of the checkpoint as published."""
        if self.quantisation is None:
            return Precision()
        return Precision(self.quantisation.weights, self.quantisation.activations, self.quantisation.kv_cache or "bf16")

    def quantised_scopes(self, weights: str) -> frozenset[Scope]:
        """Which scopes hold `weights` when the checkpoint is used, or re-quantised, in that format.

        The checkpoint's own list where it has this width. Else the practice of published checkpoints: 8 bit takes all
        linears of the layers; 4 bit takes the feed-forward networks of a mixture of experts and leaves attention in
        16 bit (as in nvidia/DeepSeek-R1-FP4 and moonshotai/Kimi-K2.5), and takes all linears of a dense model.
        """
        if BYTES[weights] >= 2:
            return frozenset()
        own = self.quantisation
        if own is not None and abs(BYTES[own.weights] - BYTES[weights]) < 0.1:
            return own.scopes
        narrow = BYTES[weights] < 1
        if narrow and self.experts:
            return frozenset({"experts", "shared", "ffn"})
        return frozenset({"attention", "indexer", "ffn", "experts", "shared"})

    def formats(self, precision: Precision) -> dict[Scope, tuple[str, str]]:
        """(weights, activations) of every scope under `precision`: BF16 where a scope is not quantised.

        A checkpoint with two formats keeps the second one where the first is used as published. Experts of 4 bit with
        activations of 8 bit (W4A8) stand beside other linears of 8 bit, as in msmodelslim's DeepSeek-R1.
        """
        table: dict[Scope, tuple[str, str]] = dict.fromkeys(get_args(Scope), ("bf16", "bf16"))
        own = self.quantisation
        if own is not None and own.rest is not None and precision.weights == own.weights:
            table |= dict.fromkeys(own.rest.scopes, (own.rest.weights, own.rest.activations))
        elif self.experts and BYTES[precision.weights] < 1 == BYTES[precision.activations]:
            eight = precision.activations
            table |= dict.fromkeys(self.quantised_scopes(eight), (eight, eight))
        return table | dict.fromkeys(
            self.quantised_scopes(precision.weights), (precision.weights, precision.activations)
        )

    def check(self, layout: Layout) -> None:
        """Raises LayoutError when a size does not divide the heads, the columns, the experts or the layers."""
        raise_broken(self.id, self._rules(layout))

    def allows(self, layout: Layout) -> Any:
        """Which rows of a layout array `check` would accept, as booleans."""
        return all_hold(self._rules(layout))

    def _rules(self, layout: Layout) -> Iterator[Rule]:
        yield from attention_rules(layout, self._units, self.layers)
        yield from expert_rules(layout, self.experts, self._expert_columns)

    @cached_property
    def _units(self) -> tuple[tuple[int, str], ...]:
        found = {
            (units, "heads" if block.name.endswith("attention") else "feed-forward columns"): None
            for block, _ in self.blocks
            for units in block.head_units()
        }
        return tuple(found)

    @cached_property
    def _expert_columns(self) -> tuple[int, ...]:
        return tuple({block.intermediate: None for block, _ in self.blocks if isinstance(block, MixtureOfExperts)})

    def _stage_share(self, layout: Layout) -> Size:
        """Share of the layers on the fullest pipeline stage."""
        if isinstance(layout.pp, int) and layout.pp == 1:
            return 1
        return np.ceil(self.layers / np.asarray(layout.pp)) / self.layers

    def cache_values(self, layout: Layout, context: Size, drafts: bool = False) -> Size:
        """Values that one sequence keeps in the KV cache of one device, keys of an indexer not counted."""
        return self._cached("cache_values", layout, context, drafts)

    def index_values(self, layout: Layout, context: Size, drafts: bool = False) -> Size:
        """8-bit values that one sequence keeps in the caches of indexers on one device."""
        return self._cached("index_values", layout, context, drafts)

    def cache_bytes(self, layout: Layout, context: Size, kv_bytes: float, drafts: bool = False) -> Size:
        """Bytes that one sequence keeps on one device: the KV cache at `kv_bytes` per value, index keys in FP8."""
        own = self.cache_values(layout, context, drafts) * kv_bytes
        return own + self.index_values(layout, context, drafts) * INDEX_KEY_BYTES

    def _cached(self, what: str, layout: Layout, context: Size, drafts: bool) -> Size:
        own: Size = sum(count * getattr(block, what)(layout, context) for block, count in self.blocks)
        own = own * self._stage_share(layout)
        if drafts:
            own = own + self.mtp_layers * sum(
                count * getattr(block, what)(layout, context) for block, count in self.mtp
            )
        return own

    def state_values(self, layout: Layout) -> Size:
        """FP32 values of recurrent state that one sequence keeps on one device."""
        return sum(count * block.state_values(layout) for block, count in self.blocks) * self._stage_share(layout)

    def weights(self, layout: Layout, stack: Stack, drafts: bool = False) -> dict[Scope, Size]:
        """Parameters held by one device of the fullest stage, by scope."""
        held: dict[Scope, Size] = {}
        _add_held(held, self.blocks, self._stage_share(layout), layout, stack)
        embedding, head = self._embedding / layout.tp, self._head / (layout.tp if stack.head_cut == "tensor" else 1)
        alone = np.asarray(layout.pp) == 1
        # the first stage has the embedding and the vision tower, the last one the head and the draft layers
        held["embedding"] = embedding + self.vision_parameters / layout.tp
        apart = 0 if self.tied else head
        held["head"] = self.head_bias + self.final_norm + np.where(alone, apart, np.maximum(head - embedding, 0))
        if drafts:
            _add_held(held, self.mtp, self.mtp_layers, layout, stack)
            held["attention"] = held.get("attention", 0) + self.mtp_layers * self.mtp_extra
        return held

    def ops(self, load: Load, layout: Layout, stack: Stack) -> list[Op]:
        """Operators of one step of one device for all stages together: layers, embedding, head, pipeline sends."""
        part = shard(load, layout, stack)
        found = self._ends(part)
        for block, count in self.blocks:
            found += [_times(op, count) for op in block.ops(part)]
        return found

    def draft_ops(self, load: Load, layout: Layout, stack: Stack) -> list[Op]:
        """Operators of the draft layer for the draft tokens of one step: one token per sequence and draft."""
        drafts = load.query_tokens - 1
        once = np.minimum(drafts, 1)
        prefill = shard(Load(load.prefill_sequences, load.prefill_tokens, load.prefill_context), layout, stack)
        decode = shard(Load(decode_sequences=load.decode_sequences, decode_context=load.decode_context), layout, stack)
        found: list[Op] = []
        for part, repeats in ((prefill, once * prefill.prefills), (decode, drafts * decode.decodes)):
            for block, count in self.mtp:
                found += [_times(op, count * repeats, "draft") for op in block.ops(part)]
        words = self.draft_vocabulary or self.vocabulary
        return found + [_times(op, drafts, "draft") for op in self._output(load.decode_sequences, decode, words)]

    def _ends(self, part: Shard) -> list[Op]:
        layout = part.layout
        values = part.rows * self.hidden
        return [
            Vector("embedding", "embedding", values, values, values),
            Collective("embedding_all_reduce", "embedding", "all_reduce", values, layout.tp, 1, count=part.parallel),
            Collective("pipeline_send", "exchange", "p2p", values, layout.pp, part.ranks, count=layout.pp - 1),
            *self._output(part.load.logits, part, self.vocabulary),
        ]

    def _output(self, rows: Size, part: Shard, words: int) -> list[Op]:
        """Final norm, logits, sampling. A head that every rank holds whole takes the rows of this rank only."""
        whole = part.stack.head_cut != "tensor"
        own, cut = (rows / part.tp, 1) if whole else (rows, part.tp)
        head = Linear("head", "head", self.hidden, words, "columns")
        logits = rows * words
        gathered = rows if whole else logits
        sampled = logits / part.tp if whole else logits
        return [
            norm("final_norm", "head", own, self.hidden),
            head.gemm("head", own, cut),
            Collective("logits_gather", "head", "all_gather", gathered, part.tp, 1, count=part.parallel),
            Vector("sampling", "head", sampled, rows, 2 * sampled),
        ]


def counted(blocks: list[Block]) -> Counted:
    """Equal blocks once, with their count, in order of appearance."""
    found: dict[Block, int] = {}
    for block in blocks:
        found[block] = found.get(block, 0) + 1
    return tuple(found.items())


def _add(totals: dict[Scope, int], blocks: Counted) -> dict[Scope, int]:
    for block, count in blocks:
        for scope, number in block.parameters().items():
            totals[scope] = totals.get(scope, 0) + count * number
    return totals


def _add_held(held: dict[Scope, Size], blocks: Counted, times: Size, layout: Layout, stack: Stack) -> None:
    for block, count in blocks:
        for scope, number in block.weights(layout, stack).items():
            held[scope] = held.get(scope, 0) + times * count * number


def _times(op: Op, count: Size, part: str | None = None) -> Op:
    changes: dict[str, Any] = {"count": op.count * count}
    if part:
        changes["part"] = part
    return replace(op, **changes)


__all__ = ["Counted", "Model", "Quantisation", "counted"]
