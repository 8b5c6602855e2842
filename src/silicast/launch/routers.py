"""What stands before the servers of a disaggregated deployment."""

from collections.abc import Sequence
from dataclasses import dataclass

from silicast.launch import yaml
from silicast.launch.command import Command, Words
from silicast.launch.engines import Launch
from silicast.launch.flags import known
from silicast.launch.settings import FIRST_PORT
from silicast.launch.sglang import BOOTSTRAP_PORT

ROUTER = "router.yaml"
PORT = 8080
NONE = (
    "The two sides need a router that hands a request on from prefill to decode, which {stack} does not bring: "
    "use --format llm-d or dynamo, or a router of your own."
)


@dataclass(frozen=True, slots=True)
class Server:
    """One replica: where it listens."""

    role: str
    host: str
    port: int

    @property
    def url(self) -> str:
        """`http://host:port`."""
        return f"http://{self.host}:{self.port}"

    @property
    def bootstrap(self) -> int:
        """Where the other side asks for its cache."""
        return BOOTSTRAP_PORT + self.port - FIRST_PORT


def router(launch: Launch, servers: Sequence[Server]) -> Command | None:
    """The router of a disaggregated deployment where its stack has one."""
    stacks = {one.stack for one in launch.engines}
    if not launch.disaggregated or len(stacks) > 1:
        return None
    stack = stacks.pop()
    if stack.startswith("sglang"):
        return _sglang(servers)
    return _trtllm(servers) if stack == "trtllm" else None


def routed(launch: Launch) -> list[str]:
    """Notes about the router: which release its flags are of, or that one is needed and not written."""
    if any(one.stack.startswith("sglang") for one in launch.engines) and router(launch, ()) is not None:
        listed = known("sglang-router")
        return [f"The router needs {listed.package} {listed.version} in its image; its flags were checked against it."]
    return missing(launch)


def missing(launch: Launch) -> list[str]:
    """A note where a router is needed and not written."""
    if not launch.disaggregated or router(launch, ()) is not None:
        return []
    return [NONE.format(stack=" with ".join(dict.fromkeys(one.stack for one in launch.engines)))]


def _sglang(servers: Sequence[Server]) -> Command:
    flags: Words = [("--pd-disaggregation", None)]
    for one in servers:
        flags.append((f"--{one.role}", one.url))
        flags += [(f"{one.bootstrap}", None)] if one.role == "prefill" else []
    flags += [("--host", "0.0.0.0"), ("--port", f"{PORT}")]
    return Command(("python3", "-m", "sglang_router.launch_router"), tuple(flags), tested=known("sglang-router").tested)


def _trtllm(servers: Sequence[Server]) -> Command:
    sides = {"context_servers": "prefill", "generation_servers": "decode"}
    content: dict[str, object] = {"hostname": "0.0.0.0", "port": PORT, "backend": "pytorch"}
    for side, role in sides.items():
        urls = [f"{one.host}:{one.port}" for one in servers if one.role == role]
        content[side] = {"num_instances": len(urls), "urls": urls}
    program = ("trtllm-serve", "disaggregated", "-c", ROUTER)
    return Command(program, files={ROUTER: yaml.dump(content)}, tested=False)
