"""A run in words and in one table."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic
from nbflow.errors import quoted
from nbflow.record.events import DeadLetter, ErrorRecord, Status
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState

if TYPE_CHECKING:
    import pandas as pd


def steps_table(state: RunState) -> pd.DataFrame:
    """Make the table of steps of a run.

    With ``NBFLOW_DETERMINISTIC=1``, what differs from run to run is left empty.
    """
    import pandas as pd

    steps = list(state.steps.values())
    if is_deterministic():
        steps = [replace(s, started=None, seconds=None, bytes=None, worker="") for s in steps]
    started = [each.started if each.started is not None else float("nan") for each in steps]
    return pd.DataFrame(
        {
            "status": pd.array([str(each.status) for each in steps], dtype="str"),
            "attempts": [each.attempts for each in steps],
            "started": pd.to_datetime(started, unit="s", utc=True),
            "seconds": pd.Series([each.seconds for each in steps], dtype="float64").array,
            "rows": pd.array([each.rows for each in steps], dtype="Int64"),
            "columns": pd.array([each.columns for each in steps], dtype="Int64"),
            "bytes": pd.array([each.bytes for each in steps], dtype="Int64"),
            "worker": pd.array([each.worker for each in steps], dtype="str"),
            "reason": pd.array([reason_of(each) for each in steps], dtype="str"),
        },
        index=pd.Index(list(state.steps), name="step"),
    )


def reason_of(state: StepState) -> str:
    """Say in one line why a step has no value; nothing if there is nothing to say."""
    for called, doubt in state.in_doubt:
        return f"{called} is in doubt: {doubt}" if state.mapped else f"in doubt: {doubt}"
    own = state.reason
    if state.error is not None:
        own = f"{state.error.type_name}: {state.error.message}"
    failed = [each.error for each in state.undone.values() if each.error is not None]
    if failed:
        undoing = f"undoing it failed: {failed[0].type_name}: {failed[0].message}"
        return f"{own}; {undoing}" if own else undoing
    return own


def element_of(state: StepState, number: int) -> tuple[Status, str]:
    """Tell how one element of a mapped step is, and why."""
    if number in state.doubts:
        return Status.RUNNING, f"in doubt: {state.doubts[number]}"
    for part in state.elements:
        if part.start <= number < part.stop:
            error, reason = part.errors.get(number), part.reasons.get(number, "")
            if error is not None:
                reason = f"{error.type_name}: {error.message}"
            return part.statuses[number - part.start], reason
    return state.status, reason_of(state)


def letters_table(state: RunState, *, trusted: bool = True) -> pd.DataFrame:
    """Make the table of the elements that failed and were put aside.

    Parameters
    ----------
    state
        The run.
    trusted
        Whether inputs may be unpickled; otherwise they are given in words.
    """
    import pandas as pd

    rows = [
        (
            name,
            element,
            pickle.loads(letter.packed) if trusted and letter.packed is not None else letter.shown,
            f"{error.type_name}: {error.message}",
            attempts,
        )
        for name, step in state.steps.items()
        for element, letter, error, attempts in _letters(step)
    ]
    columns = ["step", "element", "input", "error", "attempts"]
    table = pd.DataFrame({name: pd.Series(dtype="object") for name in columns})
    if rows:
        cells = list(zip(*rows, strict=True))
        # An input may be a list or a frame, and still is one cell.
        table = pd.DataFrame({n: _cells(each) for n, each in zip(columns, cells, strict=True)})
    return table


def _letters(state: StepState) -> Iterator[tuple[int | str, DeadLetter, ErrorRecord, int]]:
    for part in sorted(state.elements, key=lambda part: part.start):
        for number in sorted({*part.letters, *part.inside}):
            for each in part.inside.get(number, ()):
                yield each.element, each.letter, each.error, each.attempts
            if number in part.letters:
                element, attempts = part.labels.get(number, number), part.attempts.get(number, 1)
                yield element, part.letters[number], part.errors[number], attempts


def _cells(values: Sequence[Any]) -> pd.Series[Any]:
    import numpy as np
    import pandas as pd

    cells = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        cells[number] = value
    return pd.Series(cells).infer_objects()


def dead_of(state: RunState) -> dict[str, list[int]]:
    """List the elements that were put aside, or in which something was, by step."""
    found = {
        name: sorted(n for part in step.elements for n in {*part.letters, *part.inside})
        for name, step in state.steps.items()
    }
    return {name: numbers for name, numbers in found.items() if numbers}


def first_failed(state: StepState) -> int | None:
    """Give the number of the first element that failed."""
    failed = [
        number for part in state.elements for number in part.errors if number not in part.letters
    ]
    aside = [number for part in state.elements for number in part.errors]
    return min(failed or aside, default=None)


def number_of(state: StepState, element: str) -> int | None:
    """Find an element of a mapped step by its number or its key."""
    for number, label in state.labels.items():
        if label == element:
            return number
    if element.isdecimal() and state.mapped and int(element) < (state.total or 0):
        return int(element)
    return None


def keys_of(state: StepState) -> list[int | str]:
    """Name the elements of a mapped step that have a value, in order."""
    labels = state.labels
    numbers = sorted(
        part.start + index
        for part in state.elements
        for index, status in enumerate(part.statuses)
        if status.succeeded
    )
    return [labels.get(number, number) for number in numbers]


def why(state: RunState) -> str:
    """Say why a run has no result where no step has failed."""
    if state.reason:
        return state.reason
    undone = [each.name for each in state.steps.values() if each.status is Status.COMPENSATED]
    if undone:
        return f"what it had done was undone ({', '.join(undone)}); run the flow as a new run"
    return "; ".join(sorted({each.reason for each in state.steps.values() if each.reason}))


def note_of(state: RunState, failed: list[StepState]) -> str:
    """Word the note on the exception of a run: what failed, where, and how to go on.

    Parameters
    ----------
    state
        The run.
    failed
        The steps that failed, the first one first.
    """
    first = failed[0]
    name = first.called(first_failed(first))
    where = f" in run {quoted(state.run_id)} on worker {first.worker or 'unknown'}"
    if is_deterministic():
        where = ""
    note = f"step {quoted(name)} failed{where}; the run is nbflow.last_run()"
    others = [f"{quoted(each.name)} ({reason_of(each)[:200]})" for each in failed[1:6]]
    if others:
        more = f" and {len(failed) - 6} more" if len(failed) > 6 else ""
        note += f"\nalso failed: {', '.join(others)}{more}"
    if state.rollback is not None:
        undone = sum(step.status is Status.COMPENSATED for step in state.steps.values())
        note += f"\nthe run was rolled back: {undone} step{'s' * (undone != 1)} undone"
        note += f", but {state.reason}" * bool(state.reason)
    return note
