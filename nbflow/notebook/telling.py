"""How steps of a run are put into words, in pictures and in text."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from nbflow.algebra.moment import begins, clock
from nbflow.notebook.appearance import counts, shown
from nbflow.notebook.figure import numbered
from nbflow.notebook.style import LOOKS, Mark, Shown
from nbflow.notebook.wording import (
    count,
    counted,
    dimensions,
    duration,
    printable,
    timeless,
    without_addresses,
)
from nbflow.record.events import ErrorRecord, Status
from nbflow.record.stepstate import StepState

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of what waits for its time, where times are left out.
LATER = "begins later"


def worst(states: Iterable[StepState]) -> Shown | None:
    """Give the status that a stack of steps is shown with."""
    return next(iter(counts(states)), None)


def tally(states: Iterable[StepState]) -> str:
    """Count steps by status, the worst first.

    Examples
    --------
    >>> tally([StepState("a", Status.COMPLETED), StepState("b", Status.FAILED)])
    '✗ 1 failed · ✓ 1'
    """
    found, parts = counts(states), []
    for status, number in found.items():
        word = "" if status is Status.COMPLETED and len(found) > 1 else f" {status.value}"
        parts.append(f"{LOOKS[status].sign} {count(number)}{word}")
    return " · ".join(parts)


def total(states: Iterable[StepState]) -> str:
    """Write how large the values of steps are together."""
    known = [state for state in states if state.rows is not None]
    if not known:
        return ""
    widths = {state.columns for state in known}
    rows = sum(state.rows for state in known if state.rows is not None)
    return dimensions(rows, widths.pop() if len(widths) == 1 else None)


def told(state: StepState, *, deterministic: bool, limit: int) -> list[str]:
    """Say how one step is, in a few words: its sign, then what is not as it should be.

    Parameters
    ----------
    state
        The step.
    deterministic
        Whether to leave out what differs from run to run, such as times.
    limit
        How long a reason may be.

    Examples
    --------
    >>> state = StepState("clean", Status.COMPLETED, attempts=2, seconds=0.5)
    >>> told(state, deterministic=False, limit=40)
    ['✓ 500 ms', '2 attempts']
    """
    status, took = shown(state), "" if deterministic else duration(state.seconds)
    sign = LOOKS[status].sign
    if state.status is Status.SKIPPED:
        several = len({each for part in state.elements for each in part.reasons.values()}) > 1
        why = reason(state, deterministic=deterministic, limit=limit)
        if several or not why:
            why = f"{count(state.skipped)} skipped" if state.skipped else "skipped"
        return [f"{sign} {why}"]
    if status is Status.RETRYING:
        first, *rest = retrying(state, deterministic=deterministic)
        return [f"{sign} {first}", *rest]
    if status is Status.COMPENSATED or isinstance(status, Mark):
        return [f"{sign} {word(state)}"]
    waits = begin(state, deterministic=deterministic)
    if waits:
        return [f"{sign} {waits}"]
    if state.mapped and (state.done or not status.final):
        parts = [f"{sign} {elements(state)}", *put_aside(state), took]
    elif status is Status.COMPLETED and took:
        parts = [f"{sign} {took}"]
    else:
        parts = [f"{sign} {status.value}", took]
    return [part for part in (*parts, tried(state)) if part]


def word(state: StepState) -> str:
    """Say in a word how a step is, and of a mapped one how much of it.

    Examples
    --------
    >>> word(StepState("pay", Status.RUNNING, mapped=True, total=5, doubts={1: "it was begun"}))
    '1 of 5 in doubt'
    """
    status = shown(state)
    undone = Counter(each.status for each in state.undone.values())
    if not state.mapped or not isinstance(status, Mark):
        return status.value
    if status is Mark.DOUBT:
        return f"{count(len(state.doubts))} of {numbered(state.total)} in doubt"
    parts = [f"{count(undone[Status.FAILED])} not undone"] if undone[Status.FAILED] else []
    parts += [f"{count(undone[Status.COMPENSATED])} undone"] if undone[Status.COMPENSATED] else []
    return ", ".join(parts) or status.value


def begin(state: StepState, *, deterministic: bool) -> str:
    """Say when a step begins that waits for its time."""
    if state.status is not Status.PENDING or state.retry_at is None:
        return ""
    return LATER if deterministic else begins(state.retry_at, time.time())


def elements(state: StepState) -> str:
    """Write how many elements have a value, of how many."""
    ended = state.done - state.failed - state.skipped - state.collected
    return f"{count(max(0, ended))}/{numbered(state.total)}"


def put_aside(state: StepState) -> list[str]:
    """Say what became of the elements that have no value."""
    parts = []
    if state.failed:
        parts.append(f"{LOOKS[Status.FAILED].sign} {count(state.failed)} failed")
    if state.collected:
        parts.append(f"{count(state.collected)} put aside")
    if state.skipped:
        parts.append(f"{count(state.skipped)} skipped")
    return parts


def retrying(state: StepState, *, deterministic: bool) -> list[str]:
    """Say what was tried, and when it will be tried again."""
    said = f"retrying after attempt {count(state.attempts)}" if state.attempts else "retrying"
    at = "" if deterministic else clock(state.retry_at)
    return [said, f"next at {at}"] if at else [said]


def tried(state: StepState) -> str:
    """Say how often a step was tried, if it was more than once."""
    return counted(state.attempts, "attempt") if state.attempts > 1 else ""


def reason(state: StepState, *, deterministic: bool, limit: int) -> str:
    """Say why a step has no value, as far as it did not fail itself."""
    return printable(timeless(state.reason) if deterministic else state.reason, limit)


def doubt(state: StepState, *, deterministic: bool, limit: int) -> str:
    """Say why nobody knows whether a step, or the first such element, has ended."""
    for called, why in state.in_doubt:
        said = f"{called}: {why}" if state.mapped else why
        return printable(timeless(said) if deterministic else said, limit)
    return ""


def error(state: StepState, *, deterministic: bool, limit: int) -> str:
    """Say with what a step failed."""
    return "" if state.error is None else worded(state.error, deterministic, limit)


def worded(error: ErrorRecord, deterministic: bool, limit: int) -> str:
    """Put an error on one line."""
    said = without_addresses(error.message) if deterministic else error.message
    return printable(f"{error.type_name}: {said}", limit)


def undo_error(state: StepState, *, deterministic: bool, limit: int) -> str:
    """Say with what the undoing of a step failed."""
    errors = [each.error for each in state.undone.values() if each.error is not None]
    return worded(errors[0], deterministic, limit) if errors else ""
