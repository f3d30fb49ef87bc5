"""A flow or a run as DOT.

Only plain labels are used: an HTML label breaks on a stray ``<``, and not every
renderer can draw one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import graphviz
from graphviz.quoting import NoHtml

from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.events import Status
from nbflow.state import RunState, StepState
from nbflow.notebook import style
from nbflow.notebook.scene import checked, scene
from nbflow.notebook.style import LOOKS, PLAIN, SEVERITY, SHAPES, Kind
from nbflow.notebook.wording import count, counted, dimensions, duration, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbflow.flow import Flow
    from nbflow.notebook.figure import Arrow, Figure, Scene

_TITLE = 32
_TOOLTIP = 300
_KEPT = 5
_STEPS = frozenset({Kind.STEP, Kind.MAPPED, Kind.STACK, Kind.FOLD, Kind.BRANCH})
OPTIONS = ("direction", "collapse", "focus", "hops")


def digraph(
    flow: Flow,
    *,
    state: RunState | None = None,
    direction: str = "LR",
    collapse: bool = True,
    focus: str | Iterable[str] | None = None,
    hops: int = 1,
    deterministic: bool = False,
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

    Raises
    ------
    FlowError
        If there is no such option, or its value cannot mean anything.
    UnknownStepError
        If there is no step of the name in ``focus``.

    Examples
    --------
    >>> from nbflow import step
    >>> print(digraph(4 >> step(abs), direction="TB").body[0].strip())
    n0 [label=abs color="#5b7fae" fillcolor="#eef3fa" fontcolor="#1c2f4a"]
    """
    for name in unknown:
        raise FlowError(f"there is no drawing option {quoted(name)}; {did_you_mean(name, OPTIONS)}")
    checked(direction, collapse, focus, hops)
    topology = flow.topology
    states = [] if state is None else [state.steps.get(name) for name in topology.names]
    failed = [i for i, each in enumerate(states) if each and each.status is Status.FAILED]
    seen = scene(topology, collapse=collapse, focus=focus, hops=hops, kept=failed[:_KEPT])
    return _Drawing(seen, topology.names, states, deterministic).digraph(direction)


class _Drawing:
    """One scene on its way to DOT."""

    def __init__(
        self,
        seen: Scene,
        names: tuple[str, ...],
        states: list[StepState | None],
        deterministic: bool,
    ) -> None:
        self.scene = seen
        self.names = names
        self.states = states
        self.deterministic = deterministic
        self.figures = {figure.key: figure for figure in seen.figures}

    def digraph(self, direction: str) -> graphviz.Digraph:
        """Write it as DOT."""
        graph: graphviz.Digraph = graphviz.Digraph(
            "flow",
            graph_attr={**style.GRAPH, "rankdir": direction},
            node_attr=dict(style.NODE),
            edge_attr=dict(style.EDGE),
        )
        note = self.scene.note if self.scene.figures else "an empty flow"
        if note:
            graph.graph_attr["label"] = _literal(note)
        leading = {arrow.tail for arrow in self.scene.arrows if not arrow.order_only}
        for figure in self.scene.figures:
            graph.node(figure.key, **self._attributes(figure, last=figure.key not in leading))
        for arrow in self.scene.arrows:
            graph.edge(arrow.tail, arrow.head, **self._edge(arrow))
        return graph

    # Nodes

    def _attributes(self, figure: Figure, *, last: bool) -> dict[str, str]:
        title = printable(figure.title, _TITLE)
        if figure.kind not in _STEPS:
            return {"label": _literal(title), **SHAPES[figure.kind]}
        states = self._states(figure)
        detail = [figure.detail] if figure.detail else []
        lines = [title, *detail, *self._lines(figure, states, last=last)]
        status = worst(states)
        look = PLAIN if status is None else LOOKS[status]
        attributes = {
            "label": _literal(*lines),
            "color": look.border,
            "fillcolor": look.fill,
            "fontcolor": look.ink,
            **SHAPES[figure.kind],
        }
        if look.dashed:
            attributes["style"] = "rounded,filled,dashed"
        if status is Status.FAILED or figure.key in self.scene.focus:
            attributes["penwidth"] = "2"
        told = self._tooltip(figure, states, title)
        if told:
            attributes["tooltip"] = _literal(told)
        return attributes

    def _states(self, figure: Figure) -> list[StepState]:
        if not self.states:
            return []
        found = (self.states[each] for each in figure.members)
        return [each for each in found if each is not None]

    def _lines(self, figure: Figure, states: list[StepState], *, last: bool) -> list[str]:
        if not states:
            return []
        parts = [tally(states)] if len(figure.members) > 1 else _told(states[0], self.deterministic)
        shown = [part for part in (*parts, total(states) if last else "") if part]
        return [" · ".join(shown)] if shown else []

    def _tooltip(self, figure: Figure, states: list[StepState], title: str) -> str:
        parts = []
        full = printable(figure.title, _TOOLTIP)
        if full != title:
            parts.append(full)
        troubled = [each for each in states if each.error is not None or each.reason]
        if troubled and len(figure.members) > 1:
            parts.append(printable(troubled[0].name, _TITLE))
        for each in troubled[:1]:
            said = each.reason
            if each.error is not None and not self.deterministic:
                said = f"{each.error.type_name}: {each.error.message}"
            parts.append(printable(said, _TOOLTIP))
        return " · ".join(part for part in parts if part)

    # Edges

    def _edge(self, arrow: Arrow) -> dict[str, str]:
        tail = self.figures[arrow.tail]
        if arrow.order_only:
            return dict(style.ORDER_ONLY)
        if tail.kind in (Kind.PARAM, Kind.CONSTANT, Kind.INPUT):
            feed = dict(style.FEED)
            return {**feed, "style": "dotted"} if tail.kind is Kind.INPUT else feed
        if tail.kind is Kind.ELSEWHERE or self.figures[arrow.head].kind is Kind.ELSEWHERE:
            return {**style.FEED, "style": "dotted"}
        states = self._states(tail)
        said = "" if tail.kind is Kind.FOLD else total(states)
        return {"label": _literal(f" {said} ")} if said else {}


def worst(states: Iterable[StepState]) -> Status | None:
    """Give the status that a stack of steps is shown with."""
    found = {state.status for state in states}
    return next((status for status in SEVERITY if status in found), None)


def tally(states: Iterable[StepState]) -> str:
    """Count steps by status, the worst first.

    Examples
    --------
    >>> tally([StepState("a", Status.COMPLETED), StepState("b", Status.FAILED)])
    '✗ 1 failed · ✓ 1'
    """
    found = Counter(state.status for state in states)
    parts = []
    for status in SEVERITY:
        if found[status]:
            word = "" if status is Status.COMPLETED and len(found) > 1 else f" {status.value}"
            parts.append(f"{LOOKS[status].sign} {count(found[status])}{word}")
    return " · ".join(parts)


def total(states: Iterable[StepState]) -> str:
    """Write how large the values of steps are together."""
    known = [state for state in states if state.rows is not None]
    if not known:
        return ""
    widths = {state.columns for state in known}
    rows = sum(state.rows for state in known if state.rows is not None)
    return dimensions(rows, widths.pop() if len(widths) == 1 else None)


def _told(state: StepState, deterministic: bool) -> list[str]:
    """Say how one step is: its sign, the word unless all is well, time and attempts."""
    look = LOOKS[state.status]
    parts = []
    time = "" if deterministic else duration(state.seconds)
    if state.total is not None:
        done = f"{count(state.done)}/{count(state.total)}"
        failed = f" · {LOOKS[Status.FAILED].sign} {count(state.failed)} failed"
        parts.append(f"{look.sign} {done}{failed if state.failed else ''}")
        parts.append(time)
    elif state.status is Status.COMPLETED and time:
        parts.append(f"{look.sign} {time}")
    else:
        parts.append(f"{look.sign} {state.status.value}")
        parts.append(time)
    if state.attempts > 1:
        parts.append(counted(state.attempts, "attempt"))
    return parts


def _literal(*lines: str) -> NoHtml:
    """Make a label of which Graphviz shows every character as it is."""
    # Entities such as &lt; are read in plain labels too.
    escaped = (line.replace("&", "&amp;").replace("\\", "\\\\") for line in lines)
    return NoHtml("\\n".join(escaped))
