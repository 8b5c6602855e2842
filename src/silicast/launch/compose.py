"""`--format compose`: one Docker Compose file per node; engines that leave room on a node share it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from silicast.launch import yaml
from silicast.launch.command import Command
from silicast.launch.engines import Engine, Launch, commented
from silicast.launch.routers import PORT, Server, routed, router
from silicast.launch.scripts import ranks, renamed
from silicast.launch.settings import FIRST_PORT

CACHE = "${HF_HOME:-~/.cache/huggingface}:/root/.cache/huggingface"
COUNTER = "NODE_RANK"


@dataclass(frozen=True, slots=True)
class Seat:
    """One replica of an engine that fits on a node: which node, its first device there, its place among the others."""

    engine: Engine
    replica: int
    node: int
    first: int
    turn: int

    @property
    def port(self) -> int:
        """HTTP port."""
        return FIRST_PORT + self.turn


def files(launch: Launch) -> dict[str, str]:
    """Compose files and the files they mount, by name. Raises LaunchError."""
    for engine in launch.engines:
        engine.needs("Docker Compose")
    found: dict[str, str] = {}
    seats = list(seated([one for one in launch.engines if one.nodes == 1]))
    several = len({seat.node for seat in seats}) > 1 or any(one.nodes > 1 for one in launch.engines)
    for node in sorted({seat.node for seat in seats}):
        here = [seat for seat in seats if seat.node == node]
        name = f"compose.node-{node}.yaml" if several else "compose.yaml"
        commands = {f"{seat.engine.name}-{seat.replica}": _of(seat) for seat in here}
        services = {
            key: service(seat.engine, commands[key], key, range(seat.first, seat.first + seat.engine.devices))
            for key, seat in zip(commands, here, strict=True)
        }
        found[name] = _file(launch, services)
        found |= {key: text for command in commands.values() for key, text in command.files.items()}
    for engine in launch.engines:
        found |= _spread(launch, engine) if engine.nodes > 1 else {}
    return _routed(launch, found, seats, several)


def seated(engines: list[Engine]) -> Iterator[Seat]:
    """Replicas in order onto nodes of their own chip, as many as fit."""
    node, used, turn, last = -1, 0, 0, None
    for engine in engines:
        kind = (engine.pool.chip, engine.node)
        for replica in range(engine.replicas):
            if kind != last or used + engine.devices > engine.node:
                node, used, turn, last = node + 1, 0, 0, kind
            yield Seat(engine, replica, node, used, turn)
            used, turn = used + engine.devices, turn + 1


def service(engine: Engine, command: Command, prefix: str, devices: range, **environment: str) -> dict[str, Any]:
    """One container on the given devices of its node; its files begin with `prefix` beside the Compose file."""
    runtime, kind = engine.runtime, engine.kind
    numbers = ",".join(map(str, devices))
    variables = {"HF_TOKEN": "${HF_TOKEN:-}", **environment}
    found: dict[str, Any] = {
        "image": engine.image, "network_mode": "host", "ipc": "host", "ulimits": {"memlock": -1},
        "restart": "unless-stopped", "working_dir": runtime.workdir,
    }  # fmt: skip
    mounts = [CACHE, *(f"{path}:{path}:ro" for path in kind.mounts)]
    files = {name: name.removeprefix(f"{prefix}.") for name in command.files}
    mounts += [f"./{name}:{runtime.folder}/{bare}:ro" for name, bare in files.items()]
    if kind.resource == "nvidia.com/gpu":
        asked = {"driver": "nvidia", "device_ids": [str(one) for one in devices], "capabilities": ["gpu"]}
        found["deploy"] = {"resources": {"reservations": {"devices": [asked]}}}
    else:
        found["devices"] = [*kind.paths, *(f"{kind.each}{one}" for one in devices if kind.each)]
        variables[kind.visible] = numbers
    text = command.script()
    for name, bare in files.items():
        text = text.replace(name, bare)
    return found | {
        "environment": variables, "volumes": mounts, "entrypoint": ["/bin/sh", "-c"],
        "command": [started(text).replace("$", "$$")],
    }  # fmt: skip


def started(script: str) -> str:
    """A script whose last command takes the place of the shell, so that signals reach it."""
    lines = script.split("\n")
    first = next(at for at, line in enumerate(lines) if not line.startswith("export "))
    return "\n".join([*lines[:first], "exec " + lines[first], *lines[first + 1 :]])


def _of(seat: Seat) -> Command:
    return renamed(seat.engine.command(port=seat.port), f"{seat.engine.name}-{seat.replica}")


def _spread(launch: Launch, engine: Engine) -> dict[str, str]:
    """An engine over several nodes: one file for its leader, one for all that follow."""
    found: dict[str, str] = {}
    times = f"{engine.replicas} times, each" if engine.replicas > 1 else "once,"
    note = f"Start {engine.name} {times} on {engine.nodes} nodes; LEADER is the address of the first."
    for part, rank in (("leader", 0), ("follower", 1)):
        command = renamed(engine.command(rank, "$LEADER", counter=COUNTER if rank else None), engine.name)
        variables = {"LEADER": "${LEADER:?the address of the node of the leader}"}
        variables |= {COUNTER: f"${{{COUNTER}:?{ranks(engine)}, one per node}}"} if rank else {}
        one = service(engine, command, engine.name, range(engine.devices), **variables)
        found[f"compose.{engine.name}-{part}.yaml"] = _file(launch, {f"{engine.name}-{part}": one}, note)
        found |= command.files
    return found


def _routed(launch: Launch, found: dict[str, str], seats: list[Seat], several: bool) -> dict[str, str]:
    """With the router: beside the servers where all of them are on one node, else in a file of its own."""
    if several:
        servers = [Server(one.engine.pool.role, f"node-{one.node}", one.port) for one in seats]
        servers += [
            Server(one.pool.role, f"{one.name}-{at}", FIRST_PORT)
            for one in launch.engines
            if one.nodes > 1
            for at in range(one.replicas)
        ]
    else:
        servers = [Server(one.engine.pool.role, "127.0.0.1", one.port) for one in seats]
    before = router(launch, servers)
    if before is None:
        return found
    engine = launch.engines[0]
    one: dict[str, Any] = {
        "image": engine.image, "network_mode": "host", "restart": "unless-stopped", "working_dir": "/launch",
        "volumes": [f"./{name}:/launch/{name}:ro" for name in before.files] or [CACHE],
        "entrypoint": ["/bin/sh", "-c"], "command": [started(before.script()).replace("$", "$$")],
    }  # fmt: skip
    note = f"Requests go to port {PORT}. Names such as {servers[0].host} stand for addresses."
    return found | {"compose.router.yaml": _file(launch, {"router": one}, note), **before.files}


def _file(launch: Launch, services: dict[str, Any], *notes: str) -> str:
    return commented(launch.head(*notes, *routed(launch))) + yaml.dump({"services": services})
