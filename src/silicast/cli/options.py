"""The options that several verbs share: named as the columns of the evidence schema, with dashes."""

from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Model id (silicast models) or path of a config.json.", show_default=False)]
Chip = Annotated[str, typer.Argument(help="Chip id (silicast chips) or path of a chip file.", show_default=False)]
InputTokens = Annotated[int, typer.Option(help="Input tokens per request.", min=1)]
OutputTokens = Annotated[int, typer.Option(help="Output tokens per request.", min=1)]
PrefixHit = Annotated[float, typer.Option(help="Share of input tokens found in the prefix cache.", min=0, max=1)]
Ttft = Annotated[str, typer.Option(help="Target for the mean TTFT: 2s, 500ms, or a number in ms.")]
Tpot = Annotated[str, typer.Option(help="Target for the mean TPOT: 50ms, or a number in ms.")]
Devices = Annotated[int | None, typer.Option(help="Most devices per deployment (default 64).", min=1)]
Packages = Annotated[int | None, typer.Option(help="Most packages per deployment, instead of devices.", min=1)]
MtpTokens = Annotated[int, typer.Option(help="Speculative tokens per step.", min=0, max=8)]
MtpAcceptance = Annotated[float, typer.Option(help="Share of speculative tokens accepted.", min=0, max=1)]
Claim = Annotated[float | None, typer.Option(help="A claimed ratio to hold against the map, such as 0.6.", min=0.001)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of tables.")]
