"""Published steps of R1-class models, none of them fitted, within a factor of 1.5: the check of the first issue."""

import pytest

from silicast.evidence.forecast import Outcome, forecast
from silicast.evidence.record import Row, load, shipped

FACTOR = 1.5
SOURCES = ("cloudmatrix384-serving", "cloudmatrix384-serving-check", "lmsys-96h100")


def checked() -> list[tuple[Row, Outcome]]:
    rows = [row for row in load([shipped() / name for name in SOURCES]).rows if not row.suspect]
    return list(zip(rows, forecast(rows)[0], strict=True))


@pytest.mark.parametrize(("row", "outcome"), [pytest.param(*pair, id=pair[0].id) for pair in checked()])
def test_within_a_factor_of_one_and_a_half(row: Row, outcome: Outcome) -> None:
    assert outcome.value is not None, outcome.reason
    assert row.value / FACTOR < outcome.value < row.value * FACTOR


def test_two_batch_overlap_helps() -> None:
    by_id = {row.id: outcome.value for row, outcome in checked()}
    assert by_id["sgl96-tbo-on-128"] > 1.05 * by_id["sgl96-tbo-off-128"]  # type: ignore[operator]


def test_context_costs_and_short_prompts_are_faster() -> None:
    by_id = {row.id: outcome.value for row, outcome in checked()}
    assert by_id["sgl96-prefill-1024"] > by_id["sgl96-prefill-4096"]  # type: ignore[operator]
    assert by_id["cm384.decode.slo.p2048.b112.tput"] > by_id["cm384.decode.50ms.tput"]  # type: ignore[operator]
