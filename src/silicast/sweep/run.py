"""A sweep from its space to its folder: what is there already is not done again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from silicast.sweep.chunks import Chunk, chunks
from silicast.sweep.parts import Folder, parquet, rows_of
from silicast.sweep.space import Space

#: where chunks are evaluated: gives each with its part, in any order
Workers = Callable[[Iterable[Chunk]], Iterator[tuple[Chunk, bytes]]]
#: progress: chunks done, all of them, deployments so far
Told = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Swept:
    """A finished sweep: parts in all and how many of them were there before, rows, and a hash of the result."""

    folder: Path
    parts: int
    found: int
    rows: int
    digest: str


def sweep(space: Space, path: Path, workers: Workers, told: Told | None = None) -> Swept:
    """Every chunk of the space as a part in the folder.

    Memory holds the names of the chunks and the parts under way. Raises InputError where the folder cannot be written
    or the workers are gone: a rerun goes on from the parts that are finished.
    """
    parquet()
    folder = Folder(path)
    names = list(dict.fromkeys(chunk.name for chunk in chunks(space)))
    folder.begin(space, names)
    done = folder.finished(names)
    found, rows = len(done), sum(rows_of(folder.part(name)) or 0 for name in done)
    tell = told or (lambda *_: None)
    tell(found, len(names), rows)
    for chunk, part in workers(_missing(space, done)):
        folder.keep(chunk.name, part)
        done.add(chunk.name)
        rows += rows_of(folder.part(chunk.name)) or 0
        tell(len(done), len(names), rows)
    return Swept(path, len(names), found, rows, folder.digest(names))


def _missing(space: Space, done: set[str]) -> Iterator[Chunk]:
    """Chunks without a part, each once."""
    given = set(done)
    for chunk in chunks(space):
        if chunk.name not in given:
            given.add(chunk.name)
            yield chunk
