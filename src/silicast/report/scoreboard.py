"""The lines of the scoreboard as text cells, the same on the screen, in HTML and in the documentation."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from silicast.evidence.figures import FEWEST_COVERED, Figure, Goal, decides
from silicast.evidence.fitted import run_of
from silicast.evidence.score import Score, score
from silicast.evidence.validate import FITTED, Checked, Validation, grouped
from silicast.report.numbers import digits, rounded

#: metrics by a short name; throughput is per device
_SHORT = {
    "output_tokens_per_s_per_device": "output tok/s",
    "input_tokens_per_s_per_device": "input tok/s",
    "total_tokens_per_s_per_device": "total tok/s",
}
#: statistics that are plain numbers, and their decimals; the others are shares
_PLAIN = {"high / low": 2, "Spearman": 3}
#: groups that a reader looks at
BY = ("chip", "stack", "metric")
#: how many of the worst misses are listed
WORST = 10

Line = list[str]


class Lines(NamedTuple):
    """A table: what it says, its columns, how many of these are text (the rest are numbers), and its lines."""

    title: str
    columns: Sequence[str]
    text: int
    lines: list[Line]


def label(metric: str) -> str:
    """A metric as a table names it."""
    return _SHORT.get(metric, metric)


def percent(share: float | None) -> str:
    """`12 %`, or nothing."""
    return "" if share is None else f"{100 * share:.0f} %"


def bare(share: float | None) -> str:
    """A share in % without the sign, one digit below ten."""
    return "" if share is None else f"{100 * share:.1f}" if abs(share) < 0.0995 else f"{100 * share:.0f}"


def two(value: float | None) -> str:
    """Two decimals, or nothing."""
    return "" if value is None else f"{value:.2f}"


# figures -------------------------------------------------------------------------------------------------------------


def figures_lines(figures: Iterable[Figure]) -> Lines:
    """Each figure with its goal, and the peer's on the same rows."""
    title = "Figures on rows that were not fitted, errors in %; the peer's on those of the rows that it forecasts"
    lines = [
        [one.title, f"{one.rows:,}", _statistics(one.found, one), _goals(one.goals), _verdict(one), _peer(one)]
        for one in figures
    ]
    return Lines(title, ("figure", "runs", "found", "goal", "met", "peer"), 1, lines)


def _statistics(found: dict[str, float | None], one: Figure) -> str:
    named = list(dict.fromkeys([*(goal.statistic for goal in one.goals), *(("mean",) if "mean" in found else ())]))
    return ", ".join(f"{name} {statistic(name, found.get(name))}" for name in named)


def statistic(name: str, value: float | None) -> str:
    """A statistic as it is read."""
    if value is None:
        return "-"
    return f"{value:.{_PLAIN[name]}f}" if name in _PLAIN else bare(value)


def _goals(goals: Sequence[Goal]) -> str:
    return ", ".join(_goal(goal) for goal in goals)


def _goal(goal: Goal) -> str:
    if goal.least is not None and goal.most is not None:
        return f"{statistic(goal.statistic, goal.least)} to {statistic(goal.statistic, goal.most)}"
    if goal.least is not None:
        return f"{goal.statistic} >= {statistic(goal.statistic, goal.least)}"
    return f"{goal.statistic} <= {statistic(goal.statistic, goal.most)}"


def _verdict(one: Figure) -> str:
    return {True: "yes", False: "no", None: "-"}[one.met]


def _peer(one: Figure) -> str:
    if not one.peer:
        return ""
    told = _statistics(one.peer, one)
    return told if one.peer_rows == one.rows else f"{told} ({one.peer_rows:,})"


# rows ----------------------------------------------------------------------------------------------------------------


def groups_lines(answer: Validation) -> Lines:
    """One line per chip, stack and metric, of rows that were not fitted."""
    columns = (*BY, "rows", "fc", "med", "mean", "P90", "bias", "rank", "band", "hi/lo")
    lines = [
        [group.keys["chip"], group.keys["stack"], label(group.keys["metric"]), *_cells(group.score)]
        for group in grouped(answer.headline, BY)
    ]
    return Lines(
        "Errors in % on rows that were not fitted; throughput per device; a run counts once", columns, 3, lines
    )


def _cells(found: Score) -> Line:
    shares = (
        found.share_forecast, found.median_absolute_error, found.mean_absolute_error, found.p90_absolute_error,
        found.bias,
    )  # fmt: skip
    percents = ("" if share is None else f"{100 * share:.0f}" for share in shares)
    coverage = "" if found.coverage is None else f"{100 * found.coverage:.0f}"
    return [f"{found.rows:,}", *percents, two(found.rank_correlation), coverage, two(found.width)]


def fitted_lines(answer: Validation) -> Lines:
    """Rows that were fitted: as fitted, and under a refit without their source on their chip."""
    again = {
        tuple(group.keys.values()): group.score.median_absolute_error for group in grouped(answer.again, BY)
    }  # fmt: skip
    lines = [
        [
            group.keys["chip"], group.keys["stack"], label(group.keys["metric"]), f"{group.score.rows:,}",
            bare(group.score.median_absolute_error), bare(again.get(tuple(group.keys.values()))),
        ]
        for group in grouped(answer.fitted, BY)
    ]  # fmt: skip
    title = "Rows that were fitted, median errors in %: as fitted, and refitted without their source on their chip"
    return Lines(title, (*BY, "rows", "fitted", "left out"), 3, lines)


def peer_lines(answer: Validation) -> Lines:
    """Ours beside the peer's, on rows that it forecasts and on which the comparison is fair to it."""
    groups: dict[tuple[str, ...], list[Checked]] = defaultdict(list)
    for item in answer.checked:
        if item.rival and item.rival.core and not item.row.suspect and item.outcome.value is not None:
            seen = "unseen" if item.seen == "unseen" else "fitted"
            groups[seen, item.key("chip"), item.key("stack"), item.row.metric].append(item)
    lines = [
        [chip, stack, metric, seen, f"{len(items):,}", *_beside(items)]
        for (seen, chip, stack, metric), items in sorted(
            groups.items(), key=lambda pair: (pair[0][0] != "unseen", pair[0])
        )
    ]
    columns = (*BY, "rows are", "rows", "med", "peer med", "mean", "peer mean")
    return Lines(f"Beside {answer.peer}, errors in % on the same rows", columns, 4, lines)


def _beside(items: Sequence[Checked]) -> Line:
    ours, theirs = score([item.compared() for item in items]), score([item.peer() for item in items])
    return [
        bare(ours.median_absolute_error), bare(theirs.median_absolute_error), bare(ours.mean_absolute_error),
        bare(theirs.mean_absolute_error),
    ]  # fmt: skip


def simulated_lines(answer: Validation, simulated: Mapping[str, float]) -> Lines:
    """The closed form beside the simulator, on the runs that it replayed and that are not suspect."""
    groups: dict[tuple[str, ...], list[Checked]] = defaultdict(list)
    for item in answer.checked:
        if item.row.id in simulated and not item.row.suspect and item.outcome.value is not None:
            seen = "unseen" if item.seen == "unseen" else "fitted"
            groups[seen, item.key("chip"), item.key("stack"), item.row.metric].append(item)
    lines = []
    for (seen, chip, stack, metric), items in sorted(
        groups.items(), key=lambda pair: (pair[0][0] != "unseen", pair[0])
    ):
        closed = [abs(item.error or 0.0) for item in items]
        replayed = [abs(simulated[item.row.id] / item.row.value - 1) for item in items]
        errors = (function(values) for function in (median, fmean) for values in (closed, replayed))
        lines.append([chip, stack, metric, seen, f"{len(items):,}", *(bare(error) for error in errors)])
    columns = (*BY, "rows are", "rows", "med", "sim med", "mean", "sim mean")
    return Lines("Closed form beside simulation, errors in % on the same rows", columns, 4, lines)


def coverage_lines(answer: Validation) -> Lines:
    """How often the measurement lies inside the 80 % range, and how wide it is, by chip; the headline rows."""
    banded = [item for item in answer.headline if item.inside is not None]
    chips: dict[str, list[Checked]] = defaultdict(list)
    for item in banded:
        chips[item.key("chip")].append(item)
    lines = [_coverage(chip, items) for chip, items in sorted(chips.items())]
    title = "Measurements inside the 80 % range in %, and median high / low, on rows that were not fitted"
    columns = ("chip", "runs", "inside", "hi/lo", "TPOT, step, throughput", "TTFT")
    return Lines(title, columns, 1, [_coverage("all", banded), *lines] if banded else [])


def _coverage(name: str, items: Sequence[Checked]) -> Line:
    whole = score([item.compared() for item in items])
    decided = score([item.compared() for item in items if decides(item)])
    first = score([item.compared() for item in items if item.row.metric == "ttft_ms"])
    few = "" if whole.evidence >= FEWEST_COVERED else " (few)"
    return [
        f"{name}{few}",
        f"{whole.evidence:,}",
        bare(whole.coverage),
        two(whole.width),
        two(decided.width),
        two(first.width),
    ]


def worst(items: Iterable[Checked], most: int = WORST) -> list[Checked]:
    """The largest misses as a factor, one per run."""
    found: dict[object, Checked] = {}
    told = [item for item in items if item.outcome.value is not None]
    for item in sorted(told, key=_factor, reverse=True):
        found.setdefault(run_of(item.row), item)
        if len(found) == most:
            break
    return list(found.values())


def _factor(item: Checked) -> float:
    value = item.outcome.value or item.row.value
    return max(value / item.row.value, item.row.value / value)


def worst_lines(items: Iterable[Checked]) -> Lines:
    """The largest misses."""
    lines = []
    for item in worst(items):
        value, row = item.outcome.value or 0.0, item.row
        lines.append(
            [
                row.source,
                row.id,
                label(row.metric),
                item.outcome.bound_by,
                digits(row.value),
                digits(value),
                rounded(value / row.value, 2),
            ]
        )
    columns = ("source", "row", "metric", "bound by", "measured", "forecast", "factor")
    return Lines(f"The {WORST} largest misses, one per run", columns, 4, lines)


def missing_lines(items: Iterable[Checked]) -> Lines:
    """Rows without a forecast by reason."""
    counts = Counter((item.row.scenario.kind, item.outcome.reason) for item in items if item.outcome.value is None)
    lines = [[kind, reason, f"{number:,}"] for (kind, reason), number in counts.most_common()]
    return Lines("Rows without a forecast", ("kind", "reason", "rows"), 2, lines)


def apart_lines(answer: Validation) -> Lines:
    """Rows with a forecast that no figure counts, with their own median error; fitted rows have their own table."""
    beside = [
        item for item in answer.checked if item.apart not in ("", FITTED) and item.row.scenario.kind != "train"
    ]  # fmt: skip
    lines = []
    for source, why in sorted({(item.row.source, item.apart) for item in beside}):
        rows = [item for item in beside if (item.row.source, item.apart) == (source, why)]
        (group,) = grouped(rows, ("source",))
        lines.append([source, why, f"{len(rows):,}", percent(group.score.median_absolute_error)])
    return Lines("Rows outside the figures above", ("source", "why", "rows", "median"), 2, lines)
