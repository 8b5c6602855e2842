"""The public names, who may print and who may touch files, and the size of things."""

import ast
import re
from statistics import median

import pytest

import silicast
from tests.architecture.source import FILES, ROOT, body_lines, functions, parameters, text, tree, under

PUBLIC = [
    "Chip",
    "Comparison",
    "Deployment",
    "Estimate",
    "Fit",
    "Forecast",
    "InputError",
    "Layout",
    "Load",
    "Model",
    "Pool",
    "PoolModel",
    "Precision",
    "Scenario",
    "Setup",
    "SilicastError",
    "Simulation",
    "Speculation",
    "Stack",
    "System",
    "Targets",
    "Workload",
    "compare",
    "fit",
    "forecast",
    "forecast_many",
    "plan",
    "pool_model",
    "read_model",
    "read_scenario",
    "replacement",
    "simulate",
]

#: who may touch files
IO = under(
    "cli/", "report/", "evidence/", "catalog.py", "datafile.py", "chip_template.py", "model/config.py",
    "model/provenance.py", "traces/", "simulation/scenario.py", "launch/deployed.py", "fleet.py", "sweep/",
)  # fmt: skip
#: what touching files looks like
FILE_CALLS = {"open", "read_text", "write_text", "read_bytes", "write_bytes", "unlink", "mkdir", "glob", "rglob"}
FILE_MODULES = {"pathlib", "shutil", "tempfile", "socket", "urllib", "subprocess", "io", "tomllib", "csv", "os"}

MOST_LINES = 400
MEDIAN_FUNCTION = 12
LONGEST_FUNCTION = 60
MOST_PARAMETERS = 8
FORBIDDEN = re.compile(r"^_*(utils?|helpers?|common|misc|base_\w*|\w*_base|\w*_v\d+|\w*_utils?|\w*_helpers?)$", re.I)


def test_the_public_names_are_pinned() -> None:
    assert silicast.__all__ == PUBLIC


@pytest.mark.parametrize("name", silicast.__all__)
def test_a_public_name_is_there_and_explained(name: str) -> None:
    found = getattr(silicast, name)
    assert found.__doc__
    assert found.__name__ == name
    assert name in dir(silicast)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'comprae'"):
        silicast.comprae  # noqa: B018


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("cli/")])
def test_only_the_command_line_prints(file: str) -> None:
    names = [node for node in ast.walk(tree(file)) if isinstance(node, ast.Name) and node.id in ("print", "input")]
    assert [f"{file}:{node.lineno}" for node in names] == []


@pytest.mark.parametrize("file", [file for file in FILES if file not in IO])
def test_only_the_edges_touch_files(file: str) -> None:
    found = []
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            found += [f"{file}:{node.lineno}: {called}"] if called in FILE_CALLS else []
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"{file}: {name}" for name in modules if name.partition(".")[0] in FILE_MODULES]
    assert found == []


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file: str) -> None:
    assert len(text(file).splitlines()) <= MOST_LINES


def test_the_median_function_is_short() -> None:
    assert median(body_lines(function) for file in FILES for function in functions(file)) < MEDIAN_FUNCTION


@pytest.mark.parametrize("file", FILES)
def test_functions_are_short_and_take_few_parameters(file: str) -> None:
    long = {function.name: body_lines(function) for function in functions(file)}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}
    if not file.startswith("cli/"):
        wide = {function.name: len(parameters(function)) for function in functions(file)}
        assert {name: count for name, count in wide.items() if count > MOST_PARAMETERS} == {}


@pytest.mark.parametrize("file", FILES)
def test_names_say_what_things_are(file: str) -> None:
    parts = [part.removesuffix(".py") for part in (ROOT / file).relative_to(ROOT).parts]
    defined = [node.name for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    # a family is named after its model_type, which may have a version
    own = [name for name in (*parts, *defined) if not file.startswith("model/families/") or "_v" not in name]
    assert [name for name in own if FORBIDDEN.match(name)] == []


@pytest.mark.parametrize("file", FILES)
def test_public_things_have_docstrings(file: str) -> None:
    public = [node for node in tree(file).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    missing = [node.name for node in public if not node.name.startswith("_") and not ast.get_docstring(node)]
    commands = file.startswith("cli/")  # their help text stands in cli/main.py
    assert ast.get_docstring(tree(file)) or file == "__init__.py"
    assert [name for name in missing if not (commands and name == "command")] == []


@pytest.mark.parametrize("file", FILES)
def test_classes_inherit_once(file: str) -> None:
    deep = [node.name for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef) and len(node.bases) > 2]
    assert deep == []
