"""A deployment from a file: the table `[deployment]` of a scenario file, with or without the rest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from silicast import datafile
from silicast.hardware import Frozen
from silicast.launch.engines import native_precision
from silicast.launch.settings import Limits
from silicast.model.config import read_model
from silicast.scenario import Deployment, Pool, Precision
from silicast.simulation.scenario import Scenario
from silicast.simulation.tables import DeploymentTable, PoolTable


class DeploymentFile(Frozen):
    """What is read of the file."""

    deployment: DeploymentTable


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment and the limits of its pools."""

    deployment: Deployment
    limits: tuple[Limits, ...] = ()


def read_deployment(path: Path | str) -> Deployed:
    """The deployment of a scenario file. Raises ChipFileError, NotFoundError, PrecisionError."""
    table = datafile.read(Path(path), DeploymentFile, _only_deployment).deployment
    pools = tuple(_pool(table.model, one) for one in table.pools)
    return Deployed(Deployment(read_model(table.model).id, pools), tuple(_limits(one) for one in table.pools))


def _only_deployment(document: dict[str, Any]) -> None:
    for name in Scenario.model_fields.keys() - {"deployment"}:
        document.pop(name, None)


def _pool(model: str, table: PoolTable) -> Pool:
    native = native_precision(model, table.pool(Precision()))
    weights = table.weights or native.weights
    activations = table.activations or (weights if table.weights else native.activations)
    return table.pool(Precision(weights, activations, table.kv_cache or native.kv_cache))


def _limits(table: PoolTable) -> Limits:
    return Limits(
        table.max_sequences, table.chunk_tokens, table.block_tokens, None, table.kv_blocks,
        prefix_cache=None if table.prefix_cache else False,
    )  # fmt: skip
