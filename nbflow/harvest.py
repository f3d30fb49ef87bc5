"""What workers have left of a run, as events that nobody has heard yet."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from nbflow.effect import read_receipt
from nbflow.errors import StoreError
from nbflow.events import ElementRecords, Event, Status
from nbflow.minutes import opened
from nbflow.state import RunState


def harvested(receipts: Iterable[bytes], state: RunState) -> list[Event]:
    """List what receipts tell of steps and elements that ended well, and is not known.

    What failed is tried again in any case, and so is not told.

    Parameters
    ----------
    receipts
        Those of effects and of segments.
    state
        What is known.
    """
    found = []
    for receipt in receipts:
        for event in events_of(receipt):
            step = state.steps.get(event.step)
            if step is None:
                continue
            if event.undo:
                found += [event] if event.status is Status.COMPENSATED else []
            elif not step.status.final:
                found += _of_elements(event) if step.mapped else _of_step(event)
    return found


def events_of(receipt: bytes) -> list[Event]:
    """List what a receipt tells, be it of an effect or of a segment."""
    # Those of effects begin with a number, those of segments do not.
    with suppress(StoreError):
        return opened(receipt)
    with suppress(StoreError):
        return [read_receipt(receipt)[1]]
    return []


def _of_step(event: Event) -> list[Event]:
    return [event] if event.status is Status.COMPLETED and event.element is None else []


def _of_elements(event: Event) -> list[Event]:
    """Give what is told of elements that ended well."""
    if event.elements is not None:
        records = event.elements
        bad = [n for n, s in enumerate(records.statuses, records.start) if not s.succeeded]
        return [replace(event, elements=each) for each in records.without(bad)]
    if event.status is not Status.COMPLETED or event.element is None or event.element < 0:
        return []
    number, kept = event.element, event.kept
    records = ElementRecords(
        number,
        (Status.COMPLETED,),
        (event.seconds or 0.0,),
        {} if event.preview is None else {number: event.preview},
        bytes=0 if event.preview is None else event.preview.bytes,
        kept=() if kept is None else ((number, number + 1, kept),),
    )
    return [replace(event, elements=records, element=None, kept=None, preview=None)]
