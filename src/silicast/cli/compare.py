"""`silicast compare MODEL CHIP [CHIP...]`."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from silicast import api
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.errors import InputError
from silicast.report.compare import render
from silicast.report.document import comparison_document, emit
from silicast.report.html import write_report
from silicast.report.screen import prose, screen
from silicast.scenario import Workload


def command(
    model: o.Model,
    chips: Annotated[
        list[str],
        typer.Argument(help="Chip ids or paths of chip files; the last is the reference.", show_default=False),
    ],
    input_tokens: o.InputTokens = 4096,
    output_tokens: o.OutputTokens = 1024,
    prefix_hit: o.PrefixHit = 0.0,
    ttft: o.Ttft = "2s",
    tpot: o.Tpot = "50ms",
    devices: o.Devices = None,
    packages: o.Packages = None,
    weights: o.Weights = None,
    activations: o.Activations = None,
    kv_cache: o.KvCache = None,
    mtp_tokens: o.MtpTokens = 0,
    mtp_acceptance: o.MtpAcceptance = 0.7,
    stack: Annotated[list[str] | None, typer.Option(help="CHIP=STACK, for a stack other than the chip's own.")] = None,
    reference: Annotated[str | None, typer.Option(help="Chip that ratios divide by (default: the last one).")] = None,
    claim: o.Claim = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained report to this file.")] = None,
    as_json: o.AsJson = False,
) -> None:
    stacks, held_against = _stacks(stack or [], chips), scenario.claimed(claim)
    draft = scenario.speculation(mtp_tokens, mtp_acceptance)
    answer = api.compare(
        model,
        chips,
        Workload(input_tokens, output_tokens, prefix_hit),
        scenario.targets(ttft, tpot),
        scenario.positive("devices", devices),
        scenario.positive("packages", packages),
        reference=reference,
        setups={
            chip: api.Setup(None, stacks.get(chip), weights, activations, kv_cache, speculation=draft) for chip in chips
        },
    )
    answer = replace(answer, claim=held_against)
    if html is not None:  # before anything is printed: a file that cannot be written is an error, not half an answer
        write_report(answer, html, shlex.join(["silicast", *sys.argv[1:]]))
    if as_json:
        emit(comparison_document(answer))
        return
    render(answer, screen())
    if html is not None:
        prose(screen(), f"Report: {html}")


def _stacks(pairs: list[str], chips: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        chip, separator, name = pair.partition("=")
        if not separator or chip not in chips:
            raise InputError(f"--stack takes CHIP=STACK with a chip that is compared, got '{pair[:60]}'.")
        found[chip] = name
    return found
