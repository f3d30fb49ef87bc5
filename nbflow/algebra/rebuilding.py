"""Copies of flows in which something is different, sharing all that stays the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    Axis,
    Call,
    Const,
    DictOf,
    Expression,
    ListOf,
    Node,
    TupleOf,
    transformed,
)
from nbflow.algebra.items import elements_of, is_frame
from nbflow.algebra.options import Options
from nbflow.algebra.topology import Topology
from nbflow.errors import SignatureError


def rebuilt(
    value: Expression, change: Callable[[Node, Node], Node], items: Expression | None = None
) -> Expression:
    """Copy a flow with nodes changed, sharing all that is not downstream of a change.

    Parameters
    ----------
    value
        The expression of the flow.
    change
        Gives the new node for an original and its copy, whose inputs are already
        those of the new flow.
    items
        What the maps that lack items shall go over.
    """
    topology = Topology.of(value)
    renewed: list[Node] = []
    axes: dict[int, Axis] = {}

    def follow(expression: Expression) -> Expression:
        if isinstance(expression, Node):
            return renewed[topology.index[id(expression)]]
        return expression

    def moved_axis(axis: Axis) -> Axis:
        if id(axis) not in axes:
            parent = None if axis.parent is None else moved_axis(axis.parent)
            over = None if axis.items is None else transformed(axis.items, follow)
            same = over is axis.items and parent is axis.parent
            moved = axis if same else replace(axis, items=over, parent=parent)
            if over is None and items is not None:
                moved = supplied(moved, items)
            axes[id(axis)] = moved
        return axes[id(axis)]

    for node in topology.nodes:
        axis = None if node.axis is None else moved_axis(node.axis)
        renewed.append(change(node, _moved(node, axis, follow)))
    return transformed(value, follow)


def _moved(node: Node, axis: Axis | None, follow: Callable[[Expression], Expression]) -> Node:
    args = tuple(transformed(each, follow) for each in node.args)
    kwargs = tuple((name, transformed(each, follow)) for name, each in node.kwargs)
    after = tuple(transformed(each, follow) for each in node.after)
    pairs = [
        *zip(args, node.args, strict=True),
        *zip(after, node.after, strict=True),
        *((new, old) for (_, new), (_, old) in zip(kwargs, node.kwargs, strict=True)),
    ]
    if axis is node.axis and all(new is old for new, old in pairs):
        return node
    if not node.loose:
        return Node(node.call, args, kwargs, after, node.open, axis)
    # The call itself holds flows, and they were rebuilt.
    call = node.call
    call = replace(call, args=args, kwargs=kwargs, origin=call.origin or call)
    return Node(call, call.args, call.kwargs, after, node.open, axis)


def redefined(
    value: Expression,
    change: Callable[[Options], Options],
    chosen: Callable[[Node], bool] = lambda _: True,
) -> Expression:
    """Copy a flow with the options of steps changed.

    Parameters
    ----------
    value
        The expression of the flow.
    change
        Gives the new options for the old ones.
    chosen
        Which steps are meant.
    """
    firsts: dict[int, Call] = {}

    def replace_call(original: Node, moved: Node) -> Node:
        if not chosen(original):
            return moved
        call, old = moved.call, moved.call.definition
        definition = Definition(old.fn, old.name, change(old.options), old.arity)
        new = replace(call, definition=definition, origin=firsts.get(original.call.identity))
        firsts.setdefault(original.call.identity, new)
        args, kwargs = (new.args, new.kwargs) if moved.loose else (moved.args, moved.kwargs)
        return replace(moved, call=new, args=args, kwargs=kwargs)

    return rebuilt(value, replace_call)


def listed(items: Expression) -> Expression:
    """Give what a map goes over as a list, where it is known already."""
    if isinstance(items, Const):
        return items if is_frame(items.value) else Const(elements_of(items.value))
    if isinstance(items, TupleOf):
        return ListOf(items.members)
    if isinstance(items, DictOf):
        raise SignatureError(
            "a map goes over a list, not over a dict; write list(the_dict.items())"
        )
    return items


def supplied(axis: Axis, items: Expression) -> Axis:
    """Give a map what it goes over, cut into elements if that is known already."""
    items = listed(items)
    if isinstance(items, Const):
        framed = is_frame(items.value)
        elements = elements_of(items.value, axis.size, axis.together)
        together = None if framed else axis.together
        return replace(axis, items=Const(elements), size=None, together=together)
    if isinstance(items, ListOf) and axis.size is not None:
        parts = elements_of(list(items.members), axis.size)
        return replace(axis, items=ListOf(tuple(ListOf(tuple(p)) for p in parts)), size=None)
    return replace(axis, items=items)
