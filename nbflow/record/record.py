"""What is known of one run in this process, folded from its events and written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from nbflow.errors import RunError
from nbflow.journal.journal import Journal
from nbflow.record.events import Event, Status
from nbflow.record.failure import with_sources
from nbflow.record.minutes import opened, packed
from nbflow.record.state import RunState
from nbflow.record.turns import Resumed, RollingBack


class Record:
    """The events of one run, the fold over them, and their way into the journal.

    Attributes
    ----------
    state
        The fold over all events so far.
    events
        The events so far, in the order in which they came.
    changed
        Notified whenever something has happened.
    error
        Why nothing more is written down, if that is so.

    Parameters
    ----------
    state
        How the run is.
    journal
        Where events are written; None for nowhere.
    epoch
        Which time the run is driven; who drives it later has a higher one.
    entering
        Whether the run is entered in a journal while it begins, by `enter`: until then
        nothing of it counts as written down.
    """

    def __init__(
        self,
        state: RunState,
        journal: Journal | None = None,
        epoch: int = 0,
        *,
        entering: bool = False,
    ) -> None:
        self.state = state
        self.events: list[Event] = []
        self.changed = threading.Condition()
        self.journal = journal
        self.epoch = epoch
        self.error: Exception | None = None
        self.on_loss: Callable[[], None] | None = None
        self._entering = entering
        self._unwritten = int(entering)
        # What was told once to have ended stays so, whatever is still heard of it.
        self._told = False

    @property
    def id(self) -> str:
        """What the run is called."""
        return self.state.run_id

    @property
    def settled(self) -> bool:
        """Whether the run has ended, and that is written down."""
        self._told = self._told or (self.state.status.final and not self._unwritten)
        return self._told and self.state.status.final

    @property
    def status(self) -> Status:
        """How the run is: ended only when that is written down."""
        status = self.state.status
        return Status.RUNNING if status.final and not self.settled else status

    def hold(self, epoch: int) -> None:
        """Drive the run from now on: what happens is written under this epoch."""
        self.epoch = epoch
        self.error = None
        if self.journal is not None:
            self.journal.hold(self.id, epoch, self._lost)

    def enter(self, journal: Journal, epoch: int) -> None:
        """Write down what has happened so far, and what happens from now on."""
        self.epoch = epoch
        # Not while others wait for what has changed: the journal may have to tell of a loss.
        journal.hold(self.id, epoch, self._lost)
        with self.changed:
            self.journal = journal
            if self._entering:
                if self.events:
                    self._write(journal, self.events, None)
                self._entering = False
                self._unwritten -= 1
                self.changed.notify_all()

    def wait_for_entry(self) -> None:
        """Wait until the run is in the journal, if it is to be."""
        with self.changed:
            self.changed.wait_for(lambda: not self._entering)

    def is_written(self) -> bool:
        """Wait for what has happened so far to be written down; tell whether it could be."""
        with self.changed:
            self.changed.wait_for(lambda: not self._unwritten or self.error is not None)
            return self.error is None

    def receive(self, data: bytes) -> None:
        """Take in events as a worker has sent them."""
        events = opened(data)
        fresh = [event for event in events if not self._is_known(event)]
        if len(fresh) < len(events):
            events, data = fresh, packed(fresh)
        if any(_has_error(event) for event in events):
            events = [_with_sources(event) for event in events]
            data = packed(events)
        self.fold(events, data)

    def _is_known(self, event: Event) -> bool:
        """Tell whether an event tells of an end that was told of before.

        Dask may compute a step again, and copies of a task may tell of the same.
        """
        if not event.status.final or event.undo:
            return False
        step = self.state.steps[event.step]
        if event.elements is None or step.status.final:
            return step.status.final
        start, stop = event.elements.start, event.elements.stop
        return start < stop and any(
            part.start <= start and stop <= part.stop for part in step.elements
        )

    def fold(self, events: Sequence[Event], data: bytes | None = None) -> None:
        """Take in what has happened.

        Parameters
        ----------
        events
            What.
        data
            The same as bytes, if they are at hand.
        """
        if not events:
            return
        with self.changed:
            self.events.extend(events)
            self.state = self.state.apply(events)
            if not self.state.status.final:
                self._told = False
            if self.journal is not None and self.error is None:
                self._write(self.journal, events, data)
            self.changed.notify_all()

    def turn(self, turn: Resumed | RollingBack) -> None:
        """Take in that the run goes on, after it has stood for a while if it had stopped."""
        now = time.time()
        with self.changed:
            ended = self.state.ended
            stood = None if ended is None else max(0.0, now - ended)
            self.fold([Event("", Status.RUNNING, now, seconds=stood, turn=turn)])

    def _write(self, journal: Journal, events: Sequence[Event], data: bytes | None) -> None:
        self._unwritten += 1
        status, ended = self.state.status, self.state.ended
        journal.append(
            self.id,
            self.epoch,
            packed(events) if data is None else data,
            hashes=[(each.hash, each.nbytes) for event in events for each in event.files],
            status=str(status),
            ended=ended,
            done=self._written,
        )
        if status.final:
            journal.release(self.id, self.epoch)

    def _written(self, error: Exception | None) -> None:
        with self.changed:
            self._unwritten -= 1
            if error is not None:
                self._give_up(error)
            self.changed.notify_all()

    def _lost(self, reason: str) -> None:
        with self.changed:
            self._give_up(RunError(reason))
            self.changed.notify_all()

    def _give_up(self, error: Exception) -> None:
        """Stop where nothing can be written down: nothing may count as done that is not."""
        if self.error is not None:
            return
        self.error = error
        now = time.time()
        self.state = replace(self.state, status=Status.INTERRUPTED, ended=now, reason=str(error))
        self.events.append(Event("", Status.INTERRUPTED, now, reason=str(error)))
        if self.on_loss is not None:
            threading.Thread(target=self.on_loss, name="nbflow-lost", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the run; tell whether it has come."""
        with self.changed:
            return self.changed.wait_for(lambda: self.settled, timeout)


def _has_error(event: Event) -> bool:
    in_elements = event.elements is not None and bool(event.elements.errors)
    return event.error is not None or in_elements


def _with_sources(event: Event) -> Event:
    """Put lines of the notebook's cells into tracebacks: only the notebook has them."""
    if event.error is not None:
        event = replace(event, error=with_sources(event.error))
    if event.elements is not None and event.elements.errors:
        errors = {number: with_sources(each) for number, each in event.elements.errors.items()}
        event = replace(event, elements=replace(event.elements, errors=errors))
    return event
