"""The errors a user can meet. Each says what was given, what is allowed and where to look.

SilicastError
 ├─ InputError          bad input: the command line prints one line and exits with 2
 │   ├─ NotFoundError   an unknown chip, model, system, stack, field, unit or dtype
 │   ├─ ConfigError     a config.json that cannot be read as a model
 │   ├─ ChipFileError   a chip, system, stack or coefficient file that cannot be read
 │   ├─ EvidenceError   a folder of measurements that cannot be read
 │   ├─ TraceError      a trace of requests that cannot be read
 │   ├─ LayoutError     parallel sizes that do not divide the model or the devices
 │   ├─ PrecisionError  a dtype that nothing on the chip can run
 │   └─ DoesNotFitError the model does not fit into memory
 └─ MissingExtraError   an optional dependency is not installed
"""

from collections.abc import Iterable
from difflib import get_close_matches


class SilicastError(Exception):
    """Any error that Silicast raises on purpose."""


class InputError(SilicastError, ValueError):
    """The input cannot be used as given."""


class NotFoundError(InputError):
    """A name that is not in the catalog or not in the schema."""


class ConfigError(InputError):
    """A config.json that does not describe a model we can build."""


class ChipFileError(InputError):
    """A data file (chip, system, stack, coefficients) that breaks its schema."""


class EvidenceError(InputError):
    """A folder of measurements that breaks its schema."""


class TraceError(InputError):
    """A trace of requests that breaks its format."""


class LayoutError(InputError):
    """Parallel sizes that do not divide the model or the devices."""


class PrecisionError(InputError):
    """A dtype that no engine of the chip and no cast of the stack can run."""


class DoesNotFitError(InputError):
    """The model, its cache and its buffers need more memory than the devices have."""


class MissingExtraError(SilicastError):
    """A part of Silicast that needs a package of one of the extras."""


#: letters of a part of a name that tell which one is meant
TELLING = 2


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name closest to `given` (case ignored), or that it is a telling part of; or None."""
    by_lower = {name.lower(): name for name in known}
    exact_part = [name for name in by_lower if len(given) >= TELLING and given.lower() in name]
    close = get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    best = close or exact_part[:1]
    return by_lower[best[0]] if best else None


def not_found(kind: str, given: str, known: Iterable[str], look: str) -> NotFoundError:
    """`Chip 'h20O' not found. Did you mean 'h200-sxm'? List them with: silicast chips`."""
    shown = given if len(given) <= 80 else given[:77] + "..."
    guess = nearest(given[:200], known)
    hint = f" Did you mean '{guess}'?" if guess else ""
    return NotFoundError(f"{kind} '{shown}' not found.{hint} {look}")
