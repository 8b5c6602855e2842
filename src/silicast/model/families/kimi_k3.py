"""Kimi-K3 and Kimi-Linear (arXiv:2510.26692): three of four layers are Kimi Delta Attention, the fourth is latent.

K3 routes in a latent of hidden, gates the output of its latent attention, and mixes earlier residuals into the input
of each block (attention residuals). Shapes beyond the config (full-rank gates, residual projections, one decay rate
per channel of a head) follow the public implementations in vLLM and SGLang.
"""

from silicast.errors import ConfigError
from silicast.model.architecture import Model, counted
from silicast.model.blocks import (
    Block,
    LatentAttention,
    Linear,
    LinearAttention,
    MixtureOfExperts,
    ResidualAttention,
    delta_rule_flops,
)
from silicast.model.config import Fields
from silicast.model.families.transformer import (
    check_experts_in_every_layer,
    decoder,
    dense_first,
    gated_network,
    layer_count,
)

MODEL_TYPES = ("kimi_k3", "kimi_linear")

NO_VISION_COUNT = "vision tower: not counted and not computed (its form is not in transformers)"


def build(identity: str, fields: Fields) -> Model:
    """Layers: delta attention or latent attention, then a dense network (the first ones) or experts."""
    text = fields.flat("text_config")
    check_experts_in_every_layer(text)
    layers, hidden = layer_count(text), text.size("hidden_size")
    dense, block = dense_first(text, layers), text.size("attn_res_block_size", default=0, zero=True)
    blocks: list[Block] = []
    for layer, delta in enumerate(delta_layers(text, layers)):
        mixer = delta_attention(text) if delta else latent_attention(text)
        network = gated_network(text) if layer < dense else experts(text)
        residual = [ResidualAttention(hidden, layer // block + 1)] if block else []
        blocks += [*residual, mixer, *residual, network]
    if block:
        blocks.append(ResidualAttention(hidden, -(-layers // block)))
    omissions = (NO_VISION_COUNT,) if fields.has("vision_config") else ()
    return decoder(identity, text, counted(blocks), omissions=omissions)


def delta_layers(fields: Fields, layers: int) -> list[bool]:
    """Which layers are delta attention. The config counts layers from 1."""
    linear = _linear(fields)
    listed = linear.items("kda_layers")
    if listed is None:
        raise ConfigError(f"{linear.where}: 'kda_layers' is missing or null.")
    return [layer + 1 in listed for layer in range(layers)]


def _linear(fields: Fields) -> Fields:
    linear = fields.nested("linear_attn_config")
    if linear is None:
        raise ConfigError(f"{fields.where}: 'linear_attn_config' is missing or null.")
    return linear


def delta_attention(fields: Fields) -> LinearAttention:
    """Kimi Delta Attention: a decay per channel from a projection of rank head_dim, an output gate."""
    linear, hidden = _linear(fields), fields.size("hidden_size")
    heads, dim = linear.size("num_heads"), linear.size("head_dim")
    width = heads * dim
    full = linear.flag("use_full_rank_gate")
    gate = Linear("gate", "attention", hidden if full else dim, width, "columns")
    return LinearAttention(
        hidden=hidden,
        heads=heads,
        key_dim=dim,
        value_dim=dim,
        projections=(
            Linear("qkv_step", "attention", hidden, 3 * width + heads, "columns"),
            Linear("ranks", "attention", hidden, dim if full else 2 * dim, "whole"),
            Linear("decay", "attention", dim, width, "columns"),
            gate,
            Linear("o", "attention", width, hidden, "rows"),
        ),
        flops=delta_rule_flops(dim, dim),
        units=heads,
        conv_channels=3 * width,
        conv_width=linear.size("short_conv_kernel_size"),
        # step bias per channel, decay rate per channel of a head (K3) or per head, the gated norm of one head
        extra_parameters=width + (dim if full else heads) + dim,
        norm_parameters=hidden,
    )


def latent_attention(fields: Fields) -> LatentAttention:
    """The attention of the other layers: no rotation, an output gate in K3."""
    hidden = fields.size("hidden_size")
    return LatentAttention(
        hidden=hidden,
        heads=fields.size("num_attention_heads"),
        q_rank=fields.size("q_lora_rank", default=None),
        kv_rank=fields.size("kv_lora_rank"),
        nope_dim=fields.size("qk_nope_head_dim"),
        rope_dim=fields.size("qk_rope_head_dim"),
        v_dim=fields.size("v_head_dim"),
        gate=fields.flag("mla_use_output_gate"),
        norm_parameters=hidden,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer; the sum of the routed ones is normed before it leaves the latent."""
    hidden, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    latent = fields.size("routed_expert_hidden_size", default=None)
    shared = fields.size("num_shared_experts", "n_shared_experts", default=0, zero=True)
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("num_experts", "n_routed_experts"),
        topk=fields.size("num_experts_per_token", "num_experts_per_tok"),
        shared_intermediate=width * shared,
        latent=latent,
        latent_norm=bool(latent) and fields.flag("latent_moe_use_norm"),
        norm_parameters=hidden,
    )
