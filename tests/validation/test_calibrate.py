"""Fits find what made the rows, stay within physics, and write files that load."""

from pathlib import Path

import numpy as np
import pytest

from silicast import catalog
from silicast.coefficients import Coefficients
from silicast.errors import EvidenceError, InputError
from silicast.evidence.calibrate import plan, write
from silicast.evidence.calibrate.chips import ALL, fit_chip
from silicast.evidence.calibrate.device import device, known, mode_of
from silicast.evidence.calibrate.fit import fit
from silicast.evidence.calibrate.pool import pooled
from silicast.evidence.calibrate.run import Choice, calibrate
from silicast.evidence.ingest.operators import operators

pytest.importorskip("scipy")

TRUE = {
    "compute_efficiency_of_peak": 0.72, "memory_efficiency": 0.81, "launch": 3e-6, "operand_ratio": 5.0,
    "k_ramp": 120.0,
    "wave_rounding": 0.3, "split_cost": 3e-6, "row_ramp": 0.1e-6, "cache_share": 0.1, "cache_ratio": 2.0,
}  # fmt: skip


def products(rows: int = 600, noise: float = 0.03, chip: str = "h100-sxm", stack: str = "vllm"):
    random = np.random.default_rng(1)
    m, n, k = (2.0 ** random.integers(0, top, rows) for top in (14, 14, 14))
    shapes = {"op": "gemm", "m": m, "n": n * 16, "k": k * 16, "dtype": "bf16", "chip": chip, "stack": stack}
    blank = operators(rows, latency_us=1.0, source="h100_sxm/test", **shapes)
    seconds = plan.PRODUCT.predict(blank, "bf16", TRUE | plan.HELD, device(chip))
    return operators(
        rows, latency_us=seconds * 1e6 * np.exp(noise * random.standard_normal(rows)), source="h100_sxm/test", **shapes
    )


def test_a_fit_finds_the_coefficients_that_made_the_rows():
    table = products()
    chip = device("h100-sxm")
    found = fit(
        table, plan.PRODUCT.coefficients, lambda rows, v: plan.PRODUCT.predict(rows, "bf16", v, chip), plan.HELD
    )
    for name in ("compute_efficiency_of_peak", "memory_efficiency", "launch"):
        assert found.values[name] == pytest.approx(TRUE[name], rel=0.05)
    assert found.median < 0.04
    for one in plan.PRODUCT.coefficients:
        assert one.low <= found.low[one.name] <= found.values[one.name] <= found.high[one.name] <= one.high


def test_outliers_do_not_move_a_fit_far():
    table = products()
    table.columns["latency_us"][::20] *= 8
    chip = device("h100-sxm")
    found = fit(
        table, plan.PRODUCT.coefficients, lambda rows, v: plan.PRODUCT.predict(rows, "bf16", v, chip), plan.HELD
    )
    assert found.values["memory_efficiency"] == pytest.approx(TRUE["memory_efficiency"], rel=0.1)


def test_too_few_rows_say_how_many_are_needed():
    with pytest.raises(EvidenceError, match="4 rows are too few: 10 coefficients need 30"):
        fit(products(4), plan.PRODUCT.coefficients, lambda rows, v: rows["m"], plan.HELD)


def test_a_chip_without_rows_gets_its_siblings_with_a_range():
    chips = {"h100-sxm": fit_chip("h100-sxm", products(), ())}
    lent = pooled(device("h200-sxm"), chips, {})
    own = chips["h100-sxm"].of(ALL)[0].found.values["compute_efficiency_of_peak"]
    number = lent["gemm.bf16.compute_efficiency_of_peak"]
    assert number.value == pytest.approx(own)
    assert number.low < number.value < number.high
    assert not any(key.startswith("collective") for key in pooled(device("mi300x"), chips, {}))


def test_stacks_that_agree_share_one_set():
    one = fit_chip("h100-sxm", products(), ("vllm", "sglang"))
    assert one.stacks == [ALL]


def test_the_same_rows_give_the_same_files(tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    table = products(150)
    lines = ["op,m,n,k,dtype,chip,stack,latency_us"]
    lines += [
        f"gemm,{m:g},{n:g},{k:g},bf16,h100-sxm,vllm,{t}"
        for m, n, k, t in zip(*(table[name] for name in ("m", "n", "k", "latency_us")), strict=True)
    ]
    (folder / "gemm.csv").write_text("\n".join(lines) + "\n")
    choice = Choice(operators=folder, without_sources=("aiconfigurator",))
    first, second = calibrate(choice), calibrate(choice)
    assert first.files == second.files
    without = calibrate(Choice(operators=folder, without_sources=("aiconfigurator",), without_chips=("h100-sxm",)))
    assert "h100-sxm" not in without.chips


def test_unknown_names_are_refused():
    for choice in (Choice(without_chips=("h20O",)), Choice(without_generations=("hoper",))):
        with pytest.raises(InputError, match="not found"):
            calibrate(choice)


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    output = tmp_path / "coefficients"
    write.replaced(output, {"h100-sxm/all.toml": f"{write.MARK}\nfirst"})
    (output / "datasheet.toml").write_text("by hand")
    monkeypatch.setattr(write, "_swap", lambda fresh, output: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write.replaced(output, {"h100-sxm/all.toml": f"{write.MARK}\nsecond"})
    assert (output / "h100-sxm/all.toml").read_text().endswith("first")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coefficients"]


def test_a_write_keeps_what_was_written_by_hand_and_drops_what_is_gone(tmp_path):
    output = tmp_path / "coefficients"
    write.replaced(output, {"h100-sxm/all.toml": f"{write.MARK}\nfirst"})
    (output / "datasheet.toml").write_text("by hand")
    write.replaced(output, {"h200-sxm/all.toml": f"{write.MARK}\nsecond"})
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.toml")} == {
        "datasheet.toml", "h200-sxm/all.toml",
    }  # fmt: skip


FILES = [
    path
    for path in sorted((catalog.data_folder() / "coefficients").glob("*/*.toml"))
    if path.parent.name in catalog.ids("chips")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_shipped_coefficients_are_physical(path: Path):
    found: Coefficients = catalog.coefficients(path.parent.name, path.stem)
    modes = device(path.parent.name).peaks
    for key, coefficient in found.table.items():
        number = coefficient.number
        assert 0 < number.low <= number.value <= number.high, key
        if "efficiency" in key and not key.startswith("collective"):
            assert number.value <= 1, key
        law, kernel, *_ = key.split(".")
        if coefficient.tier in ("calibrated", "transferred") and law in ("gemm", "grouped_gemm") and known(kernel):
            assert mode_of(kernel) in modes, key
