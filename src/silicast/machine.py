"""A chip in its system under a stack, as numbers the laws can use: points, or draws on a trailing axis.

Here sources, ranges and tiers become floats. Nothing below this file knows where a number came from; `used`
remembers it for the bibliography and the tier.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from silicast.coefficients import Coefficients
from silicast.dtypes import BYTES, matrix_mode
from silicast.errors import LayoutError, PrecisionError
from silicast.estimate import Sampler, Tier, worst
from silicast.hardware import Chip, Number, Source, System
from silicast.laws.collective import Fabric
from silicast.model.architecture import Model
from silicast.model.ops import Scope
from silicast.scenario import Precision
from silicast.stack import Cast, Stack

#: devices of a fabric without a stated size
UNBOUNDED = 1 << 20
#: in `Machine.tiers`, exchanges that stay in the innermost domain
INSIDE = "collective inside"


@dataclass(frozen=True, slots=True)
class Format:
    """How one scope is stored and multiplied: bytes per weight, matrix mode, bytes per activation.

    `kernel` names the kind of kernel that does it: `fp8_block`, or `int4xbf16` where weights are widened first.
    """

    stored: str
    mode: str

    @property
    def kernel(self) -> str:
        return self.stored if matrix_mode(self.stored) == self.mode else f"{self.stored}x{self.mode}"

    @property
    def weight_bytes(self) -> float:
        return BYTES[self.stored]

    @property
    def activation_bytes(self) -> float:
        return BYTES[self.mode]

    @property
    def casts_activations(self) -> bool:
        """Whether activations are quantised before the product."""
        return self.mode != "bf16"


class Machine:
    """Numbers of one chip, one system and one stack."""

    def __init__(
        self, chip: Chip, system: System, stack: Stack, coefficients: Coefficients, sampler: Sampler | None = None
    ) -> None:
        self.chip = chip
        self.system = system
        self.stack = stack.on(chip)
        self.sampler = sampler or Sampler()
        self._coefficients = coefficients
        self._cache: dict[str, Any] = {}
        self._asked: dict[tuple[str, str, tuple[str, ...]], Any] = {}
        self.used: dict[str, tuple[Number, Tier]] = {}

    def running(self, model: Model) -> "Machine":
        """The machine under the stack as it runs this architecture."""
        stack = self.stack.running(model.model_type)
        same = stack is self.stack
        return self if same else Machine(self.chip, self.system, stack, self._coefficients, self.sampler)

    def resampled(self, sampler: Sampler) -> "Machine":
        """The same machine under another sampler."""
        return Machine(self.chip, self.system, self.stack, self._coefficients, sampler)

    def with_memory(self, end: Literal["low", "high"]) -> "Machine":
        """The same machine with the low or the high end of its main memory for certain."""
        hbm = self.chip.hbm
        name = "usable" if hbm.usable else "capacity"
        number: Number | None = getattr(hbm, name)
        if number is None:
            return self
        certain = number.model_copy(update=dict.fromkeys(("low", "value", "high"), getattr(number, end)))
        memory = {**self.chip.memory, "hbm": hbm.model_copy(update={name: certain})}
        chip = self.chip.model_copy(update={"memory": memory})
        return Machine(chip, self.system, self.stack, self._coefficients, self.sampler)

    def under(self, stack: Stack) -> "Machine":
        """The same machine under another stack, with the coefficients of its own: for limits that a command sets."""
        return Machine(self.chip, self.system, stack, self._coefficients, self.sampler)

    @property
    def draws(self) -> int:
        """Draws per number; 0 = points."""
        return self.sampler.draws

    def coefficient(self, law: str, name: str, *kernels: str) -> Any:
        """A coefficient as a float or as draws; one of the first of `kernels` wins over the general one."""
        return self.optional(law, name, *kernels, needed=True)

    def optional(self, law: str, name: str, *kernels: str, needed: bool = False) -> Any | None:
        """A coefficient that only calibration gives, or None."""
        asked = law, name, kernels
        if asked not in self._asked:
            look_up = self._coefficients.get if needed else self._coefficients.find
            found = look_up(law, name, *kernels)
            self._asked[asked] = None if found is None else self.sampler.number(found.key, found.number)
            if found is not None:
                self.used[found.name] = (found.number, found.tier)
        return self._asked[asked]

    def known(self, law: str, name: str) -> Number:
        """A coefficient as it was read, with its range."""
        found = self._coefficients.get(law, name)
        self.used[found.name] = (found.number, found.tier)
        return found.number

    def matrix_efficiency(self, law: str, name: str, fmt: Format) -> Any:
        """Share of the matrix peak a kernel reaches: fitted, else the chip's sustained share times an assumed one."""
        fitted = self.optional(law, f"{name}_of_peak", fmt.kernel, fmt.mode)
        if fitted is not None:
            return fitted
        return self.sustained(fmt.mode) * self.coefficient(law, name, fmt.kernel, fmt.mode)

    def launch(self, law: str, fmt: Format | None = None) -> Any:
        """Floor of one kernel, s: fitted for the law, else the general one; graph replay leaves a share of it."""
        kernels = (fmt.kernel, fmt.mode) if fmt else ()
        fitted = self.optional(law, "launch", *kernels)
        general = "vector_kernel" if law == "vector" else "kernel"
        floor = self.coefficient("launch", general) if fitted is None else fitted
        return floor * self.coefficient("launch", "replay_share")

    def field(self, name: str, number: Number | None) -> Any:
        """A number of the chip or the system as a float or as draws."""
        if number is None:
            raise LayoutError(f"{self.chip.id} in {self.system.id} has no {name}, which this forecast needs.")
        cached = self._cache.get(name)
        if cached is None:
            self.used[name] = (number, "datasheet")
            cached = self._cache[name] = self.sampler.number(f"{self.chip.drawn_as}/{name}", number)
        return cached

    @cached_property
    def modes(self) -> Mapping[str, str]:
        """Matrix mode -> the dtype key of the chip file with its peak; the mode's own where the file has it."""
        keys = sorted(self.chip.compute.matrix, key=lambda dtype: matrix_mode(dtype) == dtype)
        return {matrix_mode(dtype): dtype for dtype in keys}

    def peak(self, mode: str) -> Any:
        """Dense matrix peak, FLOP/s. Raises PrecisionError where the engine has no such mode."""
        if mode not in self.modes:
            raise PrecisionError(f"{self.chip.id} has no {mode} matrix mode, only {', '.join(self.modes.values())}.")
        key = self.modes[mode]
        return self.field(f"compute.matrix.{key}", self.chip.compute.matrix[key])

    def sustained(self, mode: str) -> Any:
        """The best measured GEMM rate over the peak: of this mode, else of the others, else of the class."""
        measured = self.chip.compute.measured_gemm
        for key in (self.modes[mode], *measured):
            if key in measured and key in self.chip.compute.matrix:
                rate = self.field(f"compute.measured_gemm.{key}", measured[key])
                return np.minimum(rate / self.field(f"compute.matrix.{key}", self.chip.compute.matrix[key]), 1.0)
        return 1.0

    @property
    def bandwidth(self) -> Any:
        """Main memory, B/s."""
        return self.field("memory.hbm.bandwidth", self.chip.hbm.bandwidth)

    @property
    def capacity(self) -> Any:
        """Main memory, bytes."""
        return self.field("memory.hbm.capacity", self.chip.hbm.usable or self.chip.hbm.capacity)

    @property
    def cores(self) -> Any:
        """Matrix cores."""
        return np.round(self.field("compute.cores", self.chip.compute.cores))

    @property
    def vector_rate(self) -> Any:
        """Vector units, FLOP/s, FP32 where the chip states it."""
        vector = self.chip.compute.vector
        key = "fp32" if "fp32" in vector else next(iter(vector), "fp32")
        return self.field(f"compute.vector.{key}", vector.get(key))

    @cached_property
    def fabric(self) -> Fabric:
        """The links at the bandwidth that an exchange of no particular kind sustains."""
        share, links = self.coefficient("collective", "bandwidth_efficiency"), self.links
        inner, outer = links.inner_bandwidth * share, links.outer_bandwidth * share
        return replace(links, inner_bandwidth=inner, outer_bandwidth=outer)

    @cached_property
    def links(self) -> Fabric:
        """The two innermost domains that collectives cross (the same one twice where there is only one), at peak."""
        last = min(1, len(self.system.domains) - 1)
        inner = self.system.domains[0]
        torus = (inner.axes or 1) if inner.topology in ("torus", "ring") else 0
        return Fabric(
            inner_size=self._inner_size,
            inner_bandwidth=self._bandwidth(0),
            inner_latency=self._latency(0),
            outer_bandwidth=self._bandwidth(last),
            outer_latency=self._latency(last),
            launch=self.launch("collective"),
            mesh=float(inner.topology == "mesh"),
            axes=float(torus),
            reduces=float(inner.in_network_reduction),
        )

    @property
    def _inner_size(self) -> float:
        """Devices of the innermost domain."""
        return float(self.system.domains[0].size or self.system.max_devices or UNBOUNDED)

    @cached_property
    def way_out(self) -> tuple[Any, Any] | None:
        """Bandwidth (B/s) and latency (s) of the network by which a device reaches other systems.

        None where no source gives one.
        """
        outermost = len(self.system.domains) - 1
        if self.system.domains[outermost].kind == "rdma":
            share = self.coefficient("collective", "bandwidth_efficiency")
            return self._bandwidth(outermost) * share, self._latency(outermost)
        link = self.chip.links.get("scale_out")
        if link is None or link.bandwidth is None:
            return None
        shared = self.coefficient("collective", "oversubscription_rdma")
        peak = self.field("links.scale_out.bandwidth", link.bandwidth)
        share = self.coefficient("collective", "bandwidth_efficiency") / shared
        return peak * share, self.coefficient("collective", "latency_rdma")

    def _bandwidth(self, index: int) -> Any:
        """Peak of a domain per device and direction, B/s, less what oversubscription takes."""
        domain = self.system.domains[index]
        link = self.chip.links.get(domain.link)
        number = domain.bandwidth or (link.bandwidth if link else None)
        own = f"{domain.name}.bandwidth" if domain.bandwidth else f"links.{domain.link}.bandwidth"
        peak = self.field(own, number)
        shared = 1.0
        if domain.oversubscription:
            shared = self.field(f"{domain.name}.oversubscription", domain.oversubscription)
        elif domain.kind == "rdma":
            shared = self.coefficient("collective", "oversubscription_rdma")
        return peak / shared

    def _latency(self, index: int) -> Any:
        """The sourced latency of the domain or of the chip's link, else that of its class."""
        domain = self.system.domains[index]
        link = self.chip.links.get(domain.link)
        sourced = domain.latency or (link.latency if link else None)
        if sourced is not None:
            return self.field(f"{domain.name}.latency", sourced)
        return self.coefficient("collective", f"latency_{domain.kind}")

    @property
    def mismatches(self) -> tuple[str, ...]:
        """That a stack or a system is not made for this chip, one line each: the forecast assumes that it were."""
        chip, stack, system = self.chip, self.stack, self.system
        lines = []
        if stack.vendors and chip.vendor not in stack.vendors:
            made_for = ", ".join(stack.vendors)
            lines.append(f"stack {stack.id} is made for {made_for}; {chip.id} is of vendor {chip.vendor}.")
        if system.id != chip.system and not {chip.id, chip.based_on} & set(system.chips):
            lines.append(
                f"system {system.id} is built of {', '.join(system.chips) or 'other chips'}, not of {chip.id}."
            )
        return tuple(lines)

    def check_devices(self, devices: Any) -> None:
        """Raises LayoutError when the system has fewer devices than the deployment wants."""
        most = self.system.max_devices
        if most is not None and np.any(np.asarray(devices) > most):
            raise LayoutError(
                f"{np.max(devices):g} devices exceed the {most} devices of {self.system.id}. "
                "Use fewer, or another system: silicast systems"
            )

    def formats(self, model: Model, precision: Precision) -> tuple[dict[Scope, Format], tuple[str, ...]]:
        """How each scope of the model is stored and multiplied, and a warning for each fallback.

        Raises PrecisionError where not even BF16 products exist.
        """
        special = self._format(precision.weights, precision.activations)
        warnings = []
        if special.mode != matrix_mode(precision.activations) or special.stored != precision.weights:
            warnings.append(
                f"{precision.weights}/{precision.activations} on {self.chip.id}: runs as {special.stored} weights "
                f"with {special.mode} products ({self.stack.id})."
            )
        table = {scope: self._format(*formats) for scope, formats in model.formats(precision).items()}
        half = self.half
        if half != "bf16" and precision.activations != half and any(fmt.mode == "bf16" for fmt in table.values()):
            warnings.append(f"{self.chip.id} has no bf16 matrix mode: what is stored in bf16 is multiplied as {half}.")
        return table, tuple(warnings)

    @property
    def half(self) -> str:
        """The 16-bit format that the matrix engine multiplies: bf16, or fp16 on a chip that has no other."""
        return self.modes.get("bf16", "bf16")

    def in_half(self, precision: Precision) -> Precision:
        """The same precision with bf16 as the 16-bit format of this chip."""
        own = {"bf16": self.half}
        formats = (precision.weights, precision.activations, precision.kv_cache)
        return Precision(*(own.get(dtype, dtype) for dtype in formats))

    def native_precision(self, model: Model, kv_cache: str | None = None) -> Precision:
        """The checkpoint's own precision, cast as the stack casts it on this chip."""
        wanted = model.default_precision()
        weights, activations = self.stack.native(wanted.weights, wanted.activations, self.modes)
        special = self._format(weights, activations)
        same = special.mode == matrix_mode(activations)
        cache = kv_cache or self.stack.kv_cache or wanted.kv_cache
        return self.in_half(Precision(special.stored, activations if same else special.mode, cache))

    def _format(self, weights: str, activations: str) -> Format:
        mode = matrix_mode(activations)
        if mode in self.modes:
            return Format(weights, mode)
        cast = self._cast(weights, mode)
        if cast is not None and matrix_mode(cast.math) in self.modes:
            return Format(cast.stored, matrix_mode(cast.math))
        if "bf16" in self.modes:
            return Format(weights, "bf16")
        raise PrecisionError(
            f"{self.chip.id} cannot multiply {weights} x {activations}: its matrix modes are "
            f"{', '.join(self.modes.values())} and stack {self.stack.id} has no cast. Attention scores and the head "
            "run in 16 bit: add a bf16 or fp16 peak under [compute.matrix] to its file (of a shipped chip to a copy: "
            f"silicast chips template --from {self.chip.id}), or take a chip that has one (silicast chips)."
        )

    def _cast(self, weights: str, lacks: str) -> Cast | None:
        for cast in self.stack.casts:
            if cast.weights == weights and matrix_mode(cast.lacks) == lacks:
                return cast
        return None

    def tiers(self) -> Mapping[str, Tier]:
        """The worst tier among the coefficients that each law has used so far.

        `INSIDE` is that of exchanges that stay in the innermost domain: what is known of the one beyond is idle there.
        """
        found: dict[str, list[Tier]] = defaultdict(list)
        beyond = self._beyond()
        for name, (_, tier) in self.used.items():
            law, _, rest = name.partition(".")
            found[law].append(tier)
            if law == "collective" and rest.rpartition(".")[2] not in beyond:
                found[INSIDE].append(tier)
        return defaultdict(lambda: "datasheet", {law: worst(tiers) for law, tiers in found.items()})

    def _beyond(self) -> tuple[str, ...]:
        """Coefficients of exchanges that only the domain beyond the innermost one has."""
        kinds = {domain.kind for domain in self.system.domains[1:2]} - {self.system.domains[0].kind}
        names = tuple(f"{what}_{kind}" for kind in kinds for what in ("latency", "oversubscription"))
        return (*names, "outer_efficiency")

    @property
    def estimated(self) -> tuple[str, ...]:
        """The fields of the chip used so far that no source gives."""
        return tuple(name for name in self.chip.missing if name in self.used)

    def citations(self) -> tuple[Source, ...]:
        """Where the numbers used so far came from."""
        return tuple({number.source: None for number, _ in self.used.values()})
