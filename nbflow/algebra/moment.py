"""When a run is to begin."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nbflow.algebra.retry import finite_number
from nbflow.errors import FlowError


def due_at(at: Any, after: Any, now: float) -> float | None:
    """Say when a run is to begin, in seconds since the epoch; None if that is at once.

    Parameters
    ----------
    at
        A time with its time zone, or seconds since the epoch. One that has passed means
        at once.
    after
        Seconds from now.
    now
        In seconds since the epoch.

    Raises
    ------
    FlowError
        If it is neither, or both are given.

    Examples
    --------
    >>> due_at(None, 60, now=1000.0)
    1060.0
    """
    if at is None and after is None:
        return None
    if at is not None and after is not None:
        raise FlowError(f"at is {at!r} and after is {after!r}; give one of them")
    if after is not None:
        seconds = finite_number(after)
        if seconds is None or seconds < 0:
            raise FlowError(
                f"after is {after!r}; expected is a finite number of seconds, 0 or more"
            )
        return now + seconds
    if isinstance(at, datetime):
        if at.tzinfo is None or at.utcoffset() is None:
            raise FlowError(
                f"at is {at!r}, which has no time zone, so it may mean several moments; give it "
                f"one, such as at={type(at).__name__}(…, tzinfo=ZoneInfo('Europe/Berlin')), or "
                f".astimezone() for the zone of this machine"
            )
        return at.timestamp()
    moment = finite_number(at)
    if moment is None:
        raise FlowError(
            f"at is {at!r}; expected is a datetime with a time zone, or a finite number of seconds "
            f"since the epoch"
        )
    return moment
