"""The simulator beside a peer on one and the same trace, in CPU seconds: `python benchmarks/replay.py [TRACE.jsonl]`.

Two workloads: lognormal lengths without prefix cache on one replica at 80 % of its saturation, and, where a Mooncake
trace is given (`FAST25-release/traces/conversation_trace.jsonl`, 12,031 lines), that on 64 replicas with prefix cache.
The peer is NVIDIA's AISimulate with a Rust engine, timed where `aisimulate` is on PATH (`pip install --only-binary
:all: aisimulate` in an environment of its own). Its start is timed apart, with one request, and not counted; step times
and router are its own, so that only the speeds are compared.
"""

import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import silicast
from silicast.serving.fleet import Fleet, simulate_fleet
from silicast.serving.requests import Requests, requests
from silicast.serving.simulate import simulate
from silicast.tabulated import Tabulated, tabulate
from silicast.traces import read_trace

MODEL, CHIP = "Qwen/Qwen3-32B", "h200-sxm"
#: what the peer calls them, and its name for the format of the lines
THEIR_MODEL, THEIR_CHIP, THEIR_BLOCK = "Qwen/Qwen3-32B-FP8", "h200_sxm", 512
COUNT, ONE = 5000, 1
SHARE = 0.8
REPLICAS = 64
RUNS = 5
#: s, of one run of the peer
PATIENCE = 900


def main() -> None:
    """Print ours, theirs, and the ratio."""
    ready = tabulate(silicast.pool_model(MODEL, CHIP), silicast.Layout(), 1 << 17)
    burst = simulate(traffic(COUNT, 1e4), ready.surface, ready.limits, compile=True)
    rate = SHARE * len(burst.finished) / float(burst.finished.max())
    sent = traffic(COUNT, rate)
    ours = cpu(lambda: simulate(sent, ready.surface, ready.limits, compile=True))
    with tempfile.TemporaryDirectory() as folder:
        own = written(sent, Path(folder) / "lognormal.jsonl")
        compare(f"{COUNT:,} requests on one replica", ours, COUNT, own, 1)
        if len(sys.argv) > 1:
            mooncake(Path(sys.argv[1]), ready)
        else:
            print("Mooncake trace: not given, not replayed")


def mooncake(file: Path, ready: Tabulated) -> None:
    """The trace on 64 replicas behind a prefix-aware router."""
    sent, reading = timed(lambda: read_trace(file).requests)
    fleet = Fleet(REPLICAS, ready.surface, ready.limits)
    run = partial(simulate_fleet, sent, fleet, "prefix-aware", compile=True)
    run()
    ours = cpu(run)
    print(f"{file.name}: {len(sent):,} lines read in {reading:.2f} s, replayed in {ours:.2f} s (goal < 1 s together)")
    compare(f"{file.name} on {REPLICAS} replicas", ours, len(sent), file, REPLICAS)


def compare(what: str, ours: float, count: int, trace: Path, replicas: int) -> None:
    """One line for us, one for the peer."""
    print(f"{what}, ours: {count / ours:,.0f} requests/s ({ours:.3f} s)")
    program = shutil.which("aisimulate")
    if program is None:
        print(f"{what}, peer: aisimulate is not on PATH, not timed")
        return
    with tempfile.TemporaryDirectory() as folder:
        single = written(traffic(ONE, 1.0), Path(folder) / "one.jsonl")
        try:
            start = child(program, single, replicas, folder)
            theirs = child(program, trace, replicas, folder) - start
        except (subprocess.SubprocessError, OSError) as problem:
            print(f"{what}, peer: did not run ({type(problem).__name__})")
            return
    print(
        f"{what}, peer: {count / theirs:,.0f} requests/s ({theirs:.1f} s beside {start:.1f} s of start); "
        f"we are {theirs / ours:,.0f} times as fast"
    )


def child(program: str, trace: Path, replicas: int, folder: str) -> float:
    """CPU seconds of one run of the peer."""
    config = {
        "traffic": {
            "source": {"type": "trace", "format": "mooncake", "paths": [str(trace)], "block_size": THEIR_BLOCK},
            "load": {"type": "trace_timestamps"},
        },
        "engine": {
            "mode": "aggregated", "model": THEIR_MODEL, "hardware": THEIR_CHIP, "backend": "vllm",
            "workers": {"aggregated": {"parallelism": {"replicas": replicas}}},
        },
    }  # fmt: skip
    file = Path(folder) / "prediction.yaml"
    file.write_text(json.dumps(config))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [program, "predict", "--config", str(file), "--output-dir", f"{folder}/out", "--overwrite"]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def written(sent: Requests, file: Path) -> Path:
    """Lines of the Mooncake format, with no prefix in common."""
    blocks = -(-sent.input_tokens // THEIR_BLOCK)
    ends = np.cumsum(blocks)
    with file.open("w") as lines:
        for i in range(len(sent)):
            line = {
                "timestamp": float(sent.arrival[i] * 1e3),
                "input_length": int(sent.input_tokens[i]),
                "output_length": int(sent.output_tokens[i]),
                "hash_ids": list(range(int(ends[i] - blocks[i]), int(ends[i]))),
            }
            lines.write(json.dumps(line) + "\n")
    return file


def traffic(count: int, rate: float) -> Requests:
    """Poisson arrivals, lognormal lengths with means of 1,000 and 200 tokens and a spread of the logarithm of 1."""
    random = np.random.default_rng(1)

    def lengths(mean: float) -> np.ndarray:
        return np.maximum(1, np.rint(mean * np.exp(random.standard_normal(count) - 0.5)))

    return requests(np.cumsum(random.exponential(1 / rate, count)), lengths(1000), lengths(200))


def cpu(call: Callable[[], Any]) -> float:
    """Median CPU seconds of a call."""
    return statistics.median(timed(call)[1] for _ in range(RUNS))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds."""
    start = time.process_time()
    return call(), time.process_time() - start


if __name__ == "__main__":
    main()
