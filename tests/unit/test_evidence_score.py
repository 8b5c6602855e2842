"""Statistics in which a run counts once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.evidence.score import Compared, ranks, score, spearman, weighted_quantile


def compared(piece: str, error: float | None, metric: str = "tpot_ms", measured: float = 10.0) -> Compared:
    forecast = None if error is None else measured * (1 + error)
    return Compared(piece, metric, measured, forecast, None if error is None else abs(error) < 0.2)


def test_several_metrics_of_one_run_count_once() -> None:
    alone = score([compared("a", 0.5), compared("b", 0.1)])
    again = score([compared("a", 0.5), *(compared("b", 0.1, f"metric {i}") for i in range(9))])
    assert again.rows == 10
    assert again.evidence == 2
    assert again.mean_absolute_error == pytest.approx(alone.mean_absolute_error) == pytest.approx(0.3)
    assert again.coverage == pytest.approx(0.5)


def test_rows_without_a_forecast_lower_the_share_only() -> None:
    found = score([compared("a", -0.25), compared("b", None)])
    assert found.share_forecast == 0.5
    assert found.median_absolute_error == pytest.approx(0.25)
    assert found.bias == pytest.approx(-0.25)


def test_nothing_forecast_has_no_error() -> None:
    found = score([compared("a", None)])
    assert (found.share_forecast, found.median_absolute_error, found.coverage) == (0.0, None, None)


def test_quantile_of_equal_weights_lies_between_values() -> None:
    values = np.array([3.0, 1.0, 2.0])
    assert weighted_quantile(values, np.ones(3), 0.5) == 2.0
    assert weighted_quantile(values, np.array([8.0, 1.0, 1.0]), 0.5) > 2.4


def test_ranks_share_ties() -> None:
    assert ranks(np.array([5.0, 1.0, 5.0])).tolist() == [2.5, 1.0, 2.5]


def test_spearman_of_textbook_ranks() -> None:
    # 1 - 6 sum d^2 / (n (n^2 - 1)) with d = 1, -1, 0, 0, 0
    assert spearman(np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 3, 4, 5])) == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert spearman(np.ones(3), np.arange(3.0)) is None


@given(st.lists(st.floats(0.1, 1e6), min_size=3, max_size=30, unique=True))
def test_spearman_sees_only_order(values: list[float]) -> None:
    found = spearman(np.array(values), np.array(values) ** 3)
    assert found == pytest.approx(1.0)


def test_rank_correlation_is_within_metrics() -> None:
    rows = [
        *(Compared(i, "ttft_ms", 1e3 * i, 1e3 * i, None) for i in range(1, 5)),
        *(Compared(i, "tpot_ms", float(i), 10.0 - i, None) for i in range(1, 5)),
    ]
    assert score(rows).rank_correlation == pytest.approx(0.0)
