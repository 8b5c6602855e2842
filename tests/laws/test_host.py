"""Properties of the host law."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from silicast.laws.host import host_time

seconds = st.floats(0, 0.1)
batches = st.lists(st.integers(0, 4096), min_size=1, max_size=8)


@given(batches, seconds, seconds)
def test_the_host_takes_its_step_and_no_less(sequences: list[int], step: float, per_sequence: float) -> None:
    found = np.asarray(host_time(np.array(sequences, dtype=float), step, per_sequence))
    assert np.all(found >= step)
    assert np.all(np.isfinite(found))
    assert host_time(0.0, step, per_sequence) == step


@given(st.integers(0, 4096), st.integers(0, 4096), seconds, seconds)
def test_more_sequences_are_never_faster_and_cost_alike(few: int, more: int, step: float, per_sequence: float) -> None:
    alone = host_time(float(few), step, per_sequence)
    together = host_time(float(few + more), step, per_sequence)
    assert together >= alone
    assert np.isclose(together - alone, host_time(float(more), 0.0, per_sequence), rtol=1e-9, atol=1e-12)


@given(batches, seconds, seconds, st.floats(1, 10))
def test_a_slower_host_is_never_faster(sequences: list[int], step: float, per_sequence: float, factor: float) -> None:
    load = np.array(sequences, dtype=float)
    before = np.asarray(host_time(load, step, per_sequence))
    assert np.all(host_time(load, step * factor, per_sequence) >= before)
    assert np.all(host_time(load, step, per_sequence * factor) >= before)


@given(batches, seconds, seconds)
def test_an_array_is_its_rows(sequences: list[int], step: float, per_sequence: float) -> None:
    together = np.asarray(host_time(np.array(sequences, dtype=float), step, per_sequence))
    assert together.tolist() == [host_time(float(one), step, per_sequence) for one in sequences]
