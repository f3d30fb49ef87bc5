"""What is written to the journal and read from it, in SQL."""

# ruff: noqa: S608 - only the names of our own columns are put into statements

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

from nbflow.errors import RunError, RunNotFoundError, StoreError, did_you_mean, quoted
from nbflow.journal.complaint import Gone
from nbflow.journal.entry import Entry, driver, fenced, is_driven, is_live
from nbflow.store.owner import Owner

_COLUMNS: Final = ", ".join(field.name for field in fields(Entry))
_MARKS: Final = ", ".join(f":{field.name}" for field in fields(Entry))
# Among so many of the newest runs one that was meant is looked for.
_NEWEST: Final = 1_000
# Not before it has a status other than this has a run that waits for its time begun.
_PENDING: Final = "pending"


class Ledger:
    """The journal, open on a connection: its statements, none of them a commit.

    Parameters
    ----------
    connection
        In a transaction, where something is written.
    path
        The file, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path

    # --- writing ---

    def begin(self, entry: Entry, body: bytes) -> Entry:
        """Enter a run, or give the one that has its key.

        Raises
        ------
        StoreError
            If there is one with its id.
        """
        taken = None if entry.key is None else self.keyed(entry.key)
        if taken is not None:
            return taken
        if self._found("id", entry.id) is not None:
            raise StoreError(
                f"a run {quoted(entry.id)} is in the journal {quoted(self._path, 100)} already."
                " Expected is a new id for each run."
            )
        self._execute(f"INSERT INTO runs ({_COLUMNS}) VALUES ({_MARKS})", _row(entry))
        self._execute("INSERT INTO bodies (run, body) VALUES (?, ?)", (entry.id, body))
        return entry

    def append(
        self,
        run: str,
        epoch: int,
        batch: bytes,
        hashes: Sequence[tuple[str, int]],
        status: str | None,
        ended: float | None,
    ) -> None:
        """Add a batch of events to a run, if its epoch is still this one.

        Raises
        ------
        Fenced
            If it was taken over.
        StoreError
            If the run is not there.
        """
        sets = "batches = batches + 1"
        values: list[Any] = []
        if status is not None:
            sets += ", status = ?, ended = ?"
            values += [status, ended]
            if status != _PENDING:
                sets += ", due = NULL"
        elif ended is not None:
            sets += ", ended = ?"
            values.append(ended)
        self._fenced(run, epoch, sets, values)
        self._execute(
            "INSERT INTO batches (run, seq, epoch, batch)"
            " SELECT id, batches, epoch, ? FROM runs WHERE id = ?",
            (batch, run),
        )
        if hashes:
            self.connection.executemany(
                "INSERT OR IGNORE INTO needs (run, hash, nbytes) VALUES (?, ?, ?)",
                [(run, hashed, nbytes) for hashed, nbytes in hashes],
            )

    def renew(self, run: str, epoch: int, expires: float) -> None:
        """Let the lease of a run hold for longer.

        Raises
        ------
        Fenced
            If it was taken over.
        StoreError
            If the run is not there.
        """
        self._fenced(run, epoch, "expires = ?", [expires])

    def release(self, run: str, epoch: int) -> None:
        """Let nobody drive a run.

        Raises
        ------
        Fenced
            If it was taken over.
        StoreError
            If the run is not there.
        """
        self._fenced(run, epoch, "owner = NULL, expires = NULL", [])

    def take(self, run: str, owner: Owner, now: float, expires: float, *, force: bool) -> Entry:
        """Let another drive a run, under a new epoch.

        Raises
        ------
        RunError
            If somebody drives it.
        RunNotFoundError
            If there is none.
        """
        entry = self.entry(run)
        if not force and entry.owner is not None and entry.owner != owner:
            alive = entry.owner.is_alive()
            if is_driven(entry, now, alive):
                unseen = "" if alive else " (whether it lives cannot be seen from here)"
                raise RunError(
                    f"the run {quoted(run)} is driven by {driver(entry, now)}{unseen}. Expected is"
                    " one that nobody drives. Wait until it is over or the lease has run out, or"
                    " take it with force=True: then that process writes nothing more for it."
                )
        # A run that waits for its time begins when it is taken, and not when it was entered.
        began = now if entry.due is not None and entry.status == _PENDING else entry.started
        taken = replace(entry, owner=owner, epoch=entry.epoch + 1, expires=expires, started=began)
        self._fenced(
            run,
            entry.epoch,
            "epoch = ?, owner = ?, expires = ?, started = ?",
            [taken.epoch, _text(owner), expires, began],
        )
        return taken

    def prune(self, runs: Iterable[str], now: float) -> None:
        """Let runs need their results no more.

        Raises
        ------
        RunError
            If one of them may still go on.
        RunNotFoundError
            If there is none with an id.
        """
        for run in runs:
            entry = self.entry(run)
            if is_live(entry, now, None if entry.owner is None else entry.owner.is_alive()):
                raise RunError(
                    f"the results of the run {quoted(run)} are not given up, nor those of the"
                    f" others: it is driven by {driver(entry, now)}. Wait until it is over, or"
                    " leave it out."
                )
            self._execute("DELETE FROM needs WHERE run = ?", (run,))
            self._execute("UPDATE runs SET pruned = ? WHERE id = ?", (now, run))

    def _fenced(self, run: str, epoch: int, sets: str, values: list[Any]) -> None:
        """Change the row of a run, if its epoch is still this one."""
        done = self._execute(
            f"UPDATE runs SET {sets} WHERE id = ? AND epoch = ?",
            (*values, run, epoch),
        )
        if done.rowcount == 1:
            return
        entry = self._found("id", run)
        if entry is not None:
            raise fenced(entry, epoch)
        raise Gone(
            f"the run {quoted(run)} is not in the journal {quoted(self._path, 100)}: it was never"
            " begun there, or the file was deleted and made anew while the run went on. Nothing of"
            " it is recorded. Run the flow again."
        )

    # --- reading ---

    def entries(self) -> list[Entry]:
        """Give all runs, the newest first."""
        return self._all("ORDER BY started DESC, rowid DESC")

    def entry(self, run: str) -> Entry:
        """Give a run.

        Raises
        ------
        RunNotFoundError
            If there is none.
        """
        found = self._found("id", run)
        if found is None:
            raise self.missing(run)
        return found

    def keyed(self, key: str) -> Entry | None:
        """Give the run that has a key; None if none has."""
        return self._found("key", key)

    def body(self, run: str) -> bytes:
        """Give what was entered with a run.

        Raises
        ------
        RunNotFoundError
            If there is none.
        """
        row = self._execute("SELECT body FROM bodies WHERE run = ?", (run,)).fetchone()
        if row is None:
            raise self.missing(run)
        return bytes(row[0])

    def batches(self, run: str, after: int) -> list[tuple[int, int, bytes]]:
        """Give the batches of a run after a number: number, epoch and bytes of each.

        Raises
        ------
        RunNotFoundError
            If there is no such run.
        """
        rows = self._execute(
            "SELECT seq, epoch, batch FROM batches WHERE run = ? AND seq > ? ORDER BY seq",
            (run, after),
        ).fetchall()
        if not rows and self._found("id", run) is None:
            raise self.missing(run)
        return rows

    def pending(self) -> list[Entry]:
        """Give the runs that wait for their time, the next one first."""
        return self._all("WHERE due IS NOT NULL AND status = ? ORDER BY due, rowid", _PENDING)

    def hashes(self) -> dict[str, int]:
        """Give the results that runs need, and how many bytes each has."""
        return dict(self._execute("SELECT hash, max(nbytes) FROM needs GROUP BY hash").fetchall())

    def hashes_of(self, run: str) -> dict[str, int]:
        """Give the results that a run needs, and how many bytes each has.

        Raises
        ------
        RunNotFoundError
            If there is no such run.
        """
        rows = self._execute("SELECT hash, nbytes FROM needs WHERE run = ?", (run,)).fetchall()
        if not rows and self._found("id", run) is None:
            raise self.missing(run)
        return dict(rows)

    def missing(self, run: str) -> RunNotFoundError:
        """Word that there is no such run."""
        known = self._execute(
            "SELECT id FROM runs ORDER BY started DESC, rowid DESC LIMIT ?", (_NEWEST,)
        ).fetchall()
        return RunNotFoundError(
            f"there is no run {quoted(run)} in the journal {quoted(self._path, 100)}:"
            f" {did_you_mean(run, [each for (each,) in known])}. nbflow.runs() lists them; a run of"
            " another folder is found with store=."
        )

    def _found(self, column: str, value: str) -> Entry | None:
        row = self._execute(f"SELECT {_COLUMNS} FROM runs WHERE {column} = ?", (value,)).fetchone()
        return None if row is None else _entry(row)

    def _all(self, which: str, *values: str) -> list[Entry]:
        # All at once: a cursor that an error keeps alive keeps its connection open.
        rows = self._execute(f"SELECT {_COLUMNS} FROM runs {which}", values).fetchall()
        return [_entry(row) for row in rows]

    def _execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        return self.connection.execute(sql, values)


def _text(owner: Owner | None) -> str | None:
    return None if owner is None else json.dumps(asdict(owner), sort_keys=True)


def _row(entry: Entry) -> dict[str, Any]:
    return {field.name: getattr(entry, field.name) for field in fields(entry)} | {
        "owner": _text(entry.owner)
    }


def _entry(row: tuple[Any, ...]) -> Entry:
    entry = Entry(*row)
    owner: Any = entry.owner
    checkpoint = entry.checkpoint if entry.checkpoint == "auto" else bool(entry.checkpoint)
    return replace(
        entry,
        owner=None if owner is None else Owner(**json.loads(owner)),
        checkpoint=checkpoint,
    )
