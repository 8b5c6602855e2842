"""The documentation: its Python runs, its links resolve, and the laws say what they compute."""

import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import silicast.laws
from silicast import catalog

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
INCLUDE = re.compile(r"^```\{include\} (?P<target>\S+)", re.MULTILINE)
HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)


class Example(NamedTuple):
    page: Path
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.page.stem}:{self.line}"


def examples() -> Iterator[Example]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for fence in FENCE.finditer(text):
            if fence["info"].strip() == "python runnable":
                yield Example(page, text.count("\n", 0, fence.start("body")) + 1, fence["body"])


@pytest.fixture
def empty_place(tmp_path, monkeypatch):
    """An empty working folder; what an example does to the environment, the path and the packs is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    catalog.pack_folders.cache_clear()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("example", list(examples()), ids=str)
def test_the_python_of_the_documentation_runs(example, empty_place):
    # as many lines before as on the page, so that a traceback names the line of the page
    code = compile("\n" * (example.line - 1) + example.code, str(example.page), "exec")
    exec(code, {"__name__": "example"})


def test_every_page_of_additions_has_an_example():
    text = (DOCS / "how-to-add.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert [section.partition("\n")[0] for section in sections if "```python runnable" not in section] == []


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as MyST and GitHub make them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = (heading["title"].lower() for heading in HEADING.finditer(text))
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_resolve(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.finditer(text):
        target, _, anchor = link["target"].partition("#")
        if target.startswith(("http://", "https://")):
            continue
        place = (page.parent / target).resolve() if target else page
        assert place.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{page.name} links to {link['target']}"


@pytest.fixture(scope="module")
def generate() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_included_pages_are_generated_and_generated_ones_included(generate):
    included = {match["target"] for page in PAGES for match in INCLUDE.finditer(page.read_text(encoding="utf-8"))}
    assert included == {f"generated/{name}.md" for name in generate.PAGES}


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line.strip() for fence in FENCE.finditer(index) for line in fence["body"].splitlines()}
    assert {page.stem for page in PAGES} - {"index"} <= listed


def test_pages_of_the_laws_and_of_a_forecast_are_written(generate):
    laws = generate.laws()
    assert all(f"### {law.__name__}\n" in laws for law in LAWS.values())
    assert generate.coefficients().count("\n") > 20
    assert "**step**" in generate.worked()
    assert "`h100-sxm`" in generate.chips()
    assert "deepseek" in generate.models()
    assert "Usage: silicast" in generate.help_text("compare")


def public_laws() -> dict[str, Callable[..., Any]]:
    """Every public function defined in `silicast.laws`, by dotted name."""
    found = {}
    for item in pkgutil.iter_modules(silicast.laws.__path__, "silicast.laws."):
        module = importlib.import_module(item.name)
        for name, law in inspect.getmembers(module, inspect.isfunction):
            if law.__module__ == module.__name__ and not name.startswith("_"):
                found[f"{item.name.rpartition('.')[2]}.{name}"] = law
    return found


LAWS = public_laws()

#: words that tell what is measured in what, in the docstring of the law, of its module or of its inputs
UNITS = re.compile(r"\b(s|seconds|B/s|FLOP/s|bytes|tokens?|experts|rows|devices|sequences)\b")
REFERENCE = re.compile(r"Reference:|arXiv:|\(\d{4}\)|\b(19|20)\d{2}\b")
#: laws whose docstring still lacks something; none may join
UNSOURCED = {"collective.divide", "collective.send_time", "gemm.experts_hit", "host.host_time", "timing.overlapped3"}
WITHOUT_FORMULA = {"timing.overlapped3"}


def described(law: Callable[..., Any]) -> str:
    """What the module says about units, and the classes of numbers that the law takes."""
    module = inspect.getmodule(law)
    classes = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    return "\n".join(inspect.getdoc(item) or "" for item in (module, *classes))


@pytest.mark.parametrize("name", LAWS)
def test_a_law_says_its_formula_its_units_and_its_reference(name):
    law = LAWS[name]
    text = inspect.getdoc(law) or ""
    first = text.partition("\n")[0]
    assert first.endswith((".", ")", ":")) or "=" in first, "one sentence in the words of the field"
    if name not in WITHOUT_FORMULA:
        assert re.search(r"\w.* = \S|\^\(1/3\)|min\(|max\(", text), "a formula"
        assert UNITS.search(text + described(law)), "units"
    if name not in UNSOURCED:
        assert REFERENCE.search(text), "a reference"
