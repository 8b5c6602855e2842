"""DeepSeek-R1 decode on one system, in one plain file: what Silicast computes, without Silicast.

It reads the data files of the package and imports nothing of it; tests/golden/test_reference_model.py holds the package
against it. As in large-scale decode, every device has the whole attention and its own sequences, and the routed experts
are spread over all devices. The model is arXiv:2412.19437, the laws are in docs/laws.md. Switched domains, no draws.

    python docs/reference_model.py
"""

import json
import tomllib
from math import cbrt, ceil, expm1, floor, inf, log1p, log2, sqrt
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parents[1] / "src" / "silicast" / "data"
SI = {"": 1, "count": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "Gb/s": 1e9 / 8, "GB/s": 1e9, "TB/s": 1e12}
SI |= {"TFLOPS": 1e12, "PFLOPS": 1e15, "TOPS": 1e12, "GB": 1e9, "GiB": 2**30}


def si(number: dict[str, Any]) -> float:
    value, _, unit = number["value"].partition(" ")
    return float(value) * SI[unit]


def toml(kind: str, name: str) -> dict[str, Any]:
    path = DATA / kind / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def flat(node: dict[str, Any], name: str = "") -> dict[str, float]:
    """Tables of numbers as `law.name`, or `law.kernel.name`, -> value."""
    if "value" in node:
        return {name: si(node)}
    inner = [flat(value, f"{name}.{key}".strip(".")) for key, value in node.items() if isinstance(value, dict)]
    return {key: value for found in inner for key, value in found.items()}


class Format(NamedTuple):
    """Kernel and mode of the matrix engine, under which coefficients are found; bytes per weight and activation."""

    kernel: str
    mode: str
    weight: float = 2.0
    activation: float = 2.0


BF16 = Format("bf16", "bf16")
FP8 = Format("fp8_block", "fp8", 1 + 4 / 128**2, 1.0)  # as published: one FP32 scale per 128 x 128 weights
INT8 = Format("int8", "int8", 1.0, 1.0)  # what a stack casts FP8 to on a chip without FP8
MLA = Format("mla_decode", "decode")  # latent attention has coefficients of its own, else those of decode
TO_ALL = Format("all_to_all", "all_to_all")  # so has the exchange of tokens
OUT = 2.0  # bytes of an activation between operators
TILES = ((1, 2), (1, 1), (0.5, 1), (0.5, 0.5))  # a library chooses among these, as shares of the largest tile
FULLEST = (0.0, 0.564, 1.029, 1.424, 1.766, 2.070, 2.343, 2.594, 2.826, 3.041, 3.245)  # E[max] of 2^i standard normals

Time = tuple[float, float]  # seconds until a kernel starts, and working

R1 = json.loads((DATA / "models/deepseek-ai/DeepSeek-R1.json").read_text(encoding="utf-8"))
D, LAYERS, DENSE = (R1[key] for key in ("hidden_size", "num_hidden_layers", "first_k_dense_replace"))
H, a, c, r = (R1[key] for key in ("num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_rope_head_dim"))
x, v = R1["qk_nope_head_dim"], R1["v_head_dim"]  # a, c: of the latents of queries and keys; r: the rotated part
E, TOPK, F = (R1[key] for key in ("n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"))


class Device:
    """The numbers of one device as symbols, and the time of a kernel by each law."""

    def __init__(self, chip: str, sustained: dict[str, float], calibrated: bool) -> None:
        self.chip = toml("chips", chip)
        self.system, self.stack = toml("systems", self.chip["system"]), toml("stacks", self.chip["stack"])
        fitted = (f"stacks/{self.chip['stack']}", f"{chip}/all", f"{chip}/{self.chip['stack']}")
        files = ("datasheet", *fitted) if calibrated else ("datasheet",)  # the last one that has a coefficient wins
        self.coefficients = {key: value for name in files for key, value in flat(toml("coefficients", name)).items()}
        compute = self.chip["compute"]
        self.P = flat(compute["matrix"])  # peak of each mode of the matrix engine, FLOP/s
        self.sustained = flat(compute.get("measured_gemm", {})) | sustained  # best measured GEMM, FLOP/s
        self.V, self.N = si(compute["vector"]["fp32"]), round(si(compute["cores"]))  # vector FLOP/s, matrix cores
        self.W = si(self.chip["memory"]["hbm"]["bandwidth"])  # main memory, B/s
        self.narrow = FP8 if "fp8" in self.P else INT8

    def c(self, law: str, name: str, by: Format = BF16, neutral: float | None = None) -> float:
        """A coefficient: of this kernel, else of this mode, else the general one, else `neutral` (nothing fitted)."""
        names = (f"{law}.{by.kernel}.{name}", f"{law}.{by.mode}.{name}", f"{law}.{name}")
        found = next((self.coefficients[key] for key in names if key in self.coefficients), neutral)
        assert found is not None, f"{law}.{name} is in no coefficient file"
        return found

    def rate(self, law: str, name: str, by: Format) -> float:
        """FLOP/s of the matrix engine: a fitted share of the peak, else a share of the best measured GEMM."""
        mode = "bf16" if by is MLA else by.mode
        share = self.c(law, f"{name}_of_peak", by, 0.0)
        return share * self.P[mode] or min(self.sustained[mode], self.P[mode]) * self.c(law, name, by)

    def time(self, law: str, moved: float, *computed: float, by: Format = BF16, ramp: float = 0, own: int = 1) -> Time:
        """t = launch + (t_1^3 + t_2^3 + ... + t_memory^3)^(1/3): the rooflines of a pipelined kernel. `own` is 0 where
        it is a part of the kernel before it, which was launched already."""
        memory = moved / (self.W * self.c(law, "memory_efficiency", by))
        busy = cbrt(sum(t**3 for t in (*computed, memory))) * self.c("launch", "in_engine")
        return own * self.launch(law, by) + ramp, busy

    def launch(self, law: str, by: Format = BF16) -> float:
        general = self.c("launch", "vector_kernel" if law == "vector" else "kernel")
        return self.c(law, "launch", by, general) * self.c("launch", "replay_share")

    def gemm(self, m: float, n: float, k: float, by: Format, batch: float, own: int) -> Time:
        """(m, k) by (k, n): the best tile, in waves on the cores or cut along k; weights, input, output move once."""
        whole = self.c("gemm", "tile_m"), self.c("gemm", "tile_n")
        matrix = min(self.tiled(m, n, k, whole[0] * tall, whole[1] * wide, batch, by) for tall, wide in TILES)
        moved = batch * (n * k * by.weight + m * k * by.activation + m * n * OUT)
        ramp = self.c("gemm", "row_ramp", by, 0.0) * m / (m + 128)  # of the pass that quantises the rows
        ramp *= by == BF16 or "quantise" not in self.stack["fused"]
        return self.time("gemm", moved, matrix, by=by, ramp=ramp, own=own)

    def tiled(self, m: float, n: float, k: float, height: float, width: float, batch: float, by: Format) -> float:
        """All cores at once: a tile takes its products, or its operands from the cache if those take longer."""
        rows = min(height, 16 * ceil(m / 16))  # the smallest matrix instruction has 16 rows
        products = 2 * rows * width * self.N / self.rate("gemm", "compute_efficiency", by)
        operands = self.W * self.c("gemm", "operand_ratio", by, inf)
        each = max(products, (rows * by.activation + width * by.weight) * self.N / operands)
        ramp = self.c("gemm", "k_ramp", by, 0.0)
        full = batch * ceil(m / height) * ceil(n / width) / self.N
        waves = max(full + self.c("gemm", "wave_rounding", by, 1.0) * (ceil(full) - full), 1.0)
        parts = 2 ** floor(log2(min(max(1 / max(full, 1 / 32), 1), 32)))  # an unfilled wave is cut along k
        cut = each * (k / parts + ramp) + self.c("gemm", "split_cost", by, 0.0) if parts > 1 else inf
        return min(waves * each * (k + ramp), cut)

    def grouped_gemm(self, rows: float, hit: float, n: float, k: float, by: Format) -> Time:
        """Rows of all experts of this device, padded per expert, against the weights of the experts hit."""
        padded = rows + self.c("grouped_gemm", "row_padding", by) * hit
        filled = k + self.c("grouped_gemm", "k_ramp", by, 0.0)
        matrix = 2 * padded * n * filled / self.rate("grouped_gemm", "compute_efficiency", by)
        moved = hit * n * k * by.weight + rows * (k * by.activation + n * OUT)
        sorting = self.c("grouped_gemm", "sorting", by, 0.0) * rows / (rows + 128)
        return self.time("grouped_gemm", moved, matrix, by=by, ramp=sorting)

    def attention(self, pairs: float, dims: float, moved: float, tiles: float) -> Time:
        """Two products of `dims` together, and a softmax, per query-key pair; 16-bit products; latent decode."""
        softmax = pairs * self.c("attention", "softmax_operations", MLA) / self.V
        start = self.c("attention", "tile_setup", MLA, 0.0) * tiles / self.N
        rate = self.rate("attention", "decode_efficiency", MLA)
        return self.time("attention", moved, 2 * pairs * dims / rate, softmax + start, by=MLA)

    def all_to_all(self, moved: float, fan: int, ranks: int) -> Time:
        """`fan` copies of `moved` bytes to random ranks, of which `near` share a domain; both links work at once."""
        inner, outer = self.system["domains"][0], self.system["domains"][:2][-1]
        assert inner["topology"] == "switch", "a mesh or a torus shares its links: see laws.collective"
        near = min(inner.get("size") or self.system["max_devices"], ranks)
        parts = ceil(ranks / near)
        (inside, alpha), (outside, beta) = self.link(inner), self.link(outer)
        share = self.c("collective", "bandwidth_efficiency", TO_ALL)
        inside, outside = inside * share, outside * self.c("collective", "outer_efficiency", TO_ALL, share)
        link = moved * max(fan * (near - 1) / (near * parts) / inside, fan * (parts - 1) / parts / outside)
        fixed = self.launch("collective", TO_ALL) + alpha * (near > 1) + beta * (parts > 1)
        return fixed + self.c("collective", "latency_all_to_all", TO_ALL), link

    def link(self, domain: dict[str, Any]) -> Time:
        """Peak B/s per device and direction, and seconds of one exchange."""
        own = self.chip["links"].get(domain["link"], {})
        shared = self.c("collective", "oversubscription_rdma") if domain["kind"] == "rdma" else 1.0
        shared = si(domain["oversubscription"]) if "oversubscription" in domain else shared
        latency = domain.get("latency") or own.get("latency")
        alpha = si(latency) if latency else self.c("collective", f"latency_{domain['kind']}")
        return si(domain.get("bandwidth") or own["bandwidth"]) / shared, alpha


class Kernel(NamedTuple):
    """`calls` of one kernel per step; `exchanged` ones may run beside the compute of a second microbatch."""

    name: str
    fixed: float  # seconds of `seconds` until it starts
    seconds: float
    calls: float
    exchanged: bool


class Decode:
    """B sequences on this device, each with q query tokens behind L cached ones, one of `ranks` devices: `kernels`."""

    def __init__(self, d: Device, ranks: int, B: float, q: int, L: float, kv_bytes: float) -> None:
        self.d, self.ranks, self.B, self.q, self.L, self.kv_bytes = d, ranks, B, q, L, kv_bytes
        self.kernels: list[Kernel] = []
        self.calls, T = 1, B * q  # `calls` of what is added next
        self.vector("embedding", T * D, T * D, T * D)
        self.calls = LAYERS  # attention in all of 61 layers
        self.attention()
        self.calls = DENSE  # then a dense network in the first 3
        self.norm("norm", T, D)
        self.network(T, R1["intermediate_size"])
        self.calls = LAYERS - DENSE  # and experts in 58
        self.experts()
        self.calls = 1
        self.head()
        self.q, self.calls = 1, q - 1  # the multi-token-prediction layer, once per draft (section 2.2)
        if self.calls:
            self.norm("norm", B, 2 * D)
            self.linear("join_inputs", B, D, 2 * D, d.narrow)
            self.attention()
            self.experts()
            self.head()

    def attention(self) -> None:
        """Multi-head latent attention, absorbed: one key of c + r values per token serves all H heads."""
        B, q, T, by, fused = self.B, self.q, self.B * self.q, self.d.narrow, self.d.stack["fused"]
        self.norm("norm", T, D)
        self.linear("qkv_down", T, a + c + r, D, by)
        if "latent_norm" not in fused:
            self.norm("latent_norm", T, a + c)
        rotated, own = T * (H + 1) * r, int("latent_prologue" not in fused)  # else one kernel from qkv_down to here
        self.vector("rope_and_cache", rotated, rotated, 4 * rotated, own)
        self.linear("q_up", T, H * (x + r), a, by, own=own)
        self.linear("q_absorb", T, c, x, by, H, own)
        pairs = H * B * (q * self.L + q * (q + 1) / 2)  # query i of q sees L + i keys
        moved = B * (self.L + q) * (c + r) * self.kv_bytes + T * H * (c + r + c) * OUT
        tiles = B * max(H * q / 64, 1)  # one core takes 64 rows of queries at a time
        self.add("attention_decode", self.d.attention(pairs, c + r + c, moved, tiles))
        self.linear("v_up", T, v, c, by, H)
        self.linear("o", T, D, H * v, by)

    def experts(self) -> None:
        """Router, shared expert, the routed experts of this device, and the journeys of its tokens."""
        d, T, by = self.d, self.B * self.q, self.d.narrow
        self.norm("norm", T, D)
        self.linear("router", T, E, D, BF16)
        self.vector("topk", T * E, T * 2 * TOPK, 8 * T * E)
        spare = d.stack["shared_cut"] == "spare" and self.ranks > E
        held, k = E + spare, TOPK + spare  # ranks to spare hold the shared expert, as one more of the routed ones
        if not spare:
            self.network(T, F * R1["n_shared_experts"])
        self.add("dispatch", d.all_to_all(T * D * by.activation, k, self.ranks), True)
        rows = T * k  # mean over the ranks
        busiest, hit = self.busiest(T * self.ranks, k, ceil(held / self.ranks))  # some experts are held twice
        self.vector("permute", rows * D, rows * D, rows * D)
        self.add("experts_up", d.grouped_gemm(busiest, hit, 2 * F, D, by))
        self.vector("expert_activation", 2 * rows * F, rows * F, 8 * rows * F)
        self.add("experts_down", d.grouped_gemm(busiest, hit, D, F, by))
        self.vector("unpermute", rows * D, T * D, rows * D)
        self.add("combine", d.all_to_all(T * D * OUT, k, self.ranks), True)

    def busiest(self, tokens: float, k: int, local: int) -> tuple[float, float]:
        """Rows (nearly Poisson) and hits among `local` experts (binomial) on the fullest rank: all wait for it."""
        d, doublings = self.d, log2(self.ranks)
        low, high = FULLEST[floor(doublings)], FULLEST[ceil(doublings)]
        worst = low + (high - low) * (doublings % 1)
        mean = tokens * k / self.ranks
        rows = mean * (d.c("routing", "imbalance") if self.ranks > 1 else 1.0) + worst * sqrt(mean)
        even = d.c("routing", "spread") * tokens  # skewed routing hits as few experts as fewer tokens would
        hit = -local * expm1(even * log1p(-k / (local * self.ranks)))  # local (1 - (1 - k / held)^tokens)
        hit += worst * sqrt(hit * (1 - hit / local))
        least = min(tokens * k, 1.0)  # one expert at least has one row
        return max(min(rows, tokens * min(k, local)), least), max(min(hit, local), least)

    def head(self) -> None:
        """Final norm, logits of every query token, sampling."""
        T, tokens = self.B * self.q, R1["vocab_size"]
        self.norm("final_norm", T, D)
        self.linear("head", T, tokens, D, BF16)
        self.vector("sampling", T * tokens, T, 2 * T * tokens)

    def network(self, T: float, width: int) -> None:
        """Gated feed-forward network (arXiv:2002.05202)."""
        self.linear("up", T, 2 * width, D, self.d.narrow)
        self.vector("activation", 2 * T * width, T * width, 8 * T * width)
        self.linear("down", T, D, width, self.d.narrow)

    def linear(self, name: str, m: float, n: float, k: float, by: Format, batch: float = 1, own: int = 1) -> None:
        """A product, behind the kernel that quantises its input unless the stack fuses it."""
        if by != BF16 and "quantise" not in self.d.stack["fused"]:
            read = batch * m * k
            self.vector(f"quantise_{name}", read, read * by.activation / OUT, 4 * read, own)
        self.add(name, self.d.gemm(m, n, k, by, batch, own))

    def norm(self, name: str, rows: float, width: int) -> None:
        """The residual is added in the same pass: two values read and two written."""
        self.vector(name, 2 * rows * width, 2 * rows * width, 4 * rows * width)

    def vector(self, name: str, read: float, written: float, operations: float, own: int = 1) -> None:
        """Element-wise operators on 16-bit values."""
        busy = operations / (self.d.V * self.d.c("vector", "compute_efficiency"))
        self.add(name, self.d.time("vector", (read + written) * OUT, busy, own=own))

    def add(self, name: str, time: Time, exchanged: bool = False) -> None:
        self.kernels.append(Kernel(name, time[0], sum(time), self.calls, exchanged))


class Step(NamedTuple):
    """Seconds of one step, of the host and hidden by overlap, and the kernels of one microbatch."""

    seconds: float
    host: float
    hidden: float
    kernels: list[Kernel]


def decode_step(
    chip: str, ranks: int, batch: float, context: float, query_tokens: int = 1, microbatches: int = 1,
    kv_bytes: float = 2.0, sustained: dict[str, float] | None = None, calibrated: bool = True,
) -> Step:  # fmt: skip
    """One step of `batch` sequences per device. `sustained`: best GEMM rate by mode, FLOP/s, where the chip's file has
    none (Silicast estimates it from other chips). Not `calibrated`: the coefficients of the datasheet tier alone."""
    device = Device(chip, sustained or {}, calibrated)
    kernels = Decode(device, ranks, batch / microbatches, query_tokens, context, kv_bytes).kernels
    C = sum(kernel.seconds * kernel.calls for kernel in kernels if not kernel.exchanged)
    X = sum(kernel.seconds * kernel.calls for kernel in kernels if kernel.exchanged)
    busy = C + X
    if microbatches == 2:  # the exchange of one half runs beside the compute of the other, and slows it by a tax
        own = device.stack.get("microbatch_streams", 1) == 2  # each half on a stream of its own hides launches, too
        work = C - own * sum(kernel.fixed * kernel.calls for kernel in kernels if not kernel.exchanged)
        busy = max(2 * work + device.c("overlap", "tax_decode") * 2 * min(work, X), 2 * X, busy)
    host = device.c("host", "step") + device.c("host", "per_sequence") * batch
    return Step(busy + host, host, microbatches * (C + X) - busy, kernels)


if __name__ == "__main__":
    step = decode_step("h100-sxm", ranks=72, batch=48, context=4096)
    print(f"72 x H100, 48 sequences per device at 4,096 tokens: {step.seconds * 1e3:.2f} ms")
    for kernel in sorted(step.kernels, key=lambda kernel: -kernel.seconds * kernel.calls):
        print(f"{kernel.calls:4.0f} x {kernel.name:18s} {kernel.seconds * kernel.calls * 1e3:7.3f} ms")
