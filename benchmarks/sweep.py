"""Sweeps on two processes: wall time, deployments/s, peak memory of all processes: `python benchmarks/sweep.py`.

Planning over 64 candidate systems (a chip in a system) means the best of each by SQL over all of their deployments.
Memory is the largest sum of the resident sizes of driver and workers, looked at every 50 ms; pages that they share
count in each of them.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from silicast import catalog
from silicast.sweep.chunks import chunks
from silicast.sweep.results import query
from silicast.sweep.space import read_space

SILICAST = str(Path(sys.executable).with_name("silicast"))
PROCESSES = 2
#: chips, each in its own system and in a plain node of eight
CHIPS, NODE = 32, "eight-device-node"
BEST = """
SELECT chip, system, arg_max(devices, output_tokens_per_s_per_device), max(output_tokens_per_s_per_device)
FROM results WHERE tpot_ms <= 50 AND ttft_ms <= 2000 GROUP BY chip, system ORDER BY 4 DESC
"""
SPACE = """
models = ["deepseek-ai/DeepSeek-R1"]
chips = {chips}
systems = ["own", "{node}"]
[workloads]
input_tokens = {lengths}
output_tokens = 1024
[deployments]
max_devices = 128
"""


def main() -> None:
    """Print every figure."""
    measured("64 systems, goal 1,000,000 deployments in < 60 s and < 2 GB", [4096])
    measured("64 systems x 5 workloads, goal 10,000,000 deployments in < 2 GB", [1024, 2048, 4096, 8192, 16384])


def measured(name: str, lengths: list[int]) -> None:
    """Sweep in a folder that is thrown away, then ask for the best of each system."""
    chips = [one.id for one in catalog.shipped_chips() if one.kind == "datacentre" and one.system != NODE][:CHIPS]
    with tempfile.TemporaryDirectory() as folder:
        space, out = Path(folder) / "space.toml", Path(folder) / "out"
        space.write_text(SPACE.format(chips=chips, node=NODE, lengths=lengths))
        systems = {(chunk.chip, chunk.system) for chunk in chunks(read_space(space))}
        swept, memory = run("sweep", str(space), "--output", str(out), "--processes", str(PROCESSES))
        asked, more = run("results", BEST, "--folder", str(out), "--json")
        rows = query(out, "SELECT count(*) FROM results WHERE fit").rows[0][0]
        size = sum(part.stat().st_size for part in out.iterdir())
    print(f"{name}: {rows:,} deployments in {len(systems)} systems: swept in {swept:.1f} s "
          f"({rows / swept / PROCESSES:,.0f} deployments/s per core), peak {memory / 1e9:.2f} GB; the best of each by "
          f"SQL in {asked:.1f} s, peak {more / 1e9:.2f} GB; {size / 1e6:,.0f} MB of parts")  # fmt: skip


def run(*words: str) -> tuple[float, int]:
    """Wall seconds and peak bytes of `silicast ...` with its workers."""
    start = time.perf_counter()
    with subprocess.Popen([SILICAST, *words], stdout=subprocess.DEVNULL) as process:
        memory = Memory(process.pid)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - start, memory.most


@dataclass
class Memory:
    """Peak resident bytes of a process and those below it, until it ends."""

    process: int
    most: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while resident := sum(_resident(one) for one in (self.process, *_below(self.process))):
            self.most = max(self.most, resident)
            time.sleep(0.05)


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _below(process: int) -> list[int]:
    try:
        own = [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return own + [one for child in own for one in _below(child)]


if __name__ == "__main__":
    main()
