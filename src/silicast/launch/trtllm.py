"""TensorRT-LLM: `trtllm-serve MODEL --tp_size 8 --config options.yaml`.

`--tp_size` counts all ranks of a stage. With `enable_attention_dp` every rank has its own copy of attention; there is
nothing between that and one copy over all ranks. What the command cannot say stands in the options file, which wins.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from silicast.errors import InputError
from silicast.launch import yaml
from silicast.launch.command import Command, Invocation, Words
from silicast.launch.errors import LaunchError
from silicast.launch.flags import CommandLine, Flags, known
from silicast.launch.settings import Limits, Place, Reading, Settings
from silicast.launch.vllm import sorted_out, spelled
from silicast.scenario import Layout, Precision, Role

OPTIONS = "options.yaml"
CACHES = {"fp8": "fp8", "nvfp4": "fp4"}
CACHE_NAMES = {"fp8": "fp8", "fp4": "nvfp4"}
ROLES: dict[Role, str] = {"prefill": "CONTEXT", "decode": "GENERATION"}
#: (flag and its other name, key of the options file) of sizes
SIZES = {
    "ranks": ("--tensor_parallel_size", "--tp_size", "tensor_parallel_size"),
    "pp": ("--pipeline_parallel_size", "--pp_size", "pipeline_parallel_size"),
    "cp": ("--context_parallel_size", "--cp_size", "context_parallel_size"),
    "ep": ("--moe_expert_parallel_size", "--ep_size", "moe_expert_parallel_size"),
    "max_sequences": ("--max_batch_size", "--max_batch_size", "max_batch_size"),
    "chunk_tokens": ("--max_num_tokens", "--max_num_tokens", "max_num_tokens"),
    "context_tokens": ("--max_seq_len", "--max_seq_len", "max_seq_len"),
}
PLACES = ("--host", "--port", "--gpus_per_node", "--server_role", "--backend")
UNMODELLED = ("--enable_chunked_prefill", "--max_beam_width", "--moe_cluster_parallel_size")
#: keys of the options file that are taken; others either change the speed or do not
QUIET = ("print_iter_log", "cache_transceiver_config", "trust_remote_code", "tokenizer", "backend", "gpus_per_node",
         "num_postprocess_workers", "postprocess_tokenizer_dir", "enable_iter_perf_stats",
         "return_perf_metrics")  # fmt: skip


class TrtllmTranslator:
    """Settings to a command with its options file, and back."""

    target = "trtllm"

    @cached_property
    def line(self) -> CommandLine:
        """The flags of the release."""
        return CommandLine(known(self.target), prefixes=False)

    def write(self, told: Settings, place: Place, native: Precision) -> Command:  # noqa: ARG002
        """The command of one engine. Over several nodes it runs under MPI, which starts every rank."""
        layout, notes = told.layout, list[str]()
        check(told)
        # context ranks are counted apart from the ranks of --tp_size
        sizes = (("--tp_size", layout.stage_devices // layout.cp), ("--pp_size", layout.pp), ("--cp_size", layout.cp))
        flags: Words = [(name, f"{size}") for name, size in sizes if size > 1]
        flags += [("--ep_size", f"{layout.ep}")] if layout.ep > 1 else []
        flags += [
            (SIZES[field][0], f"{getattr(told.limits, field)}")
            for field in ("max_sequences", "chunk_tokens", "context_tokens")
            if getattr(told.limits, field) is not None
        ]
        if told.weights is not None:
            notes.append(f"Weights in {told.weights} need a checkpoint stored so in place of {told.model}.")
        files = {}
        content = options(told)
        if content:
            files[OPTIONS] = yaml.dump(content)
            flags.append(("--config", OPTIONS))
        if told.role != "mixed":
            flags.append(("--server_role", ROLES[told.role]))
        if place.nodes > 1:
            flags.append(("--gpus_per_node", f"{place.devices}"))
        flags += [("--host", "0.0.0.0"), ("--port", f"{place.port}")]
        launcher = ("trtllm-llmapi-launch",) if place.nodes > 1 else ()
        program = (*launcher, "trtllm-serve", told.model)
        return Command(program, tuple(flags), files=files, notes=tuple(notes), tested=known(self.target).tested)

    def program(self, words: list[str]) -> list[str] | None:
        """The words after the name of the program, or None where it is another one."""
        for at, word in enumerate(words):
            if word.rsplit("/", 1)[-1] == "trtllm-serve":
                return words[at + 2 :] if words[at + 1 : at + 2] == ["serve"] else words[at + 1 :]
        return None

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What the words after `trtllm-serve` and the options file say; `files` by name. Raises InputError."""
        if list(given.words[:1]) == ["disaggregated"]:
            raise InputError("trtllm-serve disaggregated only routes: give the commands of its servers.")
        free, flags, unknown = self.line.read(list(given.words), skip_unknown)
        if not free:
            raise InputError("The command names no model: trtllm-serve MODEL ...")
        role = flags.left.get("--server_role")
        named = flags.text("--config", "--extra_llm_api_options")
        extra = _options(named, given.files, known(self.target).options)
        told = replace(
            _settings(free[0], flags, extra),
            role=next((name for name, text in ROLES.items() if text == str(role).upper()), "mixed"),
        )
        flags.drop(*PLACES)
        found = sorted_out(told, flags, UNMODELLED, unknown)
        quiet = tuple(f"{key} ({named})" for key in extra if key in QUIET)
        return replace(
            found,
            ignored=found.ignored + quiet,
            unmodelled=found.unmodelled + tuple(f"{key} ({named})" for key in extra if key not in QUIET),
        )


def check(told: Settings) -> None:
    """Raises LaunchError for what TensorRT-LLM cannot be told."""
    layout = told.layout
    if layout.attention_dp > 1 and (layout.tp > 1 or layout.cp > 1):
        raise LaunchError(
            "TensorRT-LLM has one copy of attention per rank or one over all ranks; attention_dp = "
            f"{layout.attention_dp} with tp = {layout.tp} and cp = {layout.cp} cannot be launched."
        )
    if told.microbatches == 2:
        raise LaunchError("TensorRT-LLM has no option for two microbatches.")
    if told.limits.kv_blocks is not None:
        raise LaunchError("TensorRT-LLM takes no number of cache blocks: give the share of memory.")


def options(told: Settings) -> dict[str, Any]:
    """What stands in the options file."""
    given = told.limits
    cache: dict[str, Any] = {}
    if told.kv_cache is not None:
        cache["dtype"] = spelled(told.kv_cache, CACHE_NAMES, "TensorRT-LLM")
    if given.memory_share is not None:
        cache["free_gpu_memory_fraction"] = given.memory_share
    if given.block_tokens is not None:
        cache["tokens_per_block"] = given.block_tokens
    if given.prefix_cache is not None:
        cache["enable_block_reuse"] = given.prefix_cache
    content: dict[str, Any] = {"enable_attention_dp": True} if told.layout.attention_dp > 1 else {}
    content |= {"kv_cache_config": cache} if cache else {}
    if told.draft_tokens and told.draft_model:
        eagle = {"decoding_type": "Eagle", "speculative_model_dir": told.draft_model}
        content["speculative_config"] = {**eagle, "max_draft_len": told.draft_tokens}
    elif told.draft_tokens:
        content["speculative_config"] = {"decoding_type": "MTP", "num_nextn_predict_layers": told.draft_tokens}
    if told.role != "mixed":
        content["cache_transceiver_config"] = {"backend": "DEFAULT"}
    if told.role == "prefill":
        content["disable_overlap_scheduler"] = True
    return content


def _options(name: str | None, files: Mapping[str, str], listed: tuple[str, ...]) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in files:
        raise InputError(f"The options file '{name[:80]}' was not found beside the command; it may set the layout.")
    content = yaml.load(files[name], name)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{name} must be a mapping of options, got {type(content).__name__}.")
    line = CommandLine(known(TrtllmTranslator.target).model_copy(update={"flags": listed, "switches": ()}))
    for key in content:
        line.option(str(key))
    return content


def _settings(model: str, flags: Flags, extra: dict[str, Any]) -> Settings:
    """Flags, overridden by the options, which are taken out of `extra`."""
    sizes = {}
    for field, (flag, alias, key) in SIZES.items():
        told = flags.whole(flag, alias)
        sizes[field] = whole(key, extra.pop(key)) if extra.get(key) is not None else told
    share = flags.share("--free_gpu_memory_fraction", "--kv_cache_free_gpu_memory_fraction")
    cache = table("kv_cache_config", extra.pop("kv_cache_config", None))
    ranks, cp = sizes["ranks"] or 1, sizes["cp"] or 1
    copies = ranks if extra.pop("enable_attention_dp", False) else 1
    extra.pop("moe_tensor_parallel_size", None)
    if extra.get("disable_overlap_scheduler") is True and flags.left.get("--server_role"):
        del extra["disable_overlap_scheduler"]
    layout = Layout(ranks // copies, sizes["pp"] or 1, sizes["ep"] or 1, copies, cp)
    reuse, blocks = cache.get("enable_block_reuse"), cache.get("tokens_per_block")
    held = cache.get("free_gpu_memory_fraction", share)
    limits = Limits(
        sizes["max_sequences"], sizes["chunk_tokens"], None if blocks is None else whole("tokens_per_block", blocks),
        sizes["context_tokens"], None, None if held is None else fraction(held),
        None if reuse is None else bool(reuse),
    )  # fmt: skip
    return Settings(model, layout, kv_cache=_cache(cache.get("dtype")), limits=limits, **_drafts(extra))


def _drafts(extra: dict[str, Any]) -> dict[str, Any]:
    given = table("speculative_config", extra.pop("speculative_config", None))
    tokens = given.get("num_nextn_predict_layers", given.get("max_draft_len", 1 if given else 0))
    model = given.get("speculative_model_dir", given.get("speculative_model"))
    return {
        "draft_tokens": whole("num_nextn_predict_layers", tokens) if given else 0,
        "draft_model": None if model is None else str(model),
    }


def _cache(dtype: Any) -> str | None:
    if dtype in (None, "auto"):
        return None
    if dtype not in CACHES:
        raise InputError(f"kv_cache_config.dtype '{str(dtype)[:40]}' is not known; known: auto, {', '.join(CACHES)}.")
    return CACHES[dtype]


def whole(name: str, value: Any) -> int:
    """A whole number from 1. Raises InputError."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,12}", str(value)) or int(value) < 1:
        raise InputError(f"{name} must be a whole number of at least 1, got '{str(value)[:40]}'.")
    return int(value)


def fraction(value: Any) -> float:
    """A share above 0 and up to 1. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise InputError(f"free_gpu_memory_fraction must be above 0 and at most 1, got '{str(value)[:40]}'.")
    return float(value)


def table(name: str, value: Any) -> dict[str, Any]:
    """A mapping; None = empty. Raises InputError."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{name} must be a mapping, got '{str(value)[:40]}'.")
    return value
