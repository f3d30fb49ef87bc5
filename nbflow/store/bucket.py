"""Files that are elsewhere: in memory, in S3, or wherever fsspec reaches.

It has the methods of `nbflow.folder.Folder`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from threading import Lock
from typing import Any, Final

from nbflow.store.folder import INCOMING

# There an object appears when it is complete. Renaming one would copy it.
_OBJECT_STORES: Final = frozenset({
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "oci", "r2", "tos",
})  # fmt: skip
# In these, a file system of fsspec makes an object only if there is none.
_EXCLUSIVE: Final = frozenset({"s3", "s3a", "gs", "gcs", "memory"})
_ONE_WRITE: Final = 1 << 26
# A file system in memory looks first and makes then, which is two things.
_one_at_a_time: Final = Lock()


class Bucket:
    """A folder anywhere that fsspec reaches.

    Parameters
    ----------
    url
        Such as ``s3://bucket/folder``.
    options
        What its fsspec file system takes, such as ``endpoint_url``.

    Raises
    ------
    ValueError
        If no file system has the protocol.
    ImportError
        If the package that knows the protocol is not installed.

    Examples
    --------
    >>> bucket = Bucket("memory://an/example")
    >>> bucket.put([b"two ", b"pieces"], lambda: "ab/name")
    >>> bytes(bucket.get("ab/name"))
    b'two pieces'
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        from fsspec.core import url_to_fs

        self.fs, root = url_to_fs(url, **(options or {}))
        self.root = root.rstrip("/")
        known = (self.fs.protocol,) if isinstance(self.fs.protocol, str) else self.fs.protocol
        self._is_object_store = not _OBJECT_STORES.isdisjoint(known)
        # What is only in this process, nobody else has written.
        self._is_private = "memory" in known
        self._is_exclusive = not _EXCLUSIVE.isdisjoint(known)

    @property
    def is_exclusive(self) -> bool:
        """Whether `create` is known to tell but one of those that try it at once that it did."""
        return self._is_exclusive

    def put(
        self,
        chunks: Sequence[Any],
        named: Callable[[], str | None],
        *,
        durable: bool = True,  # noqa: ARG002 - a folder's may be not
    ) -> None:
        """Write a file: it appears under its name when it is complete.

        Raises
        ------
        Exception
            Whatever the file system raises.
        """
        path = named()
        if path is None:
            return
        target = f"{self.root}/{path}"
        if self._is_object_store:
            self._write(target, chunks)
            return
        incoming = f"{self.root}/{INCOMING}/{token_hex(16)}"
        try:
            for each in (incoming, target):
                self.fs.makedirs(each.rpartition("/")[0], exist_ok=True)
            self._write(incoming, chunks)
            # Not every file system renames over what is there.
            self.remove(path)
            self.fs.mv(incoming, target)
        finally:
            with suppress(Exception):
                self.fs.rm_file(incoming)

    def create(self, path: str, data: bytes) -> bool:
        """Make a file unless there is one, as far as the file system can tell.

        Of all that try it at once, one is told that it did: in memory, and where the
        file system knows a conditional write, as that of S3 does.
        Elsewhere only those that come later are told that they did not.

        Parameters
        ----------
        data
            What nobody else would write. Where the answer to a write is lost, this tells
            whose it was.

        Returns
        -------
        bool
            Whether this call made it.

        Raises
        ------
        Exception
            Whatever the file system raises, if the file is not there then.
        """
        target = f"{self.root}/{path}"
        if self._is_private:
            with _one_at_a_time:
                if self.fs.isfile(target):
                    return False
                self.fs.pipe_file(target, data)
                return True
        # Not every server heeds the condition, and what is there must not be lost.
        if self.size(path) is not None:
            return False
        try:
            if not self._is_object_store:
                self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.fs.pipe_file(target, data, mode="create")
        except Exception:
            # It may have been written all the same, by this call or by another.
            if self.size(path) is None:
                raise
        return bytes(self.get(path)) == data

    def _write(self, target: str, chunks: Sequence[Any]) -> None:
        file = self.fs.open(target, "wb")
        try:
            for chunk in chunks:
                view = memoryview(chunk).cast("B")
                for start in range(0, view.nbytes, _ONE_WRITE):
                    file.write(view[start : start + _ONE_WRITE])
        except BaseException:
            # Closing it would complete the object.
            with suppress(Exception):
                file.discard()
                file.closed = True
            raise
        file.close()

    def get(self, path: str) -> bytearray:
        """Read a file.

        Raises
        ------
        Exception
            Whatever the file system raises.
        """
        return bytearray(self.fs.cat_file(f"{self.root}/{path}"))

    def pieces(self, path: str) -> Iterator[bytes]:
        """Read a file piece by piece.

        Raises
        ------
        Exception
            Whatever the file system raises.
        """
        with self.fs.open(f"{self.root}/{path}", "rb") as file:
            while piece := file.read(_ONE_WRITE):
                yield piece

    def size(self, path: str) -> int | None:
        """Tell how large a file is; None if there is none."""
        self.fs.invalidate_cache()
        try:
            about = self.fs.info(f"{self.root}/{path}")
        except FileNotFoundError:
            return None
        return int(about["size"]) if about["type"] == "file" else None

    def touch(self, path: str) -> None:
        """Do nothing: elsewhere, only writing makes a file young."""

    def age(self, path: str) -> float:
        """Tell how many seconds ago a file was written; 0 if there is none or no time is known."""
        try:
            written: datetime = self.fs.modified(f"{self.root}/{path}")
        except (FileNotFoundError, NotImplementedError):
            return 0.0
        if written.tzinfo is None:
            written = written.replace(tzinfo=UTC)
        return max(0.0, (datetime.now(UTC) - written).total_seconds())

    def remove(self, path: str) -> bool:
        """Remove a file; False if there is none."""
        if self.size(path) is None:
            return False
        with suppress(FileNotFoundError):
            self.fs.rm_file(f"{self.root}/{path}")
        return True

    def remove_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it; a missing one is no error."""
        self.fs.invalidate_cache()
        with suppress(FileNotFoundError):
            self.fs.rm(f"{self.root}/{folder}", recursive=True)

    def names(self, folder: str) -> list[str]:
        """Give the names of what is directly in a folder; none if it is not there."""
        self.fs.invalidate_cache()
        start = f"{self.root}/{folder}/"
        try:
            found = self.fs.ls(start.rstrip("/"), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # An object may be named like the folder.
        names = (path.removeprefix(start).rstrip("/") for path in found if path.startswith(start))
        return [name for name in names if name]

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """Give path and size of each file in a folder and in the folders within."""
        self.fs.invalidate_cache()
        start = f"{self.root}/{folder}"
        for path, about in self.fs.find(start, detail=True).items():
            yield folder + path.removeprefix(start), int(about["size"])

    def is_own(self, path: str = "") -> bool:  # noqa: ARG002 - a folder's has files
        """Tell whether nobody but this user can have written here, as far as is known."""
        return self._is_private

    def free(self) -> int | None:
        """Tell how many bytes it still takes; None, for it is not known."""
        return None
