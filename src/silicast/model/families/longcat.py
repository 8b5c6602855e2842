"""LongCat-Flash (arXiv:2509.01322): a layer has two latent attentions, two dense networks, and experts beside them.

A third of the router's choices are zero-computation experts, which return the token itself.
"""

from silicast.model.architecture import Model
from silicast.model.blocks import FeedForward, LatentAttention, MixtureOfExperts
from silicast.model.config import Fields
from silicast.model.families.transformer import decoder, layer_count

MODEL_TYPES = ("longcat_flash",)

OMISSIONS = (
    "experts run after the dense networks here; the shortcut lets engines overlap their exchange with them",
    "zero-computation experts: every token is counted with the mean number of computing experts",
)


def build(identity: str, fields: Fields) -> Model:
    """Layers: twice (attention, dense network), and experts fed after the first attention."""
    layers, hidden = layer_count(fields, "num_layers", "num_hidden_layers"), fields.size("hidden_size")
    attention = LatentAttention(
        hidden=hidden,
        heads=fields.size("num_attention_heads"),
        q_rank=fields.size("q_lora_rank", default=None),
        kv_rank=fields.size("kv_lora_rank"),
        nope_dim=fields.size("qk_nope_head_dim"),
        rope_dim=fields.size("qk_rope_head_dim"),
        v_dim=fields.size("v_head_dim"),
        bias=fields.flag("attention_bias"),
        norm_parameters=hidden,
    )
    network = FeedForward(hidden, fields.size("ffn_hidden_size"), norm_parameters=hidden)
    experts = MixtureOfExperts(
        hidden=hidden,
        intermediate=fields.size("expert_ffn_hidden_size"),
        routed=fields.size("n_routed_experts"),
        topk=fields.size("moe_topk"),
        zero_experts=fields.size("zero_expert_num", default=0, zero=True),
        norms=0,
    )
    blocks = ((attention, 2 * layers), (network, 2 * layers), (experts, layers))
    return decoder(identity, fields, blocks, depth=layers, omissions=OMISSIONS)
