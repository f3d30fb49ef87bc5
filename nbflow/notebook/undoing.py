"""How a run was rolled back: what was undone, in which order, and the way back in a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbflow.notebook.traits import undoer
from nbflow.record.events import Status
from nbflow.record.stepstate import Undoing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbflow.algebra.flow import Flow
    from nbflow.notebook.figure import Scene
    from nbflow.record.state import RunState

# More arrows than these would hide the picture; the colours still tell.
_MOST_ARROWS = 40


@dataclass(frozen=True, slots=True)
class Undone:
    """One step or element, and how its undoing is.

    Attributes
    ----------
    step, label
        The step, and what it is called with its element.
    by
        The function that undoes it, where that is known.
    undoing
        How far that is.
    """

    step: str
    label: str
    by: str
    undoing: Undoing

    @property
    def done(self) -> bool:
        """Whether it is undone."""
        return self.undoing.status is Status.COMPENSATED


@dataclass(frozen=True, slots=True)
class Back:
    """An arrow of the way back.

    Attributes
    ----------
    tail, head
        The keys of the figures: from what was undone before, to what was undone then.
    said
        By which function.
    stuck
        Whether that failed.
    """

    tail: str
    head: str
    said: str
    stuck: bool


def undone(flow: Flow | None, state: RunState) -> list[Undone]:
    """List what is undone in a run, in that order.

    Parameters
    ----------
    flow
        What ran, or None where it is not known any more.
    state
        How the run is.
    """
    if state.rollback is None:
        return []
    by = {} if flow is None else undoers(flow, {name for name, _ in state.rollback.entries})
    labels = {name: state.steps[name].labels for name in by or state.steps}
    found = []
    for name, number in state.rollback.entries:
        step = state.steps[name]
        label = name if number is None else f"{name}[{labels[name].get(number, number)}]"
        undoing = step.undone.get(number, Undoing())
        found.append(Undone(name, label, by.get(name, ""), undoing))
    return found


def undoers(flow: Flow, names: set[str]) -> Mapping[str, str]:
    """Name the functions that undo some steps."""
    topology = flow.topology
    return {name: undoer(topology.nodes[topology.positions[name]].call) for name in names}


def way_back(flow: Flow, seen: Scene, state: RunState) -> list[Back]:
    """Give the arrows of a rollback: from what failed first, from one undone step to the next.

    Parameters
    ----------
    flow, state
        What ran, and how that is.
    seen
        The picture.
    """
    names = flow.topology.names
    home = {names[each]: figure.key for figure in seen.figures for each in figure.members}
    places = {f.key: (len(f.members), min(f.members)) for f in seen.figures if f.members}
    failed = [each for each in state.steps.values() if each.status is Status.FAILED]
    failed.sort(key=lambda each: each.ended or 0.0)
    at = next((home[each.name] for each in failed if each.name in home), None)
    found: dict[tuple[str, str], Back] = {}
    for each in undone(flow, state):
        to = home.get(each.step)
        if to is None or not each.undoing.status.final:
            continue
        # Stacks are undone member by member: the way on to the next one is not drawn.
        stacked = at is not None and max(places[at], places[to])[0] > 1
        if at is not None and at != to and not (stacked and places[at][1] < places[to][1]):
            stuck = not each.done or ((at, to) in found and found[at, to].stuck)
            found[at, to] = Back(at, to, each.by, stuck)
        at = to
    return list(found.values())[:_MOST_ARROWS]
