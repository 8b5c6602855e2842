"""A text file in blocks of whole lines, plain or gzip by its first bytes; what cannot be read is one clear line."""

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from silicast.errors import TraceError

BLOCK_BYTES = 1 << 22
#: longest line that is plausible: a prompt of a million tokens with its hashes
LINE_BYTES = 1 << 24
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines; the first one has the number `line` in file `name`, counted from 1."""

    name: str
    line: int
    data: bytes

    def error(self, line: int, column: str, problem: str) -> TraceError:
        """One line that says where: file, line and column."""
        return TraceError(f"{self.name}, line {line}, column '{column[:60]}': {problem}")


def blocks(path: Path) -> Iterator[Block]:
    """The lines of a file, a few MB at a time. Raises TraceError where it is missing, empty, cut off or not text."""
    line, rest = 1, b""
    try:
        with path.open("rb") as packed:
            file = _unpacked(packed)
            while piece := file.read(BLOCK_BYTES):
                cut = piece.rfind(b"\n") + 1
                data, rest = (rest + piece[:cut], piece[cut:]) if cut else (b"", rest + piece)
                _check(path, data, rest, line)
                if data:
                    yield Block(path.name, line, data)
                    line += data.count(b"\n")
    except EOFError:
        raise TraceError(f"{path.name} is cut off: its gzip stream ends early, after line {line - 1:,}.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(f"{path.name} is a damaged gzip file, after line {line - 1:,}: {error}.") from None
    except OSError as error:
        raise TraceError(f"Trace '{path}' cannot be read: {error.strerror or error}.") from None
    if rest:
        yield Block(path.name, line, rest)
    elif line == 1:
        raise TraceError(f"{path.name} is empty: a trace has one request per line.")


def _unpacked(file: io.BufferedReader) -> io.BufferedReader | gzip.GzipFile:
    return gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP else file


def _check(path: Path, data: bytes, rest: bytes, line: int) -> None:
    where = data if b"\0" in data else rest if b"\0" in rest else None
    if where is not None:
        line += where[: where.index(b"\0")].count(b"\n")
        raise TraceError(f"{path.name}, line {line}: this is not text (a zero byte); a trace is CSV or JSONL.")
    if len(rest) > LINE_BYTES:
        raise TraceError(f"{path.name}, line {line}: a line of more than {LINE_BYTES >> 20} MB is not a request.")
