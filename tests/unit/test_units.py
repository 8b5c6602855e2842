"""Units at the border: what a file or an option may say, and how numbers are shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silicast.errors import NotFoundError
from silicast.hardware import Number, Source
from silicast.report.numbers import scale, shown, shown_range
from silicast.units import UNITS, duration_ms, quantity


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("80 GiB", 80 * 1024**3, "B"),
        ("80 GB", 80e9, "B"),
        ("3.35 TB/s", 3.35e12, "B/s"),
        ("400 Gb/s", 50e9, "B/s"),
        ("989 TFLOPS", 989e12, "FLOP/s"),
        ("1979 TOPS", 1979e12, "FLOP/s"),
        ("929 ns", 929e-9, "s"),
        ("1.8 GHz", 1.8e9, "Hz"),
        ("53e9 count", 53e9, ""),
        ("65 %", 0.65, ""),
        ("0.7", 0.7, ""),
    ],
)
def test_quantities(text: str, value: float, unit: str) -> None:
    found, found_unit = quantity(text)
    assert (pytest.approx(value), unit) == (found, found_unit)


@pytest.mark.parametrize(("text", "guess"), [("3 TB/S", "TB/s"), ("3 gib", "GiB"), ("3 TFLOP", "TFLOPS")])
def test_the_nearest_unit_is_named(text: str, guess: str) -> None:
    with pytest.raises(NotFoundError, match=f"Did you mean '{guess}'"):
        quantity(text)


@pytest.mark.parametrize("text", ["", "fast", "nan s", "inf s", "3 4 s", "1,000 W", "0x10 B", "--3 s"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(NotFoundError):
        quantity(text)


@pytest.mark.parametrize(("text", "ms"), [("2s", 2000), ("50ms", 50), ("50", 50), ("1.5 s", 1500), ("250us", 0.25)])
def test_durations(text: str, ms: float) -> None:
    assert duration_ms(text) == pytest.approx(ms)


@pytest.mark.parametrize("text", ["0", "-1s", "1e999 s", "3 GB", "soon", ""])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(NotFoundError):
        duration_ms(text)


@given(st.text(max_size=40))
def test_any_text_is_a_quantity_or_an_input_error(text: str) -> None:
    try:
        value, unit = quantity(text)
    except NotFoundError:
        return
    assert not math.isnan(value)
    assert unit in {si for _, si in UNITS.values()}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (80 * 1024**3, "B", "80 GiB"),
        (1536 * 1024**3, "B", "1536 GiB"),
        (192 * 1024**2, "B", "192 MiB"),
        (3.35e12, "B/s", "3.35 TB/s"),
        (196e9, "B/s", "196 GB/s"),
        (989e12, "FLOP/s", "989 TFLOPS"),
        (9000e12, "FLOP/s", "9000 TFLOPS"),
        (10066.3e12, "FLOP/s", "10066 TFLOPS"),
        (929e-9, "s", "929 ns"),
        (2.1e-6, "s", "2.1 us"),
        (1400, "W", "1400 W"),
        (53e9, "", "53e9"),
        (24, "", "24"),
        (665.61, "mm2", "665.6 mm2"),
    ],
)
def test_shown(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


@given(st.floats(1e-9, 1e18), st.sampled_from(["B", "B/s", "FLOP/s", "s", "Hz", "W"]))
def test_what_is_shown_reads_back(value: float, unit: str) -> None:
    found, found_unit = quantity(shown(value, unit))
    assert found_unit == unit
    assert found == pytest.approx(value, rel=1e-3)


def test_a_range_is_shown_in_the_unit_of_its_value() -> None:
    source = Source(title="t")
    number = Number(value=1e12, low=0.9e12, high=2e12, unit="B/s", source=source, confidence="low")
    assert (scale(number.value, number.unit)[1], shown_range(number)) == ("TB/s", "0.9 to 2")
    exact = number.model_copy(update={"low": 1e12, "high": 1e12})
    assert shown_range(exact) == ""
