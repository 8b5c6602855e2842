"""Every flag, key and variable that a launch file says is one of the release that it is written for."""

import importlib.util
import json
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from silicast import catalog
from silicast.launch import launch, sglang, trtllm, vllm, vllm_ascend, write
from silicast.launch.command import Command
from silicast.launch.flags import FlagList, known
from silicast.launch.routers import Server, router
from silicast.launch.settings import Place, Settings
from silicast.launch.stacks import TRANSLATORS, runtimes
from silicast.scenario import Layout
from tests.unit.launches import NATIVE, aggregated, apart, engines

LISTS = sorted(path.stem for path in (catalog.data_folder() / "launch").glob("*.toml") if path.stem != "runtimes")
#: stack -> list of its environment variables, and the beginning of those that are its own
OWN = {"vllm": "VLLM_", "rocm-vllm": "VLLM_", "vllm-ascend": "VLLM_ASCEND_", "mindie": "NPU_"}


def unlisted(command: Command, listed: FlagList) -> list[str]:
    """Flags of a command that its release does not have."""
    return [name for name, _ in command.flags if name not in listed.flags]


def keys(content: Any) -> set[str]:
    """All keys of nested data."""
    if isinstance(content, dict):
        return set(content) | {key for below in content.values() for key in keys(below)}
    return {key for below in content for key in keys(below)} if isinstance(content, list) else set()


@pytest.mark.parametrize("name", LISTS)
def test_a_list_says_where_and_when_it_was_read(name):
    listed = known(name)
    assert listed.target == name
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", listed.date)
    assert listed.version
    assert listed.origin.endswith(".whl") == listed.tested
    assert set(listed.switches) <= set(listed.flags)
    assert len(set(listed.flags)) == len(listed.flags)


def test_lists_that_were_written_by_hand_are_not_called_tested():
    assert {name for name in LISTS if not known(name).tested} == {"trtllm", "mindie", "llm-d"}


@given(engines, st.integers(1, 4), st.booleans())
def test_a_command_has_only_flags_of_its_release(engine, nodes, follows):
    stack, told = engine
    place = Place(nodes, int(follows and nodes > 1), 8, "$LEADER", counter="RANK" if follows else None)
    try:
        command = TRANSLATORS[stack].write(told, place, NATIVE)
    except vllm.LaunchError:
        return  # groups that do not lie on whole nodes
    listed = known(TRANSLATORS[stack].target)
    assert unlisted(command, listed) == []
    assert command.tested == listed.tested
    for name, value in command.flags:
        assert (value is None) == (name in listed.switches), name
        assert value in listed.choices.get(name, (value,)), name


def test_a_flag_that_is_not_in_the_list_is_found(monkeypatch):
    monkeypatch.setattr(vllm, "SIZES", (("--tensor-parallel-sizes", "tp"),))
    command = TRANSLATORS["vllm"].write(Settings("m", Layout(2)), Place(), NATIVE)
    assert unlisted(command, known("vllm")) == ["--tensor-parallel-sizes"]


@given(engines)
def test_variables_of_a_stack_are_its_own(engine):
    stack, told = engine
    target = "vllm-ascend" if stack == "vllm-ascend" else TRANSLATORS[stack].target
    variables = TRANSLATORS[stack].write(told, Place(), NATIVE).environment
    own = {name for name in variables if stack in OWN and name.startswith(OWN[stack])}
    assert own <= set(known(target).environment)


@given(engines)
def test_keys_of_files_and_values_are_those_of_the_release(engine):
    stack, told = engine
    command = TRANSLATORS[stack].write(told, Place(), NATIVE)
    for name, text in command.files.items():
        content = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        told_keys = keys(content) - ({"backend"} if stack == "trtllm" else set())
        assert told_keys <= set(known(TRANSLATORS[stack].target).options)
    config = dict(command.flags).get("--additional-config")
    if config is not None:
        assert keys(json.loads(config)) <= set(known("vllm-ascend").options)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("vllm", {*vllm.PLACES, *vllm.UNMODELLED, *vllm.ALIASES, *sum(vllm.ALIASES.values(), ())}),
        ("vllm", {name for name, _ in (*vllm.SIZES, *vllm.COUNTS)}),
        ("sglang", {*sglang.PLACES, *sglang.UNMODELLED, *(name for name, _ in (*sglang.COUNTS, *sglang.SHARED))}),
        ("trtllm", {*trtllm.PLACES, *trtllm.UNMODELLED, *(flag for row in trtllm.SIZES.values() for flag in row[:2])}),
    ],
)
def test_flags_that_are_read_exist(target, names):
    assert names - set(known(target).flags) == set()


@pytest.mark.parametrize(
    ("target", "flag", "values"),
    [
        ("vllm", "--all2all-backend", {*vllm.DEEPEP.values(), *vllm.MORI.values(), *vllm.GATHERED}),
        ("vllm-ascend-engine", "--kv-cache-dtype", {*vllm_ascend.CACHE_NAMES.values()}),
        ("sglang", "--kv-cache-dtype", {*sglang.CACHES, *sglang.CACHE_NAMES.values()}),
        ("sglang", "--disaggregation-mode", {"prefill", "decode", "null"}),
    ],
)
def test_values_that_are_known_exist(target, flag, values):
    assert values <= set(known(target).choices[flag])


def test_keys_that_are_read_exist():
    assert {row[2] for row in trtllm.SIZES.values()} | set(trtllm.QUIET) - {"backend"} <= {
        *known("trtllm").options,
        "backend",
    }
    assert set(vllm_ascend.OWN) <= set(known("vllm-ascend").environment)


@pytest.mark.parametrize("stack", runtimes().dynamo)
@pytest.mark.parametrize("deployment", [aggregated, apart])
def test_a_dynamo_graph_has_fields_and_flags_of_dynamo(stack, deployment):
    graph = yaml.safe_load(write(launch(deployment(stack)), "dynamo")["dynamo.yaml"])
    listed, engine = known(f"dynamo-{stack}"), known(TRANSLATORS[stack].target)
    free = {"nvidia.com/gpu", "limits", "envFrom", "secretRef"}  # of Kubernetes
    assert keys(graph) - free <= set(listed.options)
    own = set(listed.flags) if stack == "trtllm" else {*listed.flags, *engine.flags}
    for component in graph["spec"]["components"][1:]:
        words = component["podTemplate"]["spec"]["containers"][0]["args"]
        assert {word for word in words if word.startswith("-")} <= own


@pytest.mark.parametrize("deployment", [aggregated("vllm"), apart("vllm"), aggregated("rocm-vllm", "mi300x")])
def test_values_of_llm_d_are_those_of_the_chart(deployment):
    values = yaml.safe_load(write(launch(deployment), "llm-d")["values.yaml"])
    assert keys(values) - {"nvidia.com/gpu", "amd.com/gpu"} <= set(known("llm-d").options)


def test_the_router_of_sglang_has_only_flags_of_its_release():
    servers = [Server("prefill", "a", 8000), Server("decode", "b", 8000)]
    found = router(launch(apart("sglang")), servers)
    flags = [name for name, _ in found.flags if name.startswith("-")]
    assert set(flags) <= set(known("sglang-router").flags)


@pytest.mark.parametrize("stack", TRANSLATORS)
def test_files_say_what_was_checked(stack):
    chip = {"rocm-vllm": "mi300x"}.get(stack, "ascend-910b" if "ascend" in stack or stack == "mindie" else "h200-sxm")
    listed = known(TRANSLATORS[stack].target)
    for name, text in write(launch(aggregated(stack, chip)), "command").items():
        if name.endswith(".json"):
            assert json.loads(text)["Note"].startswith("Untested:")
        elif name.endswith(".sh"):
            assert ("Flags checked against" in text) == listed.tested
            assert ("Untested:" in text) != listed.tested
            assert listed.version in text


# the script that writes the lists


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "list_launch_flags.py"
    spec = importlib.util.spec_from_file_location("list_launch_flags", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARGPARSE = """
class Config:
    eager: bool = False
    size: int = 1
    maybe: bool | None = None

class FrontendArgs:
    api_key: str | None = None
    quiet: bool = False

def add(parser, kwargs):
    parser.add_argument("--eager", **kwargs["eager"])
    parser.add_argument("--size", "-s", **kwargs["size"])
    parser.add_argument("--maybe", **{**kwargs["maybe"], "default": None})
    parser.add_argument("--go", action="store_true")
    parser.add_argument(f"--{prefix}worker-urls", nargs="*")
    parser.add_argument(f"--{name}")
    add_negatable_bool_argument(parser, flag_name="--trace", default=False)
    add_argument(parser, flag_name="--model", obsolete_flag="--model-path")
    print("--not-a-flag")
"""
RECORDS = """
class Serving:
    tp_size: A[int, Arg(help="ranks", aliases=["--tensor-parallel-size"])] = 1
    offload: A[bool, "help"] = False
    chosen: A[Optional[bool], Arg(help="h", action=argparse.BooleanOptionalAction)] = None
    hidden: A[bool, Arg(no_cli=True)] = False
    plain: int = 1
"""
CHOICES = """
Kinds = Literal["a", "b"]

class Config:
    kind: Kinds = "a"
    other: Literal["c"] | None = None
    free: Kinds | str = "a"

class Elsewhere:
    kind: bool = False

def add(parser):
    config_kwargs = get_kwargs(Config)
    parser.add_argument("--kind", **config_kwargs["kind"])
    parser.add_argument("--another", "-o", **config_kwargs["other"])
    parser.add_argument("--free", **config_kwargs["free"])
    parser.add_argument("--listed", choices=["d", "e"])
    parser.add_argument("--computed", choices=[*more])

class Serving:
    mode: A[str, Arg(help="h", choices=("f", "g"))] = "f"
    side: A[Literal["i", "j"], "h"] = "i"
"""
CLICK = """
@click.command("serve")
@click.option("--tp_size", "--tensor_parallel_size", type=int)
@click.option("--trust", is_flag=True)
def serve(): pass

@click.option("--other")
def encode(): pass
"""
DICTIONARIES = """
class Part(Model):
    kind: str = Field(alias="type")
names = {"OWN_VARIABLE": 1, "lower": 2}
value = config.get("depth", 1)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("wheel") / "engine-1.0-py3-none-any.whl"
    files = {"argparse": ARGPARSE, "records": RECORDS, "click": CLICK, "choices": CHOICES, "dictionaries": DICTIONARIES}
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in files.items():
            opened.writestr(f"engine/{name}.py", text)
    return path


def found(script, wheel, *files, **more):
    names = tuple(f"engine/{name}.py" for name in files)
    with zipfile.ZipFile(wheel) as opened:
        return script.find(script.Target("engine", "1.0", "engine", names, **more), opened)


def test_arguments_are_read(script, wheel):
    told = found(script, wheel, "argparse", types=("engine/argparse.py",), records=("FrontendArgs",))
    assert told.flags == {
        "--eager", "--no-eager", "--size", "-s", "--maybe", "--no-maybe", "--go", "--worker-urls", "--trace",
        "--no-trace", "--model", "--model-path", "--api-key", "--quiet", "--no-quiet",
    }  # fmt: skip
    assert told.switches == {
        "--eager", "--no-eager", "--maybe", "--no-maybe", "--go", "--trace", "--no-trace", "--quiet", "--no-quiet",
    }  # fmt: skip


def test_annotated_records_are_read(script, wheel):
    told = found(script, wheel, "records")
    assert told.flags == {"--tp-size", "--tensor-parallel-size", "--offload", "--chosen", "--no-chosen"}
    assert told.switches == {"--offload", "--chosen", "--no-chosen"}


def test_choices_are_read(script, wheel):
    told = found(script, wheel, "choices", types=("engine/choices.py",))
    assert told.choices == {
        "--kind": ["a", "b"], "--another": ["c"], "-o": ["c"], "--listed": ["d", "e"], "--mode": ["f", "g"],
        "--side": ["i", "j"],
    }  # fmt: skip
    assert told.switches == set()


def test_decorators_of_one_function_are_read(script, wheel):
    told = found(script, wheel, "click", only="serve")
    assert told.flags == {"--tp_size", "--tensor_parallel_size", "--trust"}
    assert told.switches == {"--trust"}


def test_keys_and_variables_are_read(script, wheel):
    files = ("engine/dictionaries.py",)
    told = found(script, wheel, options=files, environment=files)
    assert told.options == {"depth", "kind", "type"}
    assert told.environment == {"OWN_VARIABLE"}


def test_every_target_of_the_script_has_a_list(script):
    for name, target in script.TARGETS.items():
        if name not in script.BY_HAND:
            assert known(name).version == target.version
            assert known(name).package == target.package
