"""What happens in a run, as events, and the one fold that turns them into state.

Workers make events, the notebook folds them. The table of steps, the pictures and
every later reader see the same `RunState`, and nothing else knows how a run is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from nbflow.preview import Preview

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

    @property
    def stop(self) -> int:
        """The position after the last element."""
        return self.start + len(self.statuses)

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
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one step.

    Attributes
    ----------
    step
        The name of the step in its flow.
    status
        What it became.
    at
        When, in seconds since the epoch, by the clock of the worker.
    attempt
        Which try this was, counted from 1.
    worker
        Where it happened.
    seconds
        How long the attempt took, once it has ended.
    preview
        A bounded look at the result.
    log
        What the step printed, logged and warned.
    error
        Why it failed.
    reason
        Why it was skipped or cancelled, in words.
    elements
        What happened to elements, for a mapped step.
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

    def __reduce__(self) -> tuple[Any, ...]:
        # Thousands travel at once; this is half the size and time of the default.
        return Event, (
            self.step,
            self.status,
            self.at,
            self.attempt,
            self.worker,
            self.seconds,
            self.preview,
            self.log,
            self.error,
            self.reason,
            self.elements,
        )


@dataclass(frozen=True, slots=True)
class StepState:
    """How a step is, folded from its events.

    Attributes
    ----------
    total
        How many elements a mapped step has; None for a plain step.
    done, failed, skipped
        How many elements have ended in whatever way, and in these.
    elements
        The records of the elements, in the order of arrival.
    """

    name: str
    status: Status = Status.PENDING
    attempts: int = 0
    started: float | None = None
    ended: float | None = None
    seconds: float | None = None
    worker: str = ""
    preview: Preview | None = None
    rows: int | None = None
    columns: int | None = None
    bytes: int | None = None
    log: str = ""
    error: ErrorRecord | None = None
    reason: str = ""
    total: int | None = None
    done: int = 0
    failed: int = 0
    elements: tuple[ElementRecords, ...] = ()
    skipped: int = 0

    def apply(self, event: Event) -> StepState:
        """Fold one event in.

        A step that has ended stays as it ended: Dask may compute a pure step again,
        and what was told to the user does not change for that.
        """
        if self.status.final:
            return self
        if event.elements is not None:
            return self._apply_elements(event, event.elements)
        if not event.status.final:
            return replace(
                self,
                status=event.status,
                attempts=max(self.attempts, event.attempt),
                started=event.at if self.started is None else min(self.started, event.at),
                worker=event.worker,
                reason=event.reason,
            )
        ran = event.status in (Status.COMPLETED, Status.FAILED)
        return StepState(
            self.name,
            event.status,
            event.attempt if ran else self.attempts,
            event.at - (event.seconds or 0.0) if ran and self.started is None else self.started,
            event.at,
            event.seconds,
            event.worker,
            event.preview,
            None if event.preview is None else event.preview.rows,
            None if event.preview is None else event.preview.columns,
            None if event.preview is None else event.preview.bytes,
            event.log,
            event.error,
            event.reason,
            self.total,
            self.done,
            self.failed,
            self.elements,
            self.skipped,
        )

    def _apply_elements(self, event: Event, records: ElementRecords) -> StepState:
        # A batch that Dask computes again tells of its elements in other portions.
        for start, stop in _gaps(records.start, records.stop, self.elements):
            self = self._apply_new(event, records.within(start, stop))  # noqa: PLW0642
        if records.statuses or self.total:
            return self
        return self._apply_new(event, records)

    def _apply_new(self, event: Event, records: ElementRecords) -> StepState:
        done = self.done + len(records.statuses)
        failed = self.failed + len(records.errors)
        skipped = self.skipped + len(records.reasons)
        ended = done >= (self.total or 0)
        status = Status.COMPLETED
        if failed or skipped:
            status = Status.FAILED if failed else Status.SKIPPED
        started = event.at - (event.seconds or 0.0)
        started = started if self.started is None else min(self.started, started)
        return replace(
            self,
            status=status if ended else Status.RUNNING,
            attempts=max(self.attempts, event.attempt),
            started=started,
            ended=event.at if ended else None,
            seconds=event.at - started if ended else None,
            worker=event.worker if self.worker in ("", event.worker) else "several",
            rows=_sum(self.rows, records.rows, first=not self.elements),
            columns=records.columns if not self.elements else max_of(self.columns, records.columns),
            bytes=(self.bytes or 0) + records.bytes,
            error=self.error or next(iter(records.errors.values()), None),
            done=done,
            failed=failed,
            skipped=skipped,
            reason=self.reason or next(iter(records.reasons.values()), ""),
            elements=(*self.elements, records),
        )


def _gaps(start: int, stop: int, known: Iterable[ElementRecords]) -> Iterator[tuple[int, int]]:
    """Give the parts of a range that no record is about yet."""
    overlapping = [each for each in known if each.start < stop and start < each.stop]
    for each in sorted(overlapping, key=lambda each: each.start):
        if start < each.start:
            yield start, each.start
        start = max(start, each.stop)
    if start < stop:
        yield start, stop


def _sum(left: int | None, right: int | None, *, first: bool) -> int | None:
    if first:
        return right
    return None if left is None or right is None else left + right


def max_of(left: int | None, right: int | None) -> int | None:
    """Give the larger of two counts, either of which may be unknown."""
    return None if left is None or right is None else max(left, right)


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run is: the fold over all of its events.

    Examples
    --------
    >>> state = RunState.planned("r1", "etl", {"load": None}, 0.0)
    >>> state = state.apply([Event("load", Status.COMPLETED, at=2.0, seconds=1.5)])
    >>> state.status.value, state.steps["load"].started
    ('completed', 0.5)
    """

    run_id: str
    name: str
    started: float
    steps: Mapping[str, StepState]
    status: Status = Status.RUNNING
    ended: float | None = None

    @classmethod
    def planned(
        cls, run_id: str, name: str, steps: Mapping[str, int | None], at: float
    ) -> RunState:
        """Make the state before anything has happened.

        Parameters
        ----------
        run_id, name
            What the run is called.
        steps
            The names of the steps, with the number of elements of mapped ones.
        at
            When the run was accepted, in seconds since the epoch.
        """
        fresh = {name: StepState(name, total=total) for name, total in steps.items()}
        return cls(run_id, name, at, fresh)._settled(at)

    def apply(self, events: Iterable[Event]) -> RunState:
        """Fold events in, and give the state after them."""
        steps = dict(self.steps)
        at = self.started
        for event in events:
            steps[event.step] = steps[event.step].apply(event)
            at = max(at, event.at)
        if self.status.final:
            return replace(self, steps=steps)
        return replace(self, steps=steps)._settled(at)

    def _settled(self, at: float) -> RunState:
        statuses = {step.status for step in self.steps.values()}
        if statuses & _GOING:
            return self
        if Status.FAILED in statuses:
            status = Status.FAILED
        elif Status.CANCELLED in statuses:
            status = Status.CANCELLED
        else:
            status = Status.COMPLETED
        return replace(self, status=status, ended=at)

    def counts(self) -> dict[Status, int]:
        """Count the steps by status."""
        found: dict[Status, int] = {}
        for step in self.steps.values():
            found[step.status] = found.get(step.status, 0) + 1
        return found
