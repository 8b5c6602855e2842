"""Deployments of a plan under traffic: what a simulation says of them, request by request."""

from collections.abc import Sequence
from typing import Any

from silicast import api
from silicast.planning.plan import Confirm, Confirmation
from silicast.scenario import Deployment, Pool, Targets, Workload
from silicast.simulation import scenario_of

#: requests of one simulated run: enough for a 90th percentile within a few per cent
REQUESTS = 1000
#: lengths of people: their standard deviation over their mean
SPREAD = 0.5


def simulated(workload: Workload, targets: Targets, requests: int = REQUESTS) -> Confirm:
    """Asks the simulator of each deployment: Poisson arrivals at the rate (or a closed loop), lognormal lengths.

    Goodput is the rate times the share of requests that meet all targets; they are met where 90 % of the requests do.
    """

    def ask(deployments: Sequence[Deployment]) -> list[Confirmation]:
        return [_of(one, workload, targets, requests) for one in deployments]

    return ask


def _of(deployment: Deployment, workload: Workload, targets: Targets, requests: int) -> Confirmation:
    arrivals: dict[str, Any] = {"kind": "poisson", "rate": float(workload.rate or 0)}
    if workload.rate is None:
        arrivals = {"kind": "closed", "concurrency": int(workload.concurrency or 1)}
    lengths = {
        name: {"kind": "lognormal", "mean": float(getattr(workload, name)), "spread": SPREAD}
        for name in ("input_tokens", "output_tokens")
    }
    slo = {name: f"{value} ms" for name, value in (("ttft", targets.ttft_ms), ("tpot", targets.tpot_ms)) if value}
    scenario = scenario_of({
        "requests": requests,
        "traffic": {"arrivals": arrivals, **lengths},
        "deployment": {
            "model": deployment.model,
            "router": "least_outstanding",
            "pools": [_table(pool) for pool in deployment.pools],
        },
        "slo": slo,
    })  # fmt: skip
    told = api.simulate(scenario).summary
    offered = float(workload.rate or told["request_throughput"] or 0)
    share = told["slo_attainment"] if slo else 1.0
    return Confirmation(offered * float(share or 0), bool(told["slo_met"]) if slo else True)


def _table(pool: Pool) -> dict[str, Any]:
    whole = pool.layout.whole()
    precision = pool.precision
    table: dict[str, Any] = {
        "chip": pool.chip, "role": pool.role, "replicas": pool.replicas,
        "tp": whole.tp, "pp": whole.pp, "ep": whole.ep, "attention_dp": whole.attention_dp, "cp": whole.cp,
        "weights": precision.weights, "activations": precision.activations, "kv_cache": precision.kv_cache,
        "system": pool.system, "stack": pool.stack, "microbatches": pool.microbatches, "balanced": pool.balanced,
        "mtp_tokens": int(pool.speculation.tokens), "mtp_acceptance": float(pool.speculation.acceptance),
    }  # fmt: skip
    return {name: value for name, value in table.items() if value is not None}
