"""What waits, and until when: by the clock on the wall, or by one that nobody sets."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Generic, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")
Clock: TypeAlias = Callable[[], float]


class Due(NamedTuple):
    """A time.

    Attributes
    ----------
    at, clock
        In seconds, and of which clock: ``time.time`` or ``time.monotonic``.
    """

    at: float
    clock: Clock

    @property
    def left(self) -> float:
        """How many seconds there are until then, as the clock is now.

        Examples
        --------
        >>> Due(12.0, lambda: 10.0).left
        2.0
        """
        return self.at - self.clock()


class Waits(Generic[T]):
    """Things that wait, each until a time of its own.

    Examples
    --------
    >>> waits = Waits()
    >>> waits.add("later", Due(12.0, lambda: 10.0))
    >>> waits.add("sooner", Due(21.0, lambda: 20.0))
    >>> waits.left, waits.pop()
    (1.0, 'sooner')
    """

    def __init__(self) -> None:
        # The first of each clock; which of those comes first changes when a clock is set.
        self._heaps: dict[Clock, list[tuple[float, int, T]]] = {}
        self._order = count()

    def __bool__(self) -> bool:
        return any(self._heaps.values())

    def add(self, thing: T, due: Due) -> None:
        """Let something wait."""
        heappush(self._heaps.setdefault(due.clock, []), (due.at, next(self._order), thing))

    @property
    def left(self) -> float:
        """How many seconds there are until the next one's time has come."""
        return min(heap[0][0] - clock() for clock, heap in self._heaps.items() if heap)

    def pop(self) -> T:
        """Give the next one, which waits no longer."""
        heaps = [(heap[0][0] - clock(), clock) for clock, heap in self._heaps.items() if heap]
        return heappop(self._heaps[min(heaps, key=lambda each: each[0])[1]])[2]
