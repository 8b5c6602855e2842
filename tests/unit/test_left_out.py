"""What is left out is out: coefficients, rows, chips and generations; and the tables of it are read as written."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from silicast import catalog
from silicast.coefficients import Coefficient
from silicast.errors import EvidenceError
from silicast.evidence.calibrate import left_out as operators
from silicast.evidence.calibrate import refits
from silicast.evidence.calibrate.chips import fit_chip
from silicast.evidence.calibrate.run import lent
from silicast.evidence.fitted import used_by
from silicast.evidence.forecast import forecast
from silicast.evidence.left_out import (
    Left,
    coefficients,
    file_fits,
    generation_of,
    left_out,
    places,
    read_refits,
    shipped_refits,
    without,
)
from silicast.evidence.misses import read_misses, shipped_misses
from silicast.evidence.record import load, shipped
from silicast.report.scoreboard import bare
from tests.cli.program import run
from tests.validation.test_calibrate import products

ROWS = load([shipped() / "inferencex-2026"]).rows


def keys(table: Mapping[str, Coefficient], law: str) -> dict[str, float]:
    return {name: one.number.value for name, one in table.items() if name.startswith(law)}


def test_a_chip_that_is_left_out_gets_what_its_siblings_lend() -> None:
    left = Left(chip="h200-sxm")
    own, again = catalog.coefficients("h200-sxm", "vllm"), coefficients("h200-sxm", "vllm", left, {})
    others = {name: chip for name, chip in file_fits().items() if name != "h200-sxm"}
    siblings = lent("h200-sxm", others)
    assert keys(again.table, "gemm.bf16") != keys(own.table, "gemm.bf16")
    for name, value in keys(again.table, "gemm.bf16").items():
        assert value == pytest.approx(siblings[name].value)
    assert {one.tier for name, one in again.table.items() if name in siblings} == {"transferred"}
    assert keys(again.table, "host.") == keys(own.table, "host.")
    assert coefficients("h100-sxm", "vllm", left, {}).table == catalog.coefficients("h100-sxm", "vllm").table


def test_what_only_a_generation_measured_is_gone_with_it() -> None:
    left = Left(generation="blackwell")
    assert keys(catalog.coefficients("b200-sxm", "vllm").table, "gemm.fp4")
    assert not keys(coefficients("b200-sxm", "vllm", left, {}).table, "gemm.fp4")


def test_a_stack_is_refitted_or_as_the_datasheet_has_it() -> None:
    place = Left("inferencex-2026", "h100-sxm")
    datasheet = keys(catalog.coefficients("none", "none").table, "host.")
    refitted = coefficients("h100-sxm", "vllm", place, {(place, "vllm"): {"host.step": 0.123}}).table
    assert refitted["host.step"].number.value == pytest.approx(0.123)
    assert keys(coefficients("h100-sxm", "vllm", place, {(place, "vllm"): {}}).table, "host.") == datasheet
    assert keys(coefficients("h100-sxm", "sglang", place, {(place, "vllm"): {}}).table, "host.") != datasheet


def test_a_table_older_than_the_laws_says_how_to_write_it_anew() -> None:
    place = Left("inferencex-2026", "h100-sxm")
    with pytest.raises(EvidenceError, match="calibrate --left-out"):
        coefficients("h100-sxm", "vllm", place, {(place, "vllm"): {"host.forgotten": 1.0}})


def test_rows_are_held_by_what_is_left_out() -> None:
    row = next(row for row in ROWS if row.scenario.chip == "h100-sxm")
    assert Left("inferencex-2026", "h100-sxm").holds(row)
    assert Left(generation=generation_of("h100-sxm")).holds(row)
    assert not Left("other", "h100-sxm").holds(row)
    assert not Left("inferencex-2026", "b200-sxm").drops("b200-sxm")
    assert Left(chip="b200-sxm").drops("b200-sxm")


def test_a_forecast_without_a_source_differs_and_stays_near() -> None:
    rows = [row for row in ROWS if used_by(row) == "stacks/vllm" and row.metric == "tpot_ms"][:40]
    plain = np.array([outcome.value for outcome in forecast(rows)[0]])
    again = np.array([outcome.value for outcome in left_out(rows, shipped_refits()).values()])
    assert len(again) == len(rows)
    assert not np.allclose(plain, again)
    assert np.median(np.abs(np.log(again / plain))) < 0.5


def test_pools_of_a_refit_do_not_change_the_catalog() -> None:
    rows = [row for row in ROWS if row.scenario.chip == "h200-sxm"][:4]
    before, _ = forecast(rows)
    changed, _ = forecast(rows, make=without(Left(generation="hopper"), {}))
    after, _ = forecast(rows)
    assert before == after != changed


def test_every_place_of_fitted_rows_has_a_shipped_refit() -> None:
    for left, rows in places(load([shipped()]).rows).items():
        for stack in {str(row.scenario.stack) for row in rows}:
            assert (left, stack) in shipped_refits(), f"run make left-out: {left}, {stack}"


def test_tables_are_read_as_they_were_written(tmp_path: Path) -> None:
    wanted = {(Left("a", "b"), "vllm"): {"host.step": 0.001234}, (Left(generation="g"), "sglang"): {}}
    (tmp_path / "stacks.csv").write_text(f"# about\n{refits.stack_document(wanted)}")
    assert read_refits(tmp_path / "stacks.csv") == wanted
    errors = np.log([0.9, 1.0, 1.1, 1.3])
    found = [operators.Miss("chip", "x", "x", "gemm", "bf16", errors)]
    (tmp_path / "operators.csv").write_text(f"# about\n{operators.document(found)}")
    one, total = read_misses(tmp_path / "operators.csv")
    assert (one.rows, one.chip, total.chip, total.law) == (4, "x", "", "gemm")
    assert one.median_error == pytest.approx(np.median(np.abs(errors)), abs=1e-4)


def test_shipped_errors_are_worse_the_more_is_left_out() -> None:
    found = {(one.left_out, one.law): one for one in shipped_misses() if not one.chip}
    for law in ("gemm", "attention", "grouped_gemm"):
        assert found["shapes", law].median_error < found["generation", law].median_error
    assert all(one.low <= one.middle <= one.high for one in shipped_misses())


def test_a_chip_left_out_of_operators_is_told_by_its_siblings() -> None:
    pytest.importorskip("scipy")
    table = products()
    chips = {name: fit_chip(name, products(chip=name), ()) for name in ("h100-sxm", "h200-sxm")}
    numbers = lent("h200-sxm", {"h100-sxm": chips["h100-sxm"]})
    table = dataclasses.replace(products(chip="h200-sxm"))
    (errors,) = [found for name, found in operators.errors("h200-sxm", table, numbers).items() if name[0] == "gemm"]
    assert np.median(np.abs(errors)) < 0.1
    kinds = {one.left_out for one in operators.misses(table, chips, lambda _: None)}
    assert kinds == {"shapes", "chip", "source"}


def test_shares_are_rounded_for_readers() -> None:
    assert [bare(value) for value in (None, 0.0512, 0.0996, 0.5)] == ["", "5.1", "10", "50"]


def test_one_command_leaves_everything_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    quick = SimpleNamespace(values={"host.step": 0.002})
    monkeypatch.setattr(refits.stacks, "fit_stack", lambda stack, rows, start: quick)
    lines = ["op,m,n,k,dtype,chip,stack,latency_us"]
    for chip in ("h100-sxm", "h200-sxm"):
        table = products(60, chip=chip)
        cells = zip(*(table[name] for name in ("m", "n", "k", "latency_us")), strict=True)
        lines += [f"gemm,{m:g},{n:g},{k:g},bf16,{chip},vllm,{t}" for m, n, k, t in cells]
    (tmp_path / "gemm.csv").write_text("\n".join(lines))
    done = run(
        "calibrate", "--left-out", "--operators", str(tmp_path), "--without-source", "aiconfigurator", "--evidence",
        str(shipped() / "sglang-ascend-best-practice"), "--output", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["result"]["files"] == ["operators.csv", "serving.csv", "stacks.csv"]
    known = read_misses(tmp_path / "out" / "operators.csv")
    assert {(one.left_out, one.name) for one in known if one.chip} == {
        ("chip", "h100-sxm"), ("chip", "h200-sxm"), ("shapes", "")
    }  # fmt: skip
    assert {stack for _, stack in read_refits(tmp_path / "out" / "stacks.csv")} == {"sglang-ascend"}
    assert (tmp_path / "out" / "serving.csv").read_text().count("sglang-ascend") >= 8


def test_the_same_rows_are_left_out_alike() -> None:
    pytest.importorskip("scipy")
    table = products(150)
    chips = {name: fit_chip(name, products(150, chip=name), ()) for name in ("h100-sxm", "h200-sxm")}
    first, second = (operators.document(operators.misses(table, chips, lambda _: None)) for _ in range(2))
    assert first == second
