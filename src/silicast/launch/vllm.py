"""vLLM: `vllm serve MODEL --tensor-parallel-size 8 ...`.

Attention data parallelism is `--data-parallel-size` of a model with experts; experts are spread over all ranks of a
stage (`--enable-expert-parallel`) or cut over all of them. Context parallelism that adds ranks is
`--prefill-context-parallel-size`; the one of decode adds none and is not followed by the forecast.
"""

import json
import re
from dataclasses import replace
from functools import cached_property
from typing import Any

from silicast.errors import InputError
from silicast.launch.command import HERE, Command, Invocation, Words
from silicast.launch.errors import LaunchError
from silicast.launch.flags import CommandLine, Flags, json_object, known
from silicast.launch.settings import Limits, Place, Reading, Settings
from silicast.scenario import Layout, Precision, Role

RPC_PORT, MASTER_PORT = "13345", "29501"
#: each rank of an engine takes one from here
NIXL_PORT, PORTS_OF_ENGINE = 5600, 64

#: (flag, field of the layout)
SIZES = (
    ("--tensor-parallel-size", "tp"),
    ("--pipeline-parallel-size", "pp"),
    ("--prefill-context-parallel-size", "cp"),
    ("--data-parallel-size", "attention_dp"),
)
#: (flag, field of the limits)
COUNTS = (
    ("--max-model-len", "context_tokens"),
    ("--max-num-seqs", "max_sequences"),
    ("--max-num-batched-tokens", "chunk_tokens"),
    ("--block-size", "block_tokens"),
    ("--num-gpu-blocks-override", "kv_blocks"),
)
ALIASES = {
    "--tensor-parallel-size": ("-tp",), "--pipeline-parallel-size": ("-pp",), "--data-parallel-size": ("-dp",),
    "--prefill-context-parallel-size": ("-pcp",), "--decode-context-parallel-size": ("-dcp",),
    "--quantization": ("-q",), "--speculative-config": ("-sc",), "--model": (),
}  # fmt: skip
#: a method quantises what is loaded, or names how the checkpoint is stored: (weights, activations), None = it says
METHODS: dict[str, tuple[str | None, str | None]] = {
    "fp8": ("fp8", "fp8"), "fp8_per_tensor": ("fp8", "fp8"), "fp8_per_channel": ("fp8", "fp8"),
    "fp8_per_block": ("fp8_block", "fp8"), "mxfp8": ("mxfp8", "mxfp8"), "nvfp4_per_token": ("fp4", "fp4"),
    "int8_per_channel_weight_only": ("int8", "bf16"), "awq": ("int4", "bf16"), "awq_marlin": ("int4", "bf16"),
    "gptq": ("int4", "bf16"), "gptq_marlin": ("int4", "bf16"), "auto_awq": ("int4", "bf16"),
    "auto_gptq": ("int4", "bf16"), "modelopt_fp4": ("fp4", "fp4"), "mxfp4": ("mxfp4", None),
    "gpt_oss_mxfp4": ("mxfp4", None),
    "compressed-tensors": (None, None), "modelopt": (None, None), "modelopt_mixed": (None, None),
    "quark": (None, None), "deepseek_v4_fp8": (None, None),
}  # fmt: skip
#: formats that the engine makes itself out of a 16-bit checkpoint
ONLINE = {"fp8": "fp8", "fp8_block": "fp8_per_block", "mxfp8": "mxfp8", "fp4": "nvfp4_per_token"}
CACHES = {
    "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_inc": "fp8", "fp8_ds_mla": "fp8",
    "fp8_per_token_head": "fp8", "bfloat16": "bf16", "float16": "fp16", "nvfp4": "fp4", "nvfp4_ds_mla": "fp4",
    "int8_per_token_head": "int8", "int4_per_token_head": "int4",
}  # fmt: skip
CACHE_NAMES = {"fp8": "fp8", "bf16": "bfloat16", "fp16": "float16", "fp4": "nvfp4", "int8": "int8_per_token_head"}
ROLES: dict[Role, str] = {"prefill": "kv_producer", "decode": "kv_consumer"}
CONNECTOR = "NixlConnector"
#: all-to-all backends by role: large batches of tokens, or few
DEEPEP: dict[Role, str] = {
    "prefill": "deepep_high_throughput", "decode": "deepep_low_latency", "mixed": "deepep_low_latency",
}  # fmt: skip
MORI: dict[Role, str] = {
    "prefill": "mori_high_throughput", "decode": "mori_low_latency", "mixed": "mori_low_latency",
}  # fmt: skip
#: backends that gather all tokens
GATHERED = ("allgather_reducescatter", "naive")

#: `docker run ... vllm/vllm-openai:v0.33.0 --model M` starts `vllm serve` in the image
RUNNERS = {"docker", "podman", "nerdctl"}
IMAGE = re.compile(r"/vllm-openai(-rocm)?([:@].*)?$")
#: ways to draft that the acceptance of draft layers says nothing about
OTHER_DRAFTS = ("ngram", "suffix", "draft_model", "medusa", "mlp_speculator", "custom_class")
#: flags that say where an engine runs, not how
PLACES = (
    "--data-parallel-size-local", "-dpl", "--data-parallel-address", "-dpa", "--data-parallel-rpc-port", "-dpp",
    "--data-parallel-start-rank", "-dpr", "--data-parallel-backend", "-dpb", "--headless", "--nnodes", "-n",
    "--node-rank", "-r", "--master-addr", "--master-port",
)  # fmt: skip
#: flags that change the speed and that the forecast does not follow
UNMODELLED = (
    "--additional-config", "--async-scheduling", "--attention-backend", "--attention-config",
    "-ac",
    "--compilation-config", "-cc", "--optimization-level", "--cpu-offload-gb", "--cudagraph-capture-sizes",
    "--data-parallel-external-lb", "--data-parallel-hybrid-lb", "--decode-context-parallel-size", "-dcp",
    "--disable-custom-all-reduce", "--dtype", "--enable-chunked-prefill", "--no-enable-chunked-prefill",
    "--enable-eplb", "--enable-lora", "--enforce-eager", "--eplb-config", "--hf-overrides",
    "--kv-cache-memory-bytes", "--kv-offloading-backend", "--kv-offloading-size", "--linear-backend",
    "--moe-backend", "--no-async-scheduling",
    "--quantization-config", "--scheduling-policy", "--ubatch-size",
)  # fmt: skip


class VllmTranslator:
    """Settings to a command and back; `target` is the list of flags of the release that runs."""

    def __init__(self, target: str = "vllm", connector: str = CONNECTOR, backends: dict[Role, str] = DEEPEP) -> None:
        self.target, self.connector, self.backends = target, connector, backends

    @cached_property
    def line(self) -> CommandLine:
        """The flags of the release."""
        return CommandLine(known(self.target), dashes=True)

    def write(self, told: Settings, place: Place, native: Precision) -> Command:
        """The command of one node. Raises LaunchError for what the engine cannot be told."""
        layout, notes = told.layout, list[str]()
        flags: Words = [(name, f"{getattr(layout, size)}") for name, size in SIZES if getattr(layout, size) > 1]
        flags += experts(layout)
        flags += [("--all2all-backend", self.backends[told.role])] if told.all_to_all else []
        flags += self.formats(told, native, notes)
        flags += drafts(told)
        flags += [("--enable-dbo" if told.microbatches == 2 else "--no-enable-dbo", None)] if told.microbatches else []
        flags += limits(told.limits)
        flags += self.transfer(told, place)
        flags += nodes(layout, place)
        flags += [] if place.follows else [("--host", "0.0.0.0"), ("--port", f"{place.port}")]
        return Command(("vllm", "serve", told.model), tuple(flags), self.variables(told, place), notes=tuple(notes))

    def variables(self, told: Settings, place: Place) -> dict[str, str]:
        """Where the other side finds the cache of this one."""
        if told.role == "mixed":
            return {}
        port = place.apart(NIXL_PORT, PORTS_OF_ENGINE)
        return {"VLLM_NIXL_SIDE_CHANNEL_HOST": HERE, "VLLM_NIXL_SIDE_CHANNEL_PORT": f"{port}"}

    def formats(self, told: Settings, native: Precision, notes: list[str]) -> Words:
        """Weights and cache."""
        flags: Words = []
        if told.weights in ONLINE and native.weights in ("bf16", "fp16"):
            flags.append(("--quantization", ONLINE[told.weights]))
        elif told.weights is not None:
            notes.append(stored(told))
        if told.kv_cache is not None:
            flags.append(("--kv-cache-dtype", spelled(told.kv_cache, CACHE_NAMES, "vLLM")))
        return flags

    def transfer(self, told: Settings, place: Place) -> Words:
        """How the cache travels between prefill and decode."""
        if told.role == "mixed":
            return []
        if told.role == "decode" and told.layout.cp > 1 and self.connector == CONNECTOR:
            raise LaunchError(f"{CONNECTOR} takes no context parallelism where it decodes, got cp = {told.layout.cp}.")
        config = {"kv_connector": self.connector, "kv_role": ROLES[told.role], **self.connection(told, place)}
        return [("--kv-transfer-config", json.dumps(config))]

    def connection(self, told: Settings, place: Place) -> dict[str, object]:  # noqa: ARG002
        """What the connector needs besides."""
        return {}

    def program(self, words: list[str]) -> list[str] | None:
        """The words after the name of the program, or None where it is another one."""
        for at, word in enumerate(words):
            name = word.rsplit("/", 1)[-1]
            if name == "vllm" and words[at + 1 : at + 2] == ["serve"]:
                return words[at + 2 :]
            if word.startswith("vllm.entrypoints.") and words[at - 1 : at] == ["-m"]:
                return words[at + 1 :]
        image = next((at for at, word in enumerate(words) if IMAGE.search(word)), None)
        return None if image is None or not RUNNERS & set(words[:image]) else words[image + 1 :]

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What the words after `vllm serve` say. Raises InputError."""
        words = [re.sub(r"^-O=?(\d)$", r"--optimization-level=\1", word) for word in given.words]
        free, flags, unknown = self.line.read(words, skip_unknown)
        model = (free[0] if free else None) or flags.text("--model")
        if model is None:
            raise InputError("The command names no model: vllm serve MODEL ...")
        backend = flags.text("--all2all-backend") or GATHERED[0]
        flags.drop("--config") if flags.left.get("--config") is None else refuse_config()
        sizes = {field: flags.whole(name, *ALIASES[name]) or 1 for name, field in SIZES}
        spread = flags.switch("--enable-expert-parallel", "--no-enable-expert-parallel", "-ep")
        ranks = sizes["tp"] * sizes["cp"] * sizes["attention_dp"]
        told = Settings(model, Layout(**sizes, ep=ranks if spread else 1))
        way = method(flags)
        told = replace(told, **self.read_formats(flags), **read_drafts(flags), limits=read_limits(flags))
        both = flags.switch("--enable-dbo", "--no-enable-dbo")
        told = replace(told, microbatches=None if both is None else 2 if both else 1, role=read_role(flags))
        told = replace(told, all_to_all=backend not in GATHERED)
        rank = flags.left.get("--node-rank", flags.left.get("-r"))
        follows = "--headless" in flags.left or rank not in (None, "0")
        flags.drop(*PLACES)
        found = sorted_out(told, flags, UNMODELLED, unknown)
        drafting = (f"drafts by {way}",) if way in OTHER_DRAFTS else ()
        return replace(found, follows=follows, unmodelled=found.unmodelled + drafting)

    def read_formats(self, flags: Flags) -> dict[str, Any]:
        """Weights, activations and cache."""
        method = flags.text("--quantization", *ALIASES["--quantization"])
        weights, activations = METHODS.get(method or "compressed-tensors", (None, None))
        if method is not None and method not in METHODS:
            raise InputError(f"--quantization {method[:40]} is not known; known: {', '.join(METHODS)}.")
        return {"weights": weights, "activations": activations, "kv_cache": cache_format(flags, CACHES)}


def experts(layout: Layout) -> Words:
    """Experts whole on the ranks of a stage, or cut over all of them."""
    if layout.ep == 1:
        return []
    if layout.ep != layout.stage_devices:
        raise LaunchError(
            f"vLLM spreads experts over all {layout.stage_devices} ranks of a stage or over none (ep = 1); "
            f"ep = {layout.ep} cannot be launched."
        )
    return [("--enable-expert-parallel", None)]


def drafts(told: Settings) -> Words:
    """Speculation by the model's own draft layers, or by a draft model."""
    if not told.draft_tokens:
        return []
    method = {"method": "eagle3", "model": told.draft_model} if told.draft_model else {"method": "mtp"}
    return [("--speculative-config", json.dumps({**method, "num_speculative_tokens": told.draft_tokens}))]


def limits(given: Limits) -> Words:
    """Batch, budget, cache."""
    flags: Words = []
    flags += [(name, f"{getattr(given, field)}") for name, field in COUNTS if getattr(given, field) is not None]
    if given.memory_share is not None:
        flags.append(("--gpu-memory-utilization", f"{given.memory_share:g}"))
    if given.prefix_cache is not None:
        flags.append(("--enable-prefix-caching" if given.prefix_cache else "--no-enable-prefix-caching", None))
    return flags


def nodes(layout: Layout, place: Place) -> Words:
    """Which part of an engine this node runs: whole attention groups, or a part of one."""
    if place.nodes == 1:
        return []
    group = int(layout.devices // layout.attention_dp)
    headless: Words = [("--headless", None)] if place.follows else []
    if layout.attention_dp > 1 and place.devices % group == 0:
        local = place.devices // group
        start = [("--data-parallel-start-rank", place.counted(local))] if place.follows else []
        return [
            ("--data-parallel-size-local", f"{local}"), ("--data-parallel-address", place.leader),
            ("--data-parallel-rpc-port", RPC_PORT), *start, *headless,
        ]  # fmt: skip
    if layout.attention_dp > 1 and group % place.devices:
        raise LaunchError(
            f"Attention groups of {group} devices lie askew on nodes of {place.devices}: vLLM starts several groups "
            "over several nodes only where each node holds whole ones, or each of them whole nodes."
        )
    met: Words = [("--data-parallel-address", place.leader)] if layout.attention_dp > 1 else []
    return [
        *met,
        ("--nnodes", f"{place.nodes}"), ("--node-rank", place.counted()), ("--master-addr", place.leader),
        ("--master-port", MASTER_PORT), *headless,
    ]  # fmt: skip


def spelled(dtype: str, names: dict[str, str], engine: str) -> str:
    """A cache format as the engine names it."""
    if dtype not in names:
        raise LaunchError(f"{engine} has no KV cache in {dtype}; it has {', '.join(names)}.")
    return names[dtype]


def stored(told: Settings) -> str:
    """What a user has to bring where no flag makes it."""
    return (
        f"Weights in {told.weights} (activations {told.activations}) need a checkpoint stored so: put it in place of "
        f"{told.model}."
    )


def refuse_config() -> None:
    """Flags in a file are not seen."""
    raise InputError("--config names a file of flags that is not read: write its flags into the command.")


def method(flags: Flags) -> str | None:
    """How drafts are made, left in the flags."""
    text = flags.left.get("--speculative-config") or flags.left.get("-sc")
    return None if text is None else str(json_object("--speculative-config", text).get("method"))


def read_drafts(flags: Flags) -> dict[str, Any]:
    """Speculative tokens and the draft model."""
    given = flags.document("--speculative-config", *ALIASES["--speculative-config"])
    tokens = given.get("num_speculative_tokens", 1 if given else 0)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens <= 64:
        raise InputError(f"num_speculative_tokens must be a whole number up to 64, got {str(tokens)[:40]}.")
    model = given.get("model")
    return {"draft_tokens": tokens, "draft_model": str(model) if model is not None else None}


def read_limits(flags: Flags) -> Limits:
    """Batch, budget, cache."""
    length = flags.left.get("--max-model-len")
    if length is not None and length[-1:].lower() in ("k", "m", "g"):
        flags.left["--max-model-len"] = human(length)
    if length in ("auto", "-1"):
        flags.drop("--max-model-len")
    counts = {field: flags.whole(name, *ALIASES.get(name, ())) for name, field in COUNTS}
    return Limits(
        **counts,
        memory_share=flags.share("--gpu-memory-utilization"),
        prefix_cache=flags.switch("--enable-prefix-caching", "--no-enable-prefix-caching"),
    )


def human(text: str) -> str:
    """`8k` is 8,000, `8K` is 8,192 tokens."""
    scale = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[text[-1]]
    try:
        return f"{int(float(text[:-1]) * scale)}"
    except ValueError:
        return text


def read_role(flags: Flags) -> Role:
    """Prefill or decode, from the role in the transfer of the cache; `kv_both` does not say which."""
    role = flags.document("--kv-transfer-config").get("kv_role")
    return next((name for name, told in ROLES.items() if told == role), "mixed")


def cache_format(flags: Flags, names: dict[str, str]) -> str | None:
    """The format of the KV cache; None = auto."""
    given = flags.text("--kv-cache-dtype")
    if given in (None, "auto"):
        return None
    if given not in names:
        raise InputError(f"--kv-cache-dtype {str(given)[:40]} is not known; known: auto, {', '.join(names)}.")
    return names[given]


def sorted_out(told: Settings, flags: Flags, unmodelled: tuple[str, ...], unknown: list[str]) -> Reading:
    """The reading: what is left over either changes the speed or does not."""
    matters = tuple(name for name in flags.left if name in unmodelled)
    ignored = tuple(name for name in flags.left if name not in unmodelled)
    return Reading(told, ignored + tuple(unknown), matters)
