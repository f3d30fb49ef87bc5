"""Composition by functions: chain, group, chord, chunks, starmap, branch and switch.

They give the same values as the operators, and take what Python's own operators
cannot, such as a list that flows into a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from nbflow.decision import Decision
from nbflow.definition import Definition, Options
from nbflow.errors import FlowError, SignatureError, did_you_mean, quoted
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
from nbflow.feeding import opened, over
from nbflow.flow import Composable, Flow, connected, function_flow, gathered, lift, source
from nbflow.items import MOST_UNSIZED, bounded, check_labels, elements_of, is_frame, read_label
from nbflow.outline import outline
from nbflow.rebuilding import supplied
from nbflow.retry import whole_number
from nbflow.signature import Arity
from nbflow.wiring import placed

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
    limit = None if max_concurrency is None else checked_count("max_concurrency", max_concurrency)
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
    return mapped(_body(step), items, options, size=checked_count("the size of a chunk", size))


def starmap(step: Any, tuples: Any = None, **options: Any) -> Flow:
    """Call a step once for each tuple of arguments.

    Examples
    --------
    >>> starmap(pow, [(2, 3), (3, 2)]).call()
    [8, 9]
    """
    return mapped(_body(step), tuples, options, spread=True)


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
    _check_decides("the predicate of a branch", predicate)
    if then is None:
        raise FlowError(
            "the arm of a branch that is taken if its predicate holds is None; give a step or a "
            "flow, or turn the predicate round"
        )
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
    _check_decides("the selector of a switch", selector)
    if not isinstance(cases, Mapping) or not cases:
        raise FlowError(
            f"the cases of a switch are {outline(cases, 60)}; they must be a dict from a value of "
            f"the selector to what runs then, with one case at least"
        )
    for case in cases:
        if isinstance(case, float) and case != case:  # noqa: PLR0124 - so is NaN known
            raise FlowError(
                "a case of a switch is NaN, which equals nothing and so is never taken; let the "
                "selector give a word for it, such as 'missing'"
            )
    arms = [*cases.values(), *([] if default is None else [default])]
    return _choice(selector, tuple(cases), arms, truth=False, default=default is not None)


def _check_decides(what: str, decider: Any) -> None:
    if not callable(decider) and not isinstance(decider, Composable):
        raise FlowError(
            f"{what} is {outline(decider, 60)}; it must be a function or a step of the value that "
            f"flows in"
        )


def _choice(
    decider: Any, cases: tuple[Any, ...], arms: list[Any], *, truth: bool, default: bool
) -> Flow:
    flow = decider._flow() if isinstance(decider, Composable) else function_flow(decider)
    node = flow.expression
    if not isinstance(node, Node) or node.axis is not None:
        raise FlowError(
            f"{outline(decider)} does not end in one step, so it cannot decide; give a function or "
            f"a step that gives one value"
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
    options: Mapping[str, Any],
    *,
    spread: bool = False,
    size: int | None = None,
) -> Flow:
    """Place a step, or an open flow, that is computed once for each item.

    Parameters
    ----------
    body
        What is mapped.
    items
        What it is mapped over; a flow whose value is listed when it runs; or None for
        what flows in.
    options
        ``chunk_size``: how many elements travel as one Dask task; of a frame, how many
        rows a call gets. ``max_concurrency``: how many elements may run at once.
        ``on_error``: ``"collect"`` puts failing elements aside, and the list goes on
        without them. ``key`` names the elements: a function of the item, or the names in
        order.
    spread
        Whether an item is a tuple of arguments.
    size
        How many items one call gets, as a list.

    Raises
    ------
    FlowError
        If the items cannot be gone through, or an option cannot be right.
    """
    _check_options(options, body.name)
    limit, together = (_counted(options, each) for each in ("max_concurrency", "chunk_size"))
    unique = Key()
    collect = options.get("on_error") == "collect"
    axis = Axis(unique, None, size, None, limit, together, collect)
    flow = None if items is None else _items_flow(items)
    if flow is not None:
        axis = supplied(axis, flow.expression)
    width = _width(body.name, axis.items) if spread and axis.items is not None else None
    axis = replace(axis, label=_checked_label(options.get("key"), axis.items, body.name))
    expression = over(_as_node(body.expression), axis, Item(unique, spread, width))
    return gathered(expression, [body, *([] if flow is None else [flow]), Flow(expression)])


def _items_flow(items: Any) -> Flow:
    """Lift what a map goes over; a frame stays whole until it is known how it is cut."""
    if isinstance(items, Composable):
        return items._flow()
    return lift(items if is_frame(items) else elements_of(items))


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


_MAP_OPTIONS = ("chunk_size", "max_concurrency", "on_error", "key")


def _check_options(options: Mapping[str, Any], name: str) -> None:
    for each in options:
        if each in _MAP_OPTIONS:
            continue
        advice = did_you_mean(each, _MAP_OPTIONS)
        if any(each == known.name for known in fields(Options)):
            advice = f"it is an option of the step: write .options({each}=…) before .map()"
        raise FlowError(f"the map of {quoted(name)} has no option {quoted(each)}; {advice}")
    on_error = options.get("on_error")
    if on_error is not None and not (
        isinstance(on_error, str) and on_error in ("collect", "raise")
    ):
        advice = "; to be told of failures write flow.on_error(…)" if callable(on_error) else ""
        raise FlowError(
            f"on_error of the map of {quoted(name)} is {outline(on_error, 60)}; it must be "
            f"'collect' or 'raise'{advice}"
        )


def checked_count(what: str, value: Any, least: int = 1) -> int:
    """Give a number back if it can count something.

    Raises
    ------
    FlowError
        If it is no whole number, or too small.
    """
    count = whole_number(value)
    if count is None or count < least:
        raise FlowError(
            f"{what} is {outline(value, 60)}; it must be a whole number of at least {least}"
        )
    return count


def _counted(options: Mapping[str, Any], name: str) -> int | None:
    value = options.get(name)
    return None if value is None else checked_count(name, value)


def _checked_label(key: Any, items: Expression | None, name: str) -> Any:
    if key is None:
        return None
    if callable(key):
        arity = Arity.of(key)
        missing = arity.missing(1, ())
        problem = arity.surplus(1, ()) or (f"lacks {quoted(missing[0])}" if missing else None)
        if problem is not None:
            raise SignatureError(
                f"the key function of the map of {quoted(name)} {problem}; it is called with one "
                f"item and gives its name"
            )
        return key
    unordered = isinstance(key, (str, bytes, bytearray, Mapping, set, frozenset, Composable))
    if unordered or not isinstance(key, Iterable):
        raise FlowError(
            f"the key of the map of {quoted(name)} is {outline(key, 60)}; it must be a function of "
            f"the item, or a list of names"
        )
    count = Axis(Key(), items).count
    # Also of what has no end.
    found = islice(key, (MOST_UNSIZED if count is None else count) + 1)
    labels = [read_label(each, f"element {number}", name) for number, each in enumerate(found)]
    if count is not None and len(labels) != count:
        raise FlowError(
            f"the map of {quoted(name)} has {_number_of(labels, count)} keys for {count} elements; "
            f"give one for each, or a function of the item"
        )
    check_labels(labels, name)
    return tuple(labels)


def _number_of(labels: list[str], count: int) -> str:
    return f"more than {count}" if len(labels) > count else str(len(labels))


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
            raise SignatureError(
                f"starmap of {quoted(name)} got {what}; each element is a tuple of arguments, so "
                f"write .map() for single values"
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
    if not isinstance(only, Iterable):
        return iter(members)
    return iter(only) if hasattr(only, "__len__") else iter(bounded(only))


def _member(value: Any) -> Flow:
    # As on the right of >>, where a class or any other callable is a step.
    if callable(value) and not isinstance(value, Composable):
        return function_flow(value)
    return source(value)


def _body(step: Any) -> Flow:
    return step._flow() if isinstance(step, Composable) else function_flow(step)
