"""Vision towers: their parameters take memory; their compute is left out, and said to be."""

from typing import Any

from silicast.model.config import Fields

NO_COMPUTE = "vision tower: in memory only, its compute is left out (image tokens count as input tokens)"
NO_VISION_CONFIG = "vision tower: the file has no vision_config, so it is not counted"


def _tower(parameters: int) -> dict[str, Any]:
    """Fields of Model for a tower."""
    return {"vision_parameters": parameters, "omissions": (NO_COMPUTE,)}


def qwen_vision(fields: Fields) -> dict[str, Any]:
    """Qwen3-VL and Qwen3.5: layers with biases, learned positions, a patch merger, and one more per deepstack layer."""
    vision = fields.nested("vision_config")
    if vision is None:
        return {}
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    patch = vision.size("in_channels") * vision.size("temporal_patch_size") * vision.size("patch_size") ** 2
    merged = width * vision.size("spatial_merge_size") ** 2
    out = vision.size("out_hidden_size")
    merger = merged * (merged + 1) + out * (merged + 1)
    deep = len(vision.items("deepstack_visual_indexes") or [])
    total = (
        (patch + 1) * width
        + vision.size("num_position_embeddings") * width
        + vision.size("depth") * transformer_layer(width, inner)
        + merger + 2 * width
        + deep * (merger + 2 * merged)
    )  # fmt: skip
    return _tower(total)


def transformer_layer(width: int, inner: int) -> int:
    """Attention (fused Q, K, V and output) and two matrices, all with biases, and two layer norms."""
    return 4 * width * (width + 1) + 2 * width * inner + inner + width + 4 * width


def kimi_vision(fields: Fields) -> dict[str, Any]:
    """Kimi-K2.5 (MoonViT): layers with biases, learned positions over height and width, a patch merger."""
    vision = fields.nested("vision_config")
    if vision is None:
        return {}
    width, inner = vision.size("vt_hidden_size"), vision.size("vt_intermediate_size")
    positions = vision.size("init_pos_emb_height") * vision.size("init_pos_emb_width") * width
    return _tower(
        (3 * vision.size("patch_size") ** 2 + 1) * width
        + positions
        + vision.size("vt_num_hidden_layers") * transformer_layer(width, inner)
        + 2 * width
        + _merger(vision, width)
    )


def _merger(vision: Fields, width: int) -> int:
    merge = vision.items("merge_kernel_size") or [2, 2]
    merged = width * vision.whole("merge_kernel_size[0]", merge[0]) * vision.whole("merge_kernel_size[1]", merge[-1])
    out = vision.size("text_hidden_size")
    return 2 * width + merged * (merged + 1) + out * (merged + 1)


def gemma_vision(fields: Fields) -> dict[str, Any]:
    """Gemma 3 (SigLIP, arXiv:2303.15343) and Gemma 4 (gated layers that norm Q and K), and the way to the decoder."""
    vision = fields.nested("vision_config")
    if vision is None:
        return {}
    width, inner = vision.size("hidden_size"), vision.size("intermediate_size")
    layers, patch = vision.size("num_hidden_layers"), 3 * vision.size("patch_size") ** 2
    out = width * fields.flat("text_config").size("hidden_size")
    if fields.text("model_type") == "gemma3":
        positions = (vision.size("image_size") // vision.size("patch_size")) ** 2 * width
        layer = transformer_layer(width, inner)
        return _tower((patch + 1) * width + positions + layers * layer + 2 * width + out + width)
    heads = vision.size("num_attention_heads") * vision.size("head_dim")
    keys = vision.size("num_key_value_heads") * vision.size("head_dim")
    layer = 2 * width * (heads + keys) + 3 * width * inner + 2 * vision.size("head_dim") + 4 * width
    return _tower(patch * width + 2 * vision.size("position_embedding_size") * width + layers * layer + out)
