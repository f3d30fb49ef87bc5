"""Trying again: how often, after which exceptions, and how long to wait in between.

All of it is decided here, by values alone. Who waits, and where, is the worker's
business.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from nbflow.errors import FlowError, NbflowError, TransferError
from nbflow.values.outline import outline

ErrorType: TypeAlias = type[BaseException]

# How often a step without a policy may ask for another attempt, the first try included:
# code that always asks would otherwise never end.
ATTEMPTS_WITHOUT_POLICY = 10

# Some systems let no thread sleep longer; it is 46 days.
_LONGEST_WAIT = 4_000_000.0


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step that fails is tried again.

    The wait before another attempt doubles each time, up to a limit, and is then drawn
    by chance between nothing and that: steps that failed together do not come back
    together. It is the "full jitter" of Marc Brooker, "Exponential Backoff And Jitter",
    AWS Architecture Blog, 2015.

    Attributes
    ----------
    attempts
        How often the step is tried in all, the first time included.
    on
        The exceptions after which it is tried again, one class or several; with none,
        only when the step asks for it by raising `TryAgain`.
    wait
        The seconds before the second attempt.
    backoff
        What each wait is multiplied by to give the next.
    max_wait
        The most seconds before any attempt.
    jitter
        Whether a wait is drawn by chance between nothing and its full length.

    Raises
    ------
    FlowError
        If a value cannot be right.

    Examples
    --------
    >>> Retry(attempts=3, on=ConnectionError).on
    (<class 'ConnectionError'>,)
    """

    attempts: int = 4
    on: ErrorType | tuple[ErrorType, ...] | list[ErrorType] = (Exception,)
    wait: float = 0.1
    backoff: float = 2.0
    max_wait: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        attempts = whole_number(self.attempts)
        if attempts is None or attempts < 1:
            raise _unfit("attempts", self.attempts, "a whole number of tries, 1 or more")
        if not isinstance(self.jitter, bool):
            raise _unfit("jitter", self.jitter, "True or False")
        checked = {
            "attempts": attempts,
            "on": _checked_classes(self.on),
            "wait": _checked_number("wait", self.wait, 0),
            "backoff": _checked_number("backoff", self.backoff, 1),
            "max_wait": _checked_number("max_wait", self.max_wait, 0),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def of(value: Any) -> Retry | None:
        """Read the step option ``retry``: a number of further attempts, or a policy.

        Raises
        ------
        FlowError
            If it is neither.

        Examples
        --------
        >>> Retry.of(2).attempts, Retry.of(0)
        (3, None)
        """
        if value is None or value is False:
            return None
        if isinstance(value, Retry):
            return value
        more = whole_number(value)
        if more is not None and more >= 0:
            return Retry(attempts=more + 1) if more else None
        raise FlowError(
            f"the step option 'retry' is {outline(value, 60)}; it must be how many more times to "
            f"try, such as 3, or a policy, such as Retry(attempts=4, on=ConnectionError)"
        )


class TryAgain(NbflowError):  # noqa: N818 - it is a wish, not an error
    """Raised in a step to ask for another attempt, whatever the step's policy listens to.

    Parameters
    ----------
    delay
        The seconds to wait before it; by default as long as the policy would.

    Raises
    ------
    FlowError
        If the delay is not a number of seconds.

    Examples
    --------
    >>> print(TryAgain(2))
    asked for another attempt in 2 s
    """

    def __init__(self, delay: float | None = None) -> None:
        if delay is not None:
            what, expected = "the delay of TryAgain", "a number of seconds, 0 or more, or None"
            delay = _number(what, delay, 0, expected)
        # As the only argument, which pickle calls the class with again.
        super().__init__(delay)
        self.delay = delay

    def __str__(self) -> str:
        moment = "" if self.delay is None else f" in {self.delay:g} s"
        return f"asked for another attempt{moment}"


def _chance() -> float:
    # Imported when it is needed: it takes as long to import as a tenth of nbflow.
    from random import random

    return random()  # noqa: S311 - nothing secret depends on it


def next_wait(
    policy: Retry | None,
    attempt: int,
    error: BaseException,
    random: Callable[[], float] = _chance,
) -> float | None:
    """Decide whether a step is tried again, and after how many seconds.

    Parameters
    ----------
    policy
        The step's own; without one, only `TryAgain` is heard.
    attempt
        The number of the attempt that has just failed, from 1.
    error
        What it raised.
    random
        Gives a number from 0 up to, and without, 1.

    Returns
    -------
    The seconds to wait, or None if there is no other attempt.

    Examples
    --------
    >>> next_wait(Retry(attempts=3, wait=1, jitter=False), 2, OSError())
    2.0
    >>> next_wait(Retry(attempts=3), 3, OSError()) is None
    True
    """
    chosen = _WITHOUT_POLICY if policy is None else policy
    if attempt >= chosen.attempts or not _heard(chosen, error):
        return None
    if isinstance(error, TryAgain) and error.delay is not None:
        return min(error.delay, _LONGEST_WAIT)
    longest = _full_wait(chosen, attempt)
    return longest * random() if chosen.jitter else longest


def _heard(policy: Retry, error: BaseException) -> bool:
    if isinstance(error, TransferError):
        # The same result would be made again, and could not travel again.
        return False
    return isinstance(error, (TryAgain, *cast("tuple[ErrorType, ...]", policy.on)))


def _full_wait(policy: Retry, attempt: int) -> float:
    if not policy.wait:
        return 0.0
    try:
        grown = policy.wait * policy.backoff ** (attempt - 1)
    except OverflowError:
        grown = math.inf
    return min(grown, policy.max_wait, _LONGEST_WAIT)


def whole_number(value: Any) -> int | None:
    """Read a whole number, also one of numpy's; None if it is none, as True is.

    Examples
    --------
    >>> whole_number(3), whole_number(3.0), whole_number(True)
    (3, None, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def finite_number(value: Any) -> float | None:
    """Read a number of any kind that is finite; None if it is none, as True is.

    Examples
    --------
    >>> finite_number(3), finite_number(float("nan")), finite_number("3")
    (3.0, None, None)
    """
    number = value if isinstance(value, float) else whole_number(value)
    try:
        return float(number) if number is not None and math.isfinite(number) else None
    except OverflowError:
        return None


def _checked_number(name: str, value: Any, least: int) -> float:
    return _number(f"{name!r} of a Retry", value, least, f"a finite number, {least} or more")


def _number(what: str, value: Any, least: int, expected: str) -> float:
    number = finite_number(value)
    if number is None or number < least:
        raise FlowError(f"{what} is {outline(value, 60)}; it must be {expected}")
    return number


def _checked_classes(value: Any) -> tuple[ErrorType, ...]:
    classes = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for each in classes:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise _unfit("on", each, "an exception class such as ConnectionError, or several")
    return classes


def _unfit(name: str, value: Any, expected: str) -> FlowError:
    return FlowError(f"{name!r} of a Retry is {outline(value, 60)}; it must be {expected}")


_WITHOUT_POLICY = Retry(attempts=ATTEMPTS_WITHOUT_POLICY, on=())
