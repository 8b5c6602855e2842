"""Charts: valid specifications with all data inside, that say what the noun says, in colours that can be read."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest

from silicast import api
from silicast.estimate import Estimate
from silicast.planning.compare import Comparison, Ratio
from silicast.report import charts, roofline, vega

Spec = dict[str, Any]


@pytest.fixture(scope="module")
def answer() -> Comparison:
    return replace(api.compare("deepseek-ai/DeepSeek-R1", ["ascend-910c", "h100-sxm"], packages=32), claim=0.6)


@pytest.fixture
def ratio(answer: Comparison) -> Ratio:
    return answer.ratios[0]


def every_chart(answer: Comparison, palette: vega.Palette = vega.LIGHT) -> dict[str, Spec]:
    told = [chip.best for chip in answer.chips]
    return {
        "verdict": charts.verdict(answer, palette),
        "causes": charts.causes(answer.ratios[0], answer.claim, palette),
        "map": charts.ratio_map(answer.ratios[0], answer.claim, palette),
        "roofline": roofline.chart(told[0], told, palette),
        "decode": charts.steps(answer.chips, "decode", palette),
        "prefill": charts.steps(answer.chips, "prefill", palette),
        "memory": charts.memory(answer.chips, palette),
    }


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def test_every_chart_is_json_with_the_required_fields(answer: Comparison) -> None:
    for name, spec in every_chart(answer).items():
        assert json.loads(json.dumps(spec, allow_nan=False)) == spec, name
        assert spec["$schema"] == vega.SCHEMA
        assert spec["description"]
        assert spec["width"] == "container"
        assert spec["height"] > 0
        assert spec["data"]["values"]
        assert all("mark" in layer and "encoding" in layer for layer in spec["layer"]), name


def test_every_encoded_field_is_in_the_data_and_nothing_is_loaded(answer: Comparison) -> None:
    for name, spec in every_chart(answer).items():
        assert "url" not in json.dumps(spec["layer"]) + json.dumps(spec["data"]), name
        for layer in spec["layer"]:
            rows = layer.get("data", spec["data"])["values"]
            channels = [*layer["encoding"].values(), *layer["encoding"].get("tooltip", [])]
            wanted = {channel["field"] for channel in channels if isinstance(channel, dict) and "field" in channel}
            assert all(wanted <= row.keys() for row in rows), (name, wanted)


def test_every_colour_scale_lists_what_occurs(answer: Comparison) -> None:
    for name, spec in every_chart(answer).items():
        for layer in spec["layer"]:
            colour = layer["encoding"].get("color", {})
            if "scale" in colour:
                scale, rows = colour["scale"], spec["data"]["values"]
                assert {row[colour["field"]] for row in rows} <= set(scale["domain"]), name
                assert len(scale["domain"]) == len(scale["range"])


def test_the_page_palette_names_variables_only(answer: Comparison) -> None:
    for name, spec in every_chart(answer, vega.PAGE).items():
        assert not [text for text in strings(spec) if text.startswith("#")], name
    assert vega.PAGE.on_part == "var(--on-part)"


def test_the_waterfall_is_a_chain_that_ends_at_the_ratio(ratio: Ratio) -> None:
    *rows, last = charts.cause_rows(ratio)
    assert [row["cause"] for row in rows] == list(ratio.factors)
    assert rows[0]["from"] == 1.0
    assert all(before["to"] == after["from"] for before, after in pairwise(rows))
    assert rows[-1]["to"] == pytest.approx(ratio.per_package.value, rel=1e-6)
    assert (last["from"], last["to"]) == (1.0, ratio.per_package.value)


def test_a_factor_that_is_no_number_has_no_bar(ratio: Ratio) -> None:
    broken = replace(ratio, factors={"links": math.nan, "software": 0.0, "precision": 1.5})
    assert [row["cause"] for row in charts.cause_rows(broken)] == ["precision", "ratio per package"]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.61, 0.9, "above"), (0.4, 0.59, "below"), (0.5, 0.7, "undecided")]
)
def test_a_side_is_taken_by_the_whole_range_only(low: float, high: float, expected: str) -> None:
    assert charts.side(Estimate((low + high) / 2, low, high, ""), 0.6) == expected


def test_the_map_has_every_cell_with_its_range_its_tint_and_its_sign(ratio: Ratio) -> None:
    rows = charts.map_rows(ratio, 0.6)
    assert len(rows) == len(ratio.cells)
    names = charts.bins(0.6)
    assert names[2:4] == ["0.50 to 0.60", "0.60 to 0.72"]
    for row in rows:
        assert (names.index(row["bin"]) >= 3) == (row["value"] >= 0.6)
        assert row["label"].endswith(charts.SIGNS[row["side"]])
        assert row["low"] <= row["value"] <= row["high"]
    assert rows[0]["load"] == "prefill"


def test_without_a_claim_the_map_turns_around_parity(ratio: Ratio) -> None:
    spec = charts.ratio_map(ratio)
    scales = [layer["encoding"]["color"].get("scale") for layer in spec["layer"]]
    assert "1.0 to 1.2" in scales[0]["domain"]


def test_the_roof_is_that_of_the_data_sheet(answer: Comparison) -> None:
    peak, bandwidth = roofline.roof(answer.chips[1].best)
    assert peak == pytest.approx(1979e12, rel=0.01)
    assert bandwidth == pytest.approx(3.35e12, rel=0.01)


def test_operators_lie_under_the_roof_and_are_part_of_the_step(answer: Comparison) -> None:
    for chip in answer.chips:
        peak, bandwidth = roofline.roof(chip.best)
        rows = roofline.operators(chip.best)
        assert {row["phase"] for row in rows} == {"decode", "prefill"}
        for row in rows:
            roof = min(peak, bandwidth * row["intensity"]) / 1e12
            assert 0 < row["tflops"] <= 1.02 * roof, row
        for phase in ("decode", "prefill"):
            assert sum(row["share"] for row in rows if row["phase"] == phase) < 1
            assert 1 <= sum(row["label"] != "" for row in rows if row["phase"] == phase) <= roofline.LABELLED


def test_rooflines_of_several_chips_share_their_axes(answer: Comparison) -> None:
    told = [chip.best for chip in answer.chips]
    first, second = (roofline.chart(one, told)["layer"][-1]["encoding"] for one in told)
    assert first["x"]["scale"] == second["x"]["scale"]
    assert first["y"]["scale"] == second["y"]["scale"]


def test_the_parts_of_a_step_are_those_of_the_tree(answer: Comparison) -> None:
    told = answer.chips[0].best
    rows = charts.step_rows(told, "decode")
    assert sum(row["value"] for row in rows) == pytest.approx(1e3 * sum(part.value for part in told.decode.tree.parts))
    assert {row["part"] for row in rows} == {part.name for part in told.decode.tree.parts}


def test_memory_adds_up_to_the_capacity(answer: Comparison) -> None:
    for chip in answer.chips:
        for told in charts.deployments(chip):
            rows = charts.memory_rows(told)
            assert all(row["value"] >= 0 for row in rows)
            assert sum(row["value"] for row in rows) == pytest.approx(told.memory["capacity_gib"])


def test_two_chips_of_one_id_keep_bars_of_their_own(answer: Comparison) -> None:
    twin = replace(answer, chips=(answer.chips[0], answer.chips[0]))
    bars = {row["bar"] for row in charts.steps(twin.chips, "decode")["data"]["values"]}
    assert len(bars) == 2


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", [vega.LIGHT, vega.DARK], ids=["light", "dark"])
def test_text_can_be_read_on_every_fill(palette: vega.Palette) -> None:
    tints = [item.name for item in fields(palette) if item.name.startswith(("low", "high"))]
    for name in [*tints, "surface"]:
        assert contrast(palette.ink, getattr(palette, name)) >= 4.5, name
    assert contrast(palette.muted, palette.surface) >= 4.5
    for fill in palette.parts():
        assert contrast(palette.on_part, fill) >= 4.5, fill


@pytest.mark.parametrize("palette", [vega.LIGHT, vega.DARK], ids=["light", "dark"])
def test_marks_stand_out_from_the_page(palette: vega.Palette) -> None:
    for name in ("gain", "loss", "total"):
        assert contrast(getattr(palette, name), palette.surface) >= 3, name
