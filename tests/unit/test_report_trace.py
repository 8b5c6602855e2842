"""The trace of a run as Perfetto reads it, and the table of requests as CSV and Parquet."""

import builtins
import csv
import gzip
import io
import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError, MissingExtraError
from silicast.report import requests as table
from silicast.report import trace
from silicast.report.trace import DECODE, LANES, PREFILL, TRANSFER, Spans, write_trace
from tests.unit import served as made

SENT = made.requests()
SERVED = made.outcome(SENT)
SERVED.timeline = made.steps(SERVED)


def events(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(text(path))["traceEvents"])


def text(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("trace") / "run.json.gz"
    notes = write_trace(path, SERVED, names=["prefill, h100", 'a "b"'])
    assert notes == ()
    return events(path)


def test_replicas_are_processes_with_lanes_and_counters(written: list[dict[str, Any]]) -> None:
    names = {event["pid"]: event["args"]["name"] for event in written if event["name"] == "process_name"}
    assert names == {0: "router", 1: "prefill, h100", 2: 'a "b"'}
    lanes = {event["args"]["name"].rpartition(" ")[0] for event in written if event["name"] == "thread_name"}
    assert lanes == {"steps", "queue", "prefill", "decode"}
    counters = {event["name"] for event in written if event["ph"] == "C"}
    assert counters == {"batch", "queue", "KV cache"}


def test_every_span_is_whole_and_named(written: list[dict[str, Any]]) -> None:
    threads = {(event["pid"], event["tid"]) for event in written if event["name"] == "thread_name"}
    spans = [event for event in written if event["ph"] == "X"]
    assert {(event["pid"], event["tid"]) for event in spans} == threads
    done = SERVED.state == 1
    spans = [event for event in spans if event["cat"] != "steps"]
    assert len(spans) == 3 * done.sum()
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in spans)
    assert sum(event["dur"] for event in spans) == pytest.approx(
        np.sum(SERVED.finished[done] - SERVED.arrival[done]) * 1e6, rel=1e-6
    )
    decode = next(event for event in spans if event["cat"] == "decode" and event["name"] == "7")
    assert decode["args"]["output_tokens"] == SENT.output_tokens[7]


def test_steps_say_what_they_carried(written: list[dict[str, Any]]) -> None:
    steps = [event for event in written if event.get("cat") == "steps"]
    assert len(steps) == SERVED.timeline.start.size
    assert {event["name"] for event in steps} == {"decode"}
    assert max(event["args"]["decoding requests"] for event in steps) == 4


def test_counters_fall_to_zero_when_nothing_runs(written: list[dict[str, Any]]) -> None:
    last: dict[tuple[int, str], Any] = {}
    for event in written:
        if event["ph"] == "C":
            last[event["pid"], event["name"]] = event["args"]
    assert last[1, "batch"] == {"requests": 0}
    assert last[2, "queue"] == {"requests": 0}
    assert last[2, "KV cache"]["blocks"] > 0


def test_failures_are_marks_of_the_router(written: list[dict[str, Any]]) -> None:
    marks = [event for event in written if event["ph"] == "i"]
    assert [event["args"]["request"] for event in marks] == [49, 99, 149, 199]
    assert {event["name"] for event in marks} == {"rejected"}


def test_spans_of_one_row_never_overlap(written: list[dict[str, Any]]) -> None:
    rows = defaultdict(list)
    for event in written:
        if event["ph"] == "X":
            start, length = (round(event[key] * 1000) for key in ("ts", "dur"))
            rows[event["pid"], event["tid"]].append((start, start + length))
    for spans in rows.values():
        spans.sort()
        assert all(later[0] >= sooner[1] for sooner, later in pairwise(spans))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 20), st.integers(0, 9)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_lane_has_as_many_rows_as_run_at_once(given_spans: list[tuple[int, int, int, int]]) -> None:
    data = np.array(given_spans, dtype=np.int64).reshape(-1, 4)
    spans = Spans(np.arange(len(data)), data[:, 0], data[:, 1], data[:, 2], data[:, 2] + data[:, 3] + 1)
    rows = trace._rows(spans)
    for replica in range(2):
        for lane in range(4):
            own = (spans.replica == replica) & (spans.lane == lane)
            running = [np.sum(own & (spans.start <= time) & (time < spans.end)) for time in range(32)]
            assert len(set(rows[own].tolist())) == max(running)
            for time in range(32):
                now = rows[own & (spans.start <= time) & (time < spans.end)]
                assert len(set(now.tolist())) == now.size


def test_transfers_are_a_lane_of_their_own(tmp_path: Path) -> None:
    moved = Spans(np.array([0]), np.array([1]), np.array([TRANSFER]), np.array([0.5]), np.array([0.75]))
    path = tmp_path / "run.json"
    write_trace(path, SERVED, Spans.joined([Spans.of(SERVED), moved]))
    found = [event for event in events(path) if event.get("cat") == "transfer"]
    assert [(event["pid"], event["ts"], event["dur"]) for event in found] == [(2, 500_000, 250_000)]
    assert {LANES[PREFILL], LANES[DECODE]} == {"prefill", "decode"}


def test_a_long_run_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MOST_REQUESTS", 10)
    monkeypatch.setattr(trace, "MOST_STEPS", 100)
    path = tmp_path / "run.json"
    notes = write_trace(path, SERVED)
    assert notes[0] == "The first 10 of 200 requests are shown."
    assert notes[1] == f"The first 100 of {SERVED.timeline.start.size:,} steps are shown."
    assert json.loads(path.read_text())["otherData"]["notes"] == list(notes)
    assert len([event for event in events(path) if event["ph"] == "X"]) == 130


def test_the_same_run_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_trace(tmp_path / name, SERVED)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_a_run_without_requests_is_a_trace(tmp_path: Path) -> None:
    none = made.Outcome(*(column[:0] for column in list(vars(SERVED).values())[:11]))
    write_trace(tmp_path / "run.json", none)
    assert [event["ph"] for event in events(tmp_path / "run.json")] == ["M"]


@pytest.mark.parametrize("name", ["requests.csv", "requests.csv.gz"])
def test_requests_as_csv(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table.write_requests(table.columns(SERVED, SENT, np.array(["a", "b"])[np.arange(200) % 2]), path)
    rows = list(csv.DictReader(io.StringIO(text(path))))
    assert len(rows) == 200
    assert float(rows[3]["ttft_ms"]) == pytest.approx((SERVED.first_token[3] - SERVED.arrival[3]) * 1000)
    assert [row["tenant"] for row in rows[:3]] == ["a", "b", "a"]
    assert rows[49]["state"] == "rejected"
    assert rows[49]["ttft_ms"] == rows[49]["finished_s"] == ""
    assert int(rows[5]["input_tokens"]) == SENT.input_tokens[5]


def test_requests_as_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "requests.parquet"
    table.write_requests(table.columns(SERVED, SENT), path)
    read = parquet.read_table(path).to_pydict()
    assert read["output_tokens"][:5] == SERVED.output_tokens[:5].tolist()
    assert read["ttft_ms"][49] is None
    assert read["state"][49] == "rejected"


def test_without_pyarrow_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'silicast\[parquet\]'"):
        table.write_requests(table.columns(SERVED, SENT), tmp_path / "requests.parquet")


def test_other_endings_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv, \.csv\.gz or \.parquet, got 'requests\.xlsx'"):
        table.write_requests({}, tmp_path / "requests.xlsx")
    with pytest.raises(InputError, match=r"Cannot write the trace to .*: it is a directory"):
        write_trace(tmp_path, SERVED)
    with pytest.raises(InputError, match="Cannot write the requests to"):
        table.write_requests(table.columns(SERVED, SENT), Path("/proc/none/requests.csv"))
