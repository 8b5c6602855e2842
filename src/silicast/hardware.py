"""Nouns of the machine: a number with its source, a chip, the domains that join chips into a system.

All values are SI and *per device* (one rank a program sees) unless a field says package. No physics and no I/O here:
files are read by `silicast.catalog`, times are computed by `silicast.laws`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Confidence = Literal["high", "medium", "low", "assumption", "derived"]
Topology = Literal["switch", "mesh", "torus", "ring"]

Basis = Literal[
    "dense",
    "sparse",
    "per_direction",
    "both_directions",
    "per_device",
    "per_package",
    "per_core",
    "matrix_only",
    "marketing",
    "vector_only",
    "peak",
    "sustained",
    "measured",
    "boost",
    "base",
    "printed",
    "usable",
    "announced",
    "derived",
    "assumed",
]


class Frozen(BaseModel):
    """A noun that crosses a border: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


#: how the titles of our own assumptions, estimates and fits begin: they have no other place than this package
OWN = ("Assumption of Silicast", "Fitted by Silicast", "Silicast fit", "spread over")


#: what no device or package of this generation comes near, a thousand times the largest of the catalog: a slip of units
MOST = {"FLOP/s": 1e20, "B/s": 1e17, "B": 1e15, "W": 1e6, "Hz": 1e13, "mm2": 1e6}


class Source(Frozen):
    """Where a number was read."""

    title: str
    url: str = ""
    date: str = ""

    @property
    def address(self) -> str:
        """Where to look; a source of others without an address says so, our own has none."""
        return self.url or ("" if self.title.startswith(OWN) else "address not kept")

    def cite(self) -> str:
        """One bibliography line."""
        return ", ".join(part for part in (self.title, self.date, self.address) if part)


class Number(Frozen):
    """A value in SI with the range over which its sources (or its uncertainty) spread.

    `low` and `high` are read as the 10th and 90th percentile when draws are made. `estimated` marks a number that no
    source gives: it was drawn from the spread of the same field over other chips (see `catalog.complete`).
    """

    value: float
    low: float
    high: float
    unit: str
    basis: tuple[Basis, ...] = ()
    source: Source
    confidence: Confidence
    note: str = ""
    conflicts: tuple[str, ...] = ()
    estimated: bool = False

    @model_validator(mode="after")
    def _ordered_and_positive(self) -> "Number":
        if not 0 < self.low <= self.value <= self.high < float("inf"):
            raise ValueError(f"need 0 < low <= value <= high, got {self.low:g} <= {self.value:g} <= {self.high:g}")
        if self.high > MOST.get(self.unit, float("inf")):
            raise ValueError(f"{self.high:g} {self.unit} is absurd: at most {MOST[self.unit]:g}; look at the unit")
        return self


class Fact(Frozen):
    """A sourced statement that is not a number, such as a process node."""

    value: str
    source: Source
    confidence: Confidence
    note: str = ""


class Compute(Frozen):
    """What one device computes. `matrix` is the dense peak a GEMM can reach, per dtype, in FLOP/s."""

    matrix: dict[str, Number]
    marketing: dict[str, Number] = {}
    vector: dict[str, Number] = {}
    measured_gemm: dict[str, Number] = {}
    cores: Number | None = None
    clock: Number | None = None
    tile_m: Number | None = None
    tile_n: Number | None = None
    kernel_launch: Number | None = None


class MemoryLevel(Frozen):
    """One level of the memory hierarchy of a device."""

    capacity: Number | None = None
    usable: Number | None = None
    bandwidth: Number | None = None
    technology: Fact | None = None


class Link(Frozen):
    """What leaves a device, one direction."""

    bandwidth: Number | None = None
    latency: Number | None = None


class Silicon(Frozen):
    """Process and die facts (used by the silicon and cost questions, not by the laws)."""

    process: Fact | None = None
    die_area: Number | None = None
    transistors: Number | None = None
    dies: Number | None = None
    structure: Fact | None = None


class Chip(Frozen):
    """One product with a datasheet.

    `devices_per_package` is 2 where one socketed package shows two ranks (910C, 310P Duo, TPU v7) and 1 elsewhere,
    several dies or not. `based_on` is the chip of the catalog from which a user's chip was made: what was fitted to
    that one holds for this one as transferred.
    """

    id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\\\[\]\x00-\x1f]*$")]
    name: str
    vendor: str
    generation: str
    kind: Literal["datacentre", "workstation"] = "datacentre"
    status: str
    system: str
    stack: str
    based_on: str | None = None
    devices_per_package: Number
    compute: Compute
    memory: dict[str, MemoryLevel]
    links: dict[str, Link] = {}
    power: dict[str, Number] = {}
    silicon: Silicon = Silicon()
    missing: tuple[str, ...] = ()
    note: str = ""

    @property
    def drawn_as(self) -> str:
        """The id under which uncertain numbers are drawn: they are those of the chip that it is based on."""
        return self.based_on or self.id

    @property
    def packages_of(self) -> int:
        """Devices in one package."""
        return round(self.devices_per_package.value)

    @property
    def hbm(self) -> MemoryLevel:
        """The main memory of the device, whatever its technology."""
        return self.memory["hbm"]

    def numbers(self) -> dict[str, Number]:
        """Every number of the chip by its dotted field name."""
        return dict(_numbers("", self))


def _numbers(prefix: str, noun: object) -> list[tuple[str, Number]]:
    if isinstance(noun, Number):
        return [(prefix, noun)]
    if isinstance(noun, dict):
        items = list(noun.items())
    elif isinstance(noun, BaseModel):
        items = [(name, getattr(noun, name)) for name in type(noun).model_fields]
    else:
        return []
    dot = f"{prefix}." if prefix else ""
    return [found for name, value in items for found in _numbers(f"{dot}{name}", value)]


class Domain(Frozen):
    """Devices that reach each other at one bandwidth: an NVLink node, a UB supernode, a RoCE fabric, a torus slice.

    `size` counts devices; None means as many as the fabric has. `bandwidth` is per device and direction; where it is
    not given it is the chip's own `links[link].bandwidth`. A torus has `axes` dimensions: each takes an equal part of
    the bandwidth, half of it towards either neighbour.
    """

    name: str
    link: str
    size: Annotated[int, Field(ge=2)] | None = None
    topology: Topology = "switch"
    axes: Annotated[int, Field(ge=1)] | None = None
    kind: Literal["scale_up", "rdma", "pcie"] = "scale_up"
    bandwidth: Number | None = None
    latency: Number | None = None
    oversubscription: Number | None = None
    in_network_reduction: bool = False
    source: Source


class System(Frozen):
    """How chips are joined: domains from the innermost (fastest) to the outermost."""

    id: str
    name: str
    chips: tuple[str, ...]
    devices_per_node: Annotated[int, Field(ge=1)]
    max_devices: Annotated[int, Field(ge=1)] | None = None
    domains: tuple[Domain, ...]
    power_per_package: Number | None = None
    note: str = ""
