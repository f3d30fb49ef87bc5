"""Which steps are undone when a run has failed, and in which order.

A saga, after Garcia-Molina and Salem (1987): what was done last is undone first.
"""

from __future__ import annotations

from nbflow.algebra.topology import Topology
from nbflow.record.events import Status
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState
from nbflow.record.turns import RollingBack

Entry = tuple[str, int | None]


def rolling_back(topology: Topology, state: RunState, cause: Status) -> RollingBack | None:
    """List what is to be undone; None if that is nothing.

    Steps that completed and those that are in doubt are undone, in reverse order of
    their completion, and each before all that it was computed from.

    Parameters
    ----------
    topology
        The flow.
    state
        How its run is.
    cause
        What the run becomes when all of it is undone.
    """
    found: list[tuple[float, int, list[Entry]]] = []
    ends: list[float] = []
    for position, name in enumerate(topology.names):
        step = state.steps[name]
        # Clocks of workers differ; what was computed from something ended after it.
        before = [ends[each] for each in topology.upstream[position]]
        ended = step.ended if step.ended is not None and not step.doubts else None
        ends.append(max([float("inf") if ended is None else ended, *before]))
        if name in state.undoable:
            found.append((ends[position], position, _entries(step)))
    found.sort(key=lambda each: each[:2], reverse=True)
    entries = tuple(entry for _, _, several in found for entry in several)
    return RollingBack(entries, str(cause)) if entries else None


def _entries(step: StepState) -> list[Entry]:
    """List what of one step is to be undone, the last first."""
    if not step.mapped:
        return [(step.name, None)] if step.has_done_something else []
    done = [
        number
        for part in step.elements
        for number, status in enumerate(part.statuses, part.start)
        if status.succeeded
    ]
    doubts = [number for number in step.doubts if number is not None]
    return [(step.name, number) for number in (*sorted(doubts), *reversed(done))]


def still_to_undo(rollback: RollingBack, state: RunState) -> list[Entry]:
    """List the entries whose undoing has not ended yet, in order."""
    found = []
    for name, number in rollback.entries:
        undoing = state.steps[name].undone.get(number)
        if undoing is None or not undoing.status.final:
            found.append((name, number))
    return found
