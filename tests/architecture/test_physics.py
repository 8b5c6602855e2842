"""Physics in code, numbers in data: no product's name and no unexplained number where times are computed."""

import ast
import re
import sys
from collections.abc import Iterator

import pytest

from silicast import catalog
from tests.architecture import source
from tests.architecture.source import FILES, comments, docstrings, references, text, tree, under

#: files that must not know whose chip or engine they work for
NAMELESS_PLACES = (
    "laws/", "serving/", "step.py", "timed.py", "exchange.py", "memory.py", "parts.py", "pool.py", "machine.py",
    "disaggregation.py", "tabulated.py", "coefficients.py", "outcome.py", "model/ops.py", "model/blocks/",
)  # fmt: skip
NAMELESS = under(*NAMELESS_PLACES)
#: a scheduling policy is an engine's own
NAMELESS = [file for file in NAMELESS if not file.startswith("serving/policies/")]
#: files in which a number is either 0 to 8 or a half, or has a name and a derivation
NUMBERLESS_PLACES = (
    "laws/", "serving/", "step.py", "timed.py", "exchange.py", "memory.py", "parts.py", "pool.py", "machine.py",
    "disaggregation.py", "coefficients.py", "model/ops.py", "model/blocks/",
)  # fmt: skip
NUMBERLESS = under(*NUMBERLESS_PLACES)
PLAIN = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0.5}

VENDORS = {"nvidia", "amd", "intel", "google", "huawei", "ascend", "hisilicon", "tpu", "gaudi", "instinct"}
CHIPS = {"hopper", "ampere", "blackwell", "ada", "rubin", "davinci", "cloudmatrix", "cloudmatrix384", "dgx", "hgx"}
ENGINES = {"cuda", "cann", "rocm", "vllm", "sglang", "tensorrt", "trtllm", "mindie", "mindspeed", "megatron"}
LIBRARIES = {"nccl", "hccl", "rccl", "deepep", "deepgemm", "flashmla", "flashattention", "nvlink", "xgmi", "hccs"}
#: ids of the catalog that are plain words
WORDS = {"generic"}


def forbidden() -> set[str]:
    ids = {name for kind in ("chips", "systems", "stacks") for name in catalog.ids(kind)}
    generations = {catalog.chip(name).generation for name in catalog.ids("chips")}
    products = {name for name in ids | generations if not name.isalpha() or name in ENGINES}
    return VENDORS | CHIPS | ENGINES | LIBRARIES | products - WORDS


def spoken(file: str) -> Iterator[tuple[int, str]]:
    """Names and texts in code with their lines; docstrings, comments and `reference=` excluded."""
    quiet = docstrings(file) | references(file)
    for node in ast.walk(tree(file)):
        line = getattr(node, "lineno", 0)
        if id(node) in quiet:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield line, node.value
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(found := getattr(node, field, None), str):
                yield line, found


def names_in(words: str, known: set[str]) -> set[str]:
    """Which known names stand in a text as whole words, however they are joined or capitalised."""
    split = re.sub(r"([a-z])([A-Z])", r"\1 \2", words)
    plain = " " + re.sub(r"[^a-z0-9]+", " ", split.lower()) + " "
    return {name for name in known if f" {re.sub(r'[^a-z0-9]+', ' ', name.lower())} " in plain}


@pytest.mark.parametrize("place", sorted({*NAMELESS_PLACES, *NUMBERLESS_PLACES}))
def test_the_places_of_physics_are_there(place: str) -> None:
    """A file that was split or renamed would else be checked no more."""
    assert under(place)


def test_what_computes_times_is_a_place_of_physics() -> None:
    """Whatever imports a law is checked, wherever it lies."""
    laws = {file for file in FILES if re.search(r"^from silicast(\.| import )laws\b", text(file), re.M)}
    apart = {"planning/causes.py"}  # only puts machines together
    assert laws
    assert {file for file in laws if not file.startswith("evidence/")} <= {*NAMELESS, *NUMBERLESS, *apart}


@pytest.mark.parametrize("file", NAMELESS)
def test_physics_knows_no_product(file: str) -> None:
    known = forbidden()
    found = [f"{file}:{line}: {name}" for line, words in spoken(file) for name in names_in(words, known)]
    assert not found


def test_the_search_for_names_finds_them() -> None:
    known = forbidden()
    for words in ("h100-sxm", "is_h100_sxm", "AscendLaw", "vllm_tax", "runs on TPU v5e", "deep_ep or DeepEP dispatch"):
        assert names_in(words, known | {"deep ep"}), words
    assert not names_in("a matrix engine of 128 tiles that ascends, static, adaptive, intelligent", known)


def named(file: str) -> set[int]:
    """The ids of all nodes in constants of the module: CAPITALS = ..., with a comment on the line or above it."""
    remarks = comments(file)
    found: set[int] = set()
    told = False
    last = 0
    for statement in tree(file).body:
        above = any(line in remarks for line in range(last + 1, statement.lineno))
        gap = statement.lineno > last + 1 and not above
        last = statement.end_lineno or statement.lineno
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            told = False
            continue
        # a comment stands for the lines right below it too, up to the next empty one
        told = above or statement.lineno in remarks or (told and not gap)
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        if told and all(name == name.upper() for name in names):
            found |= {id(node) for node in ast.walk(statement)}
    return found


def bare_numbers(file: str) -> list[str]:
    explained = named(file)
    return [
        f"{file}:{node.lineno}: {node.value}"
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, int | float | complex)
        and not isinstance(node.value, bool)
        and node.value not in PLAIN
        and id(node) not in explained
    ]


@pytest.mark.parametrize("file", NUMBERLESS)
def test_physics_has_no_unexplained_number(file: str) -> None:
    assert not bare_numbers(file)


CAUGHT = ("x = 0.7", "def f(a=0.93): ...", "y = a * 1.07 + b", "LIMIT = 64", "# told, but not constant\nlimit = 64")
CLEAN = ("x = 2 * y + 0.5", "# rows of a tile\nLIMIT = 64.0", "flag = True", "#: of two things\nA = 16\nB = A * 32")


@pytest.mark.parametrize("code", [*CAUGHT, *CLEAN])
def test_the_search_for_numbers_finds_them(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "text", lambda file: code)
    parsed = ast.parse(code)
    monkeypatch.setattr(sys.modules[__name__], "tree", lambda file: parsed)
    monkeypatch.setattr(sys.modules[__name__], "comments", lambda file: source.comments.__wrapped__(file))
    assert bool(bare_numbers("any.py")) == (code in CAUGHT)
