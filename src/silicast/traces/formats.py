"""The formats as data: which column is what, and in which unit. One row per format.

azure     Azure LLM inference traces 2023 and 2024 (github.com/Azure/AzurePublicDataset)
burstgpt  BurstGPT (github.com/HPMLL/BurstGPT); a failed request has 0 response tokens and is left out
silicast  our own: `arrival_s, input_tokens, output_tokens`, and optional columns
mooncake  JSONL of Mooncake, FAST'25 (github.com/kvcache-ai/Mooncake), with hashes of blocks of 512 tokens
"""

from dataclasses import dataclass, field

from silicast.errors import TraceError, nearest

MILLISECOND = 1e-3


@dataclass(frozen=True, slots=True)
class Format:
    """Names of the columns by what they hold. `dates`: arrivals are dates, not numbers of `unit` seconds.

    A `failed` request (no output) is left out where the format has such. A `strict` format takes no other columns.
    """

    name: str
    arrival: str
    input_tokens: str
    output_tokens: str
    unit: float = 1.0
    dates: bool = False
    failed: bool = False
    strict: bool = False
    block_tokens: int = 512
    optional: dict[str, str] = field(default_factory=dict)

    @property
    def required(self) -> dict[str, str]:
        """What must be there: what it holds -> name."""
        return {"arrival": self.arrival, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens}


#: what an optional column may hold
OPTIONAL = ("session", "turn", "priority", "tenant", "hash_ids")

FORMATS = {
    one.name: one
    for one in (
        Format("azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", dates=True),
        Format(
            "burstgpt", "Timestamp", "Request tokens", "Response tokens", failed=True,
            optional={"session": "Session ID", "tenant": "Model"},
        ),
        Format(
            "silicast", "arrival_s", "input_tokens", "output_tokens", strict=True,
            optional={name: name for name in OPTIONAL},
        ),
        Format(
            "mooncake", "timestamp", "input_length", "output_length", unit=MILLISECOND,
            optional={"hash_ids": "hash_ids"},
        ),
    )
}  # fmt: skip


def detected(name: str, columns: list[str]) -> Format:
    """The format of a header: the one with the most of its columns."""
    known = {key: len(set(one.required.values()) & set(columns)) for key, one in FORMATS.items() if key != "mooncake"}
    best = max(known, key=lambda key: known[key])
    return FORMATS[best] if known[best] else _guess(name, columns)


def _guess(name: str, columns: list[str]) -> Format:
    """No column has a right name: the format that the header comes closest to, else an error that lists them."""
    for one in FORMATS.values():
        if any(nearest(column, columns) for column in one.required.values()):
            return one
    known = "; ".join(f"{one.name}: {', '.join(one.required.values())}" for one in FORMATS.values())
    raise TraceError(
        f"{name}, line 1: the columns {', '.join(columns)[:120]} are of no known format. Known columns are {known}."
    )


def placed(name: str, columns: list[str], form: Format) -> dict[str, int]:
    """What a column holds -> its place. Raises TraceError for one that is missing, doubled or unknown."""
    for column in columns:
        if columns.count(column) > 1:
            raise TraceError(f"{name}, line 1, column '{column[:60]}': the name stands there twice.")
    known = form.required | form.optional
    for needed in form.required.values():
        if needed not in columns:
            raise TraceError(f"{name}, line 1: column '{needed}' is missing.{_hint(needed, columns, known)}")
    for column in columns:
        if form.strict and column not in known.values():
            guess = nearest(column, known.values())
            hint = f" Did you mean '{guess}'?" if guess else ""
            raise TraceError(
                f"{name}, line 1: column '{column[:60]}' not found.{hint} Known: {', '.join(known.values())}."
            )
    return {what: columns.index(column) for what, column in known.items() if column in columns}


def _hint(needed: str, columns: list[str], known: dict[str, str]) -> str:
    given = ", ".join(columns)
    if ";" in given or "\t" in given:
        return f" Given: {given[:120]}. Columns are divided by commas."
    guess = nearest(needed, [column for column in columns if column not in known.values()])
    return f" Did you mean it by '{guess[:60]}'?" if guess else f" Given: {given[:120]}."
