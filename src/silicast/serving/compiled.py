"""The same functions compiled with numba, and the code kept on disk between runs. Importing this needs numba.

Functions that compiled code calls are left as they are and are compiled where they are called; only `decide`, which
calls a function of the user in plain Python, stands for the policies that come with Silicast. A replica is one
reference, so that handing it from function to function costs nothing.
"""

import hashlib
import types
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numba
from numba.core import types as numba_types
from numba.experimental import structref
from numba.extending import overload, overload_attribute, register_jitable

from silicast.serving import (
    blocks,
    cluster,
    control,
    door,
    handover,
    leap,
    levels,
    lockstep,
    policies,
    replica,
    routers,
    surface,
    verbs,
)
from silicast.serving.columns import Columns
from silicast.serving.state import Cluster, Replica
from silicast.serving.surface import Surface


def kernels() -> list[types.FunctionType]:
    """Every function that compiled code calls."""
    single = (surface, levels, blocks, verbs, leap, *policies.MODULES, policies, replica)
    modules = (*single, routers, lockstep, door, handover, control, cluster)
    found = {}
    for module in modules:
        for function in vars(module).values():
            if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
                found[f"{function.__module__}.{function.__qualname__}"] = function
    return list(found.values())


def _constants(function: types.FunctionType) -> str:
    """Numbers of its module that a function uses: compiled code has them inside."""
    used = ((name, function.__globals__.get(name)) for name in function.__code__.co_names)
    return " ".join(f"{name}={value}" for name, value in used if isinstance(value, int | float))


def _fingerprint(code: types.CodeType) -> str:
    inner = [_fingerprint(const) if isinstance(const, types.CodeType) else repr(const) for const in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {inner}"


@structref.register
class ReplicaType(numba_types.StructRef):
    """A reference to the fields of `Replica`."""


@structref.register
class SurfaceType(numba_types.StructRef):
    """A reference to the fields of `Surface`."""


#: the numbers of a replica are the one record of an array
FIELDS = [{"state": "states"}.get(field.name, field.name) for field in fields(Replica) if field.name != "decide"]
TABLES = [field.name for field in fields(Surface)]


@structref.register
class ClusterType(numba_types.StructRef):
    """A reference to the fields of `Cluster`."""


CLUSTER_FIELDS = [{"state": "states"}.get(field.name, field.name) for field in fields(Cluster)]
structref.define_constructor(Cluster, ClusterType, CLUSTER_FIELDS)  # type: ignore[no-untyped-call]
structref.define_constructor(Replica, ReplicaType, FIELDS)  # type: ignore[no-untyped-call]
structref.define_constructor(Surface, SurfaceType, TABLES)  # type: ignore[no-untyped-call]


@overload_attribute(ReplicaType, "state")
def _state(replica):  # type: ignore[no-untyped-def] # noqa: ARG001
    return lambda replica: replica.states[0]


@overload_attribute(ClusterType, "state")
def _cluster_state(cluster):  # type: ignore[no-untyped-def] # noqa: ARG001
    return lambda cluster: cluster.states[0]


@overload(policies.decide)
def _stand_in(replica: Replica) -> None:  # noqa: ARG001
    # numba wants the signature of the function that it returns, annotations included
    return policies.built_in  # type: ignore[return-value]


def arguments(whole: Columns) -> tuple[Any, ...]:
    """A replica in arrays, taken apart."""
    return tuple(getattr(whole, name) for name in ("state", *FIELDS[1:-1])), tables(whole.surface)


def tables(given: Surface) -> tuple[Any, ...]:
    """A surface, taken apart."""
    return tuple(getattr(given, name) for name in TABLES)


def _entry(told: str) -> Callable[..., bool]:
    def run(arrays: Any, tables: Any, most_events: int) -> bool:
        # the code on disk goes by this file and by what its function closes over: other code is compiled anew
        return told != "" and replica.run(Replica(*arrays, Surface(*tables)), most_events)  # type: ignore[call-arg]

    return run


def _cluster_entry(told: str) -> Callable[..., bool]:
    def run(shared: Any, own: Any, common: Any, tables: Any, kinds: Any, most_events: int) -> bool:
        states, heads, tails, wheel, needs, prompts, chosen, chunks, since, sizes, units, levels, gaps, log = own
        offsets, hashes, shelf, store = common
        surfaces = [Surface(*tables[0]), Surface(*tables[1])]
        replicas = [
            Replica(
                states[i : i + 1], shared[1], heads[i], tails[i], wheel[i], needs[i], prompts[i], chosen[i], chunks[i],
                units[i], levels[i], shelf, store, offsets, hashes, since[i], sizes[i], gaps[i], log[i],
                surfaces[kinds[i]],
            )  # type: ignore[call-arg]
            for i in range(len(kinds))
        ]  # fmt: skip
        whole = Cluster(shared[0], shared[1], replicas, *shared[2:])
        return told != "" and cluster.run_cluster(whole, most_events)

    return run


CHOSEN = kernels()
for _function in CHOSEN:
    if _function is not policies.decide:
        register_jitable(_function)
MADE_FROM = hashlib.sha256(
    " ".join(_fingerprint(function.__code__) + _constants(function) for function in CHOSEN).encode()
).hexdigest()

#: `replica.run`, compiled at its first call: (arrays, tables, most events) -> whether there is more to do
run: Callable[..., bool] = numba.njit(cache=True, error_model="numpy")(_entry(MADE_FROM))
#: `cluster.run_cluster`, compiled
run_cluster: Callable[..., bool] = numba.njit(cache=True, error_model="numpy")(_cluster_entry(MADE_FROM))
