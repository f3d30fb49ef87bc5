"""What is to be said of a run as a whole: why it stopped, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.wording import count, printable, timeless
from nbflow.record.events import Status

if TYPE_CHECKING:
    from nbflow.record.state import RunState

_LONGEST = 600


def outlook(state: RunState, *, deterministic: bool) -> str:
    """Say why a run stopped before its end, or how far its rollback is; else nothing.

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
