"""What a flow means: its value, computed in plain Python.

`evaluate` is the whole meaning in one loop. The workers use the same functions to
resolve arguments and to call the user's code, so the meaning cannot differ.
"""

from __future__ import annotations

import copy
import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from functools import lru_cache
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from nbflow.errors import ParamError, TransferError, did_you_mean, quoted
from nbflow.expression import (
    ATOMS,
    MISSING,
    Const,
    DictOf,
    Elements,
    Expression,
    ListOf,
    Node,
    TupleOf,
)
from nbflow.topology import Topology

ValueOf = Callable[[Any], Any]


def evaluate(topology: Topology, params: Mapping[str, Any]) -> Any:
    """Compute the value of a flow, here and now.

    Raises
    ------
    ParamError
        If a parameter is missing or unknown.
    Exception
        Whatever a step raises.
    """
    values: list[Any] = []
    bound = bound_params(topology, params)

    def value_of(leaf: Any) -> Any:
        if isinstance(leaf, Node):
            return values[topology.index[id(leaf)]]
        return bound[leaf.name]

    for node, name in zip(topology.nodes, topology.names, strict=True):
        fn, call = node.call.definition.fn, node.call
        results = [
            checked(name, invoke(fn, *arguments(args, node.kwargs, value_of)))
            for args in calls_of(node.args, len(call.args), call.elements)
        ]
        values.append(results[0] if call.elements is None else results)
    return resolve(topology.value, value_of)


def calls_of(
    args: tuple[Expression, ...], own: int, elements: Elements | None
) -> Iterator[tuple[Expression, ...]]:
    """Give the positional arguments of each call that a node makes.

    A plain node makes one call. A mapped one makes one for each element, whose item
    stands after what comes from upstream and before what ``.s()`` was given.

    Parameters
    ----------
    args
        The positional arguments of the node.
    own
        How many of them, at the end, were given to ``.s()``.
    elements
        What the node is mapped over.
    """
    if elements is None:
        yield args
        return
    cut = len(args) - own
    before, after = args[:cut], args[cut:]
    for item in items_of(elements):
        yield (*before, *(_members(item) if elements.spread else (item,)), *after)


def items_of(elements: Elements) -> Iterator[Expression]:
    """Go through the items of a map as expressions."""
    if isinstance(elements.items, Const):
        return map(Const, elements.items.value)
    return iter(elements.items.members)


def _members(item: Expression) -> tuple[Expression, ...]:
    if isinstance(item, (TupleOf, ListOf)):
        return item.members
    assert isinstance(item, Const)
    return tuple(map(Const, item.value))


def arguments(
    args: tuple[Expression, ...], kwargs: tuple[tuple[str, Expression], ...], value_of: ValueOf
) -> tuple[list[Any], dict[str, Any]]:
    """Resolve the arguments of one call into values of its own.

    A step may change what it is given without changing what others see: lists, dicts
    and sets are handed over as copies all the way down, and so are the arrays and
    frames in them (pandas copies no data until it is changed).
    """
    return (
        [own_copy(resolve(each, value_of)) for each in args],
        {name: own_copy(resolve(each, value_of)) for name, each in kwargs},
    )


def resolve(expression: Expression, value_of: ValueOf) -> Any:
    """Compute the value of an expression from the values of its leaves."""
    if isinstance(expression, Const):
        return expression.value
    if isinstance(expression, ListOf):
        return [resolve(each, value_of) for each in expression.members]
    if isinstance(expression, TupleOf):
        return tuple([resolve(each, value_of) for each in expression.members])
    if isinstance(expression, DictOf):
        values = [resolve(each, value_of) for each in expression.members]
        return dict(zip(expression.keys, values, strict=True))
    return value_of(expression)


def own_copy(value: Any) -> Any:
    """Copy a value as far as its user may change it in place without noticing."""
    try:
        return _own(value)
    except RecursionError:  # a list that holds itself
        return copy.copy(value)


def _own(value: Any) -> Any:
    kind: Any = type(value)
    if kind in ATOMS:
        return value
    if kind is list:
        return [each if type(each) in ATOMS else _own(each) for each in value]
    if kind is dict:
        return {key: _own(each) for key, each in value.items()}
    if kind is tuple:
        members = tuple([_own(each) for each in value])
        same = all(new is old for new, old in zip(members, value, strict=True))
        return value if same else members
    if kind is set or kind is bytearray:
        return kind(value)
    copier = _copier(kind)
    return value if copier is None else copier(value)


def _frame_copy(value: Any) -> Any:
    return value.copy(deep=False)


def _array_copy(value: Any) -> Any:
    # Also of one that came by wire, which is read-only: it was not where it was made.
    return value.copy()


# By name, so that nothing is imported to find out what a value is not.
_COPIERS = {
    ("pandas", "DataFrame"): _frame_copy,
    ("pandas", "Series"): _frame_copy,
    ("pandas", "Index"): _frame_copy,
    ("numpy", "ndarray"): _array_copy,
    ("collections", "OrderedDict"): copy.copy,
    ("collections", "defaultdict"): copy.copy,
    ("collections", "Counter"): copy.copy,
    ("collections", "deque"): copy.copy,
}


@lru_cache(maxsize=256)
def _copier(kind: Any) -> Callable[[Any], Any] | None:
    for base in kind.__mro__:
        found = _COPIERS.get((str(base.__module__).partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


def invoke(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function, and wait for its value if it is asynchronous."""
    result = fn(*args, **kwargs)
    return _awaited(result) if type(result) is CoroutineType else result


def _awaited(coroutine: Any) -> Any:
    # It takes half as long to import as the rest of nbflow, and few steps need it.
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A notebook's thread has a loop that is running already.
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def wait() -> None:
        try:
            outcome.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=copy_context().run, args=(wait,), name="nbflow-await")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def checked(name: str, value: Any) -> Any:
    """Give a step's result back if it is a value rather than a promise of values.

    Raises
    ------
    TransferError
        If it is a generator, another iterator that is used up by reading, or a file.
    """
    if isinstance(value, _READ_ONCE) and type(value) not in _IN_MEMORY:
        kind = "a generator"
        if isinstance(value, io.IOBase):
            kind = "an open file"
        elif not isinstance(value, (GeneratorType, AsyncGeneratorType)):
            kind = f"an iterator ({type(value).__name__})"
        raise TransferError(
            f"step {quoted(name)} returned {kind}, which can be read only once and cannot "
            f"travel; return a list of what it yields"
        )
    return value


_READ_ONCE = (
    GeneratorType,
    AsyncGeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    io.IOBase,
)
_IN_MEMORY = frozenset({io.BytesIO, io.StringIO})


def bound_params(topology: Topology, params: Mapping[str, Any]) -> dict[str, Any]:
    """Join the values given for a run with the defaults.

    Raises
    ------
    ParamError
        If a parameter is unknown or has no value.
    """
    known = topology.params
    for name in params:
        if name not in known:
            raise ParamError(
                f"the flow has no parameter {quoted(name)}; {did_you_mean(name, sorted(known))}"
            )
    bound = {**known, **params}
    missing = sorted(name for name, value in bound.items() if value is MISSING)
    if missing:
        listed = ", ".join(map(quoted, missing))
        raise ParamError(
            f"no value for the parameter {listed}; give it with params={{{missing[0]!r}: …}}, or "
            f"give the param a default"
        )
    return bound
