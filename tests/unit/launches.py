"""Hypothesis strategies for engines that a stack can be told, and deployments to launch."""

from dataclasses import replace

from hypothesis import strategies as st

from silicast.launch.settings import Limits, Settings
from silicast.launch.stacks import TRANSLATORS
from silicast.scenario import Deployment, Layout, Pool, Precision, Speculation

R1, QWEN = "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3-32B"
#: a checkpoint in 16 bit, as an engine finds it
NATIVE = Precision()
VLLM = ("vllm", "rocm-vllm", "vllm-ascend")
SGLANG = ("sglang", "sglang-ascend")

sizes = st.sampled_from((1, 2, 4, 8))
counts = st.none() | st.integers(1, 1 << 20)
shares = st.none() | st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)


@st.composite
def layouts(draw: st.DrawFn, stack: str) -> Layout:
    """Layouts that the stack can be told."""
    tp, pp, cp, copies = draw(sizes), draw(sizes), draw(st.sampled_from((1, 1, 2))), draw(sizes)
    if stack == "trtllm" and copies > 1:
        tp = cp = 1
    ranks = tp * cp * copies
    spread = (1, ranks) if stack in VLLM else [one for one in range(1, ranks + 1) if ranks % one == 0]
    return Layout(tp, pp, draw(st.sampled_from(spread)), copies, cp)


@st.composite
def limits(draw: st.DrawFn, stack: str) -> Limits:
    """Limits that the stack can be told."""
    found = Limits(
        max_sequences=draw(counts),
        chunk_tokens=draw(counts),
        block_tokens=draw(st.none() | st.sampled_from((32, 64, 128))),
        context_tokens=draw(counts),
        kv_blocks=draw(counts) if stack in VLLM else None,
        memory_share=draw(shares),
        prefix_cache=draw(st.sampled_from((None, True, False))),
    )
    if stack in SGLANG and found.prefix_cache:
        return replace(found, prefix_cache=None)  # it is kept unless it is turned off
    if stack == "mindie":
        kept = True if found.prefix_cache else None
        return replace(found, prefix_cache=kept, context_tokens=found.context_tokens or 8192)
    return found


FORMATS = {
    "vllm": ((None, None), ("fp8", "fp8"), ("fp8_block", "fp8"), ("mxfp8", "mxfp8"), ("fp4", "fp4")),
    "rocm-vllm": ((None, None), ("fp8", "fp8")),
    "sglang": ((None, None), ("fp8", "fp8"), ("mxfp8", "mxfp8"), ("fp4", "fp4")),
    "vllm-ascend": ((None, None), ("int8", "int8")),
}
CACHES = {
    "vllm": (None, "fp8", "bf16", "fp16", "fp4", "int8"), "rocm-vllm": (None, "fp8"),
    "vllm-ascend": (None, "fp8", "bf16"),
    "sglang": (None, "fp8", "bf16", "fp4", "mxfp8"), "sglang-ascend": (None, "bf16"), "trtllm": (None, "fp8", "fp4"),
}  # fmt: skip


@st.composite
def settings(draw: st.DrawFn, stack: str) -> Settings:
    """Engines that the stack can be told."""
    weights, activations = draw(st.sampled_from(FORMATS.get(stack, ((None, None),))))
    drafts = draw(st.integers(0, 7))
    roles = ("mixed",) if stack == "mindie" else ("mixed", "prefill", "decode")
    role, layout = draw(st.sampled_from(roles)), draw(layouts(stack))
    if role == "decode" and stack in VLLM[:2]:
        layout = replace(layout, cp=1, ep=1)
    two = stack in ("vllm", "rocm-vllm", "sglang", "sglang-ascend") and draw(st.booleans())
    return Settings(
        model=draw(st.sampled_from((R1, QWEN, "/models/my model"))),
        layout=layout,
        replicas=draw(st.integers(1, 4)) if stack in SGLANG else 1,
        role=role,
        weights=weights,
        activations=activations,
        kv_cache=draw(st.sampled_from(CACHES.get(stack, (None,)))),
        draft_tokens=drafts,
        draft_model="/models/draft" if drafts and stack != "mindie" and draw(st.booleans()) else None,
        microbatches=2 if two else None,
        all_to_all=stack in (*VLLM[:2], *SGLANG) and 1 < layout.ep == layout.stage_devices and draw(st.booleans()),
        limits=draw(limits(stack)),
    )


engines = st.sampled_from(list(TRANSLATORS)).flatmap(lambda stack: st.tuples(st.just(stack), settings(stack)))


def aggregated(stack: str, chip: str = "h200-sxm", replicas: int = 3, tp: int = 2) -> Deployment:
    """A dense model on replicas of one pool."""
    return Deployment(QWEN, (Pool(chip, replicas=replicas, layout=Layout(tp), stack=stack),))


def apart(stack: str, chip: str = "h200-sxm", decode: int = 16, prefill: int = 8) -> Deployment:
    """DeepSeek-R1 in two pools: attention data parallelism on the side of decode."""
    fp8 = Precision("fp8_block", "fp8_block")
    sides = (
        Pool(chip, "prefill", 2, Layout(prefill), fp8, stack=stack),
        Pool(chip, "decode", 1, Layout(1, 1, decode, decode), fp8, stack=stack, speculation=Speculation(1, 0.8)),
    )
    return Deployment(R1, sides)
