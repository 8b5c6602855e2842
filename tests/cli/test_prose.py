"""What the tables stand between: lines that fit, said once, in words that count right."""

from pathlib import Path

import pytest
from rich.console import Console

from silicast import catalog
from silicast.report.screen import PIPED_WIDTH, prose
from tests.cli.program import H100, R1, run

GPT2 = "openai-community/gpt2"
PIPED = {
    "chip": ("chips", "show", "ascend-910c"),
    "stack": ("stacks", "show", "vllm"),
    "system": ("systems", "show", "cloudmatrix384"),
    "model": ("models", "show", R1),
    "compare": ("compare", R1, "ascend-910c", H100),
    "explain": ("explain", GPT2, H100),
}


@pytest.mark.parametrize("name", PIPED)
def test_lines_fit_a_pipe_unless_a_single_word_does_not(name: str) -> None:
    for line in run(*PIPED[name]).out.splitlines():
        assert len(line.rstrip()) <= PIPED_WIDTH or len(line.split()) == 1, line


def test_prose_hangs_and_keeps_addresses_whole() -> None:
    address = "https://example.org/" + "a/" * 40
    console = Console(width=60, record=True)
    with console.capture() as held:
        prose(console, f"  a source with a [bold]title[/bold] of some words, 2026, {address}")
    lines = held.get().splitlines()
    assert lines[0].startswith("  a source")
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[-1].strip() == address
    assert "[bold]title[/bold]" in held.get()
    assert max(len(line) for line in lines[:-1]) <= 60


def test_one_token_is_singular() -> None:
    for verb in ("compare", "forecast"):
        out = run(verb, "Qwen/Qwen3-8B", H100, "--output-tokens", "1").out
        assert "1 output token." in out or "1 output token," in out
        assert "1 output tokens" not in out


def test_a_warning_of_all_chips_is_said_once() -> None:
    out = run("compare", GPT2, H100, "l20").out
    assert out.count("exceed the context") == 1
    own = run("compare", R1, "ascend-910c", H100).out
    assert own.count("it runs as int8/int8 on ascend-910c") == 1


def test_explain_names_what_is_missing_or_that_nothing_is() -> None:
    whole, part = run("explain", GPT2, H100).out, run("explain", R1, "gaudi3").out
    assert "What better tier is missing:\n  " in part
    assert "What better tier is missing" not in whole
    assert "No better tier is missing" in whole


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    text = catalog.template(H100)
    chip = tmp_path / "own.toml"
    chip.write_text(text.replace('name = "NVIDIA H100 SXM5 80GB, edited"', 'name = "[/own] chip [bold]"'))
    folder = tmp_path / "[red]model"
    folder.mkdir()
    config = (catalog.data_folder() / "models/Qwen/Qwen3-8B.json").read_text()
    (folder / "config.json").write_text(config)
    for verb in ("fit", "forecast", "explain", "compare"):
        answer = run(verb, str(folder), str(chip))
        assert (answer.code, answer.err) == (0, "")
        assert "[red]model" in answer.out
    assert "[/own] chip [bold]" in " ".join(run("compare", "Qwen/Qwen3-8B", str(chip), H100).out.split())
