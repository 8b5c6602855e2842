"""Figures of the traffic and of the reports of a simulation, one line each: `python benchmarks/traffic.py`.

Limits, written down before optimising: memory reads text at some GB/s, so a line of 20 bytes could take 10 ns; numpy
needs about 20 passes over it. A request of a trace is a dozen numbers of 8 bytes.
"""

import gzip
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from silicast.serving.measures import Rows, Slo, summary
from silicast.simulation import draw, scenario_of
from silicast.traces import read_trace

COUNT = 1_000_000


def main() -> None:
    """Print every figure."""
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files(Path(folder)).items():
            report(f"read {name}", lambda path=path: read_trace(path), lines(path))
    asked = scenario()
    report("draw Poisson arrivals with lognormal lengths", lambda: draw(asked), COUNT)
    rows = answered()
    report("measures of a run", lambda: summary(rows, Slo(500.0, 50.0)), COUNT)


def report(name: str, call: Callable[[], Any], count: int) -> None:
    """The best of three, per second."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(f"{name}: {count / min(times) / 1e6:.2f} M requests/s ({min(times):.2f} s)")


def files(folder: Path) -> dict[str, Path]:
    """A trace of each kind of file."""
    random = np.random.default_rng(1)
    times = np.cumsum(random.exponential(0.01, COUNT)).tolist()
    sizes = random.integers(1, 5000, (COUNT, 2)).tolist()
    text = "arrival_s,input_tokens,output_tokens\n"
    text += "".join(f"{at:.6f},{size[0]},{size[1]}\n" for at, size in zip(times, sizes, strict=True))
    found = {name: folder / name for name in ("trace.csv", "trace.csv.gz", "trace.jsonl")}
    found["trace.csv"].write_text(text)
    found["trace.csv.gz"].write_bytes(gzip.compress(text.encode(), 1))
    rows = (
        {"timestamp": place, "input_length": 2048, "output_length": 9, "hash_ids": [place, 1, 2, 3]}
        for place in range(COUNT // 5)
    )
    found["trace.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return found


def lines(path: Path) -> int:
    """Requests of a file."""
    return COUNT // 5 if path.suffix == ".jsonl" else COUNT


def scenario() -> Any:
    """A million requests."""
    law = {"kind": "lognormal", "mean": 1000, "spread": 1.0}
    traffic = {"arrivals": {"kind": "poisson", "rate": 10.0}, "input_tokens": law, "output_tokens": law}
    return scenario_of(
        {"requests": COUNT, "traffic": traffic, "deployment": {"model": "any", "pools": [{"chip": "any"}]}}
    )


def answered() -> Rows:
    """A run in which all were answered."""
    random = np.random.default_rng(2)
    arrival = np.cumsum(random.exponential(0.01, COUNT))
    first = arrival + random.exponential(0.3, COUNT)
    outputs = random.integers(1, 400, COUNT)
    none = np.zeros(COUNT, dtype=np.int64)
    return Rows(arrival, arrival, first, first + 0.02 * (outputs - 1), none + 900, outputs, none, none, none + 1)


if __name__ == "__main__":
    main()
