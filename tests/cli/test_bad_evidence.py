"""Evidence, tables and places that cannot be used: exit code 2, and one line that says what is wrong."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from silicast import catalog
from silicast.evidence.calibrate import run as calibration
from silicast.evidence.calibrate import write
from tests.cli.program import run

HEADER = "id,kind,model,chip,stack,devices,input_tokens,output_tokens,concurrency,metric,value,use"
GOOD = "a,serve,Qwen/Qwen3-8B,h100-sxm,vllm,1,1024,256,16,tpot_ms,9.5,validate"
GEMM = "op,m,n,k,dtype,chip,stack,latency_us"


def evidence(folder: Path, points: str = f"{HEADER}\n{GOOD}\n") -> Path:
    place = folder / "mine"
    place.mkdir()
    (place / "source.toml").write_text('title = "Mine"')
    (place / "points.csv").write_text(points)
    return place


def one_line(*arguments: str, code: int = 2) -> str:
    done = run(*arguments)
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    return done.err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("concurrency", "concurency", "unknown column 'concurency'. Did you mean 'concurrency'?"),
        ("tpot_ms", "tpot_s", "'metric' is 'tpot_s'. Did you mean 'tpot_ms'?"),
        ("9.5", "9.5ms", "'value' is '9.5ms', which is not a number"),
        ("9.5", "-9.5", "it must be positive"),
        ("9.5", "0", "it must be positive"),
        ("9.5", "nan", "which is not a number"),
        (GOOD, f"{GOOD}\n{GOOD}", "its id stands on line 2 already"),
        (",use", "", "13 cells"),
    ],
)
def test_bad_evidence_is_one_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    points = f"{HEADER}\n{GOOD}\n".replace(old, new, 1)
    place = evidence(tmp_path, points if said != "13 cells" else f"{HEADER}\n{GOOD},x\n")
    for verb in (("validate", "--points"), ("calibrate", "--stacks", "--output", str(tmp_path / "out"))):
        assert said in one_line(*verb, "--evidence", str(place))
    assert not (tmp_path / "out").exists()


def test_unknown_chips_and_models_are_listed_and_not_fatal(tmp_path: Path) -> None:
    other = [
        GOOD.replace("h100-sxm", "h1000").replace("a,", "b,", 1),
        GOOD.replace("Qwen3-8B", "Qwen9").replace("a,", "c,", 1),
    ]
    found = run(
        "validate", "--evidence", str(evidence(tmp_path, "\n".join([HEADER, GOOD, *other]))), "--points", "--json"
    )
    rows = found.document()["rows"]
    assert [row["forecast"] is None for row in rows] == [False, True, True]
    assert "h1000" in rows[1]["reason"]
    assert "Qwen9" in rows[2]["reason"]
    assert found.document()["overall"]["share_forecast"] == pytest.approx(1 / 3)


def test_an_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = evidence(tmp_path)
    assert "not found" in one_line("validate", "--evidence", str(tmp_path / "nowhere"))
    assert "is a file" in one_line("validate", "--evidence", str(place / "points.csv"))

    def denied(self: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    assert "cannot be read: Permission denied" in one_line("validate", "--evidence", str(tmp_path))


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    place = evidence(tmp_path)
    said = one_line("validate", "--evidence", str(place), "--points", "--html", str(tmp_path))
    assert "it is a directory" in said


def tables(folder: Path, *lines: str) -> list[str]:
    (folder / "gemm.csv").write_text("\n".join([GEMM, *lines]) + "\n")
    return [
        "calibrate",
        "--operators",
        str(folder),
        "--without-source",
        "aiconfigurator",
        "--output",
        str(folder / "out"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gemm,1,2,3,bf16,h100-sxm,vllm,nan", "latency_us' of row 1"),
        ("gemm,1,2,3,bf16,h100-sxm,vllm,0", "expected a positive number"),
        ("gemm,1,2,3,bf16,h100-sxm,vllm,-4", "expected a positive number"),
    ],
)
def test_bad_operator_tables_are_one_line(tmp_path: Path, line: str, said: str) -> None:
    assert said in run(*tables(tmp_path, line)).err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_too_few_rows_say_how_many_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy")
    empty = tmp_path / "none"
    empty.mkdir()
    monkeypatch.setattr(calibration, "shipped", lambda: empty / "nowhere")
    done = run(*tables(tmp_path, *(f"gemm,{m},64,64,bf16,h100-sxm,vllm,5" for m in range(1, 5))))
    assert done.code == 2
    assert "4 rows are too few: 10 coefficients need 30" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [(), ("--stacks",), ("--left-out",)])
def test_a_missing_extra_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    found = importlib.util.find_spec

    def absent(name: str, *rest: Any) -> Any:
        return None if name in ("scipy", "aiconfigurator_core") else found(name, *rest)

    monkeypatch.setattr(calibration, "find_spec", absent)
    said = one_line("calibrate", *options, "--output", str(tmp_path / "out"), code=1)
    assert "pip install 'silicast[calibrate]'" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--without-chip", "h20O", "Chip 'h20O' not found"),
        ("--without-generation", "hoper", "Generation 'hoper' not found"),
        ("--without-source", "infersym", "Source 'infersym' not found. Did you mean 'infersim'?"),
    ],
)
@pytest.mark.parametrize("stacks", [(), ("--stacks",), ("--left-out",)])
def test_unknown_things_to_leave_out(
    tmp_path: Path, option: str, value: str, said: str, stacks: tuple[str, ...]
) -> None:
    assert said in one_line("calibrate", *stacks, option, value, "--output", str(tmp_path / "out"))


def test_an_interrupted_write_of_one_file_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "stacks" / "vllm.toml"
    write.put(place, "first")

    def interrupted(self: Path, target: Path) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write.put(place, "second")
    assert place.read_text() == "first"
    assert [path.name for path in place.parent.iterdir()] == ["vllm.toml"]


def test_a_calibration_that_is_interrupted_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(calibration, "fit_chip", interrupted)
    done = run(*tables(tmp_path, *(f"gemm,{m},64,64,bf16,h100-sxm,vllm,5" for m in range(1, 50))))
    assert done.code != 0
    assert not (tmp_path / "out").exists()


def test_the_shipped_tables_name_chips_of_the_catalog() -> None:
    lines = (catalog.data_folder() / "left_out" / "operators.csv").read_text(encoding="utf-8").splitlines()
    chips = {line.split(",")[2] for line in lines[2:]} - {""}
    assert chips <= set(catalog.ids("chips"))
