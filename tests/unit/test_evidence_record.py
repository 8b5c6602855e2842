"""Loading evidence: what a folder may say, and one clear line for everything it may not."""

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import EvidenceError
from silicast.evidence.columns import COLUMNS
from silicast.evidence.record import load, shipped

HEADER = "id,kind,model,chip,stack,devices,input_tokens,output_tokens,concurrency,rate,requests,metric,value,use,note"
GOOD = 'a,serve,Qwen/Qwen3-8B,h100-sxm,vllm,1,1024,256,16,,160,tpot_ms,9.5,validate,"measured, once"'
ABOUT = 'title = "A test"\nurl = "https://example.org"\n'


def source(folder: Path, points: str = f"{HEADER}\n{GOOD}\n", about: str | None = ABOUT, name: str = "mine") -> Path:
    """A source folder."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "points.csv").write_text(points, encoding="utf-8")
    if about is not None:
        (place / "source.toml").write_text(about, encoding="utf-8")
    return place


def with_cells(**cells: str) -> str:
    """A file whose one good row has some cells replaced."""
    names, values = HEADER.split(","), [*GOOD.split('"')[0].rstrip(",").split(","), "n"]
    row = dict(zip(names, values, strict=True)) | cells
    return ",".join(row) + "\n" + ",".join(row.values()) + "\n"


def one_line(folder: Path) -> str:
    with pytest.raises(EvidenceError) as caught:
        load([folder])
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


def test_a_good_row_keeps_its_numbers(tmp_path: Path) -> None:
    evidence = load([source(tmp_path)])
    (row,) = evidence.rows
    assert (row.source, row.id, row.line, row.value, row.use) == ("mine", "a", 2, 9.5, "validate")
    assert row.note == "measured, once"
    assert (row.scenario.concurrency, row.scenario.rate, row.scenario.output_tokens) == (16, None, 256)
    assert evidence.sources[0].cite() == "A test, https://example.org"


def test_a_folder_of_folders_ignores_other_files(tmp_path: Path) -> None:
    source(tmp_path, name="one")
    source(tmp_path, name="two")
    (tmp_path / "README.md").write_text("not evidence")
    (tmp_path / "empty").mkdir()
    assert [found.id for found in load([tmp_path]).sources] == ["one", "two"]


def test_a_source_given_twice_counts_once(tmp_path: Path) -> None:
    first, second = source(tmp_path / "x"), source(tmp_path / "y")
    evidence = load([first, first, second])
    assert len(evidence.rows) == 1
    assert "given twice" in evidence.warnings[0]


def test_blank_lines_short_rows_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    short = "b,serve,Qwen/Qwen3-8B,h100-sxm,vllm,1,1024,256,16,,160,tpot_ms,7"
    place = source(tmp_path, f"\ufeff{HEADER}\r\n{GOOD}\r\n\r\n{short}\r\n")
    rows = load([place]).rows
    assert [(row.id, row.line, row.use) for row in rows] == [("a", 2, "validate"), ("b", 4, "validate")]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"value": "-3"}, "'value' is '-3': it must be positive"),
        ({"value": "0"}, "'value' is '0': it must be positive"),
        ({"value": "nan"}, "'value' is 'nan', which is not a number"),
        ({"value": "inf"}, "'value' is 'inf', which is not a number"),
        ({"value": "1e999"}, "'value' is '1e999': that is beyond"),
        ({"value": "1_000"}, "write it without thousands separators"),
        ({"value": "٣"}, "which is not a number"),
        ({"value": "007"}, "'value' is '007': a number has no leading zero"),
        ({"concurrency": "016"}, "'concurrency' is '016': a number has no leading zero"),
        ({"value": ""}, "'value' is empty"),
        ({"devices": "1.5"}, "'devices' is '1.5': a whole number is needed"),
        ({"devices": "0"}, "'devices' is '0': it must be positive"),
        ({"requests": "8"}, "requests (8) are below concurrency (16) in a closed loop"),
        ({"rate": "2"}, "exclude each other"),
        ({"kind": "server"}, "'kind' is 'server'. Did you mean 'serve'?"),
        ({"metric": "tpot"}, "'metric' is 'tpot'. Did you mean 'tpot_ms'?"),
        ({"use": "train"}, "'use' is 'train'."),
        ({"chip": ""}, "'chip' is empty"),
        ({"id": ""}, "'id' is empty"),
        ({"prefix_hit": "1.5"}, "a share between 0 and 1 is needed"),
        ({"weights": "fp9"}, "'weights' is 'fp9'. Did you mean 'fp"),
    ],
)
def test_a_bad_cell_is_one_line_with_file_line_and_row(tmp_path: Path, cells: dict[str, str], expected: str) -> None:
    text = one_line(source(tmp_path, with_cells(**cells)))
    assert expected in text
    assert text.startswith("mine/points.csv, line 2")
    if "id" not in cells:
        assert "row 'a'" in text


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ("", "is empty"),
        (
            HEADER.replace("concurrency", "concurency") + "\n",
            "unknown column 'concurency'. Did you mean 'concurrency'?",
        ),
        (HEADER + ",note\n", "column 'note' is there twice"),
        (HEADER.replace(",value", "") + "\n", "column 'value' is missing"),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", "its id stands on line 2 already"),
        (f"{HEADER}\n{GOOD},extra\n", "16 cells for 15 columns"),
        (f'{HEADER}\n"a,serve\n', "not CSV"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, points: str, expected: str) -> None:
    assert expected in one_line(source(tmp_path, points))


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        (None, "source.toml is missing"),
        ("title = ", "is not TOML"),
        ("url = 'x'", "needs a title"),
        ("title = 'x'\nremarks = 'y'", "'remarks' must be a list"),
    ],
)
def test_a_bad_source_file_is_one_line(tmp_path: Path, about: str | None, expected: str) -> None:
    assert expected in one_line(source(tmp_path, about=about))


def test_missing_points_folders_and_files(tmp_path: Path) -> None:
    assert "not found" in one_line(tmp_path / "nowhere")
    assert "No source in" in one_line(tmp_path)
    place = source(tmp_path)
    assert "is a file" in one_line(place / "points.csv")
    (place / "points.csv").unlink()
    assert "points.csv is missing" in one_line(place)
    (place / "points.csv").write_bytes(b"\xff\xfe\x00")
    assert "is not text in UTF-8" in one_line(place)


def test_length_range_in_disorder(tmp_path: Path) -> None:
    points = with_cells(note="n").replace("id,", "length_low,length_high,id,").replace("\na,", "\n1.0,0.8,a,")
    assert "length_low (1) exceeds length_high (0.8)" in one_line(source(tmp_path, points))


@given(text=st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_loads_or_is_an_evidence_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = source(tmp_path_factory.mktemp("any"), "x")
    (folder / "points.csv").write_text(f"{HEADER}\n{text}", encoding="utf-8", errors="replace")
    with contextlib.suppress(EvidenceError):
        load([folder])


def test_all_shipped_evidence_loads_fast_and_is_cited() -> None:
    start = time.perf_counter()
    evidence = load([shipped()])
    seconds = time.perf_counter() - start
    assert len(evidence.sources) == 40
    assert len(evidence.rows) > 7000
    assert all(found.title and found.url and found.licence for found in evidence.sources)
    assert seconds < 2.0
    assert not evidence.warnings


def test_columns_are_unique() -> None:
    assert len(set(COLUMNS)) == len(COLUMNS)
