"""Properties of attention, scans and vector operators."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from silicast.laws.attention import AttentionEngine, Scores, attention_time, scan_time
from silicast.laws.vector import vector_time
from silicast.model.ops import attended_pairs
from tests.strategies import engines, faster, launches, rates

EXACT = 1 + 1e-9
work = st.builds(Scores, flops=rates(1e3, 1e16), scores=rates(1, 1e13), longest=rates(1, 1e12), moved=rates(1, 1e12))


@given(work, engines, launches)
def test_attention_lies_between_its_roofs_and_their_sum(scores, engine, launch):
    timing = attention_time(scores, engine, launch)
    roofs = (scores.flops / engine.matrix, scores.scores / engine.scores, scores.moved / engine.bandwidth)
    assert timing.total * EXACT >= launch + max(roofs)
    assert timing.total <= (timing.matrix + timing.vector + timing.memory + timing.fixed) * EXACT


@given(work, engines, launches, st.sampled_from(["matrix", "scores", "bandwidth"]), st.floats(1, 10))
def test_a_faster_engine_is_never_slower(scores, engine, launch, which, factor):
    before = attention_time(scores, engine, launch).total
    assert attention_time(scores, faster(engine, which, factor), launch).total <= before * EXACT


@given(work, engines, launches, st.sampled_from(["flops", "scores", "longest", "moved"]), st.floats(1, 10))
def test_more_work_is_never_faster(scores, engine, launch, which, factor):
    before = attention_time(scores, engine, launch).total
    assert attention_time(faster(scores, which, factor), engine, launch).total * EXACT >= before


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300))
def test_attended_pairs_equal_the_sum_over_queries(query, context, limit):
    expected = sum(min(context + i, limit) for i in range(1, query + 1))
    assert attended_pairs(query, context, float(limit)) == expected
    assert attended_pairs(query, context, float("inf")) == sum(context + i for i in range(1, query + 1))


def test_attention_by_hand():
    """Causal 4,096 x 4,096, 128 heads of 192 + 128: 2 x 8,390,656 x 128 x 320 FLOPs at 500 TFLOPS."""
    pairs = attended_pairs(4096, 0, float("inf"))
    assert pairs == 4096 * 4097 / 2
    engine = AttentionEngine(matrix=500e12, scores=1e30, cores=1.0, bandwidth=1e30)
    flops = 2 * pairs * 128 * 320
    assert np.isclose(attention_time(Scores(flops, 1.0, 0.0, 1.0), engine, 0.0).total, flops / 500e12)


@given(rates(1, 1e15), rates(1, 1e12), rates(1e12, 1e16), rates(1e10, 1e13), launches)
def test_scans_and_vectors_are_rooflines(flops, moved, rate, bandwidth, launch):
    for timing in (
        scan_time(flops, moved, rate, bandwidth, launch),
        vector_time(flops, moved, rate, bandwidth, launch),
    ):
        assert timing.total * EXACT >= launch + max(flops / rate, moved / bandwidth)
        assert timing.total <= (launch + flops / rate + moved / bandwidth) * EXACT
