"""A commented chip file to start from: blank, or filled from a chip of the catalog.

The blank one has one matrix peak, which is all that must be there; every other field is a commented block. The filled
one is the file of that chip, sources included, followed by commented blocks for the fields it lacks. Both load as
they are printed.
"""

import json
import re

from silicast.hardware import Chip

HEADER = """\
# A chip file of Silicast. Numbers are text with a unit, dense, of one direction and per device (one rank a program
# sees) unless their basis says otherwise. Units: TFLOPS PFLOPS TOPS, GB GiB, GB/s TB/s Gb/s, ns us ms s, MHz GHz,
# W kW, mm2, count (case counts: GB is 1e9 bytes, GiB is 2^30). Only `id` and one peak under [compute.matrix] are
# required; what is left out is estimated from the spread over known chips, and shown as estimated.
# Every number needs value, source and confidence; the rest is optional:
#   value        text with its unit, such as "989 TFLOPS"
#   low, high    the range over which sources or the number itself spread (10th and 90th percentile)
#   basis        what the number counts: dense or sparse; per_direction or both_directions; per_device, per_package or
#                per_core; matrix_only, vector_only or marketing; peak, sustained or measured; boost or base; printed or
#                usable; announced, derived or assumed. Sparse peaks and bandwidths of both directions are halved,
#                numbers per package divided by the devices of a package; the other words change no number
#   source       required: a key of [sources]; title is required there, url and date (text) say where to look
#   confidence   required: high, medium, low, derived or assumption
#   note, conflicts = ["312 TFLOPS (source A, 2024)"]   free text
"""

BLANK = """\
id = "my-chip"                     # required; name, vendor, generation (siblings share it), status are free text
name = "My chip"
vendor = "My vendor"
generation = "my-chip"
kind = "datacentre"                # or "workstation"
status = "draft"
system = "eight-device-node"       # default system; list them with: silicast systems
stack = "generic"                  # default software; list them with: silicast stacks

[sources.mine]
title = "Data sheet of my chip"
url = ""
date = ""

# required: at least one dense peak that a GEMM can reach, of bf16 fp16 fp8 int8 fp4 tf32 fp32
[compute.matrix.bf16]
value = "1000 TFLOPS"
basis = ["dense", "per_device", "matrix_only", "peak"]
source = "mine"
confidence = "low"
"""

TITLE = "# Optional fields that are left out: remove the # and name the source.\n"

BASED_ON = "# efficiencies fitted to this chip hold for yours as transferred; without the line they are assumed ranges"

OWN_SOURCE = '# [sources.mine]\n# title = "Data sheet of my chip"\n# url = ""\n# date = ""\n'

DEVICE = '["per_device"]'
PACKAGE = '["per_package"]'
PEAK = '["per_device", "peak"]'
LINK = '["per_direction", "per_device", "peak"]'

#: optional fields: name -> (example, basis, what it is)
OPTIONAL: dict[str, tuple[str, str, str]] = {
    "devices_per_package": ("1 count", PACKAGE, "ranks that one socketed package shows; 1 if left out"),
    "compute.vector.fp32": (
        "60 TFLOPS",
        '["dense", "per_device", "vector_only", "peak"]',
        "peak outside the matrix units",
    ),
    "compute.measured_gemm.bf16": (
        "800 TFLOPS",
        '["dense", "per_device", "measured"]',
        "best measured GEMM, per dtype",
    ),
    "compute.marketing.bf16": (
        "1100 TFLOPS",
        '["dense", "per_device", "marketing", "peak"]',
        "printed, not reachable by a GEMM",
    ),
    "compute.cores": ("128 count", DEVICE, "cores over which tiles are spread (SM, CU, cube)"),
    "compute.clock": ("1800 MHz", '["boost"]', "clock at which the peaks hold"),
    "memory.hbm.capacity": ("96 GiB", '["per_device", "printed"]', "main memory, whatever its technology"),
    "memory.hbm.usable": ("94 GiB", '["per_device", "usable"]', "what software sees of it"),
    "memory.hbm.bandwidth": ("4 TB/s", PEAK, "main memory"),
    "memory.l2.capacity": ("64 MiB", DEVICE, "last cache that all cores share"),
    "links.scale_up.bandwidth": ("400 GB/s", LINK, "to the other devices of the node or supernode, all links together"),
    "links.scale_up.latency": ("1 us", '["measured"]', "of one message; leave out if no source gives it"),
    "links.scale_out.bandwidth": ("400 Gb/s", LINK, "network adapter"),
    "power.package": ("700 W", PACKAGE, "design power of what is bought"),
    "silicon.die_area": ("800 mm2", DEVICE, "of one compute die"),
    "silicon.transistors": ("80e9 count", PACKAGE, "of the package"),
}


def blank() -> str:
    """A file with one matrix peak; every other field is commented out."""
    return "\n".join([HEADER + BLANK, TITLE, *_blocks(set())])


def filled(chip: Chip, text: str, known: bool) -> str:
    """The text of the chip's own file, under another id, between the legend and the fields that it lacks.

    A chip that is `known` to the catalog lends its fitted coefficients to the new one.
    """
    renamed = re.sub(r"^id *=.*$", lambda _: _identity(chip, known), text, count=1, flags=re.MULTILINE)
    named = re.sub(r"^name *=.*$", lambda _: f"name = {_text(f'{chip.name}, edited')}", renamed, count=1, flags=re.M)
    return "\n".join([HEADER + named.rstrip("\n") + "\n", TITLE, OWN_SOURCE, *_blocks(set(chip.numbers()))])


def _identity(chip: Chip, known: bool) -> str:
    own = f"id = {_text(f'my-{chip.id}')}"
    if not known:
        return own
    return f"{own}\n{BASED_ON}\nbased_on = {_text(chip.id)}"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _blocks(known: set[str]) -> list[str]:
    return [_block(name, *entry) for name, entry in OPTIONAL.items() if name not in known]


def _block(name: str, example: str, basis: str, meaning: str) -> str:
    lines = [
        f"[{name}]  # {meaning}",
        f'value = "{example}"',
        f"basis = {basis}",
        'source = "mine"',
        'confidence = "low"',
    ]
    return "\n".join(f"# {line}" for line in lines) + "\n"
