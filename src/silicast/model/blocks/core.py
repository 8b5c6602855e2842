"""The kernel that all kinds of softmax attention share: scores of queries against keys, and sums of values."""

from dataclasses import dataclass

from silicast.model.blocks.shard import Shard
from silicast.model.ops import Attention, Limit, Op, Size

UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class AttentionCore:
    """One layer's kernel: `heads` of this device, sizes of query-key and value, `values` read per key.

    The rest is as in `Attention`: how many keys a query sees and which, tokens per key, bytes of index keys.
    """

    heads: Size
    qk_dim: int
    v_dim: int
    values: Size
    limit: float = UNLIMITED
    limited_by: Limit = "window"
    stride: int = 1
    kv_bytes: float | None = None
    name: str = "attention"

    def both(self, shard: Shard) -> list[Op]:
        """Prefill and decode; a phase without sequences has count 0."""
        return [self.prefill(shard), self.decode(shard)]

    def prefill(self, shard: Shard) -> Attention:
        """Attention of the prompts: each rank of a context-parallel group has its share of the queries."""
        load = shard.load
        return Attention(
            f"{self.name}_prefill", "attention", "prefill",
            load.prefill_sequences, load.prefill_tokens, load.prefill_context,
            self.heads, self.qk_dim, self.v_dim, self.values, self.limit, 1 / shard.layout.cp,
            count=shard.prefills, limited_by=self.limited_by, stride=self.stride, kv_bytes=self.kv_bytes,
        )  # fmt: skip

    def decode(self, shard: Shard) -> Attention:
        """Attention of the next tokens: each rank of a context-parallel group has its share of the keys."""
        load = shard.load
        return Attention(
            f"{self.name}_decode", "attention", "decode",
            load.decode_sequences, load.query_tokens, load.decode_context,
            self.heads, self.qk_dim, self.v_dim, self.values, self.limit, 1 / shard.layout.cp,
            count=shard.decodes, limited_by=self.limited_by, stride=self.stride, kv_bytes=self.kv_bytes,
        )  # fmt: skip
