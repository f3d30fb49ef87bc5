"""Events as bytes, as they travel and as they are kept; read back without running anything.

Written by pickle, because that is what costs least while a run goes on. Reading makes
nothing but our own records and plain values, whoever has written the bytes.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any, Final

from nbflow.errors import StoreError
from nbflow.record.events import DeadLetter, ElementRecords, ErrorRecord, Event, InnerLetter, Status
from nbflow.record.turns import Redriven, Resolved, Resumed, RollingBack
from nbflow.store.kept import Kept, KeptSpan
from nbflow.values.preview import Preview

_PROTOCOL: Final = 5

_RECORDS: Final[dict[tuple[str, str], Any]] = {
    (each.__module__, each.__qualname__): each
    for each in (
        Event,
        Status,
        ElementRecords,
        ErrorRecord,
        DeadLetter,
        InnerLetter,
        Preview,
        Kept,
        KeptSpan,
        Resumed,
        Redriven,
        Resolved,
        RollingBack,
        frozenset,
        set,
        complex,
        bytearray,
    )
}


def packed(events: Sequence[Event]) -> bytes:
    """Write events as bytes.

    Examples
    --------
    >>> opened(packed([Event("load", Status.RUNNING, 1.0)]))[0].step
    'load'
    """
    return pickle.dumps(list(events), protocol=_PROTOCOL)


def opened(data: bytes | bytearray) -> list[Event]:
    """Read events, which may come from anybody.

    Raises
    ------
    StoreError
        If they are damaged, hold something else, or were written by a version of
        nbflow that knows more.
    """
    try:
        events = _Reader(io.BytesIO(data)).load()
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"a record of events cannot be read: {type(error).__name__}: {error}; it is damaged, "
            f"or a later version of nbflow has written it"
        ) from error
    if not isinstance(events, list) or not all(type(each) is Event for each in events):
        raise StoreError("a record of events holds something else; it is damaged")
    return events


class _Reader(pickle.Unpickler):
    """Makes our own records and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Give one of our records by its name."""
        found = _RECORDS.get((module, name))
        if found is not None:
            return found
        raise StoreError(
            f"a record of events holds a {module}.{name}, which is none of nbflow's records; it "
            f"was not written by this version of nbflow, and is not read"
        )
