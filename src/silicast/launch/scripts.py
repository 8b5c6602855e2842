"""`--format command`: one shell script per engine, and one more for the nodes that follow where it has several."""

from silicast.launch.command import Command
from silicast.launch.engines import Engine, Launch, commented
from silicast.launch.routers import Server, routed, router
from silicast.launch.settings import FIRST_PORT

LEADER = "$LEADER"
COUNTER = "NODE_RANK"


def files(launch: Launch) -> dict[str, str]:
    """Scripts and the files they read, by name."""
    found: dict[str, str] = {}
    for engine in launch.engines:
        for name, rank in _parts(engine).items():
            command = renamed(engine.command(rank, LEADER, counter=COUNTER if rank else None), engine.name)
            found[f"{name}.sh"] = _script(launch, engine, command, rank)
            found |= command.files
    servers = [
        Server(one.pool.role, f"{one.name}-{at}", FIRST_PORT) for one in launch.engines for at in range(one.replicas)
    ]
    before = router(launch, servers)
    if before is not None:
        names = ", ".join(one.host for one in servers[:4])
        note = f"{names}{', ...' if len(servers) > 4 else ''} stand for the addresses of the replicas."
        found["router.sh"] = "#!/bin/sh\n" + commented(launch.head(note)) + "set -e\n" + before.script()
        found |= before.files
    return found


def renamed(command: Command, engine: str) -> Command:
    """Its files under names of their own: two engines may lie in one folder."""
    names = {name: f"{engine}.{name}" for name in command.files}
    flags = tuple((flag, names.get(value or "", value)) for flag, value in command.flags)
    content = {names[name]: text for name, text in command.files.items()}
    return Command(command.program, flags, command.environment, content, command.notes, command.tested)


def _parts(engine: Engine) -> dict[str, int]:
    if engine.nodes == 1 or engine.stack in ("trtllm", "mindie"):
        return {engine.name: 0}
    return {f"{engine.name}-leader": 0, f"{engine.name}-follower": 1}


def ranks(engine: Engine) -> str:
    """The ranks of the nodes that follow, in words."""
    return "1" if engine.nodes == 2 else f"1 to {engine.nodes - 1}"


def _script(launch: Launch, engine: Engine, command: Command, rank: int) -> str:
    lines, checks = [], ["set -e"]
    if engine.replicas > 1:
        lines.append(
            f"Start it {engine.replicas} times, each on devices of its own ({engine.kind.visible}) and its own port."
        )
    if engine.nodes > 1 and engine.stack == "trtllm":
        tasks = f"-n {engine.nodes * engine.devices} --ntasks-per-node {engine.devices}"
        lines.append(f"Under Slurm: srun -N {engine.nodes} {tasks} --mpi=pmix ./{engine.name}.sh")
    elif engine.nodes > 1 and engine.stack != "mindie":
        checks.append(': "${LEADER:?set it to the address of the node of the leader}"')
        checks += [f': "${{{COUNTER}:?set it to {ranks(engine)}, one per node}}"'] if rank else []
    head = commented(launch.head(*lines, *routed(launch)))
    return "#!/bin/sh\n" + head + "\n".join(checks) + "\n" + command.script()
