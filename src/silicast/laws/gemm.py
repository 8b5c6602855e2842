"""Dense and grouped matrix products."""

from dataclasses import dataclass

import numpy as np

from silicast.laws.timing import Timing, Value, overlapped

#: rows of the smallest matrix instruction: a product of fewer rows costs this many
ROW_QUANTUM = 16.0
#: an output with fewer tiles than cores is cut along k by at most this factor (split-K)
SPLIT_K = 8.0


@dataclass(slots=True)
class MatrixUnit:
    """The matrix engine as a kernel finds it: peak FLOP/s, the share of it a GEMM sustains, cores, tile."""

    peak: Value
    efficiency: Value
    cores: Value
    tile_m: Value
    tile_n: Value


@dataclass(slots=True)
class Traffic:
    """Bytes per stored value and the bandwidth that carries them, B/s, with its efficiency."""

    weight: Value
    activation: Value
    output: Value
    bandwidth: Value
    efficiency: Value


def gemm_time(m: Value, n: Value, k: Value, batch: Value, unit: MatrixUnit, traffic: Traffic, launch: Value) -> Timing:
    """Matrix product: tiles run in waves on the cores, against the bytes that must move.

    t = launch + (t_c^3 + t_m^3)^(1/3) with
    t_c = waves x 2 tile_m tile_n k cores / (e P), tile_m = min(tile, m rounded up to 16 rows),
    waves = ceil(tiles / cores), or the fraction tiles / cores (at least 1/8, split-K) when one wave is not full,
    t_m = batch (n k b_w + m k b_a + m n b_o) / (e_m W).

    m, n, k in values, P in FLOP/s, W in B/s, launch and result in s. More work never takes less time: each factor
    is a non-decreasing staircase. Reference: roofline (Williams et al. 2009); wave quantisation (NVIDIA, Matrix
    Multiplication Background User's Guide).
    """
    height = np.minimum(unit.tile_m, ROW_QUANTUM * np.ceil(m / ROW_QUANTUM))
    tiles = batch * np.ceil(m / unit.tile_m) * np.ceil(n / unit.tile_n) / unit.cores
    waves = np.where(tiles < 1, np.maximum(tiles, 1 / SPLIT_K), np.ceil(tiles))
    matrix = waves * (2 * height * unit.tile_n * unit.cores) * k / (unit.efficiency * unit.peak)
    moved = batch * (n * k * traffic.weight + m * (k * traffic.activation + n * traffic.output))
    memory = moved / (traffic.efficiency * traffic.bandwidth)
    busy = (m > 0) * 1.0
    return Timing(busy * (launch + overlapped(matrix, memory)), busy * matrix, 0.0, memory, 0.0, busy * launch)


@dataclass(slots=True)
class Routing:
    """How tokens meet experts: rows on the busiest rank over the mean, and the even-routing share of distinct hits."""

    imbalance: Value
    spread: Value


def experts_hit(tokens: Value, topk: Value, physical: Value, local: Value, spread: Value) -> Value:
    """Expected distinct experts that receive a token on one device.

    hit = local (1 - (1 - topk / physical)^(spread tokens)): each token misses a given one of the `physical` experts
    with probability 1 - topk / physical. Skewed routing acts like fewer tokens (`spread` <= 1).
    """
    miss = np.log1p(-np.minimum(topk / physical, 1 - np.finfo(float).eps))
    return local * -np.expm1(spread * tokens * miss)


def grouped_gemm_time(
    rows: Value, hit: Value, shape: tuple[Value, Value], unit: MatrixUnit, traffic: Traffic, floor: tuple[Value, Value]
) -> Timing:
    """Products of the experts of one device: padded rows against the weights of the experts that were hit.

    t = launch + (t_c^3 + t_m^3)^(1/3), t_c = 2 (rows + pad hit) n k / (e P),
    t_m = (hit n k b_w + rows (k b_a + n b_o)) / (e_m W).

    `shape` = (n, k), `floor` = (launch s, pad rows). Each expert's rows are padded to a tile: on average half a tile
    is wasted per expert hit. Reference: MegaBlocks (arXiv:2211.15841), DeepGEMM's masked grouped layout.
    """
    (n, k), (launch, pad) = shape, floor
    matrix = 2 * (rows + pad * hit) * n * k / (unit.efficiency * unit.peak)
    moved = hit * n * k * traffic.weight + rows * (k * traffic.activation + n * traffic.output)
    memory = moved / (traffic.efficiency * traffic.bandwidth)
    busy = (rows > 0) * 1.0
    return Timing(busy * (launch + overlapped(matrix, memory)), matrix, 0.0, memory, 0.0, busy * launch)
