"""Named figures of accuracy, each over a fixed selection of rows, with the goal it is held to.

No row that a coefficient was fitted to enters one, except under a refit that left its source on its chip out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from silicast.evidence.forecast import forecast
from silicast.evidence.left_out import Left, Refits, file_fits, generation_of, without
from silicast.evidence.misses import Missed
from silicast.evidence.score import Compared, Score, score
from silicast.evidence.validate import FITTED, Checked, Validation

#: the serving runs that other planners are compared on
SERVING = "inferencex-2026"
#: groups of rows within which an order is told
FEWEST_IN_ORDER = 8
#: a chip has a coverage of its own from so many pieces of evidence on
FEWEST_COVERED = 20
TUNED = ("cloudmatrix-infer", "cann-recipes")
OPEN = ("sglang-ascend", "vllm-ascend", "omni-infer")
#: metrics whose band must be narrow enough to decide with
DECIDING = ("tpot_ms", "step_ms", "requests_per_s")
THROUGHPUT = "_tokens_per_s_per_device"
#: of the rows of a chip that is left out every so many are forecast, with so many draws
THINNED, FEWER_DRAWS = 3, 64
#: laws by the name of what they time
LAWS = {"gemm": "GEMM", "attention": "attention", "grouped_gemm": "MoE", "collective": "collectives"}


class Goal(NamedTuple):
    """What a statistic must reach: at most `most`, or at least `least`."""

    statistic: str
    most: float | None = None
    least: float | None = None

    def met(self, value: float | None) -> bool | None:
        """Whether a value reaches it; None without a value."""
        if value is None:
            return None
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the list: rows used, statistics found, goals, and the peer's statistics on the rows it forecasts."""

    id: str
    title: str
    rows: int
    found: dict[str, float | None]
    goals: tuple[Goal, ...]
    peer: dict[str, float | None] | None = None
    peer_rows: int = 0

    @property
    def met(self) -> bool | None:
        """Whether every goal is met; None where nothing could be told."""
        told = [goal.met(self.found.get(goal.statistic)) for goal in self.goals]
        return None if None in told else all(told)


Rows = Sequence[Checked]
Pick = Callable[[Checked], bool]


def figures(answer: Validation, refits: Refits, misses: Sequence[Missed]) -> list[Figure]:
    """All figures that the rows of a validation can tell; one without a row is left out."""
    found = [
        *_latencies(answer),
        *_generations(answer, refits),
        _told(answer),
        *_operators(misses),
        *_phases(answer),
        *_bands(answer, refits),
        *_orders(answer),
    ]
    return [one for one in found if one.rows]


def median_and(mean: float | None = None, **most: float) -> tuple[Goal, ...]:
    """Goals: most median error, and most mean or P90 error."""
    return (*(Goal(name, value) for name, value in most.items()), *((Goal("mean", mean),) if mean else ()))


# serving -------------------------------------------------------------------------------------------------------------


def _latencies(answer: Validation) -> list[Figure]:
    return [
        _figure("tpot-h200", "TPOT, H200, one pool", answer.headline, h200("tpot_ms"), median_and(0.11, median=0.075)),
        _figure("ttft-h200", "TTFT, H200, one pool", answer.headline, h200("ttft_ms"), median_and(0.40, median=0.25)),
        _figure(
            "tpot-two-pools", "TPOT, GB200 and H200, two pools", answer.headline, two_pools("tpot_ms"),
            median_and(median=0.14),
        ),
        _figure(
            "ttft-two-pools", "TTFT, GB200 and H200, two pools", answer.headline, two_pools("ttft_ms"),
            median_and(median=0.35),
        ),
    ]  # fmt: skip


def h200(metric: str) -> Pick:
    """Runs of one pool on H200 on which the comparison is fair to the peer."""

    def pick(item: Checked) -> bool:
        fair = item.rival is not None and item.rival.core
        return fair and _serving(item, metric, "h200-sxm") and not item.row.scenario.decode_chip

    return pick


def two_pools(metric: str) -> Pick:
    """Runs with a prefill and a decode pool on GB200 or H200."""
    return lambda item: bool(item.row.scenario.decode_chip) and _serving(item, metric, "gb200", "h200-sxm")


def _serving(item: Checked, metric: str, *chips: str) -> bool:
    return item.row.source == SERVING and item.row.metric == metric and item.key("chip") in chips


def _figure(name: str, title: str, rows: Iterable[Checked], pick: Pick, goals: tuple[Goal, ...]) -> Figure:
    chosen = [item for item in rows if pick(item)]
    theirs = [item.peer() for item in chosen if item.rival is not None]
    peer = statistics(score(theirs)) if theirs else None
    found = score([item.compared() for item in chosen])
    return Figure(name, title, found.evidence, statistics(found), goals, peer, score(theirs).evidence)


def statistics(found: Score) -> dict[str, float | None]:
    """The statistics that goals name."""
    return {
        "median": found.median_absolute_error,
        "mean": found.mean_absolute_error,
        "P90": found.p90_absolute_error,
        "bias": found.bias,
        "forecast": found.share_forecast,
    }


def _generations(answer: Validation, refits: Refits) -> list[Figure]:
    """TPOT of the serving runs of a generation of which nothing was fitted, neither operators nor stacks."""
    found = []
    for generation, most in (("blackwell", 0.10), ("hopper", 0.09)):
        left = Left(generation=generation)
        items = [
            item
            for item in answer.checked
            if item.row.source == SERVING
            and item.row.metric == "tpot_ms"
            and not item.row.suspect
            and generation_of(item.key("chip")) == generation
            and (left, item.row.scenario.stack or "") in refits
        ]
        outcomes, _ = forecast([item.row for item in items], make=without(left, refits))
        again = [item._replace(outcome=outcome) for item, outcome in zip(items, outcomes, strict=True)]
        title = f"TPOT, {generation.capitalize()} as a new generation"
        found.append(_figure(f"tpot-new-{generation}", title, again, lambda _: True, median_and(median=most)))
    return found


def _told(answer: Validation) -> Figure:
    """Runs with a forecast, of all serving runs, whatever stands apart."""
    runs: dict[object, bool] = defaultdict(lambda: True)
    for item in answer.checked:
        if item.row.source == SERVING:
            runs[item.row.id.rpartition("-")[0]] &= item.outcome.value is not None
    share = sum(runs.values()) / len(runs) if runs else None
    goals = (Goal("forecast", least=0.99),)
    return Figure("runs-forecast", "Serving runs with a forecast", len(runs), {"forecast": share}, goals)


# operators -----------------------------------------------------------------------------------------------------------


def _operators(misses: Sequence[Missed]) -> list[Figure]:
    kinds = (
        ("shapes", "held-out shapes of a fitted chip", median_and(median=0.06, P90=0.20)),
        ("chip", "a chip left out of the fit", median_and(median=0.18)),
    )
    return [
        Figure(
            f"{law}-{kind}", f"{name}, {title}", one.rows, {"median": one.median_error, "P90": one.p90_error}, goals
        )
        for kind, title, goals in kinds
        for law, name in LAWS.items()
        for one in misses
        if not one.chip and (one.left_out, one.law) == (kind, law)
    ]  # fmt: skip


# phases and Ascend ---------------------------------------------------------------------------------------------------


def _phases(answer: Validation) -> list[Figure]:
    rows = [*answer.headline, *answer.again]
    goals = median_and(median=0.10, P90=0.20), median_and(median=0.14, P90=0.35), median_and(median=0.12)
    return [
        _figure("910c-tuned", "R1 class on Ascend 910C, tuned stacks", rows, ascend(TUNED, "910c"), goals[0]),
        _figure("ascend-open", "Ascend 910B and 910C, open stacks", rows, ascend(OPEN, "910b", "910c"), goals[1]),
        _figure("r1-phases", "R1 phases on H800 and 96 H100", rows, r1_phases, goals[2]),
    ]


def ascend(stacks: tuple[str, ...], *parts: str) -> Pick:
    """Serving rows and phases under some stacks on some Ascend chips."""

    def pick(item: Checked) -> bool:
        on = item.key("chip").startswith(tuple(f"ascend-{part}" for part in parts))
        return on and item.key("stack") in stacks and item.row.scenario.kind in ("serve", "prefill", "decode")

    return pick


def r1_phases(item: Checked) -> bool:
    """Prefill and decode rows of R1-class models on H800 and H100."""
    return item.key("chip") in ("h800-sxm", "h100-sxm") and item.row.scenario.kind in ("prefill", "decode")


# bands and order -----------------------------------------------------------------------------------------------------


def decides(item: Checked) -> bool:
    """Whether the band of a row's metric is to decide with: TPOT, steps, throughput."""
    return item.row.metric in DECIDING or item.row.metric.endswith(THROUGHPUT)


def _bands(answer: Validation, refits: Refits) -> list[Figure]:
    banded = [item for item in answer.headline if item.inside is not None]
    if not banded:
        return []
    overall = score([item.compared() for item in banded])
    goals = (Goal("coverage", 0.85, 0.75),)
    found = [
        Figure("coverage", "80 % range, all rows", overall.evidence, {"coverage": overall.coverage}, goals),
        _coverages(banded),
    ]
    mine = [item for item in banded if item.key("chip") in file_fits()]
    away = _unmeasured(answer, refits)
    for name, title, items, most in (
        ("width-fitted", "Range of TPOT, step, throughput; fitted chips", mine, 1.5),
        ("width-left-out", "The same; each chip left out with its operators", away, 2.5),
    ):
        one = score([item.compared() for item in items if decides(item)])
        found.append(Figure(name, title, one.evidence, {"high / low": one.width}, (Goal("high / low", most),)))
    one = score([item.compared() for item in away])
    found.append(
        Figure("coverage-left-out", "80 % range, each chip left out", one.evidence, {"coverage": one.coverage}, goals)
    )
    return found


def _unmeasured(answer: Validation, refits: Refits) -> list[Checked]:
    """Serving rows of every chip, forecast as if nobody had measured the chip: neither operators nor runs."""
    found = []
    for chip in sorted(file_fits()):
        left = Left(chip=chip)
        items = [item for item in answer.checked if item.key("chip") == chip and _plain(item)][::THINNED]
        items = [item for item in items if item.seen == "unseen" or (left, item.row.scenario.stack or "") in refits]
        outcomes, _ = forecast([item.row for item in items], FEWER_DRAWS, make=without(left, refits))
        found += [item._replace(outcome=outcome) for item, outcome in zip(items, outcomes, strict=True)]
    return found


def _plain(item: Checked) -> bool:
    """A serving row of which everything is known, whether it was fitted or not."""
    return item.row.scenario.kind == "serve" and item.apart in ("", FITTED)


def _coverages(banded: Sequence[Checked]) -> Figure:
    """The lowest and highest coverage of chips with enough rows."""
    chips: dict[str, list[Compared]] = defaultdict(list)
    for item in banded:
        chips[item.key("chip")].append(item.compared())
    scores = [one for one in map(score, chips.values()) if one.evidence >= FEWEST_COVERED]
    covered = [one.coverage for one in scores if one.coverage is not None]
    found = {"lowest": min(covered, default=None), "highest": max(covered, default=None)}
    goals = (Goal("lowest", least=0.65), Goal("highest", 0.92))
    return Figure("coverage-chips", "80 % range, by chip", len(covered), found, goals)


def _orders(answer: Validation) -> list[Figure]:
    """Rank correlation within a model on H200, median over models with enough runs."""
    found = []
    for metric, least in (("tpot_ms", 0.95), ("ttft_ms", 0.90)):
        models: dict[str, list[Checked]] = defaultdict(list)
        for item in filter(h200(metric), answer.headline):
            models[item.row.scenario.model].append(item)
        large = [items for items in models.values() if _runs(items) >= FEWEST_IN_ORDER]
        ours, theirs = (
            [one for items in large if (one := score([side(item) for item in items]).rank_correlation) is not None]
            for side in (Checked.compared, Checked.peer)
        )
        name = metric.removesuffix("_ms")
        found.append(
            Figure(
                f"order-{name}", f"Order of {name.upper()} within a model, H200",
                sum(map(len, large)), {"Spearman": median(ours) if ours else None}, (Goal("Spearman", least=least),),
                {"Spearman": median(theirs)} if theirs else None, sum(map(len, large)),
            )
        )  # fmt: skip
    return found


def _runs(items: Rows) -> int:
    return len({item.compared().piece for item in items})
