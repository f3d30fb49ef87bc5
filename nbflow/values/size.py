"""Estimate the bytes a value takes in memory, from a sample of it."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from nbflow.values.asking import PASSING, ask, briefly, is_known
from nbflow.values.kinds import PLAIN, Kind, kind_of, record

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

_SAMPLED: Final = 50


def size_of(value: Any) -> int:
    """Estimate the bytes a value takes in memory, without ever raising.

    Examples
    --------
    >>> size_of("x" * 1_000) > 1_000
    True
    """
    return briefly(_sized, value)


def _sized(value: Any) -> int:
    try:
        return _size(value, _SAMPLED)
    except PASSING:
        raise
    # Not only Exception: a panic inside polars derives from BaseException.
    except BaseException:  # noqa: BLE001
        return int(object.__sizeof__(value))


def _size(value: Any, breadth: int) -> int:
    cls = type(value)
    if cls in PLAIN:
        return sys.getsizeof(value)
    if not is_known(cls):
        ask(value)
    if breadth == 0:
        return sys.getsizeof(value)
    match kind := kind_of(cls):
        case "frame":
            return _frame_size(value, breadth)
        case "series":
            return int(value.index.nbytes) + _array_size(value, breadth)
        case "array" | "index":
            return _array_size(value, breadth)
        case "arrow" | "arrow_column":
            return int(value.nbytes)
        case "polars" | "polars_column":
            return int(value.estimated_size())
    return sys.getsizeof(value) + _inside(value, kind, breadth)


def _inside(value: Any, kind: Kind, breadth: int) -> int:
    match kind:
        case "list":
            return _sampled(value[:: len(value) // breadth + 1], breadth, len(value))
        case "set":
            return _sampled(value, breadth)
        case "dict":
            return _sampled(value.keys(), breadth) + _sampled(value.values(), breadth)
        case "record":
            return _sampled(record(value).values(), breadth)
        case "other":
            return _held(value, breadth)
    return 0


def _held(value: Any, breadth: int) -> int:
    # Only where the class declares it: asking an object may make it answer anything.
    if hasattr(type(value), "nbytes") and type(value.nbytes) is int:
        return int(value.nbytes)
    inner = getattr(value, "__dict__", None)
    return _sampled(inner.values(), breadth) if type(inner) is dict else 0


def _sampled(members: Collection[Any], breadth: int, count: int | None = None) -> int:
    sample = list(islice(members, breadth))
    if not sample:
        return 0
    # A narrower sample at each level bounds the work, also for what contains itself.
    sampled = sum(_size(member, breadth // 5) for member in sample)
    return sampled * (len(members) if count is None else count) // len(sample)


def _array_size(value: Any, breadth: int) -> int:
    size = int(value.nbytes)
    if not getattr(value.dtype, "hasobject", False) or getattr(value, "nlevels", 1) > 1:
        return size
    return size + _sampled(getattr(value, "flat", value), breadth, value.size)


def _frame_size(df: pd.DataFrame, breadth: int) -> int:
    width = df.shape[1]
    sample = range(width)[:: width // breadth + 1]
    sampled = sum(_array_size(df.iloc[:, position], breadth) for position in sample)
    return int(df.index.nbytes) + sampled * width // max(len(sample), 1)
