"""A run drawn along time: a lane for each thread of each worker, bars for what it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from nbflow.notebook.html import Markup
from nbflow.notebook.lanes import Bar, Lane, bars_of, busiest, lanes_of
from nbflow.notebook.scale import Scale
from nbflow.notebook.style import GREY, LOOKS, Look
from nbflow.notebook.svg import drawing, line, path, rectangle, text, wide
from nbflow.notebook.wording import count, counted, duration, listed, printable
from nbflow.record.events import Status
from nbflow.record.spans import Span

WIDTH = 960.0
_LEFT, _RIGHT, _TOP = 104.0, 24.0, 56.0
_LANE, _BAR, _BETWEEN = 28.0, 20.0, 10.0
_SIZE, _SMALL, _PLACE = 11.0, 10.0, 9.0
_NAME = 40
_MOST_WAITS = 150
_FAINT = 0.22
_WAITING: Mapping[str, str | float] = MappingProxyType(
    {"stroke": GREY, "stroke_width": 1.2, "stroke_dasharray": "1.5 3"}
)


@dataclass(frozen=True, slots=True)
class Chart:
    """What a drawing shows.

    Attributes
    ----------
    spans
        What was computed.
    start, end
        From when to when the run went, in seconds since the epoch.
    critical
        The steps on which the end of the run waited.
    waits
        When a step could have begun, and when it did; with the worker on which it did.
    notes
        What is said beneath.
    alt
        What it shows, for those who cannot see it.
    """

    spans: Sequence[Span]
    start: float
    end: float
    critical: Sequence[str]
    waits: Sequence[tuple[float, Span]]
    notes: Sequence[str]
    alt: str


def drawn(chart: Chart) -> str:
    """Draw a run as SVG.

    Examples
    --------
    >>> drawn(Chart([], 0.0, 1.0, [], [], ["nothing ran"], "a run"))[:4]
    '<svg'
    """
    lanes, hidden = busiest(lanes_of(chart.spans))
    workers = list(dict.fromkeys(lane.worker for lane in lanes))
    lanes = sorted(lanes, key=lambda lane: workers.index(lane.worker))
    busy = [(each.start, each.end) for each in chart.spans]
    scale = Scale.of(busy, chart.start, chart.end, _LEFT, WIDTH - _RIGHT)
    tops = _tops(lanes)
    foot = (tops[-1] + _LANE if tops else _TOP) + 4
    where = {id(span): top for lane, top in zip(lanes, tops, strict=True) for span in lane.spans}
    title = text(0, 14, chart.alt, _SIZE + 1, fill=GREY, font_weight="bold")
    parts = [title, *_axis(scale, foot), *_names(lanes, tops, workers)]
    waits = list(_waits(chart, where, scale))
    parts += waits
    bold = _decisive(chart, lanes)
    for bars, top, names in zip(bars_of(lanes, scale.at), tops, bold, strict=True):
        parts += _bars(bars, top, names)
    notes = [*chart.notes]
    if hidden:
        notes.append(f"{counted(hidden, 'lane')} with less to do not shown")
    below, height = _below(chart, notes, foot, waits=bool(waits))
    return drawing(WIDTH, height, chart.alt, [*parts, *below])


def _decisive(chart: Chart, lanes: Sequence[Lane]) -> list[frozenset[str]]:
    """Say for each lane on which steps in it the end of the run waited.

    Of the elements of a step, that is the lane in which the last of them ended.
    """
    ends: dict[str, tuple[float, int]] = {}
    for number, lane in enumerate(lanes):
        for span in lane.spans:
            if span.label or span.count > 1:
                ends[span.step] = max(ends.get(span.step, (0.0, 0)), (span.end, number))
    return [
        frozenset(n for n in chart.critical if ends.get(n, (0.0, number))[1] == number)
        for number in range(len(lanes))
    ]


def _tops(lanes: Sequence[Lane]) -> list[float]:
    tops, y, before = [], _TOP, None
    for lane in lanes:
        if before is not None and lane.worker != before:
            y += _BETWEEN
        tops.append(y)
        y, before = y + _LANE, lane.worker
    return tops


def _axis(scale: Scale, foot: float) -> Iterator[Markup]:
    for x, said in scale.ticks():
        yield line(x, _TOP - 6, x, foot, stroke=GREY, stroke_opacity=_FAINT)
        yield text(x, _TOP - 12, said, _SMALL, fill=GREY, text_anchor="middle")
    for piece in scale.pieces:
        if not piece.cut:
            continue
        middle = (piece.left + piece.right) / 2
        # Two waves: here the axis is broken.
        for x in (middle - 3, middle + 3):
            waves = [(x + (2.5 if n % 2 else -2.5), _TOP - 4 + 7.0 * n) for n in range(400)]
            shown = [each for each in waves if each[1] <= foot]
            yield path(shown, stroke=GREY, stroke_opacity=0.5, fill="none")
        look = {"fill": GREY, "text_anchor": "middle", "font_style": "italic"}
        yield text(middle, _TOP - 25, duration(piece.end - piece.start), _SMALL, **look)


def _names(
    lanes: Sequence[Lane], tops: Sequence[float], workers: Sequence[str]
) -> Iterator[Markup]:
    for number, worker in enumerate(workers, 1):
        mine = [top for lane, top in zip(lanes, tops, strict=True) if lane.worker == worker]
        middle = (mine[0] + mine[-1] + _LANE) / 2
        place = worker.rpartition("//")[2]
        fits = bool(place) and wide(place, _PLACE) <= _LEFT - 20
        yield text(0, middle + (0 if fits else 4), f"worker {number}", _SIZE, fill=GREY)
        if fits:
            yield text(0, middle + 12, place, _PLACE, fill=GREY, fill_opacity=0.8)
        x = _LEFT - 10
        yield line(x, mine[0] + 3, x, mine[-1] + _LANE - 3, stroke=GREY, stroke_opacity=0.6)


def _waits(chart: Chart, where: dict[int, float], scale: Scale) -> Iterator[Markup]:
    """Draw when a step could have begun, and when it was to be tried again."""
    ready = [(each, span.start, span) for each, span in chart.waits if id(span) in where]
    again = [(s.end, s.until, s) for s in chart.spans if s.until and id(s) in where]
    for start, end, span in [*ready, *again][:_MOST_WAITS]:
        # Under the bars, so that no name is struck through.
        y = where[id(span)] + _LANE - 1.5
        left, right = scale.at(start), scale.at(min(end, chart.end))
        if right - left < 5:
            continue
        yield line(left, y, right, y, **_WAITING)
        yield line(left, y - 4, left, y + 1, stroke=GREY, stroke_width=1.2)


def _bars(bars: Sequence[Bar], top: float, critical: frozenset[str]) -> Iterator[Markup]:
    ordered = sorted(bars, key=lambda bar: bar.x)
    # Elements that failed among others: at the foot of the bar that stands for all.
    among = [bar for bar in ordered if bar.is_problem and _around(bar, ordered) is not None]
    y = top + (_LANE - _BAR) / 2
    for bar in ordered:
        if bar not in among:
            bold = not critical.isdisjoint(bar.steps) and not bar.span.undo
            yield _bar(bar, y, bold=bold)
    for bar in among:
        look = _look(bar.span)
        yield rectangle(bar.x, y + _BAR - 3.5, bar.width, 3, _hover(bar), fill=look.border)
    shown = [bar for bar in ordered if bar not in among]
    for bar in shown:
        failed = sum(each.span.count for each in among if _around(each, [bar]) is not None)
        yield from _label(bar, shown, y, failed, bold=not critical.isdisjoint(bar.steps))


def _bar(bar: Bar, y: float, *, bold: bool) -> Markup:
    look, said = _look(bar.span), _hover(bar)
    if bar.width < 4:
        # It would be all outline.
        more = 2.0 if bold else 0.0
        return rectangle(bar.x, y - more, bar.width, _BAR + 2 * more, said, fill=look.border)
    outline: dict[str, str | float] = {"stroke": look.border, "stroke_width": 2.4 if bold else 0.9}
    if look.dashed or bar.span.undo:
        outline["stroke_dasharray"] = "4 2"
    rounded = min(3.5, bar.width / 3)
    return rectangle(
        bar.x + 0.5, y, bar.width - 1, _BAR, said, rx=rounded, fill=look.fill, **outline
    )


def _label(bar: Bar, bars: Sequence[Bar], y: float, failed: int, *, bold: bool) -> Iterator[Markup]:
    look = _look(bar.span)
    weight = {"font_weight": "bold"} if bold else {}
    for said in _words(bar, failed):
        size = wide(said, _SIZE) * (1.06 if bold else 1.0)
        base = y + (12.5 if failed else 14)
        if size <= bar.width - 10:
            middle = bar.x + bar.width / 2
            yield text(middle, base, said, _SIZE, fill=look.ink, text_anchor="middle", **weight)
            return
        free = min((each.x for each in bars if each.x > bar.x), default=WIDTH) - bar.x - bar.width
        if bar.width < 70 and size + 12 <= free:
            x = bar.x + bar.width + 5
            yield text(x, base, said, _SIZE, fill=GREY, **weight)
            return


def _around(bar: Bar, bars: Sequence[Bar]) -> Bar | None:
    """Find the bar of the same step that lies around one, if there is one."""
    for each in bars:
        inside = each.x <= bar.x + 1 and bar.x + bar.width <= each.x + each.width + 1
        if inside and not each.is_problem and not bar.steps.isdisjoint(each.steps):
            return each
    return None


def _words(bar: Bar, failed: int) -> Iterator[str]:
    """Give what may be written on a bar, from the longest to the shortest."""
    span = bar.span
    if len(bar.steps) > 1:
        yield counted(len(bar.steps), "step")
        return
    sign = f"{_look(span).sign} " if bar.is_problem or span.undo else ""
    name = printable(span.step, _NAME)
    several = f" × {count(span.count + failed)}" if span.count + failed > 1 else ""
    lost = f", {LOOKS[Status.FAILED].sign} {count(failed)}" if failed else ""
    label = f"[{printable(span.label, 16)}]" if span.label else ""
    again = f" · attempt {span.attempt}" if span.attempt > 1 and span.count == 1 else ""
    whole = f"{name}{several}{lost}{again}"
    for each in dict.fromkeys((f"{name}{label}{several}{lost}{again}", whole, name)):
        yield sign + each
    if sign:
        yield sign.strip()


def _hover(bar: Bar) -> str:
    """Say what a bar stands for, also where there is no room to write it on the bar."""
    span = bar.span
    if len(bar.steps) > 1:
        shown = sorted(bar.steps)
        return f"{counted(len(shown), 'step')}: {listed(shown, _NAME)}"
    label = f"[{printable(span.label, _NAME)}]" if span.label else ""
    parts = [f"{printable(span.step, _NAME)}{label}"]
    if span.count > 1:
        parts.append(counted(span.count, "element"))
    if span.attempt > 1 and span.count == 1:
        parts.append(f"attempt {span.attempt}")
    status = Status.COMPENSATED if span.undo and span.status is not Status.FAILED else span.status
    said = "undone" if status is Status.COMPENSATED else _MEANINGS.get(status, status.value)
    return ", ".join([*parts, said, duration(span.end - span.start)])


def _look(span: Span) -> Look:
    if span.undo and span.status is not Status.FAILED:
        return LOOKS[Status.COMPENSATED]
    return LOOKS[span.status]


_MEANINGS = {
    Status.RETRYING: "failed, tried again",
    Status.INTERRUPTED: "interrupted",
    Status.REUSED: "computed before, reused",
}


def _below(
    chart: Chart, notes: Sequence[str], foot: float, *, waits: bool
) -> tuple[list[Markup], float]:
    """Say what the colours mean, and what else is to be said."""
    parts: list[Markup] = []
    met = dict.fromkeys(Status.COMPENSATED if s.undo else s.status for s in chart.spans)
    x, y = _LEFT, foot + 24
    for status in sorted(met, key=list(LOOKS).index):
        look = LOOKS[status]
        said = _MEANINGS.get(status, "undone" if status is Status.COMPENSATED else status.value)
        outline = {"stroke_dasharray": "4 2"} if look.dashed or status is Status.COMPENSATED else {}
        parts.append(
            rectangle(x, y - 9, 14, 10, rx=2, fill=look.fill, stroke=look.border, **outline)
        )
        parts.append(text(x + 20, y, said, _SMALL, fill=GREY))
        x += 20 + wide(said, _SMALL) + 20
    if chart.critical:
        parts.append(rectangle(x, y - 9, 14, 10, rx=2, fill="none", stroke=GREY, stroke_width=2.4))
        parts.append(text(x + 20, y, "critical path", _SMALL, fill=GREY))
        x += 20 + wide("critical path", _SMALL) + 20
    if waits:
        parts.append(line(x, y - 4, x + 18, y - 4, **_WAITING))
        parts.append(text(x + 24, y, "waiting", _SMALL, fill=GREY))
    for note in notes:
        y += 17
        parts.append(text(_LEFT, y, note, _SMALL, fill=GREY))
    return parts, y + 12
