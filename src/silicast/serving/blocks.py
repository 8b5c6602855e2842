"""The paged KV cache of a replica and its prefix cache: blocks are counted, shared prefixes are known by name.

A prefix is cached in units of hashed blocks. A unit that somebody holds stays; one that nobody holds is idle and goes
when its blocks are needed, the least recently used first, the end of a prompt before its beginning. Where it goes then
is said in `levels`.
"""

from silicast.errors import InputError
from silicast.serving.levels import DEVICE, HOST, append, fetch, forget, in_store, remove, sink
from silicast.serving.state import IDLE, NOBODY, ON_HOST, Replica


def blocks_of(replica: Replica, tokens: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return -(-tokens // replica.state.block)


def to_the_end(replica: Replica, r: int) -> int:
    """Blocks that r will hold when it ends here."""
    row = replica.rows[r]
    return blocks_of(replica, row.prompt + (0 if replica.state.hands_over else row.output))


def available(replica: Replica) -> int:
    """Blocks that can be had: free ones and those of idle prefixes."""
    return replica.state.free + replica.state.idle


def used(replica: Replica) -> int:
    """Blocks that running requests hold."""
    return replica.state.blocks - available(replica)


def cached_tokens(replica: Replica, r: int) -> int:
    """Tokens at the beginning of the prompt of r that the cache holds at any level; its last one is always computed."""
    state, row = replica.state, replica.rows[r]
    if row.loaded > 0 or row.hashed == 0:
        return row.loaded
    most = min(row.hashed, (row.target - 1) // state.unit)
    units, hashes, first = replica.units, replica.hashes, replica.offsets[r]
    found = 0
    while found < most and units[hashes[first + found]].claims != 0:
        found += 1
    if state.remote:
        while found < most and (units[hashes[first + found]].claims != 0 or in_store(replica, hashes[first + found])):
            found += 1
    return found * state.unit


def missing(replica: Replica, r: int, shared: int, tokens: int) -> int:
    """Blocks that must be available for r to compute `tokens` more; of a waiting one `shared` tokens would be shared.

    Idle prefixes that it takes over are no longer available to it, and those that are loaded need blocks.
    """
    row = replica.rows[r]
    if row.loaded > 0:
        return blocks_of(replica, row.target)
    new = blocks_of(replica, row.computed + shared + tokens) - max(row.blocks, blocks_of(replica, shared))
    if shared == 0:
        return new
    units, hashes, first = replica.units, replica.hashes, replica.offsets[r]
    idle = 0
    for j in range(shared // replica.state.unit):
        idle += units[hashes[first + j]].claims <= IDLE
    return new + idle * blocks_of(replica, replica.state.unit)


def take(replica: Replica, count: int) -> None:
    """Take blocks; idle prefixes make room. The caller has seen that they are available."""
    state = replica.state
    if count > state.free + state.idle:
        raise InputError("A policy asked for more blocks of the cache than are available; see verbs.fits.")
    state.free -= count
    while state.free < 0:
        _evict(replica)


def share(replica: Replica, r: int, shared: int) -> None:
    """r holds the first `shared` tokens of its prompt, which are in the cache; what is not on the device is loaded."""
    row, unit = replica.rows[r], replica.state.unit
    if shared == 0 or row.loaded > 0:
        return
    units, hashes, first = replica.units, replica.hashes, replica.offsets[r]
    row.units = shared // unit
    row.blocks = blocks_of(replica, shared)
    loaded = 0
    for j in range(row.units):
        u = hashes[first + j]
        if units[u].claims > 0:
            _hold(replica, u)
        else:
            _load(replica, r, u)
            loaded += 1
    # only now, when nothing that it shares can be evicted
    if loaded > 0:
        take(replica, loaded * blocks_of(replica, unit))


def _load(replica: Replica, r: int, u: int) -> None:
    row = replica.rows[r]
    from_host = fetch(replica, u)
    if row.dispatched == row.dispatched:  # NaN: it comes for the first time
        return
    if from_host:
        row.from_host += replica.state.unit
    else:
        row.from_store += replica.state.unit


def grow(replica: Replica, r: int, tokens: int) -> None:
    """r holds blocks for `tokens` tokens, and the full ones of its prompt can be shared."""
    row = replica.rows[r]
    more = blocks_of(replica, tokens) - row.blocks
    if more > 0:
        take(replica, more)
        row.blocks += more


def publish(replica: Replica, r: int, tokens: int) -> None:
    """The hashed blocks among the first `tokens` tokens of r can be shared; what was there twice is there once."""
    state, row = replica.state, replica.rows[r]
    if row.hashed == 0:
        return
    full = min(row.hashed, tokens // state.unit)
    units, hashes, first = replica.units, replica.hashes, replica.offsets[r]
    for j in range(row.units, full):
        u = hashes[first + j]
        if units[u].claims > 0:
            state.free += blocks_of(replica, state.unit)
            _hold(replica, u)
            continue
        if units[u].claims == ON_HOST:
            forget(replica, u)
        units[u].claims = IDLE + 1
    row.units = max(row.units, full)


def release(replica: Replica, r: int) -> None:
    """r gives its blocks back; what can be shared stays in the cache as long as there is room."""
    state, row = replica.state, replica.rows[r]
    if row.units == 0:
        state.free += row.blocks
    else:
        unit = blocks_of(replica, state.unit)
        state.free += row.blocks - row.units * unit
        units, level = replica.units, replica.levels[DEVICE]
        for j in range(row.units - 1, -1, -1):
            u = replica.hashes[replica.offsets[r] + j]
            units[u].claims -= 1
            if units[u].claims == IDLE:
                append(units, level, u)
                state.idle += unit
        row.units = 0
    row.blocks = 0


def lose_all(replica: Replica) -> None:
    """Every prefix on the device and its host goes, whoever holds it: their memory is lost. A store stays."""
    state = replica.state
    for u in range(len(replica.units)):
        replica.units[u].claims = 0
    state.free, state.idle = state.blocks, 0
    for level in (DEVICE, HOST):
        replica.levels[level].held = 0
        replica.levels[level].oldest = replica.levels[level].newest = NOBODY


def _hold(replica: Replica, u: int) -> None:
    unit = replica.units[u]
    if unit.claims == IDLE:
        remove(replica.units, replica.levels[DEVICE], u)
        replica.state.idle -= blocks_of(replica, replica.state.unit)
    unit.claims += 1


def _evict(replica: Replica) -> None:
    """The least recently used idle prefix goes."""
    units, level = replica.units, replica.levels[DEVICE]
    u = level.oldest
    remove(units, level, u)
    units[u].claims = 0
    if replica.state.lower:
        sink(replica, u)
    size = blocks_of(replica, replica.state.unit)
    replica.state.idle -= size
    replica.state.free += size
