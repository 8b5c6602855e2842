"""Silicast: how will this model run on that chip, in what deployment, at what cost, and how sure are we?

The verbs are functions (`compare`, `forecast`, `forecast_many`, `fit`, `simulate`, `plan`, `replacement`), the nouns
are classes. Everything is loaded when it is used, so that `import silicast` costs nothing.
"""

from importlib import import_module
from typing import Any

_WHERE = {
    "Chip": "silicast.hardware",
    "Comparison": "silicast.planning.compare",
    "Deployment": "silicast.scenario",
    "Estimate": "silicast.estimate",
    "Fit": "silicast.outcome",
    "Forecast": "silicast.outcome",
    "InputError": "silicast.errors",
    "Layout": "silicast.scenario",
    "Load": "silicast.scenario",
    "Model": "silicast.model",
    "Pool": "silicast.scenario",
    "PoolModel": "silicast.pool",
    "Precision": "silicast.scenario",
    "Setup": "silicast.api",
    "Scenario": "silicast.simulation",
    "SilicastError": "silicast.errors",
    "Simulation": "silicast.simulation",
    "Speculation": "silicast.scenario",
    "Stack": "silicast.stack",
    "System": "silicast.hardware",
    "Targets": "silicast.scenario",
    "Workload": "silicast.scenario",
    "compare": "silicast.api",
    "fit": "silicast.api",
    "forecast": "silicast.api",
    "forecast_many": "silicast.api",
    "plan": "silicast.planner",
    "pool_model": "silicast.api",
    "read_model": "silicast.model",
    "read_scenario": "silicast.simulation",
    "replacement": "silicast.planner",
    "simulate": "silicast.api",
}

__all__ = sorted(_WHERE)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'silicast' has no attribute '{name}'")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
