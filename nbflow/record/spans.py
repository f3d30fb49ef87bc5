"""Where the time of a run went: what was computed where, from when to when.

A span is one attempt of a step, or neighbouring elements of a mapped step, or the undoing
of one. All of it follows from the events, so a run that was loaded tells the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from nbflow.algebra.topology import Topology
from nbflow.record.events import ElementRecords, Event, Status
from nbflow.record.state import RunState
from nbflow.record.turns import Resumed

# Elements that take less on average are told of together.
_BRIEF_SECONDS = 0.004


@dataclass(frozen=True, slots=True)
class Span:
    """What was computed in one place without a pause.

    Attributes
    ----------
    step, worker
        What, and where.
    start, end
        From when to when, in seconds since the epoch.
    status
        How it ended; ``retrying`` if it was tried again after it.
    attempt
        Which try it was.
    label
        The name of the element; empty for a plain step, and for several elements.
    count
        How many elements it stands for.
    undo
        Whether it undid the step.
    until
        When the next attempt was due, if one was.
    thread
        In which thread of the worker elements were computed; 0 if that is not known.
    """

    step: str
    worker: str
    start: float
    end: float
    status: Status
    attempt: int = 1
    label: str = ""
    count: int = 1
    undo: bool = False
    until: float | None = None
    thread: int = 0


def spans_of(
    topology: Topology, state: RunState, events: Sequence[Event], now: float
) -> list[Span]:
    """List what was computed in a run, in the order of its beginning.

    Parameters
    ----------
    topology
        The flow.
    state, events
        How the run is, and what has happened in it.
    now
        Where what still runs ends, in seconds since the epoch.

    Examples
    --------
    >>> from nbflow import step
    >>> from nbflow.record.state import PLAIN
    >>> flow = 4 >> step(abs)
    >>> events = [Event("abs", Status.COMPLETED, 12.0, worker="a", seconds=1.5)]
    >>> state = RunState.planned("r1", "etl", {"abs": PLAIN}, 10.0).apply(events)
    >>> [(each.step, each.start, each.end) for each in spans_of(flow.topology, state, events, 20.0)]
    [('abs', 10.5, 12.0)]
    """
    found = _Spans(topology)
    for event in events:
        found.take(event)
    found.close(state, now)
    reused = {name for name, step in state.steps.items() if step.status is Status.REUSED}
    spans = [
        replace(each, status=Status.REUSED)
        if each.step in reused and each.status is Status.COMPLETED and not each.undo
        else each
        for each in found.spans
        if each.step in state.steps
    ]
    return sorted(spans, key=lambda each: (each.start, each.end))


class _Spans:
    """Collects spans, event by event."""

    def __init__(self, topology: Topology) -> None:
        self.spans: list[Span] = []
        # What is known to have begun, and not yet to have ended.
        self._open: dict[tuple[str, str], Span] = {}
        self._before = _earlier(topology)
        # How long the elements took in each step.
        self._took: dict[tuple[str, int], float] = {}

    def take(self, event: Event) -> None:
        if not event.step:
            self._take_turn(event)
        elif event.elements is not None:
            self._open.pop((event.step, event.worker), None)
            self.spans += self._of_elements(event, event.elements)
        elif event.status is Status.RUNNING and not event.undo and event.worker:
            self._begin(event)
        elif event.seconds is not None and event.worker:
            self._open.pop((event.step, event.worker), None)
            self.spans.append(_span(event))

    def _begin(self, event: Event) -> None:
        for key, span in list(self._open.items()):
            # Its worker was lost, or else it would have told how it ended.
            if key[0] == event.step and span.attempt < event.attempt:
                del self._open[key]
                self.spans.append(replace(span, end=event.at, status=Status.INTERRUPTED))
        span = Span(event.step, event.worker, event.at, event.at, Status.RUNNING, event.attempt)
        self._open.setdefault((event.step, event.worker), span)

    def _take_turn(self, event: Event) -> None:
        if event.status is Status.INTERRUPTED:
            self._stop(event.at, Status.INTERRUPTED)
        if isinstance(event.turn, Resumed):
            self._stop(event.at, Status.INTERRUPTED)
            names = event.turn.renamed
            self.spans = [replace(s, step=names.get(s.step, s.step)) for s in self.spans]

    def close(self, state: RunState, now: float) -> None:
        """End what still runs."""
        for span in self._open.values():
            step = state.steps.get(span.step)
            if step is not None and not step.status.final:
                status = Status.RUNNING if not state.status.final else Status.INTERRUPTED
                end = now if not state.status.final else state.ended or now
                self.spans.append(replace(span, end=max(span.start, end), status=status))

    def _stop(self, at: float, status: Status) -> None:
        for span in self._open.values():
            self.spans.append(replace(span, end=max(span.start, at), status=status))
        self._open.clear()

    def _of_elements(self, event: Event, records: ElementRecords) -> Iterator[Span]:
        """Lay out elements in the time in which they are known to have been computed.

        One by one they are not told of: each has its share of the time, in which the
        steps of an element follow one another.
        """
        seconds, length = records.seconds, len(records.seconds)
        if not length:
            return
        for number, took in enumerate(seconds, records.start):
            self._took[event.step, number] = took
        ended = event.at if records.ended is None else records.ended
        begun = event.at - (event.seconds or 0.0) if records.began is None else records.began
        share = max(0.0, ended - begun) / length
        if length == 1:
            begun, share = ended - seconds[0], seconds[0]
        laid = []
        for index, took in enumerate(seconds):
            number = records.start + index
            before = [self._took.get((each, number), 0.0) for each in self._before[event.step]]
            total = sum(before) + took
            scale = min(1.0, share / total) if total and length > 1 else 1.0
            start = begun + index * share + (sum(before) * scale if length > 1 else 0.0)
            laid.append(
                Span(
                    event.step,
                    event.worker,
                    start,
                    start + took * scale,
                    records.statuses[index],
                    records.attempts.get(number, 1),
                    str(records.labels.get(number, number)),
                    thread=records.thread,
                )
            )
        ran = [each for each in laid if each.status in (Status.COMPLETED, Status.FAILED)]
        yield from _together(ran) if sum(seconds) < _BRIEF_SECONDS * length else ran


def _together(spans: Sequence[Span]) -> Iterator[Span]:
    """Make one span of neighbours that ended alike."""
    for _, group in groupby(spans, key=lambda each: each.status):
        first, *others = group
        last = others[-1] if others else first
        label = "" if others else first.label
        yield replace(first, end=last.end, label=label, count=1 + len(others))


def _span(event: Event) -> Span:
    return Span(
        event.step,
        event.worker,
        event.at - (event.seconds or 0.0),
        event.at,
        event.status,
        event.attempt,
        undo=event.undo,
        until=event.retry_at if event.status is Status.RETRYING else None,
    )


def _earlier(topology: Topology) -> Mapping[str, Sequence[str]]:
    """Name for each step those through which its elements go before."""
    maps: dict[int, list[str]] = {}
    found: dict[str, Sequence[str]] = {}
    for name, node in zip(topology.names, topology.nodes, strict=True):
        found[name] = ()
        if node.axis is not None:
            inside = maps.setdefault(id(node.axis.lineage[0].key), [])
            found[name] = tuple(inside)
            inside.append(name)
    return found


def critical_path(topology: Topology, spans: Sequence[Span]) -> list[str]:
    """Name the steps on which the end of the run waited, from the first to the last.

    Parameters
    ----------
    topology
        The flow.
    spans
        What was computed.
    """
    ends: dict[str, float] = {}
    for each in spans:
        if not each.undo and each.status is not Status.RETRYING:
            ends[each.step] = max(ends.get(each.step, each.end), each.end)
    path: list[str] = []
    at = max(ends, key=lambda name: ends[name], default=None)
    while at is not None:
        path.append(at)
        before = [topology.names[each] for each in topology.upstream[topology.positions[at]]]
        known = [name for name in before if name in ends]
        at = max(known, key=lambda name: ends[name], default=None)
    return path[::-1]
