"""`silicast fit MODEL CHIP`: does it fit, on how many devices, with room for how many requests."""

from dataclasses import asdict

from silicast import api
from silicast.cli import scenario
from silicast.cli.options import (
    Activations,
    AsJson,
    AttentionDp,
    Chip,
    Cp,
    Devices,
    Ep,
    InputTokens,
    KvCache,
    Model,
    MtpTokens,
    OutputTokens,
    Pp,
    Stack,
    System,
    Tp,
    Weights,
)  # fmt: skip
from silicast.report.document import document, emit
from silicast.report.fit import render
from silicast.report.screen import screen
from silicast.scenario import Workload


def command(
    model: Model,
    chip: Chip,
    input_tokens: InputTokens = 4096,
    output_tokens: OutputTokens = 1024,
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
    as_json: AsJson = False,
) -> None:
    workload = Workload(input_tokens, output_tokens)
    setup = api.Setup(system, stack, weights, activations, kv_cache, scenario.speculation(mtp_tokens, 0.0))
    sizes = {"tp": tp, "pp": pp, "ep": ep, "attention_dp": attention_dp, "cp": cp}
    found = api.fit(model, chip, workload, setup, devices=scenario.positive("devices", devices), **sizes)
    if as_json:
        inputs = {"model": model, "chip": chip, "input_tokens": input_tokens, "output_tokens": output_tokens}
        emit(document("fit", inputs, asdict(found), list(found.warnings)))
    else:
        render(found, workload, screen())
