"""Fits what belongs to a stack on all chips, through the same forecasts that are scored: host, floors, first token.

Few parameters with a meaning, in log space, robust, shrunk to the value they start from. Only `calibrate` rows of
serving runs; suspect rows and rows whose draft acceptance is not recorded are left out. Nothing is keyed by model,
source, row, length or concurrency.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast import catalog
from silicast.coefficients import Coefficient
from silicast.errors import EvidenceError
from silicast.evidence.deployment import NoForecastError, Plan, Pools, plan
from silicast.evidence.forecast import answer
from silicast.evidence.record import Row
from silicast.hardware import Number, Source

Array = NDArray[Any]

#: coefficient -> (lowest, highest) that physics allows, and the width of the prior in log units
STACK_COEFFICIENTS: dict[str, tuple[float, float, float]] = {
    "launch.replay_share": (0.2, 1.0, 0.5),
    "launch.in_engine": (1.0, 1.6, 0.15),
    "host.step": (1e-5, 5e-2, 1.0),
    "host.per_sequence": (1e-7, 1e-3, 1.0),
    "host.hand_over": (1e-3, 1.0, 1.0),
    "host.front_end": (1e-4, 0.5, 1.0),
    "host.front_end_per_token": (1e-8, 1e-4, 1.0),
    "host.lag_steps": (0.1, 40.0, 1.5),
    "host.eager_launch": (1e-6, 2e-4, 0.7),
}
#: by how much the laws miss one row, log units: beyond it a row counts as an outlier
NOISE = 0.15
#: a row weighs less where its metric is mostly queueing
WEIGHTS = {"tpot_ms": 1.0, "ttft_ms": 0.5, "step_ms": 1.0, "e2e_ms": 1.0, "output_tokens_per_s_per_device": 1.0}
#: what follows from the latencies of the same run, and is used only where these were not printed
DERIVED = {"e2e_ms", "output_tokens_per_s_per_device"}
LEAST_ROWS = 8
#: rows of a chip that make it a fold of its own; of a chip and a model that tell their lag
FOLD = 20
LAG, FIRST_TOKEN = "host.lag_steps", "ttft_ms"
LAGS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 18.0, 27.0, 40.0)
#: width of the lag where one script alone tells it, log units; median absolute deviation of a standard normal
LAG_WIDTH, MAD, LEAST_SIGMA = 0.6, 0.6745, 0.2


@dataclass(frozen=True)
class StackFit:
    """Fitted coefficients of one stack with their one-sigma widths in log units, and median errors of the rows used.

    `unseen` are log errors by metric of rows that the fit behind them had not seen.
    """

    stack: str
    values: dict[str, float]
    widths: dict[str, float]
    rows: int
    models: int
    before: dict[str, float]
    after: dict[str, float]
    unseen: dict[str, Array] = field(default_factory=dict)


class Runs:
    """The rows of one stack as groups that are evaluated as arrays."""

    def __init__(self, rows: Sequence[Row]) -> None:
        pools = Pools()
        self.groups: dict[Any, list[Plan]] = defaultdict(list)
        self.wanted: dict[Any, list[dict[str, float]]] = defaultdict(list)
        by_run: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            by_run[row.scenario][row.metric].append(row.value)
        for scenario, metrics in by_run.items():
            try:
                ready = plan(scenario, pools)
            except NoForecastError:
                continue
            own = {name: values for name, values in metrics.items() if "tpot_ms" not in metrics or name not in DERIVED}
            self.groups[ready.group].append(ready)
            self.wanted[ready.group].append({name: float(np.median(values)) for name, values in own.items()})

    def errors(self, changes: Mapping[str, Coefficient]) -> dict[str, Array]:
        """log(forecast / measured) by metric under changed coefficients, rows in a fixed order."""
        pools = Pools(changes=changes)
        found: dict[str, list[float]] = defaultdict(list)
        for group, plans in self.groups.items():
            samples = answer(plans, pools).samples
            for index, metrics in enumerate(self.wanted[group]):
                for name, measured in metrics.items():
                    if name in WEIGHTS:
                        found[name].append(float(np.log(samples[name][index] / measured)))
        return {name: np.array(errors) for name, errors in found.items()}


def usable(row: Row, stack: str) -> bool:
    """Whether a row may be fitted for a stack."""
    known = not row.scenario.mtp_tokens or row.scenario.mtp_acceptance is not None
    fits = row.use == "calibrate" and not row.suspect and row.scenario.kind in ("serve", "prefill", "decode")
    return fits and known and row.scenario.stack == stack and row.metric in WEIGHTS


def fit_stack(stack: str, rows: Sequence[Row], start: Mapping[str, Coefficient]) -> StackFit:
    """Least squares (soft L1) of the log errors of the rows of one stack, each coefficient with a log-normal prior."""
    from scipy.optimize import least_squares

    chosen = [row for row in rows if usable(row, stack)]
    if len(chosen) < LEAST_ROWS:
        raise EvidenceError(
            f"{stack} has {len(chosen)} rows to fit; it needs {LEAST_ROWS}. It keeps the pooled values."
        )
    runs = Runs(chosen)
    names = list(STACK_COEFFICIENTS)
    first = np.log([start[name].number.value for name in names])
    low, high, sigma = (np.array(column) for column in zip(*STACK_COEFFICIENTS.values(), strict=True))

    def changes(logs: Array) -> dict[str, Coefficient]:
        return {name: changed(start[name], float(np.exp(log))) for name, log in zip(names, logs, strict=True)}

    def residuals(logs: Array) -> Array:
        errors = runs.errors(changes(logs))
        data = [
            WEIGHTS[name] / NOISE * np.nan_to_num(found, nan=0.0, posinf=3.0, neginf=-3.0)
            for name, found in errors.items()
        ]
        return np.concatenate([*data, (logs - first) / sigma])

    bounds = np.log(low), np.log(high)
    inside = np.clip(first, bounds[0] + 1e-6, bounds[1] - 1e-6)
    found = least_squares(residuals, inside, bounds=bounds, loss="soft_l1", diff_step=0.05, max_nfev=12)
    covariance = np.linalg.inv(found.jac.T @ found.jac) * max(_robust_sigma(found.fun[: -len(names)]), LEAST_SIGMA) ** 2
    widths = np.sqrt(np.diag(covariance))
    lag = names.index(LAG)
    found.x[lag], widths[lag] = _lag_between_scripts(chosen, changes(found.x), start[LAG])
    before, after = runs.errors({}), runs.errors(changes(found.x))
    return StackFit(
        stack,
        dict(zip(names, np.exp(found.x).tolist(), strict=True)),
        dict(zip(names, widths.tolist(), strict=True)),
        len(chosen),
        len({row.scenario.model for row in chosen}),
        {name: float(np.median(np.abs(np.expm1(errors)))) for name, errors in before.items()},
        {name: float(np.median(np.abs(np.expm1(errors)))) for name, errors in after.items()},
    )


def _lag_between_scripts(
    rows: Sequence[Row], others: Mapping[str, Coefficient], start: Coefficient
) -> tuple[float, float]:
    """(log of the lag, its width): the mean over pairs of chip and model of the lag that each pair's rows want.

    The lag hides settings that nobody recorded (streaming interval) and that benchmarks write down once for a model on
    a chip: pairs of one stack disagree on it by more than the rows of one pair do, so each counts once and their
    spread is the uncertainty.
    """
    by_script = defaultdict(list)
    for row in rows:
        if row.metric == FIRST_TOKEN:
            by_script[str(row.scenario.chip or row.scenario.decode_chip), row.scenario.model].append(row)
    wanted = []
    for script in sorted(by_script):
        runs = Runs(by_script[script])
        misses = []
        for lag in LAGS:
            errors = runs.errors({**others, LAG: changed(start, lag)}).get(FIRST_TOKEN, np.empty(0))
            errors = errors[np.isfinite(errors)]
            misses.append(float(np.median(np.abs(errors))) if errors.size >= FOLD else np.inf)
        if np.isfinite(min(misses)):
            wanted.append(np.log(LAGS[int(np.argmin(misses))]))
    if not wanted:
        return float(np.log(start.number.value)), 1.0
    return float(np.mean(wanted)), float(max(np.std(wanted), LAG_WIDTH / np.sqrt(len(wanted))))


def _robust_sigma(residuals: Array) -> float:
    """Standard deviation from the median absolute deviation."""
    return float(np.median(np.abs(residuals)) / MAD)


def changed(known: Coefficient, value: float) -> Coefficient:
    """The coefficient with another value and no range."""
    number = known.number
    source = Source(title="trial value of a fit")
    tried = Number(value=value, low=value, high=value, unit=number.unit, source=source, confidence="assumption")
    return Coefficient(tried, "calibrated", known.key)


#: the stack whose file is that of the datasheet tier: where every fit starts
UNFITTED = "h100-sxm", "none"


def fit_stacks(
    stacks: Sequence[str], rows: Sequence[Row], told: Callable[[str], None]
) -> tuple[dict[str, StackFit], list[str]]:
    """(fits by stack, reasons why others keep the pooled values)."""
    start = catalog.coefficients(*UNFITTED).table
    fits, skipped = {}, []
    for stack in stacks:
        try:
            fit = fit_stack(stack, rows, start)
        except EvidenceError as error:
            skipped.append(str(error))
            continue
        fits[stack] = replace(fit, unseen=held_out(stack, rows, start))
        told(f"{stack}: {fit.rows} rows of {fit.models} models fitted")
    return fits, skipped


def held_out(stack: str, rows: Sequence[Row], start: Mapping[str, Coefficient]) -> dict[str, Array]:
    """Log errors of the rows of each chip under a fit without that chip; of each model where one chip has most rows.

    What the laws miss of a chip or a model that nobody measured: the band of a forecast is made of these.
    """
    chosen = [row for row in rows if usable(row, stack)]
    found: dict[str, list[Array]] = defaultdict(list)
    for fold in _folds(chosen):
        left = set(map(id, fold))
        others = [row for row in chosen if id(row) not in left]
        try:
            values = fit_stack(stack, others, start).values
        except EvidenceError:
            continue
        fitted = {name: changed(start[name], value) for name, value in values.items()}
        for metric, errors in Runs(fold).errors(fitted).items():
            found[metric].append(errors[np.isfinite(errors)])
    return {metric: np.concatenate(errors) for metric, errors in found.items()}


def _folds(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows by chip, or by model where fewer than two chips have enough of them."""
    by_chip, by_model = defaultdict(list), defaultdict(list)
    for row in rows:
        by_chip[str(row.scenario.chip or row.scenario.decode_chip)].append(row)
        by_model[row.scenario.model].append(row)
    chips = [fold for fold in by_chip.values() if len(fold) >= FOLD]
    return chips if len(chips) > 1 else list(by_model.values())


#: widths below this are not believed: other stacks, versions and flags differ by more (log units)
LEAST_WIDTH = 0.1
#: standard normal deviate of the 90th percentile
Z90 = 1.2816
#: which metric tells how far the laws miss a phase; a prefill step alone is seen in no serving row
DISCREPANCY = {
    "decode": ("tpot_ms", "step_ms", "e2e_ms"),
    "prefill": ("tpot_ms", "step_ms", "e2e_ms"),
    "first_token": ("ttft_ms",),
}


def document(fit: StackFit, date: str) -> str:
    """The coefficient file of a stack as TOML: each value with its 80 % range, and the discrepancy of the laws."""
    told = ", ".join(f"{name} median error {error:.1%}" for name, error in sorted(fit.after.items()))
    lines = [
        "# Written by `silicast calibrate --stacks`; do not edit.",
        'tier = "calibrated"',
        "",
        "[sources.fit]",
        f'title = "Silicast fit to {fit.rows} calibrate rows of {fit.models} models under {fit.stack}; on them {told}"',
        f'date = "{date}"',
        "",
    ]
    for law in sorted({name.partition(".")[0] for name in fit.values}):
        lines.append(f"[{law}]")
        for name, value in fit.values.items():
            if name.startswith(f"{law}."):
                lines.append(f"{name.partition('.')[2]} = {_entry(name, value, fit.widths[name])}")
        lines.append("")
    lines.append("[discrepancy]")
    lines.append("# within these factors lie 80 % of rows of chips, or of models, that a fit had not seen")
    for phase, metrics in DISCREPANCY.items():
        seen = np.concatenate([fit.unseen.get(metric, np.empty(0)) for metric in metrics])
        if seen.size >= LEAST_ROWS:
            low, high = _range(seen)
            ends = f'low = "{low:.4g}", high = "{high:.4g}"'
            lines.append(f'{phase} = {{ value = "1", {ends}, source = "fit", confidence = "derived" }}')
    return "\n".join(lines) + "\n"


def _entry(name: str, value: float, width: float) -> str:
    spread = float(np.exp(Z90 * max(width, LEAST_WIDTH)))
    low, high = (f"{end:.4g}" for end in (value / spread, value * spread))
    unit = " s" if name.startswith("host.") and name != "host.lag_steps" else ""
    ends = f'low = "{low}{unit}", high = "{high}{unit}"'
    return f'{{ value = "{value:.4g}{unit}", {ends}, source = "fit", confidence = "derived" }}'


def _range(errors: Array) -> tuple[float, float]:
    """Factors 1/q and q between which 80 % of measurements stray from forecasts.

    As wide downwards as upwards: drawn with the other numbers, a skewed factor would move the median that it spreads.
    """
    factor = float(np.exp(np.quantile(np.abs(errors), 0.8)))
    return 1 / factor, factor
