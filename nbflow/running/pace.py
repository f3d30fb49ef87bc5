"""How long the steps of flows took in this process, so that they are cut better next time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from nbflow.algebra.expression import Const, leaves, parts_of
from nbflow.algebra.fingerprint import same_value
from nbflow.algebra.topology import Topology
from nbflow.record.events import Status
from nbflow.record.state import RunState
from nbflow.values.kinds import ATOMS

_MOST_FLOWS = 200
_MOST_STEPS = 5_000
# Nothing longer is held to tell flows apart.
_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class _Known:
    """How long steps took, and what they were called with."""

    params: dict[str, Any]
    seconds: Mapping[int, float]


# By the flow itself, and by what tells it from others: a cell that is run again makes it anew.
_of_flows: WeakKeyDictionary[Topology, _Known] = WeakKeyDictionary()
_of_codes: OrderedDict[tuple[Any, ...], _Known] = OrderedDict()


def learn(topology: Topology, params: Mapping[str, Any], state: RunState) -> None:
    """Take note of how long the steps of a run took, if it has come to its end.

    Parameters
    ----------
    topology, params, state
        The flow, the values of its parameters, and the run.
    """
    if state.status is not Status.COMPLETED or len(topology.nodes) > _MOST_STEPS:
        return
    if not all(map(_is_small, params.values())):
        # To compare with them, they would have to be held.
        return
    found = {}
    for position, name in enumerate(topology.names):
        step = state.steps[name]
        if step.status is Status.COMPLETED and step.seconds is not None and not step.mapped:
            found[position] = step.seconds
    known = _Known(dict(params), found)
    _of_flows[topology] = known
    key = _key(topology)
    if key is not None:
        _of_codes[key] = known
        _of_codes.move_to_end(key)
        while len(_of_codes) > _MOST_FLOWS:
            _of_codes.popitem(last=False)


def seconds_of(topology: Topology, params: Mapping[str, Any]) -> Mapping[int, float] | None:
    """Say how long the steps of a flow took the last time, by position.

    None where that is not known, or it had other inputs: these may be much larger.
    """
    known = _of_flows.get(topology)
    if known is None:
        key = _key(topology) if _of_codes else None
        known = _of_codes.get(key) if key is not None else None
    if known is None or not same_value(known.params, dict(params)):
        return None
    return known.seconds


def _is_small(value: Any) -> bool:
    return type(value) in ATOMS and not (isinstance(value, str | bytes) and len(value) > _LONGEST)


def _key(topology: Topology) -> tuple[Any, ...] | None:
    """Say what tells a flow from others; None where that would take long."""
    if len(topology.nodes) > _MOST_STEPS:
        return None
    found: list[Any] = [topology.names, topology.upstream]
    for node in topology.nodes:
        fn = node.call.definition.fn
        if isinstance(fn, type | BuiltinFunctionType):
            found.append(fn)
        elif isinstance(fn, FunctionType) and fn.__closure__ is None:
            found.append(fn.__code__)
        else:
            # What else there is in it may tell it from another one with the same code.
            return None
        for part in parts_of(node):
            for leaf in leaves(part):
                if isinstance(leaf, Const):
                    if not _is_small(leaf.value):
                        return None
                    found.append((type(leaf.value), leaf.value))
    try:
        hash(key := tuple(found))
    except TypeError:
        return None
    return key
