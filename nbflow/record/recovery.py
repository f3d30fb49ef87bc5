"""What a run that stopped does when it goes on: which steps run again, and why.

Decided from what is known of the steps alone: nothing is read or run here. The steps of
one map are looked at element by element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from nbflow.algebra.expression import Const, ListOf, nodes_in
from nbflow.algebra.topology import Topology
from nbflow.record.events import Event, Status
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState
from nbflow.record.turns import Resumed, Span
from nbflow.store.kept import Kept

# What becomes of a step that runs: it does, or its user is asked first.
RUNS: Final = frozenset({"run", "ask"})

# Of a mapped step, whether it holds for each element; of another, whether it holds.
Marks = Any


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one step when its run goes on.

    Attributes
    ----------
    step
        The step.
    action
        ``reuse``, ``run``, ``ask``, which is to run it if its user says so, or ``keep``,
        which is to leave it as it is.
    reason
        Why.
    spans
        Which elements run, of a mapped step of which not all do.
    note
        What its user should know besides.
    """

    step: str
    action: str
    reason: str
    spans: tuple[Span, ...] | None = None
    note: str = ""


def decided(
    topology: Topology,
    state: RunState,
    changed: Mapping[str, str] | None = None,
    is_there: Callable[[Kept], bool] | None = None,
) -> tuple[Decision, ...]:
    """Decide for each step.

    Parameters
    ----------
    topology
        The flow.
    state
        How its run was when it stopped.
    changed
        The steps whose code or arguments are others now, with what to say of it.
    is_there
        Tells whether a result can still be read; asked only for those that are needed.
    """
    return _Recovery(topology, state, changed or {}, is_there or (lambda _: True)).decisions()


def resumed(
    decisions: Collection[Decision],
    renamed: Mapping[str, str] | None = None,
    flow: bytes | None = None,
) -> Resumed:
    """Make the turn that a run takes by such decisions.

    Parameters
    ----------
    decisions
        What becomes of each step.
    renamed, flow
        What steps are called now, and the flow as it is now.
    """
    return Resumed(
        frozenset(d.step for d in decisions if d.action == "reuse"),
        {d.step: d.spans for d in decisions if d.action in RUNS},
        dict(renamed or {}),
        flow,
    )


def waited_until(events: Iterable[Event]) -> dict[str, dict[int | None, float]]:
    """Say when steps, and elements, may begin that waited or ran when a run stopped.

    Parameters
    ----------
    events
        All of the run so far.

    Returns
    -------
    dict
        Seconds since the epoch by step and by element; None for a step without.

    Examples
    --------
    >>> waits = Event("mail", Status.PENDING, 1.0, reason="delay", retry_at=61.0, element=3)
    >>> waited_until([waits])
    {'mail': {3: 61.0}}
    """
    found: dict[str, dict[int | None, float]] = {}
    for event in events:
        if event.retry_at is not None and not event.undo:
            found.setdefault(event.step, {})[event.element] = event.retry_at
        elif event.step in found and event.elements is not None:
            for number in range(event.elements.start, event.elements.stop):
                found[event.step].pop(number, None)
        elif event.step in found and event.status.final:
            del found[event.step]
        elif isinstance(event.turn, Resumed):
            renamed = event.turn.renamed
            found = {renamed.get(name, name): each for name, each in found.items()}
    return found


class _Recovery:
    """Goes through the steps, from the last to the first: what is needed decides."""

    def __init__(
        self,
        topology: Topology,
        state: RunState,
        changed: Mapping[str, str],
        is_there: Callable[[Kept], bool],
    ) -> None:
        self.topology = topology
        self.states = [state.steps[name] for name in topology.names]
        self.reasons: list[str] = ["" for _ in topology.names]
        self.notes: list[str] = ["" for _ in topology.names]
        self.changed = changed
        self._is_there = is_there
        self._checked: dict[str, bool] = {}
        self._dirty = self._reached_by_changes()

    def decisions(self) -> tuple[Decision, ...]:
        runs = self._what_runs()
        return tuple(self._decision(position, marks) for position, marks in enumerate(runs))

    # From the first to the last: what a change reaches

    def _reached_by_changes(self) -> list[str]:
        """Say for each step why its old result does not hold any more; nothing if it does."""
        found = ["" for _ in self.states]
        for position, name in enumerate(self.topology.names):
            upstream = next(
                (each for each in self.topology.upstream[position] if found[each]), None
            )
            reason = self.changed.get(name, "")
            if not reason and upstream is not None:
                reason = f"{self.topology.names[upstream]} runs again"
            if not reason:
                continue
            call = self.topology.nodes[position].call
            done = self.states[position].status.succeeded
            if done and call.definition.options.has_effect:
                # What was done in the world is not done again for a changed comment.
                self.notes[position] = f"{reason}, but it has an effect and is not repeated"
                continue
            if done and call.decision is not None:
                # Or else both arms would run in the end.
                self.notes[position] = f"{reason}, but what it has decided is kept"
                continue
            found[position] = reason
        return found

    # From the last to the first: what is needed

    def _what_runs(self) -> list[Marks]:
        nodes = self.topology.nodes
        needed: list[Marks] = [self._none(each) for each in self.states]
        for node in nodes_in(self.topology.value):
            self._need_all(needed, self.topology.index[id(node)])
        runs: list[Marks] = [None] * len(nodes)
        for position in reversed(range(len(nodes))):
            runs[position] = self._runs(position, needed[position])
            if _any(runs[position]):
                self._need_upstream(position, runs[position], needed)
        return runs

    def _none(self, state: StepState) -> Marks:
        if state.mapped and state.total is not None:
            return np.zeros(state.total, dtype=bool)
        return False

    def _need_all(self, needed: list[Marks], position: int) -> None:
        if isinstance(needed[position], np.ndarray):
            needed[position][:] = True
        else:
            needed[position] = True

    def _runs(self, position: int, needed: Marks) -> Marks:
        """Say which parts of a step must run, given which are needed."""
        state, dirty = self.states[position], self._dirty[position]
        if dirty and (state.status is not Status.PENDING or state.elements):
            self.reasons[position] = dirty
            return True
        skipped = state.status is Status.SKIPPED and not state.elements
        if not isinstance(needed, np.ndarray) or skipped:
            return self._plain_runs(position, state, bool(_any(needed)))
        done, there = self._elements(state)
        undone, lost = ~done, done & ~there & needed
        if undone.any():
            count = int(undone.sum())
            self.reasons[position] = f"{count} of {len(done)} elements had not ended well"
        if lost.any():
            also = f"{int(lost.sum())} results were not kept and are needed"
            self.reasons[position] = "; ".join(filter(None, [self.reasons[position], also]))
        runs = undone | lost
        if not len(done) and not state.status.succeeded:
            return True
        if runs.any() and not self._items_are_known(position):
            self.reasons[position] += "; what it goes over was not kept, so all of it runs"
            return True
        return runs

    def _items_are_known(self, position: int) -> bool:
        """Tell whether elements have the same numbers as before."""
        axis = self.topology.nodes[position].axis
        items = None if axis is None else axis.lineage[0].items
        if items is None or isinstance(items, (Const, ListOf)):
            return True
        sources = [self.topology.index[id(each)] for each in nodes_in(items)]
        states = [self.states[each] for each in sources]
        return all(
            not self._dirty[source] and state.kept is not None and self._can_read(state.kept)
            for source, state in zip(sources, states, strict=True)
        )

    def _plain_runs(self, position: int, state: StepState, needed: bool) -> bool:
        if state.status.succeeded:
            if not needed or (state.kept is not None and self._can_read(state.kept)):
                return False
            lost = state.kept is not None
            what = "its result is missing or damaged" if lost else "its result was not kept"
            self.reasons[position] = f"{what} and is needed"
            return True
        if (state.status is Status.SKIPPED and state.chosen) or None in state.failures:
            return False
        self.reasons[position] = _ended_badly(state)
        return True

    def _elements(self, state: StepState) -> tuple[Any, Any]:
        """Mark the elements that have ended for good, and those whose values can be read."""
        done = np.zeros(state.total or 0, dtype=bool)
        there = np.zeros_like(done)
        for part in state.elements:
            for number, status in enumerate(part.statuses, part.start):
                aside = number in part.letters or number in part.spared
                said = number in state.failures
                done[number] = status.succeeded or aside or said
                there[number] = aside or said
            for span in part.kept:
                if self._can_read(span.kept):
                    there[span.start : span.stop] = True
        return done, there

    def _can_read(self, kept: Kept) -> bool:
        if kept.data is not None:
            return True
        if kept.hash not in self._checked:
            self._checked[kept.hash] = self._is_there(kept)
        return self._checked[kept.hash]

    def _need_upstream(self, position: int, runs: Marks, needed: list[Marks]) -> None:
        """Mark what a step that runs is computed from."""
        axis = self.topology.nodes[position].axis
        guard = self.topology.guards[position]
        inputs = self.topology.inputs[position]
        if guard is not None and guard.position not in inputs:
            inputs = (*inputs, guard.position)
        for each in inputs:
            other = self.topology.nodes[each].axis
            same = axis is not None and other is not None
            beside = same and axis.lineage[0].key is other.lineage[0].key  # type: ignore[union-attr]
            mine = needed[each]
            arrays = isinstance(mine, np.ndarray) and isinstance(runs, np.ndarray)
            if beside and arrays and len(mine) == len(runs):
                mine |= runs
            else:
                self._need_all(needed, each)

    # In words

    def _decision(self, position: int, runs: Marks) -> Decision:
        name, state = self.topology.names[position], self.states[position]
        note = self.notes[position]
        if not _any(runs):
            if None in state.failures:
                return Decision(name, "keep", "it was said to have failed", None, note)
            if state.status is Status.SKIPPED:
                return Decision(name, "keep", f"it was skipped: {state.reason}", None, note)
            return Decision(name, "reuse", self._why_reused(state), None, note)
        reason = self.reasons[position] or "it had not run"
        action = "ask" if self._is_asked(position, state) else "run"
        if isinstance(runs, np.ndarray) and not runs.all():
            return Decision(name, action, reason, _spans(runs), note)
        return Decision(name, action, reason, None, note)

    def _is_asked(self, position: int, state: StepState) -> bool:
        """Tell whether a step is an effect that was done, so that it may not just run again."""
        options = self.topology.nodes[position].call.definition.options
        decides = options.on_doubt == "retry" or options.verify is not None
        return options.has_effect and not decides and state.status.succeeded

    def _why_reused(self, state: StepState) -> str:
        if state.mapped:
            return f"all {state.total} elements had ended"
        unneeded = "" if state.kept else "; its result is not needed"
        return (state.reason or "it had completed") + unneeded


def _ended_badly(state: StepState) -> str:
    if state.doubts:
        return f"it is in doubt: {next(iter(state.doubts.values()))}"
    if state.status is Status.FAILED:
        return "it had failed"
    if state.status in (Status.SKIPPED, Status.CANCELLED):
        return f"it was {state.status}: {state.reason}"
    if state.status is Status.PENDING:
        return "it had not run"
    return "it had not ended"


def _any(marks: Marks) -> bool:
    return bool(marks.any()) if isinstance(marks, np.ndarray) else bool(marks)


def _spans(marks: Any) -> tuple[Span, ...]:
    found = []
    for wanted, group in groupby(enumerate(marks.tolist()), key=lambda each: each[1]):
        numbers = [number for number, _ in group]
        if wanted:
            found.append((numbers[0], numbers[-1] + 1))
    return tuple(found)
