"""What is called when a run has failed, and with what."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from nbflow.algebra.flow import Flow, connected, constant
from nbflow.errors import quoted
from nbflow.record.events import Status
from nbflow.record.failure import revived
from nbflow.record.state import RunState


@dataclass(frozen=True, slots=True)
class Failure:
    """One step that failed, as ``flow.on_error()`` is told of it.

    Attributes
    ----------
    step
        The step.
    element
        Which element of a mapped step failed first; None for a plain step.
    error
        What it raised.
    attempts
        How often it was tried.
    worker
        Where it ran.
    """

    step: str
    element: int | str | None
    error: BaseException
    attempts: int = 1
    worker: str = ""


def failures_of(state: RunState) -> list[Failure]:
    """List the steps of a run that failed, the first one first."""
    failed = [each for each in state.steps.values() if each.status is Status.FAILED]
    failed.sort(key=lambda each: each.ended or 0.0)
    found = []
    for each in failed:
        if each.error is None:
            continue
        failing = {
            number: part.labels.get(number, number)
            for part in each.elements
            for number in part.errors
            if number not in part.letters
        }
        element = failing[min(failing)] if failing else None
        error = revived(each.error)
        found.append(Failure(each.name, element, error, each.attempts, each.worker))
    return found


def notify(handlers: Iterable[Flow], failures: list[Failure]) -> None:
    """Tell of failures; a handler that fails itself is warned of and masks nothing."""
    for handler in handlers:
        try:
            connected(constant(failures), handler).call()
        except Exception as error:  # noqa: BLE001 - it must not stand in the way of the first
            warnings.warn(
                f"the on_error handler {quoted(handler.name)} failed itself: "
                f"{type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=2,
            )
