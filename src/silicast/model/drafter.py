"""The draft of a model that has none of its own."""

from dataclasses import replace

from silicast.model.architecture import Model
from silicast.model.blocks import FeedForward, JoinInputs, LatentAttention, SelfAttention

#: width of the dense network over the hidden size: 3 (Qwen3-30B-A3B), 5 (Qwen3-32B), 6 (Qwen3-235B-A22B) as published
WIDTH = 5
#: words that a draft chooses from
VOCABULARY = 32_000


def with_drafter(model: Model) -> Model:
    """The model with an EAGLE-3 draft where its checkpoint has no multi-token-prediction layer.

    One decoder layer per draft token: the model's own attention, a dense gated network, a projection of the joined
    embedding and hidden state, a head of 32,000 words. Sizes as published in the configurations of SpecForge.
    Reference: EAGLE-3 (arXiv:2503.01840).
    """
    if model.mtp:
        return model
    full = [(block, 1) for block, _ in model.blocks if isinstance(block, SelfAttention | LatentAttention)]
    network = FeedForward(model.hidden, WIDTH * model.hidden)
    layer = ((JoinInputs(model.hidden), 1), *full[:1], (network, 1))
    note = "the checkpoint has no draft layer: an EAGLE-3 draft of one dense layer is assumed."
    return replace(model, mtp=layer, mtp_layers=1, draft_vocabulary=VOCABULARY, assumptions=(*model.assumptions, note))
