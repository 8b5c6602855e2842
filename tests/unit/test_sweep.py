"""Sweeps: what a space says, what names a chunk, rows against the planner's own, parts that are whole or not there."""

import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from silicast import planner
from silicast.errors import InputError, MissingExtraError, NotFoundError
from silicast.planning.question import Budget, Question
from silicast.planning.units import Space as Searched
from silicast.planning.units import units
from silicast.scenario import Layout, Targets, Workload
from silicast.sweep import work
from silicast.sweep.chunks import Chunk, chunks, files_of, release
from silicast.sweep.cluster import on_ray
from silicast.sweep.columns import COLUMNS, RANGED
from silicast.sweep.parts import Folder, rows_of
from silicast.sweep.processes import on_processes
from silicast.sweep.results import query
from silicast.sweep.run import sweep
from silicast.sweep.space import DeploymentsTable, Space, read_space
from tests.cli.program import QWEN, R1

DENSE = "Qwen/Qwen3-32B"
SPACE = """
models = ["Qwen/Qwen3-32B"]
chips = ["h100-sxm", "mi300x"]
[workloads]
input_tokens = [1000, 2000]
output_tokens = 100
[deployments]
max_devices = 8
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str) -> Path:
        path = tmp_path / "space.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def space(**changes: Any) -> Space:
    first: dict[str, Any] = {
        "models": (DENSE,), "chips": ("h100-sxm",), "deployments": {"max_devices": 8},
        "workloads": ({"input_tokens": (1000,), "output_tokens": (100,)},),
    }  # fmt: skip
    return Space.model_validate(first | changes)


def one(**changes: Any) -> Chunk:
    return next(chunks(space(**changes)))


def table(chunk: Chunk) -> dict[str, Any]:
    """Columns of the part of a chunk; NaN is null."""
    read = pq.read_table(io.BytesIO(work.evaluate(chunk)))
    assert read.schema.names == list(COLUMNS)
    return {name: read[name].to_numpy() for name in read.schema.names}


# spaces


def test_a_space_is_crossed(write: Any) -> None:
    found = list(chunks(read_space(write(SPACE))))
    assert [(chunk.chip, chunk.workload.input_tokens) for chunk in found] == [
        ("h100-sxm", 1000), ("h100-sxm", 2000), ("mi300x", 1000), ("mi300x", 2000)
    ]  # fmt: skip
    assert {(chunk.system, chunk.stack) for chunk in found} == {("hgx-hopper", "sglang"), ("mi300x-node", "rocm-vllm")}
    assert len({chunk.name for chunk in found}) == 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("max_devices", "max_device", "'deployments.max_device' not found. Did you mean 'deployments.max_devices'?"),
        ("models", "model", "'model' not found. Did you mean 'models'?"),
        ("output_tokens", "output_token", "Did you mean 'workloads[0].output_tokens'?"),
        ("h100-sxm", "h100-smx", "Chip 'h100-smx' not found. Did you mean 'h100-sxm'?"),
        ("Qwen3-32B", "Qwen3-32X", "Did you mean 'Qwen/Qwen3-32B'?"),
        ("= 100", "= 0", "workloads[0].output_tokens"),
        ("[1000, 2000]", "[]", "workloads[0].input_tokens"),
        ("= 8", "= 8\n[prices]\nh200 = 2.0", "Price of chip 'h200' not found"),
        ("= 8", "= 8\n[prices]\nmi300x = -2.0", "must be above 0"),
        ("[workloads]", 'systems = ["hgx-hoper"]\n[workloads]', "Did you mean 'hgx-hopper'?"),
        ("[workloads]", 'stacks = ["sglan"]\n[workloads]', "Did you mean 'sglang'?"),
        ("[workloads]", 'stacks = ["vllm-ascend"]\n[workloads]', "does not run on h100-sxm"),
    ],
)
def test_a_slip_in_a_space_is_named(write: Any, old: str, new: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_space(write(SPACE.replace(old, new)))
    assert told in str(caught.value)
    assert "space.toml" in str(caught.value)


def test_stacks_are_those_of_the_vendor() -> None:
    both = space(chips=("h100-sxm", "ascend-910c"), stacks=("own", "vllm", "vllm-ascend"))
    assert both.stacks_of("h100-sxm") == ("sglang", "vllm")
    assert both.stacks_of("ascend-910c") == ("cloudmatrix-infer", "vllm-ascend")
    assert set(space(stacks=("any",)).stacks_of("h100-sxm")) == {
        name or "" for name in planner.stacks_of("h100-sxm", ("any",))
    }


def test_the_example_of_the_documentation_is_a_space() -> None:
    example = read_space(Path(__file__).parents[2] / "docs" / "sweep.toml")
    assert len(list(chunks(example))) == 32


# names


@pytest.mark.parametrize(
    "change",
    [
        {"models": (R1,)}, {"chips": ("h200-sxm",)}, {"systems": ("eight-device-node",)}, {"stacks": ("vllm",)},
        {"deployments": {"max_devices": 16}}, {"deployments": {"max_devices": 8, "split": False}},
        {"prices": {"h100-sxm": 2.0}}, {"workloads": ({"input_tokens": (1001,), "output_tokens": (100,)},)},
        {"workloads": ({"name": "chat", "input_tokens": (1000,), "output_tokens": (100,)},)},
    ],
)  # fmt: skip
def test_a_name_changes_with_its_inputs(change: dict[str, Any]) -> None:
    assert one(**change).name != one().name


def test_a_name_does_not_depend_on_the_rest_of_the_space() -> None:
    wide = space(models=(R1, DENSE), chips=("mi300x", "h100-sxm"), prices={"mi300x": 2.0})
    assert one().name in {chunk.name for chunk in chunks(wide)}


def test_a_name_changes_with_the_files_that_the_space_names(tmp_path: Path) -> None:
    chip = tmp_path / "mine.toml"
    chip.write_text("a = 1")
    first = files_of(space(chips=(str(chip),)))
    chip.write_text("a = 2")
    assert files_of(space(chips=(str(chip),))) != first


def test_a_name_changes_with_the_users_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "prices" / "rent.toml"
    own.parent.mkdir()
    own.write_text("")
    monkeypatch.setenv("SILICAST_HOME", str(tmp_path))
    assert release.__wrapped__() != release()


def test_another_release_does_no_work() -> None:
    with pytest.raises(InputError, match="another version of Silicast"):
        work.evaluate(replace(one(), release="0"))


# rows


@pytest.mark.parametrize(("model", "split"), [(DENSE, False), (QWEN, True)])
def test_rows_are_the_units_of_the_planner(model: str, split: bool) -> None:
    chunk = one(models=(model,), deployments={"max_devices": 16, "split": split})
    rows = table(chunk)
    fit = rows["fit"].astype(bool)
    found, _ = planner.variants(model, ["h100-sxm"], planner.Choices())
    question = Question(Workload(1000, 100), Targets(), Budget(devices=16))
    every = units(Searched.of(found, question), question, split)
    assert every is not None
    assert fit.sum() == len(every)
    for name, wanted in (("ttft_ms", every.ttft * 1e3), ("tpot_ms", every.tpot * 1e3), ("devices", every.devices)):
        np.testing.assert_allclose(np.sort(rows[name][fit].astype(float)), np.sort(wanted), rtol=1e-6)


def test_a_mixed_row_is_the_pool_in_a_closed_loop() -> None:
    rows = table(one())
    found, _ = planner.variants(DENSE, ["h100-sxm"], planner.Choices())
    at = np.flatnonzero(
        (rows["tp"] == 4) & (rows["sequences_per_rank"] == 16) & (rows["pp"] == 1) & ~rows["split"].astype(bool)
    )
    assert at.size == 1
    row = {name: values[at[0]] for name, values in rows.items()}
    steady = found[0].pool.closed(Layout(tp=4).arrays(), Workload(1000, 100), np.array([16.0]))
    assert row["tpot_ms"] == pytest.approx(steady.tpot[0] * 1e3, rel=1e-6)
    assert row["concurrency"] == pytest.approx(16, rel=1e-5)
    output = float(steady.requests[0]) * 100
    assert row["output_tokens_per_s_per_device"] == pytest.approx(output / 4, rel=1e-6)
    usd = found[0].bill.usd_per_hour
    assert usd is not None
    assert row["usd_per_million_output_tokens"] == pytest.approx(4 * usd / 3600 / output * 1e6, rel=1e-6)
    assert row["usd_per_million_total_tokens"] == pytest.approx(4 * usd / 3600 / (11 * output) * 1e6, rel=1e-6)
    assert row["power_w"] == pytest.approx(4 * found[0].bill.watts, rel=1e-6)


def test_layouts_without_room_are_rows_without_numbers() -> None:
    rows = table(one(models=(R1,), deployments={"max_devices": 32}))
    fit = rows["fit"].astype(bool)
    assert {True, False} == set(fit.tolist())
    assert np.all(rows["most_sequences_per_rank"][fit] >= 1)
    assert np.all(rows["most_sequences_per_rank"][~fit] == 0)
    assert set(rows["reason"][~fit]) == {work.NO_ROOM}
    assert np.all(np.isnan(rows["tpot_ms"][~fit]))
    assert rows["devices"][~fit].min() == 1


def test_a_chip_that_cannot_run_the_model_is_one_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise InputError("nothing on the chip multiplies fp8")

    monkeypatch.setattr(work, "_variants", refused)
    rows = table(one())
    assert rows["fit"].tolist() == [False]
    assert rows["reason"].tolist() == ["nothing on the chip multiplies fp8"]


def test_a_file_that_a_worker_lacks_is_no_result() -> None:
    with pytest.raises(InputError, match="not found"):
        work.evaluate(replace(one(), chip="/nowhere/mine.toml"))


def test_ranges_stand_along_the_front() -> None:
    rows = table(one(deployments={"max_devices": 8, "ranges": 5}))
    drawn = np.flatnonzero(~np.isnan(rows["tpot_ms_low"]))
    assert 2 <= drawn.size <= 5
    speed, density = 1 / rows["tpot_ms"], rows["output_tokens_per_s_per_device"]
    for row in drawn:
        assert not np.any((speed > speed[row]) & (density > density[row]))
    for name in RANGED:
        low, high = rows[f"{name}_low"][drawn], rows[f"{name}_high"][drawn]
        assert np.all(low < high)
        assert np.mean((low <= rows[name][drawn]) & (rows[name][drawn] <= high)) > 0.5
    assert np.all(np.isnan(table(one(deployments={"ranges": 0, "max_devices": 8}))["tpot_ms_low"]))


def test_rows_do_not_depend_on_how_many_are_written_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(one())
    monkeypatch.setattr(work, "ROWS", 100)
    some = table(one())
    assert max(len(next(iter(columns.values()))) for _, columns in work.tables(one())) == 100
    for name, values in whole.items():
        np.testing.assert_array_equal(values, some[name])


def test_chunks_are_made_one_by_one() -> None:
    lengths = tuple(range(1, 10_001))
    endless = space(workloads=({"input_tokens": lengths, "output_tokens": lengths},))
    assert next(chunks(endless)).workload == Workload(1, 1)


# folders


def nobody(left: Iterable[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    """Workers that have nothing to do."""
    assert list(left) == []
    return iter(())


def test_a_rerun_takes_what_is_there_and_no_more(tmp_path: Path) -> None:
    first = space(workloads=({"input_tokens": (1000, 2000), "output_tokens": (100,)},))
    done = sweep(first, tmp_path, on_processes(1))
    assert (done.parts, done.found) == (2, 0)
    again = sweep(first, tmp_path, nobody)
    assert (again.found, again.rows, again.digest) == (2, done.rows, done.digest)
    other = sweep(
        space(workloads=({"input_tokens": (2000, 3000), "output_tokens": (100,)},)), tmp_path, on_processes(1)
    )
    assert (other.parts, other.found) == (2, 1)
    lengths = query(tmp_path, "SELECT DISTINCT input_tokens FROM results ORDER BY 1").rows
    assert lengths == [(2000,), (3000,)]


def test_a_broken_part_is_done_again(tmp_path: Path) -> None:
    done = sweep(space(), tmp_path, on_processes(1))
    part = next(tmp_path.glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-100])
    assert rows_of(part) is None
    again = sweep(space(), tmp_path, on_processes(1))
    assert (again.found, again.digest) == (0, done.digest)


def test_a_full_disk_leaves_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = space(workloads=({"input_tokens": (1000, 2000), "output_tokens": (100,)},))
    calls, flush = [], os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 4:  # two files with their folder
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"Cannot write to .*: No space left on device\. Finished parts are kept"):
        sweep(wide, tmp_path, on_processes(1))
    monkeypatch.undo()
    parts = list(tmp_path.glob("*.parquet"))
    assert len(parts) == 1
    assert rows_of(parts[0])
    assert list(tmp_path.glob(".*")) == []
    assert sweep(wide, tmp_path, on_processes(1)).found == 1


def test_what_a_killed_driver_left_is_swept_away(tmp_path: Path) -> None:
    old, new = tmp_path / ".a.parquet-1.tmp", tmp_path / ".b.parquet-2.tmp"
    old.write_text("")
    new.write_text("")
    os.utime(old, (0, 0))
    Folder(tmp_path).begin(space(), [])
    assert not old.exists()
    assert new.exists()


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="cannot be made a folder"):
        Folder(tmp_path / "out").begin(space(), [])


@pytest.mark.parametrize(
    ("sql", "told"),
    [("SELECT chp FROM results", '"chip"'), ("SELEC 1", "syntax error"), ("SELECT 1 FROM result", "results")],
)
def test_bad_sql_is_one_line(tmp_path: Path, sql: str, told: str) -> None:
    sweep(space(), tmp_path, on_processes(1))
    with pytest.raises(InputError) as caught:
        query(tmp_path, sql)
    assert told in str(caught.value)
    assert "LINE" not in str(caught.value)


def test_what_is_no_number_in_an_answer_is_none(tmp_path: Path) -> None:
    sweep(space(), tmp_path, on_processes(1))
    told = query(tmp_path, "SELECT 'nan'::FLOAT, -1e0/0, [1.0, 'inf'::FLOAT], {'a': 'nan'::FLOAT}, 'x', 2")
    assert told.rows == [(None, None, [1.0, None], {"a": None}, "x", 2)]
    assert query(tmp_path, "SELECT * FROM range(3)", 2).more
    assert not query(tmp_path, "SELECT * FROM range(2)", 2).more
    assert query(tmp_path, "SET threads = 1").rows == []
    for nothing in ("", " ; ", "/* nothing */"):
        with pytest.raises(InputError, match="Give a query of the table results"):
            query(tmp_path, nothing)


def test_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of a sweep"):
        query(tmp_path, "SELECT 1")


def test_missing_extras_name_their_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(space(), tmp_path, on_processes(1))
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'silicast\[sweep\]'"):
        query(tmp_path, "SELECT 1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'silicast\[sweep\]'"):
        sweep(space(), tmp_path, on_processes(1))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'silicast\[ray\]'"):
        on_ray("here")


def test_the_defaults_are_those_of_the_planner() -> None:
    assert DeploymentsTable().mtp_acceptance == planner.ACCEPTED
    with pytest.raises(NotFoundError):
        space(models=("no/model",)).check()
