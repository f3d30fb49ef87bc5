"""Waits for a run that another process drives, by reading what that one writes down."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nbflow.running.history import recorded_state

if TYPE_CHECKING:
    from nbflow.running.run import Run

_LOOK_SECONDS = 0.2


def followed(run: Run, timeout: float | None) -> bool:
    """Wait for the end of a run; tell whether it has come.

    Parameters
    ----------
    run
        One that was loaded.
    timeout
        How many seconds to wait at most.
    """
    assert run._archive is not None
    journal = run._archive.journal
    deadline = None if timeout is None else time.monotonic() + timeout
    while not run._record.state.status.final:
        if deadline is not None and time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
        run._record = recorded_state(journal.entry(run.id), journal)
    return True
