"""`--format dynamo`: a DynamoGraphDeployment. Its operator starts nodes, finds workers and routes requests.

The fields are those of the schema in Dynamo's own wheel; workers take the flags of their engine and some of Dynamo.
"""

import json
from typing import Any

from silicast.launch import yaml
from silicast.launch.engines import Engine, Launch, commented
from silicast.launch.errors import LaunchError
from silicast.launch.flags import known
from silicast.launch.settings import Place
from silicast.launch.stacks import Runtime, runtimes
from silicast.launch.trtllm import options

FILE = "dynamo.yaml"
#: how dynamo.trtllm names the flags of trtllm-serve
TRTLLM = {
    "--tp_size": "--tensor-parallel-size", "--pp_size": "--pipeline-parallel-size",
    "--ep_size": "--expert-parallel-size", "--max_batch_size": "--max-batch-size",
    "--max_num_tokens": "--max-num-tokens", "--max_seq_len": "--max-seq-len",
}  # fmt: skip
#: what the operator or the frontend does in place of the engine
DROPPED = ("--host", "--port", "--disaggregation-mode", "--model-path", "--config", "--server_role", "--gpus_per_node")


def files(launch: Launch) -> dict[str, str]:
    """One file. Raises LaunchError."""
    stacks = list(dict.fromkeys(one.stack for one in launch.engines))
    for stack in stacks:
        if stack not in runtimes().dynamo:
            raise LaunchError(f"Dynamo has no workers of {stack}; stacks: {', '.join(runtimes().dynamo)}.")
    listed = known(f"dynamo-{stacks[0]}")
    graph = {
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment", "metadata": {"name": launch.name},
        "spec": {"components": [_frontend(runtimes().dynamo[stacks[0]]), *(_worker(one) for one in launch.engines)]},
    }  # fmt: skip
    notes = (
        f"Fields and worker flags checked against {listed.package} {listed.version}; the secret is hf-token-secret.",
        "The image may hold another release of the engine than the one above: start it once with --help to see.",
    )
    return {FILE: commented(launch.head(*notes)) + yaml.dump(graph)}


def arguments(engine: Engine) -> list[str]:
    """Flags of a worker: those of one engine on one node, and its role."""
    plain = engine.translator.write(engine.settings, Place(), engine.native)
    flags = [(name, value) for name, value in plain.flags if name not in DROPPED]
    words = ["--model", engine.settings.model]
    if engine.stack == "trtllm":
        content = options(engine.settings)
        layout = engine.settings.layout
        content |= {"context_parallel_size": int(layout.cp)} if layout.cp > 1 else {}
        flags = [(TRTLLM[name], value) for name, value in flags if name in TRTLLM]
        flags += [("--override-engine-args", json.dumps(content))] if content else []
    if engine.stack == "sglang":
        words = ["--model-path", engine.settings.model]
    if engine.pool.role != "mixed":
        flags.append(("--disaggregation-mode", engine.pool.role))
    return words + [word for name, value in flags for word in ((name,) if value is None else (name, value))]


def _frontend(runtime: Runtime) -> dict[str, Any]:
    container = {
        "name": "main", "image": runtime.image, "command": ["python3"], "args": ["-m", "dynamo.frontend"],
    }  # fmt: skip
    return {
        "name": "Frontend", "type": "frontend", "replicas": 1,
        "podTemplate": {"spec": {"containers": [container]}},
    }  # fmt: skip


def _worker(engine: Engine) -> dict[str, Any]:
    runtime = runtimes().dynamo[engine.stack]
    container: dict[str, Any] = {
        "name": "main", "image": runtime.image, "command": ["python3", "-m", f"dynamo.{engine.stack}"],
        "args": arguments(engine), "resources": {"limits": {engine.kind.resource: f"{engine.devices}"}},
        "envFrom": [{"secretRef": {"name": "hf-token-secret"}}],
    }  # fmt: skip
    kind = "worker" if engine.pool.role == "mixed" else engine.pool.role
    found: dict[str, Any] = {"name": engine.name, "type": kind, "replicas": engine.replicas}
    found |= {"multinode": {"nodeCount": engine.nodes}} if engine.nodes > 1 else {}
    return found | {"podTemplate": {"spec": {"containers": [container]}}}
