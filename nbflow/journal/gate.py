"""What keeps SQLite's connections out of forked processes.

A connection that was open when a process forked damages its file: the child believes that
it has locks that are only its parent's. So a fork waits until nobody uses one, and the
connections that are kept open are closed before it.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final, Protocol
from weakref import WeakSet

from nbflow.errors import StoreError

# Longer than a connection waits for the lock of another process.
_PATIENCE: Final = 20.0


class Connected(Protocol):
    """What keeps a connection open while it does not use it."""

    def disconnect(self) -> None:
        """Close the connection, if there is one; it is opened again when it is wanted."""


class Gate:
    """Lets threads use connections, but never while the process forks.

    Attributes
    ----------
    members
        What keeps connections open.

    Examples
    --------
    >>> with gate:
    ...     pass  # connect, read, close
    """

    def __init__(self) -> None:
        self.members: WeakSet[Connected] = WeakSet()
        self._condition = threading.Condition()
        self._inside = 0
        self._crossed = False

    def __enter__(self) -> None:
        with self._condition:
            if self._crossed:
                raise StoreError(
                    "this process was forked while its parent used the journal, and could damage"
                    " it. Nothing is read or written from here. Start processes by 'spawn' in"
                    " place of 'fork'."
                )
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def shut(self) -> None:
        """Wait until nobody is inside and close what is open, to fork."""
        self._condition.acquire()
        if self._condition.wait_for(lambda: not self._inside, _PATIENCE):
            for each in list(self.members):
                each.disconnect()
        else:
            self._crossed = True

    def open_in_parent(self) -> None:
        """Go on after a fork."""
        self._crossed = False
        self._condition.release()

    def open_in_child(self) -> None:
        """Begin anew in the child of a fork, where no other thread is."""
        self.members = WeakSet()
        self._condition = threading.Condition()
        self._inside = 0


gate: Final = Gate()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=gate.shut,
        after_in_parent=gate.open_in_parent,
        after_in_child=gate.open_in_child,
    )
