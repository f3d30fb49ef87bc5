"""Receipts that could not be left in time: tried again as long as the process lives.

The disk was full, or a network was down. What an effect gave is known here and nowhere
else, and whoever comes after it waits for the receipt while this process lives.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from nbflow.errors import StoreError

_AGAIN_SECONDS: Final = 1.0
_MOST: Final = 1_000


class _Late:
    """One thread for each process that tries again."""

    def __init__(self) -> None:
        self._open: list[Callable[[], object]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, leave: Callable[[], object]) -> None:
        with self._changed:
            # More than these would hold too many results in memory.
            self._open = [*self._open, leave][-_MOST:]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="nbflow-late", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._open)
            time.sleep(_AGAIN_SECONDS)
            with self._changed:
                pending = list(self._open)
            left = [each for each in pending if _done(each)]
            with self._changed:
                self._open = [each for each in self._open if each not in left]


def _done(leave: Callable[[], object]) -> bool:
    try:
        leave()
    except StoreError:
        return False
    return True


_late = _Late()


def leave_later(leave: Callable[[], object]) -> None:
    """Leave a receipt as soon as that is possible, in a thread of its own.

    Parameters
    ----------
    leave
        Leaves it, and raises a `StoreError` as long as it cannot.
    """
    _late.add(leave)


def _anew() -> None:
    """Begin again in a process that was forked: the parent leaves its own receipts."""
    global _late  # noqa: PLW0603 - a process has one
    _late = _Late()


os.register_at_fork(after_in_child=_anew)
