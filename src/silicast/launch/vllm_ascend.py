"""vLLM-Ascend: the flags of vLLM, environment variables of its own and `--additional-config`.

The variables and the configuration pin what the forecast assumes, which are the defaults of the release: the prologue
of latent attention fused, the shared expert cut like the rest.
"""

import json
from dataclasses import replace
from typing import Any

from silicast.errors import InputError
from silicast.launch.command import HERE, Command, Invocation, Words
from silicast.launch.errors import LaunchError
from silicast.launch.flags import Flags
from silicast.launch.settings import Place, Reading, Settings
from silicast.launch.vllm import VllmTranslator, cache_format, spelled
from silicast.scenario import Precision

#: variables of vLLM-Ascend, and those of the layers below it (HCCL, PyTorch), which no wheel lists
OWN = {"VLLM_ASCEND_ENABLE_MLAPO": "1"}
BELOW = {"HCCL_OP_EXPANSION_MODE": "AIV", "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True"}
KV_PORT, PORTS_OF_ENGINE = 30000, 100
#: formats that ModelSlim writes for `--quantization ascend`
MODELSLIM = ("int8", "int4")
CACHES = {"bfloat16": "bf16", "float16": "fp16", "int8": "int8", "fp8": "fp8"}
CACHE_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp8": "fp8"}


class VllmAscendTranslator(VllmTranslator):
    """Settings to a command and back."""

    def __init__(self) -> None:
        super().__init__("vllm-ascend-engine", "MooncakeConnectorV1")

    def write(self, told: Settings, place: Place, native: Precision) -> Command:
        """The command of one node, its environment and its configuration."""
        if told.microbatches == 2:
            raise LaunchError("vLLM-Ascend resets --enable-dbo: two microbatches cannot be launched.")
        if told.limits.block_tokens not in (None, 32, 64, 128):
            raise LaunchError(f"vLLM-Ascend has cache blocks of 128 tokens, got {told.limits.block_tokens}.")
        plain = super().write(told, place, native)
        config: tuple[tuple[str, str | None], ...] = ()
        if told.layout.ep > 1:
            config = (("--additional-config", json.dumps({"enable_shared_expert_dp": False})),)
        return replace(plain, flags=plain.flags + config)

    def variables(self, told: Settings, place: Place) -> dict[str, str]:  # noqa: ARG002
        """Of the stack and of what lies below it."""
        return {**OWN, **BELOW} | ({"HCCL_IF_IP": HERE} if place.nodes > 1 else {})

    def formats(self, told: Settings, native: Precision, notes: list[str]) -> Words:
        """Weights converted by ModelSlim are named; others are as the checkpoint says."""
        flags: Words = []
        weights = told.weights or native.weights
        if weights in MODELSLIM:
            flags.append(("--quantization", "ascend"))
            notes.append(f"Weights in {weights} need the checkpoint converted by ModelSlim in place of {told.model}.")
        elif told.weights is not None:
            notes.append(f"Weights in {weights} need a checkpoint stored so in place of {told.model}.")
        if told.kv_cache is not None:
            flags.append(("--kv-cache-dtype", spelled(told.kv_cache, CACHE_NAMES, "vLLM-Ascend")))
        return flags

    def connection(self, told: Settings, place: Place) -> dict[str, object]:
        """Ports, and the sizes of both sides."""
        sides = {"prefill": place.prefill or told.layout, "decode": place.decode or told.layout}
        extra = {name: {"dp_size": int(side.attention_dp), "tp_size": int(side.tp)} for name, side in sides.items()}
        return {
            "kv_port": f"{place.apart(KV_PORT, PORTS_OF_ENGINE)}", "engine_id": "0" if told.role == "prefill" else "1",
            "kv_connector_extra_config": extra,
        }  # fmt: skip

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What words and environment say. Raises InputError."""
        found = super().read(given, skip_unknown)
        changed = tuple(
            f"{name}={value}"
            for name, value in given.environment.items()
            if name.startswith("VLLM_ASCEND_") and OWN.get(name) != value
        )
        settled = tuple(name for name in found.unmodelled if name != "--additional-config")
        own = "--additional-config" in found.unmodelled and not _default(given.words)
        return replace(found, unmodelled=settled + changed + (("--additional-config",) if own else ()))

    def read_formats(self, flags: Flags) -> dict[str, Any]:
        """`ascend` is INT8 weights and activations; another method is none of this stack."""
        method = flags.text("--quantization", "-q")
        if method not in (None, "ascend", "compressed-tensors"):
            raise InputError(f"--quantization {method[:40]} is none of vLLM-Ascend; known: ascend, compressed-tensors.")
        stored = "int8" if method == "ascend" else None
        return {"weights": stored, "activations": stored, "kv_cache": cache_format(flags, CACHES)}


def _default(words: tuple[str, ...]) -> bool:
    """Whether the configuration only repeats defaults."""
    return any(json.dumps({"enable_shared_expert_dp": False}) in word for word in words)
