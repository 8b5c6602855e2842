"""The numbers of a chip that the fits divide by: peaks, bandwidth, cores, cache, links, all from its data file."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from silicast import catalog
from silicast.dtypes import BYTES, matrix_mode
from silicast.errors import EvidenceError
from silicast.machine import Machine


@dataclass(frozen=True, slots=True)
class Device:
    """One chip in SI: FLOP/s by matrix mode, share of it that its best measured GEMM reaches, bytes/s, cores, bytes."""

    id: str
    vendor: str
    generation: str
    peaks: dict[str, float]
    sustained: dict[str, float]
    bandwidth: float
    cores: float
    vector: float
    cache: float
    inner: float
    outer: float
    inner_size: float
    inner_latency: float
    outer_latency: float
    reduces: float

    def peak(self, kernel: str) -> float:
        """The peak of the mode that a kernel multiplies in. Raises EvidenceError when the chip lacks the mode."""
        mode = mode_of(kernel)
        if mode not in self.peaks:
            raise EvidenceError(f"{self.id} has no {mode} matrix mode; known: {', '.join(sorted(self.peaks))}.")
        return self.peaks[mode]


def known(kernel: str) -> bool:
    """Whether the name of a kernel says a stored format and a matrix mode."""
    return kernel in BYTES or all(part in BYTES for part in (kernel.rpartition("x")[0], kernel.rpartition("x")[2]))


def mode_of(kernel: str) -> str:
    """`int4xbf16` multiplies in bf16, `fp8_block` in fp8."""
    return matrix_mode(kernel if kernel in BYTES else kernel.rpartition("x")[2])


def stored_bytes(kernel: str) -> float:
    """Bytes of a stored weight."""
    return BYTES[kernel if kernel in BYTES else kernel.rpartition("x")[0]]


def activation_bytes(kernel: str) -> float:
    """Bytes of an activation as the product reads it."""
    return BYTES[mode_of(kernel)]


@cache
def device(chip_id: str) -> Device:
    """The numbers of a chip in its own system."""
    chip = catalog.complete(catalog.chip(chip_id))
    system = catalog.system(chip.system)
    machine = Machine(chip, system, catalog.stack("generic"), catalog.coefficients("", ""))
    fabric = machine.fabric
    share = float(machine.coefficient("collective", "bandwidth_efficiency"))
    l2 = chip.memory.get("l2")
    return Device(
        id=chip.id,
        vendor=chip.vendor,
        generation=chip.generation,
        peaks={mode: float(machine.peak(mode)) for mode in machine.modes},
        sustained={mode: float(machine.sustained(mode)) for mode in machine.modes},
        bandwidth=float(machine.bandwidth),
        cores=float(machine.cores),
        vector=float(machine.vector_rate),
        cache=l2.capacity.value if l2 and l2.capacity else np.sqrt(machine.bandwidth) * CACHE_GUESS,
        inner=float(fabric.inner_bandwidth) / share,
        outer=float(fabric.outer_bandwidth) / share,
        inner_size=float(fabric.inner_size),
        inner_latency=float(fabric.inner_latency),
        outer_latency=float(fabric.outer_latency),
        reduces=float(fabric.reduces),
    )


#: bytes of cache per square root of bandwidth where a chip file has none: H100, 50 MiB at 3.35 TB/s
CACHE_GUESS = 28.6
