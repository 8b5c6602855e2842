"""`silicast forecast MODEL CHIP`; `explain` takes the same scenario and prints it another way."""

from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console

from silicast import api
from silicast.cli import options as o
from silicast.cli import scenario
from silicast.outcome import Forecast
from silicast.report.document import document, emit, forecast_result
from silicast.report.forecast import render
from silicast.report.screen import screen
from silicast.scenario import Workload


def scenario_command(verb: str, show: Callable[[Forecast, Workload, Console], None]) -> Callable[..., None]:
    """The command of a verb that forecasts one deployment and shows it with `show`."""

    def command(
        model: o.Model,
        chip: o.Chip,
        input_tokens: o.InputTokens = 4096,
        output_tokens: o.OutputTokens = 1024,
        prefix_hit: o.PrefixHit = 0.0,
        concurrency: o.Concurrency = None,
        rate: o.Rate = None,
        requests: o.Requests = None,
        ttft: o.Ttft = "2s",
        tpot: o.Tpot = "50ms",
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
        kv_blocks: o.KvBlocks = None,
        mtp_tokens: o.MtpTokens = 0,
        mtp_acceptance: o.MtpAcceptance = 0.7,
        balanced: o.Balanced = False,
        microbatches: o.Microbatches = None,
        as_json: o.AsJson = False,
    ) -> None:
        workload = Workload(input_tokens, output_tokens, prefix_hit, concurrency, rate, requests)
        draft = scenario.speculation(mtp_tokens, mtp_acceptance)
        overlap, blocks = scenario.microbatches(microbatches), scenario.positive("kv-blocks", kv_blocks)
        setup = api.Setup(system, stack, weights, activations, kv_cache, draft, balanced, overlap, blocks)
        sizes = scenario.sizes(devices=devices, tp=tp, pp=pp, ep=ep, attention_dp=attention_dp, cp=cp)
        told = api.forecast(model, chip, workload, scenario.targets(ttft, tpot), setup, **sizes)
        if as_json:
            inputs = {"model": model, "chip": chip, **asdict(workload)}
            emit(document(verb, inputs, forecast_result(told), list(told.warnings)))
        else:
            show(told, workload, screen())

    return command


command = scenario_command("forecast", render)
