"""Evidence against forecasts: rows, groups of rows, and all of them; what stands apart from the headline, and why.

The headline is about rows that no coefficient was fitted to, nor to others of their source and chip. Fitted rows are
scored apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from silicast.errors import EvidenceError, nearest
from silicast.evidence.fitted import Seen, chip_of, fitted, run_of
from silicast.evidence.forecast import Outcome, Progress, forecast
from silicast.evidence.left_out import left_out, shipped_refits
from silicast.evidence.peers import Rival, shipped_peer
from silicast.evidence.record import Evidence, Row, Source, load
from silicast.evidence.score import Compared, Score, score

#: what rows of one group share
KEYS = ("source", "chip", "stack", "model", "metric")
FITTED = "coefficients were fitted to this run"
SIBLING = "coefficients were fitted to other runs of this source on this chip"


class Checked(NamedTuple):
    """A row and its forecast. `apart` says why it is outside the headline figures ("" = it is inside).

    `seen` = whether coefficients were fitted to it; `rival` = what the peer forecasts of it; `without` = our forecast
    under a refit without its source on its chip, where it was fitted.
    """

    row: Row
    outcome: Outcome
    apart: str = ""
    seen: Seen = "unseen"
    rival: Rival | None = None
    without: Outcome | None = None

    @property
    def error(self) -> float | None:
        """Signed relative error, forecast over measured - 1."""
        value = self.outcome.value
        return None if value is None else value / self.row.value - 1

    @property
    def inside(self) -> bool | None:
        """Whether the measurement lies within low..high; None without a band."""
        low, high = self.outcome.low, self.outcome.high
        return None if low is None or high is None else low <= self.row.value <= high

    def key(self, name: str) -> str:
        """One of KEYS as text."""
        row = self.row
        if name in ("source", "metric"):
            return row.source if name == "source" else row.metric
        if name == "chip":
            return chip_of(row)
        return str(getattr(row.scenario, name) or "")

    def compared(self) -> Compared:
        """The row as statistics see it. A version is no new evidence."""
        low, high = self.outcome.low, self.outcome.high
        width = high / low if low and high else None
        return Compared(run_of(self.row), self.row.metric, self.row.value, self.outcome.value, self.inside, width)

    def peer(self) -> Compared:
        """The row with the peer's forecast in the place of ours."""
        value = self.rival.value if self.rival else None
        return Compared(run_of(self.row), self.row.metric, self.row.value, value, None)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one source, chip, stack, model and metric, and their score."""

    keys: dict[str, str]
    score: Score


@dataclass(frozen=True, slots=True)
class Validation:
    """The answer of `validate`."""

    sources: tuple[Source, ...]
    checked: tuple[Checked, ...]
    groups: tuple[Group, ...]
    overall: Score
    warnings: tuple[str, ...]
    peer: str = ""

    @property
    def headline(self) -> list[Checked]:
        """The rows that the figures are about: unseen by every fit."""
        return [item for item in self.checked if not item.apart]

    @property
    def fitted(self) -> list[Checked]:
        """The rows that coefficients were fitted to: what the laws can describe, not what they forecast."""
        return [item for item in self.checked if item.apart == FITTED]

    @property
    def again(self) -> list[Checked]:
        """The fitted rows with their forecasts under a refit without their source on their chip."""
        return [item._replace(outcome=item.without) for item in self.fitted if item.without is not None]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows to look at; an empty tuple = all."""

    chip: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    stack: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What to validate: folders of evidence, a filter, draws per number (0 = points only).

    `left_out` = also forecast fitted rows under a refit without their source on their chip.
    """

    folders: tuple[Path, ...]
    only: Filter = field(default_factory=Filter)
    draws: int = 0
    left_out: bool = False


def validate(question: Question, progress: Progress | None = None) -> Validation:
    """Load, forecast, score. Raises EvidenceError for a folder that cannot be read or a filter that fits nothing."""
    evidence = load(question.folders)
    rows = select(evidence, question.only)
    outcomes, warnings = forecast(rows, question.draws, progress)
    known, peer = fitted(evidence.rows), shipped_peer()
    again = left_out(rows, shipped_refits()) if question.left_out else {}
    checked = tuple(
        Checked(row, outcome, apart(row, outcome, seen := known.seen(row)), seen, peer.of(row), again.get(row))
        for row, outcome in zip(rows, outcomes, strict=True)
    )
    named = {row.source for row in rows}
    sources = tuple(source for source in evidence.sources if source.id in named)
    inside = [item for item in checked if not item.apart]
    overall = score([item.compared() for item in inside])
    return Validation(sources, checked, grouped(inside, KEYS), overall, (*evidence.warnings, *warnings), peer.name)


def apart(row: Row, outcome: Outcome, seen: Seen) -> str:
    """Why a row is no part of the headline figures: not forecast by design, suspect, not recorded, or fitted."""
    scenario = row.scenario
    if scenario.kind == "train":
        return outcome.reason
    if row.suspect:
        return f"suspect: {row.suspect}"
    if scenario.mtp_tokens and scenario.mtp_acceptance is None and row.metric != "step_ms":
        return "acceptance of draft tokens is not recorded"
    return {"fitted": FITTED, "sibling": SIBLING, "unseen": ""}[seen]


def grouped(items: Iterable[Checked], keys: Sequence[str]) -> tuple[Group, ...]:
    """Groups by some of KEYS, sorted, each with its score."""
    groups: dict[tuple[str, ...], list[Compared]] = defaultdict(list)
    for item in items:
        groups[tuple(item.key(name) for name in keys)].append(item.compared())
    return tuple(Group(dict(zip(keys, key, strict=True)), score(rows)) for key, rows in sorted(groups.items()))


def select(evidence: Evidence, only: Filter) -> list[Row]:
    """The rows that a filter lets through. Raises EvidenceError naming the nearest value the evidence has."""
    rows = list(evidence.rows)
    for name in KEYS:
        wanted: tuple[str, ...] = getattr(only, name)
        if wanted:
            known = {value for row in evidence.rows for value in _values(row, name)}
            allowed = {_known(name, given, known) for given in wanted}
            rows = [row for row in rows if allowed & set(_values(row, name))]
    if not rows:
        raise EvidenceError("No row of the evidence matches all of the filters.")
    return rows


def _values(row: Row, name: str) -> tuple[str, ...]:
    """What a filter may call a row; a model also without its organisation, a chip as that of either pool."""
    scenario = row.scenario
    if name == "source":
        return (row.source,)
    if name == "metric":
        return (row.metric,)
    if name == "stack":
        return (scenario.stack or "",)
    if name == "model":
        return scenario.model, scenario.model.rpartition("/")[2]
    return tuple({chip for chip in (scenario.chip, scenario.prefill_chip, scenario.decode_chip) if chip})


def _known(name: str, given: str, known: set[str]) -> str:
    by_lower = {value.lower(): value for value in known}
    found = by_lower.get(given.lower())
    if found is None:
        guess = nearest(given[:200], known)
        hint = f" Did you mean '{guess}'?" if guess else ""
        raise EvidenceError(f"No row of the evidence has the {name} '{given[:80]}'.{hint}")
    return found
