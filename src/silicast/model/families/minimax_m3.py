"""MiniMax-M3: grouped-query attention whose keys are chosen in blocks by an indexer, dense networks first, experts."""

from silicast.model.architecture import Model, counted
from silicast.model.blocks import Block, Indexer, MixtureOfExperts, SelfAttention
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, draft_layer, gated_network, heads_of, layer_count

MODEL_TYPES = ("minimax_m3",)


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention, full or sparse, then a dense network or experts."""
    layers = layer_count(fields)
    sparse = fields.nested("sparse_attention_config")
    chosen = (sparse and sparse.sizes("sparse_attention_freq", layers, zero=True)) or [0] * layers
    routed = fields.sizes("moe_layer_freq", layers, zero=True) or [1] * layers
    dense = fields.size("dense_intermediate_size", "intermediate_size")
    blocks: list[Block] = []
    for layer in range(layers):
        selects = sparse if chosen[layer] else None
        blocks += [attention(fields, selects), experts(fields) if routed[layer] else gated_network(fields, dense)]
    draft = draft_layer(fields, "num_nextn_predict_layers", (attention(fields, None), 1), (experts(fields), 1))
    return decoder(identity, fields, counted(blocks), **draft)


def attention(fields: Fields, sparse: Fields | None) -> SelfAttention:
    """The attention of one layer; Q and K are normed per head."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    return SelfAttention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        qk_norm=2 * head_dim if fields.flag("use_qk_norm", default=True) else 0,
        index=indexer(sparse, hidden) if sparse else None,
        norm_parameters=hidden,
    )


def indexer(sparse: Fields, hidden: int) -> Indexer:
    """One selection per KV head: the best blocks of keys, the score of a block being its best key's."""
    block, dim = sparse.size("sparse_block_size"), sparse.size("sparse_index_dim")
    return Indexer(
        hidden=hidden,
        inputs=hidden,
        heads=sparse.size("sparse_num_index_heads"),
        dim=dim,
        topk=block * sparse.size("sparse_topk_blocks"),
        weighted=False,
        norm_parameters=2 * dim,
        blocked=block,
    )


def experts(fields: Fields) -> MixtureOfExperts:
    """The experts of one layer and the shared one."""
    hidden = fields.size("hidden_size")
    return MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("moe_intermediate_size", "intermediate_size"),
        routed=fields.size("num_local_experts"),
        topk=fields.size("num_experts_per_tok"),
        shared_intermediate=fields.size("shared_intermediate_size", default=0, zero=True),
        norm_parameters=hidden,
    )
