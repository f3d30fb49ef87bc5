"""The algebra behind ``>>``: how a value flows into a call.

Pure functions from expressions to expressions. Applying one call is one new node,
so building is linear; only a flow on the right-hand side is rebuilt, see `feeding`.
"""

from __future__ import annotations

from typing import NoReturn

from nbflow.algebra.callables import natural_name
from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    Axis,
    Call,
    Const,
    DictOf,
    Expression,
    Item,
    ListOf,
    Node,
    TupleOf,
    members_of,
    nodes_in,
    parts_of,
    transformed,
)
from nbflow.algebra.signature import Arity
from nbflow.errors import SignatureError, quoted

Kwargs = tuple[tuple[str, Expression], ...]


def placed(call: Call) -> Node:
    """Place a call with nothing upstream; it stays open if an argument is missing.

    Raises
    ------
    SignatureError
        If an argument has no place, or an immutable call is incomplete.
    """
    definition = call.definition
    count, names = counted(definition, call.args, call.kwargs)
    surplus = definition.arity.surplus(count, names)
    if surplus:
        raise SignatureError(f"step {quoted(definition.name)} {surplus}; see {definition.place}")
    missing = definition.arity.missing(count, names)
    if missing and call.immutable:
        raise SignatureError(
            f"step {quoted(definition.name)} is placed with .si(), which receives nothing from "
            f"upstream, and lacks {worded(missing)}; give it there, or use .s()"
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
        return Node(call, call.args, call.kwargs, waited(upstream))
    return received(Node(call, call.args, call.kwargs), upstream)


def waited(upstream: Expression) -> tuple[Expression, ...]:
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
    count, names = counted(call.definition, args, kwargs)
    if not names and arity.required <= count <= len(arity.names) and not arity.required_keywords:
        return Node(call, args, kwargs, node.after, axis=axis)
    problem = arity.surplus(count, names)
    if problem is None:
        missing = arity.missing(count, names)
        # An element of a map may get the rest from upstream.
        if missing and isinstance(upstream, Item):
            return Node(call, args, kwargs, node.after, open=True, axis=axis)
        problem = f"lacks {worded(missing)}" if missing else None
    if problem is not None:
        _refuse(call.definition, problem, upstream)
    return Node(call, args, kwargs, node.after, axis=axis)


def _check_reduced(call: Call, args: tuple[Expression, ...]) -> None:
    if call.split_every is not None and not args:
        raise SignatureError(
            f"step {quoted(call.definition.name)} reduces a list, which comes by position; send a "
            f"tuple, with the list first, instead of a dict"
        )


def counted(
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
            f"step {quoted(definition.name)} gets two values for {worded(twice)}: one from the "
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


def worded(names: tuple[str, ...] | list[str]) -> str:
    """List names for a message."""
    return ", ".join(quoted(name) for name in names)


def is_first(node: Node) -> bool:
    """Tell whether nothing is upstream of a node."""
    return not any(True for part in (*parts_of(node), *node.after) for _ in nodes_in(part))


def untouched(node: Node) -> bool:
    """Tell whether a step has only the arguments that ``.s()`` gave it, or an item."""
    own = len(node.args) == len(node.call.args) and len(node.kwargs) == len(node.call.kwargs)
    return (own or node.bare_map) and not node.after and not node.call.immutable


def checked_call(node: Node) -> Node:
    """Give a node back if its arguments fit its function.

    Raises
    ------
    SignatureError
        If there are too many, or too few.
    """
    definition = node.call.definition
    count, names = counted(definition, node.args, node.kwargs)
    problem = definition.arity.surplus(count, names)
    missing = definition.arity.missing(count, names)
    if problem is not None or missing:
        _refuse(definition, problem or f"lacks {worded(missing)}", Const(None))
    return node


def has_room(node: Node, upstream: Expression) -> bool:
    """Tell whether a node takes what flows in besides the arguments that it has."""
    count, names = counted(node.call.definition, node.args, node.kwargs)
    if isinstance(upstream, DictOf):
        if not set(names).isdisjoint(upstream.keys):
            return False
        names = (*names, *upstream.keys)
    else:
        count += len(upstream.members) if isinstance(upstream, TupleOf) else 1
    return node.call.definition.arity.surplus(count, names) is None


def check_predicates(node: Node) -> None:
    """Refuse a predicate of ``when`` that cannot be called with what flows into a step.

    Raises
    ------
    SignatureError
        If it lacks an argument, or gets one too many.
    """
    call, definition = node.call, node.call.definition
    own = {name for name, _ in call.kwargs}
    flowed = node.args[: len(node.args) - len(call.args)]
    names = [name for name, _ in node.kwargs if name not in own]
    if not flowed and not names:
        flowed, names = node.args, [name for name, _ in node.kwargs]
    widths = [each.width if isinstance(each, Item) and each.spread else 1 for each in flowed]
    count = sum(width or 0 for width in widths)
    for predicate in definition.options.when:
        arity = Arity.of(predicate)
        problem = arity.surplus(count, names)
        missing = () if None in widths else arity.missing(count, names)
        if problem is None and missing:
            problem = f"lacks {', '.join(map(quoted, missing))}"
        if problem is not None:
            raise SignatureError(
                f"the predicate {quoted(natural_name(predicate))} of step "
                f"{quoted(definition.name)} {problem}; it is called with what flows into the step"
            )
