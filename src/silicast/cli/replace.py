"""`silicast replace --fleet FLEET.toml --with CHIP[,CHIP...]`."""

from pathlib import Path
from typing import Annotated

import typer

from silicast import planner
from silicast.cli import options as o
from silicast.cli.plan import Confidence, Efficiency, MixedOnly, Price, Recast, efficiencies, prices
from silicast.errors import InputError, not_found
from silicast.fleet import read_fleet
from silicast.report.document import emit
from silicast.report.replace import render, replace_document
from silicast.report.screen import screen


def command(
    fleet: Annotated[Path, typer.Option(help="Fleet file: services with model, chip, lengths, load, targets.")],
    to: Annotated[str, typer.Option("--with", help="Chips to move to, such as ascend-910c,mi300x.")],
    price: Price = None,
    confidence: Confidence = 0.5,
    recast: Recast = False,
    mtp_tokens: o.MtpTokens = 0,
    mtp_acceptance: o.MtpAcceptance = planner.ACCEPTED,
    mixed_only: MixedOnly = False,
    efficiency: Efficiency = None,
    as_json: o.AsJson = False,
) -> None:
    found = read_fleet(fleet)
    chips = [name.strip() for name in to.split(",") if name.strip()]
    if not chips:
        raise InputError(f"--with takes chip ids with commas between them, got '{to[:60]}'.")
    given = prices(price or [])
    known = [*chips, *(service.chip for service in found.services)]
    shares = efficiencies(efficiency or [])
    for what, names in (("Price", given), ("Efficiency", shares)):
        for name in names:
            if name not in known:
                raise not_found(f"{what} of chip", name, known, f"Chips here: {', '.join(dict.fromkeys(known))}.")
    found = found.model_copy(update={"prices": found.prices | given})
    choices = planner.Choices(None, recast, mtp_tokens, mtp_acceptance, not mixed_only, efficiency=shares)
    moves = planner.replacement(found, chips, confidence, choices)
    if as_json:
        emit(replace_document(found, moves, {"fleet": str(fleet), "with": chips, "confidence": confidence}))
    else:
        render(found, moves, screen())
