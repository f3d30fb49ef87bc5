"""Which way a run went at a branch, as far as its steps tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.record.events import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nbflow.notebook.figure import Arrow, Scene
    from nbflow.record.stepstate import StepState

_WITHOUT = frozenset({Status.SKIPPED, Status.CANCELLED})
_BEGUN = frozenset(Status) - _WITHOUT - {Status.PENDING}


def taken(seen: Scene, states: Mapping[str, Sequence[StepState]]) -> dict[Arrow, bool]:
    """Say of the edges from deciding steps whether they were taken.

    The steps of an arm tell by having run. An arm without steps was taken if the
    decision was made and no other arm is left.

    Parameters
    ----------
    seen
        The picture.
    states
        How the steps of each figure are.

    Returns
    -------
    True or False for the edges of which it is known.
    """
    ways: dict[str, list[Arrow]] = {}
    for arrow in seen.arrows:
        if arrow.cases:
            ways.setdefault(arrow.tail, []).append(arrow)
    found: dict[Arrow, bool] = {}
    for tail, arrows in ways.items():
        decided = any(state.status.succeeded for state in states[tail])
        told = {each: _went(states[each.head]) for each in arrows if not each.idle}
        found.update({each: fate for each, fate in told.items() if fate is not None and decided})
        idle = [each for each in arrows if each.idle]
        if not decided or not told or None in told.values():
            continue
        several = any(len(states[each]) > 1 or _mapped(states[each]) for each in (tail,))
        if any(told.values()):
            found.update({} if several else dict.fromkeys(idle, False))
        elif len(idle) == 1:
            found[idle[0]] = True
    return found


def faded(states: Sequence[StepState]) -> bool:
    """Tell whether nothing went to some steps."""
    return bool(states) and all(state.status in _WITHOUT for state in states)


def _went(states: Sequence[StepState]) -> bool | None:
    if any(state.status in _BEGUN for state in states):
        return True
    return False if faded(states) else None


def _mapped(states: Sequence[StepState]) -> bool:
    return any(state.mapped for state in states)
