"""Frozen records, changed and pickled by their values.

What `dataclasses` does for a record with slots asks for its fields anew each time, in Python,
and takes half as long again. A run of a thousand steps does it many thousand times.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


def changed(record: T, **changes: Any) -> T:
    """Give a frozen dataclass with some values changed, as `dataclasses.replace` does.

    Examples
    --------
    >>> from nbflow.record.events import Event, Status
    >>> changed(Event("load", Status.RUNNING, 1.0), at=2.0).at
    2.0
    """
    kind: Any = type(record)
    values, places = _shape(kind)
    found = list(values(record))
    for name, value in changes.items():
        found[places[name]] = value
    return kind(*found)  # type: ignore[no-any-return]


def by_values(record: type[T]) -> type[T]:
    """Let a frozen dataclass be pickled as its class and the values of its fields, in order.

    A later version may have more fields, with defaults, after those that there are.

    Examples
    --------
    >>> import pickle
    >>> from nbflow.record.events import ErrorRecord
    >>> pickle.loads(pickle.dumps(ErrorRecord("KeyError", "'a'", ""))).type_name
    'KeyError'
    """
    kind: Any = record
    values, _ = _shape(kind)

    def reduced(self: T) -> tuple[type[T], tuple[Any, ...]]:
        return record, values(self)

    record.__reduce__ = reduced  # type: ignore[assignment]
    return record


@cache
def _shape(record: Any) -> tuple[Any, dict[str, int]]:
    """Give what gives the values of a dataclass, and the places of its fields."""
    names = [each.name for each in fields(record)]
    values: Any = attrgetter(*names)
    if len(names) == 1:
        only = values

        def values(record: Any) -> tuple[Any, ...]:
            return (only(record),)

    return values, {name: place for place, name in enumerate(names)}
