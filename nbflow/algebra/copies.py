"""Copies of values: what a step is given is its own, and others do not see it changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from nbflow.values.kinds import ATOMS


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
