"""Results as one JSON object: `{schema, verb, inputs, result, warnings}`."""

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np

from silicast.estimate import Estimate
from silicast.outcome import Forecast
from silicast.planning.compare import ChipAnswer, Comparison, Ratio

SCHEMA = "silicast/1"


def document(verb: str, inputs: dict[str, Any], result: Any, warnings: list[str] | None = None) -> dict[str, Any]:
    """The envelope of every verb."""
    return {"schema": SCHEMA, "verb": verb, "inputs": inputs, "result": result, "warnings": warnings or []}


def emit(content: dict[str, Any]) -> None:
    """Write the object to stdout."""
    sys.stdout.write(json.dumps(content, indent=1, default=_plain, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_json()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def comparison_document(answer: Comparison) -> dict[str, Any]:
    """`compare`."""
    inputs = {"model": answer.model, **asdict(answer.workload), **asdict(answer.targets), "claim": answer.claim}
    result = {"chips": [_chip(chip) for chip in answer.chips], "ratios": [_ratio(ratio) for ratio in answer.ratios]}
    warnings = [warning for chip in answer.chips for warning in chip.best.warnings]
    return document("compare", inputs, result, warnings)


def _chip(answer: ChipAnswer) -> dict[str, Any]:
    return {
        "chip": answer.chip,
        "name": answer.name,
        "precision": answer.precision,
        "devices_per_package": answer.devices_per_package,
        "deployments": [
            {"kind": row.kind, "meets_targets": row.met, **forecast_result(row.forecast)} for row in answer.rows
        ],
    }


def forecast_result(told: Forecast) -> dict[str, Any]:
    """The result of `forecast`, and one deployment of `compare`."""
    return {
        "model": told.model,
        "chip": told.chip,
        "system": told.system,
        "stack": told.stack,
        "precision": told.precision,
        "devices": told.devices,
        "packages": told.packages,
        **asdict(told.layout),
        "concurrency": told.concurrency,
        "running": told.running,
        "waiting": told.waiting,
        "saturated": told.saturated,
        "overloaded": told.overloaded,
        "estimates": {
            **{name: estimate.to_json() for name, estimate in told.estimates.items()},
            **dict.fromkeys(told.undefined),
        },
        "mfu_peak": told.mfu_peak,
        "memory": told.memory,
        "missing": list(told.missing),
        "missing_tiers": told.missing_tiers,
        "citations": sorted(source.cite() for source in told.citations),
    }


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {
        "chip": ratio.chip,
        "reference": ratio.reference,
        "precisions": list(ratio.precisions),
        "per_package": ratio.per_package.to_json(),
        "per_device": ratio.per_device.to_json(),
        "factors": ratio.factors,
        "map": [asdict(cell) | {"ratio": cell.ratio.to_json()} for cell in ratio.cells],
    }
