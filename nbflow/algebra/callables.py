"""Callables as steps are made of them: which can be, and what they are called."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from nbflow.errors import FlowError, quoted
from nbflow.values.outline import outline, valid

_LAMBDA = "<lambda>"


def check_callable(fn: Any) -> None:
    """Refuse what cannot be a step, with the reason."""
    if not callable(fn):
        raise FlowError(
            f"{quoted(fn)} is a {type(fn).__name__}, not a function; a step is made of something "
            f"that can be called"
        )
    if is_generator(fn):
        raise FlowError(
            f"{quoted(natural_name(fn))} is a generator function; a step gives one value, so "
            f"collect what it yields and return the list"
        )


def is_generator(fn: Any) -> bool:
    """Tell whether calling it would give a generator, and not a value."""
    # Not what a decorator wraps: it may well collect what the generator yields.
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)


def natural_name(fn: Any) -> str:
    """Name a callable as a person would."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    # A step, as a predicate may be one, has a name of its own.
    chosen = getattr(getattr(fn, "definition", None), "name", None)
    if isinstance(chosen, str):
        return chosen
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str):
        name = type(fn).__name__
    return "lambda" if name == _LAMBDA else name


def checked_name(name: Any) -> str:
    """Give a name back if a node can bear it.

    Raises
    ------
    FlowError
        If it is no string, is blank, or cannot be written down.
    """
    if not isinstance(name, str):
        shown = outline(name, 60)
        raise FlowError(f"the name {shown} is a {type(name).__name__}; a name is a string")
    if not is_name(name):
        raise FlowError(
            f"the name {quoted(name)} cannot be read: it is blank, or holds a NUL or half a "
            f"character (a lone surrogate); give it another"
        )
    return name


def is_name(value: Any) -> bool:
    """Tell whether a node can be called by it."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    return value.isascii() or valid(value) == value
