"""Takes down how the steps of a task end: as events, and in the envelope."""

from __future__ import annotations

import time
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.algebra.expression import Const, ListOf
from nbflow.planning.order import Loop, Work
from nbflow.record.events import Event, Status
from nbflow.worker.crew import Crew, Unit
from nbflow.worker.elements import Elements
from nbflow.worker.envelope import Envelope
from nbflow.worker.keeper import Keeper
from nbflow.worker.outcome import Outcome
from nbflow.worker.recorder import Recorder


def cancellation(work: Work) -> Event:
    """Tell of a step that the run was cancelled before it began."""
    return Event(work.name, Status.CANCELLED, time.time(), reason="the run was cancelled")


class Steps:
    """Takes down how plain steps end."""

    def __init__(self, recorder: Recorder, envelope: Envelope, keeper: Keeper | None) -> None:
        self.recorder = recorder
        self.envelope = envelope
        self.keeper = keeper

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        """Take down how a step ended."""
        event = _ended(work, unit, outcome, log, self.recorder.address)
        if event is not None:
            self.recorder.add(event)
        envelope = self.envelope
        if type(value) is Absent:
            envelope.absent[work.position] = value
            return
        envelope.values[work.position] = value
        envelope.nbytes += outcome.look.bytes if outcome.look is not None else 0

    def recall(self, work: Work, unit: Unit, value: Any) -> None:  # noqa: ARG002
        """Take down how a step ended before."""
        envelope = self.envelope
        if type(value) is Absent:
            envelope.absent[work.position] = value
        else:
            envelope.values[work.position] = value

    def inner(self, loop: Loop, unit: Unit, crew: Crew) -> None:
        """Compute a map that is part of a member of a capped group."""
        scope = unit.scope
        items, labels, shut = crew.opening(loop, unit, self)
        if len(shut) == len(loop.works):
            return
        tell_total(loop, len(items), self.recorder)
        elements = Elements(loop, self.recorder, 0, shut, self.keeper)
        crew.each(elements, scope, items, labels)
        elements.fill(self.envelope, whole=scope.values)

    def end(self, unit: Unit) -> None:
        """Do nothing: its steps have been taken down one by one."""

    def cancel(self, unit: Unit) -> None:
        """Take down that the rest of a unit is not computed."""
        for part in unit.parts[unit.index :]:
            for work in (part,) if isinstance(part, Work) else part.works:
                reason = "the run was cancelled"
                self.recorder.add(cancellation(work))
                absent = Absent(work.name, reason, failed=True)
                unit.scope.values[work.position] = absent
                self.envelope.absent[work.position] = absent


class Part(Steps):
    """Takes down how a part of a tree ends, which is the end of the step only if it fails."""

    def __init__(
        self, recorder: Recorder, envelope: Envelope, keeper: Keeper | None, first: int
    ) -> None:
        super().__init__(recorder, envelope, keeper)
        self.first = first

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        """Take down what a part of a tree gave."""
        if outcome.error is not None:
            super().done(work, unit, outcome, value, log)
            return
        # Why the step is not to run, whoever computes the end of the tree finds out again.
        left = [] if type(value) is Absent else value
        envelope = self.envelope
        envelope.values[work.position] = left
        envelope.spans = ((self.first, self.first + len(left)),)
        envelope.nbytes += outcome.look.bytes if outcome.look is not None else 0
        if log:
            now, address = time.time(), self.recorder.address
            event = Event(work.name, Status.RUNNING, now, work.made(unit.attempt), address, log=log)
            self.recorder.add(event)


class Undoing(Steps):
    """Takes down how the undoing of steps ends; nothing depends on it."""

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        """Take down how the undoing of a step ended."""
        if outcome.doubt or (type(value) is Absent and outcome.error is None):
            return
        self.recorder.add(
            Event(
                work.name,
                Status.COMPENSATED if outcome.error is None else Status.FAILED,
                time.time(),
                work.made(unit.attempt),
                self.recorder.address,
                outcome.seconds,
                outcome.look,
                log,
                outcome.error,
                undo=True,
                element=work.element,
            )
        )

    def recall(self, work: Work, unit: Unit, value: Any) -> None:
        """Do nothing: what was undone before is not sent."""

    def cancel(self, unit: Unit) -> None:
        """Do nothing: what is left is undone when the run goes on."""


def skipped(work: Work, absent: Absent) -> Event:
    """Tell that a step does not run, and why."""
    chosen = not absent.failed
    return Event(work.name, Status.SKIPPED, time.time(), reason=absent.reason, chosen=chosen)


def _ended(work: Work, unit: Unit, outcome: Outcome, log: str, address: str) -> Event | None:
    now, made = time.time(), work.made(unit.attempt)
    if outcome.doubt:
        doubts: dict[int | None, str] = {None: outcome.doubt}
        return Event(work.name, Status.RUNNING, now, made, address, log=log, doubts=doubts)
    if outcome.error is None and type(outcome.value) is Absent:
        return None if outcome.value.doubt else skipped(work, outcome.value)
    return Event(
        work.name,
        Status.COMPLETED if outcome.error is None else Status.FAILED,
        now,
        made,
        address,
        outcome.seconds,
        outcome.look,
        log,
        outcome.error,
        kept=outcome.kept,
    )


def tell_total(loop: Loop, total: int, recorder: Recorder) -> None:
    """Tell how many elements a map has, where only its worker knows."""
    if isinstance(loop.axis.items, (Const, ListOf)):
        return
    for work in loop.works:
        recorder.add(Event(work.name, Status.RUNNING, time.time(), total=total))
