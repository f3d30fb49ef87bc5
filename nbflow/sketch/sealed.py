"""A user's function or value as bytes, with what can be said of it without reading them.

Reading them runs code, and needs the modules that the object was made with. To draw a
flow, or to list its steps, neither is needed: an `Unread` stands for it.
"""

from __future__ import annotations

import io
import pickle
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn

from nbflow.algebra.callables import natural_name
from nbflow.errors import StoreError, TransferError, quoted
from nbflow.values.outline import type_name
from nbflow.values.transfer import PROTOCOL, dumps_as_can_be

_SIZED: Final = frozenset({list, tuple, dict, set, frozenset, range})
# What is as large as it says: a picture shows it.
_SHAPED: Final = frozenset({"pandas", "numpy", "polars", "pyarrow"})


class Sealed(NamedTuple):
    """An object as bytes.

    Attributes
    ----------
    data
        The object, pickled.
    what
        What it is to the flow, in words.
    kind, module
        The name of its class, and where that is from.
    name, case
        What it is called, if it can be called, and as a case of a decision.
    length, shape
        How large it is, where that is known without asking code of the user's.

    Examples
    --------
    >>> sealed = Sealed.of([1, 2], "argument 1 of step 'total'")
    >>> sealed.kind, sealed.length, sealed.open()
    ('list', 2, [1, 2])
    """

    data: bytes
    what: str
    kind: str
    module: str
    name: str
    case: str
    length: int | None
    shape: tuple[int, ...] | None

    @classmethod
    def of(cls, value: Any, what: str) -> Sealed:
        """Write an object.

        Functions of local modules are written as they are only while these travel by
        value, see `nbflow.transfer.local_modules_by_value`.

        Raises
        ------
        TransferError
            If it cannot be pickled.
        """
        try:
            data = _packed(value)
        except Exception as error:
            raise TransferError(
                f"{what}, a {type_name(value)}, cannot be kept with the run: {error}; it holds "
                f"something that stays in this process, such as a lock, an open file or a "
                f"connection; make that inside the step"
            ) from error
        kind: Any = type(value)
        module = str(kind.__module__)
        size = len(value) if kind in _SIZED else None
        shape = getattr(value, "shape", None) if module.partition(".")[0] in _SHAPED else None
        if not isinstance(shape, tuple) or any(type(each) is not int for each in shape):
            shape = None
        if shape:
            size = shape[0]
        name = natural_name(value) if callable(value) else ""
        case = str(value._name_) if issubclass(kind, Enum) else ""
        if isinstance(value, type):
            case = name
        return cls(data, what, type_name(value), module, name, case, size, shape)

    def open(self) -> Any:
        """Read the object, which may run code of the user's.

        Raises
        ------
        StoreError
            If it cannot be read in this process.
        """
        try:
            return pickle.loads(self.data)
        except ModuleNotFoundError as error:
            why = f"its module {quoted(error.name)} is not importable"
            raise _unreadable(self.what, why) from error
        except Exception as error:
            why = f"{type(error).__name__}: {error}".rstrip(".: ")
            raise _unreadable(self.what, why) from error

    def unread(self) -> Any:
        """Give what stands for the object; for a list, tuple or dict, one of its length."""
        stand_in = _class_like(self.kind, self.module)(self)
        if self.module == "builtins" and self.length is not None:
            if self.kind == "dict":
                return dict.fromkeys(range(self.length), stand_in)
            if self.kind in ("list", "tuple"):
                members = [stand_in] * self.length
                return members if self.kind == "list" else tuple(members)
        return stand_in


def _unreadable(what: str, why: str) -> StoreError:
    return StoreError(
        f"{what} cannot be read here: {why}. Expected are the modules that the flow was written "
        f"with. Give the flow itself: run.resume(flow)"
    )


class Unread:
    """Stands for a function or value that was not read.

    It bears the name of the original, and has its length, and its class is called as
    that of the original is.
    """

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        if sealed.name:
            self.__name__ = sealed.name
        if sealed.shape is not None:
            self.shape = sealed.shape

    def __len__(self) -> int:
        if self._sealed.length is None:
            raise TypeError(f"{self!r} has no length that is known")
        return self._sealed.length

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{self._sealed.name or self._sealed.kind}, not read>"

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse to be called."""
        raise StoreError(
            f"{self._sealed.what} cannot be called: only its name was read. Load the flow to run it"
        )


@lru_cache(maxsize=256)
def _class_like(kind: str, module: str) -> type[Unread]:
    try:
        return type(kind, (Unread,), {"__module__": module})
    except ValueError:  # the name of a class that was made by hand may hold anything
        return Unread


class _NotPlainError(Exception):
    """A value holds more than numbers, strings and containers. Never reaches the user."""


class _PlainPickler(pickle.Pickler):
    """Pickles what Python itself brings, which takes a small part of the time."""

    def reducer_override(self, _: Any) -> NoReturn:
        raise _NotPlainError


def _packed(value: Any) -> bytes:
    with suppress(_NotPlainError), io.BytesIO() as file:
        _PlainPickler(file, PROTOCOL).dump(value)
        return file.getvalue()
    return dumps_as_can_be(value)
