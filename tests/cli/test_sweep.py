"""`silicast sweep` and `silicast results` as programs: resumed, interrupted, killed, on a full disk."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from silicast.sweep.parts import rows_of
from silicast.sweep.processes import on_processes
from silicast.sweep.run import Swept, sweep
from silicast.sweep.space import read_space
from tests.cli.program import program, run, spawn
from tests.cli.sweeps import CHUNKS, FEW, below, commanded, kill, parts, started, until, until_parts, written

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The sweep that nothing disturbs, on one process."""
    folder = tmp_path_factory.mktemp("reference")
    return sweep(read_space(written(folder)), folder / "out", on_processes(1))


def workers(process: int) -> list[int]:
    """The worker processes of a sweep."""
    return [one for one in below(process) if "spawn_main" in commanded(one)]


def test_a_sweep_is_told_and_queried(tmp_path: Path) -> None:
    space, out = written(tmp_path, 1), tmp_path / "out"
    ran = run("sweep", str(space), "--output", str(out), "--processes", "1")
    assert (ran.code, ran.err) == (0, "")
    assert "rows in 3 parts" in ran.out
    told = run("sweep", str(space), "--output", str(out), "--processes", "1", "--json").document()
    assert told["result"]["found"] == told["result"]["parts"] == 3
    assert told["result"]["digest"] in ran.out
    sql = "SELECT output_tokens, count(*) AS many, max(tpot_ms) AS tpot FROM results GROUP BY 1 ORDER BY 1"
    rows = run("results", sql, "--folder", str(out), "--json").document()["result"]
    assert [row["output_tokens"] for row in rows] == [100, 200, 300]
    assert sum(row["many"] for row in rows) == told["result"]["rows"]
    shown = run("results", sql, "--folder", str(out))
    assert shown.out.splitlines()[0].split() == ["output_tokens", "many", "tpot"]
    wide = run("results", "SELECT * FROM results LIMIT 1", "--folder", str(out))
    assert max(map(len, wide.out.splitlines())) <= 100
    assert "usd_per_million_output_tokens" in wide.out
    many = run("results", "SELECT tp FROM results", "--folder", str(out)).out.splitlines()
    assert len(many) == 102
    assert many[-1].startswith("The first 100 rows")


def test_two_processes_find_the_same(tmp_path: Path, reference: Swept) -> None:
    ran = spawn("sweep", str(written(tmp_path)), "--output", str(tmp_path / "out"), "--processes", "2")
    assert ran.code == 0, ran.err
    assert reference.digest in ran.out


def test_killed_workers_lose_nothing(tmp_path: Path, reference: Swept) -> None:
    running = started(written(tmp_path), tmp_path / "out", "--processes", "2")
    until_parts(tmp_path / "out")
    first = workers(running.pid)
    assert len(first) == 2
    kill(first[0])
    before = parts(tmp_path / "out")
    until(lambda: bool(set(workers(running.pid)) - set(first)), "new workers")
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert reference.digest in out
    assert {name: parts(tmp_path / "out")[name] for name in before} == before


def test_a_killed_driver_is_resumed_and_leaves_no_workers(tmp_path: Path, reference: Swept) -> None:
    space, out = written(tmp_path), tmp_path / "out"
    running = started(space, out, "--processes", "2")
    until_parts(out)
    orphans = workers(running.pid)
    kill(running.pid)
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    until(lambda: not any(map(commanded, orphans)), "the end of the workers")
    before = parts(out)
    assert FEW <= len(before) < CHUNKS
    assert all(rows_of(out / name) for name in before)
    again = spawn("sweep", str(space), "--output", str(out), "--processes", "2")
    assert reference.digest in again.out
    assert f"{len(before)} of them from before" in again.out
    assert {name: parts(out)[name] for name in before} == before


def test_an_interrupt_is_one_line(tmp_path: Path) -> None:
    running = started(written(tmp_path), tmp_path / "out", "--processes", "2")
    until_parts(tmp_path / "out")
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "")
    assert out.startswith("Stopped. Finished parts are in")


def test_a_chunk_that_kills_every_worker_is_named(tmp_path: Path) -> None:
    running = started(written(tmp_path), tmp_path / "out", "--processes", "2")
    killed = set[int]()
    while running.poll() is None and len(killed) < 20:
        fresh = set(workers(running.pid)) - killed
        kill(*fresh)
        killed |= fresh
        time.sleep(0.05)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert err.startswith("silicast: A worker died 3 times at Qwen/Qwen3-32B on h100-sxm")
    assert err.count("\n") == 1


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare for a small disk")
def test_a_full_disk_is_one_line_and_keeps_what_is_finished(tmp_path: Path) -> None:
    space, disk, kept = written(tmp_path, 3), tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=200k tmpfs "$1" || exit 99; shift; out="$1"; shift; "$@"; code=$?; '
        'cp -a "$out" "$0"; exit $code'
    )
    command = [*program(), "sweep", str(space), "--output", str(disk / "out"), "--processes", "2"]
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(kept), str(disk), str(disk / "out"), *command],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if ran.returncode == 99 or "unshare" in ran.stderr:
        pytest.skip(f"no small disk here: {ran.stderr.strip()}")
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith(f"silicast: Cannot write to '{disk / 'out'}': No space left on device.")
    assert ran.stderr.count("\n") == 1
    finished = list(kept.glob("*.parquet"))
    assert 0 < len(finished) < 9
    assert all(rows_of(part) for part in finished)
    assert list(kept.glob(".*")) == []
    again = run("sweep", str(space), "--output", str(kept), "--processes", "1")
    assert f"{len(finished)} of them from before" in again.out


@contextmanager
def listening() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        yield door.getsockname()[1]


def test_an_address_without_a_cluster_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    monkeypatch.setattr("silicast.sweep.cluster.PATIENCE", 0.5)
    space = str(written(tmp_path, 1))
    with listening() as port:
        silent = run("sweep", space, "--output", str(tmp_path / "out"), "--ray", f"127.0.0.1:{port}")
    assert silent.code == 2
    assert "No Ray cluster answers at" in silent.err
    closed = run("sweep", space, "--output", str(tmp_path / "out"), "--ray", f"127.0.0.1:{port}")
    assert closed.code == 2
    assert "Connection refused" in closed.err
    for address in ("head", "head:port", ":6379"):
        assert "--ray takes HOST:PORT" in run("sweep", space, "--ray", address).err
    assert "not both" in run("sweep", space, "--ray", "--processes", "2").err
    assert not (tmp_path / "out").exists()


def test_a_missing_ray_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    ran = run("sweep", str(written(tmp_path, 1)), "--ray")
    assert ran.code == 1
    assert ran.err == "silicast: --ray needs Ray. Install it with: pip install 'silicast[ray]'\n"
