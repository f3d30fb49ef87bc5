"""Composition by functions: chain, group, chord, chunks, starmap, branch and switch.

They give the same values as the operators, and take what Python's own operators
cannot, such as a list that flows into a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nbflow.decision import Decision
from nbflow.definition import Definition
from nbflow.errors import FlowError, SignatureError, quoted
from nbflow.expression import (
    Axis,
    Call,
    Cap,
    Choice,
    Const,
    DictOf,
    Expression,
    Item,
    Key,
    ListOf,
    Node,
    ParamRef,
    TupleOf,
)
from nbflow.flow import Composable, Flow, connected, function_flow, gathered, lift, source
from nbflow.items import check_labels, elements_of
from nbflow.wiring import listed, opened, over, placed

_WHOLE = (str, bytes, bytearray, Mapping, Composable)


def chain(*parts: Any) -> Flow:
    """Connect parts one after the other, as ``a >> b >> c`` does.

    Examples
    --------
    >>> chain([1, 2], sum, str).call()
    '3'
    """
    if not parts:
        raise FlowError("chain() got no parts; give it at least one")
    flow = source(parts[0])
    for part in parts[1:]:
        flow = connected(flow, part)
    return flow


def group(*members: Any, max_concurrency: int | None = None) -> Flow:
    """Gather flows side by side; the value is the list of their values.

    Parameters
    ----------
    members
        Flows, or one iterable of them: a list, a tuple, a range, a generator.
    max_concurrency
        How many members may run at once: never more, and as soon as one ends, the next
        one starts. What only one member needs is part of that member.

    Raises
    ------
    FlowError
        If the limit is not a whole number of at least 1.

    Examples
    --------
    >>> (-3 >> group(abs, str)).call()
    [3, '-3']
    >>> (group(1, 2) >> [sum, max]).call()
    [3, 2]
    """
    limit = _checked_count("max_concurrency", max_concurrency)
    flows = [_member(each) for each in _members(members)]
    cap = None if limit is None else Cap(limit)
    return gathered(ListOf(tuple(each.expression for each in flows), cap), flows)


def chord(header: Any, body: Any) -> Flow:
    """Gather a header and hand the list of its values to a body.

    A header that is one flow, such as a `group`, is handed on as it is.

    Examples
    --------
    >>> from nbflow import step
    >>> chord((step(abs).s(n) for n in (-1, 2)), sum).call()
    3
    """
    flow = header._flow() if isinstance(header, Composable) else group(*_members((header,)))
    return connected(flow, body)


def chunks(step: Any, items: Any, size: int, **options: Any) -> Flow:
    """Call a step once for each batch of items; each call gets a list.

    Parameters
    ----------
    step
        A step, a function or an open flow of one list.
    items
        What to split: anything that a map goes over, or a flow that gives it. A
        generator is read at once. Of a frame, each call gets a slice of rows.
    size
        How many items a batch has; the last may have fewer.
    options
        Those of ``.map()``.

    Examples
    --------
    >>> chunks(sum, range(5), 2).call()
    [1, 5, 4]
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise FlowError(f"the size of a chunk is {size!r}; it must be a whole number of at least 1")
    return mapped(_body(step), items, spread=False, size=size, **options)


def starmap(step: Any, tuples: Any = None, **options: Any) -> Flow:
    """Call a step once for each tuple of arguments.

    Examples
    --------
    >>> starmap(pow, [(2, 3), (3, 2)]).call()
    [8, 9]
    """
    return mapped(_body(step), tuples, spread=True, **options)


def branch(predicate: Any, then: Any, otherwise: Any = None) -> Flow:
    """Take one of two ways, by what a predicate says of the value that flows in.

    The value goes to the predicate and to the arm that is taken, whose value is handed
    on. The other arm is skipped. Without ``otherwise``, what follows is skipped too.

    Parameters
    ----------
    predicate
        A function or step that gives true or false.
    then, otherwise
        What runs if it is true, and if it is false: a step, a function, a flow, or a
        list, tuple or dict of them.

    Examples
    --------
    >>> flow = branch(lambda n: n < 0, abs, str)
    >>> (-3 >> flow).call(), (3 >> flow).call()
    (3, '3')
    """
    arms = [then] if otherwise is None else [then, otherwise]
    return _choice(predicate, (True, False)[: len(arms)], arms, truth=True, default=False)


def switch(selector: Any, cases: Mapping[Any, Any], default: Any = None) -> Flow:
    """Take one of several ways, by the value that a selector gives.

    Parameters
    ----------
    selector
        A function or step of the value that flows in.
    cases
        What runs for each value of the selector.
    default
        What runs for any other. Without it, any other value is an error.

    Raises
    ------
    FlowError
        If there are no cases.

    Examples
    --------
    >>> flow = switch(type, {int: str, str: len})
    >>> ("abc" >> flow).call(), (12 >> flow).call()
    (3, '12')
    """
    if not isinstance(cases, Mapping) or not cases:
        raise FlowError(
            f"the cases of a switch are {quoted(cases)}; they must be a dict from a value of the "
            f"selector to what runs then, with one case at least"
        )
    arms = [*cases.values(), *([] if default is None else [default])]
    return _choice(selector, tuple(cases), arms, truth=False, default=default is not None)


def _choice(
    decider: Any, cases: tuple[Any, ...], arms: list[Any], *, truth: bool, default: bool
) -> Flow:
    flow = decider._flow() if isinstance(decider, Composable) else function_flow(decider)
    node = flow.expression
    if not isinstance(node, Node) or node.axis is not None:
        raise FlowError(
            f"{decider!r} does not end in one step, so it cannot decide; give a function or a step "
            f"that gives one value"
        )
    decision = Decision(node.call.definition.name, cases, truth, default)
    call = replace(node.call, decision=decision, origin=None)
    if node.loose:
        node = replace(placed(call), open=not node.call.immutable)
    else:
        node = replace(node, call=call)
    flows = [_arm(each) for each in arms]
    members = (node, *(each.expression for each in flows))
    return gathered(Choice(decision, members), [flow, *flows])


def _arm(value: Any) -> Flow:
    """Let each member of an arm take what flows in, as on the right of ``>>``."""
    kind = type(value)
    if kind is dict:
        flows = [_arm(each) for each in value.values()]
        return gathered(DictOf(tuple(value), tuple(each.expression for each in flows)), flows)
    if kind is list or kind is tuple:
        flows = [_arm(each) for each in value]
        members = tuple(each.expression for each in flows)
        return gathered(ListOf(members) if kind is list else TupleOf(members), flows)
    flow = _member(value)
    return gathered(opened(flow.expression), [flow])


def mapped(
    body: Flow,
    items: Any,
    *,
    spread: bool,
    size: int | None = None,
    chunk_size: int | None = None,
    max_concurrency: int | None = None,
    on_error: str | None = None,
    key: Any = None,
) -> Flow:
    """Place a step, or an open flow, that is computed once for each item.

    Parameters
    ----------
    body
        What is mapped.
    items
        What it is mapped over; a flow whose value is listed when it runs; or None for
        what flows in.
    spread
        Whether an item is a tuple of arguments.
    size
        How many items one call gets, as a list.
    chunk_size
        How many elements travel as one Dask task; of a frame, how many rows a call gets.
    max_concurrency
        How many elements may run at once.
    on_error
        ``"collect"`` puts failing elements aside, and the list goes on without them.
    key
        Names the elements: a function of the item, or the names in order.

    Raises
    ------
    FlowError
        If the items cannot be gone through, or an option cannot be right.
    """
    if on_error not in (None, "raise", "collect"):
        raise FlowError(f"on_error is {on_error!r}; it must be 'collect' or 'raise'")
    limit = _checked_count("max_concurrency", max_concurrency)
    together = _checked_count("chunk_size", chunk_size)
    flow, rows = None, size
    if items is not None:
        flow, rows = _items_flow(items, size, together)
    width = _width(body.name, flow.expression) if spread and flow is not None else None
    label = _checked_label(key, None if flow is None else flow.expression, body.name)
    unique = Key()
    axis = Axis(
        unique,
        None if flow is None else flow.expression,
        rows,
        label,
        limit,
        together,
        on_error == "collect",
    )
    expression = over(_as_node(body.expression), axis, Item(unique, spread, width))
    return gathered(expression, [body, *([] if flow is None else [flow]), Flow(expression)])


def _items_flow(items: Any, size: int | None, together: int | None) -> tuple[Flow, int | None]:
    """Lift what a map goes over, and say what is left to be cut when it runs."""
    if isinstance(items, Composable):
        flow = items._flow()
        expression = listed(flow.expression)
        if size is not None and isinstance(expression, ListOf):
            parts = elements_of(list(expression.members), size)
            expression = ListOf(tuple(ListOf(tuple(part)) for part in parts))
        return gathered(expression, [flow]), size
    rows = size if size is not None or not hasattr(items, "iloc") else together
    flow = lift(elements_of(items, rows))
    return flow, None


def _as_node(expression: Expression) -> Expression:
    """Let a flow end in one step, so that its value can be computed for each element."""
    if isinstance(expression, Node):
        return expression
    kinds: dict[type, Callable[..., Any]] = {ListOf: list, TupleOf: tuple, Choice: taken}
    fn = kinds.get(type(expression), dict)
    return Node(Call(Definition.of(fn)), (expression,), ())


def taken(value: Any) -> Any:
    """Hand on the value of the arm that was taken."""
    return value


def _checked_count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise FlowError(f"{name} is {value!r}; it must be a whole number of at least 1, or None")
    return value


def _checked_label(key: Any, items: Expression | None, name: str) -> Any:
    if key is None or callable(key):
        return key
    if isinstance(key, (str, bytes)) or not isinstance(key, Iterable):
        raise FlowError(
            f"the key of a map is {key!r}; it must be a function of the item, or a list of names"
        )
    labels = [str(each) for each in key]
    count = Axis(Key(), items).count
    if count is not None and len(labels) != count:
        raise FlowError(
            f"the map of {quoted(name)} has {len(labels)} keys for {count} elements; give one for "
            f"each, or a function of the item"
        )
    check_labels(labels, name)
    return tuple(labels)


def _width(name: str, items: Expression) -> int | None:
    if not isinstance(items, (Const, ListOf)):
        return None
    widths = set()
    for item in items.value if isinstance(items, Const) else items.members:
        each: Any = item.value if isinstance(item, Const) else item
        if isinstance(each, (TupleOf, ListOf)):
            widths.add(len(each.members))
        elif isinstance(each, (tuple, list)):
            widths.add(len(each))
        else:
            what = "a flow" if isinstance(each, (Node, ParamRef, Choice)) else _described(each)
            raise FlowError(
                f"starmap of {quoted(name)} got {what}; each element is a tuple of arguments"
            )
    if len(widths) > 1:
        raise SignatureError(
            f"starmap of {quoted(name)} got tuples of {sorted(widths)} arguments; they must be of "
            f"one length"
        )
    return widths.pop() if widths else None


def _described(value: Any) -> str:
    return f"{quoted(value)}, a {type(value).__name__}"


def _members(members: tuple[Any, ...]) -> Iterator[Any]:
    if len(members) != 1:
        return iter(members)
    only = members[0]
    if isinstance(only, (set, frozenset)):
        raise FlowError("a set has no order, so its flows cannot be numbered; give a list")
    if isinstance(only, _WHOLE) or callable(only) or hasattr(only, "__array__"):
        return iter(members)
    return iter(only) if isinstance(only, Iterable) else iter(members)


def _member(value: Any) -> Flow:
    # As on the right of >>, where a class or any other callable is a step.
    if callable(value) and not isinstance(value, Composable):
        return function_flow(value)
    return source(value)


def _body(step: Any) -> Flow:
    return step._flow() if isinstance(step, Composable) else function_flow(step)
