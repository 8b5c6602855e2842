"""Writes the flags that a serving engine accepts, read from its own wheel: `data/launch/<target>.toml`.

    python scripts/list_launch_flags.py                  # every target that the package index has
    python scripts/list_launch_flags.py vllm sglang      # some of them
    python scripts/list_launch_flags.py trtllm --wheel tensorrt_llm-1.2.1-cp312-cp312-linux_x86_64.whl

Nothing of a wheel is imported or installed: the sources in it are parsed. Wheels are downloaded without their
dependencies (some hundred MB each) to `--cache` and kept there.
"""

import argparse
import ast
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DATA = Path(__file__).parents[1] / "src" / "silicast" / "data" / "launch"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_31_x86_64", "manylinux_2_34_x86_64", "manylinux2014_x86_64", "any")
SWITCHES = {"store_true", "store_false", "BooleanOptionalAction", "DeprecatedStoreTrueAction"}


@dataclass(frozen=True)
class Target:
    """Where the flags of one command stand: globs of files in the wheel of `package`."""

    package: str
    version: str
    commands: str
    files: tuple[str, ...]
    types: tuple[str, ...] = ()  # classes whose fields say which flags are switches
    records: tuple[str, ...] = ()  # classes of which every field is a flag
    options: tuple[str, ...] = ()  # files whose dictionaries and classes name keys of an options file
    environment: tuple[str, ...] = ()
    only: str | None = None  # the function whose decorators are the flags


VLLM_FILES = ("vllm/engine/arg_utils.py", "vllm/entrypoints/common/cli_args.py", "vllm/entrypoints/openai/cli_args.py")
VLLM = {
    "files": VLLM_FILES,
    "types": ("vllm/config/*.py",),
    "records": ("BaseFrontendArgs", "FrontendArgs"),
    "environment": ("vllm/envs.py",),
}
TARGETS = {
    "vllm": Target("vllm", "0.33.0", "vllm serve", **VLLM),
    # the release of vLLM that the newest wheel of vLLM-Ascend runs on
    "vllm-ascend-engine": Target("vllm", "0.23.0", "vllm serve", **VLLM),
    "vllm-ascend": Target(
        "vllm-ascend", "0.23.0", "", (),
        options=("vllm_ascend/ascend_config.py",), environment=("vllm_ascend/envs.py",),
    ),
    "sglang": Target(
        "sglang", "0.5.23", "sglang serve, python -m sglang.launch_server",
        ("sglang/srt/server_args.py", "sglang/srt/arg_groups/fields/*.py"),
    ),
    "sglang-router": Target(
        "sglang-router", "0.3.2", "python -m sglang_router.launch_router",
        ("sglang_router/router_args.py", "sglang_router/launch_router.py"),
    ),
    "dynamo-vllm": Target(
        "ai-dynamo", "1.6.1", "python -m dynamo.vllm",
        ("dynamo/vllm/backend_args.py", "dynamo/common/configuration/groups/runtime_args.py"),
        options=("dynamo/profiler/utils/config.py",),
    ),
    "dynamo-sglang": Target(
        "ai-dynamo", "1.6.1", "python -m dynamo.sglang",
        ("dynamo/sglang/backend_args.py", "dynamo/common/configuration/groups/runtime_args.py"),
        options=("dynamo/profiler/utils/config.py",),
    ),
    "dynamo-trtllm": Target(
        "ai-dynamo", "1.6.1", "python -m dynamo.trtllm",
        ("dynamo/trtllm/backend_args.py", "dynamo/common/configuration/groups/runtime_args.py"),
        options=("dynamo/profiler/utils/config.py",),
    ),
    "trtllm": Target(
        "tensorrt-llm", "1.2.1", "trtllm-serve", ("tensorrt_llm/commands/serve.py",),
        options=("tensorrt_llm/llmapi/llm_args.py",), only="serve",
    ),
}  # fmt: skip
#: its wheel is on no index that pip reaches by default: give the file with --wheel
BY_HAND = ("trtllm",)


@dataclass
class Found:
    """What one target accepts."""

    flags: set[str] = field(default_factory=set)
    switches: set[str] = field(default_factory=set)
    options: set[str] = field(default_factory=set)
    environment: set[str] = field(default_factory=set)
    choices: dict[str, list[str]] = field(default_factory=dict)

    def add(self, names: list[str], switch: bool) -> None:
        """Flags of one argument; a switch takes no value."""
        self.flags.update(names)
        if switch:
            self.switches.update(names)

    def limit(self, names: list[str], choices: list[str]) -> None:
        """The only values that these flags take."""
        self.choices.update({name: choices for name in names if choices})


@dataclass
class Types:
    """What the types of fields say of the flags made from them: switches, and values that they take.

    By `class.field` and by `field`; the former wins where it is known of which class the flag is.
    """

    booleans: dict[str, bool] = field(default_factory=dict)
    literals: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, trees: list[ast.Module]) -> "Types":
        """The types of all classes of some modules."""
        found, named = cls(), dict[str, list[str]]()
        for tree in trees:
            named |= {name: texts for name, value in assigned(tree) if (texts := literal_texts(value, {}))}
        for owner, item in ((node.name, item) for tree in trees for node in classes(tree) for item in fields_of(node)):
            name = item.target.id  # type: ignore[union-attr]
            for key in (f"{owner}.{name}", name):
                found.booleans[key] = is_boolean(item.annotation) or (key == name and found.booleans.get(name, False))
            found.literals[f"{owner}.{name}"] = literal_texts(item.annotation, named)
        return found

    def boolean(self, key: str | None) -> bool:
        """Whether a field is a switch."""
        owner, _, name = (key or "").rpartition(".")
        return self.booleans.get(key or "", not owner and self.booleans.get(name, False))

    def values(self, key: str | None) -> list[str]:
        """The values of a field of a known class."""
        return self.literals.get(key or "", [])


def find(target: Target, wheel: zipfile.ZipFile) -> Found:
    """All flags, keys and variables of a target."""
    found = Found()
    types = Types.of(list(trees(wheel, target.types)))
    for tree in trees(wheel, target.files):
        owners = {name: owner for name, value in everywhere(tree) if (owner := made_from(value))}
        for call in calls(tree, target.only):
            read_call(call, types, owners, found)
        read_records(tree, target.records, found)
    for tree in trees(wheel, target.options):
        found.options |= keys_read(tree) | fields_declared(tree)
    for tree in trees(wheel, target.environment):
        found.environment |= {text for text in dictionary_keys(tree) if text.isupper()}
    return found


def trees(wheel: zipfile.ZipFile, patterns: tuple[str, ...]) -> Iterator[ast.Module]:
    """The syntax trees of the files that match."""
    for name in sorted(wheel.namelist()):
        if any(Path(name).match(pattern) for pattern in patterns):
            yield ast.parse(wheel.read(name), name)


def calls(tree: ast.Module, only: str | None) -> Iterator[ast.Call]:
    """All calls, or the decorators of one function."""
    for node in ast.walk(tree):
        if only is None and isinstance(node, ast.Call):
            yield node
        elif only is not None and isinstance(node, ast.FunctionDef) and node.name == only:
            yield from (one for one in node.decorator_list if isinstance(one, ast.Call))


def read_call(call: ast.Call, types: Types, owners: dict[str, str], found: Found) -> None:
    """`add_argument("--tp", "-tp", ...)`, `add_argument(group, flag_name="--tp")`, `click.option("--tp")`."""
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if called not in ("add_argument", "add_negatable_bool_argument", "option"):
        return
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    named = [given[name] for name in ("flag_name", "obsolete_flag") if name in given]
    names = [text for node in (*call.args, *named) if (text := text_of(node)) and text.strip("-") and text[0] == "-"]
    made = types.boolean(spread_key(given, owners))
    switch = called == "add_negatable_bool_argument" or is_switch(given, made)
    found.add(names, switch)
    found.limit(names, texts_of(given.get("choices")) or types.values(spread_key(given, owners)))
    if called == "add_negatable_bool_argument" or optional_boolean(given, made):
        found.add([negated(name) for name in names if name.startswith("--")], True)


def is_switch(given: dict[str | None, ast.expr], made: bool) -> bool:
    """Whether an argument takes no value; `made` = it is made from a boolean field."""
    if "action" in given:
        return name_of(given["action"]) in SWITCHES
    return "is_flag" in given or made


def optional_boolean(given: dict[str | None, ast.expr], made: bool) -> bool:
    """Whether argparse knows `--no-field` too: it does of boolean fields."""
    return name_of(given["action"]) == "BooleanOptionalAction" if "action" in given else made


def spread_key(given: dict[str | None, ast.expr], owners: dict[str, str]) -> str | None:
    """`Class.field` of `**kwargs["field"]`, alone or in a dictionary, where `kwargs` was made from a class."""
    for node in ast.walk(given[None]) if None in given else ():
        if isinstance(node, ast.Subscript) and (text := text_of(node.slice)):
            owner = owners.get(name_of(node.value))
            return f"{owner}.{text}" if owner else text
    return None


def made_from(value: ast.expr) -> str | None:
    """The class of `get_kwargs(Class)`."""
    made = isinstance(value, ast.Call) and name_of(value.func) == "get_kwargs" and value.args
    return name_of(value.args[0]) if made else None  # type: ignore[attr-defined]


def read_records(tree: ast.Module, records: tuple[str, ...], found: Found) -> None:
    """Every field of a record class is a flag; so is every field annotated `A[type, help]` or `A[type, Arg(...)]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in records:
            for item in fields_of(node):
                plain = item.target.id.replace("_", "-")
                found.add([f"--{plain}"], False)
                if is_boolean(item.annotation):
                    found.add([f"--{plain}", f"--no-{plain}"], True)
        elif isinstance(node, ast.ClassDef):
            for item in fields_of(node):
                if isinstance(item.annotation, ast.Subscript) and name_of(item.annotation.value) == "A":
                    read_annotated(item, found)


def read_annotated(item: ast.AnnAssign, found: Found) -> None:
    kind, *notes = item.annotation.slice.elts  # type: ignore[attr-defined]
    given = {keyword.arg: keyword.value for note in notes if isinstance(note, ast.Call) for keyword in note.keywords}
    if "no_cli" in given:
        return
    own = text_of(given["cli_name"]) if "cli_name" in given else None
    aliases = [text_of(node) or "" for node in getattr(given.get("aliases"), "elts", ())]
    names = [own or "--" + item.target.id.replace("_", "-"), *aliases]  # type: ignore[union-attr]
    action = name_of(given["action"]) if "action" in given else None
    switch = action in SWITCHES if action else is_boolean(kind)
    found.add(names, switch)
    found.limit(names, texts_of(given.get("choices")) or literal_texts(kind, {}))
    if action == "BooleanOptionalAction":
        found.add([negated(name) for name in names if name.startswith("--")], True)


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module gives to values."""
    yield from named_values(tree.body)


def everywhere(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module and its functions give to values."""
    yield from named_values(ast.walk(tree))


def named_values(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def literal_texts(node: ast.expr, named: dict[str, list[str]]) -> list[str]:
    """Values of `Literal["a", "b"]`, or of a name that stands for it; empty where other values can stand too."""
    if isinstance(node, ast.Name):
        return named.get(node.id, [])
    if isinstance(node, ast.Subscript) and name_of(node.value) == "Literal":
        return texts_of(node.slice) or list(filter(None, [text_of(node.slice)]))
    if isinstance(node, ast.BinOp) and ast.unparse(node.right) == "None":
        return literal_texts(node.left, named)
    return []


def texts_of(node: ast.expr | None) -> list[str]:
    """The texts of a list; empty where it holds anything else."""
    items = getattr(node, "elts", [])
    texts = [text for item in items if (text := text_of(item))]
    return texts if len(texts) == len(items) else []


def is_boolean(annotation: ast.expr) -> bool:
    """`bool`, `bool | None`, `Optional[bool]`."""
    return ast.unparse(annotation).replace("Optional[bool]", "bool") in ("bool", "bool | None", "None | bool")


def fields_of(node: ast.ClassDef) -> list[ast.AnnAssign]:
    return [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]


def keys_read(tree: ast.Module) -> set[str]:
    """Keys that are looked up in dictionaries: `config.get("key")`."""
    gets = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and name_of(node.func) == "get" and node.args]
    return {text for node in gets if (text := text_of(node.args[0]))}


def fields_declared(tree: ast.Module) -> set[str]:
    """Fields of all classes of a module and their aliases."""
    items = [item for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in fields_of(node)]
    aliases = {
        text_of(keyword.value) or ""
        for item in items
        if isinstance(item.value, ast.Call)
        for keyword in item.value.keywords
        if keyword.arg == "alias"
    }
    return {item.target.id for item in items} | aliases  # type: ignore[union-attr]


def dictionary_keys(tree: ast.Module) -> set[str]:
    return {
        text
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if key and (text := text_of(key))
    }


def text_of(node: ast.expr | None) -> str | None:
    """A text; of a formatted one what stands between the fields, which are prefixes that are empty by default."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def name_of(node: ast.expr) -> str:
    return text_of(node) or getattr(node, "attr", getattr(node, "id", ""))


def negated(flag: str) -> str:
    return f"--no-{flag[2:]}"


def download(target: Target, cache: Path) -> Path:
    """The wheel of a target; downloaded once."""
    stem = f"{target.package.replace('-', '_')}-{target.version}-"
    kept = [path for path in cache.rglob("*.whl") if path.name.startswith(stem)]
    if not kept:
        call = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(cache), "--only-binary", ":all:"]
        call += ["--python-version", "3.12", *(word for one in PLATFORMS for word in ("--platform", one))]
        subprocess.run([*call, f"{target.package}=={target.version}"], check=True)
        kept = [path for path in cache.rglob("*.whl") if path.name.startswith(stem)]
    return kept[0]


def write(name: str, target: Target, wheel: Path) -> None:
    """One TOML file, one entry per line."""
    with zipfile.ZipFile(wheel) as opened:
        found = find(target, opened)
    today = datetime.now(UTC).date().isoformat()
    head = {
        "target": name, "command": target.commands, "package": target.package, "version": target.version,
        "origin": wheel.name, "date": today,
    }  # fmt: skip
    lines = ["# Written by scripts/list_launch_flags.py from the wheel named below. Do not edit."]
    lines += [f'{key} = "{value}"' for key, value in head.items()] + ["tested = true"]
    for key in ("flags", "switches", "options", "environment"):
        names = sorted(getattr(found, key))
        lines += [f"{key} = ["] + [f'  "{one}",' for one in names] + ["]"] if names else []
    lines += ["", "[choices]"] if found.choices else []
    lines += [f'"{flag}" = {json.dumps(texts)}' for flag, texts in sorted(found.choices.items())]
    (DATA / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(found.flags)} flags, {len(found.options)} options of {wheel.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []])
    parser.add_argument("--wheel", type=Path, help="use this file instead of a download")
    parser.add_argument("--cache", type=Path, default=Path("wheels"))
    given = parser.parse_args()
    for name in given.targets or [one for one in TARGETS if one not in BY_HAND]:
        write(name, TARGETS[name], given.wheel or download(TARGETS[name], given.cache))


if __name__ == "__main__":
    main()
