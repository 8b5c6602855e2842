"""`silicast launch` and `silicast import`: files that start a deployment, and a command read back."""

import json
import subprocess

import pytest
import yaml

from tests.cli.program import LLAMA, QWEN, R1, run

H200 = "h200-sxm"
SERVE = f"vllm serve {LLAMA} --tensor-parallel-size 4 --max-num-seqs 64 --kv-cache-dtype fp8"
LOAD = ("--concurrency", "16", "--input-tokens", "1024", "--output-tokens", "128")


def test_files_are_printed_or_written(tmp_path):
    printed = run("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm")
    assert printed.code == 0
    assert printed.out.startswith("==> serve.sh <==\n#!/bin/sh\n")
    written = run("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--output", str(tmp_path / "out"))
    assert written.out.split() == [str(tmp_path / "out" / "serve.sh")]
    assert (tmp_path / "out" / "serve.sh").read_text() in printed.out
    subprocess.run(["sh", "-n", str(tmp_path / "out" / "serve.sh")], check=True)


def test_what_is_launched_is_what_is_imported(tmp_path):
    args = ("--tp", "4", "--stack", "sglang", "--max-sequences", "48", "--memory-share", "0.8", "--kv-cache", "fp8")
    assert run("launch", LLAMA, H200, *args, "--output", str(tmp_path)).code == 0
    told = run("import", str(tmp_path / "serve.sh"), "--chip", H200, *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    assert (pool["tp"], pool["stack"], pool["precision"]["kv_cache"]) == (4, "sglang", "fp8")
    assert (pool["limits"]["max_sequences"], pool["limits"]["memory_share"]) == (48, 0.8)
    assert pool["ignored"] == []
    assert pool["unmodelled"] == []


@pytest.mark.parametrize("form", ["compose", "lws", "llm-d", "dynamo"])
def test_formats(form):
    told = run("launch", R1, H200, "--tp", "8", "--stack", "vllm", "--format", form, "--json").document()
    for text in told["result"]["files"].values():
        assert list(yaml.safe_load_all(text))


def test_two_pools_come_from_a_file(tmp_path):
    path = tmp_path / "two.toml"
    pool = '[[deployment.pools]]\nchip = "h200-sxm"\nstack = "sglang"\n'
    decode = f'{pool}role = "decode"\nattention_dp = 16\nep = 16\n'
    path.write_text(f'[deployment]\nmodel = "{R1}"\n{pool}role = "prefill"\ntp = 8\n{decode}')
    told = run("launch", str(path), "--json").document()
    assert set(told["result"]["files"]) == {"prefill.sh", "decode-leader.sh", "decode-follower.sh", "router.sh"}


def test_an_import_is_the_forecast_under_its_limits():
    told = run("import", SERVE, "--chip", H200, *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    same = run("forecast", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--kv-cache", "fp8", *LOAD, "--json").document()
    assert pool["forecast"]["estimates"]["tpot_ms"] == same["result"]["estimates"]["tpot_ms"]
    assert pool["forecast"]["memory"]["max_requests"] == 64
    assert same["result"]["memory"]["max_requests"] > 64


def test_limits_change_the_forecast():
    def free(share: str) -> float:
        told = run("import", f"{SERVE} --gpu-memory-utilization {share}", "--chip", H200, *LOAD, "--json").document()
        found: float = told["result"]["pools"][0]["forecast"]["memory"]["free_gib"]
        return found

    # 141 GiB printed; a tenth of it
    assert free("0.9") - free("0.8") == pytest.approx(14.1, rel=0.1)

    def ttft(chunk: str) -> float:
        told = run("import", f"{SERVE} --max-num-batched-tokens {chunk}", "--chip", H200, *LOAD, "--json").document()
        found: float = told["result"]["pools"][0]["forecast"]["estimates"]["ttft_ms"]["value"]
        return found

    assert ttft("256") != pytest.approx(ttft("8192"), rel=0.01)


def test_words_that_do_not_matter_are_listed():
    answer = run("import", f"{SERVE} --port 9000 --enforce-eager", "--chip", H200, *LOAD)
    assert answer.code == 0
    assert "Ignored, without effect on the forecast: --port." in answer.out
    assert "Not followed, may change the speed: --enforce-eager." in answer.out


def test_data_parallel_copies_of_a_dense_model_share_the_load():
    told = run("import", f"vllm serve {LLAMA} -tp 4 -dp 2", "--chip", H200, *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    assert (pool["replicas"], pool["attention_dp"]) == (2, 1)
    half = run(
        "forecast", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--concurrency", "8", *LOAD[2:], "--json"
    ).document()
    assert pool["forecast"]["estimates"]["tpot_ms"] == half["result"]["estimates"]["tpot_ms"]
    assert any("one of 2 replicas" in line for line in told["warnings"])


def test_a_side_of_a_disaggregated_deployment():
    text = f"python -m sglang.launch_server --model-path {QWEN} --tp 8 --disaggregation-mode decode"
    told = run("import", text, "--chip", H200, *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    assert pool["role"] == "decode"
    assert "decode_output_tokens_per_s_per_device" in pool["forecast"]["estimates"]
    assert "ttft_ms" not in pool["forecast"]["estimates"]


def test_ascend_commands_are_read_for_ascend_chips():
    text = f"vllm serve {R1} -tp 4 --data-parallel-size 8 --enable-expert-parallel --quantization ascend"
    told = run("import", text, "--chip", "ascend-910b", *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    assert (pool["stack"], pool["precision"]["weights"], pool["ep"]) == ("vllm-ascend", "int8", 32)


def test_a_backend_that_the_forecast_does_not_assume_is_noted():
    text = f"vllm serve {R1} -dp 16 --enable-expert-parallel"
    gathered = run("import", text, "--chip", H200, *LOAD, "--json").document()
    assert any("gathered to their experts" in line for line in gathered["warnings"])
    chosen = run("import", f"{text} --all2all-backend deepep_low_latency", "--chip", H200, *LOAD, "--json").document()
    assert not any("their experts" in line for line in chosen["warnings"])


def test_a_quantised_checkpoint_stays_as_it_is():
    told = run("import", f"vllm serve {R1} -tp 8 --quantization fp8", "--chip", H200, *LOAD, "--json").document()
    assert told["result"]["pools"][0]["precision"]["weights"] == "fp8_block"
    told = run("import", f"vllm serve {LLAMA} -tp 4 --quantization fp8", "--chip", H200, *LOAD, "--json").document()
    assert told["result"]["pools"][0]["precision"]["weights"] == "fp8"


def test_a_path_needs_a_model():
    text = "vllm serve /models/llama --tensor-parallel-size 4"
    assert run("import", text, "--chip", H200).code == 2
    told = run("import", text, "--chip", H200, "--model", LLAMA, *LOAD, "--json").document()
    assert told["result"]["pools"][0]["forecast"]["memory"]["weights_gib"] > 30


def test_options_files_beside_a_script_are_read(tmp_path):
    args = ("--attention-dp", "8", "--tp", "1", "--ep", "8", "--stack", "trtllm", "--output", str(tmp_path))
    assert run("launch", R1, H200, *args).code == 0
    told = run("import", str(tmp_path / "serve.sh"), "--chip", H200, *LOAD, "--json").document()
    assert told["result"]["pools"][0]["attention_dp"] == 8


def test_compose_files_are_read_back(tmp_path):
    args = ("--tp", "4", "--replicas", "2", "--stack", "vllm", "--format", "compose", "--output", str(tmp_path))
    assert run("launch", LLAMA, H200, *args).code == 0
    told = run("import", str(tmp_path / "compose.yaml"), "--chip", H200, *LOAD, "--json").document()
    (pool,) = told["result"]["pools"]
    assert (pool["tp"], pool["replicas"]) == (4, 2)


def test_without_sizes_the_fewest_devices_are_taken():
    told = run("launch", LLAMA, H200, "--stack", "vllm", "--json").document()
    fit = run("fit", LLAMA, H200, "--stack", "vllm", "--json").document()
    assert f"serve: 1 x {fit['result']['devices']} devices" in told["result"]["files"]["serve.sh"]


BAD = {
    "does not fit on its devices": (("launch", R1, H200, "--tp", "2", "--stack", "vllm"), "GiB"),
    "unknown flag": (("import", "vllm serve m --max-num-sequences 3", "--chip", H200), "--max-num-seqs"),
    "no command": (("import", "docker ps -a", "--chip", H200), "No launch command"),
    "no file": (("import", "nowhere.sh", "--chip", H200), "neither a launch command nor a file"),
    "no chip": (("import", SERVE), "--chip"),
    "unknown chip": (("import", SERVE, "--chip", "h2000"), "not found"),
    "unknown model": (("import", "vllm serve no/model", "--chip", H200), "no/model"),
    "does not divide": (("import", f"vllm serve {LLAMA} -tp 3", "--chip", H200), "tp"),
    "does not fit": (("import", f"vllm serve {R1} -tp 1", "--chip", H200), "GiB"),
    "too long": (("import", f"{SERVE} --max-model-len 2048", "--chip", H200), "longer than the command allows"),
    "wrong stack": (("import", SERVE, "--chip", H200, "--stack", "sglang"), "No command of sglang"),
    "acceptance": (("import", SERVE, "--chip", H200, "--mtp-acceptance", "2"), "--mtp-acceptance"),
    "format": (("launch", LLAMA, H200, "--format", "helm", "--stack", "vllm"), "Known: command, compose"),
    "stack without files": (("launch", LLAMA, H200, "--stack", "generic"), "has no launch files"),
    "unknown stack": (("launch", LLAMA, H200, "--stack", "vlm"), "vllm"),
    "no chip to launch on": (("launch", LLAMA), "a model and a chip"),
    "file and options": (("launch", "x.toml", "--tp", "2"), "says tp itself"),
    "no such file": (("launch", "x.toml"), "x.toml"),
    "layout": (("launch", LLAMA, H200, "--tp", "3", "--stack", "vllm"), "tp"),
    "replicas": (("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--replicas", "0"), "--replicas"),
    "share": (("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--memory-share", "90"), "between 0 and 1"),
    "drafts": (("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--mtp-tokens", "3"), "--draft-model"),
    "experts": (("launch", R1, H200, "--tp", "4", "--attention-dp", "2", "--ep", "4", "--stack", "vllm"), "over none"),
    "folder is a file": (("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--output", "/dev/null"), "/dev/null"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, says = BAD[case]
    answer = run(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert says in answer.err
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("silicast: ")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_there_stay(tmp_path):
    (tmp_path / "serve.sh").write_text("mine")
    arguments = ("launch", LLAMA, H200, "--tp", "4", "--stack", "vllm", "--output", str(tmp_path))
    assert run(*arguments).code == 2
    assert (tmp_path / "serve.sh").read_text() == "mine"
    assert run(*arguments, "--overwrite").code == 0
    assert (tmp_path / "serve.sh").read_text() != "mine"


def test_a_binary_file_is_no_command(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)) * 4)
    answer = run("import", str(path), "--chip", H200)
    assert (answer.code, "is not text" in answer.err) == (2, True)


def test_a_configuration_of_mindie_is_a_file(tmp_path):
    path = tmp_path / "config.json"
    args = ("--tp", "8", "--stack", "mindie", "--output", str(tmp_path / "out"), "--served", "/weights/llama")
    assert run("launch", LLAMA, "ascend-910b", *args).code == 0
    path.write_text((tmp_path / "out" / "serve.config.json").read_text())
    assert json.loads(path.read_text())["Note"].startswith("Untested")
    told = run("import", str(path), "--chip", "ascend-910b", "--model", LLAMA, *LOAD, "--json").document()
    assert (told["result"]["pools"][0]["stack"], told["result"]["pools"][0]["tp"]) == ("mindie", 8)
