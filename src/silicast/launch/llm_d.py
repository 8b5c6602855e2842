"""`--format llm-d`: values of the chart llm-d-modelservice, whose servers are vLLM.

The chart was read, not rendered: every key is one of its `values.yaml`, and the file says that it is untested.
"""

from typing import Any

from silicast.launch import yaml
from silicast.launch.engines import Engine, Launch, commented
from silicast.launch.errors import LaunchError
from silicast.launch.flags import known
from silicast.launch.kubernetes import COUNTER, limits, script
from silicast.launch.settings import FIRST_PORT

FILE = "values.yaml"
STACKS = ("vllm", "rocm-vllm")
ACCELERATORS = {"nvidia": "nvidia", "amd": "amd"}
#: where the server listens behind the sidecar of a decode pod
BEHIND = 8200


def files(launch: Launch) -> dict[str, str]:
    """One file of values. Raises LaunchError."""
    by_role: dict[str, Engine] = {}
    for engine in launch.engines:
        if engine.stack not in STACKS:
            raise LaunchError(f"llm-d runs vLLM: {engine.stack} has no values; stacks: {', '.join(STACKS)}.")
        role = "prefill" if engine.pool.role == "prefill" else "decode"
        if role in by_role:
            raise LaunchError(f"The chart of llm-d has one {role} pool, the deployment has several.")
        by_role[role] = engine
    if "decode" not in by_role:
        raise LaunchError("The chart of llm-d needs a pool that decodes.")
    if len({one.runtime.devices for one in by_role.values()}) > 1:
        raise LaunchError("The chart of llm-d has one kind of accelerator for prefill and decode.")
    listed = known("llm-d")
    note = f"Untested: keys from {listed.origin} ({listed.version}); the chart was not rendered."
    values = _values(launch, by_role)
    return {FILE: commented(launch.head(note)) + yaml.dump(values)}


def _values(launch: Launch, by_role: dict[str, Engine]) -> dict[str, Any]:
    served, apart = by_role["decode"].settings.model, launch.disaggregated
    sizes = {one.nodes > 1 for one in by_role.values()}
    values: dict[str, Any] = {
        "modelArtifacts": {
            "name": served, "uri": f"hf://{served}", "size": "1Ti", "authSecretName": "hf-token",
            "labels": {"llm-d.ai/inferenceServing": "true", "llm-d.ai/model": launch.name},
        },
        "multinode": True in sizes,
        "accelerator": {"type": ACCELERATORS[by_role["decode"].runtime.devices]},
        "routing": {
            "servicePort": FIRST_PORT, "proxy": {"enabled": apart, "targetPort": BEHIND, "connector": "nixlv2"},
        },
    }  # fmt: skip
    for role in ("decode", "prefill"):
        values[role] = _pods(by_role[role], apart) if role in by_role else {"create": False, "replicas": 0}
    return values


def _pods(engine: Engine, apart: bool) -> dict[str, Any]:
    layout = engine.pool.layout.whole()
    copies = int(layout.attention_dp)
    # the chart asks for tensor x dataLocal devices per pod
    local = max(1, copies // engine.nodes)
    container: dict[str, Any] = {
        "name": "vllm", "image": engine.image, "modelCommand": "custom", "command": ["/bin/sh", "-c"],
        "args": [_started(engine, BEHIND if apart and engine.pool.role == "decode" else FIRST_PORT)],
        "resources": {"limits": limits(engine), "requests": limits(engine)}, "mountModelVolume": True,
    }  # fmt: skip
    return {
        "create": True, "replicas": engine.replicas,
        "parallelism": {
            "tensor": engine.devices // local, "data": local * engine.nodes, "dataLocal": local,
            "workers": engine.nodes,
        },
        "containers": [container],
    }  # fmt: skip


def _started(engine: Engine, port: int) -> str:
    """One text for every pod: the first of a group leads."""
    if engine.nodes == 1:
        return script(engine, 0).replace(f"--port {FIRST_PORT}", f"--port {port}")
    leader, worker = script(engine, 0).replace(f"--port {FIRST_PORT}", f"--port {port}"), script(engine, 1)
    return f'if [ "${{{COUNTER}:-0}}" = 0 ]; then\n{leader}else\n{worker}fi\n'
