"""What the numbers of a chip or system file count, brought to one basis: dense, one direction, per device.

A number says what it counts in `basis`. Where another basis than that of its field has one certain factor, the number
is converted and its note says so; where it has none, the file is refused. A number that says nothing counts as its
field does.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from silicast.errors import ChipFileError
from silicast.hardware import Basis, Chip, Number, System

T = TypeVar("T", bound=BaseModel)

#: pairs of which a number can be only one
OPPOSITES: tuple[tuple[Basis, Basis], ...] = (
    ("dense", "sparse"),
    ("per_direction", "both_directions"),
    ("per_device", "per_package"),
    ("per_device", "per_core"),
    ("per_package", "per_core"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Fields (a pattern of the dotted name) in which `given` becomes `wanted`.

    `factor` names how: half, divided or multiplied by the devices of a package; None = no factor is certain, and
    `instead` says what the file should give.
    """

    fields: str
    given: Basis
    wanted: Basis
    factor: str | None = None
    instead: str = ""


_MATRIX = r"compute\.(matrix|marketing)\.(tf32|bf16|fp16|fp8|int8)"
_LEVEL = r"memory\.(hbm|l2|infinity_cache)\.(capacity|usable|bandwidth)"
_PER_DEVICE = rf"(compute\.(matrix|marketing|vector|measured_gemm)\.\w+|compute\.cores|{_LEVEL}|links\.\w+\.bandwidth)"

#: in order; a number that one rule has brought to another basis is no longer a case for the next
RULES = (
    # structured sparsity leaves out two of four values: twice the dense rate, in the modes in which vendors count so
    Rule(_MATRIX, "sparse", "dense", "half"),
    Rule(r"compute\.(matrix|marketing)\.", "sparse", "dense", None, "the dense peak: in this mode sparse is not twice"),
    Rule(r"", "sparse", "dense", None, "the dense number: only matrix engines leave out zeros"),
    Rule(r"(links\.\w+|domains\[\d+\])\.bandwidth", "both_directions", "per_direction", "half"),
    Rule(r"memory\.", "both_directions", "per_device", None, "the bandwidth at which it is read"),
    Rule(_PER_DEVICE, "per_package", "per_device", "divided"),
    Rule(r"domains\[\d+\]\.bandwidth", "per_package", "per_device", None, "the bandwidth of one device"),
    Rule(rf"({_PER_DEVICE}|domains)", "per_core", "per_device", None, "the number of one device"),
    Rule(r"power\.\w+", "per_device", "per_package", "multiplied"),
    Rule(r"power(\.\w+|_per_package)", "per_device", "per_package", None, "the power of one package"),
)


def on_one_basis(noun: T) -> T:
    """The chip or system with every number on the basis of its field. Raises ChipFileError."""
    if not isinstance(noun, Chip | System):
        return noun
    devices = noun.packages_of if isinstance(noun, Chip) else None
    return cast(T, _each(noun, "", lambda name, number: _converted(name, number, devices)))


def _converted(name: str, number: Number, devices: int | None) -> Number:
    _check_opposites(name, number.basis)
    for rule in RULES:
        if rule.given in number.basis and re.match(rule.fields, name):
            number = _by_rule(rule, name, number, devices)
    return number


def _by_rule(rule: Rule, name: str, number: Number, devices: int | None) -> Number:
    if rule.factor is None or (rule.factor != "half" and devices is None):
        raise ChipFileError(f"'{name}' has the basis '{rule.given}'; give {rule.instead} (basis '{rule.wanted}').")
    count = devices or 1
    factor, how = {
        "half": (0.5, "half"),
        "divided": (1 / count, f"1/{count}"),
        "multiplied": (float(count), f"{count} times"),
    }[rule.factor]
    basis = tuple(rule.wanted if said == rule.given else said for said in number.basis)
    if factor == 1:
        return number.model_copy(update={"basis": basis})
    remark = f"{how} of the given {number.value:g} {number.unit}, which is {rule.given}"
    ends = {end: getattr(number, end) * factor for end in ("low", "value", "high")}
    note = f"{number.note}; {remark}" if number.note else remark
    return number.model_copy(update={**ends, "basis": basis, "note": note})


def _check_opposites(name: str, basis: Iterable[Basis]) -> None:
    for one, other in OPPOSITES:
        if one in basis and other in basis:
            raise ChipFileError(f"'{name}' is '{one}' and '{other}' in its basis; it can only be one of them.")


def _each(noun: Any, name: str, change: Callable[[str, Number], Number]) -> Any:
    """A copy of a noun (or of a table or list in it) with every number changed."""
    if isinstance(noun, Number):
        return change(name, noun)
    dot = f"{name}." if name else ""
    if isinstance(noun, dict):
        return {key: _each(value, f"{dot}{key}", change) for key, value in noun.items()}
    if isinstance(noun, tuple):
        return tuple(_each(item, f"{name}[{place}]", change) for place, item in enumerate(noun))
    if isinstance(noun, BaseModel):
        fields = type(noun).model_fields
        return noun.model_copy(update={key: _each(getattr(noun, key), f"{dot}{key}", change) for key in fields})
    return noun
