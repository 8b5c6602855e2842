"""Mixtral (arXiv:2401.04088) and MiniMax-M2: every layer has routed experts and no shared one."""

from typing import Any

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, draft_layer, heads_of, layer_count

MODEL_TYPES = ("mixtral", "minimax_m2")


def build(identity: str, fields: Fields) -> Model:
    """Layers: grouped-query attention and experts."""
    layer: list[Block] = [attention(fields), experts(fields)]
    return decoder(identity, fields, counted(layer * layer_count(fields)), **draft(fields))


def attention(fields: Fields) -> SelfAttention:
    """The attention of one layer. MiniMax-M2 norms Q and K over all heads at once."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    normed = fields.flag("use_qk_norm")
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window=fields.size("sliding_window", default=None),
        qk_norm=(heads + kv_heads) * head_dim if normed else 0,
        norm_parameters=hidden,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("intermediate_size"),
        routed=fields.size("num_local_experts"),
        topk=fields.size("num_experts_per_tok"),
        norm_parameters=hidden,
    )


def draft(fields: Fields) -> dict[str, Any]:
    """MiniMax-M2 names draft modules of one layer each."""
    if not fields.flag("use_mtp"):
        return {}
    return draft_layer(fields, "num_mtp_modules", (attention(fields), 1), (experts(fields), 1))
