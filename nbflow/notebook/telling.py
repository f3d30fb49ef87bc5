"""How steps of a run are put into words, in pictures and in text."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nbflow.events import Status
from nbflow.notebook.figure import numbered
from nbflow.notebook.style import LOOKS, SEVERITY
from nbflow.notebook.wording import (
    clock,
    count,
    counted,
    dimensions,
    duration,
    printable,
    without_addresses,
)
from nbflow.stepstate import StepState

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    sign, time = LOOKS[state.status].sign, "" if deterministic else duration(state.seconds)
    if state.status is Status.SKIPPED:
        several = len({each for part in state.elements for each in part.reasons.values()}) > 1
        why = reason(state, deterministic=deterministic, limit=limit)
        if several or not why:
            why = f"{count(state.skipped)} skipped" if state.skipped else "skipped"
        return [f"{sign} {why}"]
    if state.status is Status.RETRYING:
        first, *rest = retrying(state, deterministic=deterministic)
        return [f"{sign} {first}", *rest]
    if state.mapped and (state.done or not state.status.final):
        parts = [f"{sign} {elements(state)}", *put_aside(state), time]
    elif state.status is Status.COMPLETED and time:
        parts = [f"{sign} {time}"]
    else:
        parts = [f"{sign} {state.status.value}", time]
    return [part for part in (*parts, tried(state)) if part]


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
    said = without_addresses(state.reason) if deterministic else state.reason
    return printable(said, limit)


def error(state: StepState, *, deterministic: bool, limit: int) -> str:
    """Say with what a step failed."""
    if state.error is None:
        return ""
    said = state.error.message
    said = without_addresses(said) if deterministic else said
    return printable(f"{state.error.type_name}: {said}", limit)
