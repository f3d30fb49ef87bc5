"""When a run is to begin, or a step that waits: in seconds, and in words."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from nbflow.algebra.retry import finite_number
from nbflow.errors import FlowError

# What is further away than this needs its day said.
_FAR_SECONDS = 12 * 3600.0
# Who is to start something at a moment may be a little late.
_LATE_SECONDS = 15.0
# Units of time, and from how many of it on the next larger one is meant.
_UNITS = (("s", 1.0, 90), ("min", 60.0, 90), ("h", 3600.0, 36))
_DAY_SECONDS = 86400.0


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


def clock(at: float | None, now: float | None = None) -> str:
    """Write when something will be, as the clock on the wall says it.

    Parameters
    ----------
    at
        The moment, in seconds since the epoch.
    now
        Where it matters whether that is far away, the present: then the day is said too.
    """
    if at is None:
        return ""
    far = now is not None and abs(at - now) > _FAR_SECONDS
    try:
        return time.strftime("%Y-%m-%d %H:%M" if far else "%H:%M:%S", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return ""


def span(seconds: float) -> str:
    """Write a time roughly, as one does who looks at a clock.

    Examples
    --------
    >>> [span(each) for each in (12.3, 100, 5400, 200_000)]
    ['12 s', '2 min', '2 h', '2 days']
    """
    for unit, size, most in _UNITS:
        if round(seconds / size) < most:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / _DAY_SECONDS):,} days"


def begins(at: float, now: float) -> str:
    """Say when something begins that waits for its time.

    Parameters
    ----------
    at, now
        When, and the present, in seconds since the epoch.

    Examples
    --------
    >>> begins(1000.0, now=820.0).partition(", ")[2]
    'in 3 min'
    """
    left = at - now
    when = clock(at, now)
    if not when:
        return "begins later"
    if left > 0:
        return f"begins {when}, in {span(max(1.0, left))}"
    if left > -_LATE_SECONDS:
        return f"begins {when}, now"
    return f"was to begin {when}, {span(-left)} ago"
