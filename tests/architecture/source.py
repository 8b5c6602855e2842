"""The package as text and as syntax trees, parsed once."""

import ast
import io
import tokenize
from functools import cache
from pathlib import Path

import silicast

ROOT = Path(silicast.__file__).parent
FILES = tuple(sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")))

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def text(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def tree(file: str) -> ast.Module:
    return ast.parse(text(file))


def under(*places: str) -> list[str]:
    """Files of these folders (`laws/`) and these files (`step.py`)."""
    return [file for file in FILES if any(file == place or file.startswith(place) for place in places)]


@cache
def comments(file: str) -> dict[int, str]:
    """Line -> comment on it."""
    tokens = tokenize.generate_tokens(io.StringIO(text(file)).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def docstrings(file: str) -> set[int]:
    """The ids of the nodes that are docstrings of modules, classes and functions, or stand alone."""
    return {
        id(node.value)
        for node in ast.walk(tree(file))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def references(file: str) -> set[int]:
    """The ids of all nodes below a keyword argument `reference=`."""
    keywords = [node for node in ast.walk(tree(file)) if isinstance(node, ast.keyword) and node.arg == "reference"]
    return {id(below) for keyword in keywords for below in ast.walk(keyword)}


@cache
def functions(file: str) -> tuple[Function, ...]:
    return tuple(node for node in ast.walk(tree(file)) if isinstance(node, Function))


def body_lines(function: Function) -> int:
    """Lines of a function below its docstring, from the first statement to the last."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: Function) -> list[str]:
    arguments = function.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]
