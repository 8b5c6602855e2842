"""What a serving engine is told: the noun between a pool of a deployment and the flags of one stack."""

from dataclasses import dataclass, field, replace

from silicast.errors import InputError
from silicast.scenario import Layout, Pool, Precision, Role, Speculation

#: HTTP port of the first engine of a node
FIRST_PORT = 8000


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one engine; None = what the engine sets itself.

    max_sequences   sequences that one attention rank decodes together
    chunk_tokens    tokens that one step of one attention rank may carry
    block_tokens    tokens per block of the paged cache
    context_tokens  longest prompt and answer together
    kv_blocks       blocks of the paged cache on one device
    memory_share    share of the device, of what the stack says (`Stack.memory_basis`), 0 to 1
    prefix_cache    whether common prefixes are kept
    """

    max_sequences: int | None = None
    chunk_tokens: int | None = None
    block_tokens: int | None = None
    context_tokens: int | None = None
    kv_blocks: int | None = None
    memory_share: float | None = None
    prefix_cache: bool | None = None

    def __post_init__(self) -> None:
        for name in ("max_sequences", "chunk_tokens", "block_tokens", "context_tokens", "kv_blocks"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        if self.memory_share is not None and not 0 < self.memory_share <= 1:
            raise InputError(f"memory_share is a share between 0 and 1, got {self.memory_share:g}.")


@dataclass(frozen=True, slots=True)
class Settings:
    """One engine as its command describes it. Formats are None where the command leaves them to the checkpoint.

    `replicas` are independent copies that one command starts; the others are started by repeating it. `all_to_all`:
    tokens reach their experts by an all-to-all backend that has to be chosen, instead of being gathered.
    """

    model: str
    layout: Layout = field(default_factory=Layout)
    replicas: int = 1
    role: Role = "mixed"
    weights: str | None = None
    activations: str | None = None
    kv_cache: str | None = None
    draft_tokens: int = 0
    draft_model: str | None = None
    microbatches: int | None = None
    all_to_all: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Reading:
    """A command that was read: what it says, and which of its words have no effect on a forecast (`ignored`), or one
    that the forecast does not follow (`unmodelled`). `follows`: it starts another node of an engine, not an engine."""

    settings: Settings
    ignored: tuple[str, ...] = ()
    unmodelled: tuple[str, ...] = ()
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where one command of an engine runs: node `rank` of `nodes`, `devices` of each node; `leader` is node 0.

    `counter` is ashell variable that holds the rank where one text is for all followers. `prefill` and
    `decode` are the layouts of both sides where a deployment is disaggregated. `port` serves HTTP.
    """

    nodes: int = 1
    rank: int = 0
    devices: int = 8
    leader: str = "127.0.0.1"
    port: int = FIRST_PORT
    counter: str | None = None
    prefill: Layout | None = None
    decode: Layout | None = None

    @property
    def follows(self) -> bool:
        """Whether this node only works and serves nothing."""
        return self.rank > 0

    def apart(self, first: int, step: int = 1) -> int:
        """A port of its own for every engine of a node, which `port` tells apart."""
        return first + step * (self.port - FIRST_PORT)

    def counted(self, times: int = 1) -> str:
        """The rank times a number, for a shell."""
        if self.counter is None:
            return f"{self.rank * times}"
        return f"${self.counter}" if times == 1 else f"$(({self.counter} * {times}))"


def settings_of(model: str, pool: Pool, limits: Limits, native: Precision, draft_model: str | None = None) -> Settings:
    """A pool as its engine is told: formats only where they are not those that the stack chooses unasked."""
    told = pool.precision
    same = (told.weights, told.activations) == (native.weights, native.activations)
    return Settings(
        model=model,
        layout=pool.layout.whole(),
        role=pool.role,
        weights=None if same else told.weights,
        activations=None if same else told.activations,
        kv_cache=None if told.kv_cache == native.kv_cache else told.kv_cache,
        draft_tokens=int(pool.speculation.tokens),
        draft_model=draft_model,
        microbatches=pool.microbatches,
        limits=limits,
    )


def pool_of(read: Settings, chip: str, stack: str, native: Precision, acceptance: float = 0.0) -> Pool:
    """The pool that settings describe, on a chip under a stack; `native` holds the formats chosen unasked."""
    weights = read.weights or native.weights
    activations = read.activations or (native.activations if read.weights is None else weights)
    return Pool(
        chip=chip,
        role=read.role,
        replicas=read.replicas,
        layout=read.layout,
        precision=Precision(weights, activations, read.kv_cache or native.kv_cache),
        stack=stack,
        speculation=Speculation(read.draft_tokens, acceptance if read.draft_tokens else 0.0),
        microbatches=read.microbatches,
    )


def dense(read: Settings) -> Settings:
    """Settings of a model without experts: copies of attention share nothing and are replicas."""
    layout = read.layout.whole()
    copies = int(layout.attention_dp)
    own = replace(layout, attention_dp=1, ep=1)
    return replace(read, layout=own, replicas=read.replicas * copies)


def stored(read: Settings) -> Settings:
    """Settings of a checkpoint that is quantised already: what a command says of its weights is how it is stored."""
    return replace(read, weights=None, activations=None)
