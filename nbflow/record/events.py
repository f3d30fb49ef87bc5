"""What happens in a run, as events.

Workers make them, and the notebook folds them into the state of the run: nothing else
says how a run is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from nbflow.record.turns import Turn
from nbflow.store.kept import Kept, KeptSpan
from nbflow.values.frozen import by_values
from nbflow.values.older import restore
from nbflow.values.preview import Preview

T = TypeVar("T")


class Status(StrEnum):
    """How a step is, or a whole run."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    REUSED = "reused"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    COMPENSATED = "compensated"
    INTERRUPTED = "interrupted"

    def __repr__(self) -> str:
        # For a user it is a word.
        return repr(self.value)

    @property
    def final(self) -> bool:
        """Whether nothing more is expected to happen."""
        return self not in _GOING

    @property
    def succeeded(self) -> bool:
        """Whether there is a value."""
        return self in (Status.COMPLETED, Status.REUSED)


_GOING = frozenset({Status.PENDING, Status.RUNNING, Status.RETRYING})


@by_values
@dataclass(frozen=True, slots=True)
class ErrorRecord:
    """An exception as it travels: in words, and packed where it can be.

    Attributes
    ----------
    type_name
        The name of its class.
    message
        What it says, of bounded length.
    traceback
        The formatted traceback, from the user's own code on.
    packed
        The exception itself as bytes, or None if it cannot travel.
    """

    type_name: str
    message: str
    traceback: str
    packed: bytes | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An element that failed and was put aside.

    Attributes
    ----------
    packed
        What it was computed from, as bytes; None if that is too large or cannot travel.
    shown
        The same in words, of bounded length.
    """

    packed: bytes | None
    shown: str


@dataclass(frozen=True, slots=True)
class InnerLetter:
    """An element of a map inside of an element, which failed and was put aside.

    Attributes
    ----------
    element
        Its name, those of the elements around it included.
    letter, error
        What it was computed from, and why it failed.
    attempts
        How often it was tried.
    """

    element: str
    letter: DeadLetter
    error: ErrorRecord
    attempts: int


@by_values
@dataclass(frozen=True, slots=True)
class ElementRecords:
    """What happened to neighbouring elements of a mapped step.

    Attributes
    ----------
    start
        The position of the first element.
    statuses
        One status for each element.
    seconds
        How long each took.
    previews, logs, errors
        What there is to know, by position; previews only of the first elements.
    rows, columns, bytes
        Totals over the elements; None where an element has no rows.
    reasons
        Why elements were skipped, by position.
    attempts
        How often elements were tried, by position, where it was more than once.
    labels
        The names of the elements, where they have names.
    spared
        Which of the skipped were skipped by choice, and not because something failed.
    letters
        The failed elements that were put aside, by position.
    aside
        Which of the skipped were skipped because of what was put aside before them.
    inside
        What was put aside inside of elements, by their position.
    kept
        Where values are kept: those of the elements from one position to another, as a
        list that has something in the place of each.
    null_count, duplicates
        Totals over the elements; None where that is not known of one.
    scalars
        How many of the elements are a single value.
    began, ended
        From when to when they were computed, in seconds since the epoch.
    thread
        In which thread of the worker.
    """

    start: int
    statuses: tuple[Status, ...]
    seconds: tuple[float, ...]
    previews: Mapping[int, Preview] = field(default_factory=dict)
    logs: Mapping[int, str] = field(default_factory=dict)
    errors: Mapping[int, ErrorRecord] = field(default_factory=dict)
    rows: int | None = None
    columns: int | None = None
    bytes: int = 0
    reasons: Mapping[int, str] = field(default_factory=dict)
    attempts: Mapping[int, int] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    spared: frozenset[int] = frozenset()
    letters: Mapping[int, DeadLetter] = field(default_factory=dict)
    aside: frozenset[int] = frozenset()
    inside: Mapping[int, tuple[InnerLetter, ...]] = field(default_factory=dict)
    kept: tuple[KeptSpan, ...] = ()
    null_count: int | None = None
    duplicates: int | None = None
    scalars: int = 0
    began: float | None = None
    ended: float | None = None
    thread: int = 0

    def __setstate__(self, state: Sequence[Any]) -> None:
        restore(self, state)

    @property
    def stop(self) -> int:
        """The position after the last element."""
        return self.start + len(self.statuses)

    @property
    def failed(self) -> int:
        """How many failed and were not put aside."""
        return len(self.errors) - len(self.letters)

    def within(self, start: int, stop: int) -> ElementRecords:
        """Give the part of the records that is about some of the elements.

        The totals cannot be taken apart: the rows are not known any more, and the
        bytes are a share.
        """
        if (start, stop) == (self.start, self.stop):
            return self
        first, last = start - self.start, stop - self.start

        def kept(found: Mapping[int, T]) -> dict[int, T]:
            return {n: each for n, each in found.items() if start <= n < stop}

        return ElementRecords(
            start,
            self.statuses[first:last],
            self.seconds[first:last],
            kept(self.previews),
            kept(self.logs),
            kept(self.errors),
            None,
            self.columns,
            self.bytes * (stop - start) // len(self.statuses),
            kept(self.reasons),
            kept(self.attempts),
            kept(self.labels),
            frozenset(n for n in self.spared if start <= n < stop),
            kept(self.letters),
            frozenset(n for n in self.aside if start <= n < stop),
            kept(self.inside),
            # What stands in the place of the others is not to be taken for theirs.
            tuple(
                each.within(start, stop)
                for each in self.kept
                if each.start < stop and start < each.stop
            ),
        )

    def _without_totals(self) -> ElementRecords:
        """Give records of elements that gave nothing."""
        known = [None if n is None else 0 for n in (self.rows, self.null_count, self.duplicates)]
        rows, null_count, duplicates = known
        return ElementRecords(0, (), (), rows=rows, null_count=null_count, duplicates=duplicates)

    def without(self, numbers: Sequence[int]) -> list[ElementRecords]:
        """Give the records of all elements but some, in as many parts as there are gaps.

        Parameters
        ----------
        numbers
            Which are left out, in ascending order.
        """
        first, last = bisect_left(numbers, self.start), bisect_left(numbers, self.stop)
        cuts = numbers[first:last]
        starts, stops = [self.start, *(number + 1 for number in cuts)], [*cuts, self.stop]
        parts = [
            self.within(start, stop)
            for start, stop in zip(starts, stops, strict=True)
            if start < stop
        ]
        if parts and all(number in self.errors or number in self.reasons for number in cuts):
            # What failed or was skipped gave no rows, so those of the others are all there are.
            totals = [self, *[self._without_totals()] * (len(parts) - 1)]
            parts = [
                replace(
                    part,
                    rows=each.rows,
                    bytes=each.bytes,
                    null_count=each.null_count,
                    duplicates=each.duplicates,
                    scalars=each.scalars,
                )
                for part, each in zip(parts, totals, strict=True)
            ]
        return parts


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one step, or to the run as a whole.

    Attributes
    ----------
    step
        The name of the step in its flow; empty for the run.
    status
        What it became.
    at
        When, in seconds since the epoch, by the clock of the worker.
    attempt
        Which try this was, counted from 1.
    worker
        Where it happened.
    seconds
        How long the attempt took, once it has ended; of a turn that the run takes, how
        long nobody had driven it.
    preview
        A bounded look at the result.
    log
        What the step printed, logged and warned.
    error
        Why it failed.
    reason
        Why it was skipped, cancelled or is tried again, in words.
    elements
        What happened to elements, for a mapped step.
    total
        How many elements a mapped step has, once that is known.
    retry_at
        When the next attempt comes, in seconds since the epoch.
    kept
        Where the result is kept.
    chosen
        Whether a skip was by choice, and not because something failed.
    doubts
        Why nobody knows whether the step, or some of its elements, ended: by element,
        and under None for a step without.
    undo
        Whether it happened to the undoing of the step.
    element
        Which element is undone, or has left a receipt.
    turn
        What the run as a whole does.
    labels
        The names of elements that it tells of without records, where they have names.
    """

    step: str
    status: Status
    at: float
    attempt: int = 1
    worker: str = ""
    seconds: float | None = None
    preview: Preview | None = None
    log: str = ""
    error: ErrorRecord | None = None
    reason: str = ""
    elements: ElementRecords | None = None
    total: int | None = None
    retry_at: float | None = None
    kept: Kept | None = None
    chosen: bool = False
    doubts: Mapping[int | None, str] | None = None
    undo: bool = False
    element: int | None = None
    turn: Turn | None = None
    labels: Mapping[int, str] | None = None

    @property
    def results(self) -> list[Kept]:
        """Where the results that it tells of are kept."""
        found = [] if self.elements is None else [each.kept for each in self.elements.kept]
        return found if self.kept is None else [self.kept, *found]

    @property
    def files(self) -> list[Kept]:
        """Those of them that are in files of their own."""
        return [each for each in self.results if each.data is None]

    def __reduce__(self) -> tuple[Any, ...]:
        # Thousands travel at once; this is half the size and time of the default.
        head = self.step, self.status, self.at, self.attempt, self.worker, self.seconds
        body = self.preview, self.log, self.error, self.reason, self.elements, self.total
        tail = self.retry_at, self.kept, self.chosen, self.doubts, self.undo
        if any(tail) or self.element is not None or self.turn is not None or self.labels:
            return Event, (*head, *body, *tail, self.element, self.turn, self.labels)
        return Event, (*head, *body)
