"""A run as the live panel shows it, and what of that has changed since the last look.

Everything here is computed from the state of the run. What comes out is plain lists and
texts, fit to travel to a browser, and all HTML in it is complete and escaped.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from nbflow.notebook.about import about
from nbflow.notebook.appearance import counts, seen, shown
from nbflow.notebook.canvas import Canvas, looks
from nbflow.notebook.html import escaped
from nbflow.notebook.outlook import outlook
from nbflow.notebook.steptable import in_order, sheet
from nbflow.notebook.style import LOOKS, PROBLEMS
from nbflow.notebook.telling import error, word
from nbflow.notebook.wording import count, printable
from nbflow.record.events import Status

if TYPE_CHECKING:
    from nbflow.algebra.flow import Flow
    from nbflow.record.state import RunState
    from nbflow.record.stepstate import StepState

_NAME, _ERROR = 64, 160
_MOST_PROBLEMS = 20
# What is told of all steps together; the rest is asked for when it is wanted.
_ROOM = 4_000_000


class Glance:
    """What a panel shows of one run.

    Parameters
    ----------
    flow, state
        What runs, and how it is.
    expected
        How many seconds the run took when it ran before; None if that is not known.
    place
        What marks the places on a page where it is shown; the id of the run if left out.

    Attributes
    ----------
    whole
        All that there is to show, as of the last look.
    workers
        Who works for it, in words.
    """

    def __init__(
        self,
        flow: Flow,
        state: RunState,
        expected: float | None = None,
        place: str | None = None,
    ) -> None:
        self.flow = flow
        self.canvas = Canvas(flow)
        self.expected = expected
        self.workers = ""
        self._known: dict[str, StepState] = {}
        self._room = _ROOM
        # The steps that have ended, and of which the page has no sheet yet.
        self._unshown: dict[str, StepState] = {}
        self.whole: dict[str, Any] = {
            "name": printable(state.name, _NAME),
            "run": state.run_id if place is None else place,
            "svg": self.canvas.svg,
            "looks": looks(),
            "signs": {key.value: look.sign for key, look in LOOKS.items()},
            "members": self.canvas.members,
            "faces": {},
            "flows": {},
            "steps": {},
            "sheets": {},
            **self._abouts(),
            "problems": [],
            "head": {},
        }

    @property
    def is_complete(self) -> bool:
        """Whether the page has a sheet of each step that has ended, as far as there is room."""
        return not self._unshown or self._room <= 0

    def look(self, state: RunState, now: float, patience: float = math.inf) -> dict[str, Any]:
        """Give what has changed since the last look, and take note of it.

        Parameters
        ----------
        state
            How the run is.
        now
            In seconds since the epoch.
        patience
            How many seconds it may take to show steps that have ended; those that are left
            come with the next look.
        """
        state = seen(state)
        changed = [n for n, step in state.steps.items() if self._known.get(n) is not step]
        delta: dict[str, Any] = {"head": self._head(state, now)}
        if changed:
            delta["faces"] = self.canvas.faces(changed, state.steps, now)
            delta["flows"] = self.canvas.flows(changed, state.steps)
            delta["steps"] = {
                name: [shown(step).value, _summary(step)]
                for name in changed
                if (step := state.steps[name])
            }
            ended = [state.steps[name] for name in changed]
            self._unshown |= {each.name: each for each in ended if each.status.final or each.doubts}
            delta["problems"] = _problems(state)
            self._known = dict(state.steps)
        if self._unshown:
            delta["sheets"] = self._sheets(patience)
        for key, value in delta.items():
            if isinstance(value, dict):
                self.whole[key].update(value)
            else:
                self.whole[key] = value
        return delta

    def _abouts(self) -> dict[str, Any]:
        """Show what steps do, each of them once, and say which of it is meant for a step."""
        topology = self.flow.topology
        shown: dict[int, str] = {}
        found: dict[str, str] = {}
        for name, node in zip(topology.names, topology.nodes, strict=True):
            # Those with arguments of their own are shown with these.
            own = id(node) if node.kwargs else id(node.call.definition)
            if own not in shown and self._room > 0:
                shown[own] = about(node)
                self._room -= len(shown[own])
            if own in shown:
                found[name] = str(own)
        return {"abouts": {str(key): each for key, each in shown.items()}, "about": found}

    def _sheets(self, patience: float) -> dict[str, str]:
        """Show steps that have ended, as long as there is time and room for them."""
        found: dict[str, str] = {}
        until = time.perf_counter() + patience
        while self._unshown and self._room > 0 and time.perf_counter() < until:
            step = self._unshown.pop(next(iter(self._unshown)))
            found[step.name] = sheet(step)
            self._room -= len(found[step.name])
        return found

    def _head(self, state: RunState, now: float) -> dict[str, Any]:
        tally = counts(state.steps.values())
        # What was interrupted or is in doubt goes on, or is tried again.
        steps = state.steps.values()
        ended = sum(step.status.final and step.status is not Status.INTERRUPTED for step in steps)
        final = state.status.final
        return {
            "status": state.status.value,
            "final": final,
            "ended": ended,
            "total": len(state.steps),
            "elapsed": state.seconds(now),
            "expected": self.expected,
            "workers": "" if final else self.workers,
            "tally": [[key.value, count(number)] for key, number in tally.items()],
            "outlook": escaped(outlook(state, deterministic=False)),
        }


def _summary(step: StepState) -> str:
    said = word(step)
    return said if said != shown(step).value else ""


def _problems(state: RunState) -> list[list[str]]:
    """List the steps that a person must look at, the worst first, with what is wrong."""
    steps = [step for step in in_order(state) if shown(step) in PROBLEMS or step.error is not None]
    return [
        [step.name, shown(step).value, error(step, deterministic=False, limit=_ERROR) or word(step)]
        for step in steps[:_MOST_PROBLEMS]
    ]
