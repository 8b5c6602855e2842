"""Coefficients of the laws: numbers with a tier, looked up by law and name, the better tier first."""

from collections.abc import Mapping
from dataclasses import dataclass

from silicast.errors import ChipFileError
from silicast.estimate import Tier
from silicast.hardware import Number


@dataclass(frozen=True)
class Coefficient:
    """One coefficient: its number, the tier of that number, and the key under which it is drawn."""

    number: Number
    tier: Tier
    key: str

    @property
    def name(self) -> str:
        """`law.name` or `law.kernel.name`, whatever chip or stack it is drawn for."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True)
class Coefficients:
    """All coefficients of one chip under one stack, `law.name` or `law.mode.name` -> Coefficient."""

    table: Mapping[str, Coefficient]

    def find(self, law: str, name: str, *kernels: str) -> Coefficient | None:
        """The coefficient of a law; of the first of `kernels` (formats, matrix modes) before the general one."""
        for kernel in (*kernels, ""):
            found = self.table.get(f"{law}.{kernel}.{name}" if kernel else f"{law}.{name}")
            if found is not None:
                return found
        return None

    def get(self, law: str, name: str, *kernels: str) -> Coefficient:
        """As `find`, for a coefficient that the datasheet file must have."""
        found = self.find(law, name, *kernels)
        if found is None:
            raise ChipFileError(
                f"No coefficient '{law}.{name}' in data/coefficients; the datasheet file must have all."
            )
        return found
