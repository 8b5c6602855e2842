"""What a package costs and draws: USD per hour, provisioned watts, and what follows for a million tokens.

USD per million output tokens puts all cost on the output; per million total tokens divides by input and output.
Prices are taken as given: no draw varies them, a reader changes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from silicast import catalog
from silicast.errors import InputError
from silicast.hardware import Chip, Number, Source, System

HOUR_S = 3600.0
MILLION = 1e6
#: dearest package-hour that is not a slip of the pen
MOST_USD = 1e4
GIVEN = Source(title="given with the question")


@dataclass(frozen=True, slots=True)
class Bill:
    """Of one package: USD per hour and provisioned W (None = no source), with where they come from."""

    usd_per_hour: float | None
    watts: float | None
    price: Number | None
    power: tuple[Number, ...]
    power_note: str

    @property
    def price_note(self) -> str:
        """The price in one line."""
        if self.price is None:
            return "no price with a source: give --price"
        spread = f" ({self.price.low:g} to {self.price.high:g})" if self.price.low < self.price.high else ""
        note = f"; {self.price.note}" if self.price.note else ""
        cited = f"{self.price.source.cite()}, confidence {self.price.confidence}"
        return f"{self.price.value:g} USD/h{spread}" + (", given" if self.price.source == GIVEN else f", {cited}{note}")


def bill(chip: Chip, system: System, given: Mapping[str, float] | None = None) -> Bill:
    """The bill of one package of `chip` in `system`; `given` are USD per package-hour that override the catalog's."""
    price = _given(chip.id, given or {}) or catalog.prices("rent").get(chip.id)
    power, note, watts = provisioned(chip, system)
    return Bill(price.value if price else None, watts, price, power, note)


def _given(chip: str, given: Mapping[str, float]) -> Number | None:
    if chip not in given:
        return None
    usd = given[chip]
    if not 0 < usd <= MOST_USD:
        raise InputError(f"The price of {chip} must be above 0 and at most {MOST_USD:,.0f} USD/h, got {usd:g}.")
    return Number(value=usd, low=usd, high=usd, unit="USD/h", source=GIVEN, confidence="high")


def provisioned(chip: Chip, system: System) -> tuple[tuple[Number, ...], str, float | None]:
    """(numbers used, how they combine, W per package): all-in x PUE, else (chip + host) x PUE; None without a TDP."""
    site = catalog.prices("power")
    pue, host = site["pue"], site["host_per_package"]
    if system.power_per_package is not None:
        whole = system.power_per_package
        note = f"{whole.value:,.0f} W with its share of host and network x PUE {pue.value:g}"
        return (whole, pue), note, whole.value * pue.value
    own = chip.power.get("package")
    if own is None:
        return (), "no power with a source", None
    note = f"({own.value:,.0f} W chip + {host.value:,.0f} W host) x PUE {pue.value:g}; switches between nodes not known"
    return (own, host, pue), note, (own.value + host.value) * pue.value


def usd_per_million(usd_per_hour: float, tokens_per_s: float) -> float:
    """USD per million tokens at a rate of tokens per second."""
    return usd_per_hour / HOUR_S / tokens_per_s * MILLION
