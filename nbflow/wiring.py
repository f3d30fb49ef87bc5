"""The algebra behind ``>>``: how a value flows into a call, and into a whole flow.

Pure functions from expressions to expressions. Applying one call is one new node,
so building is linear; only a flow on the right-hand side is rebuilt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from nbflow.definition import Definition, Options
from nbflow.errors import SignatureError, quoted
from nbflow.expression import (
    Call,
    Const,
    DictOf,
    Elements,
    Expression,
    ListOf,
    Node,
    TupleOf,
    members_of,
    nodes_in,
    parts_of,
    transformed,
)
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
    count, names = _given(call, call.args, call.kwargs)
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
        return Node(call, call.args, call.kwargs, tuple(nodes_in(upstream)))
    return _joined(call, call.args, call.kwargs, (), upstream)


def _joined(
    call: Call,
    args: tuple[Expression, ...],
    kwargs: Kwargs,
    after: tuple[Node, ...],
    upstream: Expression,
) -> Node:
    if isinstance(upstream, TupleOf):
        args = (*upstream.members, *args)
    elif isinstance(upstream, DictOf):
        kwargs = _merged(call.definition, upstream, kwargs)
    else:
        args = (upstream, *args)
    arity = call.definition.arity
    count, names = _given(call, args, kwargs)
    if not names and arity.required <= count <= len(arity.names) and not arity.required_keywords:
        return Node(call, args, kwargs, after)
    problem = arity.surplus(count, names)
    if problem is None:
        missing = arity.missing(count, names)
        problem = f"lacks {_listed(missing)}" if missing else None
    if problem is not None:
        _refuse(call.definition, problem, upstream)
    return Node(call, args, kwargs, after)


def _given(call: Call, args: tuple[Expression, ...], kwargs: Kwargs) -> tuple[int, tuple[str, ...]]:
    count = len(args)
    if call.elements is not None and not call.elements.spread:
        count += 1
    elif call.elements is not None:
        count += _width(call.elements)
    if call.elements is not None and call.elements.spread and not call.elements.count:
        # Of no tuples at all, each has what the call needs.
        count = max(count, call.definition.arity.required)
    return count, tuple(name for name, _ in kwargs) if kwargs else ()


def _width(elements: Elements) -> int:
    items = elements.items
    if isinstance(items, Const):
        return len(items.value[0]) if elements.count else 0
    first = items.members[0]
    if isinstance(first, Const):
        return len(first.value)
    return len(members_of(first))


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
    return not node.after and not any(True for part in parts_of(node) for _ in nodes_in(part))


def fed(value: Expression, upstream: Expression, described: str) -> Expression:
    """Let a value flow into a whole flow: into each first step that lacks an argument.

    Where none lacks one, the first steps that have room for it receive it, so that
    ``a >> (b >> c)`` means ``(a >> b) >> c``. First steps placed with ``.si()``
    wait for it.

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
    taking = {id(node) for node in nodes if node.open}
    if not taking:
        firsts = [node for node in nodes if is_first(node) and not node.call.immutable]
        fitting = [node for node in firsts if _has_room(node, upstream)]
        # A single first step says best why it takes nothing.
        taking = {id(node) for node in (fitting or firsts[: len(firsts) == 1])}
    waiting = {id(node) for node in nodes if is_first(node) and node.call.immutable}
    if not taking and not waiting:
        raise SignatureError(
            f"no step of the flow takes {described}: every first step has its arguments; "
            f"use .si() for a step that only has to run after it"
        )
    after = tuple(nodes_in(upstream))

    def change(original: Node, moved: Node) -> Node:
        if id(original) in taking:
            return _joined(moved.call, moved.args, moved.kwargs, moved.after, upstream)
        if id(original) in waiting and after:
            return Node(moved.call, moved.args, moved.kwargs, after)
        return moved

    return rebuilt(value, change)


def given(value: Expression, inputs: tuple[object, ...]) -> Expression:
    """Give an open flow its inputs, as positional arguments of every open step.

    Raises
    ------
    SignatureError
        If a step still lacks an argument, or nobody takes the inputs.
    """
    nodes = Topology.of(value).nodes
    lacking = [node for node in nodes if node.open]
    if not inputs:
        for node in lacking:
            definition = node.call.definition
            missing = definition.arity.missing(*_given(node.call, node.args, node.kwargs))
            what = _listed(missing) or "its first argument"
            raise SignatureError(
                f"the flow is open: step {quoted(definition.name)} lacks {what}; give it with "
                f".run(value), with {definition.name}.s(value), or as value >> flow"
            )
        return value
    if not lacking:
        first = ", ".join(quoted(node.call.definition.name) for node in nodes if is_first(node))
        raise SignatureError(
            f"the flow takes no input, and got {len(inputs)}: no first step ({first or 'none'}) "
            f"lacks a required argument; use a param for a value that has a default"
        )
    upstream = TupleOf(tuple(Const(each) for each in inputs))
    open_ids = {id(node) for node in lacking}

    def change(original: Node, moved: Node) -> Node:
        if id(original) not in open_ids:
            return moved
        return _joined(moved.call, moved.args, moved.kwargs, moved.after, upstream)

    return rebuilt(value, change)


def _has_room(node: Node, upstream: Expression) -> bool:
    count, names = _given(node.call, node.args, node.kwargs)
    if isinstance(upstream, DictOf):
        if not set(names).isdisjoint(upstream.keys):
            return False
        names = (*names, *upstream.keys)
    else:
        count += len(upstream.members) if isinstance(upstream, TupleOf) else 1
    return node.call.definition.arity.surplus(count, names) is None


def rebuilt(value: Expression, change: Callable[[Node, Node], Node]) -> Expression:
    """Copy a flow with nodes changed, sharing all that is not downstream of a change.

    Parameters
    ----------
    value
        The expression of the flow.
    change
        Gives the new node for an original and its copy, whose inputs are already
        those of the new flow.
    """
    topology = Topology.of(value)
    renewed: list[Node] = []

    def follow(expression: Expression) -> Expression:
        if isinstance(expression, Node):
            return renewed[topology.index[id(expression)]]
        return expression

    for node in topology.nodes:
        renewed.append(change(node, _moved(node, follow)))  # noqa: PERF401 - `follow` reads it
    return transformed(value, follow)


def _moved(node: Node, follow: Callable[[Expression], Expression]) -> Node:
    args = tuple(transformed(each, follow) for each in node.args)
    kwargs = tuple((name, transformed(each, follow)) for name, each in node.kwargs)
    after = tuple(follow(each) for each in node.after)
    call = _recalled(node, args, kwargs, follow)
    pairs = [
        *zip(args, node.args, strict=True),
        *zip(after, node.after, strict=True),
        *((new, old) for (_, new), (_, old) in zip(kwargs, node.kwargs, strict=True)),
    ]
    if call is node.call and all(new is old for new, old in pairs):
        return node
    if node.loose:
        args, kwargs = call.args, call.kwargs
    return Node(call, args, kwargs, after, node.open)  # type: ignore[arg-type]


def _recalled(
    node: Node,
    args: tuple[Expression, ...],
    kwargs: Kwargs,
    follow: Callable[[Expression], Expression],
) -> Call:
    """Rebuild the call of a node whose own arguments or items were."""
    call, elements = node.call, node.call.elements
    if elements is not None:
        items = transformed(elements.items, follow)
        if items is not elements.items:
            elements = Elements(items, elements.count, elements.spread)  # type: ignore[arg-type]
    if not node.loose:
        args, kwargs = call.args, call.kwargs
    olds = (*call.args, *(each for _, each in call.kwargs))
    news = (*args, *(each for _, each in kwargs))
    same = all(new is old for new, old in zip(news, olds, strict=True))
    if elements is call.elements and same:
        return call
    origin = call if call.origin is None else call.origin
    return Call(call.definition, args, kwargs, call.immutable, elements, origin)


def redefined(value: Expression, change: Callable[[Options], Options]) -> Expression:
    """Copy a flow with the options of every step changed."""
    firsts: dict[int, Call] = {}

    def replace_call(original: Node, moved: Node) -> Node:
        call, old = moved.call, moved.call.definition
        new = Call(
            Definition(old.fn, old.name, change(old.options), old.arity),
            call.args,
            call.kwargs,
            call.immutable,
            call.elements,
            firsts.get(original.call.identity),
        )
        firsts.setdefault(original.call.identity, new)
        return Node(new, moved.args, moved.kwargs, moved.after, moved.open)

    return rebuilt(value, replace_call)
