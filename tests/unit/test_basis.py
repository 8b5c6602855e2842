"""Every number of a chip or system file ends up on the basis of its field, or the file is refused."""

from pathlib import Path

import pytest

from silicast import catalog
from silicast.datafile import read
from silicast.errors import ChipFileError
from silicast.hardware import Chip, Number, System

CHIP = """\
id = "mine"
{top}
[sources.mine]
title = "Data sheet"
date = "2026"

[compute.matrix.bf16]
value = "1000 TFLOPS"
basis = ["dense", "per_device"]
source = "mine"
confidence = "low"
"""

FIELD = """
[{name}]
value = "{value}"
low = "{value}"
basis = [{basis}]
source = "mine"
confidence = "low"
"""

TWO_DEVICES = 'devices_per_package = { value = "2 count", source = "mine", confidence = "low" }'


def chip(folder: Path, name: str, value: str, *basis: str, top: str = TWO_DEVICES) -> Chip:
    words = ", ".join(f'"{word}"' for word in basis)
    path = folder / "mine.toml"
    path.write_text(CHIP.format(top=top) + FIELD.format(name=name, value=value, basis=words))
    return catalog.chip(str(path))


def number(folder: Path, name: str, value: str, *basis: str) -> Number:
    return chip(folder, name, value, *basis).numbers()[name]


@pytest.mark.parametrize(
    ("name", "value", "basis", "expected", "wanted"),
    [
        ("compute.matrix.fp8", "3958 TFLOPS", ("sparse", "per_device"), 1979e12, "dense"),
        ("compute.marketing.int8", "3958 TOPS", ("sparse", "per_device"), 1979e12, "dense"),
        ("compute.matrix.fp8", "4000 TFLOPS", ("dense", "per_package"), 2000e12, "per_device"),
        ("compute.matrix.fp8", "4000 TFLOPS", ("sparse", "per_package"), 1000e12, "per_device"),
        ("compute.vector.fp32", "100 TFLOPS", ("per_package",), 50e12, "per_device"),
        ("compute.measured_gemm.bf16", "1600 TFLOPS", ("per_package", "measured"), 800e12, "per_device"),
        ("compute.cores", "100 count", ("per_package",), 50, "per_device"),
        ("memory.hbm.capacity", "128 GB", ("per_package", "printed"), 64e9, "per_device"),
        ("memory.hbm.bandwidth", "4 TB/s", ("per_package",), 2e12, "per_device"),
        ("links.scale_up.bandwidth", "900 GB/s", ("both_directions", "per_device"), 450e9, "per_direction"),
        ("links.scale_up.bandwidth", "900 GB/s", ("both_directions", "per_package"), 225e9, "per_direction"),
        ("power.package", "300 W", ("per_device",), 600, "per_package"),
    ],
)
def test_another_basis_is_converted(
    tmp_path: Path, name: str, value: str, basis: tuple[str, ...], expected: float, wanted: str
) -> None:
    found = number(tmp_path, name, value, *basis)
    assert (found.value, found.low, found.high) == pytest.approx((expected, expected, expected))
    assert wanted in found.basis
    assert set(found.basis).isdisjoint(set(basis) - {"measured", "printed", "dense", "per_device", "per_package"})
    assert all(word in found.note for word in basis if word in ("sparse", "both_directions"))


@pytest.mark.parametrize(
    ("name", "value", "basis", "words"),
    [
        ("compute.matrix.fp4", "9 PFLOPS", ("sparse",), "fp4' has the basis 'sparse'; give the dense peak"),
        ("compute.measured_gemm.bf16", "900 TFLOPS", ("sparse", "measured"), "give the dense number"),
        ("compute.vector.fp32", "90 TFLOPS", ("sparse",), "give the dense number"),
        ("compute.matrix.fp8", "15 TFLOPS", ("dense", "per_core"), "'per_core'; give the number of one device"),
        ("memory.hbm.bandwidth", "3 TB/s", ("both_directions",), "give the bandwidth at which it is read"),
        ("compute.matrix.fp8", "2 PFLOPS", ("dense", "sparse"), "'dense' and 'sparse'"),
        ("memory.hbm.bandwidth", "3 TB/s", ("per_device", "per_package"), "'per_device' and 'per_package'"),
        ("links.scale_up.bandwidth", "3 TB/s", ("per_direction", "both_directions"), "only be one of them"),
    ],
)
def test_a_basis_without_a_certain_factor_is_refused(
    tmp_path: Path, name: str, value: str, basis: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ChipFileError, match=words) as error:
        chip(tmp_path, name, value, *basis)
    assert str(error.value).startswith("mine.toml: ")


@pytest.mark.parametrize("basis", ["sparse", "both_directions", "per_package", "per_core"])
def test_a_domain_is_on_its_basis_too(tmp_path: Path, basis: str) -> None:
    text = (catalog.data_folder() / "systems" / "hgx-ampere.toml").read_text().replace("per_direction", "PLACE", 1)
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('"PLACE", "per_device"', f'"{basis}"'))
    shipped = catalog.system("hgx-ampere").domains[-1].bandwidth
    assert shipped is not None
    if basis == "both_directions":
        found = catalog.system(str(path)).domains[-1].bandwidth
        assert found is not None
        assert found.value == shipped.value / 2
    else:
        with pytest.raises(ChipFileError, match=f"domains.*'{basis}'; give the"):
            catalog.system(str(path))


@pytest.mark.parametrize("kind", ["chips", "systems"])
def test_shipped_files_are_on_their_basis_already(kind: str) -> None:
    noun = Chip if kind == "chips" else System
    for path in sorted((catalog.data_folder() / kind).glob("*.toml")):
        as_written = read(path, noun, catalog._fill_defaults if kind == "chips" else None)
        assert getattr(catalog, kind[:-1])(path.stem) == as_written


@pytest.mark.parametrize(
    ("field", "given"),
    [("devices_per_package", "1.5 count"), ("compute.cores", "132.5 count"), ("silicon.dies", "0.5 count")],
)
def test_counts_are_whole(tmp_path: Path, field: str, given: str) -> None:
    with pytest.raises(ChipFileError, match=rf"'{field}\.value' must be a whole number, got '{given}'"):
        chip(tmp_path, field, given, top="")
