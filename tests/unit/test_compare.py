"""The main job: a ratio, its causes, its two deployments per chip, and the map."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from silicast import api, catalog
from silicast.errors import DoesNotFitError, InputError, NotFoundError
from silicast.planning.causes import CAUSES, shares
from silicast.planning.choose import FEWEST_REQUESTS, best, fewest
from silicast.planning.compare import Comparison
from silicast.planning.space import holding, layouts
from silicast.scenario import Layout, Precision, Targets, Workload
from tests.unit.pools import LLAMA, R1, pool

SMALL = "openai/gpt-oss-20b"
FP8 = "Qwen/Qwen3-32B-FP8"
TARGETS = Targets(2000.0, 50.0)

#: model, chips (the last is the reference), devices, workload
QUESTIONS: dict[str, tuple[str, tuple[str, ...], int, Workload]] = {
    "two vendors": (LLAMA, ("ascend-910b1", "h100-sxm"), 8, Workload()),
    "two dies": (R1, ("ascend-910c", "h100-sxm"), 16, Workload()),
    "three chips": (FP8, ("mi300x", "l40s", "h20-96"), 4, Workload(1000, 200)),
    # weights that are 4 bit on one chip and 16 bit on the other: some machines between the two cannot hold them
    "a hybrid that does not fit": (SMALL, ("ascend-910b1", "rtx4090"), 2, Workload(1000, 200)),
    "targets that nobody meets": (LLAMA, ("l40s", "tpu-v5e"), 32, Workload(30_000, 500)),
}


@cache
def answer(name: str) -> Comparison:
    model, chips, devices, workload = QUESTIONS[name]
    return api.compare(model, list(chips), workload, TARGETS, devices=devices)


def edited(folder: Path, *changes: tuple[str, str]) -> str:
    """The path of a chip file made from h100-sxm."""
    text = catalog.template("h100-sxm")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_chip_made_from_another_is_told_apart_and_its_fits_are_transferred(tmp_path: Path) -> None:
    mine = edited(tmp_path)
    answer = api.compare(SMALL, [mine, "h100-sxm"], Workload(1000, 200), devices=2)
    assert [chip.chip for chip in answer.chips] == ["my-h100-sxm", "h100-sxm"]
    assert len({chip.name for chip in answer.chips}) == 2
    ratio = answer.ratios[0].per_package
    assert ratio.tier == "transferred"
    # nothing was edited: what is uncertain about the one is so about the other
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((1, 1, 1))


LOAD = Workload(1000, 200, concurrency=16)


def tiers(chip: str) -> set[str]:
    return {leaf.tier for leaf in api.forecast(LLAMA, chip, LOAD, tp=4).decode.leaves() if leaf.law == "gemm"}


def test_fits_hold_for_the_very_chip_they_were_made_of(tmp_path: Path) -> None:
    own, based = 'id = "h100-sxm"', 'based_on = "h100-sxm"'
    shipped = str(catalog.data_folder() / "chips" / "h100-sxm.toml")
    assert tiers("h100-sxm") == tiers(shipped) == {"calibrated"}
    assert tiers(edited(tmp_path)) == {"transferred"}
    assert tiers(edited(tmp_path, (based, ""))) == {"datasheet"}
    assert tiers(edited(tmp_path, ('id = "my-h100-sxm"', own), (based, ""), ("989 TFLOPS", "999 TFLOPS"))) == {
        "datasheet"
    }


def test_two_chips_under_one_id_are_refused(tmp_path: Path) -> None:
    mine = edited(tmp_path, ('id = "my-h100-sxm"', 'id = "h100-sxm"'), ("989 TFLOPS", "999 TFLOPS"))
    with pytest.raises(InputError, match=r"have the id 'h100-sxm' but different numbers"):
        api.compare(SMALL, [mine, "h100-sxm"], devices=2)


def test_an_unknown_chip_to_be_based_on_names_the_nearest(tmp_path: Path) -> None:
    mine = edited(tmp_path, ('based_on = "h100-sxm"', 'based_on = "h10-sxm"'))
    with pytest.raises(NotFoundError, match=r"Did you mean 'h100-sxm'.*'based_on' of my-h100-sxm"):
        api.forecast(SMALL, mine, LOAD)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_factors_multiply_to_the_ratio(name: str) -> None:
    for ratio in answer(name).ratios:
        assert set(ratio.factors) == {*CAUSES, "devices per package"}
        assert all(np.isfinite(factor) and factor > 0 for factor in ratio.factors.values())
        assert np.prod(list(ratio.factors.values())) == pytest.approx(ratio.per_package.value, rel=1e-9)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_ratio_is_that_of_the_printed_numbers(name: str) -> None:
    told = {chip.chip: chip.best.estimates["output_tokens_per_s_per_package"].value for chip in answer(name).chips}
    for ratio in answer(name).ratios:
        assert ratio.per_package.value == pytest.approx(told[ratio.chip] / told[ratio.reference])
        assert ratio.per_package.low <= ratio.per_package.value <= ratio.per_package.high
        assert ratio.per_device.value * ratio.factors["devices per package"] == pytest.approx(ratio.per_package.value)
        assert ratio.reference == QUESTIONS[name][1][-1]
        assert all(Precision(*text.replace(", KV ", "/").split("/")) for text in ratio.precisions)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_chosen_deployments_keep_what_they_promise(name: str) -> None:
    devices = QUESTIONS[name][2]
    for chip in answer(name).chips:
        small, large = (row.forecast for row in chip.rows)
        assert max(small.devices, large.devices) <= devices
        per_package = [row.estimates["output_tokens_per_s_per_package"].value for row in (small, large)]
        for row in chip.rows:
            told = row.forecast
            assert told.memory["max_requests"] >= told.concurrency
            assert told.packages == int(np.ceil(told.devices / chip.devices_per_package))
            met = told.estimates["ttft_ms"].value <= 2000 and told.estimates["tpot_ms"].value <= 50
            assert row.met == met
        if chip.rows[0].met and chip.rows[1].met:
            assert per_package[1] >= per_package[0] * 0.999
        assert small.memory["max_requests"] >= FEWEST_REQUESTS


@pytest.mark.parametrize(("model", "chip"), [(LLAMA, "h100-sxm"), (R1, "ascend-910c"), (R1, "h20-96"), (FP8, "l40s")])
def test_the_fewest_devices_are_the_fewest(model: str, chip: str) -> None:
    """16 requests fit, and on no layout of fewer devices do they: of any count, or of the usual ones."""
    machine, workload = pool(model, chip), Workload()
    for usual, tried in ((True, layouts(machine, 64)), (False, holding(machine, 64))):
        chosen = fewest(machine, workload, 64, usual)
        held = machine.most_sequences(tried, workload) * np.asarray(tried.attention_dp)
        least = float(np.min(chosen.devices))
        assert np.all(machine.most_sequences(chosen, workload) * chosen.attention_dp >= FEWEST_REQUESTS)
        assert np.all(held[np.asarray(tried.devices) < least] < FEWEST_REQUESTS)


@pytest.mark.parametrize(("model", "chip", "devices"), [(R1, "h100-sxm", 9), (R1, "ascend-910c", 12), (FP8, "l40s", 1)])
def test_the_count_that_is_told_to_fit_fits_and_one_less_does_not(model: str, chip: str, devices: int) -> None:
    machine, workload = pool(model, chip), Workload()
    with pytest.raises(DoesNotFitError, match="It fits on") as told:
        fewest(machine, workload, devices)
    enough = int(str(told.value).rpartition("--devices ")[2].rstrip("."))
    assert np.min(fewest(machine, workload, enough).devices) == enough
    with pytest.raises(DoesNotFitError):
        fewest(machine, workload, enough - 1)


def test_no_layout_that_was_tried_is_better() -> None:
    machine, workload = pool(LLAMA, "h100-sxm"), Workload()
    chosen = best(machine, layouts(machine, 8), workload, TARGETS)
    winner = machine.closed(chosen.layout.arrays(), workload, np.array([chosen.sequences]))
    rate = float(winner.requests[0]) / float(chosen.layout.devices)
    for tp in (2, 4, 8):
        for batch in (8, 32, 64, 96, 128):
            other = machine.closed(Layout(tp=tp).arrays(), workload, np.array([float(batch)]))
            fits = batch <= float(machine.most_sequences(Layout(tp=tp), workload))
            if fits and float(other.ttft[0]) <= 2 and float(other.tpot[0]) <= 0.05:
                assert float(other.requests[0]) / tp <= rate * 1.000001


def test_a_chip_beside_itself() -> None:
    (ratio,) = api.compare(LLAMA, ["h100-sxm", "h100-sxm"], Workload(), TARGETS, devices=8).ratios
    assert (ratio.per_package.low, ratio.per_package.value, ratio.per_package.high) == (1, 1, 1)
    assert list(ratio.factors.values()) == pytest.approx([1.0] * 7, rel=1e-12)
    for cell in ratio.cells:
        assert (cell.ratio.low, cell.ratio.value, cell.ratio.high) == (1, 1, 1)


def test_the_reference_may_be_any_of_the_chips() -> None:
    model, chips, devices, workload = QUESTIONS["three chips"]
    other = api.compare(model, list(chips), workload, TARGETS, devices=devices, reference="mi300x")
    assert [(ratio.chip, ratio.reference) for ratio in other.ratios] == [("l40s", "mi300x"), ("h20-96", "mi300x")]
    forth = next(ratio for ratio in answer("three chips").ratios if ratio.chip == "mi300x").per_package.value
    back = next(ratio for ratio in other.ratios if ratio.chip == "h20-96").per_package.value
    assert forth * back == pytest.approx(1, rel=1e-9)


def test_the_map_covers_both_phases() -> None:
    (ratio,) = answer("two dies").ratios
    assert {cell.phase for cell in ratio.cells} == {"prefill", "decode"}
    assert len({(cell.phase, cell.batch_per_package, cell.context) for cell in ratio.cells}) == len(ratio.cells)
    for cell in ratio.cells:
        assert 0 < cell.ratio.low <= cell.ratio.value <= cell.ratio.high < 100


def test_more_memory_bandwidth_shows_as_that_cause() -> None:
    """H200 is H100 with 1.43 times the bandwidth and 1.76 times the memory; all else is the same."""
    (ratio,) = api.compare(LLAMA, ["h200-sxm", "h100-sxm"], Workload(), TARGETS, devices=8).ratios
    assert ratio.per_package.value > 1
    assert ratio.factors["memory bandwidth"] > 1.05
    for cause in ("precision", "links", "devices per package"):  # links: their coefficients are fitted apart
        assert ratio.factors[cause] == pytest.approx(1, abs=0.1), cause
    assert max(ratio.factors, key=lambda cause: ratio.factors[cause]) in ("memory bandwidth", "memory capacity")


def test_shares_of_a_product_are_its_factors() -> None:
    """Where each cause multiplies the value whatever the others do, its share is its own factor."""
    own = dict(zip(CAUSES, (2.0, 0.5, 3.0, 1.0, 1.1, 0.9), strict=True))
    subsets = [frozenset(c for c, bit in zip(CAUSES, f"{i:06b}", strict=True) if bit == "1") for i in range(64)]
    values = {subset: float(np.prod([own[cause] for cause in subset])) for subset in subsets}
    assert shares(values) == pytest.approx(own)


def test_shares_are_fair_to_causes_that_need_each_other() -> None:
    """A gain that two causes only bring together is shared equally."""
    pair = {"matrix peak", "links"}
    subsets = [frozenset(c for c, bit in zip(CAUSES, f"{i:06b}", strict=True) if bit == "1") for i in range(64)]
    values = {subset: 4.0 if pair <= subset else 1.0 for subset in subsets}
    found = shares(values)
    assert found["matrix peak"] == pytest.approx(2)
    assert found["links"] == pytest.approx(2)
    assert found["software"] == pytest.approx(1)


def test_the_verdict_does_not_depend_on_the_order_of_the_chips() -> None:
    model, chips, devices, workload = QUESTIONS["two vendors"]
    turned = api.compare(model, list(reversed(chips)), workload, TARGETS, devices=devices)
    (ratio,), (other,) = answer("two vendors").ratios, turned.ratios
    assert ratio.per_package.value * other.per_package.value == pytest.approx(1, rel=1e-9)
    assert ratio.per_package.low * other.per_package.high == pytest.approx(1, rel=1e-3)
    for cause in CAUSES:
        assert ratio.factors[cause] * other.factors[cause] == pytest.approx(1, rel=0.02), cause
