"""The report: one file that loads nothing, holds everything, escapes what users wrote, and draws all its charts."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from silicast import __version__, api
from silicast.errors import InputError
from silicast.estimate import DRAWS
from silicast.hardware import Source
from silicast.planning.compare import ChipAnswer, Comparison
from silicast.report.elements import inline_json
from silicast.report.html import known_command, render, write_report
from silicast.report.numbers import rounded
from silicast.report.page import ASSETS

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--"
COMMAND = "silicast compare deepseek-ai/DeepSeek-R1 ascend-910c h100-sxm --packages 32 --claim 0.6"


@pytest.fixture(scope="module")
def answer() -> Comparison:
    return replace(api.compare("deepseek-ai/DeepSeek-R1", ["ascend-910c", "h100-sxm"], packages=32), claim=0.6)


@pytest.fixture(scope="module")
def page(answer: Comparison) -> str:
    return render(answer, COMMAND)


class Page(HTMLParser):
    """Elements with attributes, text outside scripts and styles, and the contents of data scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            attributes, before = self.scripts[-1]
            self.scripts[-1] = attributes, before + data
        elif self._inside == "style":
            self.styles += data
        else:
            self.text += data

    def having(self, attribute: str) -> list[tuple[str, str | None]]:
        """Element and value of every element with `attribute`."""
        return [(tag, found[attribute]) for tag, found in self.elements if attribute in found]


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    parsed = Page(page)
    assert not parsed.having("src")
    assert {tag for tag, _ in parsed.having("href")} == {"a"}
    assert not [
        tag for tag, _ in parsed.elements if tag in ("link", "iframe", "object", "embed", "base", "img", "form")
    ]
    assert "url(" not in parsed.styles
    assert "@import" not in parsed.styles
    policies = [found["content"] for tag, found in parsed.elements if tag == "meta" and "http-equiv" in found]
    assert policies
    assert "default-src 'none'" in str(policies[0])
    assert "unsafe-eval" not in str(policies[0])


def test_links_are_anchors_of_the_page_or_addresses_of_sources(page: str) -> None:
    parsed = Page(page)
    ids = {value for _, value in parsed.having("id")}
    for _, target in parsed.having("href"):
        assert target
        assert target.startswith("https://") or target.removeprefix("#") in ids, target


def test_every_chart_has_its_specification_and_a_table(page: str) -> None:
    parsed = Page(page)
    places = [value for _, value in parsed.having("data-chart")]
    data = {attributes["id"]: json.loads(text) for attributes, text in parsed.scripts if "id" in attributes}
    assert places == list(data)
    assert len(places) >= 8
    for spec in data.values():
        assert {"$schema", "description", "data", "layer", "config"} <= spec.keys()
        assert spec["data"]["values"]
    assert page.count("<summary>The same as a table</summary>") == len(places)


def test_the_verdict_comes_first_with_both_precisions_range_and_tier(answer: Comparison, page: str) -> None:
    text = Page(page).text
    ratio = answer.ratios[0]
    verdict = text[text.index("Verdict\n") if "Verdict\n" in text else 0 : text.index("Output tokens/s, mixed pool")]
    for wanted in (
        *ratio.precisions,
        rounded(ratio.per_package.value, 2),
        f"tier {ratio.per_package.tier}",
        "claim of 0.6",
    ):
        assert wanted in verdict
    order = [page.index(f'<section id="{name}">') for name in ("verdict", "deployments", "roofline", "parts", "memory",
                                                              "gaps", "sources", "reproduce")]  # fmt: skip
    assert order == sorted(order)


def test_the_report_says_what_the_answer_says(answer: Comparison, page: str) -> None:
    text = Page(page).text
    for chip in answer.chips:
        told = chip.best
        assert chip.name in text
        assert told.stack in text
        for warning in told.warnings:
            assert warning in text
        for name in told.missing:
            assert name in text
        for source in told.citations:
            assert source.title in text
        for step in (told.decode, told.prefill):
            assert all(leaf.name in text for leaf in step.leaves())
        assert rounded(told.estimates["ttft_ms"].value, 2) in text
    for cause in answer.ratios[0].factors:
        assert cause in text


def test_how_to_reproduce(page: str) -> None:
    text = Page(page).text
    assert COMMAND in text
    assert f"Silicast {__version__}, {DRAWS} draws" in text


def test_without_the_command_the_known_part_is_printed(answer: Comparison) -> None:
    known = known_command(answer)
    assert known.startswith("silicast compare deepseek-ai/DeepSeek-R1 ascend-910c h100-sxm --input-tokens 4096")
    assert known.endswith("--ttft 2000ms --tpot 50ms --reference h100-sxm --claim 0.6")
    assert "The answer records no more" in render(answer)


def hostile(chip: ChipAnswer) -> ChipAnswer:
    source = Source(title=HOSTILE, url=f"javascript:alert(1)//{HOSTILE}", date=HOSTILE)
    rows = tuple(
        replace(
            row,
            forecast=replace(
                row.forecast, chip=HOSTILE, system=HOSTILE, stack=HOSTILE, precision=HOSTILE, warnings=(HOSTILE,),
                missing=(HOSTILE,), citations=(source, Source(title="x", url=f"https://x.org/{HOSTILE}")),
            ),
        )
        for row in chip.rows
    )  # fmt: skip
    return replace(chip, chip=HOSTILE, name=HOSTILE, precision=HOSTILE, rows=rows)


def test_hostile_names_stay_text(answer: Comparison, page: str) -> None:
    ratio = replace(answer.ratios[0], chip=HOSTILE, precisions=(HOSTILE, HOSTILE))
    chips = (hostile(answer.chips[0]), answer.chips[1])
    text = render(replace(answer, model=HOSTILE, chips=chips, ratios=(ratio,)), HOSTILE)
    before, after = Page(page), Page(text)
    assert len(after.scripts) == len(before.scripts)
    assert not after.having("src")
    assert not after.having("onerror")
    assert not [target for _, target in after.having("href") if str(target).startswith("javascript")]
    assert HOSTILE in after.text
    data = [json.loads(found) for attributes, found in after.scripts if "id" in attributes]
    assert HOSTILE in json.dumps(data, ensure_ascii=False).replace('\\"', '"')


def test_a_dollar_sign_is_no_placeholder(answer: Comparison) -> None:
    assert "$title costs $5" in render(replace(answer, model="$title costs $5"))


def test_json_inside_a_script_is_harmless_and_finite() -> None:
    text = inline_json({"name": HOSTILE, "low": float("nan"), "high": [float("inf"), 1.5]})
    assert not re.search("[<>&]", text)
    assert json.loads(text) == {"name": HOSTILE, "low": None, "high": [None, 1.5]}


def test_one_chip_alone_has_no_ratio(answer: Comparison) -> None:
    text = Page(render(replace(answer, chips=answer.chips[:1], ratios=()))).text
    assert "output tokens/s per package" in text
    assert "Where " not in text


def test_a_missed_target_is_said(answer: Comparison) -> None:
    first = answer.chips[0]
    small, large = first.rows
    missed = replace(first, rows=(small, replace(large, met=False)))
    assert "no layout meets the targets" in render(replace(answer, chips=(missed, answer.chips[1])))


def test_the_licences_travel_with_the_library(page: str) -> None:
    licences = (ASSETS / "vega-licences.txt").read_text(encoding="utf-8")
    text = Page(page).text
    for wanted in ("vega 6.", "vega-lite 6.", "vega-embed 7.", "Copyright", "University of Washington"):
        assert wanted in licences
        assert wanted in text


def test_writing_creates_folders_replaces_the_file_and_leaves_nothing_behind(
    answer: Comparison, tmp_path: Path
) -> None:
    path = tmp_path / "new" / "folder" / "report.html"
    write_report(answer, path, COMMAND)
    path.write_text("old")
    write_report(answer, path, COMMAND)
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(path.parent.iterdir()) == [path]


def test_a_link_keeps_pointing_at_the_file_that_is_replaced(answer: Comparison, tmp_path: Path) -> None:
    link, target = tmp_path / "link.html", tmp_path / "target.html"
    link.symlink_to(target)
    write_report(answer, link)
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")


def bad_paths(folder: Path) -> Sequence[tuple[Path, str]]:
    (folder / "file").write_text("")
    return (
        (folder, "it is a directory"),
        (folder / "file" / "report.html", "is a file, not a folder"),
        (folder / ("x" * 300), "File name too long"),
        (folder / "nul\0byte", "null"),
        (Path("/dev/null"), "not a regular file"),
    )


def test_a_path_that_cannot_be_written_is_one_clear_line(answer: Comparison, tmp_path: Path) -> None:
    for path, reason in bad_paths(tmp_path):
        with pytest.raises(InputError, match=reason) as caught:
            write_report(answer, path)
        assert "\n" not in str(caught.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_or_folder_is_an_input_error(answer: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(InputError, match="read-only"):
        write_report(answer, path)
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        write_report(answer, tmp_path / "other.html")
    tmp_path.chmod(0o755)


def drawn(path: Path, profile: Path) -> tuple[str, list[str]]:
    """The page after its scripts ran with the network off, and what they wrote to the console."""
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def figures(page: str) -> list[str]:
    """The content of each chart's place."""
    return [part.partition("</figure>")[0] for part in page.split("<figure>")[1:]]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_a_browser_without_network_draws_every_chart(answer: Comparison, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(answer, path, COMMAND)
    page, console = drawn(path, tmp_path / "profile")
    found = figures(page)
    assert len(found) == page.count("data-chart=") >= 8
    assert all("<svg" in figure for figure in found)
    assert not [figure for figure in found if "Infinity" in figure or "NaN" in figure]
    assert console == []


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_hostile_names_run_nothing_in_a_browser(answer: Comparison, tmp_path: Path) -> None:
    mark = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    chips = (replace(hostile(answer.chips[0]), name=mark), answer.chips[1])
    path = tmp_path / "report.html"
    ratio = replace(answer.ratios[0], chip=HOSTILE)
    write_report(replace(answer, model=mark, chips=chips, ratios=(ratio,)), path, mark)
    page, console = drawn(path, tmp_path / "profile")
    assert "<title>taken</title>" not in page
    assert all("<svg" in figure for figure in figures(page))
    assert console == []
