"""A picture that is laid out once, and says and colours itself anew while a flow runs.

The layout leaves room for what will be said. Afterwards only texts and colours change,
which a browser does by itself, so that no picture is drawn twice.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbflow.notebook import render
from nbflow.notebook.appearance import shown
from nbflow.notebook.draw import STEPS, Drawing
from nbflow.notebook.scene import scene
from nbflow.notebook.style import LOOKS, PROBLEMS
from nbflow.notebook.telling import total
from nbflow.notebook.wording import count, printable
from nbflow.record.events import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nbflow.algebra.flow import Flow
    from nbflow.notebook.figure import Figure
    from nbflow.record.stepstate import StepState

_SAID = 30
_NAME = 64
_GOING = frozenset({Status.RUNNING, Status.RETRYING})


class Canvas:
    """The picture of one flow.

    Parameters
    ----------
    flow
        What runs.

    Examples
    --------
    >>> from nbflow import step
    >>> canvas = Canvas(4 >> step(abs) >> step(str))
    >>> canvas.members
    {'n0': ['abs'], 'n1': ['str']}
    """

    def __init__(self, flow: Flow) -> None:
        topology = flow.topology
        self.names = topology.names
        self.upstream = _upstream(topology)
        self.scene = scene(topology)
        self._drawing = Drawing(self.scene, [], room=True, nodes=topology.nodes)
        self._figures = {each.key: each for each in self.scene.figures if each.kind in STEPS}
        self._home = {
            self.names[each]: figure for figure in self._figures.values() for each in figure.members
        }
        self._carrying = [each for each in self.scene.arrows if self._drawing.carries(each)]

    @cached_property
    def svg(self) -> str:
        """The layout as SVG; empty where nothing can render it."""
        return render.svg(self._drawing.digraph("LR").source) or ""

    @property
    def members(self) -> dict[str, list[str]]:
        """Which steps each figure stands for."""
        return {
            key: [self.names[each] for each in figure.members]
            for key, figure in self._figures.items()
        }

    def faces(
        self, changed: Iterable[str], states: Mapping[str, StepState], now: float
    ) -> dict[str, list[Any]]:
        """Say what is to be seen of the figures of steps that have changed.

        Parameters
        ----------
        changed
            The names of the steps.
        states
            How all steps are, by name.
        now
            In seconds since the epoch.

        Returns
        -------
        dict
            By key: the title, what is said, the status, whether it stands out, a label
            for who cannot see it, and for how many seconds it has been running, if it is.
        """
        figures = {home.key: home for name in changed if (home := self._home.get(name))}
        if not figures:
            return {}
        every = [states.get(name) for name in self.names]
        drawing = Drawing(self.scene, every)
        return {key: _face(drawing, each, now) for key, each in figures.items()}

    def flows(
        self, changed: Iterable[str], states: Mapping[str, StepState]
    ) -> dict[str, list[str]]:
        """Say what flows along the edges that leave steps that have changed.

        Parameters
        ----------
        changed, states
            As for `faces`.

        Returns
        -------
        dict
            By edge: how large it is, and how that differs from what flowed into the step.
        """
        keys = {home.key for name in changed if (home := self._home.get(name))}
        found = {}
        for arrow in self._carrying:
            if arrow.tail in keys:
                members = [self.names[each] for each in self._figures[arrow.tail].members]
                size = total([states[name] for name in members if name in states])
                if size:
                    found[f"{arrow.tail}->{arrow.head}"] = [size, self._change(members, states)]
        return found

    def _change(self, members: Sequence[str], states: Mapping[str, StepState]) -> str:
        """Say how many rows and columns a step has added or dropped."""
        if len(members) > 1 or len(self.upstream[members[0]]) != 1:
            return ""
        after, before = states[members[0]], states.get(self.upstream[members[0]][0])
        if before is None or None in (before.rows, after.rows):
            return ""
        rows = _more(after.rows, before.rows, "row")
        columns = _more(after.columns, before.columns, "column")
        if rows and columns:
            # Both in words would be wider than what is said above them.
            return " × ".join(each.split()[0] for each in (rows, columns))
        return rows or columns


def _upstream(topology: Any) -> dict[str, list[str]]:
    from nbflow.notebook.arms import wires

    drawn = wires(topology).upstream
    return {
        name: [topology.names[each] for each in near]
        for name, near in zip(topology.names, drawn, strict=True)
    }


def _more(after: int | None, before: int | None, what: str) -> str:
    if after is None or before is None or after == before:
        return ""
    number = abs(after - before)
    sign = "+" if after > before else "\N{MINUS SIGN}"
    return f"{sign}{count(number)} {what}{'s' * (number != 1)}"


def _face(drawing: Drawing, figure: Figure, now: float) -> list[Any]:
    face = drawing.face(figure)
    states = drawing.shown[figure.key]
    said = printable(face.said[0], _SAID) if face.said else ""
    label = f"{printable(figure.title, _NAME)}: {' '.join(face.said)}"
    going = [s.started for s in states if shown(s) in _GOING and s.started is not None]
    since = max(0.0, now - min(going)) if going and len(states) == 1 else None
    status = "" if face.status is None else face.status.value
    return [face.title, said, status, face.status in PROBLEMS, label, since]


def looks() -> dict[str, list[Any]]:
    """Give the colours of each status: area, outline, text, and whether the outline is broken."""
    return {key.value: [o.fill, o.border, o.ink, o.dashed] for key, o in LOOKS.items()}
