"""What a simulation says of the deployments of a plan, in words, cells and plain data."""

from collections.abc import Sequence
from typing import Any

from silicast.planning.deployments import limits_of
from silicast.planning.options import Option
from silicast.planning.plan import Plan
from silicast.planning.question import Question
from silicast.planning.refusals import SHOWN, WHOLE
from silicast.planning.trials import LEAST_SHARE, Trial, Trials
from silicast.report.numbers import compact
from silicast.serving.measures import PERCENTILES

#: measure of the simulation -> its target
MEASURED = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}
LABELS = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2E"}
SHARES = ("median", "p90", "p99")


def simulated_line(answer: Plan) -> list[str]:
    """The winner under traffic, and what is missing where it misses."""
    one, how = answer.best, answer.trials
    if one.trial is None or how is None:
        return []
    told = ", ".join(f"{label} {_three(one.trial, name)} ms" for name, label in LABELS.items())
    arrive = "the trace" if how.trace else "Poisson arrivals, lognormal lengths"
    text = f"Simulated ({arrive}; median / p90 / p99): {told}."
    share = one.trial.measures["slo_attainment"]
    if share is not None:
        text += f" {share:.0%} of the requests meet all targets; {how.percentile:g} % must."
    return [text, *([] if one.met else _short_of(one, answer.question, how))]


def _short_of(one: Option, question: Question, how: Trials) -> list[str]:
    """Which constraint to relax, and to what, so that the nearest deployment is one that meets all."""
    if one.trial is None:
        return []
    if one.trial.met:
        limits = limits_of(question)
        needed = {"devices": one.devices, "packages": one.packages, "usd_per_hour": one.usd_per_hour, "mw": one.watts}
        over = [f"{SHOWN[name][1]} {_enough(name, value)}" for name, value in needed.items()
                if name in limits and value is not None and value > limits[name]]  # fmt: skip
        return [f"Under traffic it needs more than the budget. Relax: {' and '.join(over)}."] if over else []
    key = next((f"p{one:g}" for one in PERCENTILES if one >= how.percentile), "p99")
    seen = {target: one.trial.measures[f"{key}_{name}_ms"] for name, target in MEASURED.items()}
    over = [f"{SHOWN[name][1]} {seen[name]:.0f}ms or more" for name, target in question.targets.stated.items()
            if (seen[name] or 0) > target]  # fmt: skip
    over += [f"--limit {name}={one.trial.measures[f'{name}_ms']:.0f}ms or more" for name, limit in how.limits.items()
             if (one.trial.measures[f"{name}_ms"] or 0) > limit]  # fmt: skip
    return [f"Even with {LEAST_SHARE:.0%} of its load it misses them. Relax: {' and '.join(over)}."] if over else []


def _enough(name: str, value: float) -> str:
    return f"{value:.0f}" if name in WHOLE else f"{value * 1.01 / (1e6 if name == 'mw' else 1):.4g}"


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
        rows.append([f"{label} ms, median / p90 / p99", *("" if one.trial is None else _three(one.trial, name)
                                                           for one in options)])  # fmt: skip
    return rows


def _cell(trial: Trial | None, told: Any) -> str:
    return "" if trial is None else str(told(trial))


def _carried(trial: Trial) -> str:
    return f"{trial.share:.0%}" if trial.met else "none"


def _attained(trial: Trial) -> str:
    share = trial.measures["slo_attainment"]
    return "" if share is None else f"{share:.0%}"


def _three(trial: Trial, name: str) -> str:
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
