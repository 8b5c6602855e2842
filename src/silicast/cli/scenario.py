"""Turns options into nouns, with one clear line for each impossible value."""

from silicast.errors import InputError
from silicast.scenario import Speculation, Targets
from silicast.units import duration_ms

MOST_DRAFTS = 8


def targets(ttft: str, tpot: str, e2e: str | None = None) -> Targets:
    """Latency targets from text."""
    return Targets(duration_ms(ttft), duration_ms(tpot), None if e2e is None else duration_ms(e2e))


def speculation(tokens: int, acceptance: float) -> Speculation:
    """Draft tokens per step and their acceptance."""
    if not 0 <= tokens <= MOST_DRAFTS:
        raise InputError(f"--mtp-tokens must be from 0 to {MOST_DRAFTS}, got {tokens}.")
    if not 0 <= acceptance <= 1:
        raise InputError(f"--mtp-acceptance is a share between 0 and 1, got {acceptance:g}.")
    return Speculation(tokens, acceptance if tokens else 0.0)


def microbatches(count: int | None) -> int | None:
    """1 or 2."""
    if count not in (None, 1, 2):
        raise InputError(f"--microbatches must be 1 or 2, got {count}.")
    return count


def claimed(ratio: float | None) -> float | None:
    """A ratio to hold against the map."""
    if ratio is not None and not 0 < ratio < float("inf"):
        raise InputError(f"--claim must be a positive ratio, got {ratio:g}.")
    return ratio


def positive(name: str, value: int | None) -> int | None:
    """A count option."""
    if value is not None and value < 1:
        raise InputError(f"--{name} must be at least 1, got {value}.")
    return value


def sizes(**given: int | None) -> dict[str, int | None]:
    """Parallel sizes."""
    return {name: positive(name.replace("_", "-"), value) for name, value in given.items()}
