"""The package equals `docs/reference_model.py`, which reads the same data and shares none of its code."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from silicast import api, catalog
from silicast.hardware import Chip
from silicast.machine import Machine
from silicast.scenario import Layout, Load, Speculation
from silicast.step import Step

PLACE = Path(__file__).parents[2] / "docs" / "reference_model.py"
MODEL = "deepseek-ai/DeepSeek-R1"

#: chip, ranks, batch per rank, context; systems with one switched domain and with two, FP8 and INT8 products, experts
#: that the ranks divide and that they do not
SCENARIOS = [
    ("ascend-910c", 320, 48, 4096),
    ("ascend-910c", 64, 16, 1024),
    ("h100-sxm", 72, 48, 4096),
    ("h100-sxm", 128, 96, 2048),
    ("h200-sxm", 64, 24, 32768),
    ("b200-sxm", 32, 7, 513),
    ("gb200", 72, 64, 4096),
]


def load_reference() -> Any:
    """The reference as a module; `docs` is no package."""
    spec = importlib.util.spec_from_file_location("reference_model", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference_model"] = module
    spec.loader.exec_module(module)
    return module


reference = load_reference()


def package_step(
    chip: str, ranks: int, batch: float, context: float, query: int, microbatches: int, calibrated: bool = True
) -> Step:
    setup = api.Setup(kv_cache="bf16", speculation=Speculation(query - 1, 0.7), microbatches=microbatches)
    load = Load(decode_sequences=batch, decode_context=context, query_tokens=query)
    pool = api.pool_model(MODEL, chip, setup)
    if not calibrated:
        pool = replace(pool, machine=datasheet_machine(pool.machine))
    return pool.step(load, Layout(ep=ranks, attention_dp=ranks))


def datasheet_machine(machine: Machine) -> Machine:
    """The same machine with the coefficients of a chip and a stack for which nothing was fitted."""
    return Machine(machine.chip, machine.system, machine.stack, catalog.coefficients("unknown", "unknown"))


def estimated_rates(chip: Chip) -> dict[str, float]:
    """Best GEMM rates that the chip's file lacks: the reference is told what the package estimates."""
    measured = chip.compute.measured_gemm
    return {mode: number.value for mode, number in measured.items() if number.estimated}


def totals(kernels: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, seconds in kernels:
        found[name] = found.get(name, 0.0) + seconds
    return found


def package_kernels(step: Step) -> Iterable[tuple[str, float]]:
    for group in step.groups:
        calls = np.broadcast_to(group.count, group.seconds().shape)
        for name, seconds, count in zip(group.names, group.seconds()[:, 0], calls[:, 0], strict=True):
            if count:
                yield name, float(seconds)


@pytest.mark.parametrize("calibrated", [False, True], ids=["datasheet", "calibrated"])
@pytest.mark.parametrize("query", [1, 2, 3])
@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize(("chip", "ranks", "batch", "context"), SCENARIOS)
def test_the_package_equals_the_reference(chip, ranks, batch, context, microbatches, query, calibrated):
    package = package_step(chip, ranks, batch, context, query, microbatches, calibrated)
    lacking = estimated_rates(api.machine(chip).chip)
    told = reference.decode_step(chip, ranks, batch, context, query, microbatches, 2.0, lacking, calibrated)
    ours = totals(package_kernels(package))
    theirs = totals((kernel.name, kernel.seconds * kernel.calls) for kernel in told.kernels)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != pytest.approx(theirs[name], rel=1e-9, abs=0)} == set()
    assert float(package.host.max()) == pytest.approx(told.host, rel=1e-9)
    assert float(package.hidden[0]) == pytest.approx(told.hidden, rel=1e-9, abs=1e-15)
    assert float(package.seconds[0]) == pytest.approx(told.seconds, rel=1e-9)


def test_the_reference_reads_no_code_of_the_package():
    lines = PLACE.read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith(("import ", "from "))]
    assert imports
    assert not any("silicast" in line or "numpy" in line for line in imports)


def test_the_reference_prints_its_kernels():
    out = subprocess.run([sys.executable, PLACE], check=True, capture_output=True, text=True).stdout
    told = reference.decode_step("h100-sxm", 72, 48, 4096)
    assert f"{told.seconds * 1e3:.2f} ms" in out.splitlines()[0]
    assert len(out.splitlines()) == 1 + len(told.kernels)


def test_the_reference_is_read_in_one_sitting():
    assert len(PLACE.read_text(encoding="utf-8").splitlines()) <= 320
