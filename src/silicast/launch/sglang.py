"""SGLang: `python -m sglang.launch_server --model-path MODEL --tp-size 8 ...`.

`--tp-size` counts all ranks of a stage: tp x attention_dp x cp. Attention data parallelism is `--attn-dp-size`,
formerly `--dp-size` with `--enable-dp-attention`; alone, `--dp-size` starts independent replicas. Two limits are of all
attention ranks together: `--max-running-requests` and `--chunked-prefill-size`.
"""

from dataclasses import replace
from functools import cached_property

from silicast.errors import InputError
from silicast.launch.command import Command, Invocation, Words
from silicast.launch.errors import LaunchError
from silicast.launch.flags import CommandLine, Flags, known
from silicast.launch.settings import Limits, Place, Reading, Settings
from silicast.launch.vllm import cache_format, sorted_out, spelled, stored
from silicast.scenario import Layout, Precision, Role

INIT_PORT, BOOTSTRAP_PORT = "20000", 8998

COUNTS = (("--context-length", "context_tokens"), ("--page-size", "block_tokens"))
SHARED = (("--max-running-requests", "max_sequences"), ("--chunked-prefill-size", "chunk_tokens"))

METHODS: dict[str, tuple[str | None, str | None]] = {
    "fp8": ("fp8", "fp8"), "w8a8_fp8": ("fp8", "fp8"), "mxfp8": ("mxfp8", "mxfp8"), "w8a8_int8": ("int8", "int8"),
    "nvfp4_online": ("fp4", "fp4"), "modelopt_fp4": ("fp4", "fp4"), "modelopt_fp8": ("fp8", "fp8"),
    "mxfp4": ("mxfp4", None), "awq": ("int4", "bf16"), "awq_marlin": ("int4", "bf16"), "gptq": ("int4", "bf16"),
    "gptq_marlin": ("int4", "bf16"), "w4afp8": ("int4", "fp8"), "modelopt": (None, None),
    "modelopt_mixed": (None, None), "compressed-tensors": (None, None), "modelslim": (None, None),
}  # fmt: skip
ONLINE = {"fp8": "fp8", "mxfp8": "mxfp8", "fp4": "nvfp4_online"}
CACHES = {
    "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "bf16": "bf16", "bfloat16": "bf16", "mxfp8": "mxfp8", "nvfp4": "fp4",
    "fp4_mx_block16": "mxfp4",
}  # fmt: skip
CACHE_NAMES = {"fp8": "fp8_e4m3", "bf16": "bfloat16", "mxfp8": "mxfp8", "fp4": "nvfp4"}
PLACES = ("--nnodes", "--node-rank", "--dist-init-addr", "--nccl-init-addr", "--host", "--port", "--device")
UNMODELLED = (
    "--attention-backend", "--moe-runner-backend", "--deepep-mode", "--disable-cuda-graph",
    "--enable-mixed-chunk", "--enable-torch-compile", "--enable-eplb", "--ep-num-redundant-experts", "--cpu-offload-gb",
    "--disable-overlap-schedule", "--enable-hierarchical-cache", "--enable-lmcache", "--moe-dense-tp-size",
    "--dcp-size", "--decode-context-parallel-size", "--disable-custom-all-reduce", "--schedule-conservativeness",
    "--max-prefill-tokens", "--num-continuous-decode-steps", "--enable-dp-lm-head", "--speculative-eagle-topk",
    "--disable-chunked-prefix-cache", "--dtype", "--enable-lora", "--lora-paths", "--moe-dp-size", "--enable-pdmux",
    "--cuda-graph-max-bs-decode", "--cuda-graph-backend-decode", "--cuda-graph-backend-prefill",
    "--enable-flashinfer-allreduce-fusion",
    "--enable-prefill-cp", "--schedule-policy", "--swa-full-tokens-ratio", "--enable-single-batch-overlap",
)  # fmt: skip


class SglangTranslator:
    """Settings to a command and back; `extra` are flags of the platform."""

    target = "sglang"

    def __init__(self, extra: tuple[tuple[str, str | None], ...] = (), online: bool = True) -> None:
        self.extra, self.online = extra, online

    @cached_property
    def line(self) -> CommandLine:
        """The flags of the release."""
        return CommandLine(known(self.target))

    def write(self, told: Settings, place: Place, native: Precision) -> Command:
        """The command of one node. Raises LaunchError for what the engine cannot be told."""
        layout, notes = told.layout, list[str]()
        sizes = (
            ("--tp-size", layout.stage_devices), ("--attn-dp-size", layout.attention_dp),
            ("--attn-cp-size", layout.cp), ("--pp-size", layout.pp), ("--ep-size", layout.ep),
            ("--dp-size", told.replicas),
        )  # fmt: skip
        flags: Words = [("--model-path", told.model)]
        flags += [(name, f"{size}") for name, size in sizes if size > 1]
        flags += [("--enable-prefill-cp", None)] if layout.cp > 1 else []
        flags += [("--moe-a2a-backend", "deepep")] if told.all_to_all else []
        flags += self._formats(told, native, notes)
        flags += _drafts(told)
        flags += [("--enable-two-batch-overlap", None)] if told.microbatches == 2 else []
        flags += _limits(told)
        flags += _transfer(told, place)
        if place.nodes > 1:
            address = f"{place.leader}:{INIT_PORT}"
            flags += [("--nnodes", f"{place.nodes}"), ("--node-rank", place.counted()), ("--dist-init-addr", address)]
        flags += [*self.extra, ("--host", "0.0.0.0"), ("--port", f"{place.port}")]
        return Command(("python3", "-m", "sglang.launch_server"), tuple(flags), notes=tuple(notes))

    def _formats(self, told: Settings, native: Precision, notes: list[str]) -> Words:
        flags: Words = []
        if self.online and told.weights in ONLINE and native.weights in ("bf16", "fp16"):
            flags.append(("--quantization", ONLINE[told.weights]))
        elif told.weights is not None:
            notes.append(stored(told))
        if told.kv_cache is not None:
            flags.append(("--kv-cache-dtype", spelled(told.kv_cache, CACHE_NAMES, "SGLang")))
        return flags

    def program(self, words: list[str]) -> list[str] | None:
        """The words after the name of the program, or None where it is another one."""
        for at, word in enumerate(words):
            if word == "sglang.launch_server" and words[at - 1 : at] == ["-m"]:
                return words[at + 1 :]
            if word.rsplit("/", 1)[-1] == "sglang" and words[at + 1 : at + 2] == ["serve"]:
                return words[at + 2 :]
        return None

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What the words after the program say. Raises InputError."""
        _, flags, unknown = self.line.read(list(given.words), skip_unknown)
        model = flags.text("--model-path", "--model")
        if model is None:
            raise InputError("The command names no model: --model-path MODEL.")
        if "--config" in flags.left:
            raise InputError("--config names a file of flags that is not read: write its flags into the command.")
        layout, replicas = _layout(flags)
        method = flags.text("--quantization")
        if method is not None and method not in METHODS:
            raise InputError(f"--quantization {method[:40]} is not known; known: {', '.join(METHODS)}.")
        weights, activations = METHODS[method or "modelopt"]
        all_to_all = (flags.text("--moe-a2a-backend") or "none") != "none"
        if all_to_all:  # these backends spread the experts over all ranks
            layout = replace(layout, ep=layout.stage_devices)
        told = Settings(model, layout, replicas, _role(flags), weights, activations, cache_format(flags, CACHES))
        told = replace(told, all_to_all=all_to_all)
        both = flags.switch("--enable-two-batch-overlap")
        told = replace(told, microbatches=2 if both else None, limits=_read_limits(flags, int(layout.attention_dp)))
        told = replace(told, draft_tokens=_read_drafts(flags), draft_model=flags.text("--speculative-draft-model-path"))
        follows = flags.left.get("--node-rank", "0") != "0"
        flags.drop(*PLACES)
        return replace(sorted_out(told, flags, UNMODELLED, unknown), follows=follows)


def _drafts(told: Settings) -> Words:
    """A chain of drafts, one branch wide."""
    if not told.draft_tokens:
        return []
    model = [("--speculative-draft-model-path", told.draft_model)] if told.draft_model else []
    return [
        ("--speculative-algorithm", "EAGLE3" if told.draft_model else "NEXTN"), *model,
        ("--speculative-num-steps", f"{told.draft_tokens}"), ("--speculative-eagle-topk", "1"),
        ("--speculative-num-draft-tokens", f"{told.draft_tokens + 1}"),
    ]  # fmt: skip


def _limits(told: Settings) -> Words:
    given, ranks = told.limits, int(told.layout.attention_dp)
    if given.kv_blocks is not None:
        raise LaunchError("SGLang takes no number of cache blocks: give the share of memory.")
    flags: Words = []
    flags += [(name, f"{getattr(given, field)}") for name, field in COUNTS if getattr(given, field) is not None]
    flags += [(name, f"{getattr(given, field) * ranks}") for name, field in SHARED if getattr(given, field) is not None]
    if given.memory_share is not None:
        flags.append(("--mem-fraction-static", f"{given.memory_share:g}"))
    return flags + ([("--disable-radix-cache", None)] if given.prefix_cache is False else [])


def _transfer(told: Settings, place: Place) -> Words:
    if told.role == "mixed":
        return []
    port = [("--disaggregation-bootstrap-port", f"{place.apart(BOOTSTRAP_PORT)}")] if told.role == "prefill" else []
    return [("--disaggregation-mode", told.role), ("--disaggregation-transfer-backend", "nixl"), *port]


def _layout(flags: Flags) -> tuple[Layout, int]:
    """Sizes of a stage taken apart, and replicas."""
    ranks = flags.whole("--tp-size", "--tensor-parallel-size") or 1
    copies = flags.whole("--attn-dp-size", "--attention-data-parallel-size")
    replicas = flags.whole("--dp-size", "--data-parallel-size") or 1
    if flags.switch("--enable-dp-attention"):
        copies, replicas = copies or replicas, 1
    cp, copies = flags.whole("--attn-cp-size", "--attention-context-parallel-size") or 1, copies or 1
    if ranks % (cp * copies):
        raise InputError(
            f"--tp-size counts all ranks of a stage: {ranks} is no multiple of attention groups x context ranks = "
            f"{copies} x {cp}."
        )
    ep = flags.whole("--ep-size", "--expert-parallel-size", "--ep") or 1
    pp = flags.whole("--pp-size", "--pipeline-parallel-size") or 1
    flags.drop(*(("--enable-prefill-cp",) if cp > 1 else ()))
    return Layout(ranks // (cp * copies), pp, ep, copies, cp), replicas


def _role(flags: Flags) -> Role:
    mode = flags.text("--disaggregation-mode")
    if mode in (None, "null"):
        return "mixed"
    if mode == "prefill":
        return "prefill"
    if mode == "decode":
        return "decode"
    raise InputError(f"--disaggregation-mode is null, prefill or decode, got '{str(mode)[:40]}'.")


def _read_limits(flags: Flags, ranks: int) -> Limits:
    if flags.left.get("--chunked-prefill-size") == "-1":
        flags.drop("--chunked-prefill-size")  # no chunks: the forecast takes the budget of the stack
    shared = {field: flags.whole(name) for name, field in SHARED}
    counts = {field: flags.whole(name) for name, field in COUNTS}
    return Limits(
        **counts,
        **{field: None if total is None else max(1, total // ranks) for field, total in shared.items()},
        memory_share=flags.share("--mem-fraction-static"),
        prefix_cache=False if flags.switch("--disable-radix-cache") else None,
    )


def _read_drafts(flags: Flags) -> int:
    """Draft tokens of a chain; a tree is as long as its steps."""
    algorithm, steps = flags.text("--speculative-algorithm"), flags.whole("--speculative-num-steps")
    tokens = flags.whole("--speculative-num-draft-tokens")
    if flags.left.get("--speculative-eagle-topk") == "1":
        flags.drop("--speculative-eagle-topk")
    if algorithm is None:
        return 0
    return steps or max(1, (tokens or 2) - 1)
