"""How good the first choice of the closed form is on the serving evidence: `python benchmarks/choices.py`.

A group is one model on one chip at one load (lengths, concurrency) with at least three measured layouts (stack, tp, ep,
attention DP, formats). The layout with the highest forecast of output tokens/s per device is our choice; the figure is
what it measured over the best measured one. Throughput of a run = concurrency x output tokens / (TTFT + (output
tokens - 1) x TPOT) / devices; repeats of a layout are averaged, suspect rows are left out. Beside it: the layout with
fewest devices, and, on the runs that both forecast, what the peer's forecasts would choose. Under a target of TPOT the
choice is among the runs that were measured within it, at any concurrency. Runs count that no fit may use.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from silicast.evidence.columns import Scenario
from silicast.evidence.forecast import forecast
from silicast.evidence.peers import shipped_peer
from silicast.evidence.record import Row, load, shipped, source_folders
from silicast.evidence.runs import devices, rate

LAYOUTS = 3
LOAD = ("model", "chip", "system", "input_tokens", "output_tokens", "length_low", "length_high", "concurrency")
LAYOUT = ("stack", "tp", "pp", "ep", "attention_dp", "weights", "kv_cache", "devices", "mtp_tokens")
TPOT_MS = (20.0, 50.0, 100.0)


@dataclass(frozen=True)
class Run:
    """Output tokens/s per device of one layout, measured, forecast by us and by the peer (NaN: it has none); its
    measured TPOT in ms and its devices.
    """

    measured: float
    forecast: float
    peer: float
    tpot_ms: float
    devices: float


def main() -> None:
    """Print one line per question."""
    rows = [row for row in load(source_folders(shipped())).rows if row.scenario.kind == "serve" and not row.suspect]
    runs = told(rows)
    exact = grouped(runs, LOAD)
    score("at each concurrency", [list(group.values()) for group in exact.values()])
    for limit in TPOT_MS:
        groups = grouped(runs, tuple(name for name in LOAD if name != "concurrency"))
        score(f"TPOT <= {limit:g} ms", [under(list(group.values()), limit) for group in groups.values()])


def told(rows: Sequence[Row]) -> dict[Scenario, Run]:
    """Every run with both latencies, measured and forecast."""
    wanted = [row for row in rows if row.metric in ("ttft_ms", "tpot_ms") and row.scenario.concurrency]
    found, _ = forecast(wanted)
    peer = shipped_peer()
    table: dict[Scenario, dict[str, tuple[float, float, float]]] = defaultdict(dict)
    for row, outcome in zip(wanted, found, strict=True):
        if outcome.value is not None and row.use == "validate":
            other = peer.of(row)
            table[row.scenario][row.metric] = row.value, outcome.value, other.value if other else np.nan
    return {
        scenario: Run(*(rate(scenario, *(both[name][side] for name in ("ttft_ms", "tpot_ms"))) for side in range(3)),
                      both["tpot_ms"][0], devices(scenario))
        for scenario, both in table.items() if len(both) == 2
    }  # fmt: skip


def grouped(runs: dict[Scenario, Run], names: Sequence[str]) -> dict[tuple[object, ...], dict[object, Run]]:
    """Runs by load, then by layout (and concurrency); repeats averaged."""
    table: dict[tuple[object, ...], dict[object, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for scenario, run in runs.items():
        layout = tuple(getattr(scenario, name) for name in (*LAYOUT, "concurrency"))
        split = tuple(value for name, value in scenario._asdict().items() if name.startswith(("prefill_", "decode_")))
        table[tuple(getattr(scenario, name) for name in names)][layout + split].append(run)
    return {
        key: {layout: Run(*(mean(getattr(run, name) for run in own) for name in Run.__annotations__))
              for layout, own in layouts.items()}
        for key, layouts in table.items() if len(layouts) >= LAYOUTS
    }  # fmt: skip


def under(runs: list[Run], limit: float) -> list[Run]:
    """The runs that were measured within a target."""
    return [run for run in runs if run.tpot_ms <= limit]


def score(name: str, groups: Sequence[list[Run]]) -> None:
    """Share of groups in which a choice is the best, and what it reaches of the best."""
    shared = [[run for run in group if np.isfinite(run.peer)] for group in groups]
    rules: dict[str, tuple[Callable[[Run], float], Sequence[list[Run]]]] = {
        "ours": (lambda run: run.forecast, groups),
        "fewest devices": (lambda run: -run.devices, groups),
        f"ours, runs that {shipped_peer().name} forecasts": (lambda run: run.forecast, shared),
        f"{shipped_peer().name}, the same runs": (lambda run: run.peer, shared),
    }
    for rule, (key, asked) in rules.items():
        several = [group for group in asked if len(group) >= LAYOUTS]
        reached = [max(group, key=key).measured / max(run.measured for run in group) for group in several]
        if reached:
            print(
                f"{name}, {rule}: best in {np.mean(np.array(reached) > 1 - 1e-9):.0%} of {len(reached)} groups, "
                f"mean {np.mean(reached):.1%}, P10 {np.percentile(reached, 10):.1%} of the best"
            )


if __name__ == "__main__":
    main()
