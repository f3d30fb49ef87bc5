"""Calls of the user's functions: one, or a tree of them, and whether what they give is a value."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from nbflow.algebra.items import elements_of
from nbflow.errors import TransferError, quoted


def called(
    fn: Callable[..., Any], split_every: int | None, levels: int | None = None
) -> Callable[..., Any]:
    """Give what is called: the function, or a tree of its calls."""
    return fn if split_every is None else partial(reduced, fn, split_every, levels)


def reduced(
    fn: Callable[..., Any],
    split_every: int,
    levels: int | None,
    values: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a function on parts of a list, and on the list of what it gives, down to one.

    With a number of levels, give the list that is left after so many.

    Examples
    --------
    >>> reduced(sum, 2, None, [1, 2, 3, 4, 5])
    15
    >>> reduced(sum, 2, 1, [1, 2, 3, 4, 5])
    [3, 7, 5]
    """
    __tracebackhide__ = True
    values = elements_of(values)
    while len(values) > split_every if levels is None else levels > 0:
        parts = elements_of(values, split_every)
        values = [invoke(fn, [part, *args], kwargs) for part in parts]
        levels = None if levels is None else levels - 1
    return values if levels is not None else invoke(fn, [values, *args], kwargs)


def invoke(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function, and wait for its value if it is asynchronous."""
    __tracebackhide__ = True
    result = fn(*args, **kwargs)
    if type(result) is not CoroutineType:
        return result
    # Imported when it is needed, as few steps are asynchronous.
    from nbflow.algebra.deadline import awaited

    return awaited(result)


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
