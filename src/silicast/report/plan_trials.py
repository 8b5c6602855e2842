"""What a simulation says of the deployments of a plan, in words, cells and plain data."""

from collections.abc import Sequence
from typing import Any

from silicast.planning.options import Option
from silicast.planning.plan import Plan
from silicast.planning.question import Question
from silicast.planning.trials import Trial, Trials
from silicast.report.numbers import compact

LABELS = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2E"}
SHARES = ("median", "p90", "p99")


def simulated_line(answer: Plan) -> list[str]:
    """The winner under traffic, and what is missing where it misses."""
    one, how = answer.best, answer.trials
    if one.trial is None or how is None:
        return []
    told = ", ".join(f"{label} {three(one.trial, name)} ms" for name, label in LABELS.items())
    closed = answer.question.workload.concurrency is not None
    arrive = (
        f"{'a closed loop' if closed else 'Poisson arrivals'}, lognormal lengths" if how.trace is None else "the trace"
    )
    text = f"Simulated ({arrive}; median / p90 / p99): {told}."
    share = one.trial.measures["slo_attainment"]
    if share is not None:
        text += f" {share:.0%} of the requests meet all targets; {how.percentile:g} % must."
    return [text, *answer.lacks]


def demanded(question: Question, how: Trials | None) -> str:
    """What the targets ask for, of means or of a share of the simulated requests; empty without targets."""
    limits = ", ".join(f"{name.upper()} <= {value:g} ms" for name, value in question.targets.stated.items())
    if how is None:
        return f"means {limits}" if limits else ""
    parts = [f"{how.percentile:g} % of the requests with {limits}"] if limits else []
    parts += [f"{name.replace('_', ' ')} <= {value:g} ms" for name, value in how.limits.items()]
    return ", ".join(parts)


def trial_rows(options: Sequence[Option]) -> list[list[str]]:
    """Lines of the table of options; none where nothing was simulated."""
    if not any(one.trial for one in options):
        return []
    rows = [["simulated: of the closed form's load", *(_cell(one.trial, _carried) for one in options)],
            ["requests within all targets", *(_cell(one.trial, _attained) for one in options)]]  # fmt: skip
    for name, label in LABELS.items():
        rows.append([f"{label} ms, median / p90 / p99", *("" if one.trial is None else three(one.trial, name)
                                                           for one in options)])  # fmt: skip
    return rows


def _cell(trial: Trial | None, told: Any) -> str:
    return "" if trial is None else str(told(trial))


def _carried(trial: Trial) -> str:
    return f"{trial.share:.0%}" if trial.met else "none"


def _attained(trial: Trial) -> str:
    share = trial.measures["slo_attainment"]
    return "" if share is None else f"{share:.0%}"


def three(trial: Trial, name: str) -> str:
    """Median, p90 and p99 of a measure."""
    values = [trial.measures[f"{share}_{name}_ms"] for share in SHARES]
    return " / ".join("-" if value is None else compact(value) for value in values)


def agreement_line(answer: Plan) -> list[str]:
    """How often closed form and simulation disagree."""
    found = answer.agreement
    if found is None:
        return ["Nothing was simulated; with --simulate goodput decides."]
    if not found.simulated:
        return ["No deployment of the short list could be simulated."]
    text = (f"{found.simulated} units were simulated: {found.missed} miss the targets under the load that the closed "
            "form gives them")  # fmt: skip
    if found.carried is not None:
        text += f"; they carry {found.carried:.0%} of it (median)"
    return [f"{text}. " + ("The simulation changed the winner." if found.reordered else "The winner is the same.")]


def trial_result(trial: Trial | None) -> dict[str, Any] | None:
    """One trial as plain data."""
    if trial is None:
        return None
    return {
        "meets_targets": trial.met, "meets_under_closed_form_load": trial.as_told,
        "share_of_closed_form_load": trial.share, "goodput_requests_per_s_per_unit": trial.goodput,
        "measures": {name: value for name, value in trial.measures.items()
                     if name == "slo_attainment" or name.endswith(("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"))},
    }  # fmt: skip
