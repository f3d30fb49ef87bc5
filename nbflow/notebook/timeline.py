"""The timeline of a run: what a notebook shows for it, saves, and says in text."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic
from nbflow.errors import FlowError, quoted
from nbflow.notebook.gantt import WIDTH, Chart, drawn
from nbflow.notebook.html import element, image
from nbflow.notebook.saving import checked, written
from nbflow.notebook.scale import Scale
from nbflow.notebook.style import LOOKS
from nbflow.notebook.wording import counted, duration, printable
from nbflow.record.events import Event, Status
from nbflow.record.spans import Span, critical_path, spans_of

if TYPE_CHECKING:
    from nbflow.algebra.topology import Topology
    from nbflow.record.state import RunState

_NAME, _NAMES, _LINES = 28, 110, 60
_CELLS = 48
_TEXT = "font-family: monospace; line-height: 1.35; margin: 4px 0"
# Below this share of the time, waiting is no news.
_WAITED = 0.015


@dataclass(frozen=True)
class Timeline:
    """When and where each step of a run was computed.

    Attributes
    ----------
    svg
        The drawing, empty if it could not be drawn.
    text
        The same as text.
    alt
        What it shows, in one line.

    Examples
    --------
    >>> Timeline("", "etl: nothing has run yet", "")
    etl: nothing has run yet
    """

    svg: str
    text: str
    alt: str

    def save(self, path: str | Path) -> Path:
        """Write the drawing into a file, and give its path.

        Parameters
        ----------
        path
            A file that ends in ``.svg``.

        Raises
        ------
        FlowError
            If it ends otherwise, or nothing was drawn.
        """
        file = checked(path, (".svg",))
        if not self.svg:
            raise FlowError(f"there is no drawing to save as {quoted(file.name)}: {self.text}")
        return written(file, self.svg.encode("utf-8"))

    def mimebundle(self) -> dict[str, str]:
        """Give the forms that a notebook saves."""
        return {"text/html": self._repr_html_(), "text/plain": self.text}

    def _repr_html_(self) -> str:
        if not self.svg:
            return str(element("pre", self.text, style=_TEXT))
        fit = f"margin: 4px 0; width: 100%; max-width: {WIDTH:.0f}px"
        folded = element(
            "details",
            element("summary", "as text", style="opacity: 0.7"),
            element("pre", self.text, style=_TEXT),
        )
        return str(element("div", image(self.svg, self.alt, fit), folded))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.mimebundle()

    def __repr__(self) -> str:
        return self.text


def timeline(topology: Topology, state: RunState, events: Sequence[Event]) -> Timeline:
    """Draw when and where each step of a run was computed.

    Parameters
    ----------
    topology
        The flow.
    state, events
        How the run is, and what has happened in it.
    """
    title = printable(state.name, _NAME)
    if is_deterministic():
        said = counted(len(state.steps), "step")
        return Timeline("", f"{title}: {said}; times differ from run to run", "")
    spans = spans_of(topology, state, events, time.time())
    if not spans:
        return Timeline("", f"{title}: no step has run", "")
    chart = _chart(topology, state, spans)
    try:
        svg = drawn(chart)
    except Exception:  # noqa: BLE001 - showing a run never fails
        svg = ""
    return Timeline(svg, "\n".join(_told(chart, state)), chart.alt)


def _chart(topology: Topology, state: RunState, spans: Sequence[Span]) -> Chart:
    start = min(state.started, spans[0].start)
    end = max(*(each.end for each in spans), state.ended or 0.0)
    path = critical_path(topology, spans)
    workers = len({each.worker for each in spans})
    took, busy = end - start, _busy([each for each in spans if each.step in set(path)])
    said = (
        f"{printable(state.name, _NAME)}: {counted(len(state.steps), 'step')} on "
        f"{counted(workers, 'worker')} in {duration(took)}"
    )
    notes = []
    if path:
        notes.append(f"critical path: {_listed(path, ' → ')} ({duration(busy)} of work)")
    ran = {each.step for each in spans}
    for status, word in ((Status.REUSED, "reused"), (Status.SKIPPED, "skipped")):
        names = [n for n, s in state.steps.items() if s.status is status and n not in ran]
        if names:
            notes.append(f"{LOOKS[status].sign} {word}: {_listed(names, ', ')}")
    return Chart(spans, start, end, path, _waits(topology, spans, start, end), notes, said)


def _waits(
    topology: Topology, spans: Sequence[Span], start: float, end: float
) -> list[tuple[float, Span]]:
    """Find the steps that began long after all that they need was there."""
    first: dict[str, Span] = {}
    last: dict[str, float] = {}
    for span in spans:
        if not span.undo:
            first.setdefault(span.step, span)
            last[span.step] = max(last.get(span.step, span.end), span.end)
    found = []
    for name, span in first.items():
        before = [topology.names[each] for each in topology.upstream[topology.positions[name]]]
        ready = max((last[each] for each in before if each in last), default=start)
        if span.start - ready > _WAITED * (end - start):
            found.append((ready, span))
    return found


def _busy(spans: Sequence[Span]) -> float:
    total, at = 0.0, 0.0
    for span in sorted(spans, key=lambda each: each.start):
        total += max(0.0, span.end - max(at, span.start))
        at = max(at, span.end)
    return total


def _listed(names: Sequence[str], between: str) -> str:
    """Name steps, leaving out the middle of many."""
    short = [printable(name, _NAME) for name in names]
    while len(between.join(short)) > _NAMES and len(short) > 3:
        middle = len(short) // 2
        short = [*short[: middle - 1], "…", *short[middle + 1 :]]
        if short.count("…") > 1:
            short = [each for n, each in enumerate(short) if each != "…" or n == short.index("…")]
    return between.join(short)


def _told(chart: Chart, state: RunState) -> Iterator[str]:
    """Tell the same in lines: the steps along time, and when each ran."""
    by_step: dict[str, list[Span]] = {}
    for span in chart.spans:
        by_step.setdefault(span.step, []).append(span)
    yield from (chart.alt, *chart.notes)
    busy = [(each.start, each.end) for each in chart.spans]
    scale = Scale.of(busy, chart.start, chart.end, 0.0, _CELLS, cut=2.0)
    width = max(len(printable(name, _NAME)) for name in by_step)
    for name, spans in list(by_step.items())[:_LINES]:
        cells = _cells(spans, scale)
        began, ended = (each - chart.start for each in (spans[0].start, max(s.end for s in spans)))
        mark = "*" if name in chart.critical else " "
        sign = _sign(state, name)
        said = f"{printable(name, _NAME).ljust(width)} {mark}|{cells}| {sign} "
        yield said + f"{duration(began) if began > 0.0005 else '0'} – {duration(ended)}"
    if len(by_step) > _LINES:
        yield f"… {counted(len(by_step) - _LINES, 'more step')}"


def _sign(state: RunState, name: str) -> str:
    steps: Mapping[str, Any] = state.steps
    return LOOKS[steps[name].status].sign


def _cells(spans: Sequence[Span], scale: Scale) -> str:
    cells = [" "] * _CELLS
    for span in spans:
        first, last = int(scale.at(span.start)), int(scale.at(span.end))
        sign = "x" if span.status in (Status.FAILED, Status.RETRYING) else "="
        for each in range(first, min(_CELLS, max(last, first + 1))):
            cells[each] = sign
    return "".join(cells)
