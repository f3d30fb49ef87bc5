"""The one thread of a process that writes to a journal, many things in one commit."""

from __future__ import annotations

import atexit
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from nbflow.errors import NbflowError, StoreError, quoted
from nbflow.journal import database
from nbflow.journal.complaint import Gone, complaint, gone
from nbflow.journal.entry import Fenced
from nbflow.journal.gate import gate
from nbflow.journal.lease import Leases
from nbflow.journal.ledger import Ledger
from nbflow.journal.schema import transaction
from nbflow.journal.writing import Writing, call

T = TypeVar("T")

# So much at most is in one commit, which others wait for.
_MOST: Final = 500
# After so long without anything to do the file is closed and the thread ends.
_IDLE: Final = 10.0
_AT_EXIT: Final = 5.0


class Writer:
    """Writes to a journal in a thread of its own.

    What is ordered is written in order. All that has come meanwhile is in one commit. The
    thread is there as long as there is something to do.

    Parameters
    ----------
    path
        The file of the journal.
    lease, beat
        How many seconds a lease holds, and after how many it is renewed.
    patience
        How many seconds to wait for the lock of another process.
    """

    def __init__(self, path: Path, lease: float, beat: float, patience: float) -> None:
        self.path = path
        self.lease = lease
        self._patience = patience
        self._pid = os.getpid()
        self._orders: queue.SimpleQueue[Writing] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._running = False
        self._thread: threading.Thread | None = None
        self._ledger: Ledger | None = None
        self._inode: tuple[int, int] | None = None
        self._leases = Leases(lease, beat)
        self._failed: dict[tuple[str, int], Exception] = {}
        gate.members.add(self)
        atexit.register(self._close_at_exit)

    def put(self, order: Writing) -> None:
        """Order something; it is done later.

        Raises
        ------
        StoreError
            If the process was forked since.
        """
        if os.getpid() != self._pid:
            raise StoreError(
                f"the journal {quoted(self.path, 100)} was opened before this process was forked"
                f" from process {self._pid}, which goes on to use it. Open it anew, with"
                " Journal.at(folder), and begin runs of this process's own."
            )
        self._orders.put(order)
        # After the order is there, for a thread that ends looks once more.
        if not self._running:
            self._start()

    def ask(self, write: Callable[[Ledger], T], *, creates: bool = False) -> T:
        """Order something and wait for what comes of it.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        answer: Future[T] = Future()
        self._put_to_wait(Writing(write, partial(_settle, answer), creates=creates))
        return answer.result()

    def flush(self, timeout: float | None) -> None:
        """Wait until all that was ordered so far is written or has failed.

        Raises
        ------
        StoreError
            If that takes longer than the timeout, in seconds.
        """
        if self._running:
            self._wait(lambda: None, timeout)

    def close(self, timeout: float | None) -> None:
        """Write all that was ordered so far, renew nothing any more, and close the file.

        Raises
        ------
        StoreError
            If that takes longer than the timeout, in seconds.
        """
        if self._running:
            self._wait(self._rest, timeout)

    def hold(self, of: tuple[str, int], lost: Callable[[str], None]) -> None:
        """Renew the lease of a run from now on, and tell once if it is lost."""
        self.put(Writing(None, lambda _, __: self._leases.begin(of, lost)))

    def release(self, of: tuple[str, int]) -> None:
        """Renew the lease of a run no more, and let nobody drive it."""
        # If it cannot be written, the lease runs out by itself.
        self.put(
            Writing(
                partial(Ledger.release, run=of[0], epoch=of[1]),
                lambda _, __: self._leases.end(of),
            )
        )

    def disconnect(self) -> None:
        """Close the file, inside the gate or while nobody is; the next order opens it again."""
        ledger, self._ledger = self._ledger, None
        if ledger is not None:
            with suppress(sqlite3.Error):
                ledger.connection.close()

    # --- in any thread ---

    def _wait(self, then: Callable[[], None], timeout: float | None) -> None:
        over = threading.Event()

        def told(_: None, __: Exception | None) -> None:
            then()
            over.set()

        self._put_to_wait(Writing(None, told))
        if not over.wait(timeout):
            raise StoreError(
                f"not all that was to be written to the journal {quoted(self.path, 100)} is there"
                f" after {timeout:g} seconds. Check whether the disk is busy, or another process"
                " keeps the journal locked, and wait for longer."
            )

    def _put_to_wait(self, order: Writing) -> None:
        if threading.current_thread() is self._thread:
            raise StoreError(
                f"the writer of the journal {quoted(self.path, 100)} cannot wait for itself. What"
                " it calls when something is written must hand on to another thread what waits."
            )
        self.put(order)

    def _start(self) -> None:
        with self._starting:
            if self._running:
                return
            self._running = True
            self._thread = threading.Thread(target=self._serve, name="nbflow-journal", daemon=True)
            try:
                self._thread.start()
            except BaseException:
                self._running = False
                raise

    def _close_at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.close(_AT_EXIT)

    # --- in the thread of the writer ---

    def _serve(self) -> None:
        while True:
            group = self._gathered() + self._leases.renewals()
            if group:
                self._do(group)
            elif not self._leases and self._is_over():
                return

    def _gathered(self) -> list[Writing]:
        """Wait for something to do, and take all there is."""
        patience = self._leases.patience()
        group: list[Writing] = []
        with suppress(queue.Empty):
            group.append(self._orders.get(timeout=_IDLE if patience is None else patience))
            while len(group) < _MOST:
                group.append(self._orders.get_nowait())
        return group

    def _is_over(self) -> bool:
        with gate:
            self.disconnect()
        self._running = False
        if self._orders.empty():
            return True
        # It has come since, and whoever brought it may have seen that this thread ran.
        with self._starting:
            if self._running:
                return True
            self._running = True
            return False

    def _do(self, group: list[Writing]) -> None:
        outcomes: list[tuple[Any, Exception | None]] = [(None, None)] * len(group)
        if any(order.write is not None for order in group):
            try:
                outcomes = self._written(group)
            except Exception as error:  # noqa: BLE001 - everybody who waits is told
                outcomes = [self._failure(order, self._worded(error)) for order in group]
        for order, (result, failure) in zip(group, outcomes, strict=True):
            if order.told is not None:
                call(order.told, result, failure)
            if order.of is not None and isinstance(failure, (Fenced, Gone)):
                self._leases.lose(order.of, str(failure))

    def _written(self, group: list[Writing]) -> list[tuple[Any, Exception | None]]:
        """Do a group in one commit; of what fails alone, alone nothing is written."""
        with gate:
            ledger = self._connected(create=any(order.creates for order in group))
            try:
                with transaction(ledger.connection):
                    return [self._attempted(ledger, order) for order in group]
            except BaseException:
                # Whatever state it is in.
                self.disconnect()
                raise

    def _attempted(self, ledger: Ledger, order: Writing) -> tuple[Any, Exception | None]:
        if order.write is None:
            return None, None
        if order.of in self._failed:
            return None, self._failed[order.of]
        ledger.connection.execute("SAVEPOINT attempt")
        try:
            result = order.write(ledger)
        except Exception as error:
            if _is_of_all(error):
                raise
            ledger.connection.execute("ROLLBACK TO attempt")
            ledger.connection.execute("RELEASE attempt")
            return self._failure(order, self._worded(error))
        ledger.connection.execute("RELEASE attempt")
        return result, None

    def _failure(self, order: Writing, error: Exception) -> tuple[Any, Exception | None]:
        if order.write is None:
            return None, None
        if order.of is None:
            return None, error
        # What came before may be missing, so nothing that comes after is written.
        return None, self._failed.setdefault(order.of, error)

    def _connected(self, *, create: bool) -> Ledger:
        if self._ledger is not None and self._inode != self._place():
            self.disconnect()
        if self._ledger is None:
            try:
                connection = database.writable(self.path, self._patience, create=create)
            except FileNotFoundError:
                if create:
                    raise
                raise gone(self.path) from None
            self._ledger = Ledger(connection, self.path)
            self._inode = self._place()
        return self._ledger

    def _place(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _worded(self, error: Exception) -> Exception:
        if isinstance(error, NbflowError):
            return error
        worded = complaint("write to", self.path, error, self._patience)
        worded.__cause__ = error
        return worded

    def _rest(self) -> None:
        self._leases.clear()
        with gate:
            self.disconnect()


def _is_of_all(error: Exception) -> bool:
    """Tell whether an error is of the file, and not of what one order would write."""
    of_file = (sqlite3.OperationalError, sqlite3.InternalError, OSError, MemoryError)
    return isinstance(error, of_file) or type(error) is sqlite3.DatabaseError


def _settle(answer: Future[T], result: T, error: Exception | None) -> None:
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
