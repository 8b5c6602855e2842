"""`plan` and `replace` from the command line: one document, one line for bad input, a page that stands alone."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.program import H100, LLAMA, run

QUICK = ("plan", LLAMA, "--chip", H100, "--rate", "4", "--input-tokens", "1000", "--output-tokens", "200")


def test_the_verdict_comes_first() -> None:
    ran = run(*QUICK)
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.split())
    assert text.index("Best: ") < text.index("devices / packages / nodes") < text.index("deployments evaluated")
    assert "compared closed-form means with the targets" in text
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
    assert any("means" in warning for warning in found["warnings"])


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
        (("--chip", "h20O"), "Did you mean"),
    ],
)
def test_bad_input_is_one_line(options: tuple[str, ...], says: str) -> None:
    ran = run(*QUICK, *options)
    assert ran.code == 2
    assert re.search(says, ran.err), ran.err
    assert ran.err.count("\n") == 1


def test_a_mixed_fleet_keeps_to_the_stock() -> None:
    told = ("--available", "h100-sxm=8", "--available", "mi300x=8")
    ran = run(*QUICK, *told)
    assert ran.code == 0, ran.err
    assert "Mixed fleet: " in ran.out
    found = run(*QUICK, *told, "--json").document()["result"]
    assert all(count <= 8 for count in found["packages"].values())
    assert sum(part["share_of_requests"] for part in found["parts"]) == pytest.approx(1)
    for wrong in ("h100-sxm", "h100-sxm=many", "h100-sxm=0"):
        assert run(*QUICK, "--available", wrong).code == 2


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
