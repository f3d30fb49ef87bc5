"""A step of a run once more, here: with the inputs that it had, for a debugger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.algebra.evaluate import Evaluation, Frame
from nbflow.algebra.expression import Node, nodes_in, parts_of
from nbflow.algebra.inputs import items_of
from nbflow.algebra.topology import Topology
from nbflow.errors import RunError, quoted

Fetch = Callable[[list[int]], Mapping[int, Any]]
FetchElement = Callable[[int, int], Any]


def replayed(
    topology: Topology,
    params: Mapping[str, Any],
    position: int,
    element: int | None,
    fetch: Fetch,
    fetch_element: FetchElement,
) -> Any:
    """Compute one step, or one element, in this process.

    Parameters
    ----------
    topology, params
        The flow and the values of its parameters.
    position, element
        Which step, and which of its elements.
    fetch, fetch_element
        Give the values of other steps, and elements of them.

    Raises
    ------
    RunError
        If an input is not there.
    Exception
        What the step raises.
    """
    __tracebackhide__ = True
    node, name = topology.nodes[position], topology.names[position]
    evaluation = Evaluation(topology, params)
    near = _near(topology, node)
    outside = [each for each in topology.upstream[position] if each not in near]
    frame = Frame()
    frame.values.update(fetch(outside))
    for each in outside:
        if type(frame.values[each]) is Absent:
            raise RunError(
                f"step {quoted(name)} cannot be replayed: its input {quoted(topology.names[each])} "
                f"has no value, as {frame.values[each].reason}"
            )
    if node.axis is not None:
        if len(node.axis.lineage) > 1:
            raise RunError(
                f"step {quoted(name)} is in a map inside of a map, and cannot be replayed alone; "
                f"replay a step of the outer map"
            )
        number = 0 if element is None else element
        value_of = evaluation.looking_in(frame)
        items = items_of(node.axis, value_of)
        frame = Frame(frame, node.axis.key, items[number], f"[{number}]")
        frame.values.update({each: fetch_element(each, number) for each in near})
    return evaluation.attempt(node, name + frame.label, evaluation.looking_in(frame))


def _near(topology: Topology, node: Node) -> list[int]:
    """Find the steps of the same map that a step takes values of, element by element."""
    if node.axis is None:
        return []
    key = node.axis.lineage[0].key
    items = node.axis.items
    found = dict.fromkeys(
        topology.index[id(each)]
        for part in (*parts_of(node), *node.after)
        if part is not items
        for each in nodes_in(part)
    )
    axes = {each: topology.nodes[each].axis for each in found}
    return [each for each, axis in axes.items() if axis is not None and axis.lineage[0].key is key]
