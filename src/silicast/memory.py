"""What one device must hold, how many sequences that leaves room for, and what to change when it does not fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.machine import Format, Machine
from silicast.model.architecture import Model
from silicast.model.ops import Gemm, GroupedGemm, Scope
from silicast.scenario import Layout, Load, Size
from silicast.stack import MemoryBasis, Stack

Array = NDArray[Any]

#: 2^30
GIB = float(1024 * 1024 * 1024)
#: hidden-sized copies that live between operators: input, residual, attention output, FFN output
LIVE_COPIES = 4
#: rows of logits made at once: one per sequence, and engines sample no more together
MOST_LOGITS = 1024
#: 16-bit activations; FP32 recurrent states and logits
ACTIVATION_BYTES, STATE_BYTES, LOGIT_BYTES = 2.0, 4.0, 4.0
#: the copies that a rank receives, and the results that it sends back
EXCHANGE_BUFFERS = 2


@dataclass(slots=True)
class Memory:
    """Bytes of one device, each of shape `(config,)`. `sequence` is what one sequence keeps in the cache.

    `share` and `basis` are the stack's limit: the share of the device that holds weights, activations and cache
    (`whole`), weights and cache alone (`static`: activations live in the rest), or the share of what weights and
    activations leave that becomes cache (`free`).
    """

    capacity: Array
    weights: Array
    activations: Array
    buffers: Array
    runtime: Array
    sequence: Array
    share: float
    basis: MemoryBasis

    @property
    def working(self) -> Array:
        """Everything but weights and cache."""
        return self.activations + self.buffers + self.runtime

    @property
    def free(self) -> Array:
        """Bytes left for the KV cache (negative = the shortfall)."""
        left = self.capacity - self.weights - self.working
        if self.basis == "free":
            return np.where(left > 0, self.share * left, left)
        held = self.share * self.capacity - self.weights
        return held - self.working if self.basis == "whole" else np.minimum(held, left)

    @property
    def usable(self) -> Array:
        """What the stack uses in all; the rest of the capacity stays empty."""
        return self.weights + self.working + np.maximum(self.free, 0)

    @property
    def sequences(self) -> Array:
        """Sequences per attention rank that the cache holds; below 1 it does not fit."""
        return np.maximum(np.floor(self.free / self.sequence), 0)


def memory(
    model: Model, layout: Layout, formats: dict[Scope, Format], context: Size, machine: Machine, options: "CacheOptions"
) -> Memory:
    """Memory of one device at `context` tokens per sequence. All layouts at once.

    Weights by scope in their stored format; cache in whole blocks; activations of one chunk: tokens x (4 hidden + the
    widest product) x 2 B + FP32 logits; exchange buffers of expert parallelism: tokens x top-k x hidden, sent and
    received; runtime: context, captured graphs, communication.
    """
    stack = machine.stack
    held = model.weights(layout, stack, options.drafts)
    weights = sum(np.asarray(number) * formats[scope].weight_bytes for scope, number in held.items())
    blocks = np.ceil(np.asarray(context, dtype=float) / options.block_tokens) * options.block_tokens
    sequence = model.cache_bytes(layout, blocks, options.kv_bytes, options.drafts)
    sequence = sequence + model.state_values(layout) * STATE_BYTES
    shape = np.broadcast_shapes(np.shape(layout.devices), np.shape(context))
    return Memory(
        capacity=_full(_middle(machine.capacity), shape),
        weights=_full(weights, shape),
        activations=_full(_activations(model, layout, stack, options.chunk_tokens), shape),
        buffers=_full(_buffers(model, layout, options.chunk_tokens), shape),
        runtime=_full(_middle(machine.coefficient("memory", "runtime")), shape),
        sequence=_full(sequence, shape),
        share=_middle(machine.field("memory_share", stack.memory_share)),
        basis=stack.memory_basis,
    )


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Bytes per cached value, tokens per block of the paged cache, chunk budget, and whether draft layers run."""

    kv_bytes: float
    block_tokens: int
    chunk_tokens: int
    drafts: bool


def _activations(model: Model, layout: Layout, stack: Stack, tokens: int) -> Size:
    """Bytes of one chunk between operators: live copies of the hidden state, the widest product's input and output
    (or the permuted tokens of the experts beside them), FP32 logits of at most MOST_LOGITS rows."""
    ops = model.ops(Load(prefill_sequences=1, prefill_tokens=tokens), layout, stack)
    widest: Size = 0
    for op in ops:
        if isinstance(op, Gemm) and op.name != "head":
            widest = np.maximum(widest, op.m * (op.n + op.k))
        elif isinstance(op, GroupedGemm):
            widest = np.maximum(widest, op.rows * (op.n + op.k))
    logits = model.vocabulary / np.asarray(layout.tp) * LOGIT_BYTES
    return (tokens * LIVE_COPIES * model.hidden + widest) * ACTIVATION_BYTES + min(tokens, MOST_LOGITS) * logits


def _buffers(model: Model, layout: Layout, tokens: int) -> Size:
    topk = max((getattr(block, "topk", None) or 0 for block, _ in model.blocks), default=0)
    owned = tokens / np.asarray(layout.tp) * model.hidden * ACTIVATION_BYTES
    travels = (np.asarray(layout.ep) > 1) & (np.asarray(layout.attention_dp) > 1)
    # a rank receives what others send: at most the tokens of one chunk, top-k copies of it spread over the group
    found: Size = travels * EXCHANGE_BUFFERS * owned * np.minimum(topk, np.asarray(layout.ep))
    return found


def _middle(value: Any) -> float:
    """Memory fit is decided on the middle value: a layout either starts or it does not."""
    return float(np.median(value))


def _full(value: Any, shape: tuple[int, ...]) -> Array:
    return np.array(np.broadcast_to(np.asarray(value, dtype=float), shape))
