"""Every stack that ships: loads, says why each field has its value, and casts only to formats that a chip can run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from silicast import catalog
from silicast.cli import stacks as stacks_cli
from silicast.dtypes import BYTES, matrix_mode
from silicast.errors import ChipFileError, NotFoundError
from silicast.hardware import Source
from silicast.stack import FUSIONS, Ground, Native, Stack, Variant

STACKS = sorted(path.stem for path in (catalog.data_folder() / "stacks").glob("*.toml"))
CHIPS = sorted(path.stem for path in (catalog.data_folder() / "chips").glob("*.toml"))

SHIPPED = (
    "cann-recipes",
    "cloudmatrix-infer",
    "deepseek",
    "generic",
    "mindie",
    "omni-infer",
    "rocm-vllm",
    "sglang",
    "sglang-ascend",
    "trtllm",
    "vllm",
    "vllm-ascend",
)

#: fields that name the stack or bring a source of their own, and those that a file may leave out
OWN = {"id", "name", "vendors", "note", "facts", "memory_share", "casts", "natives", "variants", "habits"}
OPTIONAL = {"exchange_wide", "wide_from", "exchange_sets_ep", "microbatch_streams", "host_of", "policy"}

ASSUMED = "Assumption of Silicast"


def test_the_stacks_ship() -> None:
    assert set(SHIPPED) <= set(STACKS)
    assert catalog.stack("generic").vendors == ()
    assert {catalog.chip(name).stack for name in CHIPS} <= set(STACKS)


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_whole(name: str) -> None:
    stack = catalog.stack(name)
    assert stack.id == name
    assert stack.name.strip()
    assert set(stack.fused) <= set(FUSIONS)
    assert 0.5 <= stack.memory_share.low <= stack.memory_share.value <= stack.memory_share.high < 1
    assert {catalog.chip(chip).vendor for chip in CHIPS} >= set(stack.vendors)


@pytest.mark.parametrize("name", STACKS)
def test_every_field_says_why(name: str) -> None:
    stack = catalog.stack(name)
    fields = [ground.field for ground in stack.facts]
    assert len(fields) == len(set(fields))
    assert set(Stack.model_fields) - OWN - OPTIONAL <= set(fields)
    assert not OWN & set(fields)
    if stack.exchange_wide is not None or any(variant.exchange_wide for variant in stack.variants):
        assert "wide_from" in fields
    assert (stack.exchange_wide is not None) == ("exchange_wide" in fields)
    assert stack.exchange_sets_ep == ("exchange_sets_ep" in fields)


@pytest.mark.parametrize("name", STACKS)
def test_every_source_is_named_and_every_assumption_says_so(name: str) -> None:
    stack = catalog.stack(name)
    for source in stack.sources:
        check_source(source)
    share = stack.memory_share
    check_confidence(share.source, share.confidence, share.low < share.high)
    stated: list[Ground | Native | Variant] = [*stack.facts, *stack.natives, *stack.variants]
    for item in stated:
        check_confidence(item.source, item.confidence, bool(item.note))
    for cast in stack.casts:
        assert cast.note or cast.source.title != ASSUMED, cast


def check_confidence(source: Source, confidence: str, explained: bool) -> None:
    assert (source.title == ASSUMED) == (confidence == "assumption")
    assert explained or confidence != "assumption"


def check_source(source: Source) -> None:
    assert source.title.strip()
    assert source.date.startswith("202")
    assert source.url.startswith("https://") or source.title == ASSUMED


@pytest.mark.parametrize("name", STACKS)
def test_every_format_is_known_and_runs_somewhere(name: str) -> None:
    stack = catalog.stack(name)
    modes = modes_of(stack.vendors)
    for cast in stack.casts:
        assert {cast.weights, cast.lacks, cast.stored, cast.math} <= set(BYTES)
        assert matrix_mode(cast.math) in modes, cast
        assert matrix_mode(cast.math) != matrix_mode(cast.lacks), cast
    for native in stack.natives:
        assert {native.weights, native.has, native.activations, native.stored or native.weights} <= set(BYTES)
        assert matrix_mode(native.has) in modes, native
    if stack.kv_cache is not None:
        assert stack.kv_cache in BYTES
    asked = [(cast.weights, cast.lacks) for cast in stack.casts]
    assert len(asked) == len(set(asked))


def modes_of(vendors: tuple[str, ...]) -> set[str]:
    chips = [catalog.chip(name) for name in CHIPS]
    return {mode for chip in chips if not vendors or chip.vendor in vendors for mode in chip.compute.matrix}


@pytest.mark.parametrize("name", STACKS)
def test_variants_name_chips_that_ship(name: str) -> None:
    chips = [catalog.chip(chip) for chip in CHIPS]
    known = {chip.id for chip in chips} | {chip.generation for chip in chips}
    stack = catalog.stack(name)
    assert {name for variant in stack.variants for name in variant.chips} <= known
    assert {name for native in stack.natives for name in native.chips} <= known
    assert all(variant.changes() for variant in stack.variants)


# On a chip


@pytest.mark.parametrize(
    ("stack", "chip", "tokens", "sequences"),
    [
        ("vllm", "a100-sxm-80", 2048, 256),
        ("vllm", "l40s", 2048, 256),
        ("vllm", "h100-sxm", 8192, 1024),
        ("rocm-vllm", "mi300x", 8192, 1024),
        ("sglang", "h100-sxm", 8192, 2048),
        ("sglang", "b200-sxm", 16384, 2048),
        ("vllm-ascend", "ascend-910c", 2048, 256),
        ("vllm-ascend", "ascend-950dt", 8192, 1024),
    ],
)
def test_limits_follow_the_memory(stack: str, chip: str, tokens: int, sequences: int) -> None:
    found = catalog.stack(stack).on(catalog.chip(chip))
    assert (found.chunk_tokens, found.max_sequences) == (tokens, sequences)


@pytest.mark.parametrize(
    ("stack", "chip", "expected"),
    [
        ("vllm", "h100-sxm", [False, False, True, True]),
        ("trtllm", "h100-sxm", [True, True, True, True]),
        ("vllm-ascend", "ascend-910b", [False, False, True, True]),
        ("vllm-ascend", "ascend-910c", [True, True, True, True]),
        ("vllm-ascend", "ascend-310p-duo", [False, False, False, False]),
        ("deepseek", "h800-sxm", [True, True, True, True]),
    ],
)
def test_how_tokens_reach_experts(stack: str, chip: str, expected: list[bool]) -> None:
    direct = catalog.stack(stack).on(catalog.chip(chip)).all_to_all(np.array([1, 8, 16, 320]))
    assert direct.tolist() == expected


@pytest.mark.parametrize("name", STACKS)
def test_setting_up_twice_changes_nothing_and_keeps_the_reasons(name: str) -> None:
    for chip in (catalog.chip(chip) for chip in CHIPS):
        once = catalog.stack(name).on(chip)
        assert once.on(chip) == once
        why = {ground.field: ground.source for ground in once.facts}
        for variant in once.variants:
            assert set(variant.changes()) <= set(why)
        assert len(why) == len(once.facts)


def test_a_chip_of_unknown_memory_is_in_no_memory_class() -> None:
    chip = catalog.chip("h100-sxm")
    hbm = chip.hbm.model_copy(update={"capacity": None})
    bare = chip.model_copy(update={"memory": chip.memory | {"hbm": hbm}})
    plain = catalog.stack("vllm")
    assert plain.on(bare).chunk_tokens == plain.chunk_tokens


# Formats


@pytest.mark.parametrize(
    ("stack", "chip", "asked", "runs"),
    [
        ("vllm", "b200-sxm", ("mxfp4", "bf16"), ("mxfp4", "mxfp8")),
        ("vllm", "h100-sxm", ("mxfp4", "bf16"), ("mxfp4", "bf16")),
        ("sglang", "b200-sxm", ("mxfp4", "bf16"), ("mxfp4", "mxfp8")),
        ("sglang", "h100-sxm", ("mxfp4", "bf16"), ("mxfp4", "bf16")),
        ("vllm-ascend", "ascend-910b", ("mxfp4", "bf16"), ("bf16", "bf16")),
        ("vllm-ascend", "ascend-910c", ("int4", "bf16"), ("int4", "bf16")),
        ("vllm", "b200-sxm", ("mxfp4", "mxfp4"), ("mxfp4", "mxfp4")),
        ("vllm", "h100-sxm", ("fp8_block", "fp8_block"), ("fp8_block", "fp8_block")),
        ("generic", "mi300x", ("bf16", "bf16"), ("bf16", "bf16")),
    ],
)
def test_what_a_checkpoint_runs_as(stack: str, chip: str, asked: tuple[str, str], runs: tuple[str, str]) -> None:
    found = catalog.chip(chip)
    assert catalog.stack(stack).on(found).native(*asked, found.compute.matrix) == runs


@pytest.mark.parametrize(
    ("stack", "weights", "lacks", "stored", "math"),
    [
        ("vllm", "fp8", "fp8", "fp8", "bf16"),
        ("vllm", "fp8_block", "fp8", "fp8_block", "bf16"),
        ("vllm", "fp4", "fp4", "fp4", "bf16"),
        ("sglang", "fp4", "fp4", "fp4", "bf16"),
        ("vllm-ascend", "fp8_block", "fp8", "int8", "int8"),
        ("cloudmatrix-infer", "fp8_block", "fp8", "int8", "int8"),
        ("mindie", "fp8_block", "fp8", "int8", "int8"),
    ],
)
def test_what_runs_where_a_mode_is_missing(stack: str, weights: str, lacks: str, stored: str, math: str) -> None:
    cast = next(c for c in catalog.stack(stack).casts if (c.weights, c.lacks) == (weights, lacks))
    assert (cast.stored, cast.math) == (stored, math)


# Files of a user


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"latent_norm"', '"latent_nrom"', "unknown fused 'latent_nrom'"),
        ('field = "scheduler"', 'field = "shceduler"', "unknown field of facts 'shceduler'"),
        ('stored = "int8"', 'stored = "int9"', "int9"),
        ('source = "arg-utils"', 'source = "arg-utilz"', "arg-utilz"),
        ('scheduler = "chunked"', 'scheduler = "chunky"', "scheduler"),
        ("max_sequences = 256", "max_sequences = 0", "max_sequences"),
    ],
)
def test_a_mistake_is_one_clear_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (catalog.data_folder() / "stacks" / "vllm-ascend.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ChipFileError) as caught:
        catalog.stack(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_stack_names_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="sglang"):
        catalog.stack("sglnag")


# The command line

APP = typer.Typer()
APP.add_typer(stacks_cli.app, name="stacks")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(APP, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def envelope(text: str) -> Any:
    answer = json.loads(text)
    assert list(answer) == ["schema", "verb", "inputs", "result", "warnings"]
    return answer


def test_the_list_is_narrow_and_whole() -> None:
    lines = run("stacks").splitlines()
    assert max(map(len, lines)) <= 100
    assert "…" not in "".join(lines)
    for name in STACKS:
        assert any(line.startswith(f"{name} ") for line in lines)
    row = next(line for line in lines if line.startswith("vllm "))
    assert row.split()[1:7] == ["NVIDIA", "mixed", "8192", "1024", "16", "90%"]


@pytest.mark.parametrize("name", STACKS)
def test_show_names_the_source_of_each_field(name: str) -> None:
    text = run("stacks", "show", name)
    stack = catalog.stack(name)
    unwrapped = " ".join(text.split())
    for source in stack.sources:
        assert source.title in unwrapped
    for field in set(Stack.model_fields) - OWN - OPTIONAL:
        assert any(line.startswith(f"{field} ") and "[" in line for line in text.splitlines()), field


def test_show_on_a_chip_says_what_changed_and_why() -> None:
    lines = run("stacks", "show", "vllm-ascend", "--chip", "ascend-910b").splitlines()
    fields = {line.split()[0]: line.split()[1:] for line in lines if "[" in line and line.split()}
    assert fields["exchange"][0] == "all_gather"
    assert fields["exchange_wide"][:2] == ["all_to_all", fields["exchange"][1]]
    assert any(line.startswith("mxfp4 weights on ascend-a2, ascend-a3") for line in lines)


def test_stacks_as_json() -> None:
    rows = envelope(run("stacks", "--json"))["result"]
    assert [row["id"] for row in rows] == STACKS
    assert set(next(row for row in rows if row["id"] == "generic")["assumed"]) >= {"scheduler", "chunk_tokens"}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_as_json(name: str) -> None:
    answer = envelope(run("stacks", "show", name, "--json"))
    assert answer["result"]["id"] == name
    assert Stack.model_validate(answer["result"]) == catalog.stack(name)


def test_a_broken_user_file_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "broken.toml").write_text("id = ")
    monkeypatch.setenv("SILICAST_HOME", str(tmp_path))
    answer = envelope(run("stacks", "--json"))
    assert len(answer["result"]) == len(STACKS)
    assert "broken.toml is not TOML" in answer["warnings"][0]
