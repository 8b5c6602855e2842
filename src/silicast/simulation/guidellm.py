"""The load that GuideLLM describes: its `--data` string and its profiles (guidellm 0.8.1).

Lengths: guidellm/utils/random.py, `IntegerRangeSampler`: normal with the given standard deviation, moved to the ends
[min, max], which default to five standard deviations around the mean and to no less than 1; without a standard
deviation every whole number between the ends is as likely. Fields: `SyntheticTextDataArgs` in
guidellm/schemas/data/deserializers/synthetic.py. Rates of a sweep: guidellm/benchmark/profiles/sweep.py.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import InputError, not_found

Table = dict[str, Any]

PROFILES = ("synchronous", "concurrent", "throughput", "constant", "poisson", "sweep")
#: standard deviations from the mean to the ends where no end is given
REACH = 5
#: runs of a sweep, the synchronous and the throughput one included
SWEEP = 10

_SIZES = ("prompt_tokens", "output_tokens")
FIELDS = (
    *(f"{size}{end}" for size in _SIZES for end in ("", "_stdev", "_min", "_max")),
    "turns", "prefix_tokens", "prefix_count", "delay",
)  # fmt: skip


def traffic(data: str) -> Table:
    """The tables of a `[traffic]` for a `--data` string such as `prompt_tokens=256,output_tokens=128`, or its JSON."""
    given = _numbers(data)
    for needed in _SIZES:
        if needed not in given:
            raise InputError(f"--data needs {needed}, such as prompt_tokens=256,output_tokens=128; got '{data[:60]}'.")
    table: Table = {
        "input_tokens": _lengths(given, "prompt_tokens"),
        "output_tokens": _lengths(given, "output_tokens"),
    }
    if given.get("turns", 1) != 1:
        think = {"think": f"{given['delay']} s", "think_spread": 0.0} if "delay" in given else {}
        table["sessions"] = {"turns": int(given["turns"]), **think}
    if given.get("prefix_tokens"):
        table["prefixes"] = {"tokens": int(given["prefix_tokens"]), "groups": int(given.get("prefix_count", 1))}
    return table


def arrivals(profile: str, rates: Sequence[float] = ()) -> list[Table]:
    """The `arrivals` tables of a profile, one per run: `rates` are requests/s, or streams of `concurrent`.

    A sweep is measured step by step: `sweep_rates` gives the rates after its first two runs.
    """
    if profile not in PROFILES:
        raise not_found("Profile", profile, PROFILES, f"Known: {', '.join(PROFILES)}.")
    if profile == "synchronous":
        return [{"kind": "closed", "concurrency": 1}]
    if profile == "throughput":
        return [{"kind": "burst"}]
    if profile == "sweep":
        return [{"kind": "closed", "concurrency": 1}, {"kind": "burst"}]
    if not rates:
        raise InputError(f"The profile '{profile}' needs --rate: {_meaning(profile)}.")
    for rate in rates:
        if not 0 < rate < np.inf or (profile == "concurrent" and rate != int(rate)):
            raise InputError(f"--rate of the profile '{profile}' is {_meaning(profile)}, got {rate:g}.")
    if profile == "concurrent":
        return [{"kind": "closed", "concurrency": int(rate)} for rate in rates]
    return [{"kind": profile, "rate": float(rate)} for rate in rates]


def sweep_rates(synchronous: float, throughput: float, size: int = SWEEP) -> NDArray[Any]:
    """Requests/s of the runs of a sweep after the first two, evenly from one request at a time to all at once."""
    if size < 3:
        raise InputError(f"A sweep has at least 3 runs, got {size}.")
    return np.linspace(synchronous, throughput, size - 1)[1:]


def _meaning(profile: str) -> str:
    return "a whole number of streams" if profile == "concurrent" else "a positive number of requests/s"


def _numbers(data: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in _pairs(data):
        if key not in FIELDS:
            raise not_found("Field of --data", key, FIELDS, f"Known: {', '.join(FIELDS)}.")
        if key in found:
            raise InputError(f"--data gives {key} twice.")
        found[key] = _number(key, value)
    return found


def _number(key: str, value: Any) -> float:
    """Whole and positive, except a delay (s); a standard deviation and a prefix may be zero."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    least = 0 if key.endswith("_stdev") or key in ("prefix_tokens", "delay") else 1
    if not least <= number < np.inf or (key != "delay" and number != int(number)):
        what = "a number of seconds" if key == "delay" else f"a whole number of at least {least}"
        raise InputError(f"{key} of --data must be {what}, got '{str(value)[:40]}'.")
    return number


def _pairs(data: str) -> list[tuple[str, Any]]:
    if data.lstrip().startswith("{"):
        try:
            return list(json.loads(data).items())
        except ValueError as error:
            raise InputError(f"--data is not JSON: {error}.") from None
    parts = [part.partition("=") for part in data.split(",")]
    for key, sign, _ in parts:
        if not sign:
            raise InputError(f"--data is key=value pairs divided by commas; '{key.strip()[:40]}' has no value.")
    return [(key.strip(), value.strip()) for key, _, value in parts]


def _lengths(given: dict[str, float], size: str) -> Table:
    mean, deviation = int(given[size]), int(given.get(f"{size}_stdev", 0))
    low = int(given.get(f"{size}_min", max(1, mean - REACH * deviation)))
    high = int(given.get(f"{size}_max", mean + REACH * deviation))
    if low > high:
        raise InputError(f"{size} of --data is between {low} and {high}: the least is above the most.")
    if low == high:
        return {"kind": "fixed", "tokens": low}
    if not deviation:
        return {"kind": "uniform", "low": low, "high": high}
    return {"kind": "normal", "mean": float(mean), "deviation": float(deviation), "low": low, "high": high}
