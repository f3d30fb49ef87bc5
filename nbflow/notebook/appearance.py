"""As what steps appear: by their status, or by what no status says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from nbflow.notebook.style import SEVERITY, Mark, Shown
from nbflow.record.events import Status
from nbflow.record.stepstate import StepState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbflow.record.state import RunState

_STOPPED = frozenset({Status.RUNNING, Status.RETRYING})


def seen(state: RunState) -> RunState:
    """Give a run as it is shown: in one that was interrupted, nothing runs any more.

    Examples
    --------
    >>> from nbflow.record.events import Event
    >>> from nbflow.record.state import RunState, Shape
    >>> state = RunState.planned("r1", "etl", {"load": Shape()}, 0.0)
    >>> events = [Event(step, Status(status), 1.0) for step, status in
    ...           [("load", "running"), ("", "interrupted")]]
    >>> seen(state.apply(events)).steps["load"].status
    'interrupted'
    """
    if state.status is not Status.INTERRUPTED:
        return state
    return replace(state, steps={name: _stopped(each) for name, each in state.steps.items()})


def _stopped(step: StepState) -> StepState:
    step = replace(step, undone={n: each for n, each in step.undone.items() if each.status.final})
    if step.status in _STOPPED:
        return replace(step, status=Status.INTERRUPTED, retry_at=None)
    return step if step.status.final else replace(step, retry_at=None, reason="")


def shown(step: StepState) -> Shown:
    """Say as what a step appears.

    Examples
    --------
    >>> shown(StepState("charge", Status.RUNNING, doubts={None: "its worker died"}))
    'in doubt'
    """
    if not (step.undone or step.doubts):
        return step.status
    undone = {each.status for each in step.undone.values()}
    if Status.FAILED in undone:
        return Mark.NOT_UNDONE
    if step.doubts:
        return Mark.DOUBT
    if step.status is Status.COMPENSATED or not undone:
        return step.status
    return Mark.PARTLY if Status.COMPENSATED in undone else Mark.UNDOING


def counts(steps: Iterable[StepState]) -> dict[Shown, int]:
    """Count steps by what they appear as, the worst first."""
    found = Counter(map(shown, steps))
    return {each: found[each] for each in SEVERITY if each in found}
