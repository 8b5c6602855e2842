"""The pools of a deployment as engines that can be started: nodes, devices, settings, names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from silicast import catalog
from silicast.launch.command import Command
from silicast.launch.errors import LaunchError
from silicast.launch.flags import known
from silicast.launch.settings import FIRST_PORT, Limits, Place, Settings, settings_of
from silicast.launch.stacks import DeviceKind, Runtime, Translator, runtimes, translator
from silicast.machine import Machine
from silicast.model.config import read_model
from silicast.scenario import Deployment, Layout, Pool, Precision
from silicast.stack import Stack

#: stacks whose engines gather tokens unless an all-to-all backend is named
CHOOSE_EXCHANGE = ("vllm", "rocm-vllm", "sglang", "sglang-ascend")


@dataclass(frozen=True, slots=True)
class Engine:
    """One pool: every replica runs on `nodes` nodes with `devices` devices on each.

    `node` is the number of devices of a whole node; `sides` are the layouts of prefill and decode, if any.
    """

    name: str
    model: str
    stack: str
    pool: Pool
    settings: Settings
    native: Precision
    nodes: int
    devices: int
    node: int
    image: str
    sides: tuple[Layout, Layout] | None = None

    @property
    def replicas(self) -> int:
        """Copies to start."""
        return self.pool.replicas

    @property
    def translator(self) -> Translator:
        """Of its stack."""
        return translator(self.stack)

    @property
    def runtime(self) -> Runtime:
        """Of its stack."""
        return runtimes().stacks[self.stack]

    @property
    def kind(self) -> DeviceKind:
        """Of its devices."""
        return runtimes().devices[self.runtime.devices]

    def command(
        self, rank: int = 0, leader: str = "127.0.0.1", port: int = FIRST_PORT, counter: str | None = None
    ) -> Command:
        """What node `rank` of a replica runs."""
        prefill, decode = self.sides or (None, None)
        place = Place(self.nodes, rank, self.devices, leader, port, counter, prefill, decode)
        return self.translator.write(self.settings, place, self.native)

    def needs(self, form: str) -> None:
        """Raises LaunchError where its engine starts its ranks in a way that `form` does not."""
        if self.nodes > 1 and self.stack == "trtllm":
            raise LaunchError(
                f"TensorRT-LLM starts {self.nodes} nodes under MPI or Slurm, which {form} does not: "
                "use --format command or dynamo."
            )


@dataclass(frozen=True, slots=True)
class Launch:
    """Engines of one deployment, what was checked and what a user has to know."""

    model: str
    engines: tuple[Engine, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def disaggregated(self) -> bool:
        """Whether prefill and decode are apart."""
        return any(one.pool.role != "mixed" for one in self.engines)

    @property
    def name(self) -> str:
        """The model as a name of Kubernetes: at most 40 of a-z, 0-9 and -."""
        plain = re.sub(r"[^a-z0-9]+", "-", self.model.rsplit("/", 1)[-1].lower()).strip("-")
        return plain[:40].strip("-") or "model"

    def head(self, *more: str) -> list[str]:
        """Lines that every file begins with."""
        told = [f"Written by Silicast: {self.model}."]
        for one in self.engines:
            size = one.pool.layout.whole()
            where = f"{one.devices} devices" + (f" on each of {one.nodes} nodes" if one.nodes > 1 else "")
            told.append(
                f"{one.name}: {one.replicas} x {where}, {one.pool.chip}, {one.stack}, "
                f"tp {size.tp}, pp {size.pp}, ep {size.ep}, attention-dp {size.attention_dp}, cp {size.cp}, "
                f"{one.pool.precision}."
            )
        told += dict.fromkeys(checked(one) for one in self.engines)
        return [*told, *dict.fromkeys((*self.notes, *more))]


def checked(engine: Engine) -> str:
    """Against what the flags were checked."""
    listed = known(engine.translator.target)
    if listed.tested:
        return f"Flags checked against {listed.title} ({listed.origin}, {listed.date})."
    return f"Untested: no package of {engine.stack} was at hand; flags from {listed.origin} ({listed.version})."


def commented(lines: Sequence[str]) -> str:
    """Comment lines of a script or of YAML."""
    return "".join(f"# {' '.join(line.split())}\n" for line in lines)


def launch(
    deployment: Deployment,
    limits: Sequence[Limits] = (),
    served: str | None = None,
    draft_model: str | None = None,
    image: str | None = None,
) -> Launch:
    """The engines of a deployment; `limits` are of its pools, in order.

    `served`: path or id that the engines load in place of the model's id; `image`: in place of the stack's.
    Raises LaunchError, LayoutError, NotFoundError.
    """
    pools, architecture = deployment.pools, read_model(deployment.model)
    if not pools:
        raise LaunchError("A deployment without pools cannot be launched.")
    given = [*limits, *(Limits() for _ in pools[len(limits) :])]
    if draft_model is None and not architecture.mtp and any(pool.speculation.tokens for pool in pools):
        raise LaunchError(f"{architecture.id} has no draft layers: name a draft model with --draft-model.")
    engines = []
    for name, pool, own in zip(_names(pools), pools, given, strict=True):
        architecture.check(pool.layout)
        engines.append(_engine(name, deployment, pool, own, served or architecture.id, draft_model, image))
    notes = [note for one in engines for note in one.command().notes]
    if len({one.stack for one in engines}) > 1:
        notes.append("The sides run different stacks: whether their connectors understand each other is not known.")
    return Launch(architecture.id, tuple(engines), tuple(dict.fromkeys(notes)))


def native_precision(model: str, pool: Pool) -> Precision:
    """The formats that a pool's stack chooses unasked."""
    read, architecture = catalog.chip(pool.chip), read_model(model)
    chip = catalog.complete(read)
    stack = catalog.stack(pool.stack or chip.stack)
    system = catalog.system(pool.system or chip.system)
    machine = Machine(chip, system, stack, catalog.coefficients(read, stack.id)).running(architecture)
    return machine.native_precision(architecture)


def _engine(
    name: str, deployment: Deployment, pool: Pool, limits: Limits, served: str, draft_model: str | None,
    image: str | None,
) -> Engine:  # fmt: skip
    chip = catalog.chip(pool.chip)
    stack, node = pool.stack or chip.stack, catalog.system(pool.system or chip.system).devices_per_node
    translator(stack)
    native = native_precision(deployment.model, pool)
    nodes = _nodes(int(pool.layout.devices), node)
    draft = draft_model if pool.speculation.tokens else None
    settings = settings_of(served, pool, limits, native, draft)
    settings = replace(settings, all_to_all=_all_to_all(pool, catalog.stack(stack).on(chip)))
    by_role = {one.role: one.layout.whole() for one in deployment.pools}
    sides = (by_role["prefill"], by_role["decode"]) if {"prefill", "decode"} <= by_role.keys() else None
    here = int(pool.layout.devices) // nodes
    runtime = runtimes().stacks[stack]
    shown = image or runtime.images.get(chip.generation, runtime.image)
    return Engine(name, deployment.model, stack, pool, settings, native, nodes, here, node, shown, sides)


def _all_to_all(pool: Pool, stack: Stack) -> bool:
    """Whether a backend has to be chosen, so that tokens travel as the stack is said to send them."""
    layout = pool.layout
    travels = layout.attention_dp > 1 and 1 < layout.ep == layout.stage_devices
    return bool(travels and stack.id in CHOOSE_EXCHANGE and stack.all_to_all(layout.ep))


def _names(pools: Sequence[Pool]) -> list[str]:
    """`prefill`, `decode`; with a number where several pools have one role."""
    roles = ["serve" if pool.role == "mixed" else pool.role for pool in pools]
    return [role if roles.count(role) == 1 else f"{role}-{roles[:at].count(role)}" for at, role in enumerate(roles)]


def _nodes(devices: int, node: int) -> int:
    """Nodes of one replica, alike."""
    fewest = -(-devices // node)
    return next(count for count in range(fewest, devices + 1) if devices % count == 0)
