"""What another planner forecasts for the same runs. Shown beside our forecasts; nothing is ever fitted to it."""

import csv
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from silicast.catalog import data_folder
from silicast.evidence.record import Row

#: what a peer forecasts of a run, and the ending of the row's id that says so
ENDINGS = {"ttft_ms": "-ttft", "tpot_ms": "-tpot"}


@dataclass(frozen=True, slots=True)
class Rival:
    """A peer's forecast of one row, ms; `core` marks the rows on which the comparison is fair to it."""

    value: float
    core: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Another planner: its name, the source its forecasts belong to, and (run, metric) -> forecast."""

    name: str
    source: str
    title: str
    url: str
    date: str
    licence: str
    forecasts: dict[tuple[str, str], Rival] = field(repr=False)

    def of(self, row: Row) -> Rival | None:
        """Its forecast of a row, joined by the row's id."""
        ending = ENDINGS.get(row.metric)
        if ending is None or row.source != self.source or not row.id.endswith(ending):
            return None
        return self.forecasts.get((row.id.removesuffix(ending), row.metric))

    def cite(self) -> str:
        """One bibliography line."""
        return f"{self.title}, {self.date}, {self.url}"


@cache
def shipped_peer() -> Peer:
    """The peer whose forecasts ship."""
    (about,) = sorted((data_folder() / "peers").glob("*.toml"))
    return read_peer(about)


def read_peer(about: Path) -> Peer:
    """A peer from `<name>.toml` (provenance) and `<name>.csv` (id, core, stage, ttft_ms, tpot_ms) beside it."""
    told = tomllib.loads(about.read_text(encoding="utf-8"))
    forecasts: dict[tuple[str, str], Rival] = {}
    with about.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for metric in ENDINGS:
                forecasts[line["id"], metric] = Rival(float(line[metric]), line["core"] == "1")
    about_it = {name: str(told[name]) for name in ("name", "source", "title", "url", "date", "licence")}
    return Peer(**about_it, forecasts=forecasts)
