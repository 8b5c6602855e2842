"""Chunks in this process, or on a pool of processes that outlives the death of its workers."""

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain
from multiprocessing import get_context, parent_process
from threading import Thread

from silicast.errors import SilicastError
from silicast.sweep.chunks import Chunk
from silicast.sweep.run import Workers
from silicast.sweep.work import evaluate

#: chunks under way per worker: the next one waits at its door
AHEAD = 2
#: times that a chunk is given to a worker; one that kills it each time is too large for the machine
TRIES = 3


def on_processes(count: int) -> Workers:
    """Workers on `count` processes; 1 = this one."""
    return _here if count == 1 else lambda chunks: _pooled(chunks, count)


def _here(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    return ((chunk, evaluate(chunk)) for chunk in chunks)


def _pooled(chunks: Iterable[Chunk], count: int) -> Iterator[tuple[Chunk, bytes]]:
    """A worker that is killed breaks its pool: what was under way is given to a new one."""
    tries: Counter[str] = Counter()
    left: Iterator[Chunk] = iter(chunks)
    while True:
        under_way: dict[Future[bytes], Chunk] = {}
        # forked workers would share the driver's threads and locks
        pool = ProcessPoolExecutor(count, get_context("spawn"), _alone)
        try:
            yield from _results(pool, left, under_way, count * AHEAD)
            return
        except BrokenProcessPool:
            tries.update(chunk.name for chunk in under_way.values())
            _check(under_way.values(), tries)
            left = chain(list(under_way.values()), left)
        finally:
            pool.shutdown(cancel_futures=True)


def _results(
    pool: ProcessPoolExecutor, left: Iterator[Chunk], under_way: dict[Future[bytes], Chunk], most: int
) -> Iterator[tuple[Chunk, bytes]]:
    """Results as they come. Raises BrokenProcessPool; `under_way` then holds what has none."""
    while True:
        while len(under_way) < most and (chunk := next(left, None)) is not None:
            try:
                under_way[pool.submit(evaluate, chunk)] = chunk
            except BrokenProcessPool:
                under_way[Future()] = chunk
                raise
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        # those that have a result first: a broken pool fails all others
        for future in sorted(done, key=lambda one: one.exception() is not None):
            part = future.result()
            yield under_way.pop(future), part


def _check(lost: Iterable[Chunk], tries: Counter[str]) -> None:
    for chunk in lost:
        if tries[chunk.name] >= TRIES:
            raise SilicastError(
                f"A worker died {TRIES} times at {chunk.model} on {chunk.chip} ({chunk.stack}) or beside it: does the "
                "machine run out of memory? Try fewer --processes or a smaller max_devices. Finished parts are kept."
            )


def _alone() -> None:
    """A worker leaves interrupts to the driver, and ends when the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
