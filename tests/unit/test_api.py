"""Bad arguments in Python are one clear line and an error of Silicast, as on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import silicast
from silicast import Layout, Load, Setup, SilicastError, Targets, Workload, catalog
from tests.unit.pools import LLAMA

MODEL, CHIP = "Qwen/Qwen3-8B", "h100-sxm"
#: arguments of any type, as an untyped caller has them
ask: Any = silicast

WORD: Any = "a"


def many(layout: Layout = Layout(), load: Any = Load(decode_sequences=1), context: Any = 1024) -> Any:  # noqa: B008
    """Steps of many configurations at once."""
    return silicast.forecast_many(silicast.pool_model(MODEL, CHIP), layout, load, context)


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "tp is text": (lambda: ask.forecast(MODEL, CHIP, tp="2"), r"tp must be a whole number .*got '2'"),
    "tp is half": (lambda: ask.forecast(MODEL, CHIP, tp=1.5), r"tp must be a whole number .*got 1\.5"),
    "tp is a truth": (lambda: ask.forecast(MODEL, CHIP, tp=True), "tp must be a whole number .*got True"),
    "devices is a list": (lambda: ask.forecast(MODEL, CHIP, devices=[8]), r"devices must be .*got \[8\]"),
    "fit with tp as text": (lambda: ask.fit(MODEL, CHIP, tp="2"), r"tp must be a whole number .*got '2'"),
    "a size of no name": (lambda: ask.forecast(MODEL, CHIP, foo=3), "Size 'foo' not found.*Known: devices, tp"),
    "a size nearly named": (lambda: ask.fit(MODEL, CHIP, attention_tp=3), "Did you mean 'attention_dp'"),
    "input is text": (lambda: ask.Workload("a", 1), "input_tokens must be from 1 to .*got 'a'"),
    "input is none": (lambda: ask.Workload(None, 1), "input_tokens must be .*got None"),
    "output is a list of text": (lambda: ask.Workload(1, ["a"]), r"output_tokens must be .*got \['a'\]"),
    "ragged output": (lambda: ask.Workload(1, [[1], [1, 2]]), "output_tokens must be"),
    "concurrency is text": (lambda: ask.Workload(4096, 1024, concurrency="x"), "concurrency must be .*got 'x'"),
    "rate is text": (lambda: ask.Workload(4096, 1024, rate="2"), "rate must be .*got '2'"),
    "a target as text": (lambda: ask.Targets("2s"), "ttft_ms must be positive, in ms, got '2s'"),
    "a negative target": (lambda: ask.Targets(1, -1), "tpot_ms must be positive, in ms, got -1"),
    "a layout of text": (lambda: ask.Layout(tp="2"), "tp must be a whole number .*got '2'"),
    "a dtype of a number": (lambda: ask.Precision(8), "Unknown dtype '8'"),
    "no model": (lambda: ask.forecast(None, CHIP), "model is one id or path as text, got None.*silicast models"),
    "a list of chips for one": (lambda: ask.forecast(MODEL, [CHIP]), r"chip is one id .*got \['h100-sxm'\].*chips"),
    "a chip for a list": (lambda: ask.compare(MODEL, CHIP), "chips is a list of ids .*got 'h100-sxm'"),
    "a number among the chips": (lambda: ask.compare(MODEL, [CHIP, 3]), "Each of chips is one id .*got 3"),
    "no chips": (lambda: ask.compare(MODEL, []), "Name at least one chip"),
    "no devices": (lambda: ask.compare(MODEL, [CHIP], devices=0), "devices must be a whole number .*got 0"),
    "no packages": (lambda: ask.compare(MODEL, [CHIP], packages=0), "packages must be a whole number .*got 0"),
    "a reference of no type": (lambda: ask.compare(MODEL, [CHIP], reference=3), "reference is one id .*got 3"),
    "tokens for a workload": (lambda: ask.forecast(MODEL, CHIP, 4096), "workload is a silicast.Workload, got 4096"),
    "a workload for targets": (
        lambda: ask.forecast(MODEL, CHIP, targets=Workload()),
        r"targets is a silicast.Targets, got Workload\(",
    ),
    "a stack for a setup": (lambda: ask.forecast(MODEL, CHIP, setup="vllm"), "setup is a silicast.Setup, got 'vllm'"),
    "a stack of a number": (lambda: ask.Setup(stack=3), "stack is one id .*got 3.*silicast stacks"),
    "blocks of text": (lambda: ask.Setup(kv_blocks="100"), "kv_blocks must be a whole number .*got '100'"),
    "three microbatches": (lambda: ask.Setup(microbatches=3), "microbatches must be 1 or 2, got 3"),
    "drafts of a number": (lambda: ask.Setup(speculation=2), "speculation is a silicast.Speculation, got 2"),
    "setups of a list": (lambda: ask.compare(MODEL, [CHIP], setups=[Setup()]), r"setups is a dict .*got \[Setup\("),
    "a setup of no chip": (
        lambda: ask.compare(MODEL, [CHIP], setups={"h100": Setup()}),
        "Chip of setups 'h100' not found.*h100-sxm",
    ),
    "many on a number": (lambda: ask.forecast_many(3, Layout(), Load(), 1), "pool is a silicast.PoolModel, got 3"),
    "many without a load": (lambda: many(load=3), "load is a silicast.Load, got 3"),
    "many with a negative load": (lambda: many(load=Load(decode_sequences=np.array([1, -1]))), "decode_sequences must"),
    "many with a load of text": (lambda: many(load=Load(decode_sequences=WORD)), "decode_sequences must .*got 'a'"),
    "many with no number": (lambda: many(context=float("nan")), "context must be a number from 0 up.*got nan"),
    "many of unlike lengths": (
        lambda: many(Layout(tp=np.array([1, 2])), Load(decode_sequences=np.ones(3))),
        r"one length.*tp \(2,\), decode_sequences \(3,\)",
    ),
    "many in a square": (lambda: many(Layout(tp=np.ones((2, 2), dtype=int))), r"one length.*tp \(2, 2\)"),
    "many that cut no head": (lambda: many(Layout(tp=np.array([1, 7]))), "tp = 7 does not divide the 32 heads"),
    "a long list": (lambda: ask.compare(MODEL, {"a": ["b" * 100]}), r"chips is a list .*\.\.\."),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_arguments_are_one_clear_line(case: str) -> None:
    call, words = CASES[case]
    with pytest.raises(SilicastError, match=words) as error:
        call()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_paths_and_tuples_are_welcome() -> None:
    path: Any = Path(catalog.data_folder() / "chips" / f"{CHIP}.toml")
    assert silicast.forecast(LLAMA, path, Workload(concurrency=4), Targets(), Setup(), tp=4).chip == CHIP
    chips: Any = (CHIP,)
    assert silicast.compare(MODEL, chips, Workload(128, 16), devices=1).chips[0].chip == CHIP


def test_one_of_many_is_its_own_row() -> None:
    """Scalars, and arrays of any one of them, give the same step as that row alone."""
    tp, held, context = np.array([1, 2, 4, 8]), np.array([1.0, 7.0, 64.0, 0.5]), np.array([1, 1000, 4096, 100_000])
    seconds, memory = many(Layout(tp=tp), Load(decode_sequences=held, decode_context=context), context)
    for row in range(4):
        load = Load(decode_sequences=held[row], decode_context=context[row])
        alone, room = many(Layout(tp=int(tp[row])), load, context[row])
        assert float(alone[0]) == pytest.approx(float(seconds[row]), rel=1e-12)
        assert float(room.free) == pytest.approx(float(memory.free[row]), rel=1e-12)
