"""`silicast fit MODEL CHIP`: does it fit, on how many devices, with room for how many requests."""

from dataclasses import asdict

from silicast import api
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.report.document import document, emit
from silicast.report.fit import render
from silicast.report.screen import screen
from silicast.scenario import Workload


def command(
    model: o.Model,
    chip: o.Chip,
    input_tokens: o.InputTokens = 4096,
    output_tokens: o.OutputTokens = 1024,
    devices: o.Devices = None,
    tp: o.Tp = None,
    pp: o.Pp = None,
    ep: o.Ep = None,
    attention_dp: o.AttentionDp = None,
    cp: o.Cp = None,
    system: o.System = None,
    stack: o.Stack = None,
    weights: o.Weights = None,
    activations: o.Activations = None,
    kv_cache: o.KvCache = None,
    mtp_tokens: o.MtpTokens = 0,
    as_json: o.AsJson = False,
) -> None:
    workload = Workload(input_tokens, output_tokens)
    setup = api.Setup(system, stack, weights, activations, kv_cache, scenario.speculation(mtp_tokens, 0.0))
    sizes = scenario.sizes(devices=devices, tp=tp, pp=pp, ep=ep, attention_dp=attention_dp, cp=cp)
    found = api.fit(model, chip, workload, setup, **sizes)
    if as_json:
        inputs = {"model": model, "chip": chip, "input_tokens": input_tokens, "output_tokens": output_tokens}
        emit(document("fit", inputs, asdict(found), list(found.warnings)))
    else:
        render(found, workload, screen())
