"""The range of one operator holds what its law misses; kernels that scale in blocks are forecast as such."""

import numpy as np
import pytest

from silicast.evidence.deployment import Pools
from silicast.evidence.forecast import forecast
from silicast.evidence.kernels import kernel
from silicast.evidence.record import Row, load, shipped
from silicast.evidence.residual import strayed


def rows(source: str, op: str) -> list[Row]:
    return [row for row in load([shipped() / source]).rows if row.scenario.op == op and not row.suspect]


@pytest.mark.parametrize("source", ["infersim", "deepgemm"])
def test_block_scaled_products_take_the_coefficients_fitted_to_them(source: str) -> None:
    found = rows(source, "gemm")
    assert {kernel(row.scenario, Pools()).format.kernel for row in found if row.scenario.weights == "fp8"} == {
        "fp8_block"
    }
    errors = [abs(np.log(outcome.value / row.value)) for row, outcome in zip(found, forecast(found)[0], strict=True)]
    assert np.median(errors) < 0.3


def test_an_operator_strays_as_its_held_out_shapes_did() -> None:
    pools = Pools(256)
    item = kernel(rows("infersim", "gemm")[0].scenario, pools)
    machine = pools.machine(item.chip, item.system, item.stack)
    factors = strayed(item.scenario, item.format, machine)
    size = machine.known("gemm.fp8_block", "residual")
    assert factors.shape == (256,)
    assert np.median(np.abs(np.log(factors))) == pytest.approx(size.value, rel=0.1)
    assert 100 < np.sum(factors > 1) < 156


def test_an_operator_of_a_chip_that_nobody_measured_strays_more() -> None:
    pools = Pools(256)
    row = next(row for row in rows("stratacl-links", "p2p") if row.scenario.domain == "node")
    item = kernel(row.scenario, pools)
    low, high = np.quantile(strayed(item.scenario, item.format, pools.machine(item.chip, None, None)), (0.1, 0.9))
    assert low < 0.8 < 1.2 < high


def test_the_range_holds_the_value_and_draws_do_not_change_points() -> None:
    found = rows("fa3", "attention_fwd_causal")[:10]
    points, drawn = forecast(found)[0], forecast(found, draws=128)[0]
    for point, band in zip(points, drawn, strict=True):
        assert band.low < band.value < band.high  # type: ignore[operator]
        assert band.value == pytest.approx(point.value, rel=0.15)


@pytest.mark.parametrize(("source", "most"), [("deepep", 0.05), ("stratacl-ep32", 0.25)])
def test_bandwidths_of_expert_exchanges_count_what_sources_count(source: str, most: float) -> None:
    found = [row for op in ("moe_dispatch", "moe_combine") for row in rows(source, op) if row.metric == "gb_per_s"]
    found = [row for row in found if row.scenario.chip != "b200-sxm"]
    pairs = [(outcome.value, row.value) for row, outcome in zip(found, forecast(found)[0], strict=True)]
    errors = [abs(value / measured - 1) for value, measured in pairs if value is not None]
    assert len(errors) >= 6
    assert np.median(errors) < most
