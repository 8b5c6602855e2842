"""What a planner is asked: a workload, targets, a budget, what to minimise, and how sure to be."""

from dataclasses import dataclass, fields
from typing import Literal

from silicast.errors import InputError
from silicast.scenario import Targets, Workload

Objective = Literal["cost", "packages", "devices", "power", "goodput"]

#: what each objective minimises, per output token; goodput maximises output tokens/s within the budget
OBJECTIVES: dict[Objective, str] = {
    "cost": "USD per million output tokens",
    "packages": "packages per output token/s",
    "devices": "devices per output token/s",
    "power": "provisioned watts per output token/s",
    "goodput": "output tokens/s within the budget",
}

#: devices of one replica where no budget says, unless its scale-up domain holds more, and at most: wider ones are not
#: deployed
REPLICA_DEVICES = 64
WIDEST_REPLICA = 384


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent on the whole deployment; None = no limit."""

    devices: int | None = None
    packages: int | None = None
    usd_per_hour: float | None = None
    mw: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(
                    f"A budget must be positive: {item.name} = {value:g}. Leave it out for no limit, or raise it."
                )

    @property
    def open(self) -> bool:
        """Whether nothing is limited."""
        return all(getattr(self, item.name) is None for item in fields(self))


@dataclass(frozen=True, slots=True)
class Question:
    """`confidence` is the share of the draws in which targets hold and the score is reached; 0.5 = medians.

    Without rate and concurrency the workload is as much as the budget can serve.
    """

    workload: Workload
    targets: Targets
    budget: Budget = Budget()
    objective: Objective = "packages"
    confidence: float = 0.5

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"Unknown objective '{self.objective}'; known: {', '.join(OBJECTIVES)}.")
        if not 0 < self.confidence < 1:
            raise InputError(f"--confidence is a share between 0 and 1, such as 0.9; got {self.confidence:g}.")
        if self.objective == "goodput" and self.budget.open and not self.loaded:
            raise InputError(
                "The most goodput without a budget has no end: give --devices, --usd-per-hour or --max-mw."
            )

    @property
    def loaded(self) -> bool:
        """Whether a rate or a concurrency is to be served."""
        return self.workload.rate is not None or self.workload.concurrency is not None

    def replica_devices(self, domain: int) -> int:
        """The most devices that one replica may have in a system whose scale-up domain holds `domain`."""
        return min(self.budget.devices or max(REPLICA_DEVICES, domain), WIDEST_REPLICA)

    @property
    def unit_devices(self) -> int:
        """The most devices that prefill and decode replicas which belong together may have."""
        return self.budget.devices or 2 * WIDEST_REPLICA
