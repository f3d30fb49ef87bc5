"""Units of work in one thread: those that wait for another attempt let others go on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Protocol

from nbflow.algebra.absence import Absent, gathered_list
from nbflow.algebra.evaluate import Frame, element_name
from nbflow.algebra.expression import Item, Key
from nbflow.algebra.inputs import ValueOf, arguments, barred, following
from nbflow.planning.order import Loop, Ref, Work
from nbflow.record.events import Event, InnerLetter, Status
from nbflow.record.failure import recorded
from nbflow.record.recollection import Held, Shelf
from nbflow.values.preview import preview
from nbflow.values.transfer import Parcel
from nbflow.worker.attempt import Attempts
from nbflow.worker.barrier import Barriers, opened
from nbflow.worker.envelope import Results
from nbflow.worker.outcome import Outcome
from nbflow.worker.portions import letter
from nbflow.worker.recorder import Recorder
from nbflow.worker.slot import waiting
from nbflow.worker.waits import Due, Waits

_LOOK_SECONDS = 0.1


class Scope(Frame):
    """A frame on a worker, whose outermost values are what the task was given."""

    __slots__ = ("_opened", "depth", "number", "results", "shared", "shelf")

    def __init__(self, results: Results, shared: dict[str, Parcel], shelf: Shelf) -> None:
        super().__init__()
        self.results = results
        self.shared = shared
        self.shelf = shelf
        self.depth = 0
        self.number: int | None = None
        self._opened: dict[str, Any] = {}

    @classmethod
    def element(cls, outer: Scope, key: Key, item: Any, number: int, label: str | None) -> Scope:
        """Make the scope of one element."""
        scope = cls.__new__(cls)
        scope.values = {}
        scope.parent = outer
        scope.key = key
        scope.item = item
        scope.label = f"{outer.label}[{number if label is None else label}]"
        scope.results = outer.results
        scope.shared = outer.shared
        scope.shelf = outer.shelf
        scope.depth = outer.depth + 1
        scope.number = number
        scope._opened = outer._opened
        return scope

    def value_of(self, leaf: Any) -> Any:
        """Give the value of a leaf of an order."""
        kind = type(leaf)
        if kind is Item:
            return self.item_of(leaf.key)
        if kind is not Ref:
            return self.shelf.value(leaf) if kind is Held else self._constant(leaf.key)
        position = leaf.position
        scope: Frame | None = self
        while scope is not None:
            if position in scope.values:
                value = scope.values[position]
                if type(value) is Held:
                    value = scope.values[position] = self.shelf.value(value)
                return value
            scope = scope.parent
        return self.results[position]

    def _constant(self, key: str) -> Any:
        if key not in self._opened:
            self._opened[key] = self.shared[key].open()
        return self._opened[key]


class Unit:
    """Steps that follow one another, and how far they have come.

    Attributes
    ----------
    parts
        The steps, and the maps among them.
    scope
        What they are computed from.
    slot, number, label
        Of an element: its place here, its number in the map, and its name.
    index
        Which part comes next.
    attempt
        Which attempt of it; 0 as long as it has not begun.
    """

    __slots__ = ("attempt", "index", "label", "number", "parts", "scope", "slot")

    def __init__(
        self,
        parts: tuple[Work | Loop, ...],
        scope: Scope,
        slot: int = 0,
        number: int = 0,
        label: str | None = None,
    ) -> None:
        self.parts = parts
        self.scope = scope
        self.slot = slot
        self.number = number
        self.label = label
        self.index = 0
        self.attempt = 0


class Sink(Protocol):
    """Takes down how the steps of units end."""

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        """Take down how a step ended: its last attempt, and its value or why it is absent."""

    def recall(self, work: Work, unit: Unit, value: Any) -> None:
        """Take down how a step ended before, which has been told."""

    def inner(self, loop: Loop, unit: Unit, crew: Crew) -> None:
        """Compute a map that is a part of the unit."""

    def end(self, unit: Unit) -> None:
        """Take down that all parts of a unit have ended."""

    def cancel(self, unit: Unit) -> None:
        """Take down that the rest of a unit is not computed."""


class Crew:
    """Computes units; one that waits for another attempt is set aside until it is due."""

    def __init__(self, attempts: Attempts, recorder: Recorder, sink: Sink) -> None:
        self.attempts = attempts
        self.recorder = recorder
        self.sink = sink
        self.cancelled = False
        self._waiting = Waits[Unit]()

    def run(self, unit: Unit) -> None:
        """Compute a unit as far as it goes, and then those whose time has come."""
        self._advance(unit)
        while self._waiting and self._waiting.left <= 0:
            self._advance(self._waiting.pop())

    def finish(self) -> None:
        """Wait for those that were set aside; no slot is held meanwhile."""
        while self._waiting:
            if self._waiting.left > 0 and not self.attempts.stop():
                with waiting():
                    self._sleep()
            self._advance(self._waiting.pop())

    def _sleep(self) -> None:
        while not self.attempts.stop():
            left = self._waiting.left
            if left <= 0:
                return
            time.sleep(min(left, _LOOK_SECONDS))

    def _advance(self, unit: Unit) -> None:
        while unit.index < len(unit.parts):
            part = unit.parts[unit.index]
            if self.attempts.stop():
                self.cancelled = True
                self.sink.cancel(unit)
                return
            if isinstance(part, Loop):
                self.sink.inner(part, unit, self)
            else:
                due = self._step(part, unit)
                if due is not None:
                    self._waiting.add(unit, due)
                    return
            unit.index += 1
            unit.attempt = 0
        self.sink.end(unit)

    def _step(self, work: Work, unit: Unit) -> Due | None:
        """Make one attempt; say when the next one is due, if there is to be one."""
        scope = unit.scope
        number = None if scope.depth == 0 else unit.number if scope.depth == 1 else -1
        name = work.name + scope.label if scope.label else work.name
        if self.attempts.order.memory:
            before = self.attempts.recalled(work.position, number)
            if before is not None:
                scope.values[work.position] = before
                self.sink.recall(work, unit, before)
                return None
        if unit.attempt == 0:
            due = self._delay(work, name, number, scope.value_of)
            unit.attempt = work.before[1] + 1
            if due is not None:
                return due
        made = work.made(unit.attempt)
        if not work.undo:
            self.recorder.running(work.name, time.time(), made)
        element = work.label if work.undo else element_name(scope)
        outcome = self.attempts.make(work, name, element, unit.attempt, scope.value_of, number)
        log = self.attempts.pad.take()
        if outcome.wait is not None and not self.attempts.stop():
            self.recorder.add(self._retry(work, name, made, outcome, log))
            unit.attempt += 1
            return Due(time.monotonic() + outcome.wait, time.monotonic)
        value = outcome.value
        if outcome.error is not None:
            failed = not work.collect
            value = Absent(name, f"{name} failed", failed=failed, collected=work.collect)
        scope.values[work.position] = value
        self.sink.done(work, unit, outcome, value, log)
        return None

    def _delay(self, work: Work, name: str, number: int | None, value_of: ValueOf) -> Due | None:
        """Say until when a step is to wait before it begins, and tell of it."""
        if (work.delay is None and work.due is None) or not _has_all(work, name, value_of):
            return None
        now = time.time()
        due = (work.due or {}).get(number, now + (work.delay or 0.0))
        if due <= now:
            return None
        address = self.recorder.address
        self.recorder.add(
            Event(
                work.name,
                Status.PENDING,
                now,
                0,
                address,
                reason="delay",
                retry_at=due,
                # Of a map within a map, nobody knows which one it is.
                element=None if number == -1 else number,
            )
        )
        self.recorder.flush()
        # Looked at by the wall, whose clock may be set right meanwhile.
        return Due(due, time.time)

    def _retry(self, work: Work, name: str, made: int, outcome: Outcome, log: str) -> Event:
        error, wait = outcome.error, outcome.wait
        assert error is not None
        assert wait is not None
        now = time.time()
        where = "" if name == work.name else f"{name}: "
        return Event(
            work.name,
            Status.RETRYING,
            now,
            made,
            self.recorder.address,
            outcome.seconds,
            log=log,
            reason=f"{where}{error.type_name}: {error.message[:200]}",
            retry_at=now + wait,
            undo=work.undo,
            element=work.element,
        )

    # Maps in maps

    def each(self, sink: Any, scope: Scope, items: list[Any], labels: list[str] | None) -> None:
        """Compute all elements of a map, and wait for their end."""
        crew = Crew(self.attempts, self.recorder, sink)
        sink.expect(0, len(items))
        for number, item in enumerate(items):
            label = None if labels is None else labels[number]
            crew.run(sink.unit(scope, number, item, label))
        crew.finish()
        self.cancelled = self.cancelled or crew.cancelled

    def recall_all(self, loop: Loop, unit: Unit, sink: Sink) -> bool:
        """Take over what a map in a unit gave before, if all of it is known."""
        depth = unit.scope.depth
        if not self.attempts.order.memory or depth > 1:
            return False
        number = None if depth == 0 else unit.number
        before = [self.attempts.recalled(work.position, number) for work in loop.works]
        if not all(before):
            return False
        for work, value in zip(loop.works, before, strict=True):
            unit.scope.values[work.position] = value
            sink.recall(work, unit, value)
        return True

    def opening(
        self, loop: Loop, unit: Unit, sink: Sink
    ) -> tuple[list[Any], list[str] | None, Barriers]:
        """Say what a map in a unit goes over, and tell of its steps that give no list."""
        scope, (first, *_) = unit.scope, loop.works
        items: list[Any] = []
        labels: list[str] | None = None
        failure: Outcome | None = None
        try:
            items, labels, shut = opened(loop, scope.value_of, scope.label)
        except BaseException as error:  # noqa: BLE001 - of the user's items or names
            name, kept = first.name + scope.label, loop.collect
            lost = Absent(name, f"{name} failed", failed=not kept, collected=kept)
            shut = {each.position: following(lost, each.name + scope.label) for each in loop.works}
            shut[first.position] = lost
            failure = Outcome(None, 0.0, error=recorded(error))
        for work in loop.works:
            if work.position in shut:
                absent = scope.values[work.position] = shut[work.position]
                outcome = failure if failure and work is first else Outcome(absent, 0.0)
                sink.done(work, unit, outcome, absent, "")
        return items, labels, shut

    def nested(self, loop: Loop, unit: Unit, outer: Sink) -> None:
        """Compute a map inside of an element; what becomes of it is one outcome a step."""
        scope, begun = unit.scope, time.perf_counter()
        if self.recall_all(loop, unit, outer):
            return
        items, labels, shut = self.opening(loop, unit, outer)
        works = tuple(work for work in loop.works if work.position not in shut)
        if not works:
            return
        inner = _Nested(loop)
        self.each(inner, scope, items, labels)
        seconds = time.perf_counter() - begun
        for work in works:
            outcome, value, log = inner.summary(work, seconds)
            if loop.collect and type(value) is Absent and value.failed and not value.doubt:
                value = replace(value, failed=False, collected=True)
            scope.values[work.position] = value
            outer.done(work, unit, outcome, value, log)


def _has_all(work: Work, name: str, value_of: ValueOf) -> bool:
    """Tell whether a step gets what it needs: one that will be skipped need not wait for that."""
    try:
        if barred(name, work.guard, work.after, value_of) is not None:
            return False
        return not isinstance(arguments(work.args, work.kwargs, value_of), Absent)
    except Exception:  # noqa: BLE001 - whatever it is, the attempt tells of it
        return False


class _Nested:
    """Takes down how the elements of a map inside of an element end."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.columns: dict[int, list[Any]] = {work.position: [] for work in loop.works}
        self.errors: dict[int, Outcome] = {}
        self.logs: dict[int, list[str]] = {work.position: [] for work in loop.works}
        self.inside: dict[int, list[InnerLetter]] = {work.position: [] for work in loop.works}
        self.doubts: dict[int, str] = {}

    def expect(self, start: int, count: int) -> None:  # noqa: ARG002 - all of them, from the first
        for column in self.columns.values():
            column.extend([Absent("", "it was not computed", failed=True)] * count)

    def unit(self, scope: Scope, number: int, item: Any, label: str | None) -> Unit:
        inner = Scope.element(scope, self.loop.axis.key, item, number, label)
        return Unit(self.loop.parts, inner, number, number, label)

    def done(self, work: Work, unit: Unit, outcome: Outcome, value: Any, log: str) -> None:
        self.logs[work.position].append(log)
        aside = self.inside[work.position]
        aside.extend(outcome.inside)
        if outcome.doubt:
            self.doubts.setdefault(work.position, f"[{element_name(unit.scope)}]: {outcome.doubt}")
        if outcome.error is None:
            return
        if type(value) is Absent and value.collected:
            name, item = str(element_name(unit.scope)), letter(unit.scope.item)
            aside.append(InnerLetter(name, item, outcome.error, unit.attempt))
        self.errors.setdefault(work.position, outcome)

    def recall(self, work: Work, unit: Unit, value: Any) -> None:
        """Do nothing: of elements inside of elements, nothing is known from before."""

    def inner(self, loop: Loop, unit: Unit, crew: Crew) -> None:
        crew.nested(loop, unit, self)

    def end(self, unit: Unit) -> None:
        for position, column in self.columns.items():
            column[unit.slot] = unit.scope.values[position]

    def cancel(self, unit: Unit) -> None:
        pass

    def summary(self, work: Work, seconds: float) -> tuple[Outcome, Any, str]:
        """Give one outcome for all elements."""
        value = gathered_list(self.columns[work.position], inside=not self.loop.axis.collect)
        log = "".join(self.logs[work.position])
        aside = tuple(self.inside[work.position])
        if type(value) is not Absent:
            return Outcome(value, seconds, preview(value), inside=aside), value, log
        if value.doubt:
            return Outcome(value, seconds, doubt=self.doubts.get(work.position, "")), value, log
        error = self.errors.get(work.position)
        return Outcome(value, seconds, error=None if error is None else error.error), value, log
