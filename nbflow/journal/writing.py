"""What the writer of a journal is to do, and whom it tells."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbflow.journal.ledger import Ledger


@dataclass(slots=True, eq=False)
class Writing:
    """Something to write.

    Attributes
    ----------
    write
        Writes it; None for nothing.
    told
        Called in the thread of the writer, after the commit, with what `write` gave and
        None, or with None and why nothing was written.
    of
        The run, and the epoch it is written under. After a failure nothing more is
        written of them.
    creates
        Whether a journal is made where there is none.
    """

    write: Callable[[Ledger], Any] | None
    told: Callable[[Any, Exception | None], None] | None = None
    of: tuple[str, int] | None = None
    creates: bool = False


def call(told: Callable[..., None], *values: Any) -> None:
    """Call what is not ours; its error is shown as that of a thread, and ends nothing.

    Examples
    --------
    >>> call(print, "written")
    written
    """
    try:
        told(*values)
    except BaseException:  # noqa: BLE001 - the thread must go on
        kind, error, trace = sys.exc_info()
        assert kind is not None
        threading.excepthook(
            threading.ExceptHookArgs((kind, error, trace, threading.current_thread()))
        )
