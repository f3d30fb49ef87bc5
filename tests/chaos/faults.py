"""Faults at the writes of a process: it dies, is held up, or hears that the disk is full.

A process that is armed looks, at each write below a store, for a file ``fault`` beside
it, which says at which write what is to happen. It happens once, in whichever process
comes first.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import unquote, urlsplit

from chaos import power

from nbflow.journal import database
from nbflow.store.folder import Folder

# What the writes to the journal are called, among the paths in the store, and what
# comes before the path of what is removed.
COMMIT = "journal commit"
REMOVAL = "removal of "
LOSE_POWER = "lose power"
_PATIENCE = 60.0
# What is done at each such write, and not only at one.
_LASTING = ("fail for good", "note")

# How many writes this process has seen that each plan is about.
_seen: Counter[str] = Counter()


def plan(folder: str, part: str, when: str, deed: str, nth: int = 1) -> None:
    """Say what is to happen.

    Parameters
    ----------
    folder
        That of the stage.
    part
        What the path that is written begins with or contains; nothing means any.
    when
        ``before`` or ``after`` the write.
    deed
        ``kill`` the process, ``hold`` it up until it is let go, or let the write fail:
        ``fail``, and each one after it too: ``fail for good``. ``lose power`` kills it and
        leaves of the store what was on the disk. ``note`` only notes each write.
    nth
        At which of such writes of one process, from 1.
    """
    # New each time, so that each plan counts for itself.
    new = {"part": part, "when": when, "deed": deed, "nth": nth, "token": token_hex(4)}
    text = json.dumps(new)
    for each in ("fault-done", "fault-over"):
        Path(folder, each).unlink(missing_ok=True)
    Path(folder, "fault-new").write_text(text)
    Path(folder, "fault-new").rename(Path(folder, "fault"))


def has_happened(folder: str) -> bool:
    """Tell whether it has happened."""
    return Path(folder, "fault-done").exists()


def where(folder: str) -> str:
    """Name the write at which it has happened."""
    return Path(folder, "fault-done").read_text()


def noted(folder: str) -> list[str]:
    """Name the writes that were noted, in order."""
    return Path(folder, "writes").read_text().splitlines()


def let_go(folder: str) -> None:
    """Let whoever is held up go on, and nothing more happen."""
    Path(folder, "fault").unlink(missing_ok=True)
    Path(folder, "fault-over").touch()


def _passes(folder: Path, path: str, when: str) -> None:
    try:
        text = Path(folder, "fault").read_text()
    except FileNotFoundError:
        return
    wanted = json.loads(text)
    if wanted["when"] != when or wanted["part"] not in path:
        return
    _seen[text] += 1
    lasts = wanted["deed"] in _LASTING
    if _seen[text] < wanted["nth"] or (_seen[text] > wanted["nth"] and not lasts):
        return
    try:
        if not lasts:
            # Of several processes, one is first.
            Path(folder, "fault").rename(Path(folder, "fault-done"))
    except FileNotFoundError:
        return
    Path(folder, "fault-done").write_text(path)
    _do(folder, wanted["deed"], path)


def _do(folder: Path, deed: str, path: str) -> None:
    if deed == "note":
        with Path(folder, "writes").open("a") as file:
            file.write(f"{path}\n")
        return
    if deed == LOSE_POWER:
        power.lose()
    if deed == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "hold":
        deadline = time.monotonic() + _PATIENCE
        while not Path(folder, "fault-over").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        return
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Faulty(sqlite3.Connection):
    """A connection to a journal, at each commit of which something may happen."""

    def __init__(self, database: str, *args: Any, **options: Any) -> None:
        super().__init__(database, *args, **options)
        self.folder = Path(unquote(urlsplit(database).path)).parent.parent

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *args)
        try:
            _passes(self.folder, COMMIT, "before")
            done = super().execute(sql, *args)
            power.committed(self)
            _passes(self.folder, COMMIT, "after")
        except OSError as error:
            raise sqlite3.OperationalError("database or disk is full") from error
        return done


def arm() -> None:
    """Let this process look for faults from now on."""
    if getattr(Folder, "armed", False):
        return
    put, create, remove, remove_tree = (
        Folder.put,
        Folder.create,
        Folder.remove,
        Folder.remove_tree,
    )

    @functools.wraps(put)
    def put_armed(
        self: Folder,
        chunks: Sequence[Any],
        named: Callable[[], str | None],
        *,
        durable: bool = True,
    ) -> None:
        path = ""

        def named_armed() -> str | None:
            nonlocal path
            path = named() or ""
            _passes(self.root.parent, path, "before")
            return path or None

        put(self, chunks, named_armed, durable=durable)
        _passes(self.root.parent, path, "after")

    @functools.wraps(create)
    def create_armed(self: Folder, path: str, data: bytes) -> bool:
        _passes(self.root.parent, path, "before")
        done = create(self, path, data)
        _passes(self.root.parent, path, "after")
        return done

    @functools.wraps(remove)
    def remove_armed(self: Folder, path: str) -> bool:
        _passes(self.root.parent, REMOVAL + path, "before")
        done = remove(self, path)
        _passes(self.root.parent, REMOVAL + path, "after")
        return done

    @functools.wraps(remove_tree)
    def remove_tree_armed(self: Folder, folder: str) -> None:
        if not (self.root / folder).is_dir():
            return
        _passes(self.root.parent, REMOVAL + folder, "before")
        remove_tree(self, folder)
        _passes(self.root.parent, REMOVAL + folder, "after")

    Folder.put, Folder.create = put_armed, create_armed
    Folder.remove, Folder.remove_tree = remove_armed, remove_tree_armed
    Folder.armed = True
    database.CONNECTION = _Faulty


def dask_setup(worker: Any) -> None:
    """Arm a worker that has this module as its preload."""
    arm()
