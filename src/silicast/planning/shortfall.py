"""What a deployment lacks that is the nearest one under traffic: which constraint to relax, and to what."""

from silicast.planning.deployments import limits_of
from silicast.planning.options import Option
from silicast.planning.question import Question
from silicast.planning.refusals import SHOWN, WHOLE
from silicast.planning.trials import LEAST_SHARE, Trials
from silicast.serving.measures import PERCENTILES

#: measure of the simulation -> its target
MEASURED = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}


def shortfall(one: Option, question: Question, how: Trials) -> list[str]:
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
    if not over:
        return []
    return [f"Even with {LEAST_SHARE:.0%} of its load it does not meet everything. Relax: {' and '.join(over)}."]


def _enough(name: str, value: float) -> str:
    return f"{value:.0f}" if name in WHOLE else f"{value * 1.01 / (1e6 if name == 'mw' else 1):.4g}"
