"""The file of the journal: made for its owner alone, opened to write and to read."""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from nbflow.errors import StoreError, quoted
from nbflow.journal.complaint import is_lock, is_of_place
from nbflow.journal.schema import is_begun, migrate, transaction, version
from nbflow.store.disk import network
from nbflow.store.folder import Folder, _sync

# How the writer connects; tests put one here that fails when it is told to.
CONNECTION: type[sqlite3.Connection] = sqlite3.Connection
_RETRY: Final = 0.01
# Folders of which it was said already that they are not as good as others.
_warned: set[Path] = set()


def writable(path: Path, patience: float, *, create: bool) -> sqlite3.Connection:
    """Open the journal to write.

    Parameters
    ----------
    patience
        How many seconds to wait for the lock of another process.
    create
        Make it if there is none.

    Raises
    ------
    StoreError
        If it is another program's, or newer than this nbflow.
    sqlite3.Error, OSError
        If it cannot be opened, FileNotFoundError if there is none.
    """
    if create:
        _make(path)
    is_begun(path)
    connection = _connected(path, patience, CONNECTION)
    try:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        migrate(connection, path)
        _set_mode(connection, path, patience)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def readable(path: Path, patience: float) -> Iterator[sqlite3.Connection | None]:
    """Open the journal to read; None if there is none.

    Raises
    ------
    StoreError
        If it is another program's, or newer than this nbflow.
    sqlite3.Error, OSError
        If it cannot be read.
    """
    try:
        is_there = is_begun(path)
    except FileNotFoundError:
        is_there = False
    if not is_there:
        yield None
        return
    with closing(_connected_to_read(path, patience)) as connection:
        # Another process may be about to make the tables.
        if version(connection, path) == 0:
            yield None
            return
        yield connection


def _connected(
    path: Path,
    patience: float,
    kind: type[sqlite3.Connection] = sqlite3.Connection,
    options: str = "mode=rw",
) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?{options}",
        uri=True,
        timeout=patience,
        isolation_level=None,
        # One thread at a time: a fork closes what the writer has opened.
        check_same_thread=False,
        factory=kind,
    )


def _connected_to_read(path: Path, patience: float) -> sqlite3.Connection:
    # Not mode=ro, which cannot undo what a killed process has left half done, and leaves
    # files behind.
    connection = _connected(path, patience)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        waiting = path.with_name(path.name + "-wal")
        if error.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN or waiting.exists():
            raise
        # On a disk that cannot be written there is no place for SQLite's shared memory.
        return _connected(path, patience, options="mode=ro&immutable=1")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    Folder(path.parent)._make(path.parent)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        _sync(path.parent)


def _set_mode(connection: sqlite3.Connection, path: Path, patience: float) -> None:
    """Choose how commits reach the disk: by a log beside the file where that works."""
    kind = network(path.parent)
    if kind is None and _has_log(connection, path, patience):
        return
    if kind is not None:
        _warn(
            path.parent,
            f"is on a network file system ({kind}), where SQLite is slow, and not safe if more"
            " than one machine writes.",
        )
    else:
        _warn(path.parent, "is on a file system that cannot share memory, so commits are slow.")
    if _switched(connection, "DELETE", patience) != "delete":
        raise StoreError(
            f"the journal {quoted(path, 100)} cannot be written here safely: its journal mode"
            " cannot be changed. Close all programs that have it open, or choose another folder"
            " by store= or NBFLOW_STORE."
        )


def _has_log(connection: sqlite3.Connection, path: Path, patience: float) -> bool:
    """Tell whether a log works, by writing: some file systems promise what they cannot do."""
    if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
        return True
    try:
        if _switched(connection, "WAL", patience) != "wal":
            return False
        with transaction(connection):
            connection.execute(f"PRAGMA user_version = {version(connection, path)}")
    except sqlite3.OperationalError as error:
        if is_lock(error) or is_of_place(error, path):
            raise
        return False
    return True


def _switched(connection: sqlite3.Connection, mode: str, patience: float) -> str:
    # SQLite itself does not wait here.
    end = time.monotonic() + patience
    while True:
        try:
            return str(connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0])
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() > end:
                raise
        time.sleep(_RETRY)


def _warn(folder: Path, what: str) -> None:
    if folder in _warned:
        return
    _warned.add(folder)
    warnings.warn(
        f"the folder of the journal, {quoted(folder, 100)}, {what} Choose a folder on a disk of"
        " this machine by store= or NBFLOW_STORE.",
        stacklevel=2,
    )
