"""Levels of the prefix cache: idle prefixes on the device, then in the memory of its host, then in a remote store.

What the device needs the room of goes to the host, what the host has no room for to the store, and from there it is
gone; each level lets the least recently used go first. The host gives a prefix that comes back up; the store, which all
replicas share, keeps it for the others. A prefix is loaded before the prompts of the step are computed, and whoever
loads in one step shares the way.
"""

from silicast.serving.state import IDLE, NOBODY, ON_HOST, Level, Replica, Unit

#: places of the levels of a replica
DEVICE, HOST = range(2)


def in_store(replica: Replica, u: int) -> bool:
    """Whether the remote store has prefix u."""
    return replica.shelf[u].claims != 0


def fetch(replica: Replica, u: int) -> bool:
    """u comes up to the device, where blocks are taken for it, in a step that this makes longer; whether off the host.

    u is at a lower level, and the caller holds it from now on.
    """
    unit = replica.units[u]
    from_host = unit.claims == ON_HOST
    if from_host:
        forget(replica, u)
        replica.state.step_load += replica.levels[HOST].seconds
    else:
        _touch(replica, u)
        replica.state.step_load += replica.store[0].seconds
    unit.claims = IDLE + 1
    return from_host


def forget(replica: Replica, u: int) -> None:
    """The host no longer has u."""
    level = replica.levels[HOST]
    remove(replica.units, level, u)
    replica.units[u].claims = 0
    level.held -= 1


def sink(replica: Replica, u: int) -> None:
    """u has just left the device: it goes to the host, or past it."""
    host, unit = replica.levels[HOST], replica.units[u]
    if host.capacity == 0:
        _shelve(replica, u)
        return
    unit.claims = ON_HOST
    append(replica.units, host, u)
    host.held += 1
    if host.held > host.capacity:
        last = host.oldest
        forget(replica, last)
        _shelve(replica, last)


def _shelve(replica: Replica, u: int) -> None:
    """u goes to the store; what is there already was used again."""
    if replica.state.remote == 0:
        return
    store = replica.store[0]
    if replica.shelf[u].claims != 0:
        _touch(replica, u)
        return
    replica.shelf[u].claims = IDLE
    append(replica.shelf, store, u)
    store.held += 1
    if store.held > store.capacity:
        last = store.oldest
        remove(replica.shelf, store, last)
        replica.shelf[last].claims = 0
        store.held -= 1


def _touch(replica: Replica, u: int) -> None:
    remove(replica.shelf, replica.store[0], u)
    append(replica.shelf, replica.store[0], u)


def append(units: list[Unit], level: Level, u: int) -> None:
    """u becomes the most recently used of a level."""
    unit = units[u]
    unit.older, unit.newer = level.newest, NOBODY
    if level.newest == NOBODY:
        level.oldest = u
    else:
        units[level.newest].newer = u
    level.newest = u


def remove(units: list[Unit], level: Level, u: int) -> None:
    """u leaves the list of a level."""
    unit = units[u]
    if unit.older == NOBODY:
        level.oldest = unit.newer
    else:
        units[unit.older].newer = unit.newer
    if unit.newer == NOBODY:
        level.newest = unit.older
    else:
        units[unit.newer].older = unit.older
