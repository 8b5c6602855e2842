"""Moving a fleet: a move to the same chip changes nothing, what cannot move is said, a broken fleet file too."""

from functools import cache
from pathlib import Path

import pytest

from silicast import planner
from silicast.errors import ChipFileError, InputError, NotFoundError
from silicast.fleet import Fleet, Service, read_fleet
from silicast.planning.replace import CLASSES_MS, Move, independence
from silicast.planning.trials import Trials
from tests.unit import pools

CHAT = Service(name="chat", model=pools.LLAMA, chip="h100-sxm", input_tokens=2000, output_tokens=300, rate=10.0)
FAST = Service(
    name="agents", model=pools.LLAMA, chip="h100-sxm", input_tokens=4000, output_tokens=300, rate=2.0, tpot="16ms"
)


@cache
def moves() -> list[Move]:
    fleet = Fleet(services=(CHAT, FAST), prices={"mi300x": 1.0})
    return planner.replacement(fleet, ["h100-sxm", "mi300x", "l20"])


def moved(service: str, chip: str) -> Move:
    return next(one for one in moves() if (one.service, one.chip) == (service, chip))


@pytest.mark.parametrize("service", ["chat", "agents"])
def test_a_move_to_the_same_chip_changes_nothing(service: str) -> None:
    same = moved(service, "h100-sxm")
    assert same.packages.value == same.packages.low == same.packages.high == 1
    assert same.power == same.premium == 1
    assert same.break_even == pytest.approx(2.65)
    assert same.lost == ()
    assert same.advised
    assert same.precisions[0] == same.precisions[1]


def test_a_move_serves_the_same_load_within_the_same_targets() -> None:
    one = moved("chat", "mi300x")
    assert one.new.met
    assert one.new.estimates["requests_per_s"].value == pytest.approx(10.0, rel=1e-3)
    assert one.packages.value == one.new.packages / one.old.packages
    assert one.packages.low <= one.packages.value <= one.packages.high
    # at the price of break-even both cost the same per token
    hourly = one.break_even * one.new.packages
    tokens = [side.estimates["output_tokens_per_s"].value for side in (one.old, one.new)]
    assert hourly / tokens[1] == pytest.approx(one.old.usd_per_hour / tokens[0])
    assert one.premium == pytest.approx(1.0 / one.break_even)


def test_what_cannot_move_says_why_and_which_classes_are_lost() -> None:
    one = moved("agents", "l20")
    assert not one.possible
    assert "TPOT" in one.reason
    assert one.lost
    assert set(one.lost) <= set(CLASSES_MS)
    assert not moved("chat", "h100-sxm").lost


def test_the_share_that_can_move() -> None:
    lines = {line.chip: line for line in independence(moves())}
    assert lines["h100-sxm"].share == lines["h100-sxm"].packages == lines["h100-sxm"].premium == 1
    assert lines["l20"].share < 1
    chat, agents = 10 * 300, 2 * 300
    if lines["l20"].share:
        assert lines["l20"].share == pytest.approx(chat / (chat + agents), rel=1e-3)


def test_packages_without_a_load_serve_what_they_can() -> None:
    fleet = Fleet(services=(CHAT.model_copy(update={"rate": None, "packages": 16}),))
    (one,) = planner.replacement(fleet, ["h100-sxm"])
    # the search for fewest packages rounds each kind of unit up, by at most one unit of eight here
    assert one.old.packages <= 16 + 8
    assert one.packages.value == 1


def test_unknown_chips_and_hopeless_services_are_refused() -> None:
    with pytest.raises(NotFoundError, match="Did you mean"):
        planner.replacement(Fleet(services=(CHAT,)), ["mi300"])
    hopeless = CHAT.model_copy(update={"tpot": "1ms"})
    with pytest.raises(InputError, match=r"Service chat on h100-sxm: TPOT of 1\.0 ms is below the floor"):
        planner.replacement(Fleet(services=(hopeless,)), ["mi300x"])


WHOLE = """
[[services]]
name = "chat"
model = "m"
chip = "c"
input_tokens = 10
output_tokens = 10
rate = 1.0
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no"),
        ("name = 3\n" + WHOLE, "name"),
        (WHOLE.replace('model = "m"\n', ""), "'services.0.model' is required"),
        (WHOLE.replace("rate = 1.0\n", ""), "needs a rate, a concurrency, or the packages"),
        (WHOLE + "concurrency = 3\n", "rate or concurrency"),
        (WHOLE + 'ttft = "fast"\n', "fast"),
        (WHOLE.replace("rate = 1.0", "rate = 0"), "rate"),
        (WHOLE.replace("rate", "rat"), "rat"),
        (WHOLE + WHOLE, "two services are named 'chat'"),
        ("rack_kw = 0\n" + WHOLE, "rack_kw"),
        ("[[services", "not TOML"),
    ],
)
def test_a_broken_fleet_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(text)
    with pytest.raises(ChipFileError, match=says) as raised:
        read_fleet(file)
    assert "\n" not in str(raised.value)


def test_a_whole_fleet_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(WHOLE)
    (service,) = read_fleet(file).services
    assert (service.workload().rate, service.targets().tpot_ms) == (1.0, 50.0)


def test_every_move_is_of_two_simulated_deployments() -> None:
    one = moved("chat", "mi300x")
    for side in (one.old, one.new):
        assert side.met
        assert side.trial.measures["slo_attainment"] >= 0.9
    assert "GB/s" in one.network


def test_a_service_that_its_own_chip_cannot_serve_under_traffic_is_refused() -> None:
    choices = planner.Choices(simulate=True, trials=Trials(limits={"p99_ttft": 1.0}))
    with pytest.raises(InputError, match=r"Service chat on h100-sxm: .*under simulated traffic.*enough: --limit"):
        planner.replacement(Fleet(services=(CHAT,)), ["mi300x"], choices=choices)


def test_a_price_of_an_unknown_chip_is_refused() -> None:
    with pytest.raises(NotFoundError, match="h100-sxn"):
        planner.replacement(Fleet(services=(CHAT,), prices={"h100-sxn": 2.0}), ["mi300x"])
