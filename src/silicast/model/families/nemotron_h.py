"""Nemotron-H (arXiv:2504.03624) and Nemotron 3 (arXiv:2512.20848): Mamba-2 layers with a few attention layers.

A layer is one block: Mamba-2 (M), attention (*), a network (-) or experts (E), squared ReLU, no gates. Nemotron 3
Super and Ultra route in a latent of hidden (latent experts). Attention has no positions.
"""

from typing import Any

from silicast.errors import ConfigError
from silicast.model.architecture import Model, counted
from silicast.model.blocks import (
    Block,
    FeedForward,
    Linear,
    LinearAttention,
    MixtureOfExperts,
    SelfAttention,
    state_space_flops,
)
from silicast.model.config import Fields, shown
from silicast.model.families.transformer import MAX_LAYERS, decoder, draft_layer, heads_of

MODEL_TYPES = ("nemotron_h",)

LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}


def build(identity: str, fields: Fields) -> Model:
    """One block per letter of the pattern."""
    kinds = pattern(fields, "hybrid_override_pattern", "layers_block_type")
    if not kinds:
        raise ConfigError(f"{fields.where}: 'hybrid_override_pattern' or 'layers_block_type' is missing.")
    blocks = [block(fields, kind) for kind in kinds]
    return decoder(identity, fields, counted(blocks), depth=len(kinds), **draft(fields))


def pattern(fields: Fields, letters: str, words: str) -> list[str]:
    """Kinds of the layers, from a string of letters or a list of words."""
    if fields.has(words):
        listed = fields.items(words) or []
        return fields.kinds(words, min(len(listed), MAX_LAYERS), tuple(LETTERS.values())) or []
    text = fields.text(letters)[:MAX_LAYERS]
    unknown = set(text) - set(LETTERS)
    if unknown:
        raise ConfigError(f"{fields.where}: '{letters}' knows {' '.join(LETTERS)}, not {shown(min(unknown))}.")
    return [LETTERS[letter] for letter in text]


def block(fields: Fields, kind: str) -> Block:
    """The one block of a layer, with its norm."""
    hidden = fields.size("hidden_size")
    if kind == "mamba":
        return mamba(fields)
    if kind == "attention":
        heads, kv_heads, head_dim = heads_of(fields)
        bias = fields.flag("attention_bias")
        return SelfAttention(hidden, heads, kv_heads, head_dim, qkv_bias=bias, o_bias=bias, norm_parameters=hidden)
    if kind == "moe":
        return experts(fields)
    width, bias = fields.size("intermediate_size"), fields.flag("mlp_bias")
    return FeedForward(hidden, width, gated=False, bias=bias, norm_parameters=hidden)


def mamba(fields: Fields) -> LinearAttention:
    """Mamba-2: one projection to gate, x, B, C and step; B and C belong to groups of heads."""
    hidden, heads = fields.size("hidden_size"), fields.size("mamba_num_heads")
    head_dim, state, groups = fields.size("mamba_head_dim"), fields.size("ssm_state_size"), fields.size("n_groups")
    if heads % groups:
        raise ConfigError(f"{fields.where}: {groups} groups do not divide {heads} Mamba heads.")
    inner, shared = heads * head_dim, 2 * groups * state
    bias = fields.flag("use_bias") or fields.flag("mamba_proj_bias")
    channels = inner + shared
    conv_bias = channels if fields.flag("use_conv_bias", default=True) else 0
    return LinearAttention(
        hidden=hidden,
        heads=heads,
        key_dim=state,
        value_dim=head_dim,
        projections=(
            Linear(
                "in", "attention", hidden, 2 * inner + heads, "columns",
                bias=2 * inner + heads + shared if bias else 0, few=shared, units=groups,
            ),
            Linear("out", "attention", inner, hidden, "rows", bias=hidden if bias else 0),
        ),
        flops=state_space_flops(state, head_dim, fields.size("chunk_size"), heads // groups),
        units=heads,
        conv_channels=channels,
        conv_width=fields.size("conv_kernel"),
        # decay, skip and step bias per head, the gated norm
        extra_parameters=conv_bias + 3 * heads + inner,
        norm_parameters=hidden,
    )  # fmt: skip


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer, in a latent where configured; the shared expert works on hidden."""
    hidden = fields.size("hidden_size")
    shared = fields.size("n_shared_experts", default=1, zero=True)
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=fields.size("n_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=fields.size("moe_shared_expert_intermediate_size") if shared else 0,
        gated=False,
        latent=fields.size("moe_latent_size", default=None),
        norm_parameters=hidden,
    )


def draft(fields: Fields) -> dict[str, Any]:
    """The draft layer has a pattern of its own."""
    kinds = pattern(fields, "mtp_hybrid_override_pattern", "mtp_layers_block_type")
    return (
        draft_layer(fields, "num_nextn_predict_layers", *((block(fields, kind), 1) for kind in kinds)) if kinds else {}
    )
