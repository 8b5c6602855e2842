"""Every number in the data has a unit, a source with a title and a date, a confidence, and a basis where one is due."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from silicast import catalog, datafile
from silicast.errors import InputError
from silicast.units import quantity

KINDS = ("chips", "systems", "stacks", "coefficients", "prices")
FILES = [path for kind in KINDS for path in sorted((catalog.data_folder() / kind).rglob("*.toml"))]
CONFIDENCES = {"high", "medium", "low", "assumption", "derived"}

#: dotted place in a file -> one basis of each group must be said: a wrong guess is a factor of two or more
DUE: dict[str, tuple[set[str], ...]] = {
    r"compute\.(matrix|marketing|vector|measured_gemm)\.": ({"dense", "sparse"}, {"per_device", "per_package"}),
    r"compute\.(matrix|marketing)\.": ({"matrix_only", "vector_only", "marketing", "peak"},),
    r"compute\.measured_gemm\.": ({"measured"},),
    r"compute\.cores": ({"per_device", "per_package"},),
    r"compute\.clock": ({"boost", "base", "sustained", "peak"},),
    r"memory\.\w+\.(capacity|usable|bandwidth)": ({"per_device", "per_package", "per_core"},),
    r"memory\.hbm\.(capacity|usable)": ({"printed", "usable"},),
    r"(links\.\w+|domains\[\d+\])\.bandwidth": ({"per_direction", "both_directions"}, {"per_device", "per_package"}),
    r"(power\.|power_per_package)": ({"per_package", "per_device"},),
    r"devices_per_package": ({"per_package"},),
    r"silicon\.(transistors|dies)": ({"per_package", "per_device"},),
}


def numbers(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table with a value, by its dotted place."""
    if isinstance(node, dict) and "value" in node:
        yield place, node
    elif isinstance(node, dict):
        for key, below in node.items():
            yield from numbers(below, f"{place}.{key}" if place else key)
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from numbers(below, f"{place}[{index}]")


def named(path: Path) -> str:
    return path.relative_to(catalog.data_folder()).as_posix()


def expected(path: Path, place: str) -> str | None:
    """The unit of a field; names of coefficients are free."""
    return None if {"coefficients", "prices"} & set(path.parts) else datafile.expected_unit(place)


def check_source(key: Any, sources: dict[str, Any], where: str) -> None:
    source = sources[key] if isinstance(key, str) else key
    assert len(source["title"]) > 5, where
    assert re.match(r"20\d\d", source["date"]), where


def check_traces(document: dict[str, Any], path: Path) -> None:
    """Every number of a file has unit, source, confidence and basis."""
    sources = document.pop("sources", {})
    for place, item in numbers(document):
        where = f"{named(path)}: {place}"
        assert item["confidence"] in CONFIDENCES, where
        check_source(item["source"], sources, where)
        if place.endswith((".technology", ".process", ".structure")):
            continue
        for end in ("value", "low", "high"):
            if end in item:
                value, unit = quantity(item[end])
                assert value > 0, where
                assert unit == (expected(path, place) or unit), where
        for pattern, groups in DUE.items():
            if re.match(pattern, place):
                assert all(group & set(item["basis"]) for group in groups), f"{where}: basis {item.get('basis')}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_number_can_be_traced(path: Path) -> None:
    check_traces(tomllib.loads(path.read_text(encoding="utf-8")), path)


#: what a careless hand does to one number of a chip file
CARELESS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no source": lambda number: number.pop("source"),
    "a source that is not listed": lambda number: number.update(source="hearsay"),
    "no confidence": lambda number: number.pop("confidence"),
    "another confidence": lambda number: number.update(confidence="sure"),
    "no unit": lambda number: number.update(value="3.35"),
    "another unit": lambda number: number.update(value="3.35 TFLOPS"),
    "negative": lambda number: number.update(value="-3.35 TB/s"),
    "no basis": lambda number: number.pop("basis"),
    "half a basis": lambda number: number.update(basis=["peak"]),
}


@pytest.mark.parametrize("care", CARELESS)
def test_the_check_sees_what_is_missing(care: str) -> None:
    path = catalog.data_folder() / "chips" / "h100-sxm.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    CARELESS[care](document["memory"]["hbm"]["bandwidth"])
    with pytest.raises((AssertionError, KeyError, InputError)):
        check_traces(document, path)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_source_is_used(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for key in tomllib.loads(text).get("sources", {}):
        assert re.search(rf'source\s*=\s*"{re.escape(key)}"', text), f"{named(path)}: [sources.{key}]"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_number_without_an_address_is_not_certain(path: Path) -> None:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = document.pop("sources", {})
    for place, item in numbers(document):
        source = sources[item["source"]] if isinstance(item["source"], str) else item["source"]
        if not source.get("url"):
            assert item["confidence"] != "high", f"{named(path)}: {place}"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "datasheet.toml"], ids=named)
def test_an_assumed_coefficient_has_a_range(path: Path) -> None:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    document.pop("sources", {})
    for place, item in numbers(document):
        if item["confidence"] == "assumption":
            assert quantity(item["low"])[0] < quantity(item["high"])[0], f"{named(path)}: {place}"
