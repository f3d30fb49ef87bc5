"""The elements of a map that one task computes: where their values and records go."""

from __future__ import annotations

import time
from typing import Any

from nbflow.algebra.absence import Absent, gathered_list
from nbflow.planning.order import Loop, Work
from nbflow.record.events import Event, Status
from nbflow.worker.barrier import Barriers
from nbflow.worker.crew import Crew, Scope, Unit
from nbflow.worker.envelope import Envelope, Span
from nbflow.worker.keeper import Keeper
from nbflow.worker.outcome import Outcome
from nbflow.worker.portions import Portions
from nbflow.worker.recorder import FLUSH_SECONDS, Recorder


class Elements:
    """Takes down how the elements of a map end, of its steps that are not shut."""

    def __init__(
        self,
        loop: Loop,
        recorder: Recorder,
        start: int,
        shut: Barriers,
        keeper: Keeper | None = None,
    ) -> None:
        self.loop = loop
        self.works = tuple(work for work in loop.works if work.position not in shut)
        self.recorder = recorder
        self.columns: dict[int, list[Any]] = {work.position: [] for work in self.works}
        self.portions = {
            w.position: Portions(
                w.name,
                recorder,
                start,
                keeper if keeper is not None and keeper.may_keep(w) else None,
                w.checkpoint,
                last=w.last,
            )
            for w in self.works
        }
        recorder.sources.extend(self.portions.values())
        self.spans: list[Span] = []
        self.holes: set[int] = set()
        self._first = 0

    def expect(self, start: int, count: int) -> None:
        """Make room for neighbouring elements."""
        self._first = len(next(iter(self.columns.values()))) - start
        self.spans.append((start, start + count))
        nothing = Absent("", "it was not computed", failed=True)
        for column in self.columns.values():
            column.extend([nothing] * count)

    def unit(self, scope: Scope, number: int, item: Any, label: str | None) -> Unit:
        """Make the unit of one element."""
        inner = Scope.element(scope, self.loop.axis.key, item, number, label)
        return Unit(self.loop.parts, inner, number + self._first, number, label)

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        """Take down how a step ended for one element."""
        if type(value) is Absent and value.doubt:
            self.holes.add(work.position)
            if outcome.doubt:
                doubts: dict[int | None, str] = {unit.number: outcome.doubt}
                labels = None if unit.label is None else {unit.number: unit.label}
                now = time.time()
                event = Event(work.name, Status.RUNNING, now, doubts=doubts, labels=labels)
                self.recorder.add(event)
            return
        portions = self.portions[work.position]
        collected = outcome.error is not None and type(value) is Absent and value.collected
        aside = (unit.scope.item,) if collected else None
        portions.add(unit.number, outcome, log, unit.attempt, unit.label, aside)
        if type(value) is Absent:
            self.holes.add(work.position)
        # What has taken long must not be lost for having been told of late.
        if self.recorder.due() or outcome.seconds >= FLUSH_SECONDS:
            portions.send()

    def recall(self, work: Work, unit: Unit, value: Any) -> None:  # noqa: ARG002
        """Take down how a step ended before for one element."""
        if type(value) is Absent:
            self.holes.add(work.position)

    def inner(self, loop: Loop, unit: Unit, crew: Crew) -> None:
        """Compute a map inside of an element, which counts as one piece of it."""
        crew.nested(loop, unit, self)

    def end(self, unit: Unit) -> None:
        """Keep the values of an element."""
        values = unit.scope.values
        for position, column in self.columns.items():
            column[unit.slot] = values[position]

    def cancel(self, unit: Unit) -> None:  # noqa: ARG002 - the step is cancelled as a whole
        """Remember that not all elements were computed."""
        self.holes.update(self.columns)

    def fill(self, envelope: Envelope, whole: dict[int, Any] | None = None) -> None:
        """Put the values into an envelope: those of a whole map, or the elements here."""
        for position, column in self.columns.items():
            portions = self.portions[position]
            self.recorder.sources.remove(portions)
            portions.send(last=True)
            envelope.nbytes += portions.nbytes
            if whole is None:
                envelope.values[position] = column
                continue
            value = whole[position] = gathered_list(column)
            if type(value) is Absent:
                envelope.absent[position] = value
            else:
                envelope.values[position] = value
        if whole is None:
            envelope.spans = tuple(self.spans)
            envelope.holes = frozenset(self.holes)
