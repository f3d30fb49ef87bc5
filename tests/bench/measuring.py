"""Takes times of several ways to do the same, in turn, and compares them.

Machines are noisy: what counts is the ratio of two ways that were tried within the same
seconds. So each round tries all of them once, one after the other.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import psutil

_REST_SECONDS = 0.5


@dataclass(frozen=True)
class Way:
    """One way to do a job.

    Attributes
    ----------
    name
        What it is called in the table.
    do
        Does it, and gives what came out.
    ready
        Makes what ``do`` is given, outside of the time that is taken.
    floor
        The name of the way that this one is compared with.
    bar
        The ratio that it should stay below, if there is one.
    rounds
        In how many rounds at most it is tried: fewer where it is slow.
    """

    name: str
    do: Callable[..., Any]
    ready: Callable[[], Any] | None = None
    floor: str | None = None
    bar: float | None = None
    rounds: int = 99


@dataclass(frozen=True)
class Job:
    """A job, the ways in which it can be done, and what must come out.

    Attributes
    ----------
    name, what
        What it is called, and in words.
    size
        How many steps or elements it has: the time of one is told too.
    expected
        What each way must give.
    ways
        The ways, those that others are compared with first.
    memory
        Whether it is told how much memory each way takes at most.
    """

    name: str
    what: str
    size: int
    expected: Any
    ways: tuple[Way, ...]
    memory: bool = False


@dataclass
class Taken:
    """The times of one way, in seconds, and its peak of memory, in bytes."""

    seconds: list[float] = field(default_factory=list)
    peak: int | None = None

    @property
    def median(self) -> float:
        """The median of the times."""
        return statistics.median(self.seconds)


def taken(job: Job, rounds: int) -> dict[str, Taken]:
    """Do a job in all its ways, in turn; the first round warms up and does not count."""
    found = {way.name: Taken() for way in job.ways}
    if job.memory:
        before = _resident()
        for way in job.ways:
            with Peak(before) as peak:
                _once(job, way)
            found[way.name].peak = peak.bytes
    for number in range(rounds + 1):
        for way in job.ways:
            if number <= way.rounds:
                seconds = _once(job, way)
                if number:
                    found[way.name].seconds.append(seconds)
    return found


def _once(job: Job, way: Way) -> float:
    given = () if way.ready is None else (way.ready(),)
    gc.collect()
    # What came before is still being cleared away: a thousand tasks of Dask take a while.
    time.sleep(_REST_SECONDS)
    begun = time.perf_counter()
    result = way.do(*given)
    seconds = time.perf_counter() - begun
    if result != job.expected:
        raise AssertionError(f"{job.name}, {way.name}: gave {result!r}, not {job.expected!r}")
    return seconds


def ratio(ours: Taken, theirs: Taken) -> float:
    """Compare two ways round by round, and give the median: noise hits both of a round."""
    pairs = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=False)]
    return statistics.median(pairs)


class Peak:
    """The most memory that this process and its children had together, above a start.

    Memory that processes share is counted for each of them. A look every 10 ms may miss
    a short peak.

    Parameters
    ----------
    start
        How much they had before, in bytes: what others have left since counts too.
    """

    def __init__(self, start: int) -> None:
        self.bytes = 0
        self._start = start
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Peak:
        gc.collect()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.bytes = max(self.bytes, _resident() - self._start)


def _resident() -> int:
    me = psutil.Process()
    return sum(map(_resident_of, [me, *me.children(recursive=True)]))


def _resident_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def rows(job: Job, found: dict[str, Taken]) -> Iterable[dict[str, Any]]:
    """Give what was found as rows of a table."""
    ways = {way.name: way for way in job.ways}
    for name, each in found.items():
        way = ways[name]
        against = found.get(way.floor or "")
        yield {
            "job": job.name,
            "way": name,
            "size": job.size,
            "seconds": each.median,
            "least": min(each.seconds),
            "each": each.median / job.size,
            "rounds": len(each.seconds),
            "floor": way.floor,
            "ratio": None if against is None else ratio(each, against),
            "bar": way.bar,
            "peak": each.peak,
        }
