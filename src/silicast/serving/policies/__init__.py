"""Scheduling policies, one file each: a function of the replica that decides its next step."""

from dataclasses import dataclass

from silicast.errors import not_found
from silicast.serving.policies import vllm as _vllm
from silicast.serving.policies.vllm import vllm
from silicast.serving.state import Decide, Replica

#: the files of the policies: what compiled code is made from
MODULES = (_vllm,)
#: a function of the user
OWN = -1


@dataclass(frozen=True, slots=True)
class Policy:
    """A decision with its number in compiled code (OWN = plain Python only)."""

    decide: Decide
    number: int = OWN


POLICIES = {"vllm": Policy(vllm, 0)}


def policy_of(given: str | Decide) -> Policy:
    """A policy by its name, or the user's own function. Raises NotFoundError."""
    if callable(given):
        return Policy(given)
    if given not in POLICIES:
        raise not_found("Policy", given, POLICIES, f"Choose one of: {', '.join(POLICIES)}, or give a function.")
    return POLICIES[given]


def decide(replica: Replica) -> None:
    """One decision of the replica's policy. Compiled, `built_in` stands for it."""
    replica.decide(replica)


def built_in(replica: Replica) -> None:
    """One decision of a policy that comes with Silicast."""
    vllm(replica)
