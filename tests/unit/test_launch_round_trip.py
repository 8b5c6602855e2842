"""A pool as a command and back is the same pool; a command that is read and written again says the same."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast.errors import InputError
from silicast.launch.command import Command, Invocation, split
from silicast.launch.flags import known
from silicast.launch.reading import read
from silicast.launch.settings import Limits, Place, Settings, dense, pool_of, settings_of
from silicast.launch.stacks import TRANSLATORS
from silicast.scenario import Layout, Pool, Precision, Speculation
from tests.unit.launches import NATIVE, engines

CHIP = "h200-sxm"


def parsed(stack: str, command: Command) -> Settings:
    """A command as a script, split into words and read."""
    (found,) = split(command.script())
    words = TRANSLATORS[stack].program(list(found.words))
    assert words is not None
    read_so = replace(found, words=tuple(words), files=command.files)
    return TRANSLATORS[stack].read(read_so).settings


@given(engines)
def test_a_pool_is_the_same_after_its_command(engine):
    stack, told = engine
    pool = replace(pool_of(told, CHIP, stack, NATIVE, 0.7), replicas=1)
    again = settings_of(told.model, pool, told.limits, NATIVE, told.draft_model)
    again = replace(again, all_to_all=told.all_to_all)
    back = parsed(stack, TRANSLATORS[stack].write(again, Place(), NATIVE))
    assert pool_of(back, CHIP, stack, NATIVE, 0.7) == pool
    assert back.limits == told.limits
    assert back.draft_model == told.draft_model
    assert back.model == told.model


@given(engines, st.integers(2, 4), st.integers(0, 3))
def test_the_nodes_of_an_engine_say_the_same(engine, nodes, rank):
    stack, told = engine
    place = Place(nodes, min(rank, nodes - 1), int(told.layout.devices), "10.0.0.1")
    back = parsed(stack, TRANSLATORS[stack].write(told, place, NATIVE))
    assert back == told


@st.composite
def command_lines(draw: st.DrawFn, stack: str) -> list[str]:
    """Words as people write them: flags in any order, with `=` or without, some of no effect."""
    words = []
    sizes = st.integers(1, 1 << 20).map(str)
    table = {
        "vllm": {
            **dict.fromkeys(("--tensor-parallel-size", "-tp", "-pp", "-dp"), st.sampled_from("124")),
            **dict.fromkeys(("--max-num-seqs", "--max_num_batched_tokens", "--max-model-len"), sizes),
            "--gpu-memory-utilization": st.sampled_from(("0.9", ".85", "1")),
            "--kv-cache-dtype": st.sampled_from(("auto", "fp8", "fp8_e5m2", "bfloat16")),
            "--quantization": st.sampled_from(("fp8", "awq", "compressed-tensors")),
            "--speculative-config": st.integers(1, 5).map(
                lambda count: json.dumps({"method": "mtp", "num_speculative_tokens": count})
            ),
            "--speculative-config.num_speculative_tokens": st.sampled_from("123"),
            "--port": sizes, "--served-model-name": st.sampled_from(("a", "b c")), "--max-log-len": sizes,
            "--enable-expert-parallel": st.none(), "--no-enable-prefix-caching": st.none(),
            "--enforce-eager": st.none(), "--all2all-backend": st.sampled_from(("pplx", "naive", "deepep_low_latency")),
        },
        "sglang": {
            **dict.fromkeys(("--tp-size", "--tp", "--tensor-parallel-size"), st.sampled_from("48")),
            **dict.fromkeys(("--attn-dp-size", "--ep-size", "--pp-size"), st.sampled_from("124")),
            **dict.fromkeys(("--max-running-requests", "--chunked-prefill-size", "--context-length"), sizes),
            "--mem-fraction-static": st.sampled_from(("0.9", "0.85")),
            "--speculative-algorithm": st.just("EAGLE"), "--speculative-num-steps": st.sampled_from("123"),
            "--kv-cache-dtype": st.sampled_from(("auto", "fp8_e4m3", "bf16")), "--host": st.just("::"),
            "--disable-radix-cache": st.none(), "--trust-remote-code": st.none(), "--enable-mixed-chunk": st.none(),
        },
    }[stack]  # fmt: skip
    for name in draw(st.permutations(sorted(table)))[: draw(st.integers(0, len(table)))]:
        value = draw(table[name])
        joined = value is not None and draw(st.booleans())
        words += [f"{name}={value}"] if joined else [name] if value is None else [name, value]
    return words


@settings(deadline=None)
@given(st.sampled_from(("vllm", "sglang")).flatmap(lambda stack: st.tuples(st.just(stack), command_lines(stack))))
def test_flags_are_the_same_after_a_deployment(given_line):
    stack, words = given_line
    model = ["m"] if stack == "vllm" else ["--model-path", "m"]
    try:
        told = TRANSLATORS[stack].read(Invocation(tuple(model + words))).settings
    except InputError as error:
        if "must divide" not in str(error) and "no multiple" not in str(error):
            raise
        return
    first = TRANSLATORS[stack].write(told, Place(), NATIVE)
    back = parsed(stack, first)
    assert TRANSLATORS[stack].write(back, Place(), NATIVE).words == first.words
    if told.weights == "int4":  # what only the checkpoint can bring is not a flag again
        told = replace(told, weights=None, activations=None)
    assert back == told


@given(engines)
def test_a_written_command_leaves_nothing_unread(engine):
    stack, told = engine
    command = TRANSLATORS[stack].write(told, Place(), NATIVE)
    words = TRANSLATORS[stack].program(command.words)
    assert words is not None
    found = TRANSLATORS[stack].read(Invocation(tuple(words), command.environment, command.files))
    own = {"--attention-backend"} if stack == "sglang-ascend" else set()
    assert set(found.unmodelled) <= own


# reading by hand


def one(text: str, **more) -> Settings:
    (found,) = read(text, **more)
    return found.reading.settings


def test_a_command_of_vllm():
    told = one("vllm serve deepseek-ai/DeepSeek-R1 -tp 8 -dp=2 --enable-expert-parallel --max-model-len 32k -q fp8")
    assert told.layout == Layout(8, 1, 16, 2)
    assert told.limits == Limits(context_tokens=32_000)
    assert (told.weights, told.activations) == ("fp8", "fp8")


def test_short_names_dotted_names_and_beginnings():
    text = "python3 -m vllm.entrypoints.openai.api_server --model m --speculative-config.method mtp"
    told = one(f"{text} --speculative-config.num_speculative_tokens 3 --gpu-memory-util .8 -O3")
    assert told.draft_tokens == 3
    assert told.limits.memory_share == 0.8


def test_the_image_of_vllm_is_the_command():
    text = "docker run --gpus all -p 8000:8000 --ipc=host vllm/vllm-openai:v0.33.0 --model m -tp 4"
    assert one(text).layout == Layout(4)
    assert one("docker run vllm/vllm-openai vllm serve m -tp 2").layout == Layout(2)


def test_other_ways_to_draft_are_not_followed():
    config = '{"method": "ngram", "num_speculative_tokens": 5}'
    (found,) = read(f"vllm serve m --speculative-config '{config}'")
    assert found.reading.unmodelled == ("drafts by ngram",)
    assert found.reading.settings.draft_tokens == 5


def test_sglang_counts_all_ranks():
    old = "python -m sglang.launch_server --model m --tp 16 --dp 4 --enable-dp-attention --moe-a2a-backend deepep"
    told = one(f"{old} --max-running-requests 1024 --chunked-prefill-size 16384")
    assert told.layout == Layout(4, 1, 16, 4)
    assert (told.limits.max_sequences, told.limits.chunk_tokens) == (256, 4096)
    assert told == one(
        "sglang serve --model-path m --tp-size 16 --attn-dp-size 4 --ep-size 16 --max-running-requests 1024 "
        "--moe-a2a-backend mori --chunked-prefill-size 16384"
    )


def test_sglang_replicas_are_no_attention_groups():
    told = one("python -m sglang.launch_server --model-path m --tp 2 --dp-size 4")
    assert (told.layout, told.replicas) == (Layout(2), 4)


def test_data_parallelism_of_a_dense_model_is_replicas():
    told = dense(one("vllm serve m -tp 2 -dp 4 --enable-expert-parallel"))
    assert (told.layout, told.replicas) == (Layout(2), 4)


def test_the_options_file_of_tensorrt_llm_wins():
    options = "tensor_parallel_size: 16\nenable_attention_dp: true\nkv_cache_config: {dtype: fp8}\nstream_interval: 4\n"
    text = "mpirun -n 16 trtllm-llmapi-launch trtllm-serve m --tp_size 8 --ep_size 16 --extra_llm_api_options o.yaml"
    (found,) = read(text, files={"o.yaml": options})
    assert found.reading.settings.layout == Layout(1, 1, 16, 16)
    assert found.reading.settings.kv_cache == "fp8"
    assert found.reading.unmodelled == ("stream_interval (o.yaml)",)


def test_a_configuration_of_mindie():
    model = {"modelWeightPath": "/m", "worldSize": 8, "dp": 2, "tp": 4, "moe_tp": 1, "moe_ep": 8}
    config = {
        "BackendConfig": {
            "ModelDeployConfig": {"maxSeqLen": 4096, "ModelConfig": [model]},
            "ScheduleConfig": {"maxBatchSize": 96, "cacheBlockSize": 128},
        }
    }  # fmt: skip
    told = one(json.dumps(config))
    assert told.layout == Layout(4, 1, 8, 2)
    assert told.limits == Limits(96, None, 128, 4096)
    config["BackendConfig"]["ModelDeployConfig"]["ModelConfig"] = [{"modelWeightPath": "/m", "worldSize": 8}]
    assert one(json.dumps(config)).layout == Layout(8)


def test_the_chip_decides_who_speaks():
    text = "vllm serve m -tp 8 --quantization ascend"
    (found,) = read(text, vendor="Huawei")
    assert (found.stack, found.reading.settings.weights) == ("vllm-ascend", "int8")
    assert read("vllm serve m", vendor="AMD")[0].stack == "rocm-vllm"
    assert read("vllm serve m", stack="vllm-ascend")[0].stack == "vllm-ascend"


def test_a_script_has_several_commands():
    text = """#!/bin/bash
    # don't mind the quote
    export VLLM_ASCEND_ENABLE_MLAPO=0
    vllm serve m --data-parallel-size 16 \\
        --data-parallel-size-local 8 --data-parallel-address 10.0.0.1  # the leader
    vllm serve m --data-parallel-size 16 --data-parallel-size-local 8 --headless --data-parallel-start-rank 8 &
    vllm serve m -tp 4 && vllm serve m -tp 4 ; echo done
    """
    found = read(text, vendor="Huawei")
    assert [(one.reading.settings.layout, one.replicas) for one in found] == [
        (Layout(1, attention_dp=16), 1),
        (Layout(4), 2),
    ]
    assert found[0].reading.unmodelled == ("VLLM_ASCEND_ENABLE_MLAPO=0",)


def test_what_matters_is_told_apart_from_what_does_not():
    (found,) = read("vllm serve m --enforce-eager --port 9000 --api-key x --async-scheduling")
    assert found.reading.unmodelled == ("--enforce-eager", "--async-scheduling")
    assert found.reading.ignored == ("--port", "--api-key")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("vllm serve m --max-num-sequences 3", "Did you mean '--max-num-seqs'?"),
        ("vllm serve m --tensor-parallel-size", "needs a value"),
        ("vllm serve m --tensor-parallel-size two", "whole number of at least 1, got 'two'"),
        ("vllm serve m -tp 0", "at least 1"),
        ("vllm serve m --gpu-memory-utilization 1.5", "above 0 and at most 1"),
        ("vllm serve m --kv-cache-dtype fp7", "not known; known: auto, fp8"),
        ("vllm serve m --quantization q8", "not known"),
        ("vllm serve m --speculative-config {", "not JSON"),
        ("vllm serve m --speculative-config [1]", "must be a JSON object"),
        ('vllm serve m --speculative-config \'{"num_speculative_tokens": "x"}\'', "whole number"),
        ("vllm serve m --config file.yaml", "not read"),
        ("vllm serve --port 3", "names no model"),
        ("vllm server m", "Did you mean 'vllm serve'?"),
        ("vllm serve 'm", "cannot be split"),
        ("", "No launch command"),
        ("python -m sglang.launch_server --tp 2", "names no model"),
        ("python -m sglang.launch_server --model m --tp 6 --attn-dp-size 4", "no multiple"),
        ("python -m sglang.launch_server --model m --disaggregation-mode both", "null, prefill or decode"),
        ("trtllm-serve m --tp-size 3", "Did you mean '--tp_size'?"),
        ("trtllm-serve m --config nowhere.yaml", "was not found"),
        ("trtllm-serve disaggregated -c x.yaml", "only routes"),
        ("{", "not JSON"),
        ("{}", "names no model"),
        ('{"a":' * 300 + "1" + "}" * 300, "levels deep"),
        ('{"BackendConfig": {"maxBatchSizes": 3}}', "Did you mean 'maxBatchSize'?"),
    ],
)
def test_a_mistake_is_named(text, says):
    with pytest.raises(InputError) as caught:
        read(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("[1, 2]", "must be a mapping"),
        ("a: [", "is not YAML"),
        ("tensor_parallel: 3", "Did you mean 'tensor_parallel_size'?"),
        ("tensor_parallel_size: -1", "whole number"),
        ("kv_cache_config: 3", "must be a mapping"),
        ("kv_cache_config: {dtype: int3}", "not known"),
        ("kv_cache_config: {free_gpu_memory_fraction: 2}", "at most 1"),
    ],
)
def test_a_mistake_in_an_options_file_is_named(options, says):
    with pytest.raises(InputError) as caught:
        read("trtllm-serve m --config o.yaml", files={"o.yaml": options})
    assert says in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_a_command_or_an_error(text):
    for start in ("", "vllm serve m ", "python -m sglang.launch_server --model m ", "trtllm-serve m ", "{"):
        with suppress(InputError):
            assert read(start + text)


@given(st.sampled_from(("vllm", "sglang", "trtllm")), st.data())
def test_any_value_of_any_flag_is_read_or_an_error(stack, data):
    flag = data.draw(st.sampled_from(known(TRANSLATORS[stack].target).flags))
    value = data.draw(st.text(max_size=20) | st.sampled_from(("1", "0", "-1", "{}", "null", "1e9", "true", "nan")))
    model = ("--model-path", "m") if stack == "sglang" else ("m",)
    with suppress(InputError):
        TRANSLATORS[stack].read(Invocation((*model, flag, value)))


def test_unknown_flags_can_be_passed_over():
    (found,) = read("vllm serve m --brand-new 3 -tp 2", skip_unknown=True)
    assert found.reading.settings.layout == Layout(2)
    assert found.reading.ignored == ("--brand-new",)


def test_formats_that_are_chosen_unasked_are_no_flags():
    native = Precision("fp8_block", "fp8_block")
    pool = Pool(CHIP, layout=Layout(8), precision=native, speculation=Speculation(1, 0.8))
    told = settings_of("m", pool, Limits(), native)
    assert (told.weights, told.kv_cache, told.draft_tokens) == (None, None, 1)
    assert replace(pool_of(told, CHIP, "vllm", native, 0.8), stack=None) == pool
