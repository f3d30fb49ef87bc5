"""What is known of steps from before: results that are kept, and why others have none.

A run that is resumed runs its whole plan once more, and remembers. So does a task that
Dask starts a second time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.errors import RunError
from nbflow.record.events import ElementRecords, Status
from nbflow.record.stepstate import StepState
from nbflow.record.turns import Span
from nbflow.store.kept import Kept, KeptSpan


@dataclass(frozen=True, slots=True)
class Held:
    """A value that is elsewhere: read when somebody needs it.

    Attributes
    ----------
    kept
        Where it is; None if it is known that there was one, and it was not kept.
    index
        Which member of a list that was kept as one.
    """

    kept: Kept | None
    index: int | None = None

    def __repr__(self) -> str:
        return "a result that is kept" if self.kept else "a result that was not kept"


GONE = Held(None)


@dataclass(frozen=True, slots=True)
class Recollection:
    """What is known of one step.

    Attributes
    ----------
    value
        Its result, or why it has none, of a step without elements; None if nothing is
        known.
    spans
        The elements that are known, in order.
    kept
        Where neighbouring elements are kept, in order.
    absents
        The elements without a value, by number.
    total
        How many elements there are, if all of them are known.
    """

    value: Held | Absent | None = None
    spans: tuple[Span, ...] = ()
    kept: tuple[KeptSpan, ...] = ()
    absents: Mapping[int, Absent] = field(default_factory=dict)
    total: int | None = None

    def covers(self, start: int, stop: int) -> bool:
        """Tell whether all of some neighbouring elements are known."""
        inside = [(max(a, start), min(b, stop)) for a, b in self.spans if a < stop and start < b]
        return sum(b - a for a, b in inside) == stop - start

    def element(self, number: int) -> Held | Absent | None:
        """Give what is known of an element; None if that is nothing."""
        at = bisect_right(self.spans, number, key=_start) - 1
        if at < 0 or number >= self.spans[at][1]:
            return None
        absent = self.absents.get(number)
        if absent is not None:
            return absent
        at = bisect_right(self.kept, number, key=_start) - 1
        if at < 0 or number >= self.kept[at].stop:
            return GONE
        span = self.kept[at]
        return Held(span.kept, None if span.first is None else number - span.first)

    def within(self, start: int, stop: int) -> Recollection:
        """Give what is known of some neighbouring elements."""
        return Recollection(
            None,
            tuple(each for each in self.spans if each[0] < stop and start < each[1]),
            tuple(each for each in self.kept if each.start < stop and start < each.stop),
            {n: each for n, each in self.absents.items() if start <= n < stop},
            self.total,
        )

    def with_more(self, other: Recollection) -> Recollection:
        """Give what this one and another know of the same step, of other elements each."""
        if other.value is not None:
            return other
        return Recollection(
            self.value,
            tuple(sorted({*self.spans, *other.spans})),
            tuple(sorted({*self.kept, *other.kept}, key=_start)),
            {**self.absents, **other.absents},
            self.total,
        )


def _start(span: tuple[Any, ...]) -> int:
    return int(span[0])


def recollected(state: StepState, *, gone: bool = True) -> Recollection | None:
    """Say what is known of a step; None if nothing is.

    Parameters
    ----------
    state
        How it is.
    gone
        Whether that counts which leaves nothing to read: results that are known to have
        been there, but were not kept, and failures that stay.
    """
    if not state.mapped:
        value = _value(state, gone=gone)
        return None if value is None else Recollection(value)
    spans: list[Span] = []
    absents: dict[int, Absent] = {}
    parts = sorted(state.elements, key=lambda part: part.start)
    kept = sorted({each for part in parts for each in part.kept}, key=_start)
    for part in parts:
        _take_in(part, state.name, spans, absents, failed=gone)
    total = state.total if state.status.final else None
    found = Recollection(None, tuple(spans), tuple(kept), absents, total)
    if not gone:
        found = Recollection(None, tuple(_merged(spans, kept, absents)), tuple(kept), absents)
    return found if found.spans or found.total == 0 else None


def is_kept(state: StepState) -> bool:
    """Tell whether the whole result of a step can be read without the workers."""
    if not state.mapped:
        return state.status.succeeded and state.kept is not None
    known = recollected(state, gone=False)
    return known is not None and state.total is not None and known.covers(0, state.total)


def _value(state: StepState, *, gone: bool) -> Held | Absent | None:
    if state.status.succeeded:
        return Held(state.kept) if state.kept is not None else (GONE if gone else None)
    if state.status is Status.SKIPPED and state.chosen:
        return Absent(state.name, state.reason)
    if state.status is Status.FAILED and gone:
        return Absent(state.name, f"{state.name} failed", failed=True)
    return None


def _take_in(
    part: ElementRecords, name: str, spans: list[Span], absents: dict[int, Absent], *, failed: bool
) -> None:
    """Add the elements that ended for good; those that failed only if that is meant to stay."""
    for number, status in enumerate(part.statuses, part.start):
        label = part.labels.get(number, number)
        if status is Status.FAILED and number in part.letters:
            absents[number] = Absent(f"{name}[{label}]", f"{name}[{label}] failed", collected=True)
        elif status is Status.FAILED and failed:
            absents[number] = Absent(f"{name}[{label}]", f"{name}[{label}] failed", failed=True)
        elif status is Status.SKIPPED and number in part.spared:
            aside = number in part.aside
            absents[number] = Absent(f"{name}[{label}]", part.reasons[number], collected=aside)
        elif not status.succeeded:
            continue
        if spans and spans[-1][1] == number:
            spans[-1] = (spans[-1][0], number + 1)
        else:
            spans.append((number, number + 1))


def _merged(spans: list[Span], kept: list[KeptSpan], absents: Mapping[int, Absent]) -> list[Span]:
    """Give the elements that are known and whose values, if they have any, are kept."""
    there = {n for each in kept for n in range(each.start, each.stop)} | set(absents)
    found: list[Span] = []
    for start, stop in spans:
        for number in range(start, stop):
            if number not in there:
                continue
            if found and found[-1][1] == number:
                found[-1] = (found[-1][0], number + 1)
            else:
                found.append((number, number + 1))
    return found


class Shelf:
    """Gives values that are held, reading each file once.

    Parameters
    ----------
    load
        Gives the value of bytes in the store, or of those at hand.
    """

    def __init__(self, load: Callable[[Kept], Any]) -> None:
        self._load = load
        self._lists: dict[Kept, list[Any]] = {}

    def opened(self, value: Any) -> Any:
        """Read a value if it is one that is held, or give it back."""
        return self.value(value) if type(value) is Held else value

    def all_opened(self, values: list[Any]) -> list[Any]:
        """Read all values of a list that are held."""
        if not any(type(value) is Held for value in values):
            return values
        return [self.opened(value) for value in values]

    def value(self, held: Held) -> Any:
        """Read a value.

        Raises
        ------
        RunError
            If it was not kept.
        StoreError
            If it is missing or damaged.
        """
        if held.kept is None:
            raise RunError("the result was not kept, as computing it took less than keeping it")
        if held.index is None:
            return self._load(held.kept)
        if held.kept not in self._lists:
            self._lists[held.kept] = self._load(held.kept)
        return self._lists[held.kept][held.index]
