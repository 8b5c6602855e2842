"""A fleet file: the services of a fleet, what they serve today, and the chips they run on.

    name = "production"
    rack_kw = 40

    [[services]]
    name = "chat"
    model = "Qwen/Qwen3-32B"
    chip = "h100-sxm"
    packages = 64
    input_tokens = 3000
    output_tokens = 500
    rate = 40.0
    ttft = "2s"
    tpot = "50ms"

A service without `rate` and `concurrency` is taken to serve as much as its `packages` can under the targets.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from silicast.datafile import first_problem, read_toml
from silicast.errors import ChipFileError, InputError
from silicast.hardware import Frozen
from silicast.scenario import MOST_REQUESTS, MOST_TOKENS, Targets, Workload
from silicast.units import duration_ms

Tokens = Annotated[float, Field(ge=1, le=MOST_TOKENS)]
Load = Annotated[float, Field(gt=0, le=MOST_REQUESTS)]


class Service(Frozen):
    """One model under one kind of load on one chip."""

    name: str
    model: str
    chip: str
    packages: Annotated[int, Field(ge=1, le=10**6)] | None = None
    stack: str | None = None
    input_tokens: Tokens
    output_tokens: Tokens
    prefix_hit: Annotated[float, Field(ge=0, le=1)] = 0.0
    rate: Load | None = None
    concurrency: Load | None = None
    ttft: str = "2s"
    tpot: str = "50ms"
    e2e: str | None = None

    @model_validator(mode="after")
    def _has_a_load(self) -> Self:
        given = [name for name in ("rate", "concurrency") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError("give rate or concurrency, not both")
        if not given and self.packages is None:
            raise ValueError("needs a rate, a concurrency, or the packages it has today")
        self.targets()
        return self

    def workload(self) -> Workload:
        """Lengths and load."""
        return Workload(self.input_tokens, self.output_tokens, self.prefix_hit, self.concurrency, self.rate)

    def targets(self) -> Targets:
        """Latency targets."""
        return Targets(
            duration_ms(self.ttft), duration_ms(self.tpot), None if self.e2e is None else duration_ms(self.e2e)
        )


class Fleet(Frozen):
    """Services by name; `rack_kw` is what a rack takes, for the number of racks; `prices` in USD per package-hour."""

    name: str = ""
    rack_kw: Annotated[float, Field(gt=0)] | None = None
    prices: dict[str, float] = Field(default_factory=dict)
    services: Annotated[tuple[Service, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [service.name for service in self.services]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two services are named '{twice[:40]}'")
        return self


def read_fleet(path: Path) -> Fleet:
    """A fleet file. Raises ChipFileError: one line with the field that is missing or wrong."""
    document = read_toml(path)
    if not document.get("services"):
        raise ChipFileError(
            f"{path.name} has no [[services]]: name, model, chip, input_tokens, output_tokens and a load."
        )
    try:
        return Fleet.model_validate(document)
    except ValidationError as error:
        raise ChipFileError(f"{path.name}: {first_problem(error, '')}") from None
    except InputError as error:
        raise ChipFileError(f"{path.name}: {error}") from None
