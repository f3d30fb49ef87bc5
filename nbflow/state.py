"""How a run is: the one fold over its events.

The table of steps, the pictures and every later reader see the same `RunState`, and
nothing else knows how a run is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nbflow.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.preview import Preview

_GOING = frozenset({Status.PENDING, Status.RUNNING, Status.RETRYING})


@dataclass(frozen=True, slots=True)
class StepState:
    """How a step is, folded from its events.

    Attributes
    ----------
    mapped
        Whether it has elements.
    total
        How many; None for a plain step, and as long as it is not known.
    done, failed, skipped, collected
        How many elements have ended in whatever way, and in these; `collected` are
        those that failed and were put aside.
    elements
        The records of the elements, in the order of arrival.
    retry_at
        When the next attempt comes, in seconds since the epoch, while it is awaited.
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
    mapped: bool = False
    collected: int = 0
    spared: int = 0
    retry_at: float | None = None

    def apply(self, event: Event) -> StepState:
        """Fold one event in.

        A step that has ended stays as it ended: Dask may compute a pure step again,
        and what was told to the user does not change for that.
        """
        if self.status.final:
            return self
        if event.total is not None and self.total is None:
            self = replace(self, total=event.total)  # noqa: PLW0642
        if event.elements is not None:
            return self._apply_elements(event, event.elements)
        if not event.status.final:
            return self._apply_going(event)
        ran = event.status in (Status.COMPLETED, Status.FAILED)
        # It was about to run when it turned out not to be wanted.
        unwanted = event.status is Status.SKIPPED and self.attempts == 1
        started = event.at - (event.seconds or 0.0) if ran else None
        started = started if self.started is None else self.started
        look = event.preview
        return replace(
            self,
            status=event.status,
            attempts=max(self.attempts, event.attempt) if ran else self.attempts - unwanted,
            started=None if unwanted else started,
            ended=event.at,
            seconds=event.seconds,
            worker=event.worker,
            preview=look,
            rows=None if look is None else look.rows,
            columns=None if look is None else look.columns,
            bytes=None if look is None else look.bytes,
            log=self.log + event.log,
            error=event.error,
            reason=event.reason,
            retry_at=None,
        )

    def _apply_going(self, event: Event) -> StepState:
        return replace(
            self,
            status=event.status,
            attempts=max(self.attempts, event.attempt),
            started=event.at if self.started is None else min(self.started, event.at),
            worker=event.worker,
            log=self.log + event.log,
            reason=event.reason,
            retry_at=event.retry_at,
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
        failed = self.failed + records.failed
        skipped = self.skipped + len(records.reasons)
        spared = self.spared + len(records.spared)
        collected = self.collected + len(records.letters)
        ended = self.total is not None and done >= self.total
        elements = (*self.elements, records)
        # What was only set aside, or not wanted, leaves the list shorter and nothing else.
        status = Status.COMPLETED if ended else Status.RUNNING
        if ended and failed:
            status = Status.FAILED
        elif ended and (skipped > spared or (spared == done and done and not _aside(elements))):
            status = Status.SKIPPED
        started = event.at - (event.seconds or 0.0)
        started = started if self.started is None else min(self.started, started)
        tried = max(self.attempts, event.attempt, max(records.attempts.values(), default=1))
        unwanted = ended and done > 0 and skipped == done
        return replace(
            self,
            status=status,
            attempts=0 if unwanted else tried,
            started=started,
            ended=event.at if ended else None,
            seconds=event.at - started if ended else None,
            worker=event.worker if self.worker in ("", event.worker) else "several",
            rows=_sum(self.rows, records.rows, first=not self.elements),
            columns=records.columns if not self.elements else max_of(self.columns, records.columns),
            bytes=(self.bytes or 0) + records.bytes,
            error=_first_error(self, records),
            done=done,
            failed=failed,
            skipped=skipped,
            collected=collected,
            spared=spared,
            reason=_reason(elements, status),
            elements=elements,
            retry_at=None,
        )

    def without(self, numbers: Sequence[int]) -> StepState:
        """Give the state before some of the elements were computed."""
        fresh = StepState(self.name, total=self.total, mapped=True)
        for part in self.elements:
            event = Event(self.name, Status.RUNNING, self.started or 0.0)
            for each in part.without(numbers):
                fresh = fresh._apply_new(event, each)
        return replace(fresh, status=Status.PENDING, started=None, worker="")


def _first_error(state: StepState, records: ElementRecords) -> ErrorRecord | None:
    """Give the error of the first element that failed, whichever was heard of first."""
    if not records.failed:
        return state.error
    failed = [
        (number, error)
        for part in (*state.elements, records)
        for number, error in part.errors.items()
        if number not in part.letters
    ]
    return min(failed, key=lambda each: each[0])[1]


def _aside(records: Iterable[ElementRecords]) -> bool:
    """Tell whether any of the elements failed where failures are put aside, here or before."""
    return any(part.letters or part.aside for part in records)


def _reason(records: Iterable[ElementRecords], status: Status) -> str:
    """Give the reason that matters: of a skip by failure before one by choice, the first one."""
    if status in (Status.RUNNING, Status.COMPLETED):
        return ""
    reasons = [
        (number in part.spared, number, reason)
        for part in records
        for number, reason in part.reasons.items()
    ]
    return min(reasons)[2] if reasons else ""


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
class Shape:
    """What is known of a step before it runs.

    Attributes
    ----------
    mapped
        Whether it has elements.
    total
        How many, where that is known.
    """

    mapped: bool = False
    total: int | None = None


PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run is: the fold over all of its events.

    Examples
    --------
    >>> state = RunState.planned("r1", "etl", {"load": PLAIN}, 0.0)
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
    def planned(cls, run_id: str, name: str, steps: Mapping[str, Shape], at: float) -> RunState:
        """Make the state before anything has happened.

        Parameters
        ----------
        run_id, name
            What the run is called.
        steps
            The names of the steps, with what is known of their elements.
        at
            When the run was accepted, in seconds since the epoch.
        """
        fresh = {
            name: StepState(name, total=shape.total, mapped=shape.mapped)
            for name, shape in steps.items()
        }
        return cls(run_id, name, at, fresh)._settled(at)

    def again(
        self,
        run_id: str,
        dead: Mapping[str, Sequence[int]],
        later: Mapping[str, Shape],
        at: float,
    ) -> RunState:
        """Make the state of a run that goes on from this one.

        Parameters
        ----------
        run_id
            What the new run is called.
        dead
            The elements that are computed again, by step.
        later
            The steps that are computed again as a whole, with what is known of them.
        at
            When the run was accepted, in seconds since the epoch.
        """
        steps = {}
        for name, step in self.steps.items():
            if name in later:
                shape = later[name]
                steps[name] = StepState(name, total=shape.total, mapped=shape.mapped)
            elif name in dead:
                steps[name] = step.without(dead[name])
            else:
                done = step.status is Status.COMPLETED
                steps[name] = replace(step, status=Status.REUSED) if done else step
        return RunState(run_id, self.name, at, steps)._settled(at)

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
