"""Proof of the models: their parameters and forward FLOPs against the classes of transformers.

Run by `make proof` with the extra `proof` (torch 2.13.0, transformers 5.24.0); nothing is downloaded, no weights exist.
Writes two tables that the test suite checks our code against, without torch:

tests/golden/models.csv       parameters of every shipped config, ours and those of the class built on the meta device:
                              text decoder with its head, tied weights once, no draft layers; vision towers apart
tests/golden/model_flops.csv  FLOPs of matrix products of one prefill (1 x 128 tokens) and one decode step behind it,
                              ours and those of the class traced on the meta device, all layers

What is compared in FLOPs, as the classes run it and engines do not:

- attention in full (the mask hides the causal half, windows, chunks and keys not selected);
- latent attention on expanded K and V, in decode too;
- all experts of Llama 4 on all tokens;
- linear attention in prefill, a triangular solve counted as the product with the inverse that the chunked kernels
  form; Mamba-2 with B and C repeated for every head. In decode the classes update states element by element: only the
  product that reads the state of Mamba-2 is compared. Short convolutions are left out.
"""

import csv
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from silicast import catalog
from silicast.model import Model, read_model
from silicast.model.blocks import Block, LatentAttention, LinearAttention, StateFlops, state_space_flops
from silicast.model.config import model_ids
from silicast.model.ops import Attention, Gemm, GroupedGemm, Op, Scan
from silicast.scenario import Layout, Load

GOLDEN = Path(__file__).parent.parent / "tests" / "golden"
COUNTS, FLOPS = GOLDEN / "models.csv", GOLDEN / "model_flops.csv"
COUNT_FIELDS = (
    "id", "model_type", "ours", "transformers", "status", "vision_ours", "vision_transformers", "version", "note",
)  # fmt: skip
FLOP_FIELDS = ("id", "phase", "new_tokens", "cached_tokens", "ours", "traced", "ratio", "version", "note")

TOKENS = 128
#: forward FLOPs may differ by products too small to be operators of ours (sums over heads of an indexer)
TOLERANCE = 0.005

#: model_type -> model_type of the class that has the same layers
SAME_LAYERS = {
    "kimi_k2": "deepseek_v3",
    "deepseek_ref": "deepseek_v4",
    "mimo": "qwen2",
    "minimax_m3": "minimax_m3_vl_text",
    "baichuan": "llama",
    "internlm": "llama",
    "qwen": "qwen2",
    "chatglm": "qwen2",
    "PanguProMoE": "glm4_moe",
    "pangu_ultra_moe": "deepseek_v3",
    "hunyuan": "hunyuan_v1_moe",
    "step3p7": "step3p5",
}
#: classes whose routed experts cannot be traced without data: they are left out on both sides
NO_EXPERTS = {
    "longcat_flash": "without routed experts: how many compute depends on the data",
    "step3p7": "without routed experts and output head: built as the decoder alone, whose experts loop over the data",
}
NOT_BUILDABLE = {
    "nemotron-nas": "transformers has no class for layers that differ one by one",
    "kimi_k3": "transformers has no class with latent experts, output gates and attention residuals",
}


# ---------------------------------------------------------------- our side


def our_flops(identity: str, phase: str) -> float:
    """FLOPs of the matrix products of one step as the class of transformers runs it. Needs no torch."""
    model, chunk = read_model(identity), config_values(identity).get("chunk_size", 0)
    form = replace(model, blocks=tuple((_as_class(block, chunk), count) for block, count in model.blocks))
    expands = any(isinstance(block, LatentAttention) for block, _ in form.blocks)
    if phase == "prefill":
        load = Load(prefill_sequences=1, prefill_tokens=TOKENS)
    elif expands:
        load = Load(prefill_sequences=1, prefill_tokens=1, prefill_context=TOKENS)
    else:
        load = Load(decode_sequences=1, decode_context=TOKENS)
    stack = catalog.stack(catalog.ids("stacks")[0])
    return float(sum(_flops(model, op) for op in form.ops(load, Layout(), stack)))


def _as_class(block: Block, chunk: int) -> Block:
    """A block in the form of the class: masks over dense attention, no products in the state of a delta rule in decode.

    Mamba-2 (with a chunk in the config) repeats B and C for every head, and reads its state with a product in decode.
    """
    if isinstance(block, LatentAttention):
        return replace(block, sparse_keys=None)
    if isinstance(block, LinearAttention) and chunk:
        chunked = state_space_flops(block.key_dim, block.value_dim, chunk, heads_per_group=1).chunked
        return replace(block, flops=StateFlops(recurrent=2, chunked=chunked))
    if isinstance(block, LinearAttention):
        return replace(block, flops=StateFlops(recurrent=0, chunked=block.flops.chunked))
    return block


def _flops(model: Model, op: Op) -> float:
    if op.name == "head" and model.model_type == "step3p7":
        return 0.0
    if isinstance(op, Gemm | Scan):
        return float(op.count * op.flops)
    if isinstance(op, GroupedGemm) and model.model_type in NO_EXPERTS:
        return 0.0
    if isinstance(op, GroupedGemm):
        everyone = op.experts / op.topk if model.model_type == "llama4" else 1
        return float(op.count * op.flops * everyone)
    if isinstance(op, Attention):
        keys = (op.context + op.query) // op.stride
        return float(op.count * op.sequences * op.query * keys * op.heads * 2 * (op.qk_dim + op.v_dim))
    return 0.0


# ---------------------------------------------------------------- the side of transformers


@dataclass
class Built:
    """A class on the meta device: the decoder, its parameters, those of the vision tower, and how it was built."""

    decoder: Any
    parameters: int
    vision: int | None
    note: str


def config_values(identity: str) -> dict[str, Any]:
    """The shipped file without its quantisation, keys renamed where a class of another family is used."""
    values: dict[str, Any] = json.loads((catalog.data_folder() / "models" / f"{identity}.json").read_text("utf-8"))
    for part in (values, values.get("text_config") or {}):
        for key in ("quantization_config", "auto_map"):
            part.pop(key, None)
    return renamed(values)


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """The keys of a config under the names of the class that has the same layers."""
    get, kind = values.get, values["model_type"]
    layers = get("num_hidden_layers", get("num_layers"))
    new: dict[str, Any] = {}
    if kind == "internlm":
        new = {"attention_bias": values["bias"]}
    elif kind == "qwen":
        new = {"intermediate_size": values["intermediate_size"] // 2, "head_dim": values["kv_channels"]}
        new["max_position_embeddings"] = get("max_position_embeddings", get("seq_length"))
        new["num_key_value_heads"] = values["num_attention_heads"]
    elif kind == "baichuan":
        new = {"num_key_value_heads": values["num_attention_heads"]}
    elif kind == "chatglm":
        new = {"num_hidden_layers": layers, "vocab_size": values["padded_vocab_size"]}
        new |= {"num_key_value_heads": values["multi_query_group_num"], "intermediate_size": values["ffn_hidden_size"]}
    elif kind == "PanguProMoE":
        shared = values["shared_expert_intermediate_size"] // values["moe_intermediate_size"]
        new = {"n_routed_experts": values["num_experts"], "n_shared_experts": shared, "first_k_dense_replace": 0}
        new |= {"attention_bias": False, "n_group": 1, "topk_group": 1}
        new["head_dim"] = values["hidden_size"] // values["num_attention_heads"]
    elif kind == "pangu_ultra_moe":
        names = {
            "attention_kv_lora_dim": "kv_lora_rank", "attention_q_lora_dim": "q_lora_rank",
            "attention_qk_dim": "qk_nope_head_dim", "attention_qk_rope_dim": "qk_rope_head_dim",
            "attention_v_dim": "v_head_dim", "num_dense_layers": "first_k_dense_replace",
            "num_routed_experts": "n_routed_experts", "num_shared_experts": "n_shared_experts",
        }  # fmt: skip
        new = {names[key]: value for key, value in values.items() if key in names}
    elif kind == "hunyuan":
        new = {"head_dim": values["attention_head_dim"], "moe_topk": values["moe_topk"][0]}
        new |= {"num_shared_expert": values["num_shared_expert"][0]}
    elif kind == "step3p7":
        dense = values["first_k_dense_replace"]
        new = {"n_routed_experts": values["num_experts"], "layer_types": values["layer_types"][:layers]}
        new["mlp_layer_types"] = ["dense"] * dense + ["sparse"] * (layers - dense)
        new["num_nextn_predict_layers"] = 0
    return values | new | {"model_type": SAME_LAYERS.get(kind, kind)}


def build(identity: str, kind: str) -> Built:
    """The class of one config, without weights."""
    import torch
    from transformers import AutoConfig

    values = config_values(identity)
    config = _step_config(values) if kind == "step3p7" else AutoConfig.for_model(values.pop("model_type"), **values)
    text = config.get_text_config()
    text._attn_implementation = "eager"
    with torch.device("meta"):
        decoder, head, note = _decoder(config, text, kind)
        whole = _whole(config) if text is not config and values.get("vision_config") else None
    parameters = _count(decoder) + head
    if kind == "pangu_ultra_moe":
        parameters += 2 * text.hidden_size * text.num_hidden_layers
        note = "built as deepseek_v3; its two more norms per layer added"
    elif kind in SAME_LAYERS and not note:
        note = f"built as {SAME_LAYERS[kind]}, which has the same layers"
    return Built(decoder, parameters, None if whole is None else whole - parameters, note)


def _step_config(values: dict[str, Any]) -> Any:
    from transformers.models.step3p7.configuration_step3p7 import Step3p7TextConfig

    values.pop("model_type")
    return Step3p7TextConfig(**values)


def _decoder(config: Any, text: Any, kind: str) -> tuple[Any, int, str]:
    """(the decoder with its head, parameters of a head that the class lacks, a note)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    if kind == "step3p7":
        from transformers.models.step3p7.modeling_step3p7 import Step3p7TextModel

        head = text.vocab_size * text.hidden_size
        return Step3p7TextModel(text).to(torch.bfloat16).eval(), head, "built as Step3p7TextModel, an output head added"
    try:
        return AutoModelForCausalLM.from_config(text, dtype=torch.bfloat16).eval(), 0, ""
    except ValueError:  # the text part has no class of its own with a head
        whole = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval()
        for name in [name for name, _ in whole.model.named_children() if name != "language_model"]:
            delattr(whole.model, name)
        return whole, 0, ""


def _whole(config: Any) -> int:
    import torch
    from transformers import AutoModelForImageTextToText

    return _count(AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16))


def _count(module: Any) -> int:
    """Distinct parameters."""
    return sum({id(one): one.numel() for one in module.parameters()}.values())


def traced_flops(decoder: Any) -> Iterator[tuple[str, int]]:
    """(phase, FLOPs of all matrix products) of a prefill and of the decode step behind it, traced without data."""
    import torch

    past = None
    for phase, tokens in (("prefill", TOKENS), ("decode", 1)):
        counter = _counter()
        kept: dict[str, Any] = {} if past is None else {"cache": past}
        if hasattr(decoder, "lm_head"):
            kept["logits_to_keep"] = 1
        with torch.no_grad(), counter:
            words = torch.zeros(1, tokens, dtype=torch.long, device="meta")
            out = decoder(input_ids=words, use_cache=True, **kept)
        past = getattr(out, "cache", None) or out.past_key_values
        yield phase, counter.flops


def _counter() -> Any:
    """A dispatch mode that counts. torch's own counter lacks the grouped product of the experts."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class MatrixProducts(TorchDispatchMode):
        flops = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.__name__.split(".")[0]
            if name in ("mm", "bmm", "_grouped_mm", "linalg_solve_triangular"):
                left, right = args[0], args[1]
            elif name in ("addmm", "baddbmm"):
                left, right = args[1], args[2]
            else:
                return func(*args, **(kwargs or {}))
            self.flops += 2 * left.numel() * right.shape[-1]
            return func(*args, **(kwargs or {}))

    return MatrixProducts()


# ---------------------------------------------------------------- the tables


def prove(identity: str, version: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rows of both tables for one model."""
    model = read_model(identity)
    row = {
        "id": identity, "model_type": model.model_type, "ours": model.parameters,
        "vision_ours": model.vision_parameters or "", "version": version,
    }  # fmt: skip
    if model.model_type in NOT_BUILDABLE:
        return row | {"status": "not buildable", "note": NOT_BUILDABLE[model.model_type]}, []
    built = build(identity, model.model_type)
    row |= {"transformers": built.parameters, "vision_transformers": built.vision or "", "note": built.note}
    row["status"] = "equal" if built.parameters == model.parameters else "different"
    if model.model_type == "longcat_flash":
        row |= _longcat(model, built)
    return row, [*_flop_rows(identity, model, built, version)]


def _longcat(model: Model, built: Built) -> dict[str, str]:
    """The class gives the zero-computation experts, which have no weights, a gate and up matrix."""
    config = built.decoder.config
    extra = config.zero_expert_num * 2 * config.expert_ffn_hidden_size * config.hidden_size * config.num_layers
    if built.parameters - extra != model.parameters:
        return {"status": "different"}
    return {"status": "library fault", "note": "the class gives zero-computation experts weights; without them equal"}


def _flop_rows(identity: str, model: Model, built: Built, version: str) -> Iterator[dict[str, Any]]:
    if model.model_type in NO_EXPERTS:
        for module in built.decoder.modules():
            if type(module).__name__.endswith("Experts"):
                module.forward = lambda hidden, *_: hidden
    for phase, traced in traced_flops(built.decoder):
        ours = our_flops(identity, phase)
        new, cached = (TOKENS, 0) if phase == "prefill" else (1, TOKENS)
        note = NO_EXPERTS.get(model.model_type, "")
        yield {
            "id": identity, "phase": phase, "new_tokens": new, "cached_tokens": cached, "ours": f"{ours:.0f}",
            "traced": traced, "ratio": f"{ours / traced:.5f}", "version": version, "note": note,
        }  # fmt: skip


def write(path: Path, fields: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """One CSV table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fields, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main(chosen: list[str]) -> int:
    """Prove all models, or those named (then nothing is written). 1 where a count differs."""
    warnings.simplefilter("ignore")
    from transformers import __version__
    from transformers.utils import logging

    logging.set_verbosity_error()
    counts, flops = [], []
    for identity in chosen or model_ids():
        row, traced = prove(identity, __version__)
        counts.append(row)
        flops += traced
        ratios = " ".join(f"{one['phase']} {one['ratio']}" for one in traced)
        print(f"{row['status']:14} {identity:52} {row['ours']:>17,} {ratios}", flush=True)
    if not chosen:
        write(COUNTS, COUNT_FIELDS, counts)
        write(FLOPS, FLOP_FIELDS, flops)
    off = [row["id"] for row in flops if abs(float(row["ratio"]) - 1) > TOLERANCE]
    wrong = [row["id"] for row in counts if row["status"] == "different"]
    print(f"{len(counts)} models; parameters differ: {wrong or 'none'}; FLOPs differ: {off or 'none'}")
    return 1 if wrong or off else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
