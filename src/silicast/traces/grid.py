"""CSV at the speed of memory: the commas and line ends of a block form a grid, and a column is cut out of it at once.

A block that is no grid (quotes, empty lines, a wrong number of fields) is read field by field instead, which finds the
line at fault.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from silicast.errors import TraceError
from silicast.traces.blocks import Block

Array = NDArray[Any]

#: longest number, time or name
CELL_BYTES = 120
COMMA, NEWLINE, RETURN = (ord(sign) for sign in ",\n\r")


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of one block by column, and the line of each row, shape `(row,)`."""

    block: Block
    lines: Array
    cells: Sequence[Array | list[bytes]]

    def column(self, place: int, name: str) -> Array:
        """One column as an array of short texts. Raises TraceError for a cell that is too long."""
        cells = self.cells[place]
        if isinstance(cells, np.ndarray):
            return cells
        longest = max(range(len(cells)), key=lambda row: len(cells[row]), default=0)
        if cells and len(cells[longest]) > CELL_BYTES:
            problem = f"{len(cells[longest]):,} characters are no number and no name."
            raise self.block.error(int(self.lines[longest]), name, problem)
        return np.array(cells, dtype=f"S{CELL_BYTES}") if cells else np.array([], dtype="S1")

    def texts(self, place: int) -> list[bytes]:
        """One column as texts of any length."""
        cells = self.cells[place]
        return cells if isinstance(cells, list) else cells.tolist()


def grid(block: Block, names: Sequence[str], wanted: Sequence[int]) -> Grid:
    """The columns `wanted` of a block of lines with the columns `names`."""
    raw = np.frombuffer(block.data, dtype=np.uint8)
    raw = raw if raw[-1] == NEWLINE else np.append(raw, np.uint8(NEWLINE))
    ends = np.flatnonzero((raw == COMMA) | (raw == NEWLINE))
    rows, left = divmod(ends.size, len(names))
    line_ends = ends[len(names) - 1 :: len(names)]
    whole = not left and b'"' not in block.data and np.count_nonzero(raw == NEWLINE) == rows
    # a line of one column that is empty is a grid too, but no request
    if not (whole and np.all(raw[line_ends] == NEWLINE) and len(names) > 1):
        return _by_field(block, names, wanted)
    starts = np.concatenate(([0], ends[:-1] + 1)).reshape(rows, len(names))
    stops = ends.reshape(rows, len(names)).copy()
    stops[:, -1] -= (raw[np.maximum(line_ends - 1, 0)] == RETURN) & (stops[:, -1] > starts[:, -1])
    cells: list[Array | list[bytes]] = [[] for _ in names]
    for place in wanted:
        cells[place] = _cut(raw, starts[:, place], stops[:, place])
    return Grid(block, block.line + np.arange(rows), cells)


def _cut(raw: Array, starts: Array, stops: Array) -> Array | list[bytes]:
    width = int(np.max(stops - starts, initial=1))
    if width > CELL_BYTES:
        data = raw.tobytes()
        return [data[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    padded = np.concatenate((raw, np.zeros(width, dtype=np.uint8)))
    letters = np.lib.stride_tricks.sliding_window_view(padded, width)[starts]
    letters *= np.arange(width, dtype=np.int64) < (stops - starts)[:, None]
    return np.ascontiguousarray(letters).view(f"S{width}").ravel()


def _by_field(block: Block, names: Sequence[str], wanted: Sequence[int]) -> Grid:
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(_decoded(block).splitlines(), strict=True)
    try:
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise _uneven(block, block.line + reader.line_num - 1, row, names)
            rows.append(row)
            lines.append(block.line + reader.line_num - 1)
    except csv.Error as error:
        raise TraceError(f"{block.name}, line {block.line + reader.line_num - 1}: {error}.") from None
    cells: list[Array | list[bytes]] = [[] for _ in names]
    for place in wanted:
        cells[place] = [row[place].strip().encode() for row in rows]
    return Grid(block, np.array(lines, dtype=np.int64), cells)


def _uneven(block: Block, line: int, row: list[str], names: Sequence[str]) -> TraceError:
    if len(row) < len(names):
        problem = f"the line ends here, with {len(row)} of {len(names)} fields; is the file cut off?"
        return block.error(line, names[len(row)], problem)
    return block.error(line, names[-1], f"{len(row)} fields follow a header of {len(names)}; quote texts with commas.")


def _decoded(block: Block) -> str:
    try:
        return block.data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = block.line + block.data[: error.start].count(b"\n")
        raise TraceError(f"{block.name}, line {line}: this is not text in UTF-8.") from None
