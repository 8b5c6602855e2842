"""Figures take the rows they say, none that was fitted, and know whether a goal is met."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from silicast.evidence.figures import Figure, Goal, figures
from silicast.evidence.fitted import run_of, used_by
from silicast.evidence.left_out import shipped_refits
from silicast.evidence.misses import shipped_misses
from silicast.evidence.record import load, shipped
from silicast.evidence.validate import Question, Validation, validate
from silicast.report.scoreboard import figures_lines, peer_lines, worst


@pytest.fixture(scope="module")
def answer() -> Validation:
    return validate(Question((shipped(),), left_out=True))


@pytest.fixture(scope="module")
def found(answer: Validation) -> dict[str, Figure]:
    return {one.id: one for one in figures(answer, shipped_refits(), shipped_misses())}


def test_every_figure_is_there(found: dict[str, Figure]) -> None:
    operators = {f"{law}-{kind}" for law in ("gemm", "attention", "grouped_gemm", "collective") for kind in KINDS}
    assert set(found) == SERVING | operators


KINDS = ("shapes", "chip")
BANDS = {"coverage", "coverage-chips", "width-fitted", "width-left-out", "coverage-left-out"}
SERVING = {
    "tpot-h200", "ttft-h200", "tpot-two-pools", "ttft-two-pools", "tpot-new-blackwell", "tpot-new-hopper",
    "runs-forecast", "910c-tuned", "ascend-open", "r1-phases", "order-tpot", "order-ttft",
}  # fmt: skip


def test_every_figure_has_a_reason_to_print_while_it_misses() -> None:
    prose = tomllib.loads((Path(__file__).parents[2] / "docs" / "misses.toml").read_text(encoding="utf-8"))
    operators = {f"{law}-{kind}" for law in ("gemm", "attention", "grouped_gemm", "collective") for kind in KINDS}
    assert set(prose["reasons"]) == SERVING | operators | BANDS


def test_selections_are_those_of_the_goals(found: dict[str, Figure]) -> None:
    assert found["order-tpot"].rows == 498
    assert found["runs-forecast"].rows == 2458
    assert 470 <= found["tpot-h200"].rows <= 498
    assert found["tpot-h200"].peer_rows == found["tpot-h200"].rows
    assert 140 <= found["tpot-two-pools"].rows <= 143
    assert found["tpot-two-pools"].peer_rows <= 82


def test_the_peer_is_as_far_off_as_its_own_forecasts_say(found: dict[str, Figure]) -> None:
    tpot, ttft = found["tpot-h200"].peer, found["ttft-h200"].peer
    assert tpot is not None
    assert ttft is not None
    assert tpot["median"] == pytest.approx(0.21, abs=0.01)
    assert ttft["median"] == pytest.approx(0.40, abs=0.01)


def test_no_fitted_run_is_in_a_figure_but_under_a_refit(answer: Validation) -> None:
    used = {run_of(row) for row in load([shipped()]).rows if used_by(row)}
    assert not used & {run_of(item.row) for item in answer.headline}
    assert all(item.outcome == item.without for item in answer.again)
    assert all(item.outcome.value is not None for item in answer.again)


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("median", 0.1), 0.1, True), (Goal("median", 0.1), 0.11, False), (Goal("x", least=0.9), 0.89, False),
        (Goal("coverage", 0.85, 0.75), 0.8, True), (Goal("coverage", 0.85, 0.75), 0.7, False),
        (Goal("median", 0.1), None, None),
    ],
)  # fmt: skip
def test_goals(goal: Goal, value: Any, met: Any) -> None:
    assert goal.met(value) is met
    assert Figure("a", "A", 3, {goal.statistic: value}, (goal,)).met is met


def test_lines_say_what_was_found_and_what_was_wanted(found: dict[str, Figure]) -> None:
    lines = figures_lines(found.values())
    assert len(lines.lines) == len(found)
    first = lines.lines[0]
    assert first[0] == "TPOT, H200, one pool"
    assert first[3] == "median <= 7.5, mean <= 11"
    assert first[4] in ("yes", "no")
    assert first[5].startswith("median 21")


def test_the_peer_is_compared_on_the_same_rows(answer: Validation) -> None:
    lines = peer_lines(answer).lines
    assert {line[3] for line in lines} == {"unseen", "fitted"}
    assert sum(int(line[4]) for line in lines if line[0] == "h200-sxm" and line[2] == "tpot_ms") >= 498


def test_the_worst_misses_are_of_different_runs(answer: Validation) -> None:
    misses = worst(answer.headline)
    assert len(misses) == len({run_of(item.row) for item in misses}) == 10
