"""The closed form of the steady state and the simulation answer the same question alike: within 3 %."""

import numpy as np
import pytest

from silicast import api
from silicast.scenario import Layout, Workload
from silicast.serving.requests import ClosedLoop, requests
from silicast.serving.simulate import simulate
from silicast.tabulated import tabulate
from tests.unit.pools import LLAMA, R1

pytest.importorskip("numba")

SPREAD = 0.5
COUNT = 2000
CASES = [
    (LLAMA, "h100-sxm", Layout(tp=4), "vllm", 4, 1000, 200),
    (LLAMA, "h100-sxm", Layout(tp=4), "vllm", 16, 4096, 1024),
    (LLAMA, "h100-sxm", Layout(tp=4), "vllm", 64, 1000, 200),
    (R1, "h200-sxm", Layout(tp=8, ep=8), "vllm", 16, 1000, 200),
    (R1, "h200-sxm", Layout(tp=8, ep=8), "vllm", 64, 512, 512),
    (R1, "h200-sxm", Layout(tp=8, ep=8), "sglang", 16, 4096, 1024),
    (LLAMA, "h100-sxm", Layout(tp=4), "sglang", 16, 512, 512),
]


def lengths(mean: float, random: np.random.Generator) -> np.ndarray:
    """Uniform with a standard deviation of SPREAD times the mean."""
    half = SPREAD * np.sqrt(3)
    return np.maximum(1, np.rint(mean * random.uniform(1 - half, 1 + half, COUNT)))


@pytest.mark.parametrize(("model", "chip", "layout", "stack", "clients", "inputs", "outputs"), CASES)
def test_steady_state_and_simulation_agree(
    model: str, chip: str, layout: Layout, stack: str, clients: int, inputs: int, outputs: int
) -> None:
    pool = api.pool_model(model, chip, api.Setup(stack=stack))
    ready = tabulate(pool, layout, 1 << 15)
    random = np.random.default_rng(1)
    traffic = requests(np.zeros(COUNT), lengths(inputs, random), lengths(outputs, random))
    loop = ClosedLoop(clients)
    out = simulate(traffic, ready.surface, ready.limits, stack, loop, compile=True, host=ready.host)

    start, end = np.quantile(out.finished, [0.1, 0.9])
    middle = (out.finished > start) & (out.finished < end)
    rate = middle.sum() / (end - start)
    tpot = (out.finished - out.first_token)[middle].sum() / (out.output_tokens - 1)[middle].sum()
    means = traffic.input_tokens.mean(), traffic.output_tokens.mean()
    workload = Workload(*means, concurrency=clients, length_spread=SPREAD, requests=COUNT)
    steady = pool.closed(layout.arrays(), workload, np.array([float(clients)]))
    ttft = out.ttft[middle].mean()
    print(f"TPOT {steady.tpot[0] / tpot - 1:+.1%}, rate {steady.requests[0] / rate - 1:+.1%}, "
          f"TTFT {steady.ttft[0] / ttft - 1:+.1%}, busy {steady.busy[0]:.2f}")  # fmt: skip
    assert steady.tpot[0] == pytest.approx(tpot, rel=0.03)
    assert steady.requests[0] == pytest.approx(rate, rel=0.03)
    # with more clients the closed form counts prompts one by one, while a step carries several of them
    if clients <= 16:
        assert steady.ttft[0] == pytest.approx(ttft, rel=0.06)
