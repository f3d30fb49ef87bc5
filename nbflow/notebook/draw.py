"""A flow or a run as DOT.

Only plain labels are used: an HTML label breaks on a stray ``<``, and not every
renderer can draw one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import graphviz
from graphviz.quoting import NoHtml

from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.notebook import style
from nbflow.notebook.about import summary
from nbflow.notebook.appearance import seen as as_seen
from nbflow.notebook.appearance import shown
from nbflow.notebook.layout import apart, breaks, in_order, telling
from nbflow.notebook.options import OPTIONS, checked
from nbflow.notebook.scene import scene
from nbflow.notebook.style import DECIDING, LOOKS, PLAIN, PROBLEMS, SHAPES, Kind, Mark, Shown
from nbflow.notebook.taken import faded, taken
from nbflow.notebook.telling import (
    doubt,
    error,
    reason,
    tally,
    told,
    total,
    undo_error,
    worst,
)
from nbflow.notebook.undoing import way_back
from nbflow.notebook.wording import printable
from nbflow.record.events import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nbflow.algebra.expression import Node
    from nbflow.algebra.flow import Flow
    from nbflow.notebook.figure import Arrow, Figure, Frame, Scene
    from nbflow.notebook.undoing import Back
    from nbflow.record.state import RunState
    from nbflow.record.stepstate import StepState

_TITLE = 32
_DIAMOND = 22
_REASON = 34
_CASE = 16
_CASES = 3
_TOOLTIP = 300
_KEPT = 5
STEPS = frozenset({Kind.STEP, Kind.MAPPED, Kind.STACK, Kind.FOLD, Kind.BRANCH})
# About as wide as what is said there while a flow runs.
_ROOM, _ROOM_FOR_ELEMENTS = "retrying · 00.0 s", "000,000/000,000 · 00.0 s"
_ROOM_ON_EDGE = " 000,000 × 00 \n +000,000 rows "


def digraph(
    flow: Flow,
    *,
    state: RunState | None = None,
    direction: str = "LR",
    collapse: bool = True,
    focus: str | Iterable[str] | None = None,
    hops: int = 1,
    deterministic: bool = False,
    hover: bool = False,
    **unknown: Any,
) -> graphviz.Digraph:
    """Draw a flow, or a run of it.

    Parameters
    ----------
    flow
        What to draw.
    state
        How a run of it is; its statuses, times and sizes go into the picture.
    direction
        ``"LR"`` from left to right, or ``"TB"`` from top to bottom.
    collapse
        Whether more than eight alike steps side by side are drawn as one stack, and
        flows of more than 150 figures are reduced further.
    focus
        The name of a step, or several: show only these and what is near them.
    hops
        How near that is.
    deterministic
        Whether to leave out what differs from run to run, such as times.
    hover
        Whether a step says what it does, and with which arguments, where the mouse rests
        on it. An image in a notebook cannot, and needs not hold that.

    Raises
    ------
    FlowError
        If there is no such option, or its value cannot mean anything.
    UnknownStepError
        If there is no step of the name in ``focus``.

    Examples
    --------
    >>> from nbflow import step
    >>> print(digraph(4 >> step(abs), direction="TB").body[-1].strip())
    c0 -> n0 [arrowsize=0.5 color="#757f8e"]
    """
    for name in unknown:
        raise FlowError(f"there is no drawing option {quoted(name)}; {did_you_mean(name, OPTIONS)}")
    checked(direction, collapse, focus, hops)
    topology = flow.topology
    state = None if state is None else as_seen(state)
    states = [] if state is None else [state.steps.get(name) for name in topology.names]
    failed = [i for i, each in enumerate(states) if each and shown(each) in PROBLEMS]
    seen = scene(topology, collapse=collapse, focus=focus, hops=hops, kept=failed[:_KEPT])
    backs = [] if state is None else way_back(flow, seen, state)
    nodes = topology.nodes if hover else ()
    drawing = Drawing(seen, states, deterministic=deterministic, nodes=nodes)
    return drawing.digraph(direction, backs)


@dataclass(frozen=True, slots=True)
class Face:
    """What is to be seen of a figure that stands for steps.

    Attributes
    ----------
    title, detail
        What it is called, and what more there is to say of it; the last may be empty.
    said
        How its steps are, line by line.
    status
        What it is coloured by; None for a flow that does not run.
    """

    title: str
    detail: str
    said: tuple[str, ...]
    status: Shown | None


class Drawing:
    """One scene on its way to DOT.

    Parameters
    ----------
    seen
        What is drawn.
    states
        How each step is, by position; empty for a flow that does not run.
    deterministic
        Whether to leave out what differs from run to run.
    room
        Whether to leave room for what is said only while the flow runs.
    nodes
        The steps, of those pictures that say what each of them does.
    """

    def __init__(
        self,
        seen: Scene,
        states: Sequence[StepState | None],
        *,
        deterministic: bool = False,
        room: bool = False,
        nodes: Sequence[Node] = (),
    ) -> None:
        self.scene = seen
        self.states = states
        self.deterministic = deterministic
        self.room = room
        self.nodes = nodes
        self.figures = {figure.key: figure for figure in seen.figures}
        self.figures_in_order = in_order(seen)
        self.telling = frozenset(telling(seen))
        self.shown = {figure.key: self._states(figure) for figure in seen.figures}
        self.fates = taken(seen, self.shown)

    def digraph(self, direction: str, backs: Sequence[Back] = ()) -> graphviz.Digraph:
        """Write it as DOT, with the arrows of a way back."""
        graph: graphviz.Digraph = graphviz.Digraph(
            "flow",
            graph_attr={**style.GRAPH, "rankdir": direction, "ranksep": str(apart(self.scene))},
            node_attr=dict(style.NODE),
            edge_attr=dict(style.EDGE),
        )
        note = self.scene.note if self.scene.figures else "an empty flow"
        if note:
            graph.graph_attr["label"] = _literal(note)
        said = {each: self._said(each) for each in self.scene.arrows}
        labelled = bool(backs) or any(said.values())
        # Graphviz lays out frames from the bottom up then, unless something is said on edges.
        self._fill(graph, "", upwards=direction == "LR" and not labelled)
        written = {each.key: self._written(each) for each in self.scene.figures}
        ends = breaks(self.scene, written, said) if direction == "LR" and not backs else ()
        for arrow in self.scene.arrows:
            more = {"constraint": "false"} if arrow in ends else {}
            graph.edge(arrow.tail, arrow.head, **self._edge(arrow), **more)
        for back in backs:
            look = {**style.BACK, **(style.STUCK if back.stuck else {})}
            graph.edge(back.tail, back.head, label=_literal(f" {back.said} "), **look)
        return graph

    # Frames

    def _fill(self, graph: graphviz.Digraph, key: str, *, upwards: bool) -> None:
        """Write the figures that are in a frame, and the frames among them."""
        inner = {frame.key: frame for frame in self.scene.frames if frame.parent == key}
        outer = {frame.key: frame.parent for frame in self.scene.frames}
        for figure in self.figures_in_order[:: -1 if upwards and key else 1]:
            if figure.frame == key:
                graph.node(figure.key, **self._attributes(figure))
                continue
            around = figure.frame
            while around and outer[around] != key:
                around = outer[around]
            frame = inner.pop(around, None)
            if frame is not None:
                with graph.subgraph(name=f"cluster_{frame.key}", body=[]) as cluster:
                    cluster.attr(**self._surrounding(frame))
                    self._fill(cluster, frame.key, upwards=upwards)

    def _surrounding(self, frame: Frame) -> dict[str, str]:
        state = self.states[frame.member] if self.states else None
        known = None if state is None else state.total
        look = style.FRAME if frame.mapped else {**style.FRAME, **style.CAPPED}
        return {"label": _literal(frame.title(known)), **look}

    # Nodes

    def _attributes(self, figure: Figure) -> dict[str, str]:
        if figure.kind is Kind.STOP:
            return {"label": "", **SHAPES[figure.kind]}
        branch = figure.kind is Kind.BRANCH
        if figure.kind not in STEPS:
            return {"label": _literal(printable(figure.title, _TITLE)), **SHAPES[figure.kind]}
        lines, states = self._written(figure), self.shown[figure.key]
        status = worst(states)
        look = LOOKS[status] if status is not None else DECIDING if branch else PLAIN
        attributes = {
            "label": _literal(*lines),
            "color": look.border,
            "fillcolor": look.fill,
            "fontcolor": look.ink,
        }
        if figure.outlines > 1:
            attributes["peripheries"] = str(figure.outlines)
        attributes.update(SHAPES[figure.kind])
        if len(lines) > 1 and not branch:
            attributes["margin"] = style.margin(lines)
        if branch:
            attributes["height"] = style.DIAMONDS[min(len(lines), len(style.DIAMONDS)) - 1]
        if look.dashed:
            attributes["style"] = "filled,dashed" if branch else "rounded,filled,dashed"
        if status in PROBLEMS:
            attributes["penwidth"] = style.BOLD if figure.outlines == 1 else style.FOCUSED
        elif figure.key in self.scene.focus:
            attributes["penwidth"] = style.FOCUSED
        if status not in PROBLEMS and any(state.collected for state in states):
            attributes["color"] = LOOKS[Status.RETRYING].border
        said = self._tooltip(figure, states, printable(figure.title, _limit(figure)))
        if said:
            attributes["tooltip"] = _literal(*said)
        return attributes

    def _written(self, figure: Figure) -> list[str]:
        """Say what is written on a figure, line by line."""
        if figure.kind not in STEPS:
            return [printable(figure.title, _TITLE)]
        face = self.face(figure)
        lines = [each for each in (face.title, face.detail, *face.said) if each]
        if self.room:
            lines.append(_ROOM_FOR_ELEMENTS if figure.outlines > 1 else _ROOM)
        return lines

    def face(self, figure: Figure) -> Face:
        """Say what is to be seen of a figure that stands for steps."""
        states = self.shown[figure.key]
        title = printable(figure.title, _limit(figure))
        return Face(
            title + figure.suffix(states[0].total if states else None),
            figure.detail,
            tuple(self._lines(figure, states)),
            worst(states),
        )

    def _states(self, figure: Figure) -> list[StepState]:
        if not self.states:
            return []
        found = (self.states[each] for each in figure.members)
        return [each for each in found if each is not None]

    def _lines(self, figure: Figure, states: list[StepState]) -> list[str]:
        if not states:
            return []
        size = "" if figure.key in self.telling or figure.kind is Kind.BRANCH else total(states)
        if len(figure.members) > 1:
            parts = [tally(states)]
        else:
            parts = told(states[0], deterministic=self.deterministic, limit=_REASON)
        lines = [" · ".join(part for part in (*parts, size) if part)]
        if states[0].status is Status.RETRYING and len(states) == 1:
            lines = parts
        said_of = worst(states)
        first = next(each for each in states if shown(each) is said_of)
        # What is in doubt takes a sentence to say, for which there is no room here.
        if shown(first) is not Mark.DOUBT and not self.deterministic:
            lines.append(_problem(first, _REASON))
        return [line for line in lines if line]

    def _tooltip(self, figure: Figure, states: list[StepState], title: str) -> list[str]:
        parts = []
        full = printable(figure.title, _TOOLTIP)
        if full != title or self.nodes:
            parts.append(full)
        troubled = [each for each in states if shown(each) in PROBLEMS]
        troubled += [each for each in states if each.error is not None or each.reason]
        if troubled and len(figure.members) > 1:
            parts.append(printable(troubled[0].name, _TITLE))
        for each in troubled[:1]:
            failed = "" if self.deterministic else _problem(each, _TOOLTIP)
            parts.append(failed or reason(each, deterministic=self.deterministic, limit=_TOOLTIP))
        said = " · ".join(part for part in parts if part)
        return [*([said] if said else []), *self._about(figure)]

    def _about(self, figure: Figure) -> list[str]:
        """Say what a step does, and with what; of those in a stack, only what all of them do."""
        if not self.nodes or figure.kind is Kind.FOLD:
            return []
        purpose, given = summary(self.nodes[figure.members[0]])
        return [each for each in (purpose, given if len(figure.members) == 1 else "") if each]

    # Edges

    def _edge(self, arrow: Arrow) -> dict[str, str]:
        tail, head = self.figures[arrow.tail], self.figures[arrow.head]
        states, fate = self.shown[tail.key], self.fates.get(arrow)
        attributes: dict[str, str] = {}
        if Kind.ELSEWHERE in (tail.kind, head.kind) or tail.kind is Kind.INPUT:
            attributes = {**style.FEED, "style": "dotted"}
        elif tail.kind in (Kind.PARAM, Kind.CONSTANT):
            attributes = dict(style.FEED)
        elif arrow.order_only:
            attributes = dict(style.ORDER_ONLY)
        if head.kind is Kind.STOP:
            attributes["arrowhead"] = "none"
        if fate:
            attributes.update(style.TAKEN)
        elif fate is False or faded(self.shown[head.key]) or faded(states):
            attributes.update(style.FADED)
        said = self._said(arrow)
        if said:
            attributes["label"] = _literal(*said.split("\n"))
        return attributes

    def _said(self, arrow: Arrow) -> str:
        """Say what stands along an arrow."""
        said = _cases(arrow.cases)
        if self.carries(arrow):
            if self.room:
                return _ROOM_ON_EDGE
            said = total(self.shown[arrow.tail])
        return f" {said} " if said else ""

    def carries(self, arrow: Arrow) -> bool:
        """Tell whether it is said along an arrow how much flows there."""
        tail = self.figures[arrow.tail]
        if arrow.order_only or arrow.cases or arrow.tail not in self.telling:
            return False
        return tail.kind in STEPS and tail.kind not in (Kind.FOLD, Kind.BRANCH)


def _limit(figure: Figure) -> int:
    return _DIAMOND if figure.kind is Kind.BRANCH else _TITLE


def _problem(state: StepState, limit: int) -> str:
    """Say what is wrong with a step."""
    status = shown(state)
    if status is Mark.NOT_UNDONE:
        return undo_error(state, deterministic=False, limit=limit)
    if status is Mark.DOUBT:
        return doubt(state, deterministic=False, limit=limit)
    return error(state, deterministic=False, limit=limit)


def _cases(cases: Sequence[str]) -> str:
    """Say for which values an edge is the way on."""
    shown = [printable(case, _CASE) for case in cases[:_CASES]]
    return ", ".join([*shown, *(["…"] if len(cases) > _CASES else [])])


def _literal(*lines: str) -> NoHtml:
    """Make a label of which Graphviz shows every character as it is."""
    # Entities such as &lt; are read in plain labels too.
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\") for line in lines)
    return NoHtml("\\n".join(escaped))
