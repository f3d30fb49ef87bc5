"""How one step is: the fold over its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nbflow.record.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.record.turns import Span
from nbflow.store.kept import Kept
from nbflow.values.frozen import changed
from nbflow.values.preview import Preview


@dataclass(frozen=True, slots=True)
class Undoing:
    """How the undoing of a step, or of one of its elements, is.

    Attributes
    ----------
    status
        ``compensated`` if it is undone.
    attempts, seconds, log, error, worker
        As of a step.
    """

    status: Status = Status.PENDING
    attempts: int = 0
    seconds: float | None = None
    log: str = ""
    error: ErrorRecord | None = None
    worker: str = ""


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
    planned
        How many elements there are, where that is known before the run.
    before
        How many attempts were made before the run was resumed.
    kept
        Where the result is kept, of a step without elements.
    chosen
        Whether it was skipped by choice, and not because something failed.
    doubts
        Why nobody knows whether it ended: by element, and under None for a plain step.
    undone
        How its undoing is, by element, and under None for a plain step.
    failures
        What a person has said to have failed, and was not tried again since: elements,
        and None for a plain step.
    unrecorded
        The names of elements that have one, and had no record when it was heard of: of
        those in doubt.
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
    planned: int | None = None
    before: int = 0
    kept: Kept | None = None
    chosen: bool = False
    doubts: Mapping[int | None, str] = field(default_factory=dict)
    undone: Mapping[int | None, Undoing] = field(default_factory=dict)
    failures: frozenset[int | None] = frozenset()
    unrecorded: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def fresh(cls, name: str, *, mapped: bool, planned: int | None, before: int = 0) -> StepState:
        """Make the state before anything has happened.

        Parameters
        ----------
        name
            The step.
        mapped, planned
            Whether it has elements, and how many, where that is known.
        before
            How many attempts were made before the run was resumed.
        """
        return cls(
            name, total=planned, mapped=mapped, planned=planned, attempts=before, before=before
        )

    @property
    def waits(self) -> bool:
        """Whether it has neither ended nor is it in doubt."""
        return not self.status.final and not self.doubts

    @property
    def has_done_something(self) -> bool:
        """Whether there may be something to undo: it has ended well, in part, or is in doubt."""
        if self.doubts or self.status.succeeded:
            return True
        return any(Status.COMPLETED in part.statuses for part in self.elements)

    @property
    def is_kept(self) -> bool:
        """Whether its result, or some of its elements', is in the store."""
        return self.kept is not None or any(part.kept for part in self.elements)

    @property
    def labels(self) -> dict[int, str]:
        """The names of those elements that are known to have one, by number."""
        recorded = {n: label for part in self.elements for n, label in part.labels.items()}
        return {**self.unrecorded, **recorded}

    def called(self, number: int | None) -> str:
        """Name the step, or one of its elements as its user did.

        Examples
        --------
        >>> StepState("charge", unrecorded={1: "eu"}).called(1), StepState("charge").called(1)
        ('charge[eu]', 'charge[1]')
        """
        return self._called([number])[0]

    def _called(self, numbers: Sequence[int | None]) -> list[str]:
        labels = self.labels
        return [self.name if n is None else f"{self.name}[{labels.get(n, n)}]" for n in numbers]

    @property
    def in_doubt(self) -> list[tuple[str, str]]:
        """What of it is in doubt, and why: the elements in their order."""
        if not self.doubts:
            return []
        numbers = sorted(self.doubts, key=lambda each: -1 if each is None else each)
        return list(zip(self._called(numbers), map(self.doubts.__getitem__, numbers), strict=True))

    def resolved(self, event: Event) -> StepState:
        """Fold in what a person has said of a step, or an element, that was in doubt."""
        number = event.element
        left = {each: reason for each, reason in self.doubts.items() if each != number}
        known = changed(self, doubts=left, status=Status.PENDING)
        if event.status is Status.FAILED:
            known = changed(known, failures=known.failures | {number})
        return known if event.status is Status.PENDING else known.apply(event)

    def without_failed_undoing(self) -> StepState:
        """Give the state before undoing it had failed, if it had."""
        kept = {n: each for n, each in self.undone.items() if each.status is Status.COMPENSATED}
        return self if len(kept) == len(self.undone) else changed(self, undone=kept)

    def cancelled(self, event: Event) -> StepState:
        """Give the state of a step that will not end any more, as the run is rolled back."""
        if self.doubts:
            return self
        reason = "the run is rolled back"
        return changed(self, status=Status.CANCELLED, ended=event.at, reason=reason)

    def apply(self, event: Event) -> StepState:
        """Fold one event in.

        A step that has ended stays as it ended: Dask may compute a pure step again,
        and what was told to the user does not change for that.
        """
        if event.undo:
            return self._apply_undo(event)
        if self.status.final:
            return self
        if event.total is not None and self.total is None:
            self = changed(self, total=event.total)  # noqa: PLW0642
        if event.elements is not None:
            return self._apply_elements(event, event.elements)
        if not event.status.final:
            return self._apply_going(event)
        ran = event.status in (Status.COMPLETED, Status.FAILED)
        # It was about to run when it turned out not to be wanted.
        unwanted = event.status is Status.SKIPPED and self.attempts == self.before + 1
        started = event.at - (event.seconds or 0.0) if ran else None
        started = started if self.started is None else self.started
        look = event.preview
        return changed(
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
            kept=event.kept,
            chosen=event.chosen,
            doubts={},
        )

    def _apply_going(self, event: Event) -> StepState:
        return changed(
            self,
            status=event.status,
            attempts=max(self.attempts, event.attempt),
            started=self.started if event.status is Status.PENDING else _first(self.started, event),
            worker=event.worker,
            log=self.log + event.log,
            reason=event.reason,
            retry_at=event.retry_at,
            doubts={**self.doubts, **(event.doubts or {})},
            unrecorded={**self.unrecorded, **event.labels} if event.labels else self.unrecorded,
        )

    def _apply_undo(self, event: Event) -> StepState:
        was = self.undone.get(event.element, Undoing())
        if was.status.final:
            return self
        now = Undoing(
            event.status,
            max(was.attempts, event.attempt),
            event.seconds,
            was.log + event.log,
            event.error,
            event.worker,
        )
        state = changed(self, undone={**self.undone, event.element: now})
        if event.status is Status.COMPENSATED and event.element is None:
            return changed(state, status=Status.COMPENSATED, doubts={})
        return state

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
        return changed(
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
            doubts=_outside(self.doubts, records),
        )

    def done_of(self, now: StepState) -> frozenset[int | None]:
        """Say which elements had ended well and are not known any more; None if it is a step."""
        if not self.mapped:
            return frozenset({None}) if self.status.succeeded else frozenset()
        known = {n for part in now.elements for n in range(part.start, part.stop)}
        return frozenset(
            number
            for part in self.elements
            for number, status in enumerate(part.statuses, part.start)
            if status.succeeded and number not in known
        )

    def again(self) -> StepState:
        """Give the state before it is computed again as a whole."""
        tried = 0 if self.mapped else self.attempts
        return StepState.fresh(self.name, mapped=self.mapped, planned=self.planned, before=tried)

    def without_spans(self, spans: Sequence[Span]) -> StepState:
        """Give the state before some neighbouring elements were computed, and others."""
        return self.without([number for start, stop in spans for number in range(start, stop)])

    def without(self, numbers: Sequence[int]) -> StepState:
        """Give the state before some of the elements were computed."""
        fresh = StepState(self.name, total=self.total, mapped=True, planned=self.planned)
        for part in self.elements:
            event = Event(self.name, Status.RUNNING, self.started or 0.0)
            for each in part.without(numbers):
                fresh = fresh._apply_new(event, each)
        return changed(fresh, status=Status.PENDING, started=None, worker="")


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


def _first(started: float | None, event: Event) -> float:
    return event.at if started is None else min(started, event.at)


def _outside(doubts: Mapping[int | None, str], records: ElementRecords) -> Mapping[int | None, str]:
    """Give the doubts that are not settled by what is known now."""
    if not doubts:
        return doubts
    known = range(records.start, records.stop)
    return {number: reason for number, reason in doubts.items() if number not in known}
