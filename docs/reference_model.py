"""DeepSeek-R1 decode on one system, in one plain file: what Silicast computes, without Silicast.

Reads the data files of the package and imports nothing of it, so that a reader can check the physics in one sitting
and a test can hold the package against it (tests/golden/test_reference_model.py). Switched domains only; no pipeline
and no context parallelism. Reference: DeepSeek-V3 (arXiv:2412.19437) for the model, docs/laws.md for the laws.

    python docs/reference_model.py
"""

import json
import tomllib
from collections.abc import Iterable
from math import ceil, expm1, inf, log1p
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parents[1] / "src" / "silicast" / "data"

# 1. Numbers: text with a unit -> SI ------------------------------------------------------------------------------

SI = {"": 1, "count": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "Gb/s": 1e9 / 8, "GB/s": 1e9, "TB/s": 1e12}
SI |= {"TFLOPS": 1e12, "PFLOPS": 1e15, "TOPS": 1e12, "GB": 1e9, "GiB": 2**30}


def si(number: dict[str, Any]) -> float:
    value, _, unit = number["value"].partition(" ")
    return float(value) * SI[unit]


def toml(kind: str, name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / kind / f"{name}.toml").read_text(encoding="utf-8"))


# 2. The machine: one device of a chip, in its system, under its stack ----------------------------------------------


class Format(NamedTuple):
    """How a group of weights is stored and multiplied."""

    weight: float  # bytes per stored weight, scales included
    mode: str  # of the matrix engine
    activation: float  # bytes per activation


BF16 = Format(2.0, "bf16", 2.0)
NARROW = {"fp8_block": Format(1 + 4 / 128**2, "fp8", 1.0), "int8": Format(1.0, "int8", 1.0)}
OUT = 2.0  # bytes of activations between operators


class Device:
    """The numbers of the data files as symbols, and the time of one kernel by each law (seconds)."""

    def __init__(self, chip: str, system: str, stack: str, sustained: dict[str, float]) -> None:
        files = toml("chips", chip), toml("systems", system), toml("stacks", stack)
        self.chip, self.system, self.stack = files
        self.coefficients: dict[str, float] = {}
        for name in ("datasheet", f"{chip}/all", f"{chip}/{stack}"):  # the more special file wins
            if (DATA / "coefficients" / f"{name}.toml").is_file():
                self.coefficients |= flat(toml("coefficients", name))
        compute = self.chip["compute"]
        self.P = {mode: si(number) for mode, number in compute["matrix"].items()}  # peaks, FLOP/s
        measured = {mode: si(number) for mode, number in compute.get("measured_gemm", {}).items()} | sustained
        self.s = {mode: min(rate / self.P[mode], 1.0) for mode, rate in measured.items()}  # best GEMM / peak
        self.V = si(compute["vector"]["fp32"])  # vector units, FLOP/s
        self.N = round(si(compute["cores"]))  # matrix cores
        self.W = si(self.chip["memory"]["hbm"]["bandwidth"])  # main memory, B/s
        domains = self.system["domains"]
        self.near, self.far = domains[0], domains[min(1, len(domains) - 1)]
        self.launch = self.c("launch", "kernel")

    def c(self, law: str, name: str, mode: str = "") -> float:
        return self.coefficients.get(f"{law}.{mode}.{name}", self.coefficients.get(f"{law}.{name}", inf))

    def narrow(self) -> Format:
        """FP8 in blocks of 128 x 128 as published where the matrix engine has FP8, else what the stack casts it to."""
        if "fp8" in self.P:
            return NARROW["fp8_block"]
        casts = self.stack["casts"]
        return NARROW[next(c["math"] for c in casts if c["weights"] == "fp8_block" and c["lacks"] == "fp8")]

    # 3. Kernels: t = launch + (t_matrix^3 + t_vector^3 + t_memory^3)^(1/3) -----------------------------------------

    def gemm(self, m: float, n: float, k: float, by: Format, batch: float = 1) -> float:
        """Tiles run in waves on the cores; weights, input and output move once."""
        tm, tn = self.c("gemm", "tile_m"), self.c("gemm", "tile_n")
        height = min(tm, 16 * ceil(m / 16))  # the smallest matrix instruction has 16 rows
        waves = batch * ceil(m / tm) * ceil(n / tn) / self.N
        waves = ceil(waves) if waves >= 1 else max(waves, 1 / 8)  # an unfilled wave is cut along k, 8 times at most
        rate = self.P[by.mode] * self.s[by.mode] * self.c("gemm", "compute_efficiency", by.mode)
        moved = batch * (n * k * by.weight + m * k * by.activation + m * n * OUT)
        return self.launch + smooth(waves * 2 * height * tn * self.N * k / rate, self.hbm("gemm", moved))

    def grouped(self, rows: float, hit: float, n: float, k: float, by: Format) -> float:
        """Rows of all experts of this device, padded per expert, against the weights of the experts hit."""
        rate = self.P[by.mode] * self.s[by.mode] * self.c("grouped_gemm", "compute_efficiency", by.mode)
        padded = rows + self.c("grouped_gemm", "row_padding") * hit
        moved = hit * n * k * by.weight + rows * (k * by.activation + n * OUT)
        return self.launch + smooth(2 * padded * n * k / rate, self.hbm("grouped_gemm", moved))

    def attention(self, pairs: float, dims: float, moved: float) -> float:
        """Two products and a softmax per query-key pair."""
        rate = self.P["bf16"] * self.s["bf16"] * self.c("attention", "decode_efficiency")
        softmax = pairs * self.c("attention", "softmax_operations") / self.V
        return self.launch + smooth(2 * pairs * dims / rate, softmax, self.hbm("attention", moved))

    def vector(self, read: float, written: float, operations: float) -> float:
        """Element-wise operators on 16-bit values."""
        busy = operations / (self.V * self.c("vector", "compute_efficiency"))
        return self.c("launch", "vector_kernel") + smooth(busy, self.hbm("vector", (read + written) * OUT))

    def hbm(self, law: str, moved: float) -> float:
        return moved / (self.W * self.c(law, "memory_efficiency"))

    # 4. Exchanges: g ranks, `stride` apart, of which `inside` share a domain, in `parts` domains -------------------

    def divide(self, group: int, stride: int = 1) -> tuple[int, int]:
        assert self.near["topology"] == "switch", "a mesh or a torus shares its links: see laws.collective.divide"
        size = self.near.get("size") or self.system.get("max_devices") or 1 << 20
        inside = min(max(size // stride, 1), group)
        return inside, ceil(group / inside)

    def link(self, domain: dict[str, Any]) -> tuple[float, float]:
        """Sustained B/s per device and direction, and seconds of one exchange."""
        own = self.chip["links"].get(domain["link"], {})
        shared = self.c("collective", "oversubscription_rdma") if domain["kind"] == "rdma" else 1.0
        shared = si(domain["oversubscription"]) if "oversubscription" in domain else shared
        latency = domain.get("latency") or own.get("latency")
        alpha = si(latency) if latency else self.c("collective", f"latency_{domain['kind']}")
        bandwidth = si(domain.get("bandwidth") or own["bandwidth"])
        return bandwidth * self.c("collective", "bandwidth_efficiency") / shared, alpha

    def latency(self, inside: int, parts: int, far_exchanges: int = 1) -> float:
        near, far = self.link(self.near)[1], self.link(self.far)[1]
        return self.launch + near * (inside > 1) + far_exchanges * far * (parts > 1) if inside * parts > 1 else 0.0

    def all_reduce(self, values: float, group: int) -> float:
        """Reduce-scatter and all-gather inside (or once through a switch that adds up), shards across."""
        i, p = self.divide(group)
        share = min(2 * (i - 1) / i, 1.0 if self.near.get("in_network_reduction") else inf)
        far = 2 / i * (p - 1) / p / self.link(self.far)[0]
        return self.latency(i, p, 2) + values * OUT * (share / self.link(self.near)[0] + far)

    def all_gather(self, values: float, group: int) -> float:
        """Shards across, then inside; a reduce-scatter is the same backwards."""
        i, p = self.divide(group)
        far = (p - 1) / p / i / self.link(self.far)[0]
        return self.latency(i, p) + values * OUT * ((i - 1) / i / self.link(self.near)[0] + far)

    def all_to_all(self, values: float, width: float, fan: int, group: int, stride: int) -> float:
        """Each value travels alone to `fan` random ranks; near and far links work side by side."""
        i, p = self.divide(group, stride)
        near = fan * (i - 1) / (i * p) / self.link(self.near)[0]
        far = fan * (p - 1) / p / self.link(self.far)[0]
        return self.latency(i, p) + self.c("collective", "latency_all_to_all") + values * width * max(near, far)


def flat(node: dict[str, Any], name: str = "") -> dict[str, float]:
    """law.name, or law.mode.name -> value."""
    inner = {f"{name}.{key}" if name else key: value for key, value in node.items() if key not in ("sources", "tier")}
    leaves = {key: si(value) for key, value in inner.items() if "value" in value}
    return leaves | {k: v for key, value in inner.items() if "value" not in value for k, v in flat(value, key).items()}


def smooth(*seconds: float) -> float:
    return float(sum(t**3 for t in seconds) ** (1 / 3))


# 5. The model: operators of one decode step on one device -----------------------------------------------------------


class Kernel(NamedTuple):
    """`count` calls per step of `seconds` each; `exchanged` ones may run beside the compute of a second microbatch."""

    name: str
    seconds: float
    count: float = 1
    exchanged: bool = False


class Decode(NamedTuple):
    """One device's part: T rows, B sequences of q tokens at context L, on tp x dp ranks with ep groups of experts."""

    device: Device
    R1: dict[str, Any]
    tp: int
    dp: int
    ep: int
    B: float
    q: int
    L: float
    kv_bytes: float

    @property
    def T(self) -> float:  # noqa: N802
        return self.B * self.q

    def linear(self, name: str, m: float, n: float, k: float, by: Format, batch: float = 1) -> Iterable[Kernel]:
        """A product, behind the kernel that quantises its input unless the stack fuses it."""
        if by.mode != "bf16" and "quantise" not in self.device.stack["fused"]:
            x = m * k * batch
            yield Kernel(f"quantise_{name}", self.device.vector(x, x * by.activation / OUT, 4 * x))
        yield Kernel(name, self.device.gemm(m, n, k, by, batch))

    def norm(self, name: str, rows: float, width: int) -> Kernel:
        """The residual is added in the same pass."""
        x = 2 * rows * width
        return Kernel(name, self.device.vector(x, x, 2 * x))

    def reduce(self, name: str, values: float) -> Iterable[Kernel]:
        if self.tp > 1:
            yield Kernel(name, self.device.all_reduce(values, self.tp))

    def attention(self) -> Iterable[Kernel]:
        """Multi-head latent attention, absorbed: 1 key of c + r values per token serves all heads."""
        d, R1, T, by = self.device, self.R1, self.T, self.device.narrow()
        D, H, a = R1["hidden_size"], R1["num_attention_heads"] / self.tp, R1["q_lora_rank"]
        c, r, x, v = (R1[key] for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"))
        yield self.norm("norm", T, D)
        yield from self.linear("qkv_down", T, a + c + r, D, by)
        if "latent_norm" not in d.stack["fused"]:
            yield self.norm("latent_norm", T, a + c)
        rotated = T * (H + 1) * r
        yield Kernel("rope_and_cache", d.vector(rotated, rotated, 4 * rotated))
        yield from self.linear("q_up", T, H * (x + r), a, by)
        yield from self.linear("q_absorb", T, c, x, by, H)
        pairs = self.B * H * (self.q * self.L + self.q * (self.q + 1) / 2)  # query i of q sees L + i keys
        moved = self.B * (self.L + self.q) * (c + r) * self.kv_bytes + T * H * (2 * c + r) * OUT
        yield Kernel("attention_decode", d.attention(pairs, 2 * c + r, moved))
        yield from self.linear("v_up", T, v, c, by, H)
        yield from self.linear("o", T, D, H * v, by)
        yield from self.reduce("attention_all_reduce", T * D)

    def network(self, width: int, cut: str) -> Iterable[Kernel]:
        """Gated network, cut over tp, or whole on every rank for the rows that this rank owns."""
        D, by = self.R1["hidden_size"], self.device.narrow()
        rows, ranks = (self.T, self.tp) if cut == "tensor" else (self.T / self.tp, 1)
        inner = rows * width / ranks
        yield from self.linear("up", rows, 2 * width / ranks, D, by)
        yield Kernel("activation", self.device.vector(2 * inner, inner, 8 * inner))
        yield from self.linear("down", rows, D, width / ranks, by)

    def dense(self) -> Iterable[Kernel]:
        D, cut = self.R1["hidden_size"], self.device.stack["dense_cut"]
        yield self.norm("norm", self.T, D)
        yield from self.network(self.R1["intermediate_size"], cut)
        if cut == "tensor":
            yield from self.reduce("ffn_all_reduce", self.T * D)
        elif self.tp > 1:
            yield Kernel("ffn_all_gather", self.device.all_gather(self.T * D, self.tp))

    def experts(self) -> Iterable[Kernel]:
        """Router, shared expert, routed experts of this device, and the exchange of tokens."""
        d, R1, by, D = self.device, self.R1, self.device.narrow(), self.R1["hidden_size"]
        E, k, width = R1["n_routed_experts"], R1["num_experts_per_tok"], R1["moe_intermediate_size"]
        yield self.norm("norm", self.T, D)
        yield from self.linear("router", self.T, E, D, BF16)
        yield Kernel("topk", d.vector(self.T * E, self.T * 2 * k, 8 * self.T * E))
        yield from self.network(width * R1["n_shared_experts"], d.stack["shared_cut"])
        tokens, cut = self.T * self.dp, self.tp * self.dp // self.ep  # each expert is cut over `cut` ranks
        local = ceil(E / self.ep)  # where ep does not divide E some experts are held twice
        rows = tokens * k / self.ep  # mean over the ranks; the busiest has `imbalance` times as many
        busiest = rows * (d.c("routing", "imbalance") if self.ep > 1 else 1.0)
        hit = -local * expm1(d.c("routing", "spread") * tokens * log1p(-k / (local * self.ep)))
        yield Kernel("permute", d.vector(rows * D, rows * D, rows * D))
        yield Kernel("experts_up", d.grouped(busiest, hit, 2 * width / cut, D, by))
        inner = rows * width / cut
        yield Kernel("expert_activation", d.vector(2 * inner, inner, 8 * inner))
        yield Kernel("experts_down", d.grouped(busiest, hit, D, width / cut, by))
        yield Kernel("unpermute", d.vector(rows * D, rows * D / k, rows * D))
        yield from self.exchange(tokens * D, cut, k, by)

    def exchange(self, values: float, cut: int, k: int, by: Format) -> Iterable[Kernel]:
        d, ranks, whole = self.device, self.tp * self.dp, self.T * self.R1["hidden_size"]
        if self.dp == 1:
            yield from self.reduce("experts_all_reduce", whole)
            return
        if self.tp > 1:
            yield Kernel("experts_regather", d.all_gather(whole, self.tp))
            if d.stack["shared_cut"] == "tensor":
                yield Kernel("shared_scatter", d.all_gather(whole, self.tp))
        wide = self.ep >= d.stack.get("wide_from", 16)
        if self.ep > 1 and (wide and d.stack.get("exchange_wide") or d.stack["exchange"]) == "all_to_all":
            yield Kernel("dispatch", d.all_to_all(values / ranks, by.activation, k, self.ep, cut), 1, True)
            yield Kernel("combine", d.all_to_all(values / ranks, OUT, k, self.ep, cut), 1, True)
        else:
            yield Kernel("token_gather", d.all_gather(values, ranks))
            yield Kernel("token_scatter", d.all_gather(values, ranks))

    def head(self) -> Iterable[Kernel]:
        """Final norm, logits, sampling; every query token has logits."""
        D, V, cut = self.R1["hidden_size"], self.R1["vocab_size"], self.device.stack["head_cut"] == "tensor"
        own, ranks = (self.T, self.tp) if cut else (self.T / self.tp, 1)
        yield self.norm("final_norm", own, D)
        yield from self.linear("head", own, V / ranks, D, BF16)
        if self.tp > 1:
            yield Kernel("logits_gather", self.device.all_gather(self.T * V if cut else self.T, self.tp))
        logits = self.T * V if cut else self.T * V / self.tp
        yield Kernel("sampling", self.device.vector(logits, self.T, 2 * logits))

    def layers(self) -> Iterable[Kernel]:
        """61 layers: attention, then a dense network (3) or experts (58)."""
        n, first = self.R1["num_hidden_layers"], self.R1["first_k_dense_replace"]
        x = self.T * self.R1["hidden_size"]
        yield Kernel("embedding", self.device.vector(x, x, x))
        yield from self.reduce("embedding_all_reduce", x)
        yield from times(n, self.attention())
        yield from times(first, self.dense())
        yield from times(n - first, self.experts())
        yield from self.head()

    def draft(self) -> Iterable[Kernel]:
        """The multi-token-prediction layer: one token per sequence and draft."""
        one, D = self._replace(q=1), self.R1["hidden_size"]
        yield one.norm("norm", one.T, 2 * D)
        yield from one.linear("join_inputs", one.T, D, 2 * D, self.device.narrow())
        yield from (*one.attention(), *one.experts(), *one.head())


def times(count: float, kernels: Iterable[Kernel]) -> Iterable[Kernel]:
    return (kernel._replace(count=kernel.count * count) for kernel in kernels)


# 6. The step -----------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """Seconds of one step, and the kernels of one microbatch."""

    seconds: float
    host: float
    hidden: float
    kernels: list[Kernel]


def decode_step(
    chip: str, tp: int, attention_dp: int, ep: int, batch: float, context: float, query_tokens: int = 1,
    microbatches: int = 1, kv_bytes: float = 2.0, sustained: dict[str, float] | None = None,
) -> Step:  # fmt: skip
    """One decode step of `batch` sequences per attention rank. `sustained`: best GEMM rates, FLOP/s by mode, that the
    chip's file lacks and Silicast estimates."""
    own = toml("chips", chip)
    device = Device(chip, own["system"], own["stack"], sustained or {})
    R1 = json.loads((DATA / "models/deepseek-ai/DeepSeek-R1.json").read_text(encoding="utf-8"))
    part = Decode(device, R1, tp, attention_dp, ep, batch / microbatches, query_tokens, context, kv_bytes)
    kernels = [*part.layers(), *times(query_tokens - 1, part.draft() if query_tokens > 1 else ())]
    C = sum(kernel.seconds * kernel.count for kernel in kernels if not kernel.exchanged)
    X = sum(kernel.seconds * kernel.count for kernel in kernels if kernel.exchanged)
    busy = C + X
    if microbatches == 2:  # the exchange of one half runs beside the compute of the other and slows it by a tax
        busy = max(2 * C * (1 + device.c("overlap", "tax_decode")), 2 * X, C + X)
    host = device.c("host", "step") + device.c("host", "per_sequence") * batch
    return Step(busy + host, host, microbatches * (C + X) - busy, kernels)


def main() -> None:
    """CloudMatrix384 as in arXiv:2506.12708 and 72 H100; the 16-bit GEMM of the 910C is taken at its INT8 share."""
    own = toml("chips", "ascend-910c")["compute"]
    share = si(own["measured_gemm"]["int8"]) / si(own["matrix"]["int8"])
    guess = {"bf16": share * si(own["matrix"]["bf16"])}
    for chip, ranks, microbatches, sustained in (("ascend-910c", 320, 2, guess), ("h100-sxm", 72, 1, {})):
        step = decode_step(chip, 1, ranks, ranks, 48, 4096, 2, microbatches, 2.0, sustained)
        print(f"\n{chip}, EP{ranks}, 48 sequences per device at 4,096 tokens, MTP 1, {microbatches} microbatches")
        total: dict[str, float] = {}
        for kernel in step.kernels:
            total[kernel.name] = total.get(kernel.name, 0.0) + microbatches * kernel.count * kernel.seconds
        for name, seconds in sorted(total.items(), key=lambda item: -item[1]):
            print(f"  {name:24s} {seconds * 1e3:8.3f} ms")
        print(f"  {'host':24s} {step.host * 1e3:8.3f} ms\n  {'hidden by overlap':24s} {-step.hidden * 1e3:8.3f} ms")
        print(f"  {'step':24s} {step.seconds * 1e3:8.3f} ms")


if __name__ == "__main__":
    main()
