"""Performance figures, one line each with its unit: `make bench`. Medians; the peer is timed in the same run.

Limits, written down before optimising. One R1 decode step has about 45 operators of about 25 array operations each:
1,100 operations per deployment, at about 1 ns per element and operation 1.1 us, that is 0.9 M deployment-steps/s on one
core. Starting Python takes 15 ms, importing numpy and pydantic 150 ms.
"""

import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import silicast
from silicast.planning.choose import drawn
from silicast.planning.deployments import Margin, deployments, within
from silicast.planning.economics import bill
from silicast.planning.question import Budget, Question
from silicast.planning.units import Space, units
from silicast.planning.variants import Variant

SILICAST = str(Path(sys.executable).with_name("silicast"))
MODEL = "deepseek-ai/DeepSeek-R1"
#: one question to two planners
PLANNED = ("--chip", "h200-sxm", "--devices", "64", "--rate", "10")
PEER_PLANNED = ("--model-path", MODEL, "--total-gpus", "64", "--system", "h200_sxm", "--backend", "sglang",
                "--isl", "4096", "--osl", "1024", "--ttft", "2000", "--tpot", "50")  # fmt: skip
ROWS = 2048


def main() -> None:
    """Print every figure."""
    report("silicast --help, wall", command(SILICAST, "--help"), "s", "goal < 0.4")
    compare = command(SILICAST, "compare", MODEL, "ascend-910c", "h100-sxm", "--packages", "32", "--claim", "0.6")
    report("silicast compare, two chips, cold, wall", compare, "s", "goal < 1.5")
    points = silicast.pool_model(MODEL, "h100-sxm")
    report("one forecast, points, warm", warm(lambda: one(points)) * 1e3, "ms", "goal < 5")
    draws = drawn(points, 256)
    report("one forecast, 256 draws, warm", warm(lambda: one(draws)) * 1e3, "ms", "goal < 50")
    rate = deployment_steps_per_s(points)
    report("forecast_many, R1 decode step and memory fit, one core", rate, "deployment-steps/s", "goal >= 250,000")
    wall, cpu = spent(SILICAST, "plan", MODEL, *PLANNED)
    report(
        "silicast plan, one system of 64 devices, short list simulated, wall", wall, "s", f"goal < 5; CPU {cpu:.1f} s"
    )
    wall, cpu = spent(SILICAST, "plan", MODEL, "--rate", "10", runs=1)
    report("silicast plan, all datacentre chips on sale, wall", wall, "s", f"CPU {cpu:.0f} s")
    rate, pairs = planned_per_s(points)
    report("plan, mixed pools end to end, one core", rate, "deployments/s", "goal >= 20,000")
    report("plan, pairs of pools, one core", pairs, "deployments/s", "goal >= 100,000")
    report("installed size of the core", installed_mb(), "MB", "goal < 150")
    peer()


def planned_per_s(pool: silicast.PoolModel) -> tuple[float, float]:
    """Deployments/s of a search: memory fit, prefill and decode steps, steady state, cost; mixed pools, then all."""
    question = Question(silicast.Workload(4096, 1024, rate=10.0), silicast.Targets(2000.0, 50.0), Budget(devices=64))
    variants = [Variant(pool, bill(pool.machine.chip, pool.machine.system))]

    def search(split: bool) -> int:
        every = units(Space.of(variants, question), question, split)
        assert every is not None
        margin = Margin.none(1).of(np.zeros(len(every), dtype=int))
        return int(within(deployments(every, variants, question, margin), question).size)

    mixed, both = search(False), search(True)
    return mixed / warm(lambda: search(False), 5), both / warm(lambda: search(True), 5)


def report(name: str, value: float, unit: str, note: str) -> None:
    """One line per figure."""
    print(f"{name}: {value:,.3g} {unit} ({note})" if value < 1000 else f"{name}: {value:,.0f} {unit} ({note})")


def command(*words: str, runs: int = 7) -> float:
    """Median wall seconds of a whole process."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def spent(*words: str, runs: int = 3) -> tuple[float, float]:
    """Median wall and CPU seconds of a whole process, after one run that fills caches of compiled code."""
    times = []
    for _ in range(runs + (runs > 1)):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append((wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    walls, cpus = zip(*times[runs > 1 :], strict=True)
    return statistics.median(walls), statistics.median(cpus)


def warm(call: Callable[[], object], runs: int = 31) -> float:
    """Median seconds of a call after one to warm up."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def one(pool: silicast.PoolModel) -> object:
    """A closed-loop forecast of one deployment: a decode step, a prefill step and the fixed point."""
    layout = silicast.Layout(tp=8, ep=8, attention_dp=2, pp=1).arrays()
    return pool.closed(layout, silicast.Workload(4096, 1024), np.array([16.0]))


def deployment_steps_per_s(pool: silicast.PoolModel, seconds: float = 4.0) -> float:
    """R1 decode steps with all operators, collectives and the memory fit, of random deployments, per second."""
    random = np.random.default_rng(1)
    tp = random.choice([1.0, 2, 4, 8], ROWS)
    attention_dp = random.choice([1.0, 2, 4, 8, 16, 32], ROWS)
    layout = silicast.Layout(tp=tp, ep=tp * attention_dp, attention_dp=attention_dp)
    load = silicast.Load(
        decode_sequences=random.integers(1, 512, ROWS).astype(float),
        decode_context=random.integers(128, 32768, ROWS).astype(float),
    )
    silicast.forecast_many(pool, layout, load, load.decode_context)
    calls, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        silicast.forecast_many(pool, layout, load, load.decode_context)
        calls += 1
    return calls * ROWS / spent


def installed_mb() -> float:
    """Size of a fresh environment with the core dependencies, without pip itself."""
    folder = Path("build/bench-venv")
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    empty = _size_mb(folder)
    pip = [str(folder / "bin" / "pip"), "install", "-q", "."]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    size = _size_mb(folder) - empty
    shutil.rmtree(folder, ignore_errors=True)
    return size


def _size_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def peer() -> None:
    """The nearest peer on the same question, where it is installed (`pip install aiconfigurator==0.12.0`)."""
    found = shutil.which("aiconfigurator")
    if not found:
        print("peer: aiconfigurator is not on PATH, not timed")
        return
    own, theirs = spent(SILICAST, "plan", MODEL, *PLANNED), spent(found, "cli", "default", *PEER_PLANNED, runs=1)
    told = f"CPU {theirs[1]:.0f} s; ours {own[0]:.1f} s, CPU {own[1]:.1f} s"
    report("a plan for 64 devices from the command line, aiconfigurator 0.12, wall", theirs[0], "s", told)
    words = (found, "cli", "estimate", "--model", MODEL, "--system", "h100_sxm", "--isl", "4096", "--osl", "1024")
    ours = command(SILICAST, "forecast", MODEL, "h100-sxm", "--devices", "16", runs=3)
    its = command(*words, runs=3)
    report("one estimate from the command line, aiconfigurator 0.12, wall", its, "s", f"ours {ours:.2f} s")


if __name__ == "__main__":
    main()
