"""What is left of a store when the power is lost: what was brought to the disk, and nothing else.

A process that is watched tells of all that it waits for: of files and folders by
`os.fsync`, and of the journal by a commit. Whatever it has written besides was only in
the memory of the machine: a file that was not brought to the disk is empty, and a name
that was not is not there.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

# SQLite waits for the disk at each commit from this on.
_FULL = 2


class Disk:
    """What one process has brought to the disk.

    Parameters
    ----------
    store
        The store, of which that is left when the power is lost.
    """

    def __init__(self, store: Path) -> None:
        self.store = store
        self._fsync = os.fsync
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        # Held open, so that no other file gets the number of one that was removed.
        self._held: list[int] = []
        self._changing = threading.Lock()

    def fsync(self, fd: int) -> None:
        """Bring a file, or the names in a folder, to the disk, and note what there is."""
        self._fsync(fd)
        about = os.fstat(fd)
        with self._changing:
            self._held.append(os.dup(fd))
            if stat.S_ISDIR(about.st_mode):
                with os.scandir(fd) as entries:
                    self._folders[about.st_ino] = {
                        each.name: (each.inode(), each.is_dir(follow_symlinks=False))
                        for each in entries
                    }
            else:
                self._files[about.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def committed(self, connection: sqlite3.Connection) -> None:
        """Note what is in the journal, if SQLite has waited for the disk."""
        if connection.execute("PRAGMA synchronous").fetchone()[0] >= _FULL:
            place = connection.execute("PRAGMA database_list").fetchone()[2]
            with self._changing:
                self._files[os.stat(place).st_ino] = connection.serialize()

    def lose(self) -> None:
        """Leave beside the store what of it is on the disk, and die."""
        with self._changing:
            left = self.store.with_name("left")
            left.mkdir(mode=0o700)
            known = self._folders.get(self.store.parent.stat().st_ino, {})
            if self.store.name in known:
                self._leave(known[self.store.name][0], left)
            os.kill(os.getpid(), signal.SIGKILL)

    def _leave(self, number: int, folder: Path) -> None:
        for name, (inner, is_folder) in self._folders.get(number, {}).items():
            if is_folder:
                (folder / name).mkdir(mode=0o700)
                self._leave(inner, folder / name)
            else:
                (folder / name).touch(mode=0o600)
                (folder / name).write_bytes(self._files.get(inner, b""))


_disk: Disk | None = None


def watch(store: str) -> None:
    """Watch from now on what this process brings to the disk."""
    global _disk
    _disk = Disk(Path(store))
    os.fsync = _disk.fsync


def committed(connection: Any) -> None:
    """Note a commit, if this process is watched."""
    if _disk is not None:
        _disk.committed(connection)


def lose() -> None:
    """Lose the power."""
    assert _disk is not None
    _disk.lose()


def restore(store: str) -> None:
    """Start the machine again: what was on the disk takes the place of all that was written."""
    if Path(store).exists():
        Path(store).rename(Path(store).with_name("lost"))
    Path(store).with_name("left").rename(store)
