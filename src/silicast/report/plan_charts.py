"""Charts of a plan as Vega-Lite specifications: the front of each chip, with its recipe on hover, and measured runs."""

from collections.abc import Sequence

from silicast.evidence.runs import Run
from silicast.planning.plan import Plan, Point
from silicast.report import vega
from silicast.report.numbers import rounded
from silicast.report.vega import LIGHT, Palette, Row, Spec

HEIGHT = 360


def throughput(answer: Plan, palette: Palette = LIGHT, measured: Sequence[Run] = ()) -> Spec:
    """Output tokens/s/device over tokens/s/user: the most of the one that each of the other leaves; measured runs as
    crosses over the lines."""
    return _front(answer, "output_tokens_per_s_per_device", "output tokens/s per device", palette, run_rows(measured))


def cost(answer: Plan, palette: Palette = LIGHT) -> Spec | None:
    """USD per million output tokens over tokens/s/user; None where no chip of the front has a price."""
    if not any(point.usd_per_million_output_tokens for point in answer.front):
        return None
    return _front(answer, "usd_per_million_output_tokens", "USD per million output tokens", palette)


def point_rows(points: Sequence[Point]) -> list[Row]:
    """The points of the front, with their texts."""
    return [
        {
            "chips": point.chips,
            "tokens_per_s_per_user": point.tokens_per_s_per_user,
            "output_tokens_per_s_per_device": point.output_tokens_per_s_per_device,
            "usd_per_million_output_tokens": point.usd_per_million_output_tokens,
            "user": f"{rounded(point.tokens_per_s_per_user)} tokens/s",
            "device": f"{rounded(point.output_tokens_per_s_per_device)} tokens/s",
            "usd": "no price" if point.usd_per_million_output_tokens is None
            else f"{rounded(point.usd_per_million_output_tokens)} USD",
            "recipe": point.recipe,
        }
        for point in points
    ]  # fmt: skip


def run_rows(measured: Sequence[Run]) -> list[Row]:
    """The measured runs, with their texts."""
    return [
        {
            "chips": run.chips,
            "tokens_per_s_per_user": run.tokens_per_s_per_user,
            "output_tokens_per_s_per_device": run.output_tokens_per_s_per_device,
            "user": f"{rounded(run.tokens_per_s_per_user)} tokens/s",
            "device": f"{rounded(run.output_tokens_per_s_per_device)} tokens/s",
            "recipe": run.recipe,
            "source": run.source,
        }
        for run in measured
    ]


def _front(answer: Plan, field: str, title: str, palette: Palette, measured: Sequence[Row] = ()) -> Spec:
    rows = [row for row in point_rows(answer.front) if row[field] is not None]
    target = answer.question.targets.tpot_ms
    wanted = [1e3 / target] if target else []
    x = {"field": "tokens_per_s_per_user", "type": "quantitative", "title": "tokens/s per user (1 / mean TPOT)",
         **vega.log_axis([*(row["tokens_per_s_per_user"] for row in (*rows, *measured)), *wanted])}  # fmt: skip
    y = {"field": field, "type": "quantitative", "title": title,
         **vega.log_axis(row[field] for row in (*rows, *measured))}  # fmt: skip
    # single chips first: they get the strong colours
    names = sorted(dict.fromkeys(row["chips"] for row in rows), key=lambda name: " -> " in name)
    colours = {"field": "chips", "type": "nominal", "title": None,
               "scale": {"domain": names, "range": [_colour(palette, place) for place in range(len(names))]},
               "legend": {"orient": "top", "columns": 3}}  # fmt: skip
    shape = {"field": "chips", "type": "nominal", "title": None, "scale": {"domain": names}}
    hover = vega.tips(chips="chips", user="per user", device="per device", usd="per million output", recipe="recipe")
    layers: list[Spec] = [
        {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"x": x, "y": y, "color": colours}},
        {"mark": {"type": "point", "filled": True, "size": 46, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": colours, "shape": shape, "tooltip": hover}},
    ]  # fmt: skip
    if measured:
        layers.append({
            "data": {"values": measured},
            "mark": {"type": "point", "shape": "cross", "filled": False, "size": 40, "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y, "color": colours, "tooltip": vega.tips(
                chips="chips", user="measured per user", device="measured per device", recipe="recipe", source="source"
            )},
        })  # fmt: skip
    if wanted:
        rule = {"type": "rule", "strokeDash": [4, 4]}
        datum = x | {"field": None, "datum": wanted[0]}
        datum.pop("field")
        layers.append({"mark": rule, "encoding": {"x": datum, "color": {"value": palette.total}}})
    return vega.chart(
        f"{title} over tokens per second and user, best deployments by chip", rows, layers, palette, HEIGHT
    )


def _colour(palette: Palette, place: int) -> str:
    strong = [palette.gain, palette.loss, *palette.parts()]
    return strong[place % len(strong)]
