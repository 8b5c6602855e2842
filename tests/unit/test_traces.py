"""Traces: every format as published, and every kind of broken file as one line with file, line and column."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError, TraceError
from silicast.traces import Reading, read_trace
from silicast.traces.blocks import BLOCK_BYTES, Block
from silicast.traces.cells import decimals
from silicast.traces.grid import grid

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:17:03.9799600,4808,10\r
2023-11-16 18:17:04.0319600,3180,8\r
2023-11-16 18:17:04.0781490,110,27"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,GPT-4,1087,0,1087,API log
118,GPT-4,417,276,693,Conversation log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 1030, "output_length": 500, "hash_ids": [0, 1, 2]}
{"timestamp": 1500, "input_length": 700, "output_length": 3, "hash_ids": [0, 7]}
"""
OWN = """arrival_s,input_tokens,output_tokens,session,priority,tenant,hash_ids
0.5,100,10,a,1,chat,3 4
1.25,200,20,,0,code,
2,300,30,a,0,chat,3 4 5 6 7
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(text: str | bytes, name: str = "trace.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


def test_azure(write: Any) -> None:
    trace = read_trace(write(AZURE))
    assert trace.format == "azure"
    assert trace.requests.arrival.tolist() == pytest.approx([0, 0.052, 0.098189], abs=1e-9)
    assert trace.requests.input_tokens.tolist() == [4808, 3180, 110]
    assert trace.requests.output_tokens.tolist() == [10, 8, 27]
    assert trace.requests.hashes is None
    assert trace.requests.session.tolist() == [-1, -1, -1]


def test_azure_of_2024_has_a_zone(write: Any) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,2162,5\n"
    text += "2024-05-10 00:00:01.009930+00:00,2399,6\n"
    assert read_trace(write(text)).requests.arrival.tolist() == [0, 1]


def test_burstgpt_leaves_out_what_failed_and_says_so(write: Any) -> None:
    trace = read_trace(write(BURSTGPT))
    assert trace.format == "burstgpt"
    assert trace.requests.arrival.tolist() == [0, 113]
    assert trace.requests.output_tokens.tolist() == [18, 276]
    assert [trace.tenants[one] for one in trace.tenant] == ["ChatGPT", "GPT-4"]
    assert trace.notes == ("1 failed requests without output were left out.",)


def test_mooncake(write: Any) -> None:
    trace = read_trace(write(MOONCAKE, "trace.jsonl"))
    assert trace.format == "mooncake"
    assert trace.requests.arrival.tolist() == [0, 1.5]
    assert trace.requests.block_tokens == 512
    assert trace.requests.hashes is not None
    assert [column.tolist() for column in trace.requests.hashes] == [[0, 2, 3], [0, 1, 0]]  # whole blocks


def test_our_own(write: Any) -> None:
    trace = read_trace(write(OWN), Reading(block_tokens=64))
    requests = trace.requests
    assert trace.format == "silicast"
    assert requests.arrival.tolist() == [0, 0.75, 1.5]
    assert requests.session.tolist() == [0, -1, 0]
    assert requests.turn.tolist() == [0, 0, 1]
    assert requests.priority.tolist() == [1, 0, 0]
    assert [trace.tenants[one] for one in trace.tenant] == ["chat", "code", "chat"]
    assert requests.hashes is not None
    assert [column.tolist() for column in requests.hashes] == [[0, 1, 1, 5], [3, 3, 4, 5, 6]]


@pytest.mark.parametrize("text", [AZURE, BURSTGPT, MOONCAKE, OWN])
@pytest.mark.parametrize("name", ["trace.gz", "trace"])
def test_gzip_and_a_byte_order_mark_change_nothing(write: Any, text: str, name: str) -> None:
    how = Reading(block_tokens=64 if text is OWN else None)
    data = b"\xef\xbb\xbf" + text.encode()
    packed = read_trace(write(gzip.compress(data) if name == "trace.gz" else data, name), how)
    plain = read_trace(write(text), how)
    for one, other in zip(columns(packed.requests), columns(plain.requests), strict=True):
        assert np.array_equal(one, other)


def columns(requests: Any) -> list[Any]:
    names = ("arrival", "input_tokens", "output_tokens", "session", "turn", "priority")
    return [getattr(requests, name) for name in names] + list(requests.hashes or ())


def test_quotes_and_empty_lines_are_read(write: Any) -> None:
    text = 'arrival_s,input_tokens,output_tokens,tenant\n"0",1,2,"a, b"\n\n1, 3 ,4,c\n\n'
    trace = read_trace(write(text))
    assert trace.requests.input_tokens.tolist() == [1, 3]
    assert trace.tenants == ("a, b", "c")


def test_many_blocks_are_one_trace(write: Any) -> None:
    count = 3 * BLOCK_BYTES // 12
    lines = "".join(f"{row},{row % 900 + 1},{row % 7 + 1}\n" for row in range(count))
    trace = read_trace(write("arrival_s,input_tokens,output_tokens\n" + lines))
    assert np.array_equal(trace.requests.arrival, np.arange(count))
    assert np.array_equal(trace.requests.input_tokens, np.arange(count) % 900 + 1)
    bad = write("arrival_s,input_tokens,output_tokens\n" + lines + f"{count},5,-1\n")
    with pytest.raises(TraceError, match=f"line {count + 2}, column 'output_tokens': '-1'"):
        read_trace(bad)


def test_only_the_start_is_read_where_that_is_asked(write: Any) -> None:
    trace = read_trace(write(OWN), Reading(requests=1, block_tokens=64))
    assert trace.requests.arrival.size == 1
    assert trace.requests.hashes is not None
    assert trace.requests.hashes[1].tolist() == [3]


def test_time_is_scaled(write: Any) -> None:
    path = write(OWN)
    assert read_trace(path, Reading(time_scale=2, block_tokens=64)).requests.arrival.tolist() == [0, 1.5, 3]
    assert read_trace(path, Reading(rate=4.0, block_tokens=64)).requests.arrival.tolist() == [0, 0.25, 0.5]


def test_lines_out_of_order_are_sorted_where_that_is_asked(write: Any) -> None:
    text = OWN.replace("0.5,", "9.5,")
    with pytest.raises(TraceError, match=r"trace\.csv, line 3: this request arrives before the one above"):
        read_trace(write(text), Reading(block_tokens=64))
    requests = read_trace(write(text), Reading(sort=True, block_tokens=64)).requests
    assert requests.input_tokens.tolist() == [200, 300, 100]
    assert requests.hashes is not None
    assert [column.tolist() for column in requests.hashes] == [[0, 0, 4, 5], [3, 4, 5, 6, 3]]
    assert requests.turn.tolist() == [0, 0, 1]


@given(
    st.lists(
        st.one_of(
            st.floats(0, 1e9).map(repr), st.integers(0, 10**9).map(str), st.decimals(0, 10**6, places=4).map(str),
            st.sampled_from(["", ".", "1.", ".5", "1e3", "-3", "nan", "1.2.3", " 4", "0x1"]),
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_digits_give_the_same_number_as_float(texts: list[str]) -> None:
    read = decimals(np.array([text.encode() for text in texts]))
    if read is not None:
        assert read.tolist() == [float(text) for text in texts]


@given(
    st.lists(st.tuples(*[st.text("abc1 .'", max_size=6)] * 3), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]), st.booleans(),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_grid_is_what_a_csv_reader_reads(rows: list[tuple[str, str, str]], ending: str, closed: bool) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator=ending).writerows(rows)
    text = file.getvalue() if closed else file.getvalue().removesuffix(ending)
    read = grid(Block("x.csv", 2, text.encode()), ["a", "b", "c"], [0, 1, 2])
    for place in range(3):
        assert [cell.strip() for cell in read.texts(place)] == [row[place].strip().encode() for row in rows]
    assert read.lines.tolist() == list(range(2, 2 + len(rows)))


HEAD = "arrival_s,input_tokens,output_tokens\n"
BROKEN = {
    "empty": (b"", r"trace\.csv is empty"),
    "header alone": (HEAD, "has no requests after its header"),
    "only failures": (BURSTGPT.split("118")[0].replace("5,ChatGPT,472,18", "5,ChatGPT,472,0"), "only failed requests"),
    "no number": (HEAD + "0,1,2\n1,abc,2\n", r"trace\.csv, line 3, column 'input_tokens': 'abc' is not a whole"),
    "negative time": (HEAD + "-1,1,2\n", "line 2, column 'arrival_s': '-1' is negative"),
    "negative tokens": (HEAD + "0,-1,2\n", "line 2, column 'input_tokens': '-1' is not a number of tokens from 1"),
    "no output": (HEAD + "0,1,0\n", "column 'output_tokens': '0' is not a number of tokens from 1"),
    "nan time": (HEAD + "0,1,2\nnan,1,2\n", "line 3, column 'arrival_s': 'nan' is not a finite"),
    "nan tokens": (HEAD + "0,NaN,2\n", "column 'input_tokens': 'NaN' is not a whole number"),
    "half a token": (HEAD + "0,1.5,2\n", "'1.5' is not a whole number"),
    "overflowing time": (HEAD + "1e400,1,2\n", "'1e400' is not a finite time"),
    "late": (HEAD + "1e15,1,2\n", "too late a time; check the unit"),
    "overflowing tokens": (HEAD + "0,99999999999999999999999,2\n", "is too large a number"),
    "many tokens": (HEAD + "0,1,100000001\n", "from 1 to 100,000,000"),
    "empty cell": (HEAD + "0,,2\n", "line 2, column 'input_tokens': an empty cell is not a whole number"),
    "cut line": (HEAD + "0,1,2\n1,1", "line 3, column 'output_tokens': the line ends here, with 2 of 3 fields"),
    "long line": (HEAD + "0,1,2,3\n", "line 2, column 'output_tokens': 4 fields follow a header of 3"),
    "unsorted": (HEAD + "1,1,2\n0,1,2\n", "line 3: this request arrives before"),
    "long cell": (HEAD + "0," + "9" * 500 + ",2\n", "line 2, column 'input_tokens': 500 characters"),
    "open quote": (HEAD + '0,"1,2\n', "line 2"),
    "binary": (HEAD.encode() + b"0,1,2\n1,\0,2\n", r"trace\.csv, line 3: this is not text \(a zero byte\)"),
    "latin-1": (HEAD.replace("\n", ",tenant\n").encode() + b'0,1,2,"\xe9"\n', "line 2: this is not text in UTF-8"),
    "latin-1 header": (b"\xe9,b\n1,2\n", "line 1: this is not text in UTF-8"),
    "typo": ("arrival_s,input_token,output_tokens\n0,1,2\n", "'input_tokens' is missing. Did .* by 'input_token'"),
    "unknown": (HEAD.replace("\n", ",sesion\n") + "0,1,2,3\n", "column 'sesion' not found. Did you mean 'session'"),
    "twice": (HEAD.replace("\n", ",arrival_s\n") + "0,1,2,3\n", "column 'arrival_s': the name stands there twice"),
    "semicolons": ("arrival_s;input_tokens;output_tokens\n0;1;2\n", "divided by commas"),
    "no format": ("foo,bar\n1,2\n", "of no known format. Known columns are azure: TIMESTAMP"),
    "no header": ("0.1,100,200\n", "of no known format"),
    "bad hashes": (HEAD.replace("\n", ",hash_ids\n") + "0,999,2,1 x\n", "'1 x' is not a list of whole numbers"),
    "too many hashes": (HEAD.replace("\n", ",hash_ids\n") + "0,9,2,1 2\n", "'hash_ids': 2 hashes of 512"),
    "azure date": (AZURE.replace("2023-11-16 18:17:04.0319600", "2023-13-16 18:17:04"), "line 3, column 'TIMESTAMP'"),
    "azure number": (AZURE.replace("2023-11-16 18:17:04.0319600", "12.5"), "is not a date with time"),
    "azure empty": (AZURE.replace("2023-11-16 18:17:04.0319600", ""), "column 'TIMESTAMP': an empty cell"),
    "azure far": (AZURE.replace("2023-11-16 18:17:04.07", "9999-11-16 18:17:04.07"), "line 4, column 'TIMESTAMP'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_table_is_one_clear_line(write: Any, case: str) -> None:
    text, said = BROKEN[case]
    with pytest.raises(TraceError, match=said) as caught:
        read_trace(write(text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


ROW = '{"timestamp": 1, "input_length": 5, "output_length": 6, "hash_ids": [1]}\n'
LINES = {
    "cut": (ROW + ROW[:40], r"trace\.jsonl, line 2, character \d+: this is not JSON.*cut off"),
    "two in one": (ROW + ROW.strip() + ", " + ROW, "line 2"),
    "list": ("{}\n[1]\n".replace("{}\n", ROW), "line 2: a line must be one JSON object"),
    "missing": (ROW + ROW.replace("input_length", "input_len"), "line 2, column 'input_length': the key is mis.* Did"),
    "text": (ROW.replace("5", '"5"'), "line 1, column 'input_length': \"5\" is not a number"),
    "bool": (ROW.replace("5", "true"), "column 'input_length': true is not a number"),
    "nan": (ROW + ROW.replace("5", "NaN"), "line 2: this is not JSON: NaN is no number"),
    "huge": (ROW.replace("5", "1" + "0" * 400), "column 'input_length'.*is too large a number"),
    "infinite": (ROW.replace(" 1,", " 1e999,", 1), "column 'timestamp': Infinity is not a finite number"),
    "negative": (ROW.replace(" 1,", " -1,", 1), "column 'timestamp': -1 is not a time from 0 on"),
    "fraction": (ROW.replace("6", "6.5"), "column 'output_length': 6.5 is not a number of tokens"),
    "zero": (ROW.replace("6", "0"), "column 'output_length': 0 is not a number of tokens"),
    "hash text": (ROW.replace("[1]", '["a"]'), "column 'hash_ids'.*is not a list of whole numbers"),
    "hash huge": (ROW.replace("[1]", f"[{2**70}]"), "column 'hash_ids'.*is not a list of whole numbers"),
    "hash none": (ROW + ROW.replace(', "hash_ids": [1]', ""), "line 2, column 'hash_ids': the key is missing"),
    "hashes too many": (ROW.replace("[1]", "[1, 2]"), "line 1, column 'hash_ids': 2 hashes of 512 tokens"),
    "unsorted": (ROW + ROW.replace(" 1,", " 0,", 1), "line 2: this request arrives before"),
    "deep": ("{" + '"a":[' * 100_000 + "\n", "line 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", LINES)
def test_a_broken_line_is_one_clear_line(write: Any, case: str) -> None:
    text, said = LINES[case]
    with pytest.raises(TraceError, match=said) as caught:
        read_trace(write(text, "trace.jsonl"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_hashes_may_be_absent_from_all_lines(write: Any) -> None:
    assert read_trace(write(ROW.replace(', "hash_ids": [1]', ""), "trace.jsonl")).requests.hashes is None


def test_a_cut_or_damaged_gzip_file_says_so(write: Any) -> None:
    packed = gzip.compress((HEAD + "".join(f"{row},{row % 97 + 1},2\n" for row in range(9999))).encode())
    with pytest.raises(TraceError, match="cut off: its gzip stream ends early"):
        read_trace(write(packed[: len(packed) // 2]))
    with pytest.raises(TraceError, match="damaged gzip"):
        read_trace(write(packed[:200] + b"\xff" * 50 + packed[250:]))


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(TraceError, match="cannot be read: Is a directory"):
        read_trace(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "mooncacke"}, "Trace format 'mooncacke' not found. Did you mean 'mooncake'"),
        ({"time_scale": 0.0}, "time_scale of a trace must be positive"),
        ({"time_scale": float("nan")}, "got nan"),
        ({"rate": float("inf")}, "rate of a trace must be positive"),
        ({"requests": 0}, "requests of a trace"),
        ({"rate": 1.0, "time_scale": 2.0}, "not both"),
    ],
)
def test_an_impossible_reading_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Reading(**given)


def test_no_time_scale_makes_a_rate_of_a_burst(write: Any) -> None:
    with pytest.raises(TraceError, match="arrive at one time"):
        read_trace(write(HEAD + "3,1,2\n3,1,2\n"), Reading(rate=2.0))


def test_a_named_format_is_not_guessed(write: Any) -> None:
    with pytest.raises(TraceError, match="column 'TIMESTAMP' is missing"):
        read_trace(write(OWN), Reading(format="azure"))
    assert json.loads(MOONCAKE.splitlines()[0])["hash_ids"]


WORDS = [b"", b",", b"\n", b'"', b"-", b"e9", b"nan", b"\xff", b"{", b"]", b"1" * 30, b"\r", b" ", b";", b"null", b"\0",
         b"0x", b"\t", b"9999-"]  # fmt: skip
MUTATIONS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(WORDS)), min_size=1, max_size=4)


@given(st.sampled_from([AZURE, BURSTGPT, MOONCAKE, OWN]), MUTATIONS, st.booleans())
@settings(max_examples=400, deadline=None)
def test_a_file_is_read_or_refused_whatever_is_in_it(
    tmp_path_factory: pytest.TempPathFactory, text: str, changes: list[tuple[float, int, bytes]], packed: bool
) -> None:
    data = text.encode()
    for place, length, bytes_ in changes:
        at = int(place * len(data))
        data = data[:at] + bytes_ + data[at + length :]
    path = tmp_path_factory.getbasetemp() / "mutated.csv"
    path.write_bytes(gzip.compress(data)[: -1 if len(changes) == 4 else None] if packed else data)
    try:
        requests = read_trace(path, Reading(block_tokens=16)).requests
    except TraceError as error:
        assert "\n" not in str(error)  # noqa: PT017 - whether it is refused is not known before
        return
    count = requests.arrival.size
    assert count
    assert np.all(np.diff(requests.arrival) >= 0)
    assert requests.input_tokens.min() >= 1
    assert requests.output_tokens.min() >= 1
    if requests.hashes is not None:
        offsets, ids = requests.hashes
        assert offsets.size == count + 1
        assert ids.size == offsets[-1]
        assert np.all(np.diff(offsets) <= requests.input_tokens // 16)
