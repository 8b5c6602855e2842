"""What a block must answer. It knows its dimensions and the meanings of a Layout; it does not know the chip."""

from typing import Protocol

from silicast.model.blocks.shard import Shard
from silicast.model.ops import Op, Scope, Size
from silicast.scenario import Layout
from silicast.stack import Stack


class Block(Protocol):
    """What a step, the memory and the parameter count need of a block. `Stateless` answers the rare ones."""

    @property
    def name(self) -> str:
        """`attention`, `linear_attention` (these mix tokens), `ffn`, `experts`, or another part of a layer."""
        ...

    @property
    def kind(self) -> str:
        """Which kind of attention it is, in the words of the field; empty for what does not mix tokens."""
        ...

    def parameters(self) -> dict[Scope, int]:
        """Exact parameters by scope, biases and norms included."""
        ...

    def weights(self, layout: Layout, stack: Stack) -> dict[Scope, Size]:
        """Parameters held by one device, by scope."""
        ...

    def ops(self, shard: Shard) -> list[Op]:
        """Operators of one pass of a step on one device."""
        ...

    def cache_values(self, layout: Layout, context: Size) -> Size:
        """Values one sequence of `context` tokens keeps in the KV cache of one device."""
        ...

    def index_values(self, layout: Layout, context: Size) -> Size:
        """8-bit values one sequence keeps in the cache of an indexer on one device."""
        ...

    def state_values(self, layout: Layout) -> Size:
        """FP32 values of recurrent state one sequence keeps on one device."""
        ...

    def head_units(self) -> tuple[int, ...]:
        """Numbers that tp must divide."""
        ...

    def experts(self) -> int:
        """Routed experts (0 = none)."""
        ...


class Stateless:
    """Answers of a block that keeps nothing between steps, whose size tp need not divide, and that has no experts."""

    __slots__ = ()

    @property
    def kind(self) -> str:
        return ""

    def cache_values(self, layout: Layout, context: Size) -> Size:
        del layout, context
        return 0

    def index_values(self, layout: Layout, context: Size) -> Size:
        del layout, context
        return 0

    def state_values(self, layout: Layout) -> Size:
        del layout
        return 0

    def head_units(self) -> tuple[int, ...]:
        return ()

    def experts(self) -> int:
        return 0
