"""What a user leaves open is filled in: the layout from devices and some sizes, the batch from a load or targets."""

import numpy as np
import pytest

from silicast import api
from silicast.errors import DoesNotFitError, InputError, LayoutError
from silicast.planning.place import Sizes, given_layout, place
from silicast.planning.space import layouts
from silicast.scenario import Layout, Targets, Workload
from tests.unit.pools import CHIPS, LLAMA, MODELS, QWEN, R1, pool

TARGETS = Targets(2000.0, 50.0)


@pytest.mark.parametrize(
    ("model", "sizes", "expected"),
    [
        (LLAMA, Sizes(tp=4), Layout(tp=4)),
        (LLAMA, Sizes(devices=8, pp=2), Layout(tp=4, pp=2)),
        (R1, Sizes(tp=8), Layout(tp=8)),
        (R1, Sizes(tp=8, ep=8), Layout(tp=8, ep=8)),
        (R1, Sizes(tp=4, attention_dp=8), Layout(tp=4, attention_dp=8, ep=32)),
        (R1, Sizes(devices=32, attention_dp=32), Layout(attention_dp=32, ep=32)),
        (R1, Sizes(devices=32, attention_dp=8), Layout(tp=4, attention_dp=8, ep=32)),
        (LLAMA, Sizes(tp=2, cp=4), Layout(tp=2, cp=4)),
    ],
)
def test_open_sizes_follow_from_the_given_ones(model: str, sizes: Sizes, expected: Layout) -> None:
    assert given_layout(pool(model, "h200-sxm"), sizes) == expected


# waits for: planning/place.py: 0 is read as "open" (Sizes has no check of its own)
@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(devices=8, tp=4),
        Sizes(devices=6, tp=4),
        Sizes(devices=7, attention_dp=2),
        Sizes(tp=3),
        Sizes(tp=8, ep=3),
        Sizes(tp=0),
        Sizes(pp=-1),
        Sizes(devices=0),
        Sizes(tp=10**30),
    ],
)
def test_sizes_that_disagree_are_refused(sizes: Sizes) -> None:
    with pytest.raises(LayoutError):
        place(pool(QWEN, "h200-sxm"), sizes, Workload(), TARGETS, 0)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("model", MODELS)
def test_the_space_has_only_layouts_that_can_run(model: str, chip: str) -> None:
    machine = pool(model, chip)
    found = layouts(machine, 64)
    machine.model.check(found)
    machine.machine.check_devices(found.devices)
    assert np.all(np.asarray(found.devices) <= 64)
    assert np.all(np.asarray(found.tp) <= machine.machine.system.devices_per_node)
    assert len({tuple(float(np.asarray(size)[i]) for size in (found.tp, found.pp, found.ep, found.attention_dp))
                for i in range(np.size(found.tp))}) == np.size(found.tp)  # fmt: skip


@pytest.mark.parametrize("devices", [1, 2, 4, 8, 16])
def test_exactly_so_many_devices(devices: int) -> None:
    found = layouts(pool(R1, "h200-sxm"), devices, exactly=True)
    assert np.all(np.asarray(found.devices) == devices)


def test_concurrency_is_spread_over_the_attention_ranks() -> None:
    machine = pool(R1, "h200-sxm")
    placed = place(machine, Sizes(tp=1, attention_dp=16), Workload(concurrency=64), TARGETS, 0)
    assert placed.sequences == 4
    assert api.forecast(R1, "h200-sxm", Workload(concurrency=64), tp=1, attention_dp=16).concurrency == 64


def test_under_a_load_the_targets_choose_the_layout() -> None:
    machine, workload = pool(LLAMA, "h100-sxm"), Workload(1024, 256, concurrency=8)
    placed = place(machine, Sizes(devices=8), workload, TARGETS, 0)
    assert placed.layout.devices == 8
    chosen = float(machine.closed(placed.layout.arrays(), workload, np.array([placed.sequences])).tpot[0])
    for other in (Layout(tp=8), Layout(tp=4, pp=2)):
        assert chosen <= float(machine.closed(other.arrays(), workload, np.array([8.0])).tpot[0]) * (1 + 1e-9)


def test_more_requests_than_fit_are_told() -> None:
    told = api.forecast(LLAMA, "h100-sxm", Workload(30_000, 1000, concurrency=500), tp=4)
    assert any("exceeds" in warning for warning in told.warnings)
    told = api.forecast(LLAMA, "h100-sxm", Workload(1024, 256, concurrency=8), tp=4)
    assert not any("exceeds" in warning for warning in told.warnings)


# waits for: planning/choose.py: best() where no candidate fits is a ValueError of numpy
@pytest.mark.parametrize("workload", [Workload(), Workload(concurrency=4), Workload(rate=0.1)])
@pytest.mark.parametrize("sizes", [{"tp": 1}, {"devices": 1}])
def test_what_does_not_fit_is_refused(workload: Workload, sizes: dict[str, int]) -> None:
    with pytest.raises(DoesNotFitError, match=r"short of [\d.,]+ GiB"):
        api.forecast(LLAMA, "h100-sxm", workload, **sizes)


def test_without_a_load_the_best_batch_meets_the_targets() -> None:
    told = api.forecast(LLAMA, "h100-sxm", Workload(), TARGETS, tp=8)
    assert told.estimates["tpot_ms"].value <= 50
    assert told.estimates["ttft_ms"].value <= 2000
    strict = api.forecast(LLAMA, "h100-sxm", Workload(), Targets(2000.0, 20.0), tp=8)
    assert strict.sequences < told.sequences
    hopeless = api.forecast(LLAMA, "h100-sxm", Workload(), Targets(1.0, 0.1), tp=8)
    assert any("No batch meets the targets" in warning for warning in hopeless.warnings)


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises((InputError, TypeError), match="tensor"):
        api.forecast(LLAMA, "h100-sxm", tensor=8)
