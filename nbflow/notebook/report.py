"""The report of a run: what a notebook shows for it, and saves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic
from nbflow.notebook.appearance import counts, seen
from nbflow.notebook.html import Markup, element
from nbflow.notebook.outlook import outlook
from nbflow.notebook.picture import Picture, picture
from nbflow.notebook.rolledback import rolled_back
from nbflow.notebook.sheets import muted
from nbflow.notebook.steptable import chip, details, failures, table
from nbflow.notebook.style import LOOKS
from nbflow.notebook.text import listing
from nbflow.notebook.undoing import Undone, undone
from nbflow.notebook.wording import count, counted, duration, printable

if TYPE_CHECKING:
    from nbflow.algebra.flow import Flow
    from nbflow.record.state import RunState

_NAME = 64
# A longer table is folded away, so that the picture and what failed stay in view.
_LONG = 15


@dataclass(frozen=True)
class Report:
    """A run as a notebook shows it.

    Attributes
    ----------
    state
        How the run was when the report was made.
    picture
        The drawing, where the flow is known.
    text
        The whole as text.
    deterministic
        Whether what differs from run to run is left out.
    undone
        What was undone, and how.

    Examples
    --------
    >>> from nbflow.record.state import RunState, Shape
    >>> state = RunState.planned("r1", "etl", {"load": Shape()}, 0.0)
    >>> report(None, state, deterministic=True)
    ◐ etl: running, 1 step (1 pending)
    load  ○ pending
    """

    state: RunState
    picture: Picture | None
    text: str
    deterministic: bool
    undone: tuple[Undone, ...] = ()

    @cached_property
    def html(self) -> str:
        """The whole as HTML: headline, picture, table and details."""
        try:
            return str(self._markup())
        except Exception:  # noqa: BLE001 - showing a run never fails
            return str(element("pre", self.text))

    def _markup(self) -> Markup:
        parts = [
            _headline(self.state, self.deterministic),
            *_outlook(self.state, self.deterministic),
        ]
        if self.picture is not None and self.picture.dot:
            parts.append(self.picture.image())
        steps = table(self.state, deterministic=self.deterministic)
        if len(self.state.steps) > _LONG:
            summary = element("summary", counted(len(self.state.steps), "step"))
            steps = element("details", summary, steps)
        undone, deterministic = self.undone, self.deterministic
        parts += [
            failures(self.state, undone=undone, deterministic=deterministic),
            rolled_back(undone, deterministic=deterministic),
            steps,
            details(self.state, undone=undone, deterministic=deterministic),
        ]
        # By this mark `nbflow.testing` knows it.
        return element("div", *parts, **{"data-nbflow": "report"})

    def mimebundle(self) -> dict[str, str]:
        """Give the forms that a notebook saves."""
        return {"text/html": self.html, "text/plain": self.text}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.mimebundle()

    def __repr__(self) -> str:
        return self.text


def report(flow: Flow | None, state: RunState, *, deterministic: bool | None = None) -> Report:
    """Report on a run, whatever has happened to it so far.

    Parameters
    ----------
    flow
        What ran, or None where it is not known any more.
    state
        How the run is.
    deterministic
        Whether to leave out times, ids, sizes and addresses; by default as
        ``NBFLOW_DETERMINISTIC`` says.
    """
    chosen = is_deterministic() if deterministic is None else deterministic
    entries: tuple[Undone, ...] = ()
    drawn, text = None, f"{state.name}: {state.status.value}"
    try:
        state = seen(state)
        entries = tuple(undone(flow, state))
        drawn = None if flow is None else picture(flow, state, deterministic=chosen)
        text = listing(state, deterministic=chosen) if drawn is None else drawn.text
    except Exception:  # noqa: BLE001, S110 - showing a run never fails
        pass
    return Report(state, drawn, text, chosen, entries)


def _headline(state: RunState, deterministic: bool) -> Markup:
    said = [counted(len(state.steps), "step")]
    if not deterministic:
        if state.ended is not None:
            said.append(duration(state.seconds(state.ended)))
        said.append(f"run {printable(state.run_id, _NAME)}")
    found = counts(state.steps.values())
    if len(found) > 1:
        said += [f"{LOOKS[s].sign} {count(number)} {s.value}" for s, number in found.items()]
    name = element("b", printable(state.name, _NAME))
    shown = " · ".join(each for each in said if each)
    return element(
        "div", chip(state.status), " ", name, " ", muted(shown), style="margin: 2px 0 6px 0"
    )


def _outlook(state: RunState, deterministic: bool) -> list[Markup]:
    said = outlook(state, deterministic=deterministic)
    look = LOOKS[state.status]
    style = f"margin: 2px 0 8px 0; padding-left: 10px; border-left: 3px solid {look.border}"
    return [element("div", said, style=style)] if said else []
