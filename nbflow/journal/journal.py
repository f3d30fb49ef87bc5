"""The journal: the record of all runs, in a SQLite file beside the notebook.

What happened in a run comes as batches of events, which are kept as they are. The row of
a run is what lists of runs need of them. Everything that is written of a run is refused
if another has taken the run over since.
"""

# ruff: noqa: A002 - what a run is named by is called id everywhere

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from nbflow.errors import RunNotFoundError, quoted
from nbflow.journal.complaint import telling
from nbflow.journal.database import readable
from nbflow.journal.entry import Entry, Fenced, is_driven
from nbflow.journal.gate import gate
from nbflow.journal.ledger import Ledger
from nbflow.journal.schema import is_current
from nbflow.journal.writer import Writer
from nbflow.journal.writing import Writing
from nbflow.store.owner import Owner

__all__ = ["BEAT", "LEASE", "PATIENCE", "Entry", "Fenced", "Journal"]

T = TypeVar("T")

# How many seconds a run is its owner's without a sign of life, and how often there is one.
LEASE: Final = 30.0
BEAT: Final = 10.0
# How many seconds the lock of another process is waited for.
PATIENCE: Final = 5.0
_NAME: Final = "journal.sqlite"

_known: dict[Path, Journal] = {}
_opening = threading.Lock()


class Journal:
    """The record of the runs of one folder.

    Any number of processes may write and read it at once. Nothing is made before the
    first run begins. Of what one thread writes, nothing is written before what it has
    written before.

    Parameters
    ----------
    folder
        Where the file is; made for its owner alone.
    lease, beat
        How many seconds a run is its owner's without a sign of life, and after how many
        seconds there is one.
    patience
        How many seconds the lock of another process is waited for.

    Examples
    --------
    >>> import tempfile
    >>> journal = Journal.at(tempfile.mkdtemp())
    >>> entry = journal.begin(Entry("run-1", "etl", "running", 0.0), b"plan", Owner.here())
    >>> journal.append("run-1", entry.epoch, b"events", status="completed", ended=1.0)
    >>> journal.flush()
    >>> journal.entry("run-1").status, journal.batches("run-1")
    ('completed', [(1, 1, b'events')])
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        lease: float = LEASE,
        beat: float = BEAT,
        patience: float = PATIENCE,
    ) -> None:
        self.path = _placed(folder) / _NAME
        self._patience = patience
        self._writer = Writer(self.path, lease, beat, patience)

    @classmethod
    def at(cls, folder: str | os.PathLike[str]) -> Journal:
        """Give the journal of a folder, the same each time in one process."""
        path = _placed(folder)
        with _opening:
            if path not in _known:
                _known[path] = cls(path)
            return _known[path]

    def __repr__(self) -> str:
        return f"<Journal {str(self.path)!r}>"

    # --- writing ---

    def begin(self, entry: Entry, body: bytes, owner: Owner | None) -> Entry:
        """Enter a run, on the disk when this returns.

        Parameters
        ----------
        body
            What else there is to keep of it, as bytes.
        owner
            Who drives it; None if nobody does as yet.

        Returns
        -------
        Entry
            As it is in the journal, or the one that has its key already.

        Raises
        ------
        StoreError
            If it cannot be written, or there is one with its id.
        """
        if owner is not None:
            expires = time.time() + self._writer.lease
            entry = replace(entry, epoch=1, owner=owner, expires=expires)
        return self._writer.ask(partial(Ledger.begin, entry=entry, body=body), creates=True)

    def append(
        self,
        id: str,
        epoch: int,
        batch: bytes,
        *,
        hashes: Sequence[tuple[str, int]] = (),
        status: str | None = None,
        ended: float | None = None,
        done: Callable[[Exception | None], None] | None = None,
    ) -> None:
        """Add a batch of events to a run; it is written later, and this returns at once.

        Batches get the numbers 1, 2, 3 and so on, in order. If one cannot be written,
        nothing that comes after it is, until the run is taken again.

        Parameters
        ----------
        epoch
            That under which the run was begun or taken.
        hashes
            Hash and number of bytes of results that the run needs from now on.
        status, ended
            How it stands from now on, and since when it is over. A status without an end
            takes back that it was over.
        done
            Called from another thread when it is on the disk, with None, or with why it
            was not written: `Fenced` or `StoreError`. It must not wait for the journal.

        Raises
        ------
        StoreError
            If the process was forked since the journal was opened.
        """
        self._writer.put(
            Writing(
                partial(
                    Ledger.append,
                    run=id,
                    epoch=epoch,
                    batch=batch,
                    hashes=hashes,
                    status=status,
                    ended=ended,
                ),
                None if done is None else partial(_done, done),
                (id, epoch),
            )
        )

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was added so far is on the disk or has failed.

        Raises
        ------
        StoreError
            If that takes longer than the timeout, in seconds.
        """
        self._writer.flush(timeout)

    def take(self, id: str, owner: Owner, *, force: bool = False) -> Entry:
        """Become the one who drives a run, under a new epoch.

        Parameters
        ----------
        force
            Also if another drives it, who then writes nothing more for it.

        Raises
        ------
        RunError
            If another drives it, whose lease has not run out and who is not dead.
        RunNotFoundError
            If there is none.
        StoreError
            If it cannot be written.
        """
        if not self._is_there():
            raise self._nothing(id)
        now = time.time()
        expires = now + self._writer.lease
        return self._writer.ask(
            partial(Ledger.take, run=id, owner=owner, now=now, expires=expires, force=force)
        )

    def hold(self, id: str, epoch: int, lost: Callable[[str], None]) -> None:
        """Give a sign of life for a run from now on, until it is released.

        Parameters
        ----------
        lost
            Called once, from another thread, with the reason, if the run was taken over,
            its record is gone, or no sign could be given for as long as a lease holds.
        """
        self._writer.hold((id, epoch), lost)

    def release(self, id: str, epoch: int) -> None:
        """Drive a run no more, after all that was added; any process may take it then."""
        self._writer.release((id, epoch))

    def prune(self, ids: Iterable[str], now: float) -> None:
        """Give up the results of runs, of all or of none; their record stays.

        Raises
        ------
        RunError
            If one of them may still go on.
        RunNotFoundError
            If there is none with an id.
        StoreError
            If it cannot be written.
        """
        pruned = list(ids)
        if not pruned:
            return
        if not self._is_there():
            raise self._nothing(pruned[0])
        self._writer.ask(partial(Ledger.prune, runs=pruned, now=now))

    def close(self) -> None:
        """Write all that was added so far, give no sign of life any more, close the file.

        What comes after opens it again.
        """
        self._writer.close(None)

    # --- reading ---

    def entries(self) -> list[Entry]:
        """Give all runs, the newest first.

        Raises
        ------
        StoreError
            If the journal cannot be read.
        """
        return self._read(Ledger.entries, list)

    def entry(self, id: str) -> Entry:
        """Give a run.

        Raises
        ------
        RunNotFoundError
            If there is none.
        StoreError
            If the journal cannot be read.
        """
        return self._read(partial(Ledger.entry, run=id), partial(self._refuse, id))

    def keyed(self, key: str) -> Entry | None:
        """Give the run that has a key; None if none has.

        Raises
        ------
        StoreError
            If the journal cannot be read.
        """
        return self._read(partial(Ledger.keyed, key=key), lambda: None)

    def body(self, id: str) -> bytes:
        """Give what was kept of a run when it began.

        Raises
        ------
        RunNotFoundError
            If there is none.
        StoreError
            If the journal cannot be read.
        """
        return self._read(partial(Ledger.body, run=id), partial(self._refuse, id))

    def batches(self, id: str, after: int = 0) -> list[tuple[int, int, bytes]]:
        """Give the batches of a run after a number: number, epoch and bytes of each.

        Raises
        ------
        RunNotFoundError
            If there is none.
        StoreError
            If the journal cannot be read.
        """
        ask = partial(Ledger.batches, run=id, after=after)
        return self._read(ask, partial(self._refuse, id))

    def last_sign(self, entry: Entry) -> float | None:
        """Say when the owner of a run showed last that it was alive; None if it has none."""
        return None if entry.expires is None else entry.expires - self._writer.lease

    def overdue(self, now: float) -> list[Entry]:
        """Give the runs whose time has come, and which nobody is about to start.

        Raises
        ------
        StoreError
            If the journal cannot be read.
        """
        return [
            entry
            for entry in self._pending()
            if (entry.due or 0.0) <= now
            and not is_driven(entry, now, None if entry.owner is None else entry.owner.is_alive())
        ]

    def next_due(self) -> float | None:
        """Give the next time that a run may have to be started; None if none waits.

        Raises
        ------
        StoreError
            If the journal cannot be read.
        """
        return min(
            (max(entry.due or 0.0, entry.expires or 0.0) for entry in self._pending()),
            default=None,
        )

    def hashes(self) -> dict[str, int]:
        """Give all results that runs need, and how many bytes each has.

        Raises
        ------
        StoreError
            If the journal cannot be read.
        """
        return self._read(Ledger.hashes, dict)

    def hashes_of(self, id: str) -> dict[str, int]:
        """Give the results that a run needs, and how many bytes each has.

        Raises
        ------
        RunNotFoundError
            If there is none.
        StoreError
            If the journal cannot be read.
        """
        return self._read(partial(Ledger.hashes_of, run=id), partial(self._refuse, id))

    def _pending(self) -> list[Entry]:
        return self._read(Ledger.pending, list)

    def _read(self, ask: Callable[[Ledger], T], nothing: Callable[[], T]) -> T:
        while True:
            with (
                telling("read", self.path, self._patience),
                gate,
                readable(self.path, self._patience) as connection,
            ):
                if connection is None:
                    return nothing()
                if is_current(connection, self.path):
                    return ask(Ledger(connection, self.path))
            # Its tables are older, and opening it to write brings them to what they are now.
            self._writer.ask(lambda _: None)

    def _is_there(self) -> bool:
        return self._read(lambda _: True, lambda: False)

    def _nothing(self, id: str) -> RunNotFoundError:
        return RunNotFoundError(
            f"there is no run {quoted(id)}: no run was ever begun in the journal"
            f" {quoted(self.path, 100)}. Open the folder that it was begun in, with store= or"
            " NBFLOW_STORE."
        )

    def _refuse(self, id: str) -> NoReturn:
        raise self._nothing(id)


def _placed(folder: str | os.PathLike[str]) -> Path:
    # Wherever the process goes from here, the journal stays.
    return Path(os.path.realpath(Path(folder).expanduser()))


def _done(done: Callable[[Exception | None], None], _: None, error: Exception | None) -> None:
    done(error)


def _forget() -> None:
    """Begin anew in the child of a fork, in which the journals of its parent are not its own."""
    global _known, _opening
    _known, _opening = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
