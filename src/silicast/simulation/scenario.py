"""The scenario file: traffic, deployment, targets, in TOML. A typo names the nearest key.

    seed = 7
    duration = "10 min"

    [traffic]
    arrivals = { kind = "poisson", rate = 12.0 }
    input_tokens = { kind = "lognormal", mean = 1000, spread = 0.8 }
    output_tokens = 200

    [deployment]
    model = "Qwen/Qwen3-32B"
    [[deployment.pools]]
    chip = "h200-sxm"
    replicas = 4
    tp = 2

    [slo]
    ttft = "2s"
    tpot = "50ms"

Several `[[traffic]]` tables with names are tenants: each has its own arrivals and lengths, and its own line in the
answer.
"""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from silicast import datafile
from silicast.errors import InputError
from silicast.hardware import Frozen
from silicast.serving.arrivals import MOST_ARRIVALS
from silicast.simulation.tables import DeploymentTable, SloTable, TrafficTable
from silicast.simulation.values import Seconds, Whole

#: where a bare number stands for a fixed length
LENGTHS = ("input_tokens", "output_tokens", "turns")


class Scenario(Frozen):
    """Who sends what to which deployment, for how long, and what they expect of it.

    `requests` or `duration` ends the traffic (a trace ends by itself); the run goes on until the last answer.
    """

    name: str = ""
    seed: Whole = Field(default=0, ge=0)
    requests: Whole | None = Field(default=None, ge=1, le=MOST_ARRIVALS)
    duration: Seconds | None = None
    traffic: tuple[TrafficTable, ...] = Field(min_length=1)
    deployment: DeploymentTable
    slo: SloTable = SloTable()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.requests is not None and self.duration is not None:
            raise InputError("give requests or duration, not both")
        if self.duration is not None and not 0 < self.duration < float("inf"):
            raise InputError(f"duration must be positive, got {self.duration:g} s")
        kinds = [table.arrivals.kind if table.arrivals else "trace" for table in self.traffic]
        if self.requests is None:
            self._check_end(kinds)
        if "closed" in kinds and len(kinds) > 1:
            raise InputError("a closed loop stands alone: its slots belong to one kind of traffic")
        names = [table.name for table in self.traffic]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"two kinds of traffic are named '{twice[:40]}'; give each a name of its own")
        return self

    def _check_end(self, kinds: list[str]) -> None:
        for kind in kinds:
            if kind != "trace" and (self.duration is None or kind in ("closed", "burst")):
                ends = "requests" if kind in ("closed", "burst") else "requests or a duration"
                raise InputError(f"{kind} arrivals never end: give {ends}, such as requests = 10000")


def read_scenario(path: Path | str) -> Scenario:
    """A scenario file; traces are found beside it. Raises ChipFileError: one line, the field, the nearest name."""
    file = Path(path)
    read = datafile.read(file, Scenario, _spelled_out)
    return read.model_copy(update={"traffic": tuple(_beside(file, table) for table in read.traffic)})


def scenario_of(tables: dict[str, Any]) -> Scenario:
    """The same from plain tables, as the command line has them. Raises InputError."""
    _spelled_out(tables)
    try:
        return Scenario.model_validate(tables)
    except ValidationError as error:
        raise InputError(f"{datafile.first_problem(error, 'scenario')}") from None


def _beside(file: Path, table: TrafficTable) -> TrafficTable:
    if table.trace is None:
        return table
    found = table.trace.model_copy(update={"file": str(file.parent / table.trace.file)})
    return table.model_copy(update={"trace": found})


def _spelled_out(document: dict[str, Any]) -> None:
    """One `[traffic]` is a list of one; a bare number is a fixed length."""
    if isinstance(document.get("traffic"), dict):
        document["traffic"] = [document["traffic"]]
    tables = document.get("traffic")
    for table in tables if isinstance(tables, list) else []:
        if isinstance(table, dict):
            _fixed(table)
            _fixed(table.get("sessions"))


def _fixed(table: Any) -> None:
    for name in LENGTHS if isinstance(table, dict) else ():
        if isinstance(table.get(name), int) and not isinstance(table[name], bool):
            table[name] = {"kind": "fixed", "tokens": table[name]}
