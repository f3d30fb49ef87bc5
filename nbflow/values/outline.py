"""Say any value in one short line.

The text is bounded whatever the value holds, the same in every run, valid
Unicode, and free of memory addresses. Nothing here raises.
"""

from __future__ import annotations

import math
import re
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from nbflow.values.asking import PASSING, ask, briefly, is_known, is_leaf
from nbflow.values.kinds import PLAIN, kind_of
from nbflow.values.size import size_of

if TYPE_CHECKING:
    from collections.abc import Iterable

Cell: TypeAlias = bool | int | float | str | None

TEXT: Final = 200
# Calling the repr of anything larger is no longer cheap.
_LARGE: Final = 10_000_000
_SORTED: Final = 50
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]*")
_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_SHAPED: Final = frozenset({
    "array", "arrow", "arrow_column", "frame", "index", "polars", "polars_column", "series",
})  # fmt: skip
# A metaclass may hide or break __name__; the slot of `type` itself cannot be overridden.
_name_of: Final = type.__dict__["__name__"].__get__


# In so many characters a number can be said.
_SHORTEST: Final = 32


def _is_short(value: Any) -> bool:
    cls = type(value)
    if cls is int:
        return value.bit_length() <= 64  # type: ignore[no-any-return]
    return cls is float or cls is bool or value is None


def outline(value: Any, limit: int = TEXT, depth: int = 4) -> str:
    """Say a value in one line of at most ``limit`` characters.

    Tables show as their shape, and what is nested deeper than ``depth`` as "…". No
    repr is called of an object that is large, and none is waited for long.

    Examples
    --------
    >>> outline([1, {"a": (2,)}, object()])
    "[1, {'a': (2,)}, <object object>]"
    """
    if limit >= _SHORTEST and _is_short(value):
        return repr(value)
    return briefly(_in_one_line, value, limit, depth)


def _in_one_line(value: Any, limit: int, depth: int) -> str:
    try:
        return clip(_outlined(value, limit, depth), limit)
    except PASSING:
        raise
    except BaseException:  # noqa: BLE001 - a repr may raise anything
        return f"<{type_name(value)}>"


def cell(value: Any) -> Cell:
    """Give a value as plain data that fits in a cell; what is missing is None.

    Examples
    --------
    >>> cell(float("nan")), cell(3), cell({1, 2})
    (None, 3, '{1, 2}')
    """
    if _is_short(value):
        return None if type(value) is float and math.isnan(value) else value
    return briefly(_cell, value)


def _cell(value: Any) -> Cell:
    cls = type(value)
    try:
        if issubclass(cls, str):
            return clip(value)
        if cls is int or issubclass(cls, bytes | bytearray) or kind_of(cls) != "scalar":
            return outline(value)
        if _name_of(cls) in ("NaTType", "NAType"):
            return None
        if not is_leaf(cls):
            ask(value)
        if getattr(getattr(value, "dtype", None), "kind", "") in ("b", "i", "u", "f"):
            number = value.item()
            if type(number) in PLAIN:
                return cell(number)
        return clip(_tidied(str(value), TEXT))
    except PASSING:
        raise
    except BaseException:  # noqa: BLE001
        return f"<{type_name(value)}>"


def label(value: Any) -> str:
    """Give the name of a column or row as text."""
    if type(value) is tuple:
        return clip(", ".join(map(label, value)))
    return str(cell(value))


def type_name(value: Any) -> str:
    """Name the class of a value."""
    return clip(_name_of(type(value)))


def valid(text: str) -> str:
    """Replace what is no valid Unicode."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def clip(text: str, limit: int = TEXT) -> str:
    """Cut a text to at most ``limit`` characters, and replace what is no Unicode."""
    if type(text) is str and len(text) <= limit and text.isascii():
        return text
    # Through the class: a subclass of str may slice in its own way.
    head = valid(str.__getitem__(text, slice(limit + 1)))
    return head if len(head) <= limit else head[: limit - 1] + "…"


def _tidied(text: str, limit: int) -> str:
    """Put on one line, without the addresses that differ in every run."""
    start = str.__getitem__(text, slice(4 * limit))
    return " ".join(_ADDRESS.sub("", start).split())


def _outlined(value: Any, limit: int, depth: int) -> str:
    cls = type(value)
    if cls is str or cls is bytes:
        return repr(value[: limit + 1])
    if cls in PLAIN:
        return repr(value)
    if cls not in _BRACKETS:
        return _short_repr(value, limit)
    if not value:
        return repr(value)
    opening, closing = _BRACKETS[cls]
    if depth == 0:
        return f"{opening}…{closing}"
    if cls is tuple and len(value) == 1:
        closing = ",)"
    each = value if cls is not dict else chain.from_iterable(value.items())
    parts: Iterable[str] = (_in_one_line(member, limit, depth - 1) for member in each)
    if cls is dict:
        parts = map(": ".join, zip(parts, parts, strict=True))
    elif opening.endswith("{"):
        # The order of a set of strings differs from process to process.
        parts = sorted(parts) if len(value) <= _SORTED else [f"… {len(value)} members"]
    kept, room = [], limit
    for part in parts:
        if room <= 0:
            kept.append("…")
            break
        kept.append(part)
        room -= len(part) + 2
    return f"{opening}{', '.join(kept)}{closing}"


def _short_repr(value: Any, limit: int) -> str:
    kind = kind_of(type(value))
    if not is_known(type(value)) or kind == "other":
        ask(value)
    if kind in _SHAPED:
        shape = getattr(value, "shape", None) or (len(value),)
        return f"{type_name(value)} {' x '.join(map(str, shape))}"
    if kind == "lazy" or size_of(value) > _LARGE:
        return f"<{type_name(value)}>"
    return _tidied(repr(value), limit)
