"""Files in a local folder that are there as a whole or not at all, whatever happens.

A file is written under another name, brought to the disk, and then renamed. The folder
is for its owner alone.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

_OWNER_FILE: Final = 0o600
_OWNER_FOLDER: Final = 0o700
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# Linux writes no more than two gigabytes at once.
_ONE_WRITE: Final = 1 << 30
# What the system says where a file can have only one name.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
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

    # Of all that create a file at once, one is told that it did.
    is_exclusive: Final = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(
        self, chunks: Sequence[Any], named: Callable[[], str | None], *, durable: bool = True
    ) -> None:
        """Write a file, and give it its name when it is complete.

        Parameters
        ----------
        named
            Asked when the bytes are written: the path within the folder, which may
            exist already, or None if the file is not wanted after all.
        durable
            Whether it is on the disk when this returns, and before it has its name. If
            not, it outlives this process, but perhaps not the machine.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left of it then.
        """
        with self._incoming(chunks, durable) as incoming:
            # Only now, for the name of a large file is found while it is written.
            path = named()
            if path is not None:
                target = self.root / path
                self._make(target.parent, durable)
                incoming.replace(target)
                if durable:
                    _sync(target.parent)

    def create(self, path: str, data: bytes) -> bool:
        """Make a file to last, with all that is in it, unless there is one.

        Of all that try it at once, in whatever processes, one is told that it did.

        Returns
        -------
        bool
            Whether this call made it.

        Raises
        ------
        OSError
            If it cannot be written; nothing is left of it then.

        Examples
        --------
        >>> import tempfile
        >>> folder = Folder(Path(tempfile.mkdtemp()))
        >>> folder.create("mine", b"1"), folder.create("mine", b"2")
        (True, False)
        """
        target = self.root / path
        if os.path.lexists(target):
            return False
        with self._incoming([data], durable=True) as incoming:
            self._make(target.parent)
            if not _named_too(incoming, target, data):
                return False
        _sync(target.parent)
        return True

    @contextmanager
    def _incoming(self, chunks: Sequence[Any], durable: bool) -> Iterator[Path]:
        """Write a file under a name that is gone in the end."""
        incoming = self._aside()
        _fill(incoming, chunks, durable=durable)
        try:
            yield incoming
        finally:
            # Gone already if it was renamed.
            with suppress(OSError):
                incoming.unlink()

    def _aside(self) -> Path:
        """Give a name that nobody looks for, and that is collected if it is left."""
        incoming = self.root / INCOMING
        self._make(incoming)
        return incoming / f"{os.getpid()}-{token_hex(8)}"

    def _make(self, folder: Path, durable: bool = True) -> None:
        """Make a folder, and those above it, to last; what is above the root as usual.

        Only the folder itself may be made not to last. Those above it may be there for
        what has to.
        """
        if folder.is_dir():
            return
        self._make(folder.parent)
        is_ours = folder == self.root or self.root in folder.parents
        with suppress(FileExistsError):
            folder.mkdir(mode=_OWNER_FOLDER if is_ours else 0o777)
        if durable:
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

    def remove_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it; a missing one is no error.

        To others it is gone at once, and never seen with a part of what was in it.

        Raises
        ------
        OSError
            If it cannot be removed.
        """
        if not (self.root / folder).is_dir():
            return
        aside = self._aside()
        # Another may be removing it too; and what is collected here, is meant to go.
        with suppress(FileNotFoundError):
            (self.root / folder).rename(aside)
            shutil.rmtree(aside)

    def names(self, folder: str) -> list[str]:
        """Give the names of what is directly in a folder; none if it is not there."""
        try:
            return os.listdir(self.root / folder)  # noqa: PTH208 - as cheap as can be
        except (FileNotFoundError, NotADirectoryError):
            return []

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


def _named_too(incoming: Path, target: Path, data: bytes) -> bool:
    """Give a file its name, or where it can have only one, write another; False if it is taken."""
    try:
        os.link(incoming, target)
    except FileExistsError:
        # Over a network the answer may be lost, and the system asks again.
        return incoming.samefile(target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with suppress(FileExistsError):
            _fill(target, [data], durable=True)
            return True
        return False
    return True


def _fill(path: Path, chunks: Sequence[Any], *, durable: bool) -> None:
    """Write a file that is not there yet; if that fails, nothing is left of it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_FILE)
    try:
        try:
            for chunk in chunks:
                _write(fd, memoryview(chunk).cast("B"))
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


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
