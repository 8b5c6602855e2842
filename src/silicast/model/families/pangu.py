"""Pangu Pro MoE (arXiv:2505.21411) and openPangu-Ultra-MoE (arXiv:2505.04519).

Ultra is DeepSeek-V3 under other names with norms before and after each block; Pro routes within groups of experts.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, FeedForward, LatentAttention, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, dense_first, draft_layer, heads_of, layer_count

MODEL_TYPES = ("pangu_ultra_moe", "PanguProMoE")


def build(identity: str, fields: Fields) -> Model:
    """The form that the model_type names."""
    return pro(identity, fields) if fields.text("model_type") == "PanguProMoE" else ultra(identity, fields)


def pro(identity: str, fields: Fields) -> Model:
    """Layers: grouped-query attention, experts and one shared expert."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    attention = SelfAttention(hidden, heads, kv_heads, head_dim, norm_parameters=hidden)
    experts = MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size"),
        routed=fields.size("num_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=fields.size("shared_expert_intermediate_size"),
        norm_parameters=hidden,
    )
    layers = layer_count(fields)
    return decoder(identity, fields, ((attention, layers), (experts, layers)))


def ultra(identity: str, fields: Fields) -> Model:
    """Layers: latent attention, then a dense network (the first ones) or experts; two norms around each."""
    layers, hidden = layer_count(fields), fields.size("hidden_size")
    dense = dense_first(fields, layers, "num_dense_layers")
    network = FeedForward(hidden, fields.size("intermediate_size"), norm_parameters=2 * hidden, norms=2)
    blocks: list[Block] = []
    for layer in range(layers):
        blocks += [ultra_attention(fields), network if layer < dense else ultra_experts(fields)]
    draft = draft_layer(fields, "num_mtp_layers", (ultra_attention(fields), 1), (ultra_experts(fields), 1))
    return decoder(identity, fields, counted(blocks), **draft)


def ultra_attention(fields: Fields) -> LatentAttention:
    """The attention of one layer."""
    hidden = fields.size("hidden_size")
    return LatentAttention(
        hidden=hidden,
        heads=fields.size("num_attention_heads"),
        q_rank=fields.size("attention_q_lora_dim"),
        kv_rank=fields.size("attention_kv_lora_dim"),
        nope_dim=fields.size("attention_qk_dim"),
        rope_dim=fields.size("attention_qk_rope_dim"),
        v_dim=fields.size("attention_v_dim"),
        norm_parameters=2 * hidden,
        norms=2,
    )


def ultra_experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("num_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width * fields.size("num_shared_experts", default=0, zero=True),
        norm_parameters=2 * hidden,
        norms=2,
    )
