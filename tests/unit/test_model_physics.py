"""Operators, weights and caches of the blocks: identities that hold for every model, and numbers known by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from silicast import catalog
from silicast.errors import LayoutError
from silicast.model import Model, read_model
from silicast.model.blocks import (
    CompressedAttention,
    LinearAttention,
    MixtureOfExperts,
    delta_rule_flops,
    state_space_flops,
)
from silicast.model.config import model_ids
from silicast.model.ops import Attention, Collective, Gemm, GroupedGemm, Op, Scan, attended_pairs, chunked_pairs
from silicast.scenario import Layout, Load
from silicast.stack import Stack

STACK = catalog.stack(catalog.ids("stacks")[0])
MIXED = Load(2, 1000, 500, 16, 4000, 2)


def stack(**changes: Any) -> Stack:
    plain = {"shared_cut": "tensor", "dense_cut": "tensor", "head_cut": "tensor", "exchange": "all_to_all"}
    return STACK.model_copy(update={**plain, "exchange_wide": None, "fused": (), **changes})


def total(ops: list[Op], kind: type[Op] | tuple[type[Op], ...] = (Gemm, GroupedGemm, Attention, Scan)) -> Any:
    return sum(np.asarray(op.flops * op.count, dtype=float) for op in ops if isinstance(op, kind))


def named(ops: list[Op], name: str) -> list[Op]:
    return [op for op in ops if op.name == name and np.any(op.count)]


def one_of_each_type() -> list[str]:
    found: dict[str, str] = {}
    for identity in model_ids():
        found.setdefault(read_model(identity).model_type, identity)
    return sorted(found.values())


@pytest.mark.parametrize("identity", model_ids())
def test_one_device_holds_all_parameters(identity: str) -> None:
    model = read_model(identity)
    for cut in ("tensor", "replicated"):
        held = model.weights(Layout(), stack(shared_cut=cut, dense_cut=cut, head_cut=cut))
        assert float(sum(held.values())) == model.parameters + model.vision_parameters


@pytest.mark.parametrize("identity", one_of_each_type())
def test_arrays_give_what_scalars_give(identity: str) -> None:
    model = read_model(identity)
    sizes = [(2, 1, 1, 1), (1, 1, 2, 1), (1, 2, 1, 1), (1, 1, 1, 2)]
    scalars = [Layout(tp=tp, pp=pp, attention_dp=dp, cp=cp) for tp, pp, dp, cp in sizes]
    tp, pp, dp, cp = np.array(sizes).T
    arrays = Layout(tp=tp, pp=pp, attention_dp=dp, cp=cp)
    together = total(model.ops(MIXED, arrays, STACK))
    assert together == pytest.approx([float(total(model.ops(MIXED, layout, STACK))) for layout in scalars])
    held = model.weights(arrays, STACK)
    one = [float(sum(model.weights(layout, STACK).values())) for layout in scalars]
    assert np.broadcast_to(sum(held.values()), len(sizes)) == pytest.approx(one)
    cached = np.broadcast_to(model.cache_bytes(arrays, 5000, 2.0), len(sizes))
    assert cached == pytest.approx([float(model.cache_bytes(layout, 5000, 2.0)) for layout in scalars])


@pytest.mark.parametrize("identity", [name for name in one_of_each_type() if read_model(name).experts])
def test_the_work_of_the_experts_is_divided_over_all_ranks(identity: str) -> None:
    model = read_model(identity)
    alone = total(model.ops(MIXED, Layout(), STACK), GroupedGemm)
    for layout in (Layout(tp=4), Layout(tp=4, ep=4), Layout(attention_dp=4, ep=4), Layout(tp=2, attention_dp=2, ep=2)):
        groups = np.asarray(layout.attention_dp)  # each group brings the load once more
        shared = total(model.ops(MIXED, layout, STACK), GroupedGemm) * np.asarray(layout.stage_devices) / groups
        assert float(shared) == pytest.approx(float(alone))


@pytest.mark.parametrize("identity", ["meta-llama/Llama-3.1-70B-Instruct", "Qwen/Qwen3-8B", "bigscience/bloom"])
def test_tensor_parallel_ranks_divide_a_dense_model(identity: str) -> None:
    model = read_model(identity)
    alone = total(model.ops(MIXED, Layout(), stack()))
    assert float(8 * total(model.ops(MIXED, Layout(tp=8), stack()))) == pytest.approx(float(alone))
    held = sum(model.weights(Layout(tp=8), stack()).values())
    assert float(8 * held) == pytest.approx(model.parameters, rel=1e-3)


def test_keys_are_replicated_beyond_the_kv_heads() -> None:
    """Qwen3-235B has 4 KV heads of 128 on 94 layers; a latent is on every rank in full."""
    model = read_model("Qwen/Qwen3-235B-A22B")
    per_head = 94 * 2 * 128
    values = [float(model.cache_values(Layout(tp=tp), 1)) for tp in (1, 2, 4, 8, 64)]
    assert values == [4 * per_head, 2 * per_head, per_head, per_head, per_head]
    r1 = read_model("deepseek-ai/DeepSeek-R1")
    assert [float(r1.cache_values(Layout(tp=tp), 1)) for tp in (1, 8, 128)] == [61 * 576.0] * 3


@pytest.mark.parametrize(
    ("identity", "bytes_per_token"),
    [
        ("deepseek-ai/DeepSeek-R1", 70_272),
        ("meta-llama/Llama-3.1-70B-Instruct", 327_680),
        ("meta-llama/Meta-Llama-3.1-405B", 516_096),
        ("Qwen/Qwen3-32B", 262_144),
        ("meta-llama/Llama-2-7b-hf", 524_288),
    ],
)
def test_cache_of_one_token_in_16_bit(identity: str, bytes_per_token: int) -> None:
    """2 x layers x KV heads x head size x 2 B; for R1 layers x 576 x 2 B (DeepSeek-V3 report: 70 KB)."""
    assert float(read_model(identity).cache_bytes(Layout(), 1, 2.0)) == bytes_per_token


def test_index_keys_are_eight_bit_whatever_the_cache() -> None:
    """128 FP8 values and one FP32 scale per token and indexer; GLM-5.2 selects in 21 of 78 layers."""
    assert float(read_model("deepseek-ai/DeepSeek-V3.2").cache_bytes(Layout(), 1, 2.0)) == 61 * (576 * 2 + 132)
    assert float(read_model("zai-org/GLM-5.2").cache_bytes(Layout(), 1, 1.0)) == 78 * 576 + 21 * 132


def test_windows_and_chunks_bound_the_cache() -> None:
    oss = read_model("openai/gpt-oss-120b")
    per_layer = 2 * 8 * 64
    assert float(oss.cache_values(Layout(), 100_000)) == 18 * per_layer * (128 + 100_000)
    scout = read_model("meta-llama/Llama-4-Scout-17B-16E-Instruct")
    assert float(scout.cache_values(Layout(), 100_000)) == 2 * 8 * 128 * (36 * 8192 + 12 * 100_000)


def test_a_recurrent_state_does_not_grow() -> None:
    """Qwen3-Next: 36 layers of 32 heads x 128 x 128, and the last 3 inputs of 8192 convolution channels."""
    model = read_model("Qwen/Qwen3-Next-80B-A3B-Instruct")
    assert float(model.state_values(Layout())) == 36 * (32 * 128 * 128 + 3 * 8192)
    assert float(model.state_values(Layout(tp=4))) == 9 * (32 * 128 * 128 + 3 * 8192)
    assert float(model.cache_values(Layout(), 1)) == 12 * 2 * 2 * 256


def test_absorbed_and_expanded_latent_attention() -> None:
    """R1 in decode: 128 heads on a latent of 576 and 512 values; in prefill on 192 and 128 after an expansion."""
    model = read_model("deepseek-ai/DeepSeek-R1")
    (decode,) = named(model.ops(Load(decode_sequences=1, decode_context=4095), Layout(), STACK), "attention_decode")
    assert decode.flops == 2 * 4096 * 128 * (576 + 512)
    ops = model.ops(Load(1, 1024, 3072), Layout(tp=8), STACK)
    (prefill,) = named(ops, "attention_prefill")
    assert prefill.flops == 2 * (1024 * 3072 + 1024 * 1025 / 2) * 16 * (192 + 128)
    (expansion,) = named(ops, "kv_up")
    assert expansion.flops == 2 * 4096 * 512 * 16 * (128 + 128)
    assert not named(ops, "q_absorb")


def test_absorption_costs_what_the_expansion_of_one_token_costs() -> None:
    """The absorbed products have the weights of kv_up: for one token the same FLOPs."""
    model = read_model("deepseek-ai/DeepSeek-R1")
    decode = model.ops(Load(decode_sequences=5, decode_context=99), Layout(), STACK)
    absorbed = total(named(decode, "q_absorb") + named(decode, "v_up"))
    expanded = total(named(model.ops(Load(5, 1, 0), Layout(), STACK), "kv_up"))
    assert float(absorbed) == float(expanded)


def test_sparse_attention_reads_its_selection_and_scores_everything() -> None:
    model = read_model("deepseek-ai/DeepSeek-V3.2")
    ops = model.ops(Load(decode_sequences=1, decode_context=99_999), Layout(tp=8), STACK)
    (core,), (index,) = named(ops, "attention_decode"), named(ops, "index_decode")
    assert isinstance(core, Attention)
    assert isinstance(index, Attention)
    assert (core.pairs, core.keys) == (2048, 2048)
    # every rank scores with all heads of the indexer
    assert (index.pairs, index.keys, index.heads) == (100_000, 100_000, 64)
    assert index.flops == 2 * 100_000 * 64 * 128


def test_a_layer_that_reuses_a_selection_does_not_score() -> None:
    ops = read_model("zai-org/GLM-5.2").ops(Load(decode_sequences=1, decode_context=5000), Layout(), STACK)
    assert sum(op.count for op in named(ops, "index_decode")) == 21
    assert sum(op.count for op in named(ops, "attention_decode")) == 78


def test_compressed_keys() -> None:
    """DeepSeek-V4: the last 128 tokens, and one key per 4 tokens (the best 512) or per 128 tokens (all)."""
    model = read_model("deepseek-ai/DeepSeek-V4-Flash")
    ops = model.ops(Load(decode_sequences=1, decode_context=8191), Layout(), STACK)
    pairs = [op.pairs for op in named(ops, "compressed_attention_decode") if isinstance(op, Attention)]
    assert sorted(pairs) == [64, 512]
    assert {op.pairs for op in named(ops, "attention_decode") if isinstance(op, Attention)} == {128}
    (index,) = named(ops, "index_decode")
    assert isinstance(index, Attention)
    assert index.pairs == 2048
    strides = {block.stride: count for block, count in model.blocks if isinstance(block, CompressedAttention)}
    assert strides == {0: 2, 4: 21, 128: 20}


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 4000))
def test_pairs_of_a_window_are_the_sum_over_queries(query: int, context: int, limit: int) -> None:
    expected = sum(min(context + i, limit) for i in range(1, query + 1))
    assert float(attended_pairs(query, context, float(limit))) == expected


@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 64))
def test_pairs_within_chunks_are_exact_at_whole_chunks(before: int, more: int, chunk: int) -> None:
    def position(token: int) -> int:
        return token % chunk + 1

    context, query = before * chunk, more * chunk
    expected = sum(position(token) for token in range(context, context + query))
    assert float(chunked_pairs(query, context, float(chunk))) == expected
    within = min(chunk, 17)
    assert float(chunked_pairs(within, 0, float(chunk))) == within * (within + 1) / 2


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(one_of_each_type()), st.integers(1, 4000), st.integers(1, 4000))
def test_a_prompt_in_two_chunks_costs_what_it_costs_at_once(identity: str, first: int, second: int) -> None:
    """Attention scores and linears of the layers; an expanded latent and the logits come on top."""
    model = read_model(identity)

    def work(load: Load) -> float:
        ops = model.ops(load, Layout(), STACK)
        return float(total([op for op in ops if op.part != "head" and op.name != "kv_up"]))

    whole = work(Load(1, first + second, 0))
    assert work(Load(1, first, 0)) + work(Load(1, second, first)) == pytest.approx(whole, rel=1e-9)


def test_chunked_forms_of_the_recurrences() -> None:
    """Per state value and token: at chunks of one token's size a few products, far below a token-by-token attention."""
    assert delta_rule_flops(128, 128).recurrent == 7
    assert delta_rule_flops(128, 128, chunk=64).chunked == 6 + 64 * 10 / 128
    assert state_space_flops(128, 64, 128, heads_per_group=8).chunked == 4 + 128 * (2 / 128 + 2 / 512)


def test_states_are_read_by_each_phase() -> None:
    model = read_model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    (block,) = [block for block, _ in model.blocks if isinstance(block, LinearAttention)]
    scans = {op.name: op for op in model.ops(MIXED, Layout(tp=2), STACK) if isinstance(op, Scan)}
    assert scans["scan_prefill"].state_values == 2 * 32 * 64 * 128
    assert scans["scan_decode"].state_values == 16 * 32 * 64 * 128
    assert scans["scan_decode"].flops == 5 * 32 * 32 * 64 * 128
    assert scans["scan_prefill"].flops == block.flops.chunked * 2000 * 32 * 64 * 128


def test_collectives_of_a_dense_layer() -> None:
    """Two all-reduces of the tokens per layer (Megatron, arXiv:1909.08053), one after the embedding."""
    model = read_model("meta-llama/Llama-3.1-70B-Instruct")
    load = Load(decode_sequences=10, decode_context=100)
    found = {op.name: op for op in model.ops(load, Layout(tp=8), stack()) if isinstance(op, Collective) and op.count}
    counts = {name: op.count for name, op in found.items()}
    assert counts == {"embedding_all_reduce": 1, "logits_gather": 1, "attention_all_reduce": 80, "ffn_all_reduce": 80}
    assert found["ffn_all_reduce"].values == 10 * 8192
    alone = [op for op in model.ops(load, Layout(), stack()) if isinstance(op, Collective) and op.count]
    assert alone == []


def test_falcon_reduces_attention_and_network_at_once() -> None:
    ops = read_model("tiiuae/falcon-180B").ops(Load(decode_sequences=1), Layout(tp=8), stack())
    assert not named(ops, "ffn_all_reduce")
    assert named(ops, "attention_all_reduce")[0].count == 80


def test_tokens_travel_between_attention_groups() -> None:
    """R1 on 32 ranks with their own sequences: all-to-all there and back per expert layer, no all-reduce."""
    model = read_model("deepseek-ai/DeepSeek-R1")
    layout = Layout(attention_dp=32, ep=32)
    ops = model.ops(Load(decode_sequences=96, decode_context=4000), layout, stack())
    found = {op.name: op for op in ops if isinstance(op, Collective) and op.count}
    assert set(found) == {"dispatch", "combine"}
    dispatch = found["dispatch"]
    assert (dispatch.count, dispatch.values, dispatch.fan, dispatch.group) == (58, 96 * 7168, 8, 32)
    assert (dispatch.quantised, found["combine"].quantised) == (True, False)
    assert dispatch.relayed == 0
    assert named(model.ops(Load(1, 4096), layout, stack()), "dispatch")[0].relayed == 1  # type: ignore[union-attr]


def test_without_an_all_to_all_all_tokens_are_gathered() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    ops = model.ops(Load(decode_sequences=96), Layout(attention_dp=32, ep=32), stack(exchange="all_gather"))
    (gather,) = named(ops, "token_gather")
    assert isinstance(gather, Collective)
    assert (gather.values, gather.group, gather.count) == (96 * 32 * 7168, 32, 58)
    assert not named(ops, "dispatch")


def test_within_one_group_partial_sums_are_reduced() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    ops = model.ops(Load(decode_sequences=96), Layout(tp=8, ep=8), stack())
    counts = {op.name: op.count for op in ops if isinstance(op, Collective) and op.count}
    assert counts == {
        "embedding_all_reduce": 1, "logits_gather": 1, "attention_all_reduce": 61, "ffn_all_reduce": 3,
        "experts_all_reduce": 58,
    }  # fmt: skip


def test_a_shared_expert_held_whole_takes_the_tokens_its_rank_owns() -> None:
    """Same work per rank; between groups a rank holds all of it and no partial sums are scattered."""
    model = read_model("deepseek-ai/DeepSeek-R1")
    load, layout = Load(decode_sequences=64), Layout(tp=4, attention_dp=2, ep=8)
    cut, whole = (model.ops(load, layout, stack(shared_cut=way)) for way in ("tensor", "replicated"))
    assert float(total(cut)) == pytest.approx(float(total(whole)))
    assert named(cut, "shared_scatter")
    assert not named(whole, "shared_scatter")
    held = [float(model.weights(layout, stack(shared_cut=way))["shared"]) for way in ("tensor", "replicated")]
    assert held[1] == 4 * held[0]
    within = Layout(tp=8, ep=8)
    assert model.weights(within, stack(shared_cut="replicated")) == model.weights(within, stack())


def test_context_parallel_ranks_divide_queries_and_keys() -> None:
    model = read_model("meta-llama/Llama-3.1-8B-Instruct")
    whole, part = (model.ops(MIXED, Layout(cp=cp), stack()) for cp in (1, 4))
    for name in ("attention_prefill", "attention_decode"):
        assert float(4 * total(named(part, name))) == pytest.approx(float(total(named(whole, name))))
    (gather,), (sums,) = named(part, "kv_gather"), named(part, "partial_sums")
    assert isinstance(gather, Collective)
    assert isinstance(sums, Collective)
    assert gather.values == 2 * (1000 + 500) * 2 * 8 * 128
    assert sums.values == 16 * 2 * 32 * 128
    assert float(4 * model.cache_values(Layout(cp=4), 1000)) == float(model.cache_values(Layout(), 1000))


def test_the_fullest_stage_counts() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    assert float(model.cache_values(Layout(pp=16), 1)) == 4 * 576
    one, staged = (model.weights(Layout(pp=pp), stack()) for pp in (1, 16))
    assert float(staged["experts"]) == pytest.approx(float(one["experts"]) * 4 / 61)
    assert model.ops(MIXED, Layout(pp=4), stack())[2].count == 3


def test_draft_layers_run_once_per_draft() -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    two = model.draft_ops(Load(decode_sequences=8, decode_context=100, query_tokens=3), Layout(), stack())
    one = model.draft_ops(Load(decode_sequences=8, decode_context=100, query_tokens=2), Layout(), stack())
    none = model.draft_ops(Load(decode_sequences=8, decode_context=100, query_tokens=1), Layout(), stack())
    assert (float(total(none)), float(total(two))) == (0, 2 * float(total(one)))
    (join,) = named(one, "join_inputs")
    assert join.flops == 2 * 8 * 2 * 7168 * 7168
    assert {op.part for op in one} == {"draft"}


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        (Layout(tp=3), "tp = 3 does not divide the 128 heads of deepseek-ai/DeepSeek-R1. Use one of 1, 2, 4"),
        (Layout(tp=256), "tp = 256 does not divide the 128 heads"),
        (Layout(pp=62), "pp = 62 exceeds the 61 layers"),
        (Layout(attention_dp=512, ep=512), "ep = 512 leaves ranks without one of the 256 experts"),
        (Layout(attention_dp=3), "does not divide the 2048 columns of an expert"),
    ],
)
def test_layouts_that_do_not_divide(layout: Layout, said: str) -> None:
    model = read_model("deepseek-ai/DeepSeek-R1")
    with pytest.raises(LayoutError) as found:
        model.check(layout)
    assert said in str(found.value)
    assert not np.all(model.allows(layout))


def test_a_dense_model_has_no_experts_to_spread() -> None:
    with pytest.raises(LayoutError, match="Leave ep at 1"):
        read_model("Qwen/Qwen3-8B").check(Layout(tp=2, ep=2))


@pytest.mark.parametrize("ep", [16, 32, 72, 144, 320])
def test_redundant_experts_fill_groups_that_do_not_divide(ep: int) -> None:
    """Layouts that were measured: SGLang decodes on 72, DeepSeek on 144, CloudMatrix384 on 320 ranks."""
    model = read_model("deepseek-ai/DeepSeek-R1")
    layout = Layout(attention_dp=ep, ep=ep)
    model.check(layout)
    per_rank = float(model.weights(layout, STACK)["experts"]) / 58 / (3 * 2048 * 7168)
    assert per_rank == np.ceil(256 / ep)


LAYOUTS = st.builds(
    lambda tp, pp, dp, cp, spread: Layout(tp=tp, pp=pp, attention_dp=dp, cp=cp, ep=tp * dp * cp if spread else 1),
    st.integers(1, 17), st.integers(1, 20), st.integers(1, 9), st.integers(1, 3), st.booleans(),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(one_of_each_type()), st.lists(LAYOUTS, min_size=1, max_size=8))
def test_allows_is_check_row_by_row(identity: str, layouts: list[Layout]) -> None:
    model = read_model(identity)
    together = Layout(**{name: np.array([getattr(one, name) for one in layouts]) for name in Layout.__slots__})
    assert list(np.broadcast_to(model.allows(together), len(layouts))) == [passes(model, one) for one in layouts]


def passes(model: Model, layout: Layout) -> bool:
    try:
        model.check(layout)
    except LayoutError:
        return False
    return True


def test_experts_that_compute_nothing() -> None:
    """LongCat-Flash: 12 choices of 768, of which 256 return the token: 8 compute on average."""
    (block,) = [
        b for b, _ in read_model("meituan-longcat/LongCat-Flash-Chat").blocks if isinstance(b, MixtureOfExperts)
    ]
    assert (block.choices, block.computing) == (768, 8)


def test_latent_experts_exchange_the_latent() -> None:
    model = read_model("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8")
    ops = model.ops(Load(decode_sequences=8), Layout(attention_dp=8, ep=8), stack())
    (dispatch,) = named(ops, "dispatch")
    assert isinstance(dispatch, Collective)
    assert dispatch.values == 8 * 1024
    (reduce,) = named(model.ops(Load(decode_sequences=8), Layout(tp=2, ep=2), stack()), "experts_all_reduce")
    assert isinstance(reduce, Collective)
    assert reduce.values == 8 * (1024 + 4096)
