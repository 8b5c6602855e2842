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


@dataclass(frozen=True)
class Coefficients:
    """All coefficients of one chip under one stack, `law.name` or `law.mode.name` -> Coefficient."""

    table: Mapping[str, Coefficient]

    def get(self, law: str, name: str, mode: str = "") -> Coefficient:
        """The coefficient of a law; one for this matrix mode wins over the general one."""
        for key in (f"{law}.{mode}.{name}", f"{law}.{name}"):
            if key in self.table:
                return self.table[key]
        raise ChipFileError(f"No coefficient '{law}.{name}' in data/coefficients; the datasheet file must have all.")
