"""Which rows were fitted is read from the coefficient files and agrees with what they say; the peer joins by id."""

import re
from collections import Counter

import pytest

from silicast import catalog
from silicast.evidence.fitted import Fitted, fitted, run_of, stack_file, used_by
from silicast.evidence.peers import shipped_peer
from silicast.evidence.record import Row, load, shipped
from silicast.evidence.validate import Question, validate

ROWS = load([shipped()]).rows


@pytest.fixture(scope="module")
def known() -> Fitted:
    return fitted(ROWS)


def stacks_with_files() -> list[str]:
    return [name for name in catalog.ids("stacks") if stack_file(name)]


@pytest.mark.parametrize("stack", stacks_with_files())
def test_a_stack_file_says_as_many_rows_as_count_as_fitted(stack: str) -> None:
    path = stack_file(stack)
    assert path is not None
    said = re.search(r"fit to (\d+) calibrate rows", path.read_text(encoding="utf-8"))
    assert said
    assert int(said[1]) == Counter(map(used_by, ROWS))[f"stacks/{stack}"]


def test_no_row_that_validates_or_is_suspect_was_fitted() -> None:
    used = [row for row in ROWS if used_by(row)]
    assert len(used) > 3000
    assert all(row.use == "calibrate" and not row.suspect for row in used)


def test_h200_and_gb200_serving_is_unseen(known: Fitted) -> None:
    rows = [row for row in ROWS if (row.scenario.chip or row.scenario.decode_chip) in ("h200-sxm", "gb200")]
    assert {known.seen(row) for row in rows} == {"unseen"}


def test_a_metric_or_a_resubmission_of_a_fitted_run_is_fitted_too(known: Fitted) -> None:
    row = next(row for row in ROWS if used_by(row).startswith("stacks/"))
    other = row._replace(id="x", metric="e2e_ms", scenario=row.scenario._replace(stack_version="99"))
    assert known.seen(other) == "fitted"
    assert known.seen(row._replace(scenario=row.scenario._replace(concurrency=12345))) == "sibling"
    assert known.seen(row._replace(source="mine")) == "unseen"


def test_rows_of_ones_own_that_calibrate_count_as_fitted() -> None:
    row = next(row for row in ROWS if used_by(row) == "stacks/vllm")._replace(source="mine")
    assert fitted([row]).seen(row) == "fitted"
    assert fitted([row._replace(use="validate")]).seen(row) == "unseen"


def test_the_headline_has_no_fitted_run() -> None:
    answer = validate(Question((shipped(),), left_out=True))
    used = {run_of(row) for row in ROWS if used_by(row)}
    assert len(answer.fitted) > 3000
    assert not used & {run_of(item.row) for item in answer.headline}
    assert {run_of(item.row) for item in answer.fitted} <= used
    assert len(answer.again) > 3000


def peers() -> list[tuple[Row, float]]:
    found = ((row, shipped_peer().of(row)) for row in ROWS)
    return [(row, rival.value) for row, rival in found if rival]


def test_the_peer_forecasts_ttft_and_tpot_of_serving_runs_only() -> None:
    assert Counter(row.metric for row, _ in peers()) == {"ttft_ms": 2321, "tpot_ms": 2321}
    assert {row.source for row, _ in peers()} == {"inferencex-2026"}
    assert all(value > 0 for _, value in peers())


def test_every_forecast_of_the_peer_has_its_row() -> None:
    assert len(shipped_peer().forecasts) == len(peers())


def test_the_peer_is_not_asked_about_other_rows() -> None:
    row = peers()[0][0]
    assert shipped_peer().of(row._replace(source="mine")) is None
    assert shipped_peer().of(row._replace(id="unknown-tpot")) is None
    assert shipped_peer().of(row._replace(metric="e2e_ms")) is None
    assert "aiconfigurator" in shipped_peer().cite()
