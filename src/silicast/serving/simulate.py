"""Replay requests through one replica: uncompiled where the run is small or the policy is the user's own."""

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
#: events between two looks from outside
EVENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """compile: None = where it pays; leaps: equal steps at once (False is the test of it); timeline: log the steps;
    host: what surrounds the steps; acceptance: share of guessed tokens that is accepted, drawn by `random`, where the
    surface has steps with guesses."""

    compile: bool | None = None
    leaps: bool = True
    timeline: bool = False
    host: Host = field(default_factory=Host)
    acceptance: float = 0.0
    random: np.random.Generator | None = None

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
    log = run_all(whole, wanted and chosen.number != OWN, how.timeline)
    return served(traffic, whole, log)


def run_all(whole: Columns, fast: bool, timeline: bool = False) -> list[Any]:
    """Run until nothing is left to do; returns the log in pieces."""
    if timeline:
        whole.log, whole.state["log"] = np.zeros(LOG_ROWS, ENTRY), True
    pieces = []
    more = _more_compiled(whole) if fast else _more_in_objects(whole)
    for _ in more:
        logged = int(whole.state["logged"][0])
        pieces.append(whole.log[:logged].copy())
    return pieces


def _more_compiled(whole: Columns) -> Any:
    """Runs piece by piece in compiled code."""
    if find_spec("numba") is None:
        raise MissingExtraError("Compiled simulation needs numba: pip install 'silicast[simulate]'.")
    from silicast.serving import compiled

    parts = compiled.arguments(whole)
    more = True
    while more:
        whole.state["logged"] = 0
        more = compiled.run(*parts, EVENTS)
        yield


def _more_in_objects(whole: Columns) -> Any:
    """Runs piece by piece in plain Python."""
    replica = whole.objects()
    more = True
    while more:
        replica.state.logged = 0
        more = run(replica, EVENTS)
        whole.state["logged"] = replica.state.logged
        yield
    whole.take_back(replica)


def served(traffic: Requests, whole: Columns, log: list[Any]) -> Served:
    """The outcome of a run."""
    rows, state = whole.rows, whole.state[0]
    return Served(
        arrival=rows["sent"],
        dispatched=rows["dispatched"],
        first_token=rows["first"],
        finished=rows["finished"],
        output_tokens=traffic.output_tokens,
        preemptions=rows["preemptions"],
        cached_tokens=rows["cached"],
        replica=np.zeros(len(rows), np.int32),
        state=rows["state"],
        gaps=Gaps(whole.gaps),
        timeline=_timeline(log) if state["log"] else None,
        events=int(state["events"]),
        busy=np.array([float(state["busy"])]),
    )


def _timeline(log: list[Any]) -> Timeline:
    entries = np.concatenate(log)
    return Timeline(**{name: entries[name] for name in ENTRY.names or ()}, replica=np.zeros(entries.size, np.int32))
