"""Gemma (arXiv:2403.08295), Gemma 2 (arXiv:2408.00118), Gemma 3 (arXiv:2503.19786) and Gemma 4.

From Gemma 2 on, layers with a sliding window alternate with full ones, and every block is normed before and after.
Gemma 3 norms Q and K. Gemma 4 has its own head size in full layers, where K and V share a projection; some sizes add
experts beside the dense network, layers that reuse K and V, and per-layer embeddings. Embeddings are tied.
"""

from typing import Any

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, FeedForward, MixtureOfExperts, PerLayerInput, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, gated_network, grouped, heads_of, layer_count
from silicast.model.families.vision import gemma_vision

MODEL_TYPES = ("gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text")

KINDS = ("sliding_attention", "full_attention")
#: every how many layers attention is full, where the config does not list the kinds
FULL_EVERY = {"gemma2": 2, "gemma3": 6, "gemma4": 6}
#: values of the configuration class that published files of Gemma 3 leave out
VOCABULARY, CONTEXT = 262208, 131072
#: size of the heads of full layers of Gemma 4, where the config leaves it to the class
GLOBAL_HEAD = 512


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, full or within a window, and a gated network."""
    text = fields.flat("text_config")
    version = text.text("model_type").removesuffix("_text")
    blocks: list[Block] = []
    for layer, kind in enumerate(layer_kinds(text, version)):
        if version == "gemma4":
            blocks += gemma4_layer(text, layer, kind)
        else:
            blocks += [attention(text, version, kind), gated_network(text, norms=1 if version == "gemma" else 2)]
    more: dict[str, Any] = {"tied": text.flag("tie_word_embeddings", default=True), **gemma_vision(fields)}
    if version in ("gemma3", "gemma4"):
        text.values.setdefault("vocab_size", VOCABULARY)
        more["context"] = text.size("max_position_embeddings", default=CONTEXT)
    return decoder(identity, text, counted(blocks), **more, **per_layer_tables(text))


def layer_kinds(fields: Fields, version: str) -> list[str]:
    """The kind of each layer: as listed, else every second or sixth one is full."""
    layers = layer_count(fields)
    if version == "gemma":
        return ["full_attention"] * layers
    every = fields.size("sliding_window_pattern", default=FULL_EVERY[version])
    listed = fields.kinds("layer_types", layers, KINDS)
    return listed or [KINDS[(layer + 1) % every == 0] for layer in range(layers)]


def attention(fields: Fields, version: str, kind: str) -> SelfAttention:
    """The attention of one layer of Gemma 1 to 3."""
    hidden, norms = fields.size("hidden_size"), 1 if version == "gemma" else 2
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=fields.size("sliding_window") if kind == "sliding_attention" else None,
        qkv_bias=bias,
        o_bias=bias,
        qk_norm=2 * head_dim if version == "gemma3" else 0,
        norm_parameters=norms * hidden,
        norms=norms,
    )


def gemma4_layer(fields: Fields, layer: int, kind: str) -> list[Block]:
    """Attention, the dense network, and where configured experts and the per-layer input."""
    hidden = fields.size("hidden_size")
    shared = fields.size("num_kv_shared_layers", default=0, zero=True)
    reuses = layer >= layer_count(fields) - shared
    experts = fields.flag("enable_moe_block")
    wide = 2 if reuses and fields.flag("use_double_wide_mlp") else 1
    # beside experts, the dense network has a norm of its own after it, and one that norms the sum of both
    norms = 3 if experts else 2
    blocks: list[Block] = [
        gemma4_attention(fields, kind, reuses),
        FeedForward(hidden, wide * fields.size("intermediate_size"), norm_parameters=norms * hidden, norms=norms),
    ]
    if experts:
        blocks.append(gemma4_experts(fields))
    small = fields.size("hidden_size_per_layer_input", default=0, zero=True)
    return [*blocks, PerLayerInput(hidden, small)] if small else blocks


def gemma4_attention(fields: Fields, kind: str, reuses: bool) -> SelfAttention:
    """Full layers have larger and fewer KV heads, and where configured one projection for K and V."""
    hidden, full = fields.size("hidden_size"), kind == "full_attention"
    heads, kv_heads, head_dim = heads_of(fields)
    joined = full and fields.flag("attention_k_eq_v")
    if full:
        head_dim = fields.size("global_head_dim", default=GLOBAL_HEAD)
        kv_heads = fields.size("num_global_key_value_heads", default=kv_heads) if joined else kv_heads
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=grouped(fields, heads, kv_heads),
        head_dim=head_dim,
        window=None if full else fields.size("sliding_window"),
        qk_norm=head_dim if reuses else 2 * head_dim,
        k_is_v=joined,
        reuses_kv=reuses,
        norm_parameters=2 * hidden,
        norms=2,
    )


def gemma4_experts(fields: Fields) -> MixtureOfExperts:
    """Experts beside the dense network; the router scales its input and each expert's output."""
    hidden, routed = fields.size("hidden_size"), fields.size("num_experts")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=routed,
        topk=fields.size("top_k_experts", "num_experts_per_tok"),
        router_parameters=hidden + routed,
        norm_parameters=2 * hidden,
        norms=2,
    )


def per_layer_tables(fields: Fields) -> dict[str, Any]:
    """Per-layer embeddings join the word embedding: one table for all layers, and the norm of their projection."""
    small = fields.size("hidden_size_per_layer_input", default=0, zero=True)
    if not small:
        return {}
    words = fields.size("vocab_size") * fields.size("hidden_size")
    table = fields.size("vocab_size_per_layer_input") * layer_count(fields) * small
    return {"embedding_parameters": words + table + small}
