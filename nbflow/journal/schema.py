"""The tables of the journal, and the way from an older version of them to this one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from nbflow.errors import StoreError, quoted

# Tells the file from those of other programs: "nbfl".
APPLICATION: Final = 0x6E62666C

# The first step makes the tables of version 1, the next would make version 2 of them.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {APPLICATION}",
        """
        CREATE TABLE runs (
            id TEXT PRIMARY KEY NOT NULL,
            flow TEXT NOT NULL,
            status TEXT NOT NULL,
            started REAL NOT NULL,
            ended REAL,
            steps INTEGER NOT NULL,
            key TEXT UNIQUE,
            identity TEXT NOT NULL,
            store TEXT,
            due REAL,
            parent TEXT,
            epoch INTEGER NOT NULL,
            owner TEXT,
            expires REAL,
            pruned REAL,
            batches INTEGER NOT NULL DEFAULT 0
        )
        """,
        # Not in the table of runs, of which a row is written anew with each batch.
        "CREATE TABLE bodies (run TEXT PRIMARY KEY NOT NULL REFERENCES runs, body BLOB NOT NULL)",
        """
        CREATE TABLE batches (
            run TEXT NOT NULL REFERENCES runs,
            seq INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            batch BLOB NOT NULL,
            PRIMARY KEY (run, seq)
        )
        """,
        """
        CREATE TABLE needs (
            run TEXT NOT NULL REFERENCES runs,
            hash TEXT NOT NULL,
            nbytes INTEGER NOT NULL,
            PRIMARY KEY (run, hash)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX timers ON runs (due) WHERE due IS NOT NULL",
    ),
    # 'auto', or a truth value.
    ("ALTER TABLE runs ADD COLUMN checkpoint NOT NULL DEFAULT 'auto'",),
)


def is_begun(path: Path) -> bool:
    """Tell whether a file is a journal; False if it is empty as yet. It is not touched.

    Raises
    ------
    StoreError
        If it belongs to another program, or is no SQLite file at all.
    sqlite3.Error, OSError
        If it cannot be read.
    """
    if path.stat().st_size == 0:
        return False
    # By SQLite, as closing a file of one's own would drop the locks that this process has on
    # it; immutable, so that nothing is locked, recovered or made beside it.
    uri = f"{path.as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        try:
            ((application,),) = connection.execute("PRAGMA application_id")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CORRUPT:
                # In the middle of a commit, or cut off in one, which is undone when it is opened.
                return True
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise _foreign(path, "it is no SQLite file") from error
    _check_application(application, path)
    return True


def _check_application(found: int, path: Path) -> None:
    if found != APPLICATION:
        raise _foreign(path, f"it is a SQLite file of another program ({found:#x})")


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Tell which version of the tables a file has; 0 if it has none.

    Raises
    ------
    StoreError
        If it is newer than this nbflow, or another program's.
    """
    # In this order: another process may make both between the two looks.
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
    ((application,),) = connection.execute("PRAGMA application_id")
    if application == tables == 0:
        return 0
    _check_application(application, path)
    ((found,),) = connection.execute("PRAGMA user_version")
    if found > len(_MIGRATIONS):
        raise StoreError(
            f"the journal {quoted(path, 100)} has version {found} of its tables, and this nbflow"
            f" knows them up to version {len(_MIGRATIONS)}. It is neither read nor written. Update"
            " nbflow, or choose another folder by store= or NBFLOW_STORE."
        )
    return int(found)


def is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Tell whether a file has the tables as they are now.

    Raises
    ------
    StoreError
        If it is newer than this nbflow.
    """
    return version(connection, path) == len(_MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables to what they are now, each step as a whole or not at all.

    Raises
    ------
    StoreError
        If they are newer than this nbflow.
    sqlite3.Error
        If they cannot be written.
    """
    while not is_current(connection, path):
        with transaction(connection):
            # Asked again, as another process may have been faster.
            found = version(connection, path)
            if found < len(_MIGRATIONS):
                _step(connection, _MIGRATIONS[found], found + 1)


def _step(connection: sqlite3.Connection, statements: Sequence[str], reached: int) -> None:
    for statement in statements:
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {reached}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write as a whole or not at all, and wait for other writers at the start only."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some failures have rolled it back already; what stays open ends with the connection.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _foreign(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"the file {quoted(path, 100)} is no journal of nbflow: {reason}. It is left untouched."
        " Move it away, or choose another folder by store= or NBFLOW_STORE."
    )
