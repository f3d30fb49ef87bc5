"""What a failure of the journal means, with figures and with what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from nbflow.errors import StoreError, quoted
from nbflow.store.disk import holders, room

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})
# SQLite cannot have its shared memory on a disk with less room.
_NEXT_TO_NOTHING: Final = 1 << 16
_ELSEWHERE: Final = "choose another folder by store= or NBFLOW_STORE"


class Gone(StoreError):  # noqa: N818 - what it says is enough
    """The file of the journal is not there any more, or is another one."""


@contextmanager
def telling(what: str, path: Path, patience: float = 0.0) -> Iterator[None]:
    """Say of any failure of the disk or of SQLite what it means for the journal.

    Parameters
    ----------
    what
        What was tried, such as "read".
    patience
        How many seconds a lock of another is waited for.

    Raises
    ------
    StoreError
        In place of what SQLite or the system raises.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise complaint(what, path, error, patience) from error


def complaint(what: str, path: Path, error: Exception, patience: float = 0.0) -> StoreError:
    """Word a failure of the disk or of SQLite."""
    advised = (
        _of_system(path, error) if isinstance(error, OSError) else _of_sqlite(path, error, patience)
    )
    return StoreError(f"cannot {what} the journal {quoted(path, 100)}: {advised}")


def gone(path: Path) -> Gone:
    """Word that the file was there, and is not any more."""
    return Gone(
        f"the journal {quoted(path, 100)} was deleted or moved away while it was in use: what it"
        " held is not there any more, and nothing more of its runs is recorded. Expected is that"
        " it stays. Put it back, or run the flow again, which begins a new journal."
    )


def is_lock(error: BaseException) -> bool:
    """Tell whether another connection was in the way, and for too long."""
    return _primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_of_place(error: BaseException, path: Path) -> bool:
    """Tell whether the disk is full, or may not be written."""
    return _is_full(error, path) or _primary(error) == sqlite3.SQLITE_READONLY


def _primary(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _is_full(error: BaseException, path: Path) -> bool:
    left = room(path.parent)
    short = left is not None and left < _NEXT_TO_NOTHING
    code = _primary(error)
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and short)


def _of_system(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        return _full(path)
    if error.errno in _FORBIDDEN:
        return _forbidden(error)
    if error.errno in _NO_FOLDER:
        return (
            f"there is a file where a folder should be ({error}). Move the file away, or"
            f" {_ELSEWHERE}."
        )
    return f"{type(error).__name__}: {error}. Check that the place exists and can be written."


def _of_sqlite(path: Path, error: Exception, patience: float) -> str:
    code = _primary(error)
    if _is_full(error, path):
        return _full(path)
    if is_lock(error):
        return _locked(path, patience)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _forbidden(error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"it is damaged ({error}). Nothing is read from it and nothing written to it. Move it"
            " away together with the files beside it that have its name, and run the flow again,"
            " which begins a new one; results in the store are not touched. If it happens more"
            " than once, check the disk."
        )
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return f"{error} ({name}). Check the disk, and resume the run."


def _full(path: Path) -> str:
    left = room(path.parent)
    free = "" if left is None else f", {left / 1e6:,.3f} MB are free"
    return (
        f"the disk is full{free}. What was recorded before is intact. Make room and resume the"
        f" run, or {_ELSEWHERE}."
    )


def _forbidden(error: Exception) -> str:
    return (
        f"it is not allowed ({error}). Expected is a folder that you may read and write. Change"
        f" its permissions, or {_ELSEWHERE}."
    )


def _locked(path: Path, patience: float) -> str:
    who = _named(_holders(path))
    return (
        f"it is locked, and was so for {patience:g} seconds, by {who}. Expected are fractions of a"
        " second. Let that process go on or end it, then resume the run."
    )


def _holders(path: Path) -> tuple[int, ...]:
    inodes = set()
    for each in (path, path.with_name(path.name + "-shm")):
        try:
            inodes.add(each.stat().st_ino)
        except OSError:
            continue
    try:
        return holders(Path("/proc/locks").read_text(encoding="ascii"), inodes)
    except OSError:
        return ()


def _named(pids: tuple[int, ...]) -> str:
    if not pids:
        return "another process, which cannot be told from here"
    return " and ".join(_process(pid) for pid in pids)


def _process(pid: int) -> str:
    if pid == os.getpid():
        return f"this very process ({pid}), by another connection"
    try:
        return f"process {pid} ({psutil.Process(pid).name()})"
    except psutil.Error:
        return f"process {pid}"
