"""Replay requests through one replica: uncompiled where the run is small or the policy is the user's own."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from silicast.errors import MissingExtraError
from silicast.serving.columns import ENTRY, LOG_ROWS, Columns, Host, Limits, Setting, columns
from silicast.serving.outcome import Gaps, Served, Timeline
from silicast.serving.policies import DEFAULT, OWN, policy_of
from silicast.serving.replica import run
from silicast.serving.requests import ClosedLoop, Requests
from silicast.serving.state import Decide
from silicast.serving.surface import Surface

__all__ = ["Host", "Limits", "Options", "simulate"]

#: requests below which compiled code is not worth loading: an uncompiled request takes about 50 us, loading a second
WORTHWHILE = 20_000
#: events between two looks from outside, in compiled code; in plain Python events take so many times longer
EVENTS, COMPILED_GAIN = 1 << 19, 64


@dataclass(frozen=True, slots=True)
class Options:
    """compile: None = where it pays; leaps: equal steps at once (False is the test of it); timeline: log the steps;
    host: what surrounds the steps; acceptance: share of guessed tokens that is accepted, drawn by `random`, where the
    surface has steps with guesses; progress: called now and then with the requests that have left and all there are."""

    compile: bool | None = None
    leaps: bool = True
    timeline: bool = False
    host: Host = field(default_factory=Host)
    acceptance: float = 0.0
    random: np.random.Generator | None = None
    progress: Callable[[int, int], None] | None = None

    @property
    def setting(self) -> Setting:
        """What the replica is built with."""
        return Setting(self.leaps, self.host, self.acceptance, self.random)


def simulate(
    traffic: Requests,
    surface: Surface,
    limits: Limits,
    policy: str | Decide = DEFAULT,
    loop: ClosedLoop | None = None,
    **options: Any,
) -> Served:
    """The requests as one replica serves them. Options: see `Options`.

    `policy` is a name of `silicast.serving.policies.POLICIES` or a function of the replica (see `verbs`).
    Raises InputError, and MissingExtraError where compiled code is asked for without numba.
    """
    how = Options(**options)
    chosen = policy_of(policy)
    whole = columns(traffic, surface, limits, chosen, how.setting)
    if loop is not None:
        whole.close(loop)
    worthwhile = len(traffic) >= WORTHWHILE and find_spec("numba") is not None
    wanted = worthwhile if how.compile is None else how.compile
    log = run_all(whole, wanted and chosen.number != OWN, how)
    return served(traffic, whole, log)


@dataclass(slots=True)
class Log:
    """The log of a run in pieces, and whether somebody stopped it."""

    pieces: list[Any] = field(default_factory=list)
    interrupted: bool = False


def run_all(whole: Columns, fast: bool, how: Options | None = None) -> Log:
    """Run until nothing is left to do, or until somebody interrupts from the keyboard."""
    options = how or Options()
    if options.timeline:
        whole.log, whole.state["log"] = np.zeros(LOG_ROWS, ENTRY), True
    log, more = Log(), _more_compiled(whole) if fast else _more_in_objects(whole)
    try:
        for left in more:
            log.pieces.append(whole.log[: int(whole.state["logged"][0])].copy())
            if options.progress is not None:
                options.progress(left, len(whole.rows))
    except KeyboardInterrupt:
        log.interrupted = True
    finally:
        more.close()
    return log


def _more_compiled(whole: Columns) -> Generator[int]:
    """Runs piece by piece in compiled code; gives the requests that have left."""
    if find_spec("numba") is None:
        raise MissingExtraError("Compiled simulation needs numba: pip install 'silicast[simulate]'.")
    from silicast.serving import compiled

    parts = compiled.arguments(whole)
    more = True
    while more:
        whole.state["logged"] = 0
        more = compiled.run(*parts, EVENTS)
        yield int(whole.state["finished"][0])


def _more_in_objects(whole: Columns) -> Generator[int]:
    """Runs piece by piece in plain Python; gives the requests that have left."""
    replica = whole.objects()
    more = True
    try:
        while more:
            replica.state.logged = 0
            more = run(replica, EVENTS // COMPILED_GAIN)
            whole.state["logged"] = replica.state.logged
            yield replica.state.finished
    finally:
        whole.take_back(replica)


def unseen(rows: Any, arrived: int) -> None:
    """Nothing has happened to requests that have not come yet."""
    for name in ("dispatched", "first", "finished"):
        rows[name][arrived:] = np.nan


def served(traffic: Requests, whole: Columns, log: Log) -> Served:
    """The outcome of a run."""
    rows, state = whole.rows, whole.state[0]
    unseen(rows, int(state["arrived"]))
    return Served(
        arrival=rows["sent"],
        dispatched=rows["dispatched"],
        first_token=rows["first"],
        finished=rows["finished"],
        output_tokens=traffic.output_tokens,
        preemptions=rows["preemptions"],
        cached_tokens=rows["cached"],
        host_tokens=rows["from_host"],
        remote_tokens=rows["from_store"],
        replica=np.zeros(len(rows), np.int32),
        state=rows["state"],
        gaps=Gaps(whole.gaps),
        timeline=_timeline(log) if state["log"] else None,
        events=int(state["events"]),
        busy=np.array([float(state["busy"])]),
        interrupted=log.interrupted,
    )


def _timeline(log: Log) -> Timeline:
    entries = np.concatenate(log.pieces)
    return Timeline(**{name: entries[name] for name in ENTRY.names or ()}, replica=np.zeros(entries.size, np.int32))
