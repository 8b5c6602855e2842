"""A launch command that was read back: the deployment, what of it was not followed, and what it should reach."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from silicast.launch.settings import Limits
from silicast.outcome import Forecast
from silicast.report.document import forecast_result
from silicast.report.forecast import render
from silicast.report.numbers import spread
from silicast.scenario import Pool, Workload

#: what one side of a disaggregated deployment reaches alone
SIDES = {
    "prefill": ("prefill_input_tokens_per_s_per_device", "prefill_mfu", "prefill_mbu"),
    "decode": ("decode_output_tokens_per_s_per_device", "decode_step_ms", "decode_mfu", "decode_mbu"),
}


def pool_result(pool: Pool, limits: Limits, ignored: tuple[str, ...], unmodelled: tuple[str, ...]) -> dict[str, Any]:
    """One pool of the deployment that was read."""
    told = asdict(pool)
    layout = {name: int(size) for name, size in told.pop("layout").items()}
    return {**told, **layout, "limits": asdict(limits), "ignored": list(ignored), "unmodelled": list(unmodelled)}


def side_result(told: Forecast, role: str) -> dict[str, Any]:
    """What one pool reaches: all numbers, or those of its side."""
    whole = forecast_result(told)
    if role == "mixed":
        return whole
    return {**whole, "estimates": {key: told.estimates[key] for key in SIDES[role] if key in told.estimates}}


def render_pool(pool: Pool, limits: Limits, console: Console) -> None:
    """What the command says."""
    layout = pool.layout.whole()
    sizes = f"tp {layout.tp}, pp {layout.pp}, ep {layout.ep}, attention-dp {layout.attention_dp}, cp {layout.cp}"
    given = ", ".join(f"{name} {value}" for name, value in asdict(limits).items() if value is not None)
    where = f"{pool.replicas} x {layout.devices} devices of {pool.chip}, {pool.stack}"
    console.print(f"[bold]{pool.role}[/bold]: {where}, {sizes}.")
    console.print(f"Limits: {given or 'those of the stack'}.")


def render_words(ignored: tuple[str, ...], unmodelled: tuple[str, ...], console: Console) -> None:
    """What was not used."""
    if ignored:
        console.print(f"Ignored, without effect on the forecast: {', '.join(ignored)}.", markup=False)
    if unmodelled:
        console.print(f"Not followed, may change the speed: {', '.join(unmodelled)}.", markup=False)


def render_reach(told: Forecast, role: str, workload: Workload, console: Console) -> None:
    """The forecast of one replica, or of one side of it."""
    if role == "mixed":
        render(told, workload, console)
        return
    for key in SIDES[role]:
        if key in told.estimates:
            console.print(f"{key}: {spread(told.estimates[key])} (this side alone)", markup=False)
