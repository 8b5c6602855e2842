"""Bad input of every kind: one line on stderr with what was given and what is allowed, exit code 2, no traceback."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast import catalog
from tests.cli.program import H100, LLAMA, QWEN, R1, Ran, run

LONGEST = 800


def check_refused(answer: Ran, *words: str) -> None:
    """One line that has all the words (regular expressions, case ignored)."""
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.err.startswith("silicast: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    assert len(answer.err) < LONGEST
    assert "Traceback" not in answer.err
    for word in words:
        assert re.search(word, answer.err, re.I), f"{word!r} is not in: {answer.err}"


# Options and names

DENSE = ("forecast", LLAMA, H100)
EXPERTS = ("forecast", R1, "h200-sxm")

#: title -> arguments, and what the line must say
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # names
    "chip": (("forecast", LLAMA, "h20O"), ("Chip 'h20O' not found", "did you mean 'h20-96'", "silicast chips")),
    "chip of compare": (("compare", LLAMA, H100, "ascend-910d"), ("'ascend-910d'", "did you mean 'ascend-910")),
    "model": (
        ("fit", "deepseek-ai/DeepSeek-R2", H100),
        ("Model 'deepseek-ai/DeepSeek-R2' not found", "did you mean 'deepseek-ai/DeepSeek-", "silicast models"),
    ),
    "system": ((*DENSE, "--system", "hgx-hoper"), ("System 'hgx-hoper'", "'hgx-hopper'", "silicast systems")),
    "stack": ((*DENSE, "--stack", "sglan"), ("Stack 'sglan'", "did you mean 'sglang'", "silicast stacks")),
    "stack of compare": (("compare", LLAMA, H100, "--stack", "h100-sxm=vlm"), ("Stack 'vlm'", "'vllm'")),
    "stack of no chip": (("compare", LLAMA, H100, "--stack", "a100=vllm"), ("CHIP=STACK", "a100=vllm")),
    "stack without a chip": (("compare", LLAMA, H100, "--stack", "vllm"), ("CHIP=STACK", "'vllm'")),
    "reference": (("compare", LLAMA, H100, "--reference", "h200-sxm"), ("'h200-sxm'", "one of the chips compared")),
    "show a chip": (("chips", "show", "h10-sxm"), ("'h10-sxm'", "h100-sxm")),
    "show a system": (("systems", "show", "cloudmatrix"), ("'cloudmatrix'", "cloudmatrix384")),
    "show a model": (("models", "show", "R1"), ("Model 'R1' not found", "DeepSeek-R1")),
    "show a stack": (("stacks", "show", "tensorrt"), ("Stack 'tensorrt' not found",)),
    "template of no chip": (("chips", "template", "--from", "h101"), ("Chip 'h101'",)),
    "an empty chip": (("fit", LLAMA, ""), ("Chip '' not found", "silicast chips")),
    "an empty model": (("fit", "", H100), ("''",)),
    "a long chip": (("fit", LLAMA, "x" * 5000), ("Chip 'xxx", r"\.\.\.' not found")),
    "a long model": (("fit", "y" * 5000, H100), ("Model 'yyy", "not found")),
    "a chip with a line break": (("fit", LLAMA, "h100\nsxm"), ("not found",)),
    "a chip with markup": (("fit", LLAMA, "[bold]h100"), (r"\[bold\]h100",)),
    "a model up the tree": (("fit", "../../no/such/model", H100), ("not found",)),
    # durations
    "unit of ttft": ((*DENSE, "--ttft", "2sec"), ("'2sec' is not a duration", "2s, 50ms")),
    "unit of tpot": ((*DENSE, "--tpot", "50 m"), ("'50 m'", "2s, 50ms")),
    "no duration": ((*DENSE, "--ttft", "soon"), ("'soon' is not a duration",)),
    "empty duration": ((*DENSE, "--ttft", ""), ("is not a duration",)),
    "zero duration": ((*DENSE, "--ttft", "0ms"), ("must be positive", "'0ms'")),
    "negative duration": ((*DENSE, "--tpot", "-5ms"), ("must be positive", "'-5ms'")),
    "NaN duration": ((*DENSE, "--tpot", "nan"), ("'nan' is not a duration",)),
    "huge duration": ((*DENSE, "--tpot", "1e999s"), ("'1e999s'",)),
    # sizes of the workload
    "no input": ((*DENSE, "--input-tokens", "0"), ("input.tokens must be from 1 to", "got 0")),
    "negative input": ((*DENSE, "--input-tokens", "-4096"), ("input.tokens", "got -4096")),
    "huge input": ((*DENSE, "--input-tokens", "9" * 30), ("input.tokens", "got 1e.30")),
    "monstrous input": ((*DENSE, "--input-tokens", "9" * 500), ("input.tokens", "500 digits")),
    "input is no number": ((*DENSE, "--input-tokens", "4k"), ("--input-tokens", "'4k'", "integer")),
    "input is no whole number": ((*DENSE, "--input-tokens", "4.5"), ("--input-tokens", "'4.5'", "integer")),
    "no output": ((*DENSE, "--output-tokens", "0"), ("output.tokens must be from 1 to", "got 0")),
    "no output of compare": (("compare", LLAMA, H100, "--output-tokens", "0"), ("output.tokens", "got 0")),
    "no output of fit": (("fit", LLAMA, H100, "--output-tokens", "-1"), ("output.tokens", "got -1")),
    "prefix hit above one": ((*DENSE, "--prefix-hit", "1.5"), ("prefix.hit", "between 0 and 1", "1.5")),
    "prefix hit in per cent": ((*DENSE, "--prefix-hit", "50%"), ("--prefix-hit", "'50%'")),
    "negative prefix hit": ((*DENSE, "--prefix-hit", "-0.1"), ("prefix.hit", "between 0 and 1", "-0.1")),
    "NaN prefix hit": ((*DENSE, "--prefix-hit", "nan"), ("prefix.hit", "between 0 and 1", "nan")),
    "zero concurrency": ((*DENSE, "--concurrency", "0"), ("concurrency must be positive", "got 0")),
    "negative concurrency": ((*DENSE, "--concurrency", "-8"), ("concurrency must be positive", "got -8")),
    "NaN concurrency": ((*DENSE, "--concurrency", "nan"), ("concurrency", "got nan")),
    "infinite concurrency": ((*DENSE, "--concurrency", "inf"), ("concurrency", "got inf")),
    "huge concurrency": ((*DENSE, "--concurrency", "1e300"), ("concurrency", "got 1e.300")),
    "zero rate": ((*DENSE, "--rate", "0"), ("rate must be positive", "got 0")),
    "NaN rate": ((*DENSE, "--rate", "nan"), ("rate", "got nan")),
    "infinite rate": ((*DENSE, "--rate", "inf"), ("rate", "got inf")),
    "both loops": ((*DENSE, "--rate", "1", "--concurrency", "8"), ("concurrency", "rate", "not both")),
    "no requests": ((*DENSE, "--requests", "0", "--concurrency", "1"), ("requests must be positive", "got 0")),
    "a run shorter than its load": (
        (*DENSE, "--requests", "5", "--concurrency", "100"),
        ("run of 5 requests", "100 in flight"),
    ),
    # sizes of the deployment
    "tp of the heads": ((*DENSE, "--tp", "3"), ("tp = 3", "64 heads", "1, 2, 4, 8")),
    "tp of the experts": ((*EXPERTS, "--tp", "8", "--ep", "3"), ("ep", "8", "ep = 3")),
    "ep without experts": ((*DENSE, "--tp", "8", "--ep", "8"), ("ep = 8", "experts", LLAMA)),
    "ep beyond the experts": (
        ("forecast", QWEN, "ascend-910c", "--tp", "1", "--attention-dp", "768", "--ep", "768"),
        ("ep = 768", "128 experts"),
    ),
    "pp beyond the layers": (("forecast", LLAMA, "ascend-910c", "--pp", "96"), ("pp = 96", "80 layers")),
    "tp and devices": ((*DENSE, "--tp", "4", "--devices", "6"), ("= 4", "devices = 6")),
    "attention dp and devices": (
        (*EXPERTS, "--tp", "4", "--attention-dp", "4", "--devices", "8"),
        ("4 x 4", "= 16", "devices = 8"),
    ),
    "no devices": ((*DENSE, "--devices", "0"), ("devices", "got 0")),
    "negative devices": ((*DENSE, "--devices", "-8"), ("devices", "got -8")),
    "huge devices": ((*DENSE, "--devices", "9" * 20), ("99,999,999,999,999,999,999 devices", "Nearest")),
    "zero tp": ((*DENSE, "--tp", "0"), ("tp", "got 0")),
    "negative pp": ((*DENSE, "--pp", "-1"), ("pp", "got -1")),
    "zero ep": ((*EXPERTS, "--tp", "8", "--ep", "0"), ("ep", "got 0")),
    "zero cp": ((*DENSE, "--cp", "0"), ("cp", "got 0")),
    "zero attention dp": ((*EXPERTS, "--attention-dp", "0"), ("attention.dp", "got 0")),
    "huge tp": ((*DENSE, "--tp", "9" * 25), ("tp", "999|1e.25")),
    "devices beyond the system": (
        ("forecast", R1, "ascend-910c", "--tp", "8", "--attention-dp", "32", "--pp", "4"),
        ("1024 devices", "768 devices of cloudmatrix384", "silicast systems"),
    ),
    "devices beyond the system, open": (("forecast", R1, "ascend-910c", "--devices", "1024"), ("1024", "768 devices")),
    "fit beyond the system": (
        ("fit", R1, "ascend-910c", "--tp", "8", "--attention-dp", "32", "--pp", "4"),
        ("1024 devices", "768 devices of cloudmatrix384"),
    ),
    "no layout has so many": ((*DENSE, "--devices", "7"), ("7 devices", "Nearest that have one: 4, 8")),
    "devices and packages": (("compare", LLAMA, H100, "--devices", "8", "--packages", "8"), ("not both",)),
    "no packages": (("compare", LLAMA, H100, "--packages", "0"), ("packages", "got 0")),
    "negative packages": (("compare", LLAMA, H100, "--packages", "-2"), ("packages", "got -2")),
    "microbatches": ((*DENSE, "--microbatches", "3"), ("microbatches must be 1 or 2", "got 3")),
    "kv blocks": ((*DENSE, "--kv-blocks", "0"), ("kv-blocks", "got 0")),
    "few kv blocks": ((*DENSE, "--kv-blocks", "3"), ("3 cache blocks hold no request", r"needs [\d,]+ blocks of")),
    "few kv blocks at a load": (
        (*DENSE, "--tp", "4", "--kv-blocks", "3", "--concurrency", "4"),
        ("3 cache blocks hold no request", r"needs [\d,]+ blocks of"),
    ),
    "many kv blocks": ((*DENSE, "--tp", "8", "--kv-blocks", "900000000"), ("exceed the memory of h100-sxm", "at most")),
    # formats
    "weights": ((*DENSE, "--weights", "fp9"), ("dtype 'fp9'", "did you mean 'fp8'", "bf16")),
    "activations": ((*DENSE, "--activations", "bf61"), ("dtype 'bf61'", "did you mean 'bf16'")),
    "cache": ((*DENSE, "--kv-cache", "q8_0"), ("dtype 'q8_0'", "Known: fp32")),
    "cache of compare": (("compare", LLAMA, H100, "--kv-cache", "fp7"), ("dtype 'fp7'",)),
    "empty dtype": ((*DENSE, "--weights", ""), ("dtype ''", "Known")),
    # speculation
    "negative drafts": ((*EXPERTS, "--mtp-tokens", "-1"), ("mtp-tokens must be from 0 to 8", "got -1")),
    "many drafts": ((*EXPERTS, "--mtp-tokens", "99"), ("mtp-tokens must be from 0 to 8", "got 99")),
    "acceptance": ((*EXPERTS, "--mtp-tokens", "1", "--mtp-acceptance", "1.7"), ("between 0 and 1", "got 1.7")),
    "NaN acceptance": ((*EXPERTS, "--mtp-tokens", "1", "--mtp-acceptance", "nan"), ("between 0 and 1", "got nan")),
    # claim
    "negative claim": (("compare", LLAMA, H100, "--claim", "-0.6"), ("claim must be a positive", "-0.6")),
    "NaN claim": (("compare", LLAMA, H100, "--claim", "nan"), ("claim must be a positive", "nan")),
    # does not fit
    "does not fit": (
        ("fit", R1, H100, "--devices", "4"),
        (
            R1,
            r"does not fit on 4 x h100-sxm",
            r"short of [\d,.]+ GiB per device",
            r"fits on \d+ devices: --devices \d+",
        ),
    ),
    "does not fit a layout": (
        ("fit", R1, H100, "--tp", "4"),
        ("does not fit", "4 x h100-sxm", r"short of [\d,.]+ GiB", r"fits on \d+|--(devices|tp|weights) \w+"),
    ),
    "does not fit to forecast": (
        (*DENSE, "--devices", "1"),
        ("does not fit", "1 x h100-sxm", r"short of [\d,.]+ GiB", r"--devices \d+"),
    ),
    "does not fit to forecast a layout": ((*DENSE, "--tp", "1"), ("does not fit", r"short of [\d,.]+ GiB")),
    "does not fit at a load": ((*DENSE, "--tp", "1", "--concurrency", "4"), ("does not fit", r"short of [\d,.]+ GiB")),
    "does not fit to compare": (
        ("compare", R1, "ascend-910c", H100, "--devices", "4"),
        ("does not fit", "GiB", r"--devices \d+"),
    ),
    "context does not fit": (
        ("fit", LLAMA, H100, "--devices", "8", "--input-tokens", "90000000"),
        ("does not fit", "90,?001,?024 tokens", "GiB"),
    ),
    # what typer refuses
    "no verb": (("forcast", LLAMA, H100), ("'forcast'", "did you mean 'forecast'", "silicast --help")),
    "no verb at all alike": (("xyzzy",), ("'xyzzy'", "silicast --help")),
    "no verb below a verb": (("chips", "shwo"), ("'shwo'", "silicast chips --help")),
    "no option": ((*DENSE, "--tpp", "8"), ("--tpp", "--tp", "silicast forecast --help")),
    "no model": (("forecast",), ("model", "silicast forecast --help")),
    "no chip": (("forecast", LLAMA), ("chip", "silicast forecast --help")),
    "no chips": (("compare", LLAMA), ("chips", "silicast compare --help")),
    "one name too many": ((*DENSE, "h200-sxm"), ("h200-sxm", "silicast forecast --help")),
    "no value": ((*DENSE, "--tp"), ("--tp",)),
    "no number": ((*DENSE, "--concurrency", "many"), ("--concurrency", "'many'", "number")),
    "a value for a flag": ((*DENSE, "--balanced=yes"), ("--balanced",)),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_options_are_one_clear_line(case: str) -> None:
    arguments, words = CASES[case]
    check_refused(run(*arguments), *words)


@pytest.mark.parametrize("case", ["chip", "no option", "zero tp", "does not fit"])
def test_json_does_not_change_that(case: str) -> None:
    arguments, words = CASES[case]
    check_refused(run(*arguments, "--json"), *words)


def test_a_dtype_that_nothing_can_run(tmp_path: Path) -> None:
    """A chip with FP32 products only under a stack without a cast."""
    text = catalog.template().replace("matrix.bf16]\nvalue", "matrix.fp32]\nvalue")
    path = tmp_path / "old.toml"
    path.write_text(text)
    check_refused(run("fit", LLAMA, str(path)), "bf16", "fp32", "chips template --from my-chip")


def test_the_way_out_of_that_works(tmp_path: Path) -> None:
    """The file that the error asks for is forecast."""
    old = catalog.template().replace("matrix.bf16]\nvalue", "matrix.fp32]\nvalue")
    block = catalog.template().partition("[compute.matrix.bf16]")[2].partition("\n\n")[0]
    path = tmp_path / "new.toml"
    path.write_text(f"{old}\n[compute.matrix.fp16]{block}\n")
    assert run("fit", LLAMA, str(path)).code == 0


@pytest.mark.parametrize("verb", ["compare", "plan"])
def test_a_report_that_cannot_be_written_leaves_no_half_answer(verb: str, tmp_path: Path) -> None:
    chips = ("--chip", "l20", "--devices", "2") if verb == "plan" else ("l20",)
    for more in ((), ("--json",)):
        check_refused(run(verb, "Qwen/Qwen3-8B", *chips, "--html", str(tmp_path), *more), "directory", "report.html")


@pytest.mark.parametrize("layout", [(), ("--tp", "16"), ("--devices", "16")])
def test_the_longest_request_that_is_told_fits_and_a_longer_one_does_not(layout: tuple[str, ...]) -> None:
    def ask(tokens: int) -> Ran:
        return run("fit", R1, H100, *layout, "--input-tokens", str(tokens - 1024), "--output-tokens", "1024")

    told = re.search(r"Requests of up to ([\d,]+) tokens", ask(90_000_000).err)
    assert told is not None
    longest = int(told.group(1).replace(",", ""))
    assert ask(longest).code == 0
    check_refused(ask(longest + 1), "does not fit")


def test_weights_that_fit_nowhere_are_told_so() -> None:
    model = "gpt:layers=4000,hidden=65536,heads=512,vocab=51200"
    check_refused(run("fit", model, "tpu-v5e"), "weights alone", "--weights", "silicast chips")


@pytest.mark.parametrize(("model", "devices"), [(LLAMA, 4096), (LLAMA, 7), (R1, 4096), (QWEN, 1000)])
def test_the_nearest_device_counts_that_are_told_have_a_layout(model: str, devices: int) -> None:
    told = re.search(r"Nearest that have one: ([\d, ]+);", run("forecast", model, H100, "--devices", str(devices)).err)
    assert told is not None
    for count in told.group(1).split(", "):
        answer = run("forecast", model, H100, "--devices", count.replace(",", ""))
        assert answer.code == 0 or "does not fit" in answer.err


def test_a_letter_is_no_near_name() -> None:
    for kind in ("chips", "systems", "stacks", "models"):
        answer = run(kind, "show", "x")
        check_refused(answer, "'x' not found", f"silicast {kind}")
        assert "Did you mean" not in answer.err


# A config.json

ORIGINAL = json.loads((catalog.data_folder() / "models" / f"{LLAMA}.json").read_text(encoding="utf-8"))
EXPERT = json.loads((catalog.data_folder() / "models" / f"{R1}.json").read_text(encoding="utf-8"))


def changed(**values: Any) -> str:
    return json.dumps({**ORIGINAL, **values})


def without(*keys: str) -> str:
    return json.dumps({key: value for key, value in ORIGINAL.items() if key not in keys})


def expert(**values: Any) -> str:
    return json.dumps({**EXPERT, **values})


#: title -> text of the file, and what the line must say
CONFIGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "empty": ("", ("config.json", "not JSON")),
    "truncated": (json.dumps(ORIGINAL)[:200], ("config.json", "not JSON", "truncated")),
    "no JSON": ("model_type: llama\n", ("config.json", "not JSON")),
    "a list": ("[1, 2]", ("config.json", "object", "list")),
    "text": ('"llama"', ("config.json", "object", "got text")),
    "null": ("null", ("config.json", "object")),
    "NaN": (changed(hidden_size=float("nan")), ("hidden_size", "NaN")),
    "deep": ("[" * 100_000, ("config.json", "cannot be read|not JSON|nested too deeply")),
    "no model_type": (without("model_type", "architectures"), ("model_type",)),
    "model_type null": (changed(model_type=None, architectures=None), ("model_type",)),
    "model_type is a number": (changed(model_type=7), ("model_type", "7")),
    "unknown model_type": (
        changed(model_type="lama", architectures=["LamaForCausalLM"]),
        ("lama", "llama", "model/families|families"),
    ),
    "no hidden_size": (without("hidden_size"), ("hidden_size", "missing")),
    "hidden_size null": (changed(hidden_size=None), ("hidden_size", "missing or null")),
    "hidden_size is text": (changed(hidden_size="8192"), ("hidden_size", "whole number", '"8192"')),
    "hidden_size negative": (changed(hidden_size=-8192), ("hidden_size", "from 1", "-8192")),
    "hidden_size zero": (changed(hidden_size=0), ("hidden_size", "from 1", "got 0")),
    "hidden_size absurd": (changed(hidden_size=10**30), ("hidden_size", "from 1")),
    "hidden_size is half": (changed(hidden_size=8192.5), ("hidden_size", "8192.5")),
    "hidden_size is a truth": (changed(hidden_size=True), ("hidden_size", "true")),
    "hidden_size is a list": (changed(hidden_size=[8192]), ("hidden_size", "8192")),
    "layers negative": (changed(num_hidden_layers=-1), ("num_hidden_layers", "-1")),
    "layers absurd": (changed(num_hidden_layers=10**9), ("num_hidden_layers",)),
    "vocabulary absurd": (changed(vocab_size=1e40), ("vocab_size",)),
    "heads zero": (changed(num_attention_heads=0), ("num_attention_heads", "got 0")),
    "kv heads do not divide": (changed(num_key_value_heads=7), ("7 KV heads", "64 heads")),
    "tied is text": (changed(tie_word_embeddings="no"), ("tie_word_embeddings", '"no"')),
    "quantisation is text": (changed(quantization_config="fp8"), ("quantization_config", '"fp8"')),
    "quantisation unknown": (changed(quantization_config={"quant_method": "fp7"}), ("fp7",)),
    "experts negative": (expert(n_routed_experts=-256), ("n_routed_experts", "-256")),
    "experts fewer than chosen": (expert(n_routed_experts=4), ("4", "experts")),
    "dense layers beyond all": (expert(first_k_dense_replace=10**6), ("first_k_dense_replace",)),
    "latent is null": (expert(kv_lora_rank=None), ("kv_lora_rank",)),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_bad_config_is_one_clear_line(case: str, tmp_path: Path) -> None:
    text, words = CONFIGS[case]
    path = tmp_path / "config.json"
    path.write_text(text)
    check_refused(run("fit", str(path), H100), *words)


def test_places_that_are_no_config(tmp_path: Path) -> None:
    check_refused(run("fit", str(tmp_path), H100), "folder without a config.json")
    check_refused(run("fit", str(tmp_path / "none.json"), H100), "none.json", "not found", "silicast models")
    check_refused(run("fit", "/" + "x" * 5000, H100), "not found|cannot be")
    check_refused(run("models", "show", str(tmp_path)), "folder")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00\x01{}")
    check_refused(run("fit", str(binary), H100), "binary.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(100_000_000)
    check_refused(run("fit", str(huge), H100), "huge.json has 100 MB", "at most 4 MB")


# A chip file

#: title -> (text of the template, replacement), and what the line must say
CHIP_FILES: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "not TOML": (("[compute.matrix.bf16]", "[compute.matrix.bf16"), ("mine.toml is not TOML", "line")),
    "unknown field": (("generation =", "generatoin ="), ("'generatoin' not found", "did you mean 'generation'")),
    "misspelt table": (("[compute.matrix.bf16]", "[compute.matrx.bf16]"), ("did you mean 'compute.matrix'",)),
    "unknown dtype": (("compute.matrix.bf16", "compute.matrix.bf17"), ("bf17", "did you mean 'compute.matrix.bf16'")),
    "unknown unit": (("1000 TFLOPS", "1000 TFLOP"), ("'TFLOP' not found", "did you mean 'TFLOPS'")),
    "wrong dimension": (("1000 TFLOPS", "1000 GB/s"), ("compute.matrix.bf16.value", "FLOP/s", "1000 GB/s")),
    "bare number": (('"1000 TFLOPS"', "1000"), ("compute.matrix.bf16", "text with its unit", "1000")),
    "negative": (("1000 TFLOPS", "-1000 TFLOPS"), ("must be positive", "-1000 TFLOPS")),
    "zero": (("1000 TFLOPS", "0 TFLOPS"), ("must be positive", "0 TFLOPS")),
    "infinite": (("1000 TFLOPS", "1e999 TFLOPS"), ("positive and finite", "1e999")),
    "no source": (('source = "mine"', 'source = "yours"'), ("source 'yours'", "not found")),
    "no confidence": (('confidence = "low"', ""), ("confidence", "required")),
    "unknown basis": (('"matrix_only"', '"matrixonly"'), ("matrixonly", "matrix_only")),
    "no peak": (("[compute.matrix.bf16]", "[compute.vector.bf16]"), ("compute.matrix", "at least one matrix peak")),
    "unknown system": (('system = "eight-device-node"', 'system = "nine"'), ("System 'nine' not found",)),
    "unknown stack": (('stack = "generic"', 'stack = "genric"'), ("Stack 'genric'", "did you mean 'generic'")),
    "a list for text": (('name = "My chip"', "name = [1]"), ("name", "string")),
}


@pytest.mark.parametrize("case", CHIP_FILES)
def test_a_bad_chip_file_is_one_clear_line(case: str, tmp_path: Path) -> None:
    (old, new), words = CHIP_FILES[case]
    text = catalog.template()
    assert old in text
    path = tmp_path / "mine.toml"
    body = text.index('id = "my-chip"')
    path.write_text(text[:body] + text[body:].replace(old, new, 1))
    check_refused(run("fit", LLAMA, str(path), "--devices", "8"), *words)


def test_a_half_filled_chip_file_works_and_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(catalog.template())
    answer = run("forecast", LLAMA, str(path), "--tp", "8", "--concurrency", "8")
    assert (answer.code, answer.err) == (0, "")
    assert "memory.hbm.bandwidth" in " ".join(answer.out.split())
    document = run("forecast", LLAMA, str(path), "--tp", "8", "--concurrency", "8", "--json").document()
    assert "memory.hbm.bandwidth" in document["result"]["missing"]


def test_places_that_are_no_chip_file(tmp_path: Path) -> None:
    check_refused(run("fit", LLAMA, str(tmp_path)), "is a folder")
    check_refused(run("fit", LLAMA, str(tmp_path / "none.toml")), "none.toml", "not found", "silicast chips")
    check_refused(run("fit", LLAMA, H100, "--stack", str(tmp_path / "none.toml")), "none.toml", "silicast stacks")
    check_refused(run("fit", LLAMA, H100, "--system", str(tmp_path)), "is a folder")


# Real files, damaged at random: an answer or one clear line, never anything else

CONFIG_FILES = sorted((catalog.data_folder() / "models").glob("*/*.json"))
GARBAGE = st.one_of(
    st.none(),
    st.integers(-4, 300),
    st.sampled_from([0, -1, 10**9, 10**30, 0.5, -0.0, 1e300, True, "", "auto", "8192", [], {}, [1], [None], {"a": 1}]),
    st.text(max_size=4),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
    return [place for key, child in children for place in [(*path, key), *places(child, (*path, key))]]


def damage(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key] if isinstance(document, dict | list) else {}
    if isinstance(document, dict):
        document[path[-1]] = value


@settings(max_examples=250, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_config_is_an_answer_or_one_clear_line(data: st.DataObject, tmp_path_factory: Any) -> None:
    document = json.loads(data.draw(st.sampled_from(CONFIG_FILES)).read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 3))):
        damage(document, data.draw(st.sampled_from(places(document))), data.draw(GARBAGE))
    path = tmp_path_factory.mktemp("damaged") / "config.json"
    path.write_text(json.dumps(document))
    answer = run("fit", str(path), "h200-sxm", "--json")
    if answer.code:
        check_refused(answer)
    else:
        memory = answer.document()["result"]["memory"]
        assert all(0 <= value < 1e9 for name, value in memory.items() if name != "free_gib")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_damaged_chip_file_is_an_answer_or_one_clear_line(data: st.DataObject, tmp_path_factory: Any) -> None:
    lines = catalog.template(data.draw(st.sampled_from(catalog.ids("chips")))).splitlines()
    filled = [place for place, line in enumerate(lines) if line and not line.startswith("#")]
    place = data.draw(st.sampled_from(filled))
    cut = data.draw(st.integers(0, len(lines[place])))
    lines[place] = (
        lines[place][:cut] + data.draw(st.text(max_size=4)) + lines[place][cut + data.draw(st.integers(0, 4)) :]
    )
    path = tmp_path_factory.mktemp("damaged") / "mine.toml"
    path.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    answer = run("forecast", LLAMA, str(path), "--devices", "8", "--concurrency", "4", "--json")
    if answer.code:
        check_refused(answer)
    else:
        assert answer.document()["result"]["estimates"]["tpot_ms"]["value"] > 0
