"""Chunks as tasks of a Ray cluster: one that runs already, or one made here for the sweep."""

import logging
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from silicast.errors import InputError, MissingExtraError, SilicastError
from silicast.sweep.chunks import Chunk
from silicast.sweep.processes import AHEAD, TRIES
from silicast.sweep.run import Workers
from silicast.sweep.work import evaluate

INSTALL = "pip install 'silicast[ray]'"
#: stands for a cluster on this machine that lives as long as the sweep
HERE = "here"
#: the one that `ray start` on this machine made or joined
AUTO = "auto"
#: seconds to wait for an address to answer, and times that Ray asks one that does, of another kind, at 1 s each
PATIENCE = 5.0
KNOCKS = "4"
#: what a client says first: the connection preface and an empty SETTINGS frame (RFC 9113, 3.4 and 6.5)
OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
#: seconds between two looks whether the cluster is still there, and how many in vain mean that it is not
LOOK = 1.0
GONE = 5
#: chunks under way at least: nodes that join later find work
LEAST = 64
KEPT = "Finished parts are kept: run the same command again."
#: characters of what Ray says
MOST_TOLD = 200


def on_ray(address: str) -> Workers:
    """Workers on a Ray cluster: `HERE`, `AUTO`, or HOST:PORT. Raises InputError where nothing answers there."""
    if address != HERE:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", KNOCKS)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    _ray()
    if address not in (HERE, AUTO):
        _knock(address)
    return lambda chunks: _on(address, chunks)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError(f"--ray needs Ray. Install it with: {INSTALL}") from None
    return ray


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--ray takes HOST:PORT of the head node, {AUTO}, or nothing; got '{address[:60]}'.")
    if why := _no_answer(address):
        raise InputError(
            f"No Ray cluster answers at '{address[:60]}' ({why}). Start one with: ray start --head --port=6379"
        )


def _no_answer(address: str) -> str:
    """Why nobody answers the opening of HTTP/2 there, which Ray speaks; empty where somebody does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), PATIENCE) as line:
            line.sendall(OPENING)
            return "" if line.recv(1) else "it hangs up"
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)


@contextmanager
def _silence() -> Iterator[None]:
    """Ray's compiled part writes to the error stream past Python; what went wrong is in its exceptions, too."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    try:
        with _silence():
            ray.init(
                address="local" if address == HERE else address, include_dashboard=False if address == HERE else None,
                logging_level=logging.ERROR, log_to_driver=False,
            )  # fmt: skip
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"Ray cannot connect to '{address[:60]}': {_line(error)}. Is it the head node of a cluster with the same "
            "versions of Ray and Python? One that asks for a token needs RAY_AUTH_MODE=token here, too."
        ) from None
    over = Event()
    if address != HERE:
        head = ray.get_runtime_context().gcs_address
        Thread(target=_watch, args=(head, over), daemon=True).start()
    try:
        yield
    finally:
        with suppress(ray.exceptions.RayError, OSError):  # nobody is left to say goodbye to
            ray.shutdown()
        over.set()


def _watch(head: str, over: Event) -> None:
    """Ends the program when the head is gone: Ray's calls then block, and after a minute it does so without a word."""
    silent = 0
    while not over.wait(LOOK):
        silent = silent + 1 if _no_answer(head) else 0
        if silent == GONE:
            sys.stderr.write(f"silicast: The Ray cluster at {head} is gone. {KEPT}\n")
            sys.stderr.flush()
            os._exit(1)


def _on(address: str, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    ray = _ray()
    with _connected(ray, address):
        # a task whose worker or node dies is given to another one
        task = ray.remote(num_cpus=1, max_retries=TRIES)(evaluate)
        try:
            yield from _results(ray, task, iter(chunks))
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, SilicastError) else error from None
        except (ray.exceptions.RayError, OSError) as error:
            raise SilicastError(
                f"The Ray cluster is gone, or lost a chunk {TRIES} times: {_line(error)}. {KEPT}"
            ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:MOST_TOLD].rstrip(".")


def _results(ray: Any, task: Any, left: Iterator[Chunk]) -> Iterator[tuple[Chunk, bytes]]:
    under_way: dict[Any, Chunk] = {}
    most = max(AHEAD * int(ray.cluster_resources().get("CPU", 1)), LEAST)
    while True:
        while len(under_way) < most and (chunk := next(left, None)) is not None:
            under_way[task.remote(chunk)] = chunk
        if not under_way:
            return
        for done in ray.wait(list(under_way))[0]:
            yield under_way.pop(done), ray.get(done)
