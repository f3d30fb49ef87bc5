"""How a value flows into a whole flow, and how a flow is mapped.

Which of its steps take the value: those that lack an argument, the maps that lack their
items, or else its first steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nbflow.algebra.expression import (
    Axis,
    Const,
    DictOf,
    Expression,
    Item,
    Key,
    Node,
    TupleOf,
    leaves,
    nodes_in,
    parts_of,
)
from nbflow.algebra.rebuilding import listed, rebuilt
from nbflow.algebra.topology import Topology
from nbflow.algebra.wiring import (
    checked_call,
    counted,
    has_room,
    is_first,
    received,
    untouched,
    waited,
    worded,
)
from nbflow.errors import SignatureError, quoted


def fed(value: Expression, upstream: Expression, described: str) -> Expression:
    """Let a value flow into a whole flow: into each first step that lacks an argument.

    Where none lacks one, the first steps that have room for it receive it, so that
    ``a >> (b >> c)`` means ``(a >> b) >> c``. First steps placed with ``.si()``
    wait for it. A map without items goes over it.

    Parameters
    ----------
    value
        The expression of the flow.
    upstream
        What flows in.
    described
        What flows in, for the message.

    Raises
    ------
    SignatureError
        If no step takes it.
    """
    nodes = Topology.of(value).nodes
    maps = _open_axes(nodes)
    # The steps of a map without items get items, and nothing else but what comes with them.
    taking = {id(node) for node in nodes if node.open and not _takes_item(node, maps)}
    if not taking and not maps:
        firsts = _firsts(value, nodes)
        fitting = [node for node in firsts if has_room(node, upstream)]
        # A single first step says best why it takes nothing.
        taking = {id(node) for node in (fitting or firsts[: len(firsts) == 1])}
    waiting = {id(node) for node in nodes if is_first(node) and node.call.immutable}
    if not taking and not waiting and not maps:
        raise SignatureError(
            f"no step of the flow takes {described}: every first step has its arguments; "
            f"use .si() for a step that only has to run after it"
        )
    after = waited(upstream)
    items, others = _mapped_over(upstream) if maps else (None, ())

    def change(original: Node, moved: Node) -> Node:
        if id(original) in waiting and after:
            return Node(moved.call, moved.args, moved.kwargs, after, axis=moved.axis)
        if maps and _takes_item(original, maps):
            args = (moved.args[0], *others, *moved.args[1:])
            return checked_call(Node(moved.call, args, moved.kwargs, moved.after, axis=moved.axis))
        if id(original) in taking:
            return received(moved, upstream)
        return moved

    return rebuilt(value, change, items)


def given(value: Expression, nodes: tuple[Node, ...], inputs: tuple[object, ...]) -> Expression:
    """Give an open flow its inputs, as positional arguments of every open step.

    Parameters
    ----------
    value, nodes
        The flow, and its nodes in topological order.
    inputs
        What it is given.

    Raises
    ------
    SignatureError
        If a step still lacks an argument, or nobody takes the inputs.
    """
    lacking = [node for node in nodes if node.open]
    maps = _open_axes(nodes)
    if not inputs:
        for node in nodes:
            _refuse_open(node, maps)
        return value
    if not lacking and not maps:
        first = ", ".join(quoted(node.call.definition.name) for node in nodes if is_first(node))
        raise SignatureError(
            f"the flow takes no input, and got {len(inputs)}: no first step ({first or 'none'}) "
            f"lacks a required argument; use a param for a value that has a default"
        )
    upstream = TupleOf(tuple(Const(each) for each in inputs))
    return fed(value, upstream, "the input")


def _refuse_open(node: Node, maps: set[Key]) -> None:
    definition = node.call.definition
    name = definition.name
    if node.open:
        missing = definition.arity.missing(*counted(definition, node.args, node.kwargs))
        what = worded(missing) or "its first argument"
        raise SignatureError(
            f"the flow is open: step {quoted(name)} lacks {what}; give it with .run(value), with "
            f"{name}.s(value), or as value >> flow"
        )
    if node.axis is not None and not maps.isdisjoint(each.key for each in node.axis.lineage):
        raise SignatureError(
            f"the flow is open: step {quoted(name)} is mapped, and over nothing yet; give the "
            f"items with .map([…]), with .run(items), or as items >> flow"
        )


def _firsts(value: Expression, nodes: tuple[Node, ...]) -> list[Node]:
    """List the steps into which nothing flows yet, and which are not only arguments."""
    line = _main_line(value)
    return [
        node
        for node in nodes
        if id(node) in line
        and untouched(node)
        and not any(True for part in _flowing(node) for _ in nodes_in(part))
    ]


def _main_line(value: Expression) -> set[int]:
    """Find the nodes along which values flow, without those that are only arguments."""
    found: set[int] = set()
    stack = [value]
    while stack:
        for node in nodes_in(stack.pop()):
            if id(node) not in found:
                found.add(id(node))
                stack.extend(_flowing(node))
    return found


def _flowing(node: Node) -> Iterator[Expression]:
    own = {name for name, _ in node.call.kwargs}
    yield from node.args[: len(node.args) - len(node.call.args)]
    yield from (each for name, each in node.kwargs if name not in own)
    yield from node.after
    if node.axis is not None:
        yield from (axis.items for axis in node.axis.lineage if axis.items is not None)


def _open_axes(nodes: tuple[Node, ...]) -> set[Key]:
    """Find the maps that lack their items."""
    return {
        axis.key
        for node in nodes
        if node.axis is not None
        for axis in node.axis.lineage
        if axis.items is None
    }


def _mapped_over(upstream: Expression) -> tuple[Expression, tuple[Expression, ...]]:
    """Take apart what flows into a map: its items, and what else its first steps get."""
    if isinstance(upstream, DictOf):
        raise SignatureError(
            "a dict on the left of a map does not say which value it goes over; put that value "
            "first in a tuple, or write .map(items=…)"
        )
    if isinstance(upstream, TupleOf):
        if not upstream.members:
            raise SignatureError("an empty tuple on the left of a map has no value to go over")
        first, *others = upstream.members
        return listed(first), tuple(others)
    return listed(upstream), ()


def _takes_item(node: Node, maps: set[Key]) -> bool:
    first = node.args[0] if node.args else None
    return isinstance(first, Item) and first.key in maps


def opened(value: Expression) -> Expression:
    """Let the first steps of an arm of a branch take what flows into the branch.

    Those that lack an argument do so anyway; where none does, those that have room.
    """
    nodes = Topology.of(value).nodes
    if any(node.open for node in nodes) or _open_axes(nodes):
        return value
    firsts = _firsts(value, nodes)
    taking = {id(node) for node in firsts if has_room(node, Const(None))}

    def change(original: Node, moved: Node) -> Node:
        if id(original) not in taking:
            return moved
        return Node(moved.call, moved.args, moved.kwargs, moved.after, open=True, axis=moved.axis)

    return rebuilt(value, change)


def over(value: Expression, axis: Axis, item: Item) -> Expression:
    """Map a flow: each step that an item reaches is computed once for each element.

    Parameters
    ----------
    value
        The expression of the flow, open for an item.
    axis
        The map.
    item
        Its current item, as an argument.

    Raises
    ------
    SignatureError
        If no step takes the items.
    """
    if isinstance(value, Node) and value.loose and not value.call.immutable:
        call = value.call
        # A call of its own: the same step may also be placed bare.
        fresh = replace(call, origin=None)
        node = received(Node(fresh, call.args, call.kwargs), item)
        return Node(fresh, node.args, node.kwargs, node.after, node.open, axis)
    reached = fed(value, item, "the items")
    topology = Topology.of(reached)
    inside = _reached(topology, axis.key)
    if not inside:
        raise SignatureError(
            "no step of the flow takes the items of the map; leave an argument of its first step "
            "open"
        )
    nested: dict[int, Axis] = {}

    def change(original: Node, moved: Node) -> Node:
        if topology.index[id(original)] not in inside:
            return moved
        return replace(moved, axis=_nested(moved.axis, axis, nested))

    return rebuilt(reached, change)


def _reached(topology: Topology, key: Key) -> set[int]:
    """Find the nodes whose value depends on the items of a map."""
    inside: set[int] = set()
    maps: set[Key] = set()
    while True:
        before = len(inside)
        for position, node in enumerate(topology.nodes):
            mine = {each.key for each in node.axis.lineage} if node.axis else set()
            direct = any(
                isinstance(leaf, Item) and leaf.key is key
                for part in parts_of(node)
                for leaf in leaves(part)
            )
            near = (*topology.inputs[position], *topology.order_only[position])
            if direct or not inside.isdisjoint(near) or not maps.isdisjoint(mine):
                inside.add(position)
                # Steps that are mapped together stay together.
                maps |= mine
        if len(inside) == before:
            return inside


def _nested(axis: Axis | None, outer: Axis, known: dict[int, Axis]) -> Axis:
    if axis is None:
        return outer
    if id(axis) not in known:
        known[id(axis)] = replace(axis, parent=_nested(axis.parent, outer, known))
    return known[id(axis)]
