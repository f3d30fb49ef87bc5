"""What is to be said of a run as a whole: when it begins, or why it stopped and what to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbflow.algebra.moment import begins
from nbflow.notebook.telling import LATER
from nbflow.notebook.wording import count, printable, timeless
from nbflow.record.events import Status

if TYPE_CHECKING:
    from nbflow.record.state import RunState

_LONGEST = 600
# After so long after its time, nobody is about to start a run.
_PATIENCE_SECONDS = 60.0


def outlook(state: RunState, *, deterministic: bool) -> str:
    """Say when a run begins, why it stopped, or how far its rollback is; else nothing.

    Parameters
    ----------
    state
        The run.
    deterministic
        Whether to leave out what differs from run to run, such as times.

    Examples
    --------
    >>> from nbflow.record.events import Event
    >>> from nbflow.record.state import RunState, Shape
    >>> state = RunState.planned("r1", "etl", {"load": Shape()}, 0.0)
    >>> state = state.apply([Event("", Status.INTERRUPTED, 1.0, reason="the kernel died")])
    >>> outlook(state, deterministic=True)
    'the kernel died; run.resume() goes on'
    """
    if state.status is Status.PENDING and state.begins is not None:
        return LATER if deterministic else _begins(state.begins, time.time())
    reason = timeless(state.reason) if deterministic else state.reason
    if state.status is Status.INTERRUPTED:
        going = "goes on undoing" if state.rollback is not None else "goes on"
        # What stopped it often says itself what to do.
        advice = "" if "run.resume()" in reason else f"run.resume() {going}"
        return printable("; ".join(filter(None, [reason, advice])), _LONGEST)
    if state.rollback is None:
        return printable(reason, _LONGEST)
    entries = state.rollback.entries
    done = sum(
        (undoing := state.steps[name].undone.get(number)) is not None
        and undoing.status is Status.COMPENSATED
        for name, number in entries
    )
    if not state.status.final:
        return f"rolling back: {count(done)} of {count(len(entries))} undone"
    if reason:
        reason += f", {count(done)} of {count(len(entries))} undone; run.undo() tries again"
    return printable(reason, _LONGEST)


def _begins(at: float, now: float) -> str:
    said = begins(at, now)
    if now < at + _PATIENCE_SECONDS:
        return said
    return f"{said}, and no process has started it; run.wait() does, or nbflow tick"
