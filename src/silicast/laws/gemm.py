"""Dense and grouped matrix products."""

from dataclasses import dataclass

import numpy as np

from silicast.laws.timing import Timing, Value, overlapped

#: rows of the smallest matrix instruction: a product of fewer rows costs this many
ROW_QUANTUM = 16.0
#: an output with fewer tiles than cores is cut along k by at most this factor (split-K)
SPLIT_K = 32.0
#: tiles a library chooses from, as shares of (tile_m, tile_n): fewer operand bytes per product, or fuller waves
TILES = ((1.0, 2.0), (1.0, 1.0), (0.5, 1.0), (0.5, 0.5))
#: rows at which a cost that grows with the rows up to full occupancy has reached half of it: one row tile
HALF_ROWS = 128.0
#: bits of the exponent of a 64-bit float
EXPONENT = np.int64(0x7FF0000000000000)


@dataclass(slots=True)
class MatrixUnit:
    """The matrix engine as a kernel finds it: peak FLOP/s, the share of it a GEMM sustains, cores, tile.

    What only calibration knows is neutral by default: `operands`, bytes/s that feed all cores with operands (from the
    cache); `k_ramp`, values of k that the pipeline of a tile takes to fill; `rounding`, the share of the rounding up
    to full waves that is paid (persistent kernels pay less); `split`, seconds that adding up the parts of k takes.
    """

    peak: Value
    efficiency: Value
    cores: Value
    tile_m: Value
    tile_n: Value
    operands: Value = np.inf
    k_ramp: Value = 0.0
    rounding: Value = 1.0
    split: Value = 0.0


@dataclass(slots=True)
class Traffic:
    """Bytes per stored value and the bandwidth that carries them, B/s, with its efficiency."""

    weight: Value
    activation: Value
    output: Value
    bandwidth: Value
    efficiency: Value


def gemm_time(
    m: Value, n: Value, k: Value, batch: Value, unit: MatrixUnit, traffic: Traffic, launch: Value, ramp: Value = 0.0
) -> Timing:
    """Matrix product: tiles run in waves on the cores, against the bytes that must move.

    t = launch + ramp m / (m + 128) + (t_c^3 + t_m^3)^(1/3),
    t_c = min over tiles and split-K of waves x max(2 h tile_n cores / (e P), cores (h b_a + tile_n b_w) / B_o)
    (k / s + k_ramp), h = min(tile_m, m rounded up to 16 rows), waves = max(1, tiles / cores, rounded up by
    `rounding`); an unfilled wave may be cut s times along k, for `split` seconds,
    t_m = batch (n k b_w + m k b_a + m n b_o) / (e_m W).

    m, n, k in values, P in FLOP/s, W and B_o in B/s, times in s. `ramp` is what a preceding pass over the rows costs
    once it fills the cores. More work never takes less time: each candidate is a non-decreasing staircase, and so is
    the least of them. Reference: roofline (Williams et al. 2009); tile and wave quantisation (NVIDIA, Matrix
    Multiplication Background User's Guide); split-K and stream-K (arXiv:2301.03598).
    """
    matrix: Value = np.inf
    for tall, wide in TILES:
        matrix = np.minimum(matrix, _tiled(m, n, k, batch, (unit.tile_m * tall, unit.tile_n * wide), unit, traffic))
    moved = batch * (n * k * traffic.weight + m * (k * traffic.activation + n * traffic.output))
    memory = moved / (traffic.efficiency * traffic.bandwidth)
    busy = (m > 0) * 1.0
    fixed = busy * (launch + ramp * m / (m + HALF_ROWS))
    return Timing(fixed + busy * overlapped(matrix, memory), busy * matrix, 0.0, memory, 0.0, fixed)


def _tiled(
    m: Value, n: Value, k: Value, batch: Value, tile: tuple[Value, Value], unit: MatrixUnit, traffic: Traffic
) -> Value:
    """Seconds of the matrix engine with one tile: whole along k, or cut where that fills the cores."""
    tile_m, tile_n = tile
    height = np.minimum(tile_m, ROW_QUANTUM * np.ceil(m / ROW_QUANTUM))
    # per row of a tile and value of k: products, and operands beside those of the columns
    multiply = 2 * tile_n * unit.cores / (unit.efficiency * unit.peak)
    row, columns = (cost * unit.cores / unit.operands for cost in (traffic.activation, tile_n * traffic.weight))
    per_k = np.maximum(height * multiply, height * row + columns)
    full = batch * np.ceil(m / tile_m) * np.ceil(n / tile_n) / unit.cores
    waves = np.maximum(full + unit.rounding * (np.ceil(full) - full), 1.0)
    whole = waves * per_k * (k + unit.k_ramp)
    parts = _power_of_two(1 / np.clip(full, 1 / SPLIT_K, 1.0))
    cut = np.where(parts > 1, per_k * (k / parts + unit.k_ramp) + unit.split, np.inf)
    return np.minimum(whole, cut)


def _power_of_two(number: Value) -> Value:
    """The largest power of two that is not above a number from 1: its mantissa cleared (IEEE 754, 64 bit)."""
    exponent = np.asarray(number, dtype=np.float64).view(np.int64) & EXPONENT
    return np.asarray(exponent.view(np.float64))


def experts_hit(tokens: Value, topk: Value, physical: Value, local: Value, spread: Value) -> Value:
    """Expected distinct experts that receive a token on one device.

    hit = local (1 - (1 - topk / physical)^(spread tokens)): each token misses a given one of the `physical` experts
    with probability 1 - topk / physical. Skewed routing acts like fewer tokens (`spread` <= 1).
    """
    miss = np.log1p(-np.minimum(topk / physical, 1 - np.finfo(float).eps))
    return local * -np.expm1(spread * tokens * miss)


def grouped_gemm_time(
    rows: Value,
    hit: Value,
    shape: tuple[Value, Value],
    unit: MatrixUnit,
    traffic: Traffic,
    floor: tuple[Value, Value],
    sorting: Value = 0.0,
) -> Timing:
    """Products of the experts of one device: padded rows against the weights of the experts that were hit.

    t = launch + sorting rows / (rows + 128) + (t_c^3 + t_m^3)^(1/3),
    t_c = 2 (rows + pad hit) n (k + k_ramp) / (e P), t_m = (hit n k b_w + rows (k b_a + n b_o)) / (e_m W).

    `shape` = (n, k), `floor` = (launch s, pad rows). Each expert's rows are padded to a tile: on average half a tile
    is wasted per expert hit. `sorting` is what bringing the rows into the order of the experts costs once there are
    more than a few. Reference: MegaBlocks (arXiv:2211.15841), DeepGEMM's masked grouped layout.
    """
    (n, k), (launch, pad) = shape, floor
    matrix = 2 * (rows + pad * hit) * n * (k + unit.k_ramp) / (unit.efficiency * unit.peak)
    moved = hit * n * k * traffic.weight + rows * (k * traffic.activation + n * traffic.output)
    memory = moved / (traffic.efficiency * traffic.bandwidth)
    busy = (rows > 0) * 1.0
    fixed = busy * (launch + sorting * rows / (rows + HALF_ROWS))
    return Timing(fixed + busy * overlapped(matrix, memory), matrix, 0.0, memory, 0.0, fixed)
