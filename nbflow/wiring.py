"""The algebra behind ``>>``: how a value flows into a call, and into a whole flow.

Pure functions from expressions to expressions. Applying one call is one new node,
so building is linear; only a flow on the right-hand side is rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from nbflow.definition import Definition, Options
from nbflow.errors import SignatureError, quoted
from nbflow.expression import (
    Axis,
    Call,
    Const,
    DictOf,
    Expression,
    Item,
    Key,
    ListOf,
    Node,
    TupleOf,
    leaves,
    members_of,
    nodes_in,
    parts_of,
    transformed,
)
from nbflow.items import elements_of, is_frame
from nbflow.topology import Topology

Kwargs = tuple[tuple[str, Expression], ...]


def placed(call: Call) -> Node:
    """Place a call with nothing upstream; it stays open if an argument is missing.

    Raises
    ------
    SignatureError
        If an argument has no place, or an immutable call is incomplete.
    """
    definition = call.definition
    count, names = _given(definition, call.args, call.kwargs)
    surplus = definition.arity.surplus(count, names)
    if surplus:
        raise SignatureError(f"step {quoted(definition.name)} {surplus}; see {definition.place}")
    missing = definition.arity.missing(count, names)
    if missing and call.immutable:
        raise SignatureError(
            f"step {quoted(definition.name)} is placed with .si(), which receives nothing from "
            f"upstream, and lacks {_listed(missing)}; give it there, or use .s()"
        )
    # A callable that hides its signature is open as long as it was given nothing.
    hidden = not definition.arity.known and not count and not names and not call.immutable
    return Node(call, call.args, call.kwargs, (), bool(missing) or hidden)


def applied(call: Call, upstream: Expression) -> Node:
    """Let a value flow into a call.

    A tuple spreads over positional arguments and a dict over keywords; anything
    else becomes the first argument. An immutable call only waits.

    Raises
    ------
    SignatureError
        If the call does not fit its function, saying what was probably meant.
    """
    if call.immutable:
        return Node(call, call.args, call.kwargs, _waited(upstream))
    return received(Node(call, call.args, call.kwargs), upstream)


def _waited(upstream: Expression) -> tuple[Expression, ...]:
    """Give what an immutable call waits for; nothing where no step is."""
    spread = isinstance(upstream, (TupleOf, DictOf))
    parts = members_of(upstream) if spread else (upstream,)
    return tuple(
        transformed(each, _step_or_nothing) for each in parts if any(True for _ in nodes_in(each))
    )


def _step_or_nothing(leaf: Expression) -> Expression:
    return leaf if isinstance(leaf, Node) else _NOTHING


_NOTHING = Const(None)


def received(node: Node, upstream: Expression, axis: Axis | None = None) -> Node:
    """Let a value flow into a node, before the arguments that it has.

    Raises
    ------
    SignatureError
        If the node does not fit its function then.
    """
    call, args, kwargs = node.call, node.args, node.kwargs
    axis = node.axis if axis is None else axis
    if isinstance(upstream, TupleOf):
        args = (*upstream.members, *args)
    elif isinstance(upstream, DictOf):
        kwargs = _merged(call.definition, upstream, kwargs)
        _check_reduced(call, args)
    else:
        args = (upstream, *args)
    arity = call.definition.arity
    count, names = _given(call.definition, args, kwargs)
    if not names and arity.required <= count <= len(arity.names) and not arity.required_keywords:
        return Node(call, args, kwargs, node.after, axis=axis)
    problem = arity.surplus(count, names)
    if problem is None:
        missing = arity.missing(count, names)
        # An element of a map may get the rest from upstream.
        if missing and isinstance(upstream, Item):
            return Node(call, args, kwargs, node.after, open=True, axis=axis)
        problem = f"lacks {_listed(missing)}" if missing else None
    if problem is not None:
        _refuse(call.definition, problem, upstream)
    return Node(call, args, kwargs, node.after, axis=axis)


def _check_reduced(call: Call, args: tuple[Expression, ...]) -> None:
    if call.split_every is not None and not args:
        raise SignatureError(
            f"step {quoted(call.definition.name)} reduces a list, which comes by position; send a "
            f"tuple, with the list first, instead of a dict"
        )


def _given(
    definition: Definition, args: tuple[Expression, ...], kwargs: Kwargs
) -> tuple[int, tuple[str, ...]]:
    """Count the positional arguments of a call, and name the others."""
    names = tuple([name for name, _ in kwargs]) if kwargs else ()
    if Item not in map(type, args):
        return len(args), names
    count, open_ended = 0, False
    for each in args:
        if isinstance(each, Item) and each.spread:
            count += each.width or 0
            open_ended = open_ended or each.width is None
        else:
            count += 1
    if open_ended:
        # Of tuples that nobody has seen yet, each has what the call needs.
        count = max(count, definition.arity.required)
    return count, names


def _merged(definition: Definition, upstream: DictOf, kwargs: Kwargs) -> Kwargs:
    for key in upstream.keys:
        if not isinstance(key, str):
            raise SignatureError(
                f"a dict on the left of >> spreads over keywords, and {key!r} is no name; "
                f"to hand the dict over whole, write {definition.name}.s(the_dict)"
            )
    own = dict(kwargs)
    twice = [key for key in upstream.keys if key in own]
    if twice:
        raise SignatureError(
            f"step {quoted(definition.name)} gets two values for {_listed(twice)}: one from the "
            f"dict on the left of >>, the other from its own .s()"
        )
    return (*zip(upstream.keys, upstream.members, strict=True), *kwargs)


def _refuse(definition: Definition, problem: str, upstream: Expression) -> NoReturn:
    arity, name = definition.arity, definition.name
    if not arity.names and not arity.keyword_only:
        advice = f"use {name}.si() to run it after the other without its value"
    elif isinstance(upstream, (TupleOf, DictOf)):
        advice = (
            "a tuple on the left of >> spreads over positional arguments and a dict over "
            "keywords; a list is handed over whole"
        )
    elif isinstance(upstream, ListOf) and arity.required == len(upstream.members) > 1:
        advice = "a list is handed over as one argument; write a tuple to spread it"
    elif "lacks" in problem:
        advice = (
            f"give it with {name}.s(…), or send several values with a tuple (by position) or a "
            f"dict (by name)"
        )
    else:
        advice = (
            f"the value from upstream comes first, before what .s() was given; use {name}.si() to "
            f"run it without that value, or a dict to say which parameter is meant"
        )
    raise SignatureError(f"step {quoted(name)} {problem}; {advice}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def is_first(node: Node) -> bool:
    """Tell whether nothing is upstream of a node."""
    return not any(True for part in (*parts_of(node), *node.after) for _ in nodes_in(part))


def _untouched(node: Node) -> bool:
    """Tell whether a first step has only the arguments that ``.s()`` gave it, or an item."""
    own = len(node.args) == len(node.call.args) and len(node.kwargs) == len(node.call.kwargs)
    return (own or node.bare_map) and is_first(node) and not node.call.immutable


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
        firsts = [node for node in nodes if _untouched(node)]
        fitting = [node for node in firsts if _has_room(node, upstream)]
        # A single first step says best why it takes nothing.
        taking = {id(node) for node in (fitting or firsts[: len(firsts) == 1])}
    waiting = {id(node) for node in nodes if is_first(node) and node.call.immutable}
    if not taking and not waiting and not maps:
        raise SignatureError(
            f"no step of the flow takes {described}: every first step has its arguments; "
            f"use .si() for a step that only has to run after it"
        )
    after = _waited(upstream)
    items, others = _mapped_over(upstream) if maps else (None, ())

    def change(original: Node, moved: Node) -> Node:
        if id(original) in waiting and after:
            return Node(moved.call, moved.args, moved.kwargs, after, axis=moved.axis)
        if maps and _takes_item(original, maps):
            args = (moved.args[0], *others, *moved.args[1:])
            return _checked(Node(moved.call, args, moved.kwargs, moved.after, axis=moved.axis))
        if id(original) in taking:
            return received(moved, upstream)
        return moved

    return rebuilt(value, change, items)


def given(value: Expression, inputs: tuple[object, ...]) -> Expression:
    """Give an open flow its inputs, as positional arguments of every open step.

    Raises
    ------
    SignatureError
        If a step still lacks an argument, or nobody takes the inputs.
    """
    nodes = Topology.of(value).nodes
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
        missing = definition.arity.missing(*_given(definition, node.args, node.kwargs))
        what = _listed(missing) or "its first argument"
        raise SignatureError(
            f"the flow is open: step {quoted(name)} lacks {what}; give it with .run(value), with "
            f"{name}.s(value), or as value >> flow"
        )
    if node.axis is not None and not maps.isdisjoint(each.key for each in node.axis.lineage):
        raise SignatureError(
            f"the flow is open: step {quoted(name)} is mapped, and over nothing yet; give the "
            f"items with .map([…]), with .run(items), or as items >> flow"
        )


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


def _takes_item(node: Node, maps: set[Key]) -> bool:
    first = node.args[0] if node.args else None
    return isinstance(first, Item) and first.key in maps


def _checked(node: Node) -> Node:
    definition = node.call.definition
    count, names = _given(definition, node.args, node.kwargs)
    problem = definition.arity.surplus(count, names)
    missing = definition.arity.missing(count, names)
    if problem is not None or missing:
        _refuse(definition, problem or f"lacks {_listed(missing)}", Const(None))
    return node


def _has_room(node: Node, upstream: Expression) -> bool:
    count, names = _given(node.call.definition, node.args, node.kwargs)
    if isinstance(upstream, DictOf):
        if not set(names).isdisjoint(upstream.keys):
            return False
        names = (*names, *upstream.keys)
    else:
        count += len(upstream.members) if isinstance(upstream, TupleOf) else 1
    return node.call.definition.arity.surplus(count, names) is None


def opened(value: Expression) -> Expression:
    """Let the first steps of an arm of a branch take what flows into the branch.

    Those that lack an argument do so anyway; where none does, those that have room.
    """
    nodes = Topology.of(value).nodes
    if any(node.open for node in nodes) or _open_axes(nodes):
        return value
    firsts = [node for node in nodes if _untouched(node)]
    if isinstance(value, Node) and value.loose and not value.call.immutable:
        firsts = [value]  # as on the right of >>, also if flows are among its arguments
    taking = {id(node) for node in firsts if _has_room(node, Const(None))}

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
