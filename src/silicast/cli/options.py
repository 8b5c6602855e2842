"""The options that several verbs share: named as the columns of the evidence schema, with dashes."""

from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="Model id (silicast models) or path of a config.json.", show_default=False)]
Chip = Annotated[str, typer.Argument(help="Chip id (silicast chips) or path of a chip file.", show_default=False)]

InputTokens = Annotated[int, typer.Option(help="Input tokens per request.")]
OutputTokens = Annotated[int, typer.Option(help="Output tokens per request.")]
PrefixHit = Annotated[float, typer.Option(help="Share of input tokens found in the prefix cache, 0 to 1.")]
Concurrency = Annotated[float | None, typer.Option(help="Requests in flight over the whole deployment (closed loop).")]
Rate = Annotated[float | None, typer.Option(help="Requests/s arriving (open loop).")]
Requests = Annotated[int | None, typer.Option(help="Requests in the run, all slots starting at once (default: many).")]
Ttft = Annotated[str, typer.Option(help="Target for the mean TTFT: 2s, 500ms, or a number in ms.")]
Tpot = Annotated[str, typer.Option(help="Target for the mean TPOT: 50ms, or a number in ms.")]

Devices = Annotated[int | None, typer.Option(help="Devices (ranks; a 910C package has two).")]
Packages = Annotated[int | None, typer.Option(help="Most packages per deployment, instead of devices.")]
Tp = Annotated[int | None, typer.Option(help="Tensor-parallel size of attention.")]
Pp = Annotated[int | None, typer.Option(help="Pipeline stages.")]
Ep = Annotated[int | None, typer.Option(help="Ranks over which routed experts are spread.")]
AttentionDp = Annotated[int | None, typer.Option(help="Copies of attention that share the experts.")]
Cp = Annotated[int | None, typer.Option(help="Context-parallel ranks.")]

System = Annotated[str | None, typer.Option(help="System id (default: the chip's own).")]
Stack = Annotated[str | None, typer.Option(help="Stack id (default: the chip's own).")]
Weights = Annotated[str | None, typer.Option(help="Format of the weights (default: native for the checkpoint).")]
Activations = Annotated[str | None, typer.Option(help="Format of the activations.")]
KvCache = Annotated[str | None, typer.Option(help="Format of the KV cache.")]
KvBlocks = Annotated[int | None, typer.Option(help="Cache blocks per device, as the engine prints them.")]
MtpTokens = Annotated[int, typer.Option(help="Speculative tokens per step.")]
MtpAcceptance = Annotated[float, typer.Option(help="Share of the speculative tokens accepted, 0 to 1.")]
Balanced = Annotated[bool, typer.Option("--balanced", help="Assume even routing (default: the stacks' skew).")]
Microbatches = Annotated[int | None, typer.Option(help="2 = two-microbatch overlap, 1 = off (default: the stack's).")]

Claim = Annotated[float | None, typer.Option(help="A claimed ratio to hold against the map, such as 0.6.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of tables.")]
