"""One model on one chip under one stack: times and bytes for arrays of layouts. The glue between nouns and physics."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from silicast.dtypes import BYTES, matrix_mode
from silicast.machine import Format, Machine
from silicast.memory import CacheOptions, Memory, memory
from silicast.model.architecture import Model
from silicast.model.ops import Scope
from silicast.scenario import Layout, Load, Precision, Size, Speculation, Workload
from silicast.serving.steady import Discipline, Steady, closed_loop, loads
from silicast.step import Step, step_time
from silicast.timed import Pass

Array = NDArray[Any]
Phase = Literal["prefill", "decode", "first_token"]


@dataclass(frozen=True)
class PoolModel:
    """A pool whose layout is still open.

    `balanced` assumes even routing; `microbatches` None = the stack's default; `kv_blocks` = blocks of the paged
    cache on one device as an engine printed them, instead of what the memory law leaves. `efficiency` asks what
    if steps ran at this share of the speed that the laws say.
    """

    model: Model
    machine: Machine
    precision: Precision
    speculation: Speculation = field(default_factory=Speculation)
    balanced: bool = False
    microbatches: int | None = None
    kv_blocks: int | None = None
    efficiency: float = 1.0

    @cached_property
    def _formats(self) -> tuple[dict[Scope, Format], tuple[str, ...]]:
        return self.machine.formats(self.model, self.precision)

    def check_formats(self) -> None:
        """Raises PrecisionError where the chip and the stack cannot multiply the formats."""
        self._formats  # noqa: B018

    @property
    def warnings(self) -> tuple[str, ...]:
        """Fallbacks of formats, one line each."""
        wanted = self.model.default_precision()
        stored = (self.precision.weights, self.precision.activations)
        cast = f"the checkpoint is {wanted.weights}/{wanted.activations}; it runs as {stored[0]}/{stored[1]}"
        recast = (wanted.weights, wanted.activations) != stored
        own = (f"{cast} on {self.machine.chip.id} under {self.machine.stack.id}.",) if recast else ()
        assumed = tuple(f"{self.model.id}: {note}" for note in self.model.assumptions)
        return own + self._formats[1] + self._cache_cast + self.machine.mismatches + assumed

    @property
    def _cache_cast(self) -> tuple[str, ...]:
        """A cache below 8 bit that the chip cannot multiply: read and widened, by no kernel that a stack names."""
        cache, modes = self.precision.kv_cache, self.machine.modes
        if BYTES[cache] >= 1 or matrix_mode(cache) in modes:
            return ()
        chip = self.machine.chip.id
        return (f"the {cache} cache is widened before it is multiplied: {chip} has no such matrix mode.",)

    @property
    def product_mode(self) -> str:
        """Matrix mode of most products: of the experts, else of the dense feed-forward network."""
        return self._formats[0]["experts" if self.model.experts else "ffn"].mode

    @property
    def kv_bytes(self) -> float:
        """Bytes of one cached value."""
        return BYTES[self.precision.kv_cache]

    def step(self, load: Load, layout: Layout) -> Step:
        """One step of `load` on `layout`."""
        how = Pass(layout, self._formats[0], self.kv_bytes, self.balanced, self._microbatches(load, layout))
        return step_time(self.model, load, how, self.machine)

    def _microbatches(self, load: Load, layout: Layout) -> Size:
        """Two where the stack overlaps, tokens travel, and a half still has a sequence or tokens to work on."""
        stack = self.machine.stack
        if self.microbatches is not None:
            return self.microbatches
        most = max(stack.microbatches_prefill, stack.microbatches_decode)
        if most == 1:
            return 1
        prefills = np.asarray(load.prefill_sequences * load.prefill_tokens) > 0
        allowed = np.where(prefills, stack.microbatches_prefill, stack.microbatches_decode)
        travels = (np.asarray(layout.attention_dp) > 1) & (np.asarray(layout.ep) > 1)
        return np.where(travels & (np.asarray(load.tokens) >= 2), allowed, 1)

    def memory(self, layout: Layout, context: Size) -> Memory:
        """Memory of one device at `context` tokens per sequence."""
        stack = self.machine.stack
        options = CacheOptions(self.kv_bytes, stack.block_tokens, stack.chunk_tokens, self.drafts)
        return memory(self.model, layout, self._formats[0], context, self.machine, options)

    @property
    def drafts(self) -> bool:
        """Whether draft layers run."""
        return bool(self.model.mtp) and bool(np.any(np.asarray(self.speculation.tokens) > 0))

    def most_sequences(self, layout: Layout, workload: Workload) -> Array:
        """Sequences per attention rank that fit at the full length of the workload and under the stack's limit."""
        context = workload.input_tokens + workload.output_tokens
        held = self.memory(layout, context).sequences
        if self.kv_blocks is not None:
            held = np.full_like(held, self.kv_blocks // self.blocks(workload))
        return np.minimum(held, self.machine.stack.max_sequences)

    def blocks(self, workload: Workload) -> Size:
        """Blocks of the paged cache that one request fills at its full length."""
        return np.ceil((workload.input_tokens + workload.output_tokens) / self.machine.stack.block_tokens)

    def most_blocks(self, layout: Layout, workload: Workload) -> Array:
        """Blocks of the paged cache that fit a device beside nothing but the weights, for requests of this length."""
        whole = self.memory(layout, workload.input_tokens + workload.output_tokens)
        block = (whole.sequence - self.memory(layout, 0).sequence) / self.blocks(workload)
        return np.asarray(np.floor(np.maximum(whole.capacity - whole.weights, 0) / np.maximum(block, 1)))

    def closed(self, layout: Layout, workload: Workload, sequences: Size) -> Steady:
        """The mixed pool in a closed loop with `sequences` in flight per attention rank."""
        stack = self.machine.stack
        ranks, stages = np.asarray(layout.attention_dp), np.asarray(layout.pp)
        host = self.machine.coefficient
        front = host("host", "front_end"), host("host", "front_end_per_token")
        first = stack.scheduler == "prefill_first"
        how = Discipline(stack.chunk_tokens, first, ranks, stages, front, host("host", "lag_steps"))

        def seconds(load: Load) -> Array:
            phase: Phase = "decode" if np.any(np.asarray(load.decode_sequences) > 0) else "prefill"
            return np.asarray(self.staged_step(load, layout).seconds * self.discrepancy(phase))

        steady = closed_loop(seconds, workload, sequences, how, self.speculation)
        late = steady.ttft * (self.discrepancy("first_token") - 1)
        # a closed loop holds its requests in flight (Little 1961): later first tokens are fewer requests
        fewer = steady.e2e / (steady.e2e + late)
        return replace(steady, ttft=steady.ttft + late, e2e=steady.e2e + late, requests=steady.requests * fewer)

    def discrepancy(self, phase: Phase) -> Any:
        """Factor by which the laws miss a step of this phase, as found on held-out rows: 1, or draws around 1.

        Drawn once for each model on a chip under a stack: what a law misses there it misses in every configuration.
        """
        machine = self.machine
        known = machine.known("discrepancy", phase)
        key = f"{machine.chip.drawn_as}/{machine.stack.id}/{self.model.id}/discrepancy/{phase}"
        found = machine.sampler.between(key, 1.0, known.low / known.value, known.high / known.value)
        # of a first token it is the wait, not a step
        return found if phase == "first_token" else found / self.efficiency

    def staged_step(self, load: Load, layout: Layout) -> Step:
        """One step as a token sees it: with pp stages the decoding sequences run as pp microbatches in turn."""
        return self.step(replace(load, decode_sequences=load.decode_sequences / np.asarray(layout.pp)), layout)

    def decode_rates(self, layout: Layout, sequences: Size, context: Size) -> Array:
        """Output tokens/s of replicas that only decode `sequences` per attention rank: B ranks y / t(B / pp)."""
        load = Load(decode_sequences=sequences, decode_context=context, query_tokens=1 + self.speculation.tokens)
        seconds = self.staged_step(load, layout).seconds * self.discrepancy("decode")
        tokens = sequences * np.asarray(layout.attention_dp) * self.speculation.yield_per_step
        return np.asarray(_across(tokens, seconds) / seconds)

    def prefill_rates(self, layout: Layout, workload: Workload) -> Array:
        """Input tokens/s of replicas that only prefill full chunks on every rank and every stage."""
        load = self.full_chunk(workload)
        seconds = self.step(load, layout).seconds * self.discrepancy("prefill")
        tokens = load.tokens * np.asarray(layout.attention_dp) * np.asarray(layout.pp)
        return np.asarray(_across(tokens, seconds) / seconds)

    def full_chunk(self, workload: Workload) -> Load:
        """As many sequences of the workload as one chunk budget holds (at least one piece of one)."""
        _, prefill, _ = loads(workload, 0, self.machine.stack.chunk_tokens, 0)
        fill = np.floor(self.machine.stack.chunk_tokens / prefill.prefill_tokens)
        return replace(prefill, prefill_sequences=np.maximum(fill, 1.0))

    def packages(self, devices: Size) -> Size:
        """Packages that hold `devices` devices."""
        return np.ceil(np.asarray(devices) / self.machine.chip.packages_of)


def _across(values: Size, like: Array) -> Array:
    """Values by configuration, with the trailing draw axis where `like` has one."""
    array = np.asarray(values, dtype=float)
    return array[..., None] if like.ndim > 1 and array.ndim else array
