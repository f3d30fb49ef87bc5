"""When two functions are the same function.

Re-running a notebook cell makes a new function object of the same code. It must
count as the same step; an edited one must not.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from types import CodeType, FunctionType
from typing import Any

# The pairs that the comparison under way takes to be the same: a recursive function
# closes over itself, or over the step that was made of it.
_ASSUMED: ContextVar[set[tuple[int, int]] | None] = ContextVar("_ASSUMED", default=None)


def same_value(left: Any, right: Any) -> bool:
    """Tell whether two values are equal, whatever their ``==`` does.

    Frames and arrays compare as a whole; a comparison that raises, or gives
    something that is neither true nor false, counts as different. A NaN is the same
    as a NaN, and a function as its re-run self.

    Examples
    --------
    >>> same_value([1, "a"], [1, "a"]), same_value(1, True), same_value(1, 1.0)
    (True, False, False)
    """
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    try:
        if isinstance(left, float):
            return repr(left) == repr(right)
        if isinstance(left, (FunctionType, partial)):
            return same_function(left, right)
        if isinstance(left, (list, tuple)):
            return len(left) == len(right) and all(map(same_value, left, right))
        if isinstance(left, dict):
            return list(left) == list(right) and all(
                same_value(value, right[key]) for key, value in left.items()
            )
        if hasattr(left, "equals"):
            return bool(left.equals(right))
        equal = left == right
        if hasattr(equal, "all"):
            # Only a NaN differs from itself.
            equal |= (left != left) & (right != right)  # noqa: PLR0124
            return bool(left.shape == right.shape and left.dtype == right.dtype and equal.all())
        return bool(equal)
    except Exception:  # noqa: BLE001 - a user's == may raise anything
        return False


def same_function(left: Any, right: Any) -> bool:
    """Tell whether two callables do the same, as far as their own code shows.

    Compared are the parameters, bytecode, constants and names, defaults, and
    closed-over values; where a function was defined does not matter. A partial is
    its function and the arguments that it holds.

    Examples
    --------
    >>> def make(n):
    ...     return lambda x: x + n
    >>> same_function(make(1), make(1)), same_function(make(1), make(2))
    (True, False)
    """
    if left is right:
        return True
    if type(left) is partial and type(right) is partial:
        return same_value(
            (left.func, left.args, left.keywords), (right.func, right.args, right.keywords)
        )
    if not (isinstance(left, FunctionType) and isinstance(right, FunctionType)):
        return not isinstance(left, (FunctionType, partial)) and same_value(left, right)
    assumed = _ASSUMED.get()
    if assumed is not None:
        return (id(left), id(right)) in assumed or _same_function(left, right, assumed)
    assumed = set()
    token = _ASSUMED.set(assumed)
    try:
        return _same_function(left, right, assumed)
    finally:
        _ASSUMED.reset(token)


def _same_function(left: FunctionType, right: FunctionType, assumed: set[tuple[int, int]]) -> bool:
    assumed.add((id(left), id(right)))
    return (
        left.__qualname__ == right.__qualname__
        and _same_code(left.__code__, right.__code__)
        and same_value(left.__defaults__, right.__defaults__)
        and same_value(left.__kwdefaults__, right.__kwdefaults__)
        and _same_closure(left, right)
    )


def _same_code(left: CodeType, right: CodeType) -> bool:
    return (
        left.co_code == right.co_code
        and left.co_flags == right.co_flags
        and left.co_argcount == right.co_argcount
        and left.co_posonlyargcount == right.co_posonlyargcount
        and left.co_kwonlyargcount == right.co_kwonlyargcount
        and left.co_exceptiontable == right.co_exceptiontable
        and left.co_names == right.co_names
        and left.co_varnames == right.co_varnames
        and left.co_freevars == right.co_freevars
        and len(left.co_consts) == len(right.co_consts)
        and all(map(_same_constant, left.co_consts, right.co_consts))
    )


def _same_constant(left: Any, right: Any) -> bool:
    if isinstance(left, CodeType) and isinstance(right, CodeType):
        return _same_code(left, right)
    return same_value(left, right)


def _same_closure(left: FunctionType, right: FunctionType) -> bool:
    cells, others = left.__closure__ or (), right.__closure__ or ()
    try:
        return all(
            same_value(cell.cell_contents, other.cell_contents)
            for cell, other in zip(cells, others, strict=True)
        )
    except ValueError:  # a cell that is still empty
        return False
