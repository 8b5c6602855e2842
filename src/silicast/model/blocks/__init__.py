"""The building blocks of transformers, one file a kind.

One list of linears gives a block's parameters, its bytes and its GEMMs, so the three cannot disagree.
"""

from silicast.model.blocks.attention import SelfAttention
from silicast.model.blocks.compressed import CompressedAttention
from silicast.model.blocks.draft import JoinInputs
from silicast.model.blocks.experts import MixtureOfExperts
from silicast.model.blocks.feed_forward import FeedForward
from silicast.model.blocks.indexer import Indexer
from silicast.model.blocks.latent import LatentAttention
from silicast.model.blocks.linear import Linear, norm
from silicast.model.blocks.protocol import Block
from silicast.model.blocks.recurrent import LinearAttention, StateFlops, delta_rule_flops, state_space_flops
from silicast.model.blocks.residual import HyperConnection, PerLayerInput, ResidualAttention
from silicast.model.blocks.shard import Shard, present, shard

__all__ = [
    "Block",
    "CompressedAttention",
    "FeedForward",
    "HyperConnection",
    "Indexer",
    "JoinInputs",
    "LatentAttention",
    "Linear",
    "LinearAttention",
    "MixtureOfExperts",
    "PerLayerInput",
    "ResidualAttention",
    "SelfAttention",
    "Shard",
    "StateFlops",
    "delta_rule_flops",
    "norm",
    "present",
    "shard",
    "state_space_flops",
]
