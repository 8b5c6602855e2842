"""The scenario file and the traffic it draws; GuideLLM's strings and profiles."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import ChipFileError, InputError, TraceError
from silicast.serving.requests import ClosedLoop
from silicast.serving.upkeep import Autoscaling, Failures, QueueLimits
from silicast.simulation import Scenario, draw, guidellm, read_scenario, scenario_of

FULL = """
name = "a day of chat and code"
seed = 7
duration = "10 min"

[[traffic]]
name = "chat"
arrivals = { kind = "diurnal", rate = 3.0, swing = 0.5, peak = "5 min", period = "10 min" }
input_tokens = { kind = "lognormal", mean = 300, spread = 0.8 }
output_tokens = { kind = "uniform", low = 10, high = 300 }
sessions = { turns = { kind = "uniform", low = 1, high = 5 }, think = "20 s", context = 8000 }
prefixes = { groups = 3, tokens = 1024, skew = 1.0 }

[[traffic]]
name = "code"
arrivals = { kind = "gamma", rate = 2.0, burstiness = 0.5 }
input_tokens = { kind = "normal", mean = 4000, deviation = 500, low = 100, high = 6000 }
output_tokens = 64
priority = 1

[deployment]
model = "Qwen/Qwen3-32B"
router = "prefix_aware"

[[deployment.pools]]
chip = "h200-sxm"
role = "prefill"
replicas = 2
tp = 2

[[deployment.pools]]
chip = "ascend-910c"
role = "decode"
replicas = 3
tp = 4
policy = "vllm"

[slo]
ttft = "2s"
tpot = 50
percentile = 95
"""

LOAD = """
requests = 100
[traffic]
arrivals = { kind = "poisson", rate = 12.0 }
input_tokens = 1000
output_tokens = 200
[deployment]
model = "Qwen/Qwen3-32B"
"""
SHORT = LOAD + 'pools = [{ chip = "h200-sxm" }]\n'
KEPT = (
    LOAD
    + """queue = { per_replica = 8, full = "hold" }
[[deployment.pools]]
chip = "h200-sxm"
replicas = 2
failures = { mtbf = "12 h", mttr = "5 min", planned = [[1, "10 min", "30 s"]], retries = 1 }
autoscale = { max = 4, kv_share = 0.7, startup = "2 min" }
"""
)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reader(text: str) -> Scenario:
        path = tmp_path / "day.toml"
        path.write_text(text)
        return read_scenario(path)

    return reader


def tables(**traffic: Any) -> dict[str, Any]:
    given = {"arrivals": {"kind": "poisson", "rate": 5.0}, "input_tokens": 100, "output_tokens": 10} | traffic
    deployment = {"model": "m", "pools": [{"chip": "c"}]}
    return {"requests": 2000, "traffic": {k: v for k, v in given.items() if v is not None}, "deployment": deployment}


def test_a_full_file(read: Any) -> None:
    scenario = read(FULL)
    assert [table.name for table in scenario.traffic] == ["chat", "code"]
    assert scenario.duration == 600
    assert scenario.slo.law().ttft_ms == 2000
    assert scenario.slo.law().tpot_ms == 50
    assert [(pool.role, pool.layout().devices) for pool in scenario.deployment.pools] == [("prefill", 2), ("decode", 4)]


def test_its_traffic_is_sorted_and_keeps_its_kinds_apart(read: Any) -> None:
    drawn = draw(read(FULL))
    sent = drawn.requests
    assert drawn.tenants == ("chat", "code")
    assert np.all(np.diff(sent.arrival) >= 0)
    assert sent.arrival[-1] < 600
    chat, code = drawn.tenant == 0, drawn.tenant == 1
    assert code.sum() == pytest.approx(1200, abs=6 * np.sqrt(2 * 1200))
    assert set(sent.priority[code].tolist()) == {1}
    assert set(sent.session[code].tolist()) == {-1}
    assert sent.input_tokens[chat].max() <= 8000
    assert sent.turn[chat].max() == 4
    assert sent.hashes is not None
    offsets, ids = sent.hashes
    counts = np.diff(offsets)
    assert np.array_equal(counts[chat], sent.input_tokens[chat] // sent.block_tokens)
    assert counts[code].sum() == 0
    assert sent.input_tokens[chat].min() > 1024
    # three prefixes of 8 whole blocks: the first blocks of long prompts are three numbers
    first = ids[offsets[:-1][chat & (counts > 0)]]
    assert np.unique(first).size == 3


def test_a_later_turn_shares_the_blocks_of_the_one_before(read: Any) -> None:
    sent = draw(read(FULL)).requests
    offsets, ids = sent.hashes
    later = np.flatnonzero(sent.turn == 1)[:20]
    assert later.size
    for row in later:
        before = int(np.flatnonzero((sent.session == sent.session[row]) & (sent.turn == 0))[0])
        shorter, longer = (ids[offsets[one] : offsets[one + 1]].tolist() for one in (before, row))
        assert longer[: len(shorter)] == shorter


def test_a_short_file(read: Any) -> None:
    drawn = draw(read(SHORT))
    assert drawn.requests.arrival.size == 100
    assert set(drawn.requests.input_tokens.tolist()) == {1000}
    assert drawn.requests.hashes is None
    assert drawn.loop is None


def test_the_same_seed_draws_the_same_and_streams_are_independent() -> None:
    first, again = draw(scenario_of(tables())), draw(scenario_of(tables()))
    longer = draw(scenario_of(tables(input_tokens={"kind": "uniform", "low": 1, "high": 9})))
    other = draw(scenario_of({**tables(), "seed": 1}))
    assert np.array_equal(first.requests.arrival, again.requests.arrival)
    assert np.array_equal(first.requests.arrival, longer.requests.arrival)
    assert not np.array_equal(first.requests.arrival, other.requests.arrival)


@pytest.mark.parametrize(
    ("arrivals", "loop"),
    [({"kind": "closed", "concurrency": 8, "think": "2 s"}, ClosedLoop(8, 2.0)), ({"kind": "burst"}, None)],
)
def test_closed_loops_and_bursts_start_at_zero(arrivals: dict[str, Any], loop: Any) -> None:
    drawn = draw(scenario_of(tables(arrivals=arrivals)))
    assert drawn.loop == loop
    assert drawn.requests.arrival.tolist() == [0.0] * 2000


def test_a_ramp_and_a_clock() -> None:
    ramp = {"kind": "ramp", "knots": [["0 s", 0.0], ["10 s", 10.0], ["10 s", 0.0]]}
    assert draw(scenario_of(tables(arrivals=ramp))).requests.arrival.size == pytest.approx(50, abs=40)
    clock = draw(scenario_of(tables(arrivals={"kind": "constant", "rate": 4.0})))
    assert np.diff(clock.requests.arrival) == pytest.approx(0.25)


LINES = "arrival_s,input_tokens,output_tokens,session,tenant\n0,10,1,a,x\n1,20,2,a,y\n2,30,3,,x\n"


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "lines.csv"
    path.write_text(LINES)
    return str(path)


def test_a_trace_beside_the_file(read: Any, trace: str) -> None:
    text = '[traffic]\ntrace = { file = "lines.csv", time_scale = 2.0 }\n' + SHORT[SHORT.index("[deployment]") :]
    drawn = draw(read(text))
    assert drawn.requests.arrival.tolist() == [0, 2, 4]
    assert drawn.requests.session.tolist() == [0, 0, -1]
    assert drawn.tenants == ("x", "y")
    assert drawn.tenant.tolist() == [0, 1, 0]
    cut = draw(read("requests = 2\n" + text))
    assert cut.requests.input_tokens.tolist() == [10, 20]


def test_lengths_from_a_trace_with_arrivals_of_their_own(trace: str) -> None:
    given = tables(trace={"file": trace}, input_tokens=None, output_tokens=None)
    drawn = draw(scenario_of(given))
    pairs = set(zip(drawn.requests.input_tokens.tolist(), drawn.requests.output_tokens.tolist(), strict=True))
    assert pairs == {(10, 1), (20, 2), (30, 3)}
    assert drawn.requests.arrival.size == 2000
    assert set(drawn.requests.session.tolist()) == {-1}
    assert "drawn from the lines" in drawn.notes[0]


def test_a_trace_that_is_missing_names_the_file(tmp_path: Path) -> None:
    given = tables(trace={"file": str(tmp_path / "none.csv")})
    with pytest.raises(TraceError, match=r"none\.csv' cannot be read"):
        draw(scenario_of(given))


CLOSED = '"closed", concurrency = 4'

BROKEN = {
    "sead": (SHORT.replace("requests", "sead = 1\nrequests", 1), "Field 'sead' not found. Did you mean 'seed'"),
    "rat": (SHORT.replace("rate =", "rat ="), r"Field 'traffic\[0\].arrivals.rat' not found. Did you mean .*rate'"),
    "kind": (SHORT.replace("poisson", "poison"), r"'traffic\[0\].arrivals.kind' is 'poison'. Did you mean 'poisson'"),
    "zero rate": (SHORT.replace("12.0", "0.0"), "rate of arrivals must be positive and finite, got 0"),
    "nan rate": (SHORT.replace("12.0", "nan"), "got nan"),
    "text rate": (SHORT.replace("12.0", '"12"'), r"'traffic\[0\].arrivals.rate'.*valid number"),
    "other kind": (SHORT.replace("12.0", "12.0, concurrency = 3"), "'concurrency' is no field of kind 'poisson'"),
    "needed": (SHORT.replace("poisson", "gamma"), "kind 'gamma' needs 'burstiness'"),
    "length": (SHORT.replace("= 1000", "= 0"), r"'traffic\[0\].input_tokens': A length in tokens .*got 0"),
    "length kind": (SHORT.replace("= 1000", "= { kind = 'lognorm', mean = 3 }"), "Did you mean 'lognormal'"),
    "half": (SHORT.replace("= 1000", "= 10.5"), "must be a table"),
    "end": (SHORT.replace("requests = 100", ""), "poisson arrivals never end: give requests or a duration"),
    "ends": (SHORT.replace("requests = 100", "requests = 5\nduration = '3 s'"), "give requests or duration, not both"),
    "no room": (FULL.replace("context = 8000", "context = 1024"), "has no room after a prefix"),
    "no unit": (SHORT.replace("requests = 100", "duration = 10"), "'duration': write a time as text with its unit"),
    "bad unit": (SHORT.replace("requests = 100", "duration = '10 GB'"), "is not a time; write it with its unit"),
    "no traffic": (SHORT[SHORT.index("[deployment]") :], "'traffic' is required and missing"),
    "no lengths": (SHORT.replace("output_tokens = 200", ""), "needs 'output_tokens', or a trace"),
    "router": (SHORT.replace("pools =", 'router = "round-robin"\npools ='), "Did you mean 'round_robin'"),
    "role": (SHORT.replace('sxm"', 'sxm", role = "prefil"'), "Did you mean 'prefill'"),
    "one role": (SHORT.replace('sxm"', 'sxm", role = "prefill"'), "a prefill pool needs a decode pool beside it"),
    "layout": (SHORT.replace('sxm"', 'sxm", tp = 0'), r"'deployment.pools\[0\]': tp must be a whole number"),
    "slo": (SHORT + '[slo]\nttft = "-2s"\n', "'slo.ttft': A duration must be positive"),
    "percentile": (SHORT + "[slo]\npercentile = 101\n", "'slo': The percentile of an SLO"),
    "slo key": (SHORT + '[slo]\ntttf = "2s"\n', "Field 'slo.tttf' not found. Did you mean 'slo.ttft'"),
    "syntax": (SHORT + "[slo\n", "is not TOML"),
    "list": (SHORT.replace("[traffic]", "[[traffic]]") + "x = 1\n", "Field 'deployment.x' not found"),
    "closed end": (
        SHORT.replace("requests = 100", "duration = '9 s'").replace('"poisson", rate = 12.0', CLOSED),
        "closed arrivals never end: give requests",
    ),
    "concurrency": (SHORT.replace('"poisson", rate = 12.0', '"closed", concurrency = 0'), "concurrency must be from 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_clear_line(read: Any, case: str) -> None:
    text, said = BROKEN[case]
    with pytest.raises(ChipFileError, match=said) as caught:
        read(text)
    assert str(caught.value).startswith("day.toml")
    assert "\n" not in str(caught.value)


def test_two_tenants_need_two_names(read: Any) -> None:
    with pytest.raises(ChipFileError, match="two kinds of traffic are named 'chat'"):
        read(FULL.replace('"code"', '"chat"'))


def test_a_closed_loop_stands_alone(read: Any) -> None:
    closed = FULL.replace('kind = "gamma", rate = 2.0, burstiness = 0.5', 'kind = "closed", concurrency = 3')
    with pytest.raises(ChipFileError, match="a closed loop stands alone"):
        read(closed.replace('duration = "10 min"', "requests = 9"))


def test_guidellm_lengths() -> None:
    table = guidellm.traffic("prompt_tokens=256,output_tokens=128")
    assert table == {
        "input_tokens": {"kind": "fixed", "tokens": 256},
        "output_tokens": {"kind": "fixed", "tokens": 128},
    }
    table = guidellm.traffic(
        '{"prompt_tokens": 256, "prompt_tokens_stdev": 50, "output_tokens": 9, "output_tokens_min": 4}'
    )
    assert table["input_tokens"] == {"kind": "normal", "mean": 256.0, "deviation": 50.0, "low": 6, "high": 506}
    assert table["output_tokens"] == {"kind": "uniform", "low": 4, "high": 9}


@given(
    st.integers(1, 2000), st.integers(0, 500), st.none() | st.integers(1, 900), st.none() | st.integers(900, 4000),
    st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_guidellm_lengths_have_the_law_of_its_sampler(
    mean: int, sd: int, low: int | None, high: int | None, seed: int
) -> None:
    text = f"prompt_tokens={mean},output_tokens=1,prompt_tokens_stdev={sd}"
    text += f",prompt_tokens_min={low}" if low else ""
    text += f",prompt_tokens_max={high}" if high else ""
    least, most = low or max(1, mean - 5 * sd), high or mean + 5 * sd
    if least > most:
        with pytest.raises(InputError, match="the least is above the most"):
            guidellm.traffic(text)
        return
    scenario = scenario_of(tables(**guidellm.traffic(text)))
    drawn = draw(scenario.model_copy(update={"seed": seed})).requests.input_tokens
    random = np.random.default_rng(seed)
    theirs = (
        np.clip(random.normal(mean, sd, 2000), least, most) if sd else random.uniform(least - 0.5, most + 0.5, 2000)
    )
    assert least <= drawn.min()
    assert drawn.max() <= most
    assert drawn.mean() == pytest.approx(theirs.mean(), abs=8 * max(theirs.std(), 1) / np.sqrt(1000))


def test_guidellm_turns_and_prefixes() -> None:
    table = guidellm.traffic("prompt_tokens=100,output_tokens=10,turns=3,delay=0.5,prefix_tokens=512,prefix_count=4")
    assert table["input_tokens"] == {"kind": "fixed", "tokens": 100}
    assert table["prefixes"] == {"tokens": 512, "groups": 4}
    assert table["sessions"] == {"turns": 3, "think": "0.5 s", "think_spread": 0.0}
    sent = draw(scenario_of(tables(**table))).requests
    assert sent.turn.max() == 2
    # the prefix comes on top of the prompt, once per conversation
    assert [set(sent.input_tokens[sent.turn == turn].tolist()) for turn in range(3)] == [{612}, {722}, {832}]


@pytest.mark.parametrize(
    ("profile", "rates", "tables_of_it"),
    [
        ("synchronous", [], [{"kind": "closed", "concurrency": 1}]),
        ("concurrent", [4, 8], [{"kind": "closed", "concurrency": 4}, {"kind": "closed", "concurrency": 8}]),
        ("throughput", [], [{"kind": "burst"}]),
        ("constant", [2], [{"kind": "constant", "rate": 2.0}]),
        ("poisson", [0.5], [{"kind": "poisson", "rate": 0.5}]),
        ("sweep", [], [{"kind": "closed", "concurrency": 1}, {"kind": "burst"}]),
    ],
)
def test_guidellm_profiles(profile: str, rates: list[float], tables_of_it: list[dict[str, Any]]) -> None:
    assert guidellm.arrivals(profile, rates) == tables_of_it
    for table in tables_of_it:
        assert draw(scenario_of(tables(arrivals=dict(table)))).requests.arrival.size == 2000


def test_a_sweep_goes_evenly_from_one_at_a_time_to_all_at_once() -> None:
    assert guidellm.sweep_rates(1.0, 10.0, 10).tolist() == pytest.approx(
        [2.125, 3.25, 4.375, 5.5, 6.625, 7.75, 8.875, 10]
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: guidellm.traffic("prompt_tokens=256"), "--data needs output_tokens"),
        (lambda: guidellm.traffic("prompt_token=256,output_tokens=1"), "Did you mean 'prompt_tokens'"),
        (lambda: guidellm.traffic("prompt_tokens=a,output_tokens=1"), "whole number of at least 1, got 'a'"),
        (lambda: guidellm.traffic("prompt_tokens=0,output_tokens=1"), "got '0'"),
        (lambda: guidellm.traffic("prompt_tokens=nan,output_tokens=1"), "got 'nan'"),
        (lambda: guidellm.traffic("prompt_tokens,output_tokens=1"), "'prompt_tokens' has no value"),
        (lambda: guidellm.traffic("prompt_tokens=1,prompt_tokens=1,output_tokens=1"), "twice"),
        (lambda: guidellm.traffic("{"), "is not JSON"),
        (lambda: guidellm.arrivals("poison", [1.0]), "Profile 'poison' not found. Did you mean 'poisson'"),
        (lambda: guidellm.arrivals("poisson"), "needs --rate: a positive number of requests/s"),
        (lambda: guidellm.arrivals("concurrent", [1.5]), "a whole number of streams, got 1.5"),
        (lambda: guidellm.arrivals("constant", [0.0]), "got 0"),
        (lambda: guidellm.sweep_rates(1.0, 2.0, 2), "at least 3 runs"),
        (lambda: scenario_of(tables(nmae="x")), "nmae"),
    ],
)
def test_what_is_not_understood_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


WORDS = ["", "=", "[", "]", "{", "}", '"', "'", "\n", "-1", "1e400", "nan", "inf", "true", "0", "[1]", "{a=1}", "kind",
         '"10 min"', "99999999999999999999", "é", "rate", "#"]  # fmt: skip


@given(
    st.sampled_from([FULL, SHORT]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 10), st.sampled_from(WORDS)), min_size=1, max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_a_file_is_read_or_refused_whatever_is_in_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, changes: list[tuple[float, int, str]]
) -> None:
    for place, length, word in changes:
        at = int(place * len(text))
        text = text[:at] + word + text[at + length :]
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_text(text)
    try:
        scenario = read_scenario(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - whether it is refused is not known before
        return
    scenario = scenario.model_copy(update={"requests": min(scenario.requests or 50, 50), "duration": None})
    try:
        assert draw(scenario).requests.arrival.size
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - whether it is refused is not known before


def test_how_replicas_are_kept(read: Any) -> None:
    found = read(KEPT).deployment
    pool = found.pools[0]
    assert pool.failures.law() == Failures(12 * 3600.0, 300.0, ((1, 600.0, 30.0),), 1)
    assert pool.autoscale.law() == Autoscaling(1, 4, kv_share=0.7, startup=120.0)
    assert found.queue.law() == QueueLimits(8, None, holds=True)
    assert found.handover == "at_once"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('mtbf = "12 h"', 'mtfb = "12 h"', "Did you mean 'deployment.pools\\[0\\].failures.mtbf'"),
        ('mtbf = "12 h"', 'mtbf = "0 s"', "mtbf must be a positive time"),
        ('mtbf = "12 h"', "mtbf = 12", 'write a time as text with its unit, such as "30 s"'),
        ("retries = 1", "retries = -1", "retries must be 0"),
        ('[[1, "10 min"', '[[4, "10 min"', "planned for replica 4; the pool has 4, counted from 0"),
        ("max = 4", "max = 1", "begins with replicas = 2, which must be from min 1 to max 1"),
        ("kv_share = 0.7", "kv_share = 0.7, requests = 3", "give one"),
        ("kv_share = 0.7", "kv_share = 70", "above 0 and at most 1, got 70"),
        ("max = 4", "max = 1000000", "at most 100,000 replicas"),
        ("per_replica = 8, ", "", "needs a bound"),
        ('full = "hold"', 'full = "drop"', "reject"),
        ("queue =", 'handover = "when_room"\nqueue =', "between a prefill and a decode pool"),
    ],
)
def test_bad_upkeep_is_one_line(read: Any, old: str, new: str, told: str) -> None:
    assert old in KEPT
    with pytest.raises(ChipFileError, match=told):
        read(KEPT.replace(old, new))


def test_turns_know_the_time_to_think() -> None:
    """Each turn of drawn traffic comes as long after its answer as the turns were drawn apart."""
    lengths = {"kind": "fixed", "tokens": 10}
    sessions = {"turns": {"kind": "fixed", "tokens": 3}, "think": "20 s"}
    table = {"arrivals": {"kind": "poisson", "rate": 1.0}, "input_tokens": lengths, "output_tokens": lengths}
    deployment = {"model": "any", "pools": [{"chip": "any"}]}
    one = scenario_of({"requests": 60, "traffic": table | {"sessions": sessions}, "deployment": deployment})
    two = scenario_of(
        {
            "requests": 60,
            "traffic": [table | {"sessions": sessions, "name": "talk"}, table | {"name": "alone"}],
            "deployment": deployment,
        }
    )
    for scenario in (one, two):
        sent = draw(scenario).requests
        assert sent.think is not None
        assert len(sent.think) == len(sent)
        for session in np.unique(sent.session[sent.session >= 0]):
            own = np.flatnonzero(sent.session == session)
            np.testing.assert_allclose(np.diff(sent.arrival[own]), sent.think[own[1:]])
