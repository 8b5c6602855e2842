"""A leap over equal steps is those steps, and compiled code is the same code."""

import numpy as np
import pytest
from hypothesis import given, settings

from silicast.serving.outcome import Served
from silicast.serving.simulate import simulate
from tests.serving.traffic import Case, cases

COLUMNS = ("arrival", "dispatched", "first_token", "finished")
COUNTS = ("state", "preemptions", "cached_tokens", "host_tokens", "remote_tokens")


def run(case: Case, **options: bool) -> Served:
    return simulate(case.traffic, case.surface, case.limits, case.policy, case.loop, **case.options, **options)


def same(one: Served, other: Served, tolerance: float) -> None:
    for name in COLUMNS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance)
    for name in COUNTS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def percentile(out: Served, name: str, q: float) -> float:
    values = getattr(out, name)
    return float(np.percentile(values[np.isfinite(values)], q)) if np.isfinite(values).any() else 0.0


def leaps_are_steps(leaping: Served, stepping: Served) -> None:
    """The same requests, percentiles and gaps, in no more events."""
    same(leaping, stepping, 1e-9)
    for name in ("ttft", "tpot", "e2e"):
        for q in (1, 50, 90, 99):
            assert percentile(leaping, name, q) == pytest.approx(percentile(stepping, name, q), rel=1e-9)
    assert leaping.gaps.weights.sum() == stepping.gaps.weights.sum()
    assert leaping.gaps.percentile(99) == pytest.approx(stepping.gaps.percentile(99), rel=2e-3, nan_ok=True)
    assert leaping.events <= stepping.events


@settings(max_examples=150, deadline=None)
@given(cases())
def test_leaping_is_stepping(case: Case) -> None:
    leaping, stepping = run(case, compile=False), run(case, compile=False, leaps=False)
    leaps_are_steps(leaping, stepping)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_compiled_code_makes_the_same_events(case: Case) -> None:
    pytest.importorskip("numba")
    compiled, plain = run(case, compile=True), run(case, compile=False)
    same(compiled, plain, 1e-12)
    assert compiled.events == plain.events
    np.testing.assert_allclose(compiled.gaps.weights, plain.gaps.weights)
