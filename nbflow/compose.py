"""Composition by functions: chain, group, chord, chunks and starmap.

They give the same values as the operators, and take what Python's own operators
cannot, such as a list that flows into a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

from nbflow.definition import Definition
from nbflow.errors import FlowError, SignatureError, UnsupportedError, quoted
from nbflow.expression import Call, Const, Elements, Expression, ListOf, Node, ParamRef, TupleOf
from nbflow.flow import Composable, Flow, connected, function_flow, gathered, lift, source
from nbflow.wiring import placed

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = (str, bytes, bytearray, Mapping, Composable)

# How many slices a frame is mapped over in.
_SLICES = 16


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
        How many members may run at once. Not in this version.

    Examples
    --------
    >>> (-3 >> group(abs, str)).call()
    [3, '-3']
    >>> (group(1, 2) >> [sum, max]).call()
    [3, 2]
    """
    _refuse_later("max_concurrency", max_concurrency)
    flows = [_member(each) for each in _members(members)]
    return gathered(ListOf(tuple(each.expression for each in flows)), flows)


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


def chunks(step: Any, items: Iterable[Any], size: int) -> Flow:
    """Call a step once for each batch of items; each call gets a list.

    Parameters
    ----------
    step
        A step or function of one list.
    items
        What to split; a generator is read at once. Of a frame, each call gets a
        slice of rows.
    size
        How many items a batch has; the last may have fewer.

    Examples
    --------
    >>> chunks(sum, range(5), 2).call()
    [1, 5, 4]
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise FlowError(f"the size of a chunk is {size!r}; it must be a whole number of at least 1")
    if _is_frame(items):
        return mapped(_call_of(step), _row_slices(items, size), spread=False)
    listed = listed_items(items)
    batches = [listed[start : start + size] for start in range(0, len(listed), size)]
    return mapped(_call_of(step), batches, spread=False)


def starmap(step: Any, tuples: Iterable[Any]) -> Flow:
    """Call a step once for each tuple of arguments.

    Examples
    --------
    >>> starmap(pow, [(2, 3), (3, 2)]).call()
    [8, 9]
    """
    return mapped(_call_of(step), tuples, spread=True)


def mapped(
    call: Call,
    items: Any,
    *,
    spread: bool,
    chunk_size: int | None = None,
    max_concurrency: int | None = None,
    on_error: Any = None,
    key: Any = None,
) -> Flow:
    """Place a call that is made once for each item.

    Raises
    ------
    FlowError
        If the items cannot be gone through.
    UnsupportedError
        If no items are given, or an option does not work yet.
    """
    for name, value in (
        ("chunk_size", chunk_size),
        ("max_concurrency", max_concurrency),
        ("on_error", on_error),
        ("key", key),
    ):
        _refuse_later(name, value)
    name = call.definition.name
    if items is None or isinstance(items, Composable):
        raise UnsupportedError(
            f"mapping step {quoted(name)} over a value that is known only at run time does not "
            f"work in this version of nbflow; give the items: {name}.map([…])"
        )
    flow = lift(listed_items(items))
    elements = _elements(name, flow.expression, spread=spread)
    node = placed(Call(call.definition, call.args, call.kwargs, call.immutable, elements))
    return gathered(node, [flow, Flow(node)])


def _elements(name: str, items: Expression, *, spread: bool) -> Elements:
    assert isinstance(items, (Const, ListOf))
    count = len(items.value if isinstance(items, Const) else items.members)
    if spread:
        items = _spread(name, items)
    return Elements(items, count, spread)


def _spread(name: str, items: Const | ListOf) -> Const | ListOf:
    widths = set()
    for item in items.value if isinstance(items, Const) else items.members:
        each: Any = item.value if isinstance(item, Const) else item
        if isinstance(each, (TupleOf, ListOf)):
            widths.add(len(each.members))
        elif isinstance(each, (tuple, list)):
            widths.add(len(each))
        else:
            what = "a flow" if isinstance(each, (Node, ParamRef)) else _described(each)
            raise FlowError(
                f"starmap of {quoted(name)} got {what}; each element is a tuple of arguments"
            )
    if len(widths) > 1:
        raise SignatureError(
            f"starmap of {quoted(name)} got tuples of {sorted(widths)} arguments; they must be of "
            f"one length"
        )
    return items


def _described(value: Any) -> str:
    return f"{quoted(value)}, a {type(value).__name__}"


def listed_items(items: Any) -> list[Any]:
    """List what a map goes over; of a frame, slices of rows.

    Raises
    ------
    FlowError
        If it cannot be gone through, or has no order.
    """
    if isinstance(items, (set, frozenset)):
        raise FlowError("a set has no order, so its elements cannot be numbered; give a list")
    if isinstance(items, _WHOLE) or not _can_iterate(items):
        raise FlowError(
            f"{quoted(items)} is a {type(items).__name__}; a map goes over a list, a tuple, a "
            f"range, an array, a frame or a generator"
        )
    if _is_frame(items):
        return _row_slices(items, max(1, -(-len(items) // _SLICES)))
    return list(items)


def _can_iterate(items: Any) -> bool:
    # An array without dimensions has an __iter__, which raises.
    try:
        iter(items)
    except TypeError:
        return False
    return True


def _is_frame(items: Any) -> bool:
    return hasattr(items, "iloc") and isinstance(items, Sized) and hasattr(items, "columns")


def _row_slices(df: Any, size: int) -> list[pd.DataFrame]:
    return [df.iloc[start : start + size] for start in range(0, len(df), size)]


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


def _call_of(step: Any) -> Call:
    if isinstance(step, Composable):
        node = step._flow().expression
        if isinstance(node, Node) and node.loose and node.call.elements is None:
            return node.call
        raise FlowError(f"{step!r} is not one step; map each of its steps")
    return Call(Definition.of(step))


def _refuse_later(name: str, value: Any) -> None:
    if value is not None:
        raise UnsupportedError(
            f"the option {quoted(name)} does not work in this version of nbflow; leave it out"
        )
