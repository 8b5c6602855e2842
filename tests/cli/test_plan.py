"""`plan` and `replace` from the command line: one document, one line for bad input, a page that stands alone."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.program import H100, LLAMA, run

LOAD = ("--rate", "4", "--input-tokens", "1000", "--output-tokens", "200")
QUICK = ("plan", LLAMA, "--chip", H100, *LOAD)


def test_the_verdict_comes_first() -> None:
    ran = run(*QUICK)
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    assert text.index("Best: ") < text.index("devices / packages / nodes") < text.index("deployments evaluated")
    assert "90 % of the requests with TTFT <= 2000 ms" in text
    assert "Simulated (Poisson arrivals" in text
    assert re.search(r"\d+ units were simulated: \d+ miss", text)
    assert "USD per million output tokens" in text


def test_the_document_holds_the_answer() -> None:
    found = run(*QUICK, "--chip", "mi300x", "--json").document()
    assert (found["verb"], found["inputs"]["objective"]) == ("plan", "cost")
    names = [option["chips"] for option in found["result"]["options"]]
    assert {H100, "mi300x"} <= {chip for chips in names for chip in chips}
    best = found["result"]["options"][0]
    assert best["meets_targets"]
    for estimate in best["estimates"].values():
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert found["result"]["front"]
    assert best["simulated"]["meets_targets"]
    assert best["simulated"]["measures"]["slo_attainment"] >= 0.9
    assert found["result"]["agreement"]["simulated"] >= 2


def test_without_a_simulation_means_are_compared() -> None:
    found = run(*QUICK, "--no-simulate", "--json").document()
    assert any("means" in warning for warning in found["warnings"])
    assert found["result"]["options"][0]["simulated"] is None
    assert found["result"]["agreement"] is None


def test_a_percentile_may_be_limited() -> None:
    found = run(*QUICK, "--limit", "p99_ttft=900ms", "--e2e", "20s", "--json").document()
    best = found["result"]["options"][0]
    assert best["meets_targets"]
    assert best["simulated"]["measures"]["p99_ttft_ms"] <= 900
    assert best["estimates"]["e2e_ms"]["value"] <= 20_000
    ran = run(*QUICK, "--limit", "p99_ttft=1ms")
    assert ran.code == 0
    assert re.search(r"enough: --limit p99_ttft=\d+ms", " ".join(ran.out.split()))


def test_a_trace_says_lengths_and_rate(tmp_path: Path) -> None:
    trace = tmp_path / "azure.csv"
    rows = [f"2023-11-16 18:00:{i // 4:02d}.{25 * (i % 4):02d}00000,{900 + 200 * (i % 2)},200" for i in range(240)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    words = ("plan", LLAMA, "--chip", H100, "--replay", str(trace))
    found = run(*words, "--json").document()
    assert found["inputs"]["input_tokens"] == pytest.approx(1000)
    assert found["inputs"]["rate"] == pytest.approx(4.0)
    assert found["result"]["options"][0]["simulated"]["meets_targets"]
    assert "give one" in run(*words, "--input-tokens", "5").err
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n")
    assert "has no requests" in run(*words).err


METRICS = """# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="a b"} 5.0e+05
vllm:generation_tokens_total{engine="0"} 100000.0
vllm:request_success_total{finished_reason="stop"} 400.0
vllm:request_success_total{finished_reason="length"} 100.0
vllm:prefix_cache_queries_total 5.0e+05
vllm:prefix_cache_hits_total 1.0e+05
vllm:num_requests_running{engine="0"} 14.0
vllm:num_requests_waiting{engine="0"} 2.0
"""


def test_a_slower_chip_needs_no_fewer_packages() -> None:
    words = (*QUICK[:-4], "--input-tokens", "1000", "--output-tokens", "200", "--rate", "40", "--no-simulate")
    told = [run(*words, "--efficiency", f"{H100}={share}", "--json").document()["result"]["options"][0]
            for share in (0.5, 1.0, 2.0)]  # fmt: skip
    packages = [one["packages"] for one in told]
    assert packages == sorted(packages, reverse=True)
    assert packages[0] > packages[-1]
    assert "What if: steps of h100-sxm at 50%" in run(*words, "--efficiency", f"{H100}=0.5").out
    assert "Did you mean 'h100-sxm'" in run(*words, "--efficiency", "h100=1").err
    assert "must be above 0" in run(*words, "--efficiency", f"{H100}=0").err
    assert "CHIP=SHARE" in run(*words, "--efficiency", "half").err


def test_running_engines_say_lengths_and_load(tmp_path: Path) -> None:
    file = tmp_path / "metrics.txt"
    file.write_text(METRICS)
    words = ("plan", LLAMA, "--chip", H100, "--metrics", str(file))
    inputs = run(*words, "--metrics", str(file), "--json").document()["inputs"]
    assert (inputs["input_tokens"], inputs["output_tokens"]) == (1000, 200)
    assert inputs["prefix_hit"] == pytest.approx(0.2)
    assert inputs["concurrency"] == 32
    assert run(*words, "--rate", "4", "--no-simulate", "--json").document()["inputs"]["concurrency"] is None
    assert "give one" in run(*words, "--input-tokens", "5").err
    for wrong, says in (
        (METRICS.replace("vllm:generation_tokens_total", "other"), "'vllm:generation_tokens_total' is missing"),
        (METRICS.replace("14.0", "0").replace("2.0\n", "0\n"), "no request in flight"),
        (METRICS.replace("400.0", "many"), "line 4: 'many' is no number"),
        ("up 1", "no metrics of vLLM or SGLang"),
    ):
        file.write_text(wrong)
        ran = run(*words)
        assert ran.code == 2
        assert says in ran.err


def test_the_winner_can_be_launched(tmp_path: Path) -> None:
    ran = run(*QUICK, "--launch", str(tmp_path / "files"))
    assert ran.code == 0, ran.err
    assert ran.out.count("Launch: ") == len(list((tmp_path / "files").iterdir())) > 0
    again = run(*QUICK, "--launch", str(tmp_path / "files"))
    assert again.code == 2
    assert "is there already" in again.err
    assert "Did you mean 'compose'" in run(*QUICK, "--launch", "x", "--format", "compos").err


def test_an_answer_is_told_before_why_it_has_no_launch_files(tmp_path: Path) -> None:
    ran = run(*QUICK, "--stack", "generic", "--no-simulate", "--launch", str(tmp_path / "files"))
    assert ran.code == 2
    assert "Best: " in ran.out
    assert "Stack 'generic' has no launch files" in ran.err
    assert not (tmp_path / "files").exists()


def test_one_output_token_has_no_tpot() -> None:
    ran = run("plan", LLAMA, "--chip", H100, "--rate", "4", "--output-tokens", "1")
    assert ran.code == 0
    assert not ran.err
    assert "tok/s/user" not in ran.out


def test_a_given_price_decides() -> None:
    cheap = run(*QUICK, "--chip", "mi300x", "--price", "mi300x=0.01", "--json").document()
    assert set(cheap["result"]["verdict"]["chips"]) == {"mi300x"}
    dear = run(*QUICK, "--chip", "mi300x", "--price", "mi300x=900", "--json").document()
    assert set(dear["result"]["verdict"]["chips"]) == {H100}


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    ran = run(*QUICK, "--html", str(page))
    assert ran.code == 0, ran.err
    text = page.read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="http', text)
    chart = json.loads(re.search(r'id="chart-1">(.*?)</script>', text).group(1))
    assert {row["chips"] for row in chart["data"]["values"]} == {H100}
    assert all("recipe" in row for row in chart["data"]["values"])
    assert "$" not in re.sub(r"<script.*?</script>", "", text, flags=re.S).replace("$schema", "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--devices", "0"), "must be positive"),
        (("--usd-per-hour", "0"), "must be positive"),
        (("--max-mw", "-1"), "must be positive"),
        (("--tpot", "1ms"), "below the floor"),
        (("--devices", "1"), "does not fit|Relax"),
        (("--usd-per-hour", "3"), r"Relax one of these: --usd-per-hour: \d"),
        (("--price", "h100-sxm"), "CHIP=USD"),
        (("--price", "h100=2"), "Did you mean 'h100-sxm'"),
        (("--objective", "cots"), "Did you mean 'cost'"),
        (("--stack", "mindie"), "does not run on h100-sxm"),
        (("--stack", "vlm"), "Did you mean 'vllm'"),
        (("--vendors", "AMD"), "No candidate is left"),
        (("--vendors", "NVIDA"), "Did you mean 'NVIDIA'"),
        (("--exclude-vendors", "NVIDIA"), "No candidate is left"),
        (("--confidence", "1"), "between 0 and 1"),
        (("--concurrency", "8"), "not both"),
        (("--top", "0"), "at least 1"),
        (("--e2e", "1ms"), "E2E of 1 ms is below the floor"),
        (("--percentile", "0"), "above 0"),
        (("--limit", "p9_ttft=2s"), "p99_ttft"),
        (("--limit", "p99_ttft"), "MEASURE=TIME"),
        (("--replay", "nowhere.csv"), "give one"),
        (("--chip", "h20O"), "Did you mean"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], says: str) -> None:
    ran = run(*QUICK, *options)
    assert ran.code == 2
    assert re.search(says, ran.err), ran.err
    assert ran.err.count("\n") == 1


def test_a_mixed_fleet_keeps_to_the_stock() -> None:
    told = ("plan", LLAMA, *LOAD, "--available", "h100-sxm=8", "--available", "mi300x=8")
    ran = run(*told)
    assert ran.code == 0, ran.err
    assert "Mixed fleet: " in ran.out
    found = run(*told, "--json").document()["result"]
    assert all(count <= 8 for count in found["packages"].values())
    assert sum(part["share_of_requests"] for part in found["parts"]) == pytest.approx(1)
    for wrong in ("h100-sxm", "h100-sxm=many", "h100-sxm=0"):
        assert run("plan", LLAMA, *LOAD, "--available", wrong).code == 2


@pytest.mark.parametrize(
    "more", [("--chip", H100), ("--vendors", "AMD"), ("--top", "3"), ("--html", "x.html"), ("--launch", "x")]
)
def test_a_mixed_fleet_refuses_what_it_has_no_use_for(more: tuple[str, str]) -> None:
    ran = run("plan", LLAMA, *LOAD, "--available", "h100-sxm=8", *more)
    assert ran.code == 2
    assert f"{more[0]} has no meaning beside --available" in ran.err
    assert ran.err.count("\n") == 1


def test_a_fleet_that_serves_nothing_serves_zero() -> None:
    ran = run("plan", LLAMA, *LOAD, "--available", "h100-sxm=1")
    assert ran.code == 2
    assert "at most 0 of 4 requests/s" in ran.err


FLEET = f"""
rack_kw = 40
[[services]]
name = "chat [bold]"
model = "{LLAMA}"
chip = "{H100}"
input_tokens = 1000
output_tokens = 200
rate = 4.0
"""


def test_replace_says_what_it_takes(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET)
    ran = run("replace", "--fleet", str(fleet), "--with", "mi300x,ascend-910c")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    assert "of the fleet's output tokens/s can move to mi300x" in text
    assert "chat [bold]" in text
    assert "racks of 40 kW" in text
    found = run("replace", "--fleet", str(fleet), "--with", "mi300x", "--price", "mi300x=2", "--json").document()
    (move,) = found["result"]["moves"]
    assert move["package_ratio"]["low"] <= move["package_ratio"]["value"] <= move["package_ratio"]["high"]
    assert move["cost_ratio"] > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--with", "mi300"), "Did you mean 'mi300x'"),
        (("--with", ","), "chip ids"),
        (("--with", "mi300x", "--price", "b200=2"), "not found"),
        (("--with", "mi300x", "--fleet", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_replace_refuses_in_one_line(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET)
    ran = run("replace", "--fleet", str(fleet), *options)
    assert ran.code == 2
    assert re.search(says, ran.err), ran.err
