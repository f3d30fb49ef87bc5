"""What workers have left of a run, as events that nobody has heard yet."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from nbflow.errors import StoreError
from nbflow.record.events import ElementRecords, Event, Status
from nbflow.record.minutes import opened
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState
from nbflow.store.kept import KeptSpan
from nbflow.worker.effect import read_receipt


def harvested(receipts: Iterable[bytes], state: RunState) -> list[Event]:
    """List what receipts tell of steps and elements that ended well, and is not known.

    What failed is tried again in any case, and so is not told. What several receipts
    tell is told once, in the order in which it happened.

    Parameters
    ----------
    receipts
        Those of effects and of segments.
    state
        What is known.
    """
    told = [event for receipt in receipts for event in events_of(receipt)]
    found: list[Event] = []
    for event in sorted(told, key=lambda each: each.at):
        step = state.steps.get(event.step)
        if step is None:
            continue
        fresh = _undone(event, step) if event.undo else _done(event, step)
        found += fresh
        state = state.apply(fresh)
    return found


def events_of(receipt: bytes) -> list[Event]:
    """List what a receipt tells, be it of an effect or of a segment."""
    # Those of effects begin with a number, those of segments do not.
    with suppress(StoreError):
        return opened(receipt)
    with suppress(StoreError):
        return [read_receipt(receipt)[1]]
    return []


def _undone(event: Event, step: StepState) -> list[Event]:
    known = step.undone.get(event.element)
    is_new = known is None or not known.status.final
    return [event] if event.status is Status.COMPENSATED and is_new else []


def _done(event: Event, step: StepState) -> list[Event]:
    if step.status.final:
        return []
    if step.mapped:
        return _of_elements(event, step)
    return [event] if event.status is Status.COMPLETED and event.element is None else []


def _of_elements(event: Event, step: StepState) -> list[Event]:
    """Give what is told of elements that ended well, and that are not known."""
    records = event.elements
    if records is None:
        if event.status is not Status.COMPLETED or event.element is None or event.element < 0:
            return []
        records = _record(event, event.element)
        event = replace(event, elements=records, element=None, kept=None, preview=None)
    bad = {n for n, s in enumerate(records.statuses, records.start) if not s.succeeded}
    for part in step.elements:
        bad.update(range(max(part.start, records.start), min(part.stop, records.stop)))
    return [replace(event, elements=each) for each in records.without(sorted(bad))]


def _record(event: Event, number: int) -> ElementRecords:
    kept = event.kept
    return ElementRecords(
        number,
        (Status.COMPLETED,),
        (event.seconds or 0.0,),
        {} if event.preview is None else {number: event.preview},
        bytes=0 if event.preview is None else event.preview.bytes,
        labels=event.labels or {},
        kept=() if kept is None else (KeptSpan(number, number + 1, kept, None),),
    )
