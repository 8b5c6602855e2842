"""A sweep in chunks: one model on one chip in one system under one stack, for one workload.

A chunk is small enough to do again and large enough to be worth sending. Its name is a hash of everything that its
result depends on, so that a part of another space, another release or another catalog is never taken for it.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from silicast import __version__
from silicast.catalog import data_folder, search_path
from silicast.scenario import Workload
from silicast.sweep.space import DeploymentsTable, Space

#: folders of the catalog that a forecast reads
KINDS = ("chips", "systems", "stacks", "coefficients", "prices", "models")
#: parts of the package that show results and compute none
SHOWS = ("cli", "report")
#: hexadecimal digits of a name: 128 bits
DIGITS = 32


@dataclass(frozen=True, slots=True)
class Chunk:
    """The inputs of one part. `price` is USD per package-hour, None = the catalog's; `release` and `files` are hashes
    of the program with its data, and of the files that the space names."""

    model: str
    chip: str
    system: str
    stack: str
    workload_name: str
    workload: Workload
    deployments: DeploymentsTable
    price: float | None
    release: str
    files: str

    @property
    def name(self) -> str:
        """The hash of its content."""
        content = asdict(self) | {"deployments": self.deployments.model_dump()}
        return _hash(json.dumps(content, sort_keys=True).encode())


def chunks(space: Space) -> Iterator[Chunk]:
    """Every chunk once, workloads innermost: what a worker knows of a model on a chip serves the next one."""
    files = files_of(space)
    for model in space.models:
        for chip in space.chips:
            for system in space.systems_of(chip):
                for stack in space.stacks_of(chip):
                    for table in space.workloads:
                        for workload in table.workloads():
                            yield Chunk(
                                model, chip, system, stack, table.name, workload, space.deployments,
                                space.prices.get(chip), release(), files,
                            )  # fmt: skip


@cache
def release() -> str:
    """A hash of the version, the code that computes and the catalog, the user's folder and packs included."""
    package = data_folder().parent
    code = [path for path in sorted(package.rglob("*.py")) if path.relative_to(package).parts[0] not in SHOWS]
    data = [path for folder in search_path() for kind in KINDS for path in sorted((folder / kind).rglob("*.*"))]
    return _hash(__version__.encode(), *(path.read_bytes() for path in (*code, *data) if path.is_file()))


def files_of(space: Space) -> str:
    """A hash of the files that a space names instead of ids."""
    paths = [Path(name) for name in (*space.models, *space.chips, *space.systems, *space.stacks)]
    inside = [path for name in paths if name.is_dir() for path in sorted(name.glob("*.json"))]
    return _hash(*(path.read_bytes() for path in (*paths, *inside) if path.is_file()))


def _hash(*contents: bytes) -> str:
    whole = hashlib.sha256()
    for content in contents:
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()[:DIGITS]
