"""DeepSeek-V4: attention on a window and on compressed keys, hyper-connections, experts in every layer.

Layers differ in how many tokens share a compressed key: none (a window alone), 4 (an indexer chooses among them), or
128 (all of them are read).
"""

from typing import Any

from silicast.errors import ConfigError
from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, CompressedAttention, HyperConnection, Indexer, MixtureOfExperts
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, draft_layer, layer_count

MODEL_TYPES = ("deepseek_v4", "deepseek_ref")

#: tokens behind a compressed key where an indexer chooses; adjacent keys overlap, so it has two series of projections
SPARSE_STRIDE = 4
STREAMS = 4
OMISSIONS = (
    "the buffers of tokens that await compression (fewer than one key per sequence and layer) are not in the cache",
    "hash routing of the first layers: its table of experts per word is left out, its router matrix is counted",
)


def build(identity: str, fields: Fields) -> Model:
    """Layers: hyper-connections around attention and around experts."""
    layers, hidden = layer_count(fields), fields.size("hidden_size")
    wide = HyperConnection(hidden, fields.size("hc_mult", default=STREAMS))
    blocks: list[Block] = []
    for stride in strides(fields, layers):
        blocks += [wide, attention(fields, stride), wide, experts(fields)]
    blocks.append(HyperConnection(hidden, wide.streams, closes=True))
    return decoder(identity, fields, counted(blocks), omissions=OMISSIONS, **draft(fields, wide))


def strides(fields: Fields, layers: int) -> list[int]:
    """Tokens behind one compressed key, per layer."""
    listed = fields.sizes("compress_ratios", layers, zero=True)
    if listed is None:
        raise ConfigError(f"{fields.where}: 'compress_ratios' is missing or null.")
    return listed


def attention(fields: Fields, stride: int) -> CompressedAttention:
    """The attention of one layer."""
    hidden = fields.size("hidden_size")
    heads, groups = fields.size("num_attention_heads"), fields.size("o_groups")
    if heads % groups:
        raise ConfigError(f"{fields.where}: {groups} groups of the output do not divide {heads} heads.")
    sparse = stride == SPARSE_STRIDE
    return CompressedAttention(
        hidden=hidden,
        heads=heads,
        head_dim=fields.size("head_dim"),
        q_rank=fields.size("q_lora_rank"),
        out_rank=fields.size("o_lora_rank"),
        groups=groups,
        window=fields.size("sliding_window"),
        stride=stride,
        series=2 if sparse else 1,
        index=indexer(fields, stride) if sparse else None,
        norm_parameters=hidden,
    )


def indexer(fields: Fields, stride: int) -> Indexer:
    """Its keys are compressed like those of attention: key and gate in two series, a bias per position, a norm."""
    dim = fields.size("index_head_dim")
    return Indexer(
        hidden=fields.size("hidden_size"),
        inputs=fields.size("q_lora_rank"),
        heads=fields.size("index_n_heads"),
        dim=dim,
        topk=fields.size("index_topk"),
        norm_parameters=2 * stride * dim + dim,
        stride=stride,
        compress=4 * dim,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer."""
    hidden, width = fields.size("hidden_size"), fields.size("moe_intermediate_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=width,
        routed=fields.size("n_routed_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=width * fields.size("n_shared_experts", default=0, zero=True),
        norm_parameters=hidden,
    )


def draft(fields: Fields, wide: HyperConnection) -> dict[str, Any]:
    """The draft layer: a window alone, its own hyper-connections and experts."""
    layer = ((wide, 2), (attention(fields, 0), 1), (experts(fields), 1))
    return draft_layer(fields, "num_nextn_predict_layers", *layer)
