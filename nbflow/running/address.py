"""Which step of a run, or which element of it, is meant by what a user writes for it."""

from __future__ import annotations

import re
from typing import Any

from nbflow.algebra.expression import Node
from nbflow.algebra.flow import Composable
from nbflow.algebra.topology import Topology
from nbflow.errors import UnknownStepError, did_you_mean, quoted
from nbflow.record.state import RunState
from nbflow.record.summary import number_of

_ELEMENT = re.compile(r"(?P<step>.*?)\[(?P<element>.*)\]", re.DOTALL)


def addressed(step: Any, topology: Topology, state: RunState) -> tuple[str, int | None]:
    """Name the step that is meant, and number the element if one is meant.

    Parameters
    ----------
    step
        A name such as ``parse``, an element such as ``parse[0]``, a step, or a part of
        the flow.
    topology
        The flow that was run.
    state
        How the run is.

    Raises
    ------
    UnknownStepError
        If there is no such step, or there are several.
    """
    name = _name_of(step, topology) if isinstance(step, Composable) else step
    if isinstance(name, str):
        if name in state.steps:
            return name, None
        match = _ELEMENT.fullmatch(name)
        if match and match["step"] in state.steps:
            number = number_of(state.steps[match["step"]], match["element"])
            if number is not None:
                return match["step"], number
    raise UnknownStepError(f"the run has no step {quoted(name)}; {did_you_mean(name, state.steps)}")


def _name_of(step: Composable, topology: Topology) -> str:
    """Find a step or a part of the flow among the nodes of the run."""
    node = step._flow().expression
    if not isinstance(node, Node):
        raise UnknownStepError(f"{step!r} ends in no step; name the step that is meant")
    if id(node) in topology.index:
        return topology.names[topology.index[id(node)]]
    calls = [each.call.identity for each in topology.nodes]
    found = [n for n, each in enumerate(calls) if each == node.call.identity]
    if not found:
        definition = node.call.definition
        alike = enumerate(each.call.definition for each in topology.nodes)
        found = [n for n, each in alike if definition.same_as(each)]
    if len(found) > 1:
        names = ", ".join(quoted(topology.names[each]) for each in found[:8])
        raise UnknownStepError(f"{step!r} is several steps of the run: {names}; name one")
    return topology.names[found[0]] if found else node.call.definition.name
