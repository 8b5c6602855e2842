"""Loading data files: what a file may say, and one clear line for everything it may not."""

import importlib.metadata
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast import catalog, datafile
from silicast.errors import ChipFileError, InputError, NotFoundError
from silicast.hardware import Chip, Source, System

GOOD = """
id = "mine"
name = "Mine"
vendor = "Me"
generation = "mine"
status = "draft"
system = "eight-device-node"
stack = "generic"

[sources.sheet]
title = "My data sheet"
date = "2026"

[devices_per_package]
value = "1 count"
source = "sheet"
confidence = "low"

[compute.matrix]
bf16 = { value = "500 TFLOPS", basis = ["dense"], source = "sheet", confidence = "low" }

[memory.hbm]
capacity = { value = "96 GiB", source = "sheet", confidence = "low" }
bandwidth = { value = "2 TB/s", low = "1.8 TB/s", high = "2 TB/s", source = "sheet", confidence = "low" }
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def loaded(text: str, name: str = "mine.toml") -> Chip:
        path = tmp_path / name
        path.write_text(text)
        return catalog.chip(str(path))

    return loaded


def test_a_path_works_where_an_id_works(load: Any) -> None:
    chip = load(GOOD)
    assert chip.id == "mine"
    assert chip.compute.matrix["bf16"].value == 500e12
    assert chip.hbm.capacity is not None
    assert chip.hbm.capacity.value == 96 * 1024**3
    assert (chip.hbm.bandwidth.low, chip.hbm.bandwidth.high) == (1.8e12, 2e12)
    assert chip.hbm.bandwidth.source.title == "My data sheet"


def test_half_a_file_loads(load: Any) -> None:
    chip = load(
        'id = "half"\n[sources.s]\ntitle = "t"\n[compute.matrix]\n'
        'fp8 = { value = "1 PFLOPS", source = "s", confidence = "low" }\n'
    )
    assert (chip.name, chip.generation, chip.system, chip.stack) == ("half", "half", "eight-device-node", "generic")
    assert chip.devices_per_package.estimated
    assert catalog.system(chip.system).id == chip.system


def test_a_user_folder_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "mine.toml").write_text(GOOD)
    (tmp_path / "chips" / "h100-sxm.toml").write_text(GOOD)
    monkeypatch.setenv("SILICAST_HOME", str(tmp_path))
    assert "mine" in catalog.ids("chips")
    assert catalog.chip("mine").name == "Mine"
    assert catalog.chip("h100-sxm").name == "Mine"
    monkeypatch.delenv("SILICAST_HOME")
    assert catalog.chip("h100-sxm").name.startswith("NVIDIA")


def test_a_changed_file_is_read_again(load: Any, tmp_path: Path) -> None:
    assert load(GOOD).name == "Mine"
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace('"Mine"', '"Other"'))
    os.utime(path, ns=(1, 1))
    assert catalog.chip(str(path)).name == "Other"


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> Any:
    def installed(load: Any) -> None:
        point = SimpleNamespace(name="a-pack", value="a_pack", load=load)
        monkeypatch.setattr(catalog, "entry_points", lambda group: [point])
        catalog.pack_folders.cache_clear()

    yield installed
    monkeypatch.setattr(catalog, "entry_points", importlib.metadata.entry_points)
    catalog.pack_folders.cache_clear()


def test_a_pack_adds_chips(packs: Any, tmp_path: Path) -> None:
    (tmp_path / "chips").mkdir()
    (tmp_path / "chips" / "mine.toml").write_text(GOOD)
    packs(lambda: SimpleNamespace(__file__=str(tmp_path / "__init__.py")))
    assert catalog.chip("mine").name == "Mine"


def test_a_broken_pack_is_named(packs: Any) -> None:
    def broken() -> None:
        raise ImportError("no module named a_pack")

    packs(broken)
    with pytest.raises(ChipFileError, match=r"Pack 'a-pack' .* cannot be loaded"):
        catalog.chip("h100-sxm")


def test_the_nearest_id_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"Chip 'h20O' not found\. Did you mean 'h20-96'.*silicast chips"):
        catalog.chip("h20O")
    with pytest.raises(NotFoundError, match=r"System 'hgx-hoper' not found\. Did you mean 'hgx-hopper'"):
        catalog.system("hgx-hoper")
    with pytest.raises(NotFoundError, match="not found"):
        catalog.chip("x" * 5000)
    with pytest.raises(NotFoundError, match="not found"):
        catalog.chip("")


BAD_FILES = {
    "unknown field": (
        ("capacity = {", "capaticy = {"),
        "'memory.hbm.capaticy' not found. Did you mean 'memory.hbm.cap",
    ),
    "field typo": (("bandwidth = {", "bandwith = {"), "'memory.hbm.bandwith' .*Did you mean 'memory.hbm.bandwidth'"),
    "top level": (("vendor =", "vendro ="), "'vendro' not found. Did you mean 'vendor'"),
    "unknown dtype": (("bf16 =", "bf61 ="), "'compute.matrix.bf61' not found. Did you mean 'compute.matrix.bf16'"),
    "unknown memory": (("[memory.hbm]", "[memory.hmb]"), "'memory.hmb' not found. Did you mean 'memory.hbm'"),
    "unknown unit": (("96 GiB", "96 GIB"), "'memory.hbm.capacity.value': Unit 'GIB' not found. Did you mean 'GiB'"),
    "wrong dimension": (("2 TB/s", "2 GiB"), "'memory.hbm.bandwidth.value' needs the unit B/s: .*3.35 TB/s.*'2 GiB'"),
    "wrong range unit": (("1.8 TB/s", "1.8 TB"), "'memory.hbm.bandwidth.low' needs the unit B/s"),
    "no unit": (("96 GiB", "96"), "'memory.hbm.capacity.value' needs the unit B"),
    "a bare number": (('"96 GiB"', "96"), "'memory.hbm.capacity.value'.* text with its unit.*a number \\(96\\)"),
    "negative": (("96 GiB", "-96 GiB"), "must be positive and finite, got '-96 GiB'"),
    "zero": (("500 TFLOPS", "0 TFLOPS"), "'compute.matrix.bf16.value' must be positive"),
    "infinite": (("500 TFLOPS", "1e999 TFLOPS"), "must be positive and finite"),
    "not a number": (("500 TFLOPS", "nan TFLOPS"), "is not a number with a unit"),
    "range around nothing": (("1.8 TB/s", "3 TB/s"), "'memory.hbm.bandwidth' needs low <= value <= high"),
    "unknown basis": (('["dense"]', '["danse"]'), "basis.*'danse'.*Did you mean.*dense"),
    "basis no list": (('["dense"]', '"dense"'), "'compute.matrix.bf16.basis' must be a list; got text"),
    "unknown source": (('source = "sheet"', 'source = "sheeet"'), "Source 'sheeet' of .*Did you mean 'sheet'"),
    "no title": (('title = "My data sheet"', ""), "'sources.sheet.title' is required and missing"),
    "unknown confidence": (('confidence = "low"', 'confidence = "lowish"'), "'.*confidence' is 'lowish'.*Known: high"),
    "no confidence": ((', confidence = "low" }', " }"), "'compute.matrix.bf16.confidence' is required and missing"),
    "no value": (('value = "96 GiB", ', ""), "'memory.hbm.capacity' needs a 'value', such as value = \"80 GiB\""),
    "no id": (('id = "mine"', ""), "'id' is required and missing"),
    "no matrix": (("[compute.matrix]\nbf16", "[compute.vector]\nbf16"), "at least one matrix peak"),
    "no compute": (("[compute.matrix]\nbf16", "[power]\npackage"), "at least one matrix peak"),
    "a list for a table": (("[memory.hbm]", "[[memory.hbm]]"), "'memory.hbm' must be a table.*got a list"),
    "text for a table": (('id = "mine"', 'id = "mine"\nlinks = "fast"'), "'links' must be a table.*got text"),
    "a number for text": (('name = "Mine"', "name = 3"), "'name'.*string"),
    "a unit of its own": (('value = "96 GiB"', 'value = "96 GiB", unit = "B"'), "'memory.hbm.capacity.unit' not found"),
    "not TOML": (('id = "mine"', "id = mine"), "mine.toml is not TOML: .*line 2"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_clear_line(case: str, load: Any) -> None:
    (old, new), message = BAD_FILES[case]
    assert old in GOOD
    with pytest.raises(ChipFileError, match=message) as caught:
        load(GOOD.replace(old, new, 1))
    assert str(caught.value).startswith("mine.toml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_places_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(ChipFileError, match="is a folder"):
        catalog.chip(str(tmp_path))
    with pytest.raises(ChipFileError, match="not found"):
        catalog.chip(str(tmp_path / "none.toml"))
    with pytest.raises(ChipFileError, match="cannot be opened"):
        catalog.chip("/" + "x" * 5000)
    with pytest.raises(InputError):
        catalog.chip("a\0b/c.toml")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ChipFileError, match="not text in UTF-8"):
        catalog.chip(str(path))
    huge = tmp_path / "huge.toml"
    with huge.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ChipFileError, match="has 100 MB; a data file has at most 4 MB"):
        catalog.chip(str(huge))
    for name, text in {"deep.toml": "a = " + "[" * 100_000, "long.toml": "a = " + "9" * 10_000}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ChipFileError, match="is not TOML"):
            catalog.chip(str(tmp_path / name))


def test_free_numbers_have_no_fixed_unit(tmp_path: Path) -> None:
    path = tmp_path / "coefficients.toml"
    head = 'tier = "datasheet"\n[sources.s]\ntitle = "t"\n[gemm]\n'
    path.write_text(head + 'floor = { value = "5 us", source = "s", confidence = "low" }\n')
    plain, numbers = datafile.read_numbers(path)
    assert plain == {"tier": "datasheet"}
    assert (numbers["gemm.floor"].value, numbers["gemm.floor"].unit) == (pytest.approx(5e-6), "s")
    path.write_text(head + "floor = 3\n")
    with pytest.raises(ChipFileError, match=r"'gemm\.floor' must be a table"):
        datafile.read_numbers(path)


# A shipped file, damaged at random, is a chip or an input error, never anything else.

CHIP_FILES = sorted((catalog.data_folder() / "chips").glob("*.toml"))
GARBAGE = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["-1 W", "0 B", "1e999 s", "nan W", "3 GB/s", "3", "x = 1", "353.9 TFLOPS"]),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in children for place in [(*path, key), *places(child, (*path, key))]]


def damage(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    node: Any = document
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value


def outcome(load: Callable[[], Chip]) -> Chip | str:
    """The chip, or the message of an input error; anything else fails the test."""
    try:
        return load()
    except InputError as error:
        return str(error)


def check(found: Chip | str) -> None:
    if isinstance(found, str):
        assert "\n" not in found
    else:
        assert catalog.complete(found).id == found.id


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_document_is_a_chip_or_an_input_error(data: st.DataObject) -> None:
    document = tomllib.loads(data.draw(st.sampled_from(CHIP_FILES)).read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        damage(document, data.draw(st.sampled_from(places(document))), data.draw(GARBAGE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datafile, "read_toml", lambda _: document)
        found = outcome(lambda: datafile.read(Path("damaged.toml"), Chip, catalog._fill_defaults))
    check(found)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_text_is_a_chip_or_an_input_error(data: st.DataObject, tmp_path_factory: Any) -> None:
    lines = data.draw(st.sampled_from(CHIP_FILES)).read_text(encoding="utf-8").splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(lines) - 1))
        cut = data.draw(st.integers(0, len(lines[place])))
        lines[place] = lines[place][:cut] + data.draw(st.text(max_size=8)) + lines[place][cut + 3 :]
    path = tmp_path_factory.mktemp("damaged") / "damaged.toml"
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    check(outcome(lambda: catalog.chip(str(path))))


def test_systems_are_checked_like_chips(tmp_path: Path) -> None:
    text = (catalog.data_folder() / "systems" / "cloudmatrix384.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('topology = "switch"', 'topology = "swich"'))
    with pytest.raises(ChipFileError, match=r"topology' is 'swich'.*Did you mean.*switch"):
        catalog.system(str(path))
    path.write_text(text.replace('"2.1 us"', '"2.1 GB/s"'))
    with pytest.raises(ChipFileError, match=r"'domains\[0\].latency.value' needs the unit s"):
        catalog.system(str(path))
    path.write_text(text.replace("size = 768", "size = 0"))
    with pytest.raises(ChipFileError, match=r"'domains\[0\].size'.*greater than or equal to 2"):
        catalog.system(str(path))
    path.write_text(text)
    assert isinstance(catalog.system(str(path)), System)


@pytest.mark.parametrize("title", ["Silicast fit to 571 calibrate rows", "Fitted by Silicast to evidence deepep",
                                   "Assumption of Silicast", "spread over 5 known chips: a, b"])  # fmt: skip
def test_our_own_numbers_have_no_address_to_keep(title: str) -> None:
    assert Source(title=title, date="2026").cite() == f"{title}, 2026"


def test_a_source_of_others_says_where_or_that_it_is_not_known() -> None:
    assert Source(title="A note", date="2026").cite() == "A note, 2026, address not kept"
    assert Source(title="A note", url="https://a.b").cite() == "A note, https://a.b"
