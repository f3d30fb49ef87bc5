"""Records that an earlier version of nbflow has written, and that lack what came later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any


def restore(record: Any, state: Sequence[Any]) -> None:
    """Fill in a frozen record as it is unpickled; what it lacks has its default.

    Parameters
    ----------
    record
        The record, still empty.
    state
        The values of its fields, in order, as far as they were written.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Look:
    ...     rows: int
    ...     nulls: int | None = None
    >>> look = object.__new__(Look)
    >>> restore(look, [3])
    >>> look.rows, look.nulls
    (3, None)
    """
    named = fields(record)
    # The record is frozen for everybody else.
    for field, value in zip(named, state, strict=False):
        object.__setattr__(record, field.name, value)
    for field in named[len(state) :]:
        object.__setattr__(record, field.name, field.default)
