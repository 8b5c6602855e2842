"""`silicast compare MODEL CHIP [CHIP...]`."""

from typing import Annotated

import typer

from silicast import api
from silicast.cli.options import (
    AsJson,
    Claim,
    Devices,
    InputTokens,
    Model,
    MtpAcceptance,
    MtpTokens,
    OutputTokens,
    Packages,
    PrefixHit,
    Tpot,
    Ttft,
)
from silicast.report.compare import render
from silicast.report.document import comparison_document, emit
from silicast.report.screen import screen
from silicast.scenario import Speculation, Targets, Workload
from silicast.units import duration_ms


def command(
    model: Model,
    chips: Annotated[list[str], typer.Argument(help="Chip ids or paths of chip files; the last is the reference.")],
    input_tokens: InputTokens = 4096,
    output_tokens: OutputTokens = 1024,
    prefix_hit: PrefixHit = 0.0,
    ttft: Ttft = "2s",
    tpot: Tpot = "50ms",
    devices: Devices = None,
    packages: Packages = None,
    mtp_tokens: MtpTokens = 0,
    mtp_acceptance: MtpAcceptance = 0.7,
    reference: Annotated[str | None, typer.Option(help="Chip that ratios divide by (default: the last one).")] = None,
    claim: Claim = None,
    as_json: AsJson = False,
) -> None:
    workload = Workload(input_tokens, output_tokens, prefix_hit)
    targets = Targets(duration_ms(ttft), duration_ms(tpot))
    draft = Speculation(mtp_tokens, mtp_acceptance if mtp_tokens else 0.0)
    answer = api.compare(
        model, chips, workload, targets, devices, packages, reference=reference, claim=claim, speculation=draft
    )
    if as_json:
        emit(comparison_document(answer))
    else:
        render(answer, screen())
