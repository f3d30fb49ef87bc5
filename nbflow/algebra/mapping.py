"""Maps: a step, or a whole flow, that is computed once for each item, and the options of that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from itertools import islice
from typing import Any

from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    Axis,
    Call,
    Choice,
    Const,
    Expression,
    Item,
    Key,
    ListOf,
    Node,
    ParamRef,
    TupleOf,
)
from nbflow.algebra.feeding import over
from nbflow.algebra.flow import Composable, Flow, gathered, lift
from nbflow.algebra.items import MOST_UNSIZED, check_labels, elements_of, is_frame, read_label
from nbflow.algebra.options import Options
from nbflow.algebra.rebuilding import supplied
from nbflow.algebra.retry import whole_number
from nbflow.algebra.signature import Arity
from nbflow.errors import FlowError, SignatureError, did_you_mean, quoted
from nbflow.values.outline import outline


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
