"""Files in a local folder that are there as a whole or not at all, whatever happens.

A file is written under another name, brought to the disk, and then renamed. The folder
is for its owner alone.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

_OWNER_FILE: Final = 0o600
_OWNER_FOLDER: Final = 0o700
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# Linux writes no more than two gigabytes at once.
_ONE_WRITE: Final = 1 << 30
# Files on their way, beside the finished ones, so that renaming stays on one disk.
INCOMING: Final = "incoming"


class Folder:
    """A local folder of files, written so that a crash leaves none half done.

    Parameters
    ----------
    root
        The folder; made when the first file is written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Folder(Path(tempfile.mkdtemp()) / "store")
    >>> folder.put([b"two ", b"pieces"], lambda: "ab/name")
    >>> bytes(folder.get("ab/name"))
    b'two pieces'
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, chunks: Sequence[Any], named: Callable[[], str | None]) -> None:
        """Write a file, and give it its name when it is on the disk.

        Parameters
        ----------
        named
            Asked when the bytes are on the disk: the path within the folder, which may
            exist already, or None if the file is not wanted after all.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left of it then.
        """
        incoming = self.root / INCOMING / f"{os.getpid()}-{token_hex(8)}"
        self._make(incoming.parent)
        fd = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_FILE)
        try:
            try:
                for chunk in chunks:
                    _write(fd, memoryview(chunk).cast("B"))
                # First, for the name of a large file is being found meanwhile.
                os.fsync(fd)
                path = named()
            finally:
                os.close(fd)
            if path is not None:
                self._publish(incoming, self.root / path)
        finally:
            # Gone already if all went well.
            with suppress(OSError):
                incoming.unlink()

    def _publish(self, incoming: Path, path: Path) -> None:
        self._make(path.parent)
        incoming.replace(path)
        _sync(path.parent)

    def _make(self, folder: Path) -> None:
        """Make a folder, and those above it, to last; what is above the root as usual."""
        if folder.is_dir():
            return
        self._make(folder.parent)
        is_ours = folder == self.root or self.root in folder.parents
        with suppress(FileExistsError):
            folder.mkdir(mode=_OWNER_FOLDER if is_ours else 0o777)
        _sync(folder.parent)

    def get(self, path: str) -> bytearray:
        """Read a file; what was cut off while it was read is missing.

        Raises
        ------
        OSError
            If there is none, or it cannot be read.
        """
        # Not blocking, for it might be a pipe, which somebody put there.
        fd = os.open(self.root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise IsADirectoryError(f"{path} is no file")
            data = bytearray(about.st_size)
            view, done = memoryview(data), 0
            while done < len(data):
                count = file.readinto(view[done : done + _ONE_WRITE])
                if not count:
                    break
                done += count
            view.release()
            del data[done:]
            return data

    def pieces(self, path: str) -> Iterator[bytes]:
        """Read a file piece by piece.

        Raises
        ------
        OSError
            If there is none, or it cannot be read.
        """
        with (self.root / path).open("rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                yield piece

    def size(self, path: str) -> int | None:
        """Tell how large a file is; None if there is none."""
        try:
            return (self.root / path).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def touch(self, path: str) -> None:
        """Note that a file was wanted again, so that it does not count as old."""
        with suppress(OSError):
            os.utime(self.root / path)

    def age(self, path: str) -> float:
        """Tell how many seconds ago a file was written or touched; 0 if there is none."""
        try:
            return max(0.0, time.time() - (self.root / path).stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def remove(self, path: str) -> bool:
        """Remove a file to last; False if there is none."""
        try:
            (self.root / path).unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        _sync((self.root / path).parent)
        return True

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Give path and size of each file in a folder and in the folders within."""
        with suppress(FileNotFoundError), os.scandir(self.root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield from self.walk(path)
                    continue
                # Another process may remove it while this one is looking.
                with suppress(FileNotFoundError):
                    yield path, entry.stat(follow_symlinks=False).st_size

    def is_own(self, path: str = "") -> bool:
        """Tell whether a file and the folders that it is in are this user's to write alone."""
        inner = Path(path)
        return all(_is_own(self.root / each) for each in (inner, *inner.parents))

    def free(self) -> int:
        """Tell how many bytes the disk still takes."""
        return shutil.disk_usage(self.root).free


def _is_own(path: Path) -> bool:
    try:
        about = path.stat()
    except FileNotFoundError:
        # What this process makes there will be its own.
        return True
    return about.st_uid == os.geteuid() and not about.st_mode & _OTHERS_WRITE


def _write(fd: int, view: memoryview) -> None:
    while view.nbytes:
        view = view[os.write(fd, view[:_ONE_WRITE]) :]


def _sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
