"""No change worsens the forecasts of a fixed subset of the evidence by more than a point, group by group."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

#: points of median error by which a group may worsen
POINT = 1.0
SCRIPT = Path(__file__).parents[2] / "scripts" / "gate.py"


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def worse(before: dict[tuple[str, ...], tuple[int, float]], now: dict[tuple[str, ...], tuple[int, float]]) -> list[str]:
    """Groups that are gone, have fewer rows, or a larger median by more than a point."""
    found = []
    for group, (rows, median) in before.items():
        told, error = now.get(group, (0, float("inf")))
        if told < rows or error > median + POINT:
            found.append(f"{', '.join(group)}: {median} % of {rows} rows became {error} % of {told}")
    return found


def by_group(found: list) -> dict[tuple[str, ...], tuple[int, float]]:
    return {tuple(one[:3]): (one.rows, one.median) for one in found}


def test_no_group_worsens_by_more_than_a_point(gate: ModuleType) -> None:
    assert worse(by_group(gate.read()), by_group(gate.measured())) == [], "meant? then run: make gate"


def test_the_gate_covers_chips_stacks_and_operators(gate: ModuleType) -> None:
    held = gate.read()
    assert 300 <= sum(one.rows for one in held) <= 1000
    assert len({one.chip for one in held}) >= 8
    assert {"tpot_ms", "ttft_ms", "gemm", "moe_dispatch"} <= {one.metric for one in held}


def test_the_gate_closes() -> None:
    before = {("a", "b", "c"): (4, 10.0), ("d", "e", "f"): (4, 10.0), ("g", "h", "i"): (4, 10.0)}
    now = {("a", "b", "c"): (4, 10.9), ("d", "e", "f"): (4, 11.1), ("g", "h", "i"): (3, 9.0)}
    assert [line[:1] for line in worse(before, now)] == ["d", "g"]
