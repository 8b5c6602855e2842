"""Every verb: its help, its one JSON object, tables that fit, and how it behaves in pipes and terminals."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import silicast
from silicast.cli.main import VERBS
from silicast.estimate import TIERS
from silicast.parts import BOUNDS
from tests.cli.program import H100, LLAMA, QWEN, R1, Terminal, program, run, spawn

WIDTH = 100
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-9]|4[0-9]|9[0-7])(?:;[0-9;]*)?m")

#: verb and arguments -> title of the call
CALLS: dict[str, tuple[str, ...]] = {
    "compare": ("compare", LLAMA, "ascend-910b1", H100, "--devices", "8", "--claim", "0.6"),
    "compare one": ("compare", LLAMA, H100, "--devices", "8"),
    "compare experts": ("compare", R1, "ascend-910c", "h20-96", H100, "--packages", "16"),
    "forecast": ("forecast", LLAMA, H100, "--tp", "4", "--concurrency", "16"),
    "forecast open loop": ("forecast", QWEN, "h200-sxm", "--devices", "8", "--rate", "0.5"),
    "forecast best": ("forecast", QWEN, "ascend-910c", "--devices", "32"),
    "forecast drafts": ("forecast", R1, "h200-sxm", "--tp", "8", "--concurrency", "4", "--mtp-tokens", "1"),
    "explain": ("explain", R1, "ascend-910c", "--tp", "4", "--attention-dp", "8", "--concurrency", "64"),
    "fit": ("fit", R1, "h200-sxm"),
    "fit layout": ("fit", QWEN, "mi300x", "--tp", "8"),
    "chips": ("chips",),
    "chips show": ("chips", "show", "ascend-910c"),
    "chips template": ("chips", "template", "--from", H100),
    "systems": ("systems",),
    "systems show": ("systems", "show", "cloudmatrix384"),
    "models": ("models",),
    "models show": ("models", "show", R1),
    "stacks": ("stacks",),
    "stacks show": ("stacks", "show", "vllm-ascend"),
}
FORECASTS = [name for name in CALLS if name.startswith(("compare", "forecast", "explain"))]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    answer = run(verb, "--help")
    assert answer.code == 0
    assert answer.err == ""
    assert f"Usage: silicast {verb}" in answer.out
    assert "--json" in answer.out
    assert max(map(len, answer.out.splitlines())) <= WIDTH


def test_the_program_lists_its_verbs() -> None:
    for arguments in ((), ("--help",)):
        answer = run(*arguments)
        assert (answer.code, answer.err) == (0, "")
        for verb in VERBS:
            assert re.search(rf"^  {verb} ", answer.out, re.M)


# JSON


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return {}


def document(name: str, documents: dict[str, Any]) -> Any:
    if name not in documents:
        documents[name] = run(*CALLS[name], "--json").document()
    return documents[name]


@pytest.mark.parametrize("name", CALLS)
def test_json_is_one_object_in_the_envelope(name: str, documents: dict[str, Any]) -> None:
    answer = document(name, documents)
    assert list(answer) == ["schema", "verb", "inputs", "result", "warnings"]
    assert answer["schema"].startswith("silicast/")
    assert answer["verb"] == " ".join(word for word in CALLS[name][:2] if word in (CALLS[name][0], "show", "template"))
    assert isinstance(answer["inputs"], dict)
    assert all(isinstance(warning, str) for warning in answer["warnings"])


def estimates(node: Any, place: str = "result") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if {"value", "low", "high"} <= set(node):
            yield place, node
        for key, below in node.items():
            yield from estimates(below, f"{place}.{key}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from estimates(below, f"{place}[{index}]")


@pytest.mark.parametrize("name", FORECASTS)
def test_every_estimate_is_whole(name: str, documents: dict[str, Any]) -> None:
    found = dict(estimates(document(name, documents)["result"]))
    assert found
    for place, estimate in found.items():
        assert list(estimate) == ["value", "low", "high", "unit", "tier", "bound_by", "parts"], place
        assert 0 < estimate["low"] <= estimate["value"] <= estimate["high"] < 1e12, place
        assert estimate["tier"] in TIERS, place
        assert estimate["bound_by"] in ("", *BOUNDS.values()), place
        assert isinstance(estimate["parts"], list), place
        check_unit(place, estimate["unit"])


def check_unit(place: str, unit: str) -> None:
    """Keys carry the unit that the estimate states."""
    key = place.rpartition(".")[2]
    for end, stated in (("_ms", "ms"), ("_per_w", "tokens/s/W"), ("requests_per_s", "requests/s"), ("_mfu", "")):
        if key.endswith(end):
            assert unit == stated, place


@pytest.mark.parametrize("phase", ["decode", "prefill"])
@pytest.mark.parametrize("name", FORECASTS)
def test_the_parts_of_a_step_add_up_to_it(name: str, phase: str, documents: dict[str, Any]) -> None:
    result = document(name, documents)["result"]
    chips = result.get("chips") or [{"deployments": [result]}]
    for deployment in (deployment for chip in chips for deployment in chip["deployments"]):
        step = deployment["estimates"][f"{phase}_step_ms"]
        total = sum(part["value"] * {"s": 1e3, "ms": 1.0}[part["unit"]] for part in step["parts"])
        # the parts are medians of draws, and so is the step: medians do not add up exactly
        assert total == pytest.approx(step["value"], rel=0.05)


def test_a_metric_without_a_value_is_null_and_a_word_in_tables() -> None:
    overload = ("forecast", LLAMA, H100, "--tp", "4", "--rate", "50")
    result = run(*overload, "--json").document()["result"]
    assert result["overloaded"]
    assert (result["estimates"]["ttft_ms"], result["estimates"]["e2e_ms"]) == (None, None)
    assert re.search(r"TTFT, ms \(mean\) +unbounded", run(*overload).out)
    one = ("forecast", LLAMA, H100, "--tp", "4", "--concurrency", "4", "--output-tokens", "1")
    assert run(*one, "--json").document()["result"]["estimates"]["tpot_ms"] is None
    assert re.search(r"TPOT, ms \(mean\) +- ", run(*one).out)
    compared = ("compare", LLAMA, H100, "--devices", "8", "--output-tokens", "1")
    deployment = run(*compared, "--json").document()["result"]["chips"][0]["deployments"][0]
    assert deployment["estimates"]["tpot_ms"] is None
    assert re.search(r"TPOT ms, mean +-", run(*compared).out)


def test_fit_shows_the_range_of_memory_that_no_source_gives() -> None:
    told = run("fit", "Qwen/Qwen3-8B", "ascend-910a")
    assert re.search(r"fits on 1 device = 1 package of ascend-910a", told.out)
    assert re.search(r"^capacity +[\d.]+ +[\d.]+-[\d.]+ *$", told.out, re.M)
    assert "no source gives memory.hbm.capacity" in told.out
    assert run("fit", "Qwen/Qwen3-8B", "ascend-910a", "--json").document()["warnings"]


def test_what_waits_is_told_in_words_and_numbers() -> None:
    full = ("forecast", LLAMA, H100, "--tp", "4", "--concurrency", "500")
    document = run(*full, "--json").document()
    result = document["result"]
    assert result["running"] + result["waiting"] == result["concurrency"] == 500
    assert result["running"] == result["memory"]["max_requests"]
    assert any("requests run at a time" in warning for warning in document["warnings"])
    assert f"{result['running']:g} of 500 requests running" in run(*full).out


def test_a_comparison_names_both_precisions(documents: dict[str, Any]) -> None:
    answer = document("compare experts", documents)["result"]
    for ratio in answer["ratios"]:
        assert ratio["reference"] == H100
        assert len(ratio["precisions"]) == 2
        product = 1.0
        for factor in ratio["factors"].values():
            product *= factor
        assert product == pytest.approx(ratio["per_package"]["value"], rel=1e-6)


@pytest.mark.parametrize("name", ["compare", "compare experts"])
def test_the_printed_factors_multiply_to_the_printed_ratio(name: str) -> None:
    text = run(*CALLS[name]).out
    tables = re.findall(r"^cause +factor\s*\n─+\n(.*?)^product, per package +([\d.,]+)", text, re.M | re.S)
    assert tables
    for rows, product in tables:
        factors = [float(line.split()[-1].replace(",", "")) for line in rows.splitlines()]
        assert len(factors) == 7
        printed = 1.0
        for factor in factors:
            printed *= factor
        # each of seven factors is rounded to half a unit of its third digit: 0.5 % at most
        assert printed == pytest.approx(float(product), rel=0.02)


def test_throughput_divides_by_devices_and_packages(documents: dict[str, Any]) -> None:
    deployment = document("compare experts", documents)["result"]["chips"][0]["deployments"][-1]
    found = deployment["estimates"]
    per_package = found["output_tokens_per_s_per_package"]["value"]
    assert deployment["devices"] == 2 * deployment["packages"]
    assert found["output_tokens_per_s_per_device"]["value"] == pytest.approx(per_package / 2)


# Tables


@pytest.mark.parametrize("name", CALLS)
def test_tables_fit_and_cut_nothing_off(name: str) -> None:
    answer = run(*CALLS[name])
    assert (answer.code, answer.err) == (0, "")
    if name == "chips template":
        return
    assert "\x1b" not in answer.out
    for line in table_lines(answer.out):
        assert len(line.rstrip()) <= WIDTH, line
        assert "…" not in line, line


def table_lines(text: str) -> list[str]:
    """The lines of tables: every line as wide as the rule of its block (rich pads the rows), and the rule."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        widths = {len(line) for line in lines if re.fullmatch(r"\s*[─━]{10,}\s*", line)}
        found += [line for line in lines if len(line) in widths]
    return found


def test_an_80_column_terminal_still_works() -> None:
    for name in ("chips", "systems"):
        assert spawn(*CALLS[name], COLUMNS="80").code == 0


def test_an_80_column_terminal_cuts_no_number_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    text = run(*CALLS["compare"], out=Terminal()).out
    assert "…" not in text
    lines = table_lines(text)
    assert max(len(line.rstrip()) for line in lines) <= 80
    for context in ("1,024 ctx", "4,096 ctx", "16,384 ctx", "65,536 ctx"):
        assert any(context in line for line in lines)


def test_the_version() -> None:
    answer = run("--version")
    assert (answer.code, answer.out) == (0, f"silicast {silicast.__version__}\n")


def test_compare_takes_formats() -> None:
    answer = run("compare", LLAMA, "ascend-910b1", H100, "--devices", "8", "--weights", "int8", "--activations", "int8")
    assert "(int8/int8, KV bf16)" in " ".join(answer.out.split())


def test_what_does_not_belong_together_is_said() -> None:
    odd = ("forecast", LLAMA, H100, "--tp", "8", "--stack", "vllm-ascend", "--system", "mi300x-node")
    warnings = run(*odd, "--concurrency", "1", "--input-tokens", "200000", "--json").document()["warnings"]
    assert any("vllm-ascend is made for Huawei; h100-sxm is of vendor NVIDIA" in line for line in warnings)
    assert any("mi300x-node is built of mi300x, mi325x, not of h100-sxm" in line for line in warnings)
    assert any(f"201,024 tokens exceed the context of {LLAMA}, 131,072" in line for line in warnings)
    assert run(*CALLS["forecast"], "--json").document()["warnings"] == []


# Terminals, colours and pipes


def test_a_terminal_may_have_colours_and_no_color_takes_them_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    coloured = run(*CALLS["compare"], out=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = run(*CALLS["compare"], out=Terminal())
    assert COLOUR.search(coloured.out)
    assert not COLOUR.search(plain.out)


@pytest.mark.parametrize("arguments", [("chips",), ("chips", "--json"), ("--help",), CALLS["forecast"]])
def test_a_closed_pipe_is_no_error(arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen([*program(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), errors) == (0, "")


def test_the_installed_program_answers() -> None:
    answer = spawn("fit", LLAMA, H100, "--json")
    assert answer.document()["result"]["devices"] == 4
    missing = spawn("fit", "no/such-model", H100)
    assert (missing.code, missing.out) == (2, "")
    assert len(missing.err.splitlines()) == 1


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['silicast', '--help']\n"
        "from silicast.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'pydantic', 'rich', 'silicast.api'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_completion_knows_verbs_and_options() -> None:
    environment = {"_SILICAST_COMPLETE": "complete_bash", "COMP_WORDS": "silicast co", "COMP_CWORD": "1"}
    assert spawn(**environment).out.split() == ["compare"]
    environment |= {"COMP_WORDS": "silicast forecast a b --kv", "COMP_CWORD": "4"}
    assert "--kv-cache" in spawn(**environment).out.split()


def test_the_same_question_has_the_same_answer() -> None:
    first, second = (run(*CALLS["forecast"], "--json").out for _ in range(2))
    assert first == second
    assert isinstance(json.loads(first), dict)


def test_python_and_the_command_line_agree(documents: dict[str, Any]) -> None:
    import silicast

    told = silicast.forecast(LLAMA, H100, silicast.Workload(concurrency=16), tp=4)
    printed = document("forecast", documents)["result"]["estimates"]["tpot_ms"]["value"]
    assert told.estimates["tpot_ms"].value == pytest.approx(printed, rel=1e-12)
