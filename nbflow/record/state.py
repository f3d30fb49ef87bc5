"""How a run is: the one fold over its events.

The table of steps, the pictures and every later reader see the same `RunState`, and
nothing else knows how a run is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nbflow.errors import quoted
from nbflow.record.events import Event, Status
from nbflow.record.stepstate import StepState, Undoing
from nbflow.record.turns import Redriven, Resolved, Resumed, RollingBack

# So many are named in a message.
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a step before it runs.

    Attributes
    ----------
    mapped
        Whether it has elements.
    total
        How many, where that is known.
    undoable
        Whether what it has done is undone if the run fails.
    """

    mapped: bool = False
    total: int | None = None
    undoable: bool = False


PLAIN = Shape()


@dataclass(frozen=True, slots=True)
class RunState:
    """How a run is: the fold over all of its events.

    Attributes
    ----------
    begins
        When it is to begin, in seconds since the epoch, of one that waits for its time.
    stood
        How many seconds nobody drove it, between its ends and its being resumed.

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
    reason: str = ""
    undoable: frozenset[str] = frozenset()
    rollback: RollingBack | None = None
    begins: float | None = None
    stood: float = 0.0

    @classmethod
    def planned(cls, run_id: str, name: str, steps: Mapping[str, Shape], at: float) -> RunState:
        """Make the state before anything has happened.

        Parameters
        ----------
        run_id, name
            What the run is called.
        steps
            The names of the steps, with what is known of them.
        at
            When the run was accepted, in seconds since the epoch.
        """
        fresh = {
            name: StepState.fresh(name, mapped=shape.mapped, planned=shape.total)
            for name, shape in steps.items()
        }
        undoable = frozenset(name for name, shape in steps.items() if shape.undoable)
        return cls(run_id, name, at, fresh, undoable=undoable)._settled(at)

    def redriven(self, run_id: str, turn: Redriven, at: float) -> RunState:
        """Make the state of a run that begins as this one has ended.

        Parameters
        ----------
        run_id
            What the new run is called.
        turn
            What is computed again.
        at
            When the run was accepted, in seconds since the epoch.
        """
        steps = {}
        for name, step in self.steps.items():
            if name in turn.later:
                shape = step.mapped, step.planned
                steps[name] = StepState.fresh(name, mapped=shape[0], planned=shape[1])
            elif name in turn.dead:
                steps[name] = step.without(turn.dead[name])
            else:
                steps[name] = _reused(step)
        return RunState(run_id, self.name, at, steps, undoable=self.undoable)._settled(at)

    def apply(self, events: Iterable[Event]) -> RunState:
        """Fold events in, and give the state after them."""
        state, steps, at = self, dict(self.steps), self.started
        for event in events:
            at = max(at, event.at)
            if event.step:
                steps[event.step] = state._next(steps[event.step], event)
                if isinstance(event.turn, Resolved):
                    state = replace(state, steps=dict(steps), reason=said_of_doubts(steps))
            else:
                state = replace(state, steps=steps)._turned(event)
                steps = dict(state.steps)
        state = replace(state, steps=steps)
        return state if state.status.final else state._settled(at)

    def _next(self, step: StepState, event: Event) -> StepState:
        if isinstance(event.turn, Resolved):
            return step.resolved(event)
        step = step.apply(event)
        if event.undo and event.element is not None and self.rollback is not None:
            mine = [number for name, number in self.rollback.entries if name == step.name]
            undone = [step.undone.get(number, Undoing()).status for number in mine]
            # One of which an element failed stays failed: the error is its own.
            compensated = all(status is Status.COMPENSATED for status in undone)
            if compensated and step.status is not Status.FAILED:
                return replace(step, status=Status.COMPENSATED, doubts={})
        return step

    def _turned(self, event: Event) -> RunState:
        """Fold in what happened to the run as a whole."""
        turn = event.turn
        if isinstance(turn, Resumed):
            self = self.renamed(turn.renamed)  # noqa: PLW0642
            steps = dict(self.steps)
            for name in turn.reused:
                steps[name] = _reused(steps[name])
            for name, spans in turn.again.items():
                old = steps[name]
                steps[name] = old.again() if spans is None else old.without_spans(spans)
            # What could not be undone is tried once more; and what a person has said to
            # have failed has its effect this time, and is tried again the next.
            steps = {
                name: replace(step.without_failed_undoing(), failures=frozenset())
                for name, step in steps.items()
            }
            stood = self.stood + (event.seconds or 0.0)
            return replace(
                self, steps=steps, status=Status.RUNNING, ended=None, reason="", stood=stood
            )
        if isinstance(turn, RollingBack):
            going = {n: s.cancelled(event) for n, s in self.steps.items() if not s.status.final}
            stood = self.stood + (event.seconds or 0.0)
            fresh = replace(self, steps={**self.steps, **going}, rollback=turn, stood=stood)
            return replace(fresh, status=Status.RUNNING, ended=None, reason="")
        if event.status.final and not self.status.final:
            return replace(self, status=event.status, ended=event.at, reason=event.reason)
        return self

    def seconds(self, now: float) -> float:
        """Say how long the run took, or has taken so far, while somebody drove it.

        Parameters
        ----------
        now
            In seconds since the epoch.

        Examples
        --------
        >>> RunState("r1", "etl", 10.0, {}, ended=25.0, stood=5.0).seconds(100.0)
        10.0
        """
        return max(0.0, (now if self.ended is None else self.ended) - self.started - self.stood)

    def renamed(self, names: Mapping[str, str]) -> RunState:
        """Give the same with other names of steps.

        Parameters
        ----------
        names
            What steps are called, by the names that they had.
        """
        if not names:
            return self
        steps = {
            names.get(name, name): replace(step, name=names.get(name, name))
            for name, step in self.steps.items()
        }
        undoable = frozenset(names.get(name, name) for name in self.undoable)
        return replace(self, steps=steps, undoable=undoable)

    def _settled(self, at: float) -> RunState:
        # Those that come last mostly end last.
        if self.rollback is None and not self.undoable:
            for step in reversed(list(self.steps.values())):
                if not step.status.final:
                    return self
        statuses = {step.status for step in self.steps.values()}
        if self.rollback is not None:
            return self._rolled_back(at)
        if not all(status.final for status in statuses) or self.must_roll_back:
            return self
        if Status.FAILED in statuses:
            status = Status.FAILED
        elif Status.CANCELLED in statuses:
            status = Status.CANCELLED
        else:
            status = Status.COMPLETED
        return replace(self, status=status, ended=at)

    @property
    def must_roll_back(self) -> bool:
        """Whether nothing more is to be done but to undo what was done.

        That is so when a step has failed, or was cancelled, and all others have ended
        or are in doubt.
        """
        return self.has_to_undo and not any(step.waits for step in self.steps.values())

    @property
    def has_to_undo(self) -> bool:
        """Whether a step has failed, or was cancelled, and something was done before."""
        if self.rollback is not None or not self.undoable:
            return False
        statuses = {step.status for step in self.steps.values()}
        failed = not statuses.isdisjoint((Status.FAILED, Status.CANCELLED))
        return failed and any(self.steps[name].has_done_something for name in self.undoable)

    def _rolled_back(self, at: float) -> RunState:
        assert self.rollback is not None
        # What is in doubt, and could not be undone, stays in doubt.
        if any(step.waits for step in self.steps.values()):
            return self
        undone = [
            self.steps[name].undone.get(number, Undoing()) for name, number in self.rollback.entries
        ]
        if not all(each.status.final for each in undone):
            return self
        if all(each.status is Status.COMPENSATED for each in undone):
            return replace(self, status=Status(self.rollback.cause), ended=at)
        failed = [
            entry
            for entry, each in zip(self.rollback.entries, undone, strict=True)
            if each.status is not Status.COMPENSATED
        ]
        named = [self.steps[name].called(number) for name, number in failed[:_MOST_NAMED]]
        more = f" and {len(failed) - len(named):,} more" if len(failed) > len(named) else ""
        reason = f"undoing {', '.join(named)}{more} failed"
        return replace(self, status=Status.FAILED, ended=at, reason=reason)

    def counts(self) -> dict[Status, int]:
        """Count the steps by status."""
        found: dict[Status, int] = {}
        for step in self.steps.values():
            found[step.status] = found.get(step.status, 0) + 1
        return found


def said_of_doubts(steps: Mapping[str, StepState]) -> str:
    """Say which steps are in doubt, why, and what to do."""
    doubtful = [each for step in steps.values() for each in step.in_doubt]
    if not doubtful:
        return "nothing is in doubt any more; call run.resume()"
    (called, reason), *rest = doubtful
    names = [each for each, _ in rest[: _MOST_NAMED - 1]]
    more = f" and {len(rest) - len(names):,} more" if len(rest) > len(names) else ""
    verb = "is" if len(rest) == 1 else "are"
    others = f" (and so {verb} {', '.join(names)}{more})" if names else ""
    return (
        f"step {quoted(called)} is in doubt: {reason}{others}; find out what became of it, say so "
        f"by run.resolve({called!r}, completed=value), retry=True or failed=True, and then call "
        f"run.resume()"
    )


def _reused(step: StepState) -> StepState:
    done = step.status is Status.COMPLETED
    return replace(step, status=Status.REUSED) if done else step
