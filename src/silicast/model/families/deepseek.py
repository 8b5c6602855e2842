"""DeepSeek-V2, V3 (V3, R1, V3.1) and V3.2, and their relatives: Kimi-K2, GLM-5, openPangu-Ultra-MoE.

arXiv:2405.04434 (V2), arXiv:2412.19437 (V3), arXiv:2512.02556 (V3.2), arXiv:2507.20534 (Kimi-K2). V3.2 and GLM-5
select the keys of attention with an indexer; GLM-5.2 reuses a selection over some layers.
"""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, Indexer, LatentAttention, MixtureOfExperts
from silicast.model.config import Fields
from silicast.model.families.transformer import (
    check_experts_in_every_layer,
    decoder,
    dense_first,
    draft_layer,
    gated_network,
    layer_count,
)
from silicast.model.families.vision import kimi_vision

MODEL_TYPES = ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "kimi_k2", "kimi_k25")

#: prompts shorter than the selection are cheaper with expanded K and V
ABSORBED = "sparse attention: prompts attend on latents at any length, engines may expand K and V of short ones"


def build(identity: str, fields: Fields) -> Model:
    """Layers: latent attention, then a dense network (the first ones) or experts."""
    text = fields.flat("text_config")
    check_experts_in_every_layer(text)
    layers = layer_count(text)
    dense = dense_first(text, layers)
    blocks: list[Block] = []
    for layer, selects in enumerate(selecting(text, layers)):
        blocks += [latent_attention(text, selects), gated_network(text) if layer < dense else moe(text)]
    draft = draft_layer(text, "num_nextn_predict_layers", (latent_attention(text), 1), (moe(text), 1))
    omissions = (ABSORBED,) if text.has("index_topk") else ()
    return decoder(identity, text, counted(blocks), **({"omissions": omissions} | draft | kimi_vision(fields)))


def latent_attention(fields: Fields, selects: bool = True) -> LatentAttention:
    """The attention of one layer."""
    hidden = fields.size("hidden_size")
    topk = fields.size("index_topk", default=None)
    return LatentAttention(
        hidden=hidden,
        heads=fields.size("num_attention_heads"),
        q_rank=fields.size("q_lora_rank", default=None),
        kv_rank=fields.size("kv_lora_rank"),
        nope_dim=fields.size("qk_nope_head_dim"),
        rope_dim=fields.size("qk_rope_head_dim"),
        v_dim=fields.size("v_head_dim"),
        bias=fields.flag("attention_bias"),
        sparse_keys=topk,
        index=indexer(fields) if topk and selects else None,
        norm_parameters=hidden,
    )


def indexer(fields: Fields) -> Indexer:
    """The indexer of one layer; its key norm has a bias."""
    dim = fields.size("index_head_dim")
    return Indexer(
        hidden=fields.size("hidden_size"),
        inputs=fields.size("q_lora_rank"),
        heads=fields.size("index_n_heads"),
        dim=dim,
        topk=fields.size("index_topk"),
        norm_parameters=2 * dim,
    )


def selecting(fields: Fields, layers: int) -> list[bool]:
    """Which layers select with an indexer of their own; the others reuse the selection before them."""
    kinds = fields.kinds("indexer_types", layers, ("full", "shared"))
    return [kind == "full" for kind in kinds] if kinds else [True] * layers


def moe(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer; shared experts are one network of their joint width."""
    width = fields.size("moe_intermediate_size")
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("n_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width * fields.size("n_shared_experts", default=0, zero=True),
        norm_parameters=hidden,
    )
