"""Every chip and system that ships: loads, has sources, lies in sane ranges; gaps are filled honestly."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from silicast import catalog, datafile
from silicast.cli import chips as chips_cli
from silicast.cli import systems as systems_cli
from silicast.errors import ChipFileError
from silicast.hardware import MOST, Chip, Fact, Number, Source, System
from silicast.spread import gaps, quantile

CHIPS = sorted(path.stem for path in (catalog.data_folder() / "chips").glob("*.toml"))
SYSTEMS = sorted(path.stem for path in (catalog.data_folder() / "systems").glob("*.toml"))

#: field pattern -> sane range in SI; a slip of a prefix or of bits and bytes falls outside
SANE = {
    r"compute\.(matrix|marketing|measured_gemm)\.(bf16|fp16|fp8|int8|fp4|fp6)": (5e13, 5e16),
    r"compute\.(matrix|vector)\.(tf32|fp32|fp16)": (5e12, 5e15),
    r"compute\.cores": (8, 400),
    r"compute\.clock": (1e9, 3e9),
    r"memory\.hbm\.(capacity|usable)": (14e9, 4e11),
    r"memory\.hbm\.bandwidth": (1e11, 5e13),
    r"memory\.(l2|infinity_cache)\.capacity": (2e7, 5e8),
    r"memory\.(l1|l0.|unified_buffer)\.capacity": (3e4, 1e6),
    r"links\.(scale_up|die_to_die|host|pcie)\.bandwidth": (1e10, 3e12),
    r"links\.scale_out\.bandwidth": (2e9, 2e11),
    r"links\.\w+\.latency": (1e-7, 1e-5),
    r"power\.package": (80, 2000),
    r"silicon\.die_area": (50, 900),
    r"silicon\.transistors": (1e10, 1e12),
    r"silicon\.dies|devices_per_package": (1, 8),
}

#: field pattern -> basis that must be said, because getting it wrong is a factor of two
BASIS = {
    r"compute\.(matrix|marketing|vector|measured_gemm)\.": {"dense", "per_device"},
    r"links\.\w+\.bandwidth": {"per_direction", "per_device"},
    r"memory\.hbm\.": {"per_device"},
    r"power\.package": {"per_package"},
    r"devices_per_package": {"per_package"},
}


def cited(chip: Chip) -> list[Number | Fact]:
    levels = [level.technology for level in chip.memory.values()]
    facts = [fact for fact in (*levels, chip.silicon.process, chip.silicon.structure) if fact is not None]
    return [*chip.numbers().values(), *facts]


def domain_numbers(system: System) -> list[Number]:
    found = [n for d in system.domains for n in (d.bandwidth, d.latency, d.oversubscription)]
    return [number for number in (*found, system.power_per_package) if number is not None]


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_is_whole(name: str) -> None:
    chip = catalog.chip(name)
    assert chip.id == name
    assert chip.missing == ()
    assert not any(number.estimated for number in chip.numbers().values())
    assert chip.name.strip()
    assert name in catalog.system(chip.system).chips


@pytest.mark.parametrize("name", CHIPS)
def test_every_number_has_unit_source_and_basis(name: str) -> None:
    for field, number in catalog.chip(name).numbers().items():
        assert number.unit == datafile.expected_unit(field), field
        assert number.low <= number.value <= number.high
        for pattern, needed in BASIS.items():
            if re.match(pattern, field):
                assert needed <= set(number.basis), field


@pytest.mark.parametrize("name", CHIPS)
def test_every_statement_has_a_title_and_a_date(name: str) -> None:
    for item in cited(catalog.chip(name)):
        check_source(item.source)
        if not item.source.url:
            assert item.confidence in ("medium", "low"), item


def check_source(source: Source) -> None:
    assert len(source.title) > 5
    assert re.match(r"20\d\d", source.date), source
    assert not source.url or source.url.startswith("https://")


@pytest.mark.parametrize("name", CHIPS)
def test_every_number_is_sane(name: str) -> None:
    for field, number in catalog.chip(name).numbers().items():
        ranges = [ends for pattern, ends in SANE.items() if re.fullmatch(pattern, field)]
        assert ranges, f"no sane range for {field}"
        low, high = ranges[0]
        assert low <= number.low <= number.high <= high, (field, number.value)


@pytest.mark.parametrize("name", CHIPS)
def test_peaks_agree_with_each_other(name: str) -> None:
    compute = catalog.chip(name).compute
    for mode, measured in compute.measured_gemm.items():
        assert measured.value < compute.matrix[mode].high
    for mode, printed in compute.marketing.items():
        peak = compute.matrix.get("bf16" if mode == "fp16" else mode)
        assert peak is None or peak.value <= printed.high
    half = compute.matrix.get("bf16") or compute.matrix.get("fp16")
    if half and "fp8" in compute.matrix:
        assert 0.95 <= compute.matrix["fp8"].value / half.value <= 5


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_whole(name: str) -> None:
    system = catalog.system(name)
    assert system.id == name
    assert set(system.chips) <= set(CHIPS)
    for domain in system.domains:
        check_source(domain.source)
        assert (domain.axes is not None) == (domain.topology == "torus")
    sizes = [domain.size or 10**9 for domain in system.domains]
    assert sizes == sorted(sizes)
    assert system.max_devices is None or sizes[-1] >= system.max_devices
    for number in domain_numbers(system):
        check_source(number.source)
        assert number.source.url or number.confidence in ("medium", "low", "assumption")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_link_of_a_domain_is_known_or_can_be_estimated(name: str) -> None:
    system = catalog.system(name)
    for member in system.chips:
        links = catalog.complete(catalog.chip(member)).links
        for domain in system.domains:
            assert domain.bandwidth is not None or links[domain.link].bandwidth is not None, (member, domain.name)


def test_the_910c_is_a_die() -> None:
    chip = catalog.chip("ascend-910c")
    assert chip.packages_of == 2
    assert chip.compute.matrix["bf16"].value == 353.9e12
    assert "fp8" not in chip.compute.matrix
    assert (chip.power["package"].low, chip.power["package"].high) == (550, 690)
    assert chip.links["scale_up"].bandwidth is not None
    assert chip.links["scale_up"].bandwidth.value == 196e9


def test_bins_are_chips() -> None:
    peaks = {
        name: catalog.chip(f"ascend-{name}").compute.matrix["bf16"] for name in ("910b", "910b1", "910b3", "910b4")
    }
    assert peaks["910b1"].value == 353.9e12
    assert peaks["910b3"].value == 294.9e12
    assert peaks["910b4"].value == 245.8e12
    assert peaks["910b"].low <= peaks["910b4"].value < peaks["910b"].value < peaks["910b1"].value <= peaks["910b"].high
    assert catalog.chip("ascend-910c-560t").compute.matrix["bf16"].value == 245.8e12


def test_two_devices_per_package() -> None:
    doubles = {name for name in CHIPS if catalog.chip(name).packages_of == 2}
    assert doubles == {"ascend-910c", "ascend-910c-560t", "ascend-310p-duo", "tpu-v7"}
    assert catalog.chip("tpu-v7").compute.matrix["bf16"].value == 2307e12 / 2


def test_the_ids_of_the_evidence_ship() -> None:
    needed = """a100-sxm-40 a100-sxm-80 h100-sxm h800-sxm h20-96 h200-sxm b200-sxm gb200 rtx-pro-6000 mi300x tpu-v5e
        tpu-v5p ascend-910b ascend-910c ascend-910c-560t ascend-950pr"""
    assert set(needed.split()) <= set(CHIPS)


def test_the_catalog_loads_fast() -> None:
    catalog._read.cache_clear()
    catalog.shipped_chips.cache_clear()
    start = time.perf_counter()
    catalog.shipped_chips()
    assert time.perf_counter() - start < 1.0  # 0.05 s on a quiet machine


# What is missing


@pytest.mark.parametrize("name", CHIPS)
def test_a_complete_chip_keeps_what_is_known(name: str) -> None:
    chip = catalog.chip(name)
    full = catalog.complete(chip)
    assert gaps(full) == []
    assert set(full.missing) == set(gaps(chip))
    known = chip.numbers()
    for field, number in full.numbers().items():
        assert number.estimated == (field in full.missing)
        assert number.unit == datafile.expected_unit(field), field
        if field in known:
            assert number == known[field]
    assert full.compute.matrix == chip.compute.matrix
    assert catalog.complete(full) == full


@pytest.mark.parametrize("name", CHIPS)
def test_an_estimate_says_so(name: str) -> None:
    full = catalog.complete(catalog.chip(name))
    for field in full.missing:
        number = full.numbers()[field]
        assert number.confidence == "assumption"
        assert re.match(r"spread over \d+ known chips: ", number.source.title)
        ids = number.source.title.partition(": ")[2].split(", ")
        assert set(ids) <= set(CHIPS) - {"rubin", "ascend-950dt"}
        assert name not in ids or "measured_gemm" in field
        assert 0 < number.low <= number.value <= number.high
        if field.rpartition(".")[2] in datafile.WHOLE:
            assert all(end == round(end) >= 1 for end in (number.low, number.value, number.high)), field


def only_peak(name: str, mode: str = "bf16") -> Chip:
    """A chip of which only one matrix peak is known."""
    chip = catalog.chip(name)
    compute = type(chip.compute)(matrix={mode: chip.compute.matrix[mode]})
    memory = {"hbm": type(chip.hbm)()}
    return chip.model_copy(update={"compute": compute, "memory": memory, "links": {}, "power": {}})


@pytest.mark.parametrize("name", ["h200-sxm", "ascend-910b3", "b300-sxm", "mi325x"])
def test_siblings_come_close(name: str) -> None:
    true, guess = catalog.chip(name), catalog.complete(only_peak(name)).numbers()
    for field in ("memory.hbm.bandwidth", "memory.hbm.capacity", "power.package"):
        assert 0.3 < guess[field].value / true.numbers()[field].value < 3, field


@pytest.mark.parametrize("mode", ["fp8", "int8", "fp4", "tf32"])
def test_any_one_peak_is_enough(mode: str) -> None:
    full = catalog.complete(only_peak("b200-sxm", mode))
    assert set(full.compute.matrix) == {mode}
    assert full.hbm.bandwidth is not None
    assert 1e12 < full.hbm.bandwidth.value < 3e13


def test_a_field_that_is_known_narrows_the_next() -> None:
    chip = only_peak("h100-sxm")
    bandwidth = catalog.chip("h100-sxm").hbm.bandwidth
    memory = {"hbm": chip.hbm.model_copy(update={"bandwidth": bandwidth})}
    full = catalog.complete(chip.model_copy(update={"memory": memory}))
    assert full.hbm.capacity is not None
    assert "ratio to memory.hbm.bandwidth" in full.hbm.capacity.note


def test_an_estimate_is_no_surer_than_its_reference() -> None:
    full = catalog.complete(catalog.chip("ascend-910b"))  # the bin is not stated: 245.8 to 363.7 TFLOPS
    peak, rate = full.compute.matrix["bf16"], full.compute.measured_gemm["bf16"]
    assert rate.low / rate.value < peak.low / peak.value
    assert rate.high / rate.value > peak.high / peak.value


def test_completion_is_deterministic() -> None:
    first = catalog.complete(only_peak("h100-sxm"))
    catalog._read.cache_clear()
    catalog.shipped_chips.cache_clear()
    assert catalog.complete(only_peak("h100-sxm")) == first


def test_quantiles() -> None:
    assert quantile([3.0], 0.1) == 3
    assert quantile([1.0, 2.0, 4.0], 0.5) == 2
    assert quantile([1.0, 2.0], 0.5) == 1.5
    assert quantile([2.0, 1.0], 1.0) == 2


# Files to start from


@pytest.mark.parametrize("name", CHIPS)
def test_a_filled_template_is_the_same_chip(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(catalog.template(name), encoding="utf-8")
    mine, shipped = catalog.chip(str(path)), catalog.chip(name)
    assert (mine.id, mine.name, mine.based_on) == (f"my-{name}", f"{shipped.name}, edited", name)
    same = {"id": shipped.id, "name": shipped.name, "based_on": None}
    assert mine.model_copy(update=same) == shipped


def test_a_template_of_a_template_keeps_what_it_is_based_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(catalog.template("h100-sxm"))
    path.write_text(catalog.template(str(path)))
    assert (catalog.chip(str(path)).id, catalog.chip(str(path)).based_on) == ("my-my-h100-sxm", "h100-sxm")


def test_the_blank_template_loads_and_completes(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(catalog.template(), encoding="utf-8")
    chip = catalog.complete(catalog.chip(str(path)))
    assert chip.id == "my-chip"
    assert "memory.hbm.bandwidth" in chip.missing


def test_the_template_says_what_is_required(tmp_path: Path) -> None:
    """Leaving out what the legend calls required is refused by that name; what it calls optional may go."""
    text = catalog.template()
    legend, entries = text.partition("\nid = ")[::2]
    for key in ("value", "source", "confidence"):
        assert re.search(rf"^#   {key} .*(required|text with its unit)", legend, re.M)
        path = tmp_path / f"{key}.toml"
        path.write_text("id = " + re.sub(rf"^{key} = .*\n", "", entries, count=1, flags=re.M))
        with pytest.raises(ChipFileError, match=f"'?{key}'?"):
            catalog.chip(str(path))
    for key in ("basis", "vendor", "url", "date", "status"):
        path = tmp_path / f"{key}.toml"
        path.write_text("id = " + re.sub(rf"^{key} = .*\n", "", entries, count=1, flags=re.M))
        assert catalog.chip(str(path)).id == "my-chip"


@pytest.mark.parametrize("name", [None, "ascend-910a"])
def test_the_commented_fields_are_real(name: str | None, tmp_path: Path) -> None:
    text = catalog.template(name)
    body = text[text.index("# Optional fields") :].split("\n", 1)[1]
    path = tmp_path / "mine.toml"
    path.write_text(text[: len(text) - len(body)] + re.sub(r"(?m)^# ", "", body), encoding="utf-8")
    chip = catalog.chip(str(path))
    assert catalog.complete(chip).missing in ((), ("compute.measured_gemm.fp16", "compute.measured_gemm.int8"))


# The command line

APP = typer.Typer()
APP.add_typer(chips_cli.app, name="chips")
APP.add_typer(systems_cli.app, name="systems")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(APP, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_is_narrow_and_whole() -> None:
    lines = run("chips").splitlines()
    assert max(map(len, lines[:-2])) <= 100
    assert "…" not in "".join(line[50:] for line in lines)
    for name in CHIPS:
        assert any(line.startswith(f"{name} ") for line in lines)
    row = next(line for line in lines if line.startswith("ascend-910c "))
    assert row.split()[-6:] == ["353.9", "707.8", "64", "1.6", "550-690", "2"]


def test_show_names_sources_conflicts_and_estimates() -> None:
    text = run("chips", "show", "ascend-910c")
    for part in ("353.9 TFLOPS", "353.9 to 363.7", "707.8 TOPS", "550 to 690", "arxiv.org/abs/2506.12708", "estimated"):
        assert part in text
    assert "conflicts with 780 TFLOPS per package (SemiAnalysis, 2025-04-16)" in text
    assert "Estimated, because no source gives it: compute.measured_gemm.bf16" in text


def test_the_cli_takes_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(run("chips", "template", "--from", "h100-sxm"))
    assert "NVIDIA H100" in run("chips", "show", str(path))


@pytest.mark.parametrize("name", [*CHIPS[:3], "rubin", "tpu-v7"])
def test_chips_as_json(name: str) -> None:
    answer = envelope(run("chips", "show", name, "--json"))
    assert answer["inputs"] == {"chip": name}
    assert answer["result"]["id"] == name
    assert bool(answer["warnings"]) == bool(answer["result"]["missing"])


def test_lists_and_templates_as_json() -> None:
    assert [row["id"] for row in envelope(run("chips", "--json"))["result"]] == CHIPS
    assert [row["id"] for row in envelope(run("systems", "--json"))["result"]] == SYSTEMS
    assert envelope(run("systems", "show", "hgx-hopper", "--json"))["result"]["domains"][0]["name"] == "nvlink"
    assert envelope(run("chips", "template", "--json"))["result"]["toml"] == catalog.template()


def envelope(text: str) -> Any:
    answer = json.loads(text)
    assert list(answer) == ["schema", "verb", "inputs", "result", "warnings"]
    return answer


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_show(name: str) -> None:
    text = run("systems", "show", name)
    for domain in catalog.system(name).domains:
        assert domain.name in text
        assert domain.source.title in text


def test_systems_list() -> None:
    text = run("systems")
    assert "ub switch (768)" in text
    assert "ici 3D torus (8960)" in text


def test_power_is_never_told_without_its_range() -> None:
    row = next(line for line in run("chips").splitlines() if line.startswith("ascend-910c "))
    assert "550-690" in row
    assert "600" not in row
    shown = next(line for line in run("chips", "show", "ascend-910c").splitlines() if line.startswith("power.package"))
    assert "550-690 W" in shown
    assert "600" not in shown
    found = {row["id"]: row["power_w_per_package"] for row in envelope(run("chips", "--json"))["result"]}
    assert (found["ascend-910c"]["low"], found["ascend-910c"]["high"]) == (550, 690)
    assert found["rubin"] is None or set(found["rubin"]) == {"low", "value", "high"}


def test_a_broken_user_file_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "broken.toml").write_text("id = ")
    monkeypatch.setenv("SILICAST_HOME", str(tmp_path))
    answer = envelope(run("chips", "--json"))
    assert len(answer["result"]) == len(CHIPS)
    assert "broken.toml is not TOML" in answer["warnings"][0]


@pytest.mark.parametrize(("unit", "most"), MOST.items())
def test_a_slip_of_units_is_refused(unit: str, most: float) -> None:
    said = {"unit": unit, "source": Source(title="test"), "confidence": "low"}
    assert Number(value=most, low=most, high=most, **said).value == most
    with pytest.raises(ValueError, match="is absurd: at most"):
        Number(value=most, low=most, high=1.001 * most, **said)
