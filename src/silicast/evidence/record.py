"""Loads folders of measurements. Every mistake is one line that names the file and the row."""

import csv
import io
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from silicast.catalog import data_folder
from silicast.errors import EvidenceError
from silicast.evidence.columns import MEASURED, REQUIRED, Cell, Scenario, known, reader, unknown_column

POINTS, ABOUT = "points.csv", "source.toml"
MAX_FILE_BYTES = 64 * 1024 * 1024


class Row(NamedTuple):
    """One measured number. Only its `scenario` is shown to a forecast."""

    source: str
    id: str
    line: int
    scenario: Scenario
    metric: str
    value: float
    rel_spread: float | None
    use: str
    suspect: str | None
    measured: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where the numbers of one folder come from."""

    id: str
    title: str
    url: str
    date: str
    licence: str
    section: str = ""
    does_not_claim: str = ""
    remarks: tuple[str, ...] = ()
    folder: Path = Path()

    def cite(self) -> str:
        """One bibliography line."""
        return ", ".join(part for part in (self.title, self.section, self.date, self.url) if part)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Sources, their rows in order, and what was left out."""

    sources: tuple[Source, ...]
    rows: tuple[Row, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()


def shipped() -> Path:
    """The folder of the evidence that ships."""
    return data_folder() / "evidence"


def load(folders: Iterable[Path]) -> Evidence:
    """The rows of source folders, or of folders of source folders, in order. Raises EvidenceError, one line."""
    found: dict[str, tuple[Source, list[Row]]] = {}
    warnings: list[str] = []
    for place in dict.fromkeys(place for folder in folders for place in source_folders(folder)):
        source = read_source(place)
        if source.id in found:
            first = found[source.id][0].folder
            warnings.append(f"Source '{source.id}' is given twice: {first} is used, {place} is left out.")
            continue
        found[source.id] = source, read_rows(place / POINTS, source.id)
    sources = tuple(source for source, _ in found.values())
    return Evidence(sources, tuple(row for _, rows in found.values() for row in rows), tuple(warnings))


def source_folders(folder: Path) -> list[Path]:
    """The folder itself where it is a source, else the sources in it by name; other files are ignored."""
    try:
        if not folder.exists():
            raise EvidenceError(f"Evidence folder '{folder}' not found.")
        if not folder.is_dir():
            raise EvidenceError(f"'{folder}' is a file; give a source folder or a folder of source folders.")
        if _is_source(folder):
            return [folder.resolve()]
        inner = sorted(place.resolve() for place in folder.iterdir() if place.is_dir() and _is_source(place))
    except OSError as error:
        raise EvidenceError(f"Evidence folder '{folder}' cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # a NUL in the name
        raise EvidenceError(f"Evidence folder {str(folder)!r} cannot be read: {error}.") from None
    if not inner:
        raise EvidenceError(f"No source in '{folder}': a source is a folder with {ABOUT} and {POINTS}.")
    return inner


def _is_source(folder: Path) -> bool:
    return (folder / POINTS).exists() or (folder / ABOUT).exists()


def read_source(folder: Path) -> Source:
    """`source.toml` of one folder. Its title is required; an id is the name of the folder where it is left out."""
    path = folder / ABOUT
    where = _where(path)
    try:
        about = tomllib.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"{where} is not TOML: {_one_line(error)}") from None
    title = about.get("title")
    if not isinstance(title, str) or not title.strip():
        raise EvidenceError(f'{where} needs a title, such as title = "Where the numbers were published".')
    texts = {
        key: _plain(about, key, where) for key in ("id", "url", "arxiv", "date", "licence", "section", "does_not_claim")
    }
    remarks = about.get("remarks", [])
    if not isinstance(remarks, list):
        raise EvidenceError(f"{where}: 'remarks' must be a list of text.")
    return Source(
        id=texts["id"] or folder.name,
        title=title,
        url=texts["url"] or (f"https://arxiv.org/abs/{texts['arxiv']}" if texts["arxiv"] else ""),
        date=texts["date"],
        licence=texts["licence"],
        section=texts["section"],
        does_not_claim=texts["does_not_claim"],
        remarks=tuple(str(remark) for remark in remarks),
        folder=folder,
    )


def _plain(about: dict[str, Any], key: str, where: str) -> str:
    value = about.get(key, "")
    if isinstance(value, dict | list):
        raise EvidenceError(f"{where}: '{key}' must be text.")
    return str(value)


def read_rows(path: Path, source: str) -> list[Row]:
    """The rows of one `points.csv`, column by column. Raises EvidenceError for the first mistake."""
    header, lines, cells = _table(path)
    place = _Place(path, lines, header, cells)
    columns = {name: _column(name, index, place) for index, name in enumerate(header)}
    _required(columns, place)
    _unique(columns["id"], place)
    _consistent(columns, place)
    empty: list[Cell] = [None] * len(cells)
    scenarios = map(Scenario, *(columns.get(name, empty) for name in Scenario._fields))
    beside = zip(*(columns.get(name, empty) for name in MEASURED), strict=True)
    return [
        Row(source, row_id, line, scenario, metric, value, spread, use or "validate", suspect, measured, note or "")
        for line, scenario, (row_id, measured, metric, value, spread, use, suspect, note) in zip(
            lines, scenarios, beside, strict=True
        )
    ]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cell stands, for the message."""

    path: Path
    lines: list[int]
    header: list[str]
    cells: list[list[str]]

    def fail(self, index: int, text: str) -> NoReturn:
        """Raises EvidenceError about one row."""
        named = ""
        if "id" in self.header:
            row_id = self.cells[index][self.header.index("id")].strip()
            named = f", row '{row_id[:80]}'" if row_id else ""
        raise EvidenceError(f"{_where(self.path)}, line {self.lines[index]}{named}: {text}.")


def _table(path: Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line numbers and cells of all rows that are not blank, each as wide as the header."""
    lines, cells = [], []
    where = _where(path)
    table = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(table, [])]
        _check_header(header, where)
        for cell in table:
            if any(map(str.strip, cell)):
                lines.append(table.line_num)
                cells.append(cell)
    except csv.Error as error:
        raise EvidenceError(f"{where}, line {table.line_num}: not CSV: {error}.") from None
    place = _Place(path, lines, header, cells)
    for index, cell in enumerate(cells):
        if len(cell) != len(header):
            if len(cell) > len(header):
                place.fail(index, f"{len(cell)} cells for {len(header)} columns; quote a cell that holds a comma")
            cell.extend([""] * (len(header) - len(cell)))
    return header, lines, cells


def _check_header(header: list[str], where: str) -> None:
    if not header:
        raise EvidenceError(f"{where} is empty; its first line names the columns.")
    for name in header:
        if not known(name):
            raise EvidenceError(f"{where}: {unknown_column(name)}.")
        if header.count(name) > 1:
            raise EvidenceError(f"{where}: column '{name}' is there twice.")
    for name in REQUIRED:
        if name not in header:
            raise EvidenceError(f"{where}: column '{name}' is missing.")


def _column(name: str, index: int, place: _Place) -> list[Any]:
    read = reader(name)
    found: list[Cell] = []
    for number, cell in enumerate(place.cells):
        text = cell[index].strip()
        try:
            found.append(read(text) if text else None)
        except EvidenceError as error:
            place.fail(number, f"'{name}' {error}")
    return found


def _required(columns: dict[str, list[Any]], place: _Place) -> None:
    for name in REQUIRED:
        if None in columns[name]:
            place.fail(columns[name].index(None), f"'{name}' is empty")
    chips = [columns[name] for name in ("chip", "prefill_chip", "decode_chip") if name in columns]
    for index in range(len(place.cells)):
        if not any(column[index] for column in chips):
            place.fail(index, "'chip' is empty")


def _unique(ids: Sequence[str], place: _Place) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for index, row_id in enumerate(ids):
        if row_id in seen:
            place.fail(
                index, f"its id stands on line {place.lines[seen[row_id]]} already; ids are unique within a source"
            )
        seen[row_id] = index


def _consistent(columns: dict[str, list[Any]], place: _Place) -> None:
    """What no single cell shows: a loop both closed and open, or closed with too few requests; lengths in disorder."""
    for index, concurrency, rate in _pairs(columns, "concurrency", "rate"):
        place.fail(
            index, f"concurrency ({concurrency:g}, a closed loop) and rate ({rate:g}, an open loop) exclude each other"
        )
    for index, requests, concurrency in _pairs(columns, "requests", "concurrency"):
        if requests < concurrency:
            place.fail(index, f"requests ({requests:g}) are below concurrency ({concurrency:g}) in a closed loop")
    for index, low, high in _pairs(columns, "length_low", "length_high"):
        if low > high:
            place.fail(index, f"length_low ({low:g}) exceeds length_high ({high:g})")


def _pairs(columns: dict[str, list[Any]], first: str, second: str) -> Iterator[tuple[int, float, float]]:
    if first in columns and second in columns:
        for index, (a, b) in enumerate(zip(columns[first], columns[second], strict=True)):
            if a is not None and b is not None:
                yield index, a, b


def _text(path: Path) -> str:
    where = _where(path)
    try:
        if not path.exists():
            raise EvidenceError(f"{where} is missing: a source has {ABOUT} and {POINTS}.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise EvidenceError(f"{where} has more than {MAX_FILE_BYTES >> 20} MB.")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{where} is not text in UTF-8: {_one_line(error)}") from None
    except OSError as error:
        raise EvidenceError(f"{where} cannot be read: {error.strerror or error}.") from None


def _where(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
