"""Ten requests, worked out by hand from the source of each engine, step by step.

Steps take one second. Requests 0 to 4 come at 0, 5 at 2.5, 6 and 7 at 4.5, 8 and 9 at 6.5 seconds. A step may carry 8
prompt tokens (vLLM and Sarathi: 8 tokens), 4 requests run together, a block has 4 tokens (SGLang: pages of one token).
`0+5` = 5 prompt tokens of request 0, `| 2 4` = requests 2 and 4 decode, `!3` = request 3 loses its place.
"""

import pytest

from silicast.serving.requests import requests
from silicast.serving.simulate import Limits
from tests.serving.schedules import schedule

ARRIVAL = [0, 0, 0, 0, 0, 2.5, 4.5, 4.5, 6.5, 6.5]
PROMPT = [5, 6, 3, 10, 4, 2, 7, 8, 1, 5]
OUTPUT = [3, 2, 4, 2, 3, 5, 1, 2, 3, 2]

# vLLM 0.11.0, vllm/v1/core/sched/scheduler.py: running requests first and in order (208-300), each with what the token
# budget leaves (220); without a block the last one is preempted, computes all again (271-281), and nobody is admitted
# (335); waiting ones get the rest of the budget (437), the first without blocks ends it (481). A request that was given
# its prompt's last token has a token when the step ends.
VLLM_8 = """
0+5 1+3
1+3 2+3 3+1 | 0
3+5 | 0 1 2
3+4 4+3 | 2
4+1 5+2 | 2 3
6+6 | 4 5
6+1 7+5 | 4 5
7+3 8+1 9+3 | 5
9+2 | 5 7 8
| 8 9
"""
# With 6 blocks: in step 3 request 3 needs a second block, there is none and it is itself the last; in step 10 request 7
# begins its third block and takes that of request 9.
VLLM_6 = """
0+5 1+3
1+3 2+3 3+1 | 0
| 0 1 2 !3
3+7 | 2
3+3 4+4 | 2
5+2 | 3 4
6+6 | 4 5
6+1 7+6 | 5
7+2 8+1 9+4 | 5
| 5 7 8 !9
9+5 | 8
| 9
"""
# SGLang 0.5.3, sglang/srt/managers: a batch of prompts goes before decoding (scheduler.py:1777-1796), its last prompt
# is cut to the chunk (schedule_policy.py:609-637) and goes on first (scheduler.py:1858-1860); `batch_is_full` is set
# when no place is left (1877) and cleared when the decode batch is filtered (2030), which is after the next look at the
# queue (1777 comes before 1793): who ends blocks his place for one more step. A prompt that ends in its own batch
# clears it at once (1765).
SGLANG = """
0+5 1+3
1+3 2+3 3+2
3+8
| 0 1 2 3
| 0 2
4+4 5+2
| 2 4 5
6+7
7+8
| 4 5 7
8+1
| 5 8
9+5
| 5 8 9
"""
# TensorRT-LLM at 02a10fe, cpp/tensorrt_llm/batch_manager. GuaranteedNoEvictScheduler::impl (capacityScheduler.cpp): who
# generates goes on; others in order while blocks for all of prompt and output are left, the first without ends it.
# MicroBatchScheduler (microBatchScheduler.cpp, FIRST_COME_FIRST_SERVED): the generating ones take their tokens first;
# if not all prompts fit they are cut to whole blocks in their order, so that in step 1 request 1 gets none of 3 tokens
# and request 2 passes it.
NO_EVICT = """
0+5 2+3
1+6 | 0 2
| 0 1 2
3+4 | 2
3+6 5+2
4+4 | 3 5
6+4 | 4 5
6+3 | 4 5
7+4 8+1 | 5
7+4 | 8
9+5 | 7 8
| 9
"""
# MaxUtilizationScheduler with 4 blocks: a prompt needs its own blocks, a generating request those of its next token. In
# step 6 request 2 needs one, and request 3, the last that has started, is paused; it comes back with 11 tokens.
MAX_UTILIZATION = """
0+5
1+6 | 0
| 0 1
2+3 3+4
3+6 | 2
| 2 !3
| 2
3+8
3+3 4+4
5+2 | 4
| 4 5
6+7 | 5
7+4 | 5
7+4 | 5
8+1 | 7
9+5 | 8
| 8 9
"""
# StaticBatchScheduler (impl<true>): the same as no-evict, but nobody joins while anybody generates.
STATIC = """
0+5 2+3
| 0 2
| 0 2
| 2
1+6
| 1
3+8
3+2 4+4 5+2
| 3 4 5
| 4 5
| 5
| 5
6+7 8+1
| 8
| 8
7+8
| 7
9+5
| 9
"""
# Sarathi-Serve at 96f9911, sarathi/core/scheduler/sarathi_scheduler.py:98-231: whoever decodes sees a free block before
# its turn or the last of those behind it is preempted (146-156), even when its token fits; then prompts that have begun
# (172-196), then new ones with blocks for their whole prompt (213-231). Request 3 in step 3 and 9 in step 9 lose their
# blocks and get them back in the same step.
SARATHI = """
0+5 1+3
1+3 2+3 3+1 | 0
3+5 | 0 1 2 !3
3+5 4+2 | 2
4+2 5+2 | 2 3
6+6 | 4 5
6+1 7+5 | 4 5
7+3 8+1 9+3 | 5
9+5 | 5 7 8 !9
| 8 9
"""


@pytest.mark.parametrize(
    ("policy", "blocks", "block", "steps"),
    [
        ("vllm", 8, 4, VLLM_8),
        ("vllm", 6, 4, VLLM_6),
        ("sglang", 40, 1, SGLANG),
        ("tensorrt-llm", 8, 4, NO_EVICT),
        ("tensorrt-llm-max-utilization", 4, 4, MAX_UTILIZATION),
        ("static", 8, 4, STATIC),
        ("sarathi", 8, 4, SARATHI),
    ],
)
def test_a_policy_schedules_as_its_engine_does(policy: str, blocks: int, block: int, steps: str) -> None:
    found = schedule(policy, requests(ARRIVAL, PROMPT, OUTPUT), Limits(8, 4, blocks, block))
    assert found == steps.strip().splitlines()
