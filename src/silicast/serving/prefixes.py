"""What prompts share: prefixes of groups and earlier turns of a conversation, as hashes of blocks of tokens.

A block's hash stands for its tokens and all before them, so two prompts share as many blocks as their lists of hashes
agree from the start. Only whole blocks have a hash: engines keep no part of a block.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError
from silicast.scenario import MOST_TOKENS

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """`groups` common prefixes (system prompts, tools, documents) of `tokens` tokens each.

    Group k (from 1) is asked for in proportion to k^-skew (Zipf); skew 0 is even.
    """

    groups: int
    tokens: int
    skew: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= MOST_TOKENS:
            raise InputError(f"Prefix groups must be from 1 to {MOST_TOKENS:,}, got {self.groups:,}.")
        if not 0 <= self.tokens <= MOST_TOKENS:
            raise InputError(f"Prefix tokens must be from 0 to {MOST_TOKENS:,}, got {self.tokens:,}.")
        if not 0 <= self.skew < np.inf:
            raise InputError(f"The skew of prefix groups must be zero or positive, got {self.skew:g}.")

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """The group of each of `count` conversations, from 0."""
        chances = np.arange(1.0, self.groups + 1) ** -self.skew
        return random.choice(self.groups, count, p=chances / chances.sum())


def block_hashes(
    input_tokens: Array, group: Array, stream: Array, prefix_tokens: int, block_tokens: int
) -> tuple[Array, Array]:
    """Hashes of the whole blocks of every prompt as a ragged pair `(offsets (request + 1,), ids)`.

    group          number of the common prefix of each request, -1 = none
    stream         requests of one conversation share a number (from 0): a later turn begins with the earlier ones
    prefix_tokens  length of the common prefix; its last block is common only if it is whole
    """
    if not 1 <= block_tokens <= MOST_TOKENS:
        raise InputError(f"Tokens of a block must be from 1 to {MOST_TOKENS:,}, got {block_tokens:,}.")
    blocks = np.asarray(input_tokens, dtype=np.int64) // block_tokens
    offsets = np.concatenate(([0], np.cumsum(blocks)))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], blocks)
    length = prefix_tokens // block_tokens
    common = np.where(np.asarray(group) >= 0, length, 0)
    groups = int(np.max(group, initial=-1)) + 1
    longest = np.zeros(int(np.max(stream, initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(longest, stream, blocks)
    starts = np.cumsum(longest) - longest + groups * length
    shared = place < np.repeat(common, blocks)
    first = np.where(shared, np.repeat(np.asarray(group) * length, blocks), np.repeat(starts[stream], blocks))
    return offsets, first + place


def picked(hashes: tuple[Array, Array], rows: Array) -> tuple[Array, Array]:
    """The ragged pair of some requests, or of all in another order."""
    offsets, ids = hashes
    counts = np.diff(offsets)[rows]
    ends = np.cumsum(counts)
    places = np.repeat(offsets[:-1][rows] - (ends - counts), counts) + np.arange(counts.sum())
    return np.concatenate(([0], ends)), ids[places]
