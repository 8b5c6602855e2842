"""`--format lws`: a LeaderWorkerSet, its files and its service for every engine, in one YAML file."""

from typing import Any

from silicast.launch import yaml
from silicast.launch.command import Command
from silicast.launch.compose import started
from silicast.launch.engines import Engine, Launch, commented
from silicast.launch.routers import PORT, Server, routed, router
from silicast.launch.settings import FIRST_PORT

FILE = "leaderworkerset.yaml"
LEADER, COUNTER = "$LWS_LEADER_ADDRESS", "LWS_WORKER_INDEX"
UNTESTED = "Fields are those of leaderworkerset.x-k8s.io/v1 and of Kubernetes; untested against a cluster."
SECRET = "The secret hf-token (key token) must hold a token of Hugging Face where the model needs one."


def files(launch: Launch) -> dict[str, str]:
    """One file. Raises LaunchError."""
    documents = []
    for engine in launch.engines:
        engine.needs("a LeaderWorkerSet")
        documents += _documents(launch, engine)
    servers = [
        Server(one.pool.role, f"{_name(launch, one)}-{at}.{_name(launch, one)}", FIRST_PORT)
        for one in launch.engines
        for at in range(one.replicas)
    ]
    before = router(launch, servers)
    if before is not None:
        documents += _router(launch, before)
    head = commented(launch.head(UNTESTED, SECRET, *routed(launch)))
    return {FILE: head + "---\n".join(yaml.dump(one) for one in documents)}


def script(engine: Engine, rank: int) -> str:
    """What a pod runs."""
    command = engine.command(rank, LEADER if engine.nodes > 1 else "127.0.0.1", counter=COUNTER if rank else None)
    return started(command.script())


def limits(engine: Engine) -> dict[str, str]:
    """The devices of one pod."""
    return {engine.kind.resource: f"{engine.devices}"}


def _name(launch: Launch, engine: Engine) -> str:
    return f"{launch.name}-{engine.name}"


def _documents(launch: Launch, engine: Engine) -> list[dict[str, Any]]:
    name = _name(launch, engine)
    template: dict[str, Any] = {"size": engine.nodes, "restartPolicy": "RecreateGroupOnPodRestart"}
    if engine.nodes > 1:
        template["leaderTemplate"] = _pod(launch, engine, "leader", 0)
        template["workerTemplate"] = _pod(launch, engine, "worker", 1)
    else:
        template["workerTemplate"] = _pod(launch, engine, "leader", 0)
    documents: list[dict[str, Any]] = [
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "metadata": {"name": name},
            "spec": {"replicas": engine.replicas, "leaderWorkerTemplate": template},
        },
        _service(f"{name}-http", {"app": name, "role": "leader"}, FIRST_PORT),
    ]  # fmt: skip
    content = dict(engine.command().files)
    return documents + ([_config(name, content)] if content else [])


def _pod(launch: Launch, engine: Engine, role: str, rank: int) -> dict[str, Any]:
    name = _name(launch, engine)
    mounts = [{"name": "shared", "mountPath": "/dev/shm"}]
    volumes: list[dict[str, Any]] = [{"name": "shared", "emptyDir": {"medium": "Memory"}}]
    for file in engine.command().files:
        mounts.append({"name": "files", "mountPath": f"{engine.runtime.folder}/{file}", "subPath": file})
    if len(mounts) > 1:
        volumes.append({"name": "files", "configMap": {"name": f"{name}-files"}})
    container: dict[str, Any] = {
        "name": "engine", "image": engine.image, "command": ["/bin/sh", "-c"], "args": [script(engine, rank)],
        "env": [_token()], "resources": {"limits": limits(engine), "requests": limits(engine)}, "volumeMounts": mounts,
    }  # fmt: skip
    container |= {"workingDir": engine.runtime.workdir} if len(mounts) > 1 else {}
    if role == "leader":
        container["ports"] = [{"containerPort": FIRST_PORT, "name": "http"}]
        container["readinessProbe"] = {"tcpSocket": {"port": FIRST_PORT}, "periodSeconds": 10}
    spec = {"containers": [container], "volumes": volumes}
    return {"metadata": {"labels": {"app": name, "role": role}}, "spec": spec}


def _token() -> dict[str, Any]:
    return {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}}


def _service(name: str, selector: dict[str, str], port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"name": "http", "port": port, "targetPort": port}]},
    }  # fmt: skip


def _config(name: str, content: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-files"}, "data": content}


def _router(launch: Launch, command: Command) -> list[dict[str, Any]]:
    name, labels = f"{launch.name}-router", {"app": f"{launch.name}-router"}
    container: dict[str, Any] = {
        "name": "router", "image": launch.engines[0].image, "command": ["/bin/sh", "-c"],
        "args": [started(command.script())], "ports": [{"containerPort": PORT, "name": "http"}],
    }  # fmt: skip
    spec: dict[str, Any] = {"containers": [container]}
    documents = []
    if command.files:
        container |= {"workingDir": "/launch", "volumeMounts": [{"name": "files", "mountPath": "/launch"}]}
        spec["volumes"] = [{"name": "files", "configMap": {"name": f"{name}-files"}}]
        documents.append(_config(name, dict(command.files)))
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }  # fmt: skip
    return [*documents, deployment, _service(name, labels, PORT)]
