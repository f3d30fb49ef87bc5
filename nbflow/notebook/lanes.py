"""Spans of time as bars in lanes: which goes where, and which are drawn as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nbflow.record.events import Status
from nbflow.record.spans import Span

# Clocks are read a little after something has ended.
_SLACK_SECONDS = 0.004
_MOST_BARS = 1_200
_MOST_LANES = 40
# In pixels: an element that is as long is drawn apart, and elements so near are drawn as one.
_LONG, _GAP = 48.0, 6.0
PROBLEMS = frozenset({Status.FAILED, Status.RETRYING, Status.INTERRUPTED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a lane.

    Attributes
    ----------
    span
        What it stands for; of several, the first, up to the end of the last.
    x, width
        Where it is, in pixels.
    steps
        How many steps it stands for.
    """

    span: Span
    x: float
    width: float
    steps: frozenset[str]

    @property
    def is_problem(self) -> bool:
        """Whether something went wrong in it."""
        return self.span.status in PROBLEMS


@dataclass(frozen=True, slots=True)
class Lane:
    """What one thread of a worker did.

    Attributes
    ----------
    worker
        Its address.
    spans
        What it did, in order.
    """

    worker: str
    spans: tuple[Span, ...]


def lanes_of(spans: Sequence[Span]) -> list[Lane]:
    """Give each worker as many lanes as it did things at once.

    Which thread did something is not known; a lane is the first that was free.

    Examples
    --------
    >>> spans = [Span("a", "w", 0.0, 2.0, Status.COMPLETED),
    ...          Span("b", "w", 1.0, 3.0, Status.COMPLETED),
    ...          Span("c", "w", 2.0, 3.0, Status.COMPLETED)]
    >>> [[each.step for each in lane.spans] for lane in lanes_of(spans)]
    [['a', 'c'], ['b']]
    """
    workers: dict[str, list[list[Span]]] = {}
    for span in sorted(spans, key=lambda each: (each.start, each.end)):
        lanes = workers.setdefault(span.worker, [])
        lane = next((each for each in lanes if _is_free(each, span)), None)
        if lane is None:
            lane = []
            lanes.append(lane)
        lane.append(span)
    return [Lane(worker, tuple(lane)) for worker, lanes in workers.items() for lane in lanes]


def _is_free(lane: Sequence[Span], span: Span) -> bool:
    last = lane[-1]
    # When exactly an element began within its portion is not known, but that its thread
    # did nothing else then.
    if span.thread and last.thread == span.thread and last.start <= span.start:
        return True
    return last.end <= span.start + _SLACK_SECONDS


def busiest(lanes: Sequence[Lane]) -> tuple[list[Lane], int]:
    """Keep as many lanes as can be read, and tell how many are left out."""
    if len(lanes) <= _MOST_LANES:
        return list(lanes), 0
    busy = {id(lane): sum(each.end - each.start for each in lane.spans) for lane in lanes}
    chosen = sorted(lanes, key=lambda lane: -busy[id(lane)])[:_MOST_LANES]
    kept = {id(lane) for lane in chosen}
    return [lane for lane in lanes if id(lane) in kept], len(lanes) - _MOST_LANES


def bars_of(lanes: Sequence[Lane], at: Callable[[float], float]) -> list[list[Bar]]:
    """Make bars of the spans of each lane; so many in all that they can be drawn.

    Parameters
    ----------
    lanes
        What is drawn.
    at
        Gives where on the drawing a moment is.
    """
    near = 1.0
    while True:
        found = [_bars(lane.spans, at, near) for lane in lanes]
        if sum(map(len, found)) <= _MOST_BARS or near > 64:
            return found
        near *= 2


def _bars(spans: Sequence[Span], at: Callable[[float], float], near: float) -> list[Bar]:
    # What went wrong stays in sight, however small it is.
    fine = [each for each in spans if each.status not in PROBLEMS]
    wrong = [each for each in spans if each.status in PROBLEMS]
    return [*_merged(fine, at, near), *_merged(wrong, at, near)]


def _merged(spans: Sequence[Span], at: Callable[[float], float], near: float) -> list[Bar]:
    bars: list[Bar] = []
    for span in spans:
        x = at(span.start)
        width = max(1.5, at(span.end) - x)
        last = bars[-1] if bars else None
        if last is not None and _joins(last, span, x, width, near):
            count = last.span.count + span.count
            both = replace(last.span, end=max(last.span.end, span.end), count=count, label="")
            wide = max(last.x + last.width, x + width) - last.x
            bars[-1] = Bar(both, last.x, wide, last.steps | {span.step})
        else:
            bars.append(Bar(span, x, width, frozenset({span.step})))
    return bars


def _joins(last: Bar, span: Span, x: float, width: float, near: float) -> bool:
    """Tell whether a span is so near to a bar, and so like it, that one bar will do."""
    before = last.span
    if (before.status, before.undo) != (span.status, span.undo) or before.until or span.until:
        return False
    gap = x - last.x - last.width
    small = width <= max(3.0, near) and (last.width <= max(3.0, near) or len(last.steps) > 1)
    if small and gap <= near:
        return True
    # A plain step has a bar of its own as long as that can be seen; so has a long element.
    elements = bool(span.label or span.count > 1) and bool(before.label or before.count > 1)
    same = last.steps == {span.step} and before.attempt == span.attempt
    wide = near if span.status in PROBLEMS else max(_GAP, near)
    return same and elements and width < _LONG and gap <= wide
