"""MindIE: one JSON file, `config.json`, read by `mindieservice_daemon`; the share of memory is a variable.

A stage has `tp x dp x cp` ranks; experts are cut by `moe_tp` and spread by `moe_ep`.
"""

import json
from dataclasses import replace
from typing import Any

from silicast.errors import InputError
from silicast.launch.command import Command, Invocation
from silicast.launch.errors import LaunchError
from silicast.launch.flags import CommandLine, json_object, known
from silicast.launch.settings import Limits, Place, Reading, Settings
from silicast.launch.trtllm import fraction, whole
from silicast.scenario import Layout, Precision

CONFIG = "config.json"
SHARE = "NPU_MEMORY_FRACTION"
DAEMON = "./bin/mindieservice_daemon"
#: tables within tables of the file, with room
DEEPEST = 16
#: longest request where no limit is given, tokens; MindIE has no default that fits a model
CONTEXT = 32768
#: keys of the model that are sizes: (key, field of the layout)
SIZES = (("tp", "tp"), ("dp", "attention_dp"), ("cp", "cp"), ("pp", "pp"))
#: keys that are taken; of the others these change the speed
UNMODELLED = ("npuMemSize", "maxPrefillBatchSize", "supportSelectBatch", "maxPreemptCount", "maxQueueDelayMicroseconds",
              "sp", "backendType")  # fmt: skip
DEFAULTS = {"npuMemSize": -1, "maxPrefillBatchSize": 50, "supportSelectBatch": False, "maxPreemptCount": 0,
            "maxQueueDelayMicroseconds": 5000, "sp": 1, "backendType": "atb"}  # fmt: skip


class MindieTranslator:
    """Settings to the configuration file, and back."""

    target = "mindie"

    def write(self, told: Settings, place: Place, native: Precision) -> Command:  # noqa: ARG002
        """The command of one node and its configuration."""
        check(told)
        notes = ["Weights must be converted for MindIE, and modelWeightPath must be their absolute path."]
        if told.weights is not None:
            notes.append(f"Weights in {told.weights} need a checkpoint converted so.")
        if place.nodes > 1:
            notes.append("Several nodes need a rank table: set RANK_TABLE_FILE and MIES_CONTAINER_IP on each of them.")
        share = told.limits.memory_share
        environment = {} if share is None else {SHARE: f"{share:g}"}
        files = {CONFIG: json.dumps(config(told, place), indent=2) + "\n"}
        return Command((DAEMON,), (), environment, files, tuple(notes), known(self.target).tested)

    def program(self, words: list[str]) -> list[str] | None:
        """The configuration is a file, not words."""
        return words[-1:] if any("mindieservice_daemon" in word for word in words) else None

    def read(self, given: Invocation, skip_unknown: bool = False) -> Reading:
        """What the configuration in `files` says. Raises InputError."""
        text = next((content for name, content in given.files.items() if name.endswith(".json")), None)
        if text is None:
            raise InputError("MindIE is configured by config.json: give that file.")
        found = flat(json_object(CONFIG, text))
        unknown = _unknown(found, skip_unknown)
        share = given.environment.get(SHARE)
        told = _settings(found, None if share is None else fraction(_number(share)))
        left = [key for key in found if key not in unknown]
        matters = tuple(key for key in left if key in UNMODELLED and found[key] != DEFAULTS[key])
        return Reading(told, tuple(key for key in left if key not in matters) + tuple(unknown), matters)


def check(told: Settings) -> None:
    """Raises LaunchError for what MindIE cannot be told."""
    if told.role != "mixed":
        raise LaunchError("MindIE gives its roles through MindIE Motor, whose files are not written: use vllm-ascend.")
    if told.microbatches == 2:
        raise LaunchError("Two microbatches are not written for MindIE.")
    if told.limits.kv_blocks is not None:
        raise LaunchError("MindIE takes no number of cache blocks: give the share of memory.")
    if told.kv_cache is not None:
        raise LaunchError(f"The KV cache of MindIE is that of the checkpoint; {told.kv_cache} cannot be asked for.")
    if told.draft_model is not None:
        raise LaunchError("MindIE drafts with the model's own layers: no draft model is written.")


def config(told: Settings, place: Place) -> dict[str, Any]:
    """The file, with the keys that matter; MindIE fills in the rest."""
    layout, given = told.layout, told.limits
    length = given.context_tokens or CONTEXT
    here = int(min(layout.devices, place.devices))
    plugins: dict[str, Any] = (
        {"plugin_type": "mtp", "num_speculative_tokens": told.draft_tokens} if told.draft_tokens else {}
    )
    if given.prefix_cache:
        types = ",".join(filter(None, (plugins.get("plugin_type"), "prefix_cache")))
        plugins = {**plugins, "plugin_type": types}
    model: dict[str, Any] = {
        "modelInstanceType": "Standard", "modelName": told.model.rsplit("/", 1)[-1], "modelWeightPath": told.model,
        "worldSize": here, "cpuMemSize": 0, "npuMemSize": -1, "backendType": "atb", "trustRemoteCode": False,
        **{key: int(getattr(layout, field)) for key, field in SIZES},
        "moe_tp": int(layout.expert_tp), "moe_ep": int(layout.ep),
    }  # fmt: skip
    model |= {"plugin_params": json.dumps(plugins)} if plugins else {}
    chunk = given.chunk_tokens
    schedule: dict[str, Any] = {"templateType": "Standard", "templateName": "Standard_LLM", "maxIterTimes": length}
    schedule |= {"cacheBlockSize": given.block_tokens} if given.block_tokens is not None else {}
    schedule |= {"maxPrefillTokens": chunk} if chunk is not None else {}
    schedule |= {"maxBatchSize": given.max_sequences} if given.max_sequences is not None else {}
    deploy = {"maxSeqLen": length, "maxInputTokenLen": min(length - 1, chunk or length) or 1, "ModelConfig": [model]}
    return {
        "Note": f"Untested: written from {known('mindie').origin}, no package of MindIE was at hand.",
        "Version": "1.0.0",
        "ServerConfig": {"ipAddress": place.leader, "port": place.port, "httpsEnabled": False},
        "BackendConfig": {
            "backendName": "mindieservice_llm_engine", "modelInstanceNumber": 1, "npuDeviceIds": [list(range(here))],
            "multiNodesInferEnabled": place.nodes > 1, "ModelDeployConfig": deploy, "ScheduleConfig": schedule,
        },
    }  # fmt: skip


def flat(content: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Every key of the file with its value, tables taken apart."""
    found: dict[str, Any] = {}
    if depth > DEEPEST:
        raise InputError(f"{CONFIG} is nested more than {DEEPEST} levels deep: it is no configuration of MindIE.")
    for key, value in content.items():
        rows = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        if len(rows) > 1:
            raise InputError(f"{key} names {len(rows)} models: one deployment is read at a time.")
        if isinstance(rows[0], dict):
            found |= flat(rows[0], depth + 1)
        else:
            found[key] = value
    return found


def _unknown(found: dict[str, Any], skip_unknown: bool) -> list[str]:
    line, unknown = CommandLine(known("mindie").model_copy(update={"flags": known("mindie").options})), []
    for key in found:
        try:
            line.option(key)
        except InputError:
            if not skip_unknown:
                raise
            unknown.append(key)
    return unknown


def _settings(found: dict[str, Any], share: float | None) -> Settings:
    """Keys that are understood are taken out of `found`."""
    model = found.pop("modelWeightPath", None)
    if not isinstance(model, str):
        raise InputError("config.json names no model: modelWeightPath.")
    given = {field: found.pop(key, -1) for key, field in SIZES}
    sizes = {field: 1 if size == -1 else whole(field, size) for field, size in given.items()}
    ranks = sizes["tp"] * sizes["attention_dp"] * sizes["cp"]
    world = whole("worldSize", found.pop("worldSize", ranks * sizes["pp"]))
    if ranks == 1 and world > 1:
        sizes["tp"] = ranks = world // sizes["pp"]  # without sizes all ranks are one tensor-parallel group
    moe_ep, moe_tp = found.pop("moe_ep", -1), found.pop("moe_tp", -1)
    ep = whole("moe_ep", moe_ep) if moe_ep != -1 else max(1, ranks // whole("moe_tp", moe_tp)) if moe_tp != -1 else 1
    counts = {"maxBatchSize": "max_sequences", "maxPrefillTokens": "chunk_tokens", "cacheBlockSize": "block_tokens",
              "maxSeqLen": "context_tokens"}  # fmt: skip
    held = {field: whole(key, found.pop(key)) if key in found else None for key, field in counts.items()}
    plugins = json_object("plugin_params", str(found.pop("plugin_params", None) or "{}"))
    types = str(plugins.get("plugin_type", "")).split(",")
    drafts = whole("num_speculative_tokens", plugins.get("num_speculative_tokens", 1)) if "mtp" in types else 0
    limits = Limits(**held, memory_share=share, prefix_cache=True if "prefix_cache" in types else None)
    return replace(Settings(model, Layout(**sizes, ep=ep), draft_tokens=drafts), limits=limits)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
