"""Qwen3-VL (arXiv:2511.21631): the decoder of Qwen3, or of its mixture of experts, behind a vision tower."""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block
from silicast.model.config import Fields
from silicast.model.families.qwen3_moe import attention, experts, is_sparse
from silicast.model.families.transformer import decoder, gated_network, layer_count
from silicast.model.families.vision import qwen_vision

MODEL_TYPES = ("qwen3_vl", "qwen3_vl_moe")


def build(identity: str, fields: Fields) -> Model:
    """Layers of Qwen3; image tokens are input tokens."""
    text = fields.flat("text_config")
    blocks: list[Block] = []
    for layer in range(layer_count(text)):
        sparse = text.has("num_experts") and is_sparse(text, layer)
        blocks += [attention(text), experts(text) if sparse else gated_network(text)]
    return decoder(identity, text, counted(blocks), **qwen_vision(fields))
