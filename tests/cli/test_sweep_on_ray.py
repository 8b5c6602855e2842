"""`silicast sweep --ray` on a local cluster of two nodes, each a `ray start` of its own, and what is killed there."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from silicast.sweep.processes import on_processes
from silicast.sweep.run import Swept, sweep
from silicast.sweep.space import read_space
from tests.cli.program import spawn
from tests.cli.sweeps import CHUNKS, below, commanded, kill, parts, started, until, until_parts, written

pytest.importorskip("ray", reason="the extra ray is not installed")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")

#: the cluster lives on the loopback device for the length of the tests and leaves no token in the user's home
SETTING = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


class Cluster:
    """A head and a second node, with one CPU each."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{door.getsockname()[1]}"
        self.environment = {"HOME": str(folder), **SETTING}
        port = self.address.rpartition(":")[2]
        self.nodes = [
            self._start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"),
        ]
        until(self._answers, "the start of the head")
        self.nodes.append(self._start(f"--address={self.address}"))

    def _start(self, *options: str) -> "subprocess.Popen[bytes]":
        ray = str(Path(sys.executable).with_name("ray"))
        return subprocess.Popen(
            [ray, "start", *options, "--node-ip-address=127.0.0.1", "--num-cpus=1", "--disable-usage-stats", "--block"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **self.environment},
        )  # fmt: skip

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with socket.socket() as door:
            return door.connect_ex((host, int(port))) == 0

    def workers(self) -> list[int]:
        """Processes that evaluate chunks."""
        return [one for node in self.nodes for one in below(node.pid) if commanded(one).startswith("ray::evaluate")]

    def kill(self) -> None:
        """Both nodes with all that they have started."""
        every = [one for node in self.nodes for one in (node.pid, *below(node.pid))]
        kill(*every)
        for node in self.nodes:
            node.wait()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # the sockets below need a short path
    made = Cluster(folder)
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The sweep that nothing disturbs, on one process."""
    folder = tmp_path_factory.mktemp("reference")
    return sweep(read_space(written(folder)), folder / "out", on_processes(1))


def begun(cluster: Cluster, tmp_path: Path) -> Any:
    running = started(written(tmp_path), tmp_path / "out", "--ray", cluster.address, **cluster.environment)
    until_parts(tmp_path / "out")
    return running


def test_two_nodes_find_the_same_although_workers_are_killed(
    cluster: Cluster, tmp_path: Path, reference: Swept
) -> None:
    running = begun(cluster, tmp_path)
    until(lambda: bool(cluster.workers()), "a worker")
    kill(*cluster.workers())
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert reference.digest in out


def test_a_killed_driver_and_a_killed_cluster_lose_no_part(cluster: Cluster, tmp_path: Path, reference: Swept) -> None:
    driver = begun(cluster, tmp_path)
    kill(driver.pid)
    driver.communicate(timeout=60)
    first = parts(tmp_path / "out")
    assert 0 < len(first) < CHUNKS

    again = started(tmp_path / "space.toml", tmp_path / "out", "--ray", cluster.address, **cluster.environment)
    until_parts(tmp_path / "out", len(first) + 4)
    cluster.kill()
    _, err = again.communicate(timeout=120)
    assert again.returncode == 1
    assert err.splitlines()[-1].startswith("silicast: The Ray cluster")
    assert err.endswith("Finished parts are kept: run the same command again.\n")
    assert "Traceback" not in err
    second = parts(tmp_path / "out")
    assert len(first) + 4 <= len(second) < CHUNKS
    assert {name: second[name] for name in first} == first

    ran = spawn("sweep", str(tmp_path / "space.toml"), "--output", str(tmp_path / "out"), "--processes", "1")
    assert reference.digest in ran.out
    assert f"{len(second)} of them from before" in ran.out
    last = parts(tmp_path / "out")
    assert {name: last[name] for name in second} == second
