"""Scheduling policies, one file each: a function of the replica that decides its next step."""

from dataclasses import dataclass

from silicast.errors import not_found
from silicast.serving.policies import sarathi as _sarathi
from silicast.serving.policies import sglang as _sglang
from silicast.serving.policies import tensorrt_llm as _tensorrt_llm
from silicast.serving.policies import vllm as _vllm
from silicast.serving.policies.sarathi import sarathi
from silicast.serving.policies.sglang import sglang
from silicast.serving.policies.tensorrt_llm import max_utilization, no_evict, static_batch
from silicast.serving.policies.vllm import vllm
from silicast.serving.state import Decide, Replica

#: the files of the policies: what compiled code is made from
MODULES = (_vllm, _sglang, _tensorrt_llm, _sarathi)
#: the policy of the engine that most people run
DEFAULT = "vllm"
#: sarathi/core/block_space_manager/base_block_space_manager.py:49: the watermark
WATERMARK = 0.01
#: a function of the user
OWN = -1


@dataclass(frozen=True, slots=True)
class Policy:
    """A decision with its number in compiled code (OWN = plain Python only).

    spare: share of the blocks that stay free when a request is admitted; headroom: tokens that a request must leave in
    an empty cache; guarantees: whoever is admitted has all the blocks he will need. What can never fit is rejected when
    it comes. turns: the engine's attention ranks get requests in turn, and not the one with fewest.
    """

    decide: Decide
    number: int = OWN
    spare: float = 0.0
    headroom: int = 0
    guarantees: bool = False
    turns: bool = False

    def spared(self, blocks: int) -> int:
        """Blocks that stay free."""
        return int(self.spare * blocks)

    def largest(self, blocks: int, block: int) -> int:
        """Tokens that the cache can hold for one request."""
        return (blocks - max(self.spared(blocks), self.spare > 0)) * block - self.headroom


POLICIES = {
    "vllm": Policy(vllm, 0),
    "sglang": Policy(sglang, 1, turns=True),
    "tensorrt-llm": Policy(no_evict, 2, headroom=1, guarantees=True),
    "tensorrt-llm-max-utilization": Policy(max_utilization, 3),
    "static": Policy(static_batch, 4, headroom=1, guarantees=True),
    "sarathi": Policy(sarathi, 5, spare=WATERMARK),
}


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
    """One decision of a policy that comes with Silicast, by its number in POLICIES."""
    number = replica.state.policy
    if number == 0:
        vllm(replica)
    elif number == 1:
        sglang(replica)
    elif number == 2:
        no_evict(replica)
    elif number == 3:
        max_utilization(replica)
    elif number == 4:
        static_batch(replica)
    else:
        sarathi(replica)
