"""How one attempt of a step ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nbflow.record.events import ErrorRecord, InnerLetter
from nbflow.store.kept import Kept
from nbflow.values.preview import Preview


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    Attributes
    ----------
    value
        The result; or an `Absent`, if the step was not to run.
    seconds
        How long it took.
    look
        A preview of the result.
    error
        What it raised.
    wait
        In how many seconds it is tried again; None for not at all.
    inside
        What a map inside of an element has put aside.
    kept
        Where the result is kept.
    doubt
        Why nobody knows whether it ended.
    """

    value: Any
    seconds: float
    look: Preview | None = None
    error: ErrorRecord | None = None
    wait: float | None = None
    inside: tuple[InnerLetter, ...] = ()
    kept: Kept | None = None
    doubt: str = ""
