"""`silicast explain MODEL CHIP`: the tree of parts, their laws and tiers, what better one is missing, sources."""

from silicast import api
from silicast.cli import scenario
from silicast.cli.options import (
    Activations,
    AsJson,
    AttentionDp,
    Balanced,
    Chip,
    Concurrency,
    Cp,
    Devices,
    Ep,
    InputTokens,
    KvCache,
    Microbatches,
    Model,
    MtpAcceptance,
    MtpTokens,
    OutputTokens,
    Pp,
    PrefixHit,
    Rate,
    Requests,
    Stack,
    System,
    Tp,
    Tpot,
    Ttft,
    Weights,
)  # fmt: skip
from silicast.report.document import document, emit, forecast_result
from silicast.report.explain import render
from silicast.report.screen import screen
from silicast.scenario import Workload


def command(
    model: Model,
    chip: Chip,
    input_tokens: InputTokens = 4096,
    output_tokens: OutputTokens = 1024,
    prefix_hit: PrefixHit = 0.0,
    concurrency: Concurrency = None,
    rate: Rate = None,
    requests: Requests = None,
    ttft: Ttft = "2s",
    tpot: Tpot = "50ms",
    devices: Devices = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    attention_dp: AttentionDp = None,
    cp: Cp = None,
    system: System = None,
    stack: Stack = None,
    weights: Weights = None,
    activations: Activations = None,
    kv_cache: KvCache = None,
    mtp_tokens: MtpTokens = 0,
    mtp_acceptance: MtpAcceptance = 0.7,
    balanced: Balanced = False,
    microbatches: Microbatches = None,
    as_json: AsJson = False,
) -> None:
    workload = Workload(input_tokens, output_tokens, prefix_hit, concurrency, rate, requests)
    told = api.forecast(
        model,
        chip,
        workload,
        scenario.targets(ttft, tpot),
        api.Setup(
            system,
            stack,
            weights,
            activations,
            kv_cache,
            scenario.speculation(mtp_tokens, mtp_acceptance),
            balanced,
            scenario.microbatches(microbatches),
        ),
        devices=scenario.positive("devices", devices),
        tp=tp,
        pp=pp,
        ep=ep,
        attention_dp=attention_dp,
        cp=cp,
    )
    if as_json:
        inputs = {"model": model, "chip": chip, "input_tokens": input_tokens, "output_tokens": output_tokens}
        given = {"prefix_hit": prefix_hit, "concurrency": concurrency, "rate": rate, "requests": requests}
        emit(document("explain", inputs | given, forecast_result(told), list(told.warnings)))
    else:
        render(told, workload, screen())
