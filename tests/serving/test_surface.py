"""The tables say what the laws say."""

import numpy as np
import pytest

from silicast.scenario import Layout, Load
from silicast.serving.surface import (
    Prompts,
    Surface,
    compile_surface,
    decode_seconds,
    knot,
    step_seconds,
    uneven_decode_seconds,
    uneven_step_seconds,
)
from silicast.tabulated import tabulate
from tests.serving.traffic import seconds
from tests.unit.pools import LLAMA, QWEN, R1, pool

POOLS = [
    (R1, "h200-sxm", Layout(tp=8, ep=8)),
    (LLAMA, "h100-sxm", Layout(tp=4)),
    (QWEN, "mi300x", Layout(tp=8, ep=8)),
    (R1, "ascend-910c", Layout(tp=1, ep=32, attention_dp=32)),
]
COUNT = 2000


def steps(random: np.random.Generator, most_sequences: int, most_tokens: int) -> Load:
    """Steps of all kinds: decodes, prompts, both; one to five prompts, half of them with context."""
    kind = random.integers(0, 3, COUNT)
    prompts, decodes = kind != 0, kind != 1
    side = random.choice([1, 1, 1, 2, 3, 5], COUNT)
    # a lone token is no two microbatches: a step of its own kind, which the tables do not tell apart
    tokens = np.maximum(_spread(random, 2, most_tokens) // side, 2)
    behind = np.where(random.random(COUNT) < 0.5, 0, _spread(random, 64, 16384))
    batch = random.integers(1, most_sequences + 1, COUNT)
    return Load(
        side * prompts, tokens * prompts, behind * prompts, batch * decodes, _spread(random, 64, 16384) * decodes
    )


def _spread(random: np.random.Generator, low: float, high: float) -> np.ndarray:
    return np.floor(np.exp(random.uniform(np.log(low), np.log(high), COUNT)))


def read(surface: Surface, load: Load) -> np.ndarray:
    found = []
    columns = (
        load.prefill_sequences,
        load.prefill_tokens,
        load.prefill_context,
        load.decode_sequences,
        load.decode_context,
    )
    for s, p, k, batch, context in zip(*(np.asarray(column).tolist() for column in columns), strict=True):
        prompts = Prompts(int(s * p), int(s), s * p * (k + (p + 1) / 2), int(s * k))
        found.append(step_seconds(surface, int(batch), context, prompts))
    return np.array(found)


@pytest.mark.parametrize(("model", "chip", "layout"), POOLS)
def test_the_tables_are_within_one_percent_of_the_laws(model: str, chip: str, layout: Layout) -> None:
    points = pool(model, chip)
    ready = tabulate(points, layout, 1 << 15)
    load = steps(np.random.default_rng(1), min(ready.limits.sequences, 512), ready.limits.step_tokens)
    wide = Load(*(np.asarray(getattr(load, name), dtype=float) for name in (
        "prefill_sequences", "prefill_tokens", "prefill_context", "decode_sequences", "decode_context")))  # fmt: skip
    truth = points.staged_step(wide, layout.arrays()).seconds
    error = np.abs(read(ready.surface, load) / truth - 1)
    shown = [f"{value:.3%}" for value in (error.mean(), *np.quantile(error, [0.5, 0.95, 1.0]))]
    print(f"{model} on {chip}: error mean {shown[0]}, median {shown[1]}, 95 % below {shown[2]}, largest {shown[3]}")
    assert error.mean() < 0.003
    assert np.quantile(error, 0.95) < 0.01
    # several prompts of few tokens behind long contexts, between two knots
    assert error.max() < 0.06


def test_decode_batches_are_exact_at_knots_and_steps_are_exact_for_one_prompt() -> None:
    surface = compile_surface(seconds, 32, 512, 4096)
    for batch in (1, 3, 4, 5, 31, 32):
        for context in surface.contexts:
            exact = seconds(Load(0, 0, 0, batch, context))
            assert decode_seconds(surface, batch, context) == pytest.approx(float(exact), rel=1e-12)
    for tokens in (1, 16, 63, 64, 65, 80):
        exact = seconds(Load(1, tokens, 0, 0, 0))
        found = step_seconds(surface, 0, 0.0, Prompts(tokens, 1, tokens * (tokens + 1) / 2, 0))
        assert found == pytest.approx(float(exact), rel=1e-12)


UNEVEN = [(R1, "h200-sxm", Layout(ep=8, attention_dp=8)), (R1, "ascend-910c", Layout(ep=32, attention_dp=32))]


@pytest.mark.parametrize(("model", "chip", "layout"), UNEVEN)
def test_uneven_ranks_take_what_the_laws_say(model: str, chip: str, layout: Layout) -> None:
    """A rank with its own tokens, and experts that see the mean of all ranks."""
    points, random = pool(model, chip), np.random.default_rng(2)
    ready = tabulate(points, layout, 1 << 15)
    share = np.exp(random.uniform(np.log(1 / layout.attention_dp), np.log(4), COUNT))
    tokens = _spread(random, 16, ready.limits.step_tokens)
    batch = random.integers(1, min(ready.limits.sequences, 512), COUNT).astype(float)
    one, none = np.ones(COUNT), np.zeros(COUNT)
    prefill = Load(one, tokens, none, none, none, prefill_share=share)
    decode = Load(none, one, none, batch, none + 4096, decode_share=share)
    prompts, decodes = [], []
    for p, B, at in zip(tokens.astype(int), batch.astype(int), share, strict=True):
        one_prompt = Prompts(int(p), 1, p * (p + 1) / 2, 0)
        prompts.append(uneven_step_seconds(ready.surface, 0, 0.0, one_prompt, p * at))
        alone = decode_seconds(ready.surface, int(B), 4096)
        decodes.append(alone + uneven_decode_seconds(ready.surface, int(B), B * at))
    for load, found in ((prefill, prompts), (decode, decodes)):
        truth = points.staged_step(load, layout.arrays()).seconds
        error = np.abs(np.array(found) / truth - 1)
        print(f"{model} on {chip}, uneven ranks: error mean {error.mean():.3%}, largest {error.max():.3%}")
        assert error.mean() < 0.003
        assert np.quantile(error, 0.95) < 0.01


def test_a_batch_runs_as_the_next_captured_one() -> None:
    def only(load: Load) -> np.ndarray:
        return 1.0 + np.asarray(load.decode_sequences) + 0 * np.asarray(load.prefill_tokens)

    surface = compile_surface(only, 12, 16, 64, graph_batches=(1, 2, 4, 8))
    found = [decode_seconds(surface, batch, 20.0) - 1 for batch in range(1, 13)]
    assert found == [1, 2, 4, 4, 8, 8, 8, 8, 9, 10, 11, 12]


def test_knots_are_found() -> None:
    knots = np.array([0.0, 1.0, 4.0, 9.0])
    assert [knot(knots, value) for value in (-1, 0, 0.5, 1, 3, 4, 8.9, 9, 100)] == [0, 0, 0, 1, 1, 2, 2, 2, 2]
