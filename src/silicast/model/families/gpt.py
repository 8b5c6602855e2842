"""GPT-2 and GPT-3 (arXiv:2005.14165), MPT, BLOOM (arXiv:2211.05100), Falcon (arXiv:2311.16867), Nemotron-4
(arXiv:2406.11704): layer norms and an ungated network of mostly 4 x hidden; and models given by dimensions alone.
"""

from dataclasses import dataclass, replace
from typing import Any

from silicast.errors import ConfigError, nearest
from silicast.model.architecture import Counted, Model
from silicast.model.blocks import FeedForward, SelfAttention
from silicast.model.config import Fields, shown
from silicast.model.families.transformer import MAX_LAYERS, decoder, grouped, head_size, heads_of, layer_count

MODEL_TYPES = ("gpt2", "mpt", "bloom", "falcon", "nemotron")

#: context of a model given by dimensions and of MPT without one; BLOOM's ALiBi has none, it was trained with 2048
GPT_CONTEXT = 2048
BLOOM_CONTEXT = 2048


@dataclass(frozen=True)
class Shape:
    """One layer in plain numbers. `norm` = parameters of one norm (a layer norm with a bias has 2 hidden)."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    norm: int
    bias: bool
    gated: bool = False
    parallel: bool = False

    def blocks(self, layers: int) -> Counted:
        """`layers` layers of attention and network; in parallel they share a norm's place and an all-reduce."""
        attention = SelfAttention(
            self.hidden, self.heads, self.kv_heads, self.head_dim,
            qkv_bias=self.bias, o_bias=self.bias, norm_parameters=self.norm,
        )  # fmt: skip
        network = FeedForward(
            self.hidden, self.inner, self.gated, self.bias, norm_parameters=self.norm, parallel=self.parallel
        )
        return ((attention, layers), (network, layers))


def build(identity: str, fields: Fields) -> Model:
    """Layers: attention and an ungated network, with layer norms."""
    build_one = {"gpt2": gpt2, "mpt": mpt, "bloom": bloom, "falcon": falcon, "nemotron": nemotron}
    return build_one[fields.text("model_type")](identity, fields)


def gpt2(identity: str, fields: Fields) -> Model:
    """GPT-2: learned positions, biases everywhere."""
    hidden, heads = fields.size("n_embd"), fields.size("n_head")
    positions = fields.size("n_positions", "n_ctx")
    inner = fields.size("n_inner", default=4 * hidden)
    shape = Shape(hidden, heads, heads, head_size(fields, heads), inner, norm=2 * hidden, bias=True)
    vocabulary = fields.size("vocab_size")
    return _renamed(
        identity, fields, shape.blocks(layer_count(fields, "n_layer")), hidden, positions,
        tied=True, final_norm=2 * hidden, embedding_parameters=(vocabulary + positions) * hidden,
    )  # fmt: skip


def mpt(identity: str, fields: Fields) -> Model:
    """MPT: ALiBi in place of positions, no biases, not even in the norms."""
    hidden, heads = fields.size("d_model"), fields.size("n_heads")
    if not fields.flag("no_bias", default=True):
        raise ConfigError(f"{fields.where}: MPT with biases ('no_bias': false) is not supported.")
    inner = fields.size("expansion_ratio", default=4) * hidden
    shape = Shape(hidden, heads, heads, head_size(fields, heads), inner, norm=hidden, bias=False)
    context = fields.size("max_seq_len", default=GPT_CONTEXT)
    layers = layer_count(fields, "n_layers")
    return _renamed(identity, fields, shape.blocks(layers), hidden, context, tied=True, final_norm=hidden)


def bloom(identity: str, fields: Fields) -> Model:
    """BLOOM: ALiBi, biases everywhere, a norm of the word embedding."""
    hidden = fields.size("hidden_size", "n_embed")
    heads = fields.size("n_head", "num_attention_heads")
    shape = Shape(hidden, heads, heads, head_size(fields, heads), 4 * hidden, norm=2 * hidden, bias=True)
    words = fields.size("vocab_size") * hidden
    return _renamed(
        identity, fields, shape.blocks(layer_count(fields, "n_layer", "num_hidden_layers")), hidden,
        fields.size("seq_length", default=BLOOM_CONTEXT),
        tied=True, final_norm=2 * hidden, embedding_parameters=words + 2 * hidden,
    )  # fmt: skip


def falcon(identity: str, fields: Fields) -> Model:
    """Falcon: attention beside the network; the newer form has grouped KV heads and a norm for each."""
    heads = fields.size("num_attention_heads", "n_head")
    grown, hidden = fields.flag("new_decoder_architecture"), fields.size("hidden_size")
    kv_heads = 1 if fields.flag("multi_query", default=True) else heads
    if grown:
        kv_heads = grouped(fields, heads, fields.size("num_kv_heads", default=heads))
    parallel = fields.flag("parallel_attn", default=True)
    inner = fields.size("ffn_hidden_size", default=4 * hidden)
    bias = fields.flag("bias")
    shape = Shape(hidden, heads, kv_heads, head_size(fields, heads), inner, 2 * hidden, bias, parallel=parallel)
    blocks = shape.blocks(layer_count(fields, "num_hidden_layers", "n_layer"))
    if parallel and not grown:  # one norm for both
        network = FeedForward(hidden, inner, gated=False, bias=bias, norms=0, parallel=True)
        blocks = (blocks[0], (network, blocks[1][1]))
    tied = fields.flag("tie_word_embeddings", default=True)
    return decoder(identity, fields, blocks, tied=tied, final_norm=2 * hidden)


def nemotron(identity: str, fields: Fields) -> Model:
    """Nemotron-4: grouped-query attention, squared ReLU, layer norms with biases."""
    hidden = fields.size("hidden_size")
    heads, kv_heads, head_dim = heads_of(fields)
    bias = fields.flag("attention_bias")
    shape = Shape(hidden, heads, kv_heads, head_dim, fields.size("intermediate_size"), 2 * hidden, bias)
    return decoder(identity, fields, shape.blocks(layer_count(fields)), final_norm=2 * hidden)


def _renamed(identity: str, fields: Fields, blocks: Counted, hidden: int, context: int, **more: Any) -> Model:
    """The Model of a config with GPT-2's names for width and context."""
    return decoder(
        identity, Fields({**fields.values, "hidden_size": hidden}, fields.where), blocks, context=context, **more
    )


def gpt_model(layers: int, hidden: int, heads: int, vocab: int, **more: int) -> Model:
    """A GPT-style model from dimensions: layer norms, biases, `context` learned positions, tied embeddings.

    That is the model of Megatron's and MosaicML's training tables: P = 12 l h^2 (1 + 13 / 12 h + (V + s) / 12 l h)
    (arXiv:2104.04473, eq. 2). `more` may give mlp (width of the network, else 4 x hidden), kv_heads, head_dim,
    context and gated: `gated` models have a third matrix, rotary positions, no biases and a head of their own, as in
    MaxText. Raises ConfigError.
    """
    gated = bool(more.pop("gated", 0))
    given: dict[str, Any] = {
        "layers": layers, "hidden": hidden, "heads": heads, "vocab": vocab, "context": GPT_CONTEXT, **more
    }  # fmt: skip
    fields = Fields(given, "gpt")
    hidden, heads = fields.size("hidden"), fields.size("heads")
    kv = grouped(fields, heads, fields.size("kv_heads", default=heads))
    size = fields.size("head_dim", default=None) or head_size(Fields({"hidden_size": hidden}, "gpt"), heads)
    norm, words = hidden if gated else 2 * hidden, fields.size("vocab") * hidden
    shape = Shape(hidden, heads, kv, size, fields.size("mlp", default=4 * hidden), norm, bias=not gated, gated=gated)
    return Model(
        id=f"gpt:layers={layers},hidden={hidden},heads={heads},vocab={vocab}",
        model_type="gpt",
        hidden=hidden,
        vocabulary=fields.size("vocab"),
        blocks=shape.blocks(fields.size("layers", most=MAX_LAYERS)),
        context=fields.size("context"),
        tied=not gated,
        final_norm=norm,
        embedding_parameters=words if gated else words + fields.size("context") * hidden,
    )


#: names in the text form, which of them must be given
DIMENSIONS = ("layers", "hidden", "heads", "vocab", "mlp", "kv_heads", "head_dim", "context", "gated")
REQUIRED = DIMENSIONS[:4]


def gpt_from_text(text: str) -> Model:
    """`gpt:layers=96,hidden=12288,heads=96,vocab=51200`, and mlp=, kv_heads=, head_dim=, context=, gated=1 at will."""
    given: dict[str, Any] = {}
    for item in text.removeprefix("gpt:").split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if name not in DIMENSIONS:
            guess = nearest(name, DIMENSIONS)
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise ConfigError(f"gpt: unknown dimension {shown(name)}.{hint} Known: {', '.join(DIMENSIONS)}.")
        if not equals or not (value.isascii() and value.isdigit() and len(value) < len("99999999999")):
            raise ConfigError(f"gpt: {name} must be a whole number, as in {name}=96, got {shown(value)}.")
        given[name] = int(value)
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise ConfigError(f"gpt: {', '.join(missing)} missing. Write gpt:layers=96,hidden=12288,heads=96,vocab=51200")
    return replace(gpt_model(**given), id=text)
