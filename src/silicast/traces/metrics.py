"""Numbers of a running fleet: lengths, shared prefixes and requests in flight from what engines report at `/metrics`.

The text format of Prometheus, one file per engine, summed. Names as vLLM and SGLang export them; counters run since the
engines started, the requests in flight are those of the moment.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from silicast.errors import TraceError

#: name{labels} value [timestamp]
SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})?\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Names:
    """What an engine calls its numbers; those in a tuple add up."""

    prompts: str
    outputs: str
    requests: str
    hits: str
    looked_up: str
    in_flight: tuple[str, ...]


ENGINES = (
    Names(
        "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:request_success_total",
        "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total",
        ("vllm:num_requests_running", "vllm:num_requests_waiting"),
    ),
    Names(
        "sglang:prompt_tokens_total", "sglang:generation_tokens_total", "sglang:num_requests_total",
        "sglang:cached_tokens_total", "sglang:prompt_tokens_total",
        ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reported:
    """Mean tokens of prompts and answers, share of the prompts found in the cache, requests in flight now."""

    input_tokens: float
    output_tokens: float
    prefix_hit: float
    in_flight: float


def read_metrics(paths: Sequence[Path]) -> Reported:
    """The engines whose metrics are in the files. Raises TraceError: a name that is missing, no request so far."""
    total: dict[str, float] = defaultdict(float)
    for path in paths:
        for name, value in _samples(path):
            total[name] += value
    told = ", ".join(path.name for path in paths)
    names = next((one for one in ENGINES if one.prompts in total), None)
    if names is None:
        raise TraceError(f"{told}: no metrics of vLLM or SGLang, such as {ENGINES[0].prompts}.")
    for name in (names.outputs, names.requests):
        if name not in total:
            raise TraceError(f"{told}: '{name}' is missing.")
    requests = total[names.requests]
    if requests < 1 or total[names.prompts] < requests or total[names.outputs] < requests:
        raise TraceError(f"{told}: no request has been answered yet.")
    looked_up = total.get(names.looked_up, 0.0)
    hit = min(total.get(names.hits, 0.0) / looked_up, 1.0) if looked_up else 0.0
    flying = sum(total.get(name, 0.0) for name in names.in_flight)
    return Reported(total[names.prompts] / requests, total[names.outputs] / requests, hit, flying)


def _samples(path: Path) -> list[tuple[str, float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise TraceError(f"{path.name}: this is not text in UTF-8.") from None
    except OSError as error:
        raise TraceError(f"'{path}' cannot be read: {error.strerror}.") from None
    found = []
    for number, line in enumerate(lines, 1):
        match = SAMPLE.match(line)
        if match:
            try:
                found.append((match[1], float(match[2])))
            except ValueError:
                raise TraceError(f"{path.name}, line {number}: '{match[2][:40]}' is no number.") from None
    return found
