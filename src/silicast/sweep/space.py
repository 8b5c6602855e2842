"""The space of a sweep, in TOML. A typo names the nearest key.

    models = ["Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-R1"]
    chips = ["h100-sxm", "ascend-910c"]

    [[workloads]]
    name = "chat"
    input_tokens = [1000, 4000]
    output_tokens = 500

    [deployments]
    max_devices = 64

Every model runs on every chip, under every system and stack that is named, for every workload; a list of lengths is as
many workloads.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from silicast import catalog, datafile
from silicast.errors import InputError, not_found
from silicast.hardware import Frozen
from silicast.model.config import read_model
from silicast.planner import ACCEPTED, stacks_of
from silicast.planning.economics import MOST_USD
from silicast.scenario import MOST_DEVICES, MOST_TOKENS, Workload

Tokens = Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)]
Share = Annotated[float, Field(ge=0, le=1)]

#: stands for the system or the stack that the chip's file names
OWN = "own"
#: where a bare value stands for a list of one
LISTS = ("input_tokens", "output_tokens", "prefix_hit")
#: most draft tokens and most rows with ranges that are not a slip of the pen
MOST_DRAFTS = 16
MOST_RANGES = 1000


class WorkloadTable(Frozen):
    """Lengths of requests; lists are crossed."""

    name: str = "all"
    input_tokens: tuple[Tokens, ...] = Field(min_length=1)
    output_tokens: tuple[Tokens, ...] = Field(min_length=1)
    prefix_hit: tuple[Share, ...] = Field(default=(0.0,), min_length=1)

    def workloads(self) -> Iterator[Workload]:
        """Every combination."""
        return (Workload(*one) for one in product(self.input_tokens, self.output_tokens, self.prefix_hit))


class DeploymentsTable(Frozen):
    """Which deployments are tried, as `silicast plan` does.

    max_devices  of one replica, or of one group of prefill and decode replicas (None = what the planner tries)
    recast       also 8-bit weights and cache that the checkpoint does not have, where the chip multiplies them
    mtp_tokens   most draft tokens, where the checkpoint brings draft layers; `mtp_acceptance` of each
    split        also prefill and decode in pools of their own
    ranges       rows of each Pareto front that are computed in draws, which give low and high
    """

    max_devices: Annotated[int, Field(strict=True, ge=1, le=MOST_DEVICES)] | None = None
    recast: bool = False
    mtp_tokens: Annotated[int, Field(strict=True, ge=0, le=MOST_DRAFTS)] = 0
    mtp_acceptance: Share = ACCEPTED
    split: bool = True
    ranges: Annotated[int, Field(strict=True, ge=0, le=MOST_RANGES)] = 8


class Space(Frozen):
    """What is swept; `prices` are USD per package-hour by chip, instead of the catalog's."""

    name: str = ""
    models: tuple[str, ...] = Field(min_length=1)
    chips: tuple[str, ...] = Field(min_length=1)
    systems: tuple[str, ...] = Field(default=(OWN,), min_length=1)
    stacks: tuple[str, ...] = Field(default=(OWN,), min_length=1)
    workloads: tuple[WorkloadTable, ...] = Field(min_length=1)
    deployments: DeploymentsTable = DeploymentsTable()
    prices: dict[str, float] = Field(default_factory=dict)

    def check(self) -> None:
        """Raises NotFoundError or InputError for a name that is not in the catalog or a stack that fits no chip."""
        for model in self.models:
            read_model(model)
        for chip in self.chips:
            self.systems_of(chip)
            self.stacks_of(chip)
        for chip, usd in self.prices.items():
            if chip not in self.chips:
                raise not_found("Price of chip", chip, self.chips, "Prices are for the chips that are swept.")
            if not 0 < usd <= MOST_USD:
                raise InputError(f"The price of {chip} must be above 0 and at most {MOST_USD:,.0f} USD/h, got {usd:g}.")

    def systems_of(self, chip: str) -> tuple[str, ...]:
        """Systems that a chip is tried in."""
        own = catalog.chip(chip).system
        return _once(catalog.system(own if name == OWN else name).id for name in self.systems)

    def stacks_of(self, chip: str) -> tuple[str, ...]:
        """Stacks that a chip is tried under: of those named, the ones for its vendor."""
        own = catalog.chip(chip).stack
        wanted = _once(own if name == OWN else name for name in self.stacks)
        return tuple(name or own for name in stacks_of(chip, wanted))


def read_space(path: Path) -> Space:
    """A space file. Raises ChipFileError: one line, the field, the nearest name; NotFoundError, InputError."""
    space = datafile.read(path, Space, _spelled_out)
    try:
        space.check()
    except InputError as error:
        raise type(error)(f"{path.name}: {error}") from None
    return space


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _spelled_out(document: dict[str, Any]) -> None:
    """One `[workloads]` is a list of one, and so is a bare length."""
    if isinstance(document.get("workloads"), dict):
        document["workloads"] = [document["workloads"]]
    tables = document.get("workloads")
    for table in tables if isinstance(tables, list) else []:
        for name in LISTS if isinstance(table, dict) else ():
            if name in table and not isinstance(table[name], list | dict):
                table[name] = [table[name]]
