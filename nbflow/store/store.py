"""The store: values in files that are named by the hash of what is in them.

The same value is kept once. What is read is compared with its name first, so that
nothing damaged is ever given back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from secrets import token_hex
from typing import Any, Final

from nbflow.errors import StoreError, quoted
from nbflow.store.advice import advising
from nbflow.store.bucket import Bucket
from nbflow.store.files import files_at
from nbflow.store.folder import INCOMING, Folder
from nbflow.store.kept import Kept
from nbflow.values.digest import digest, digest_read
from nbflow.values.payload import Payload, decoded, encoded

_PAYLOADS: Final = "payloads"
_ID: Final = "id"
_IS_ID: Final = re.compile(b"[0-9a-f]{32}")
_HASH: Final = re.compile("[0-9a-f]{64}")
# From here on a file is hashed while it is written, by another thread.
_LARGE: Final = 1 << 22
_A_DAY: Final = 86_400.0


class Store:
    """Values in files, under the hash of what is in them.

    Any number of processes may write and read it at once. Nothing is made before the
    first value is written, or its id asked for.

    Parameters
    ----------
    url
        A folder, or a URL that fsspec knows, such as ``s3://bucket/folder``.
    trusted
        Whether pickles are read, which can run any code. By default they are where
        nobody else can have written them: in a folder that this user owns and others
        cannot write to. Of a URL that is never known.
    limit
        How many bytes a value may take in memory, by estimate.
    options
        What the fsspec file system of the URL takes, such as ``endpoint_url``.

    Raises
    ------
    StoreError
        If no file system has the protocol of the URL, or its package is missing.

    Examples
    --------
    >>> store = Store("memory://example")
    >>> kept = store.save({"rows": [1, 2, 3]})
    >>> store.load(kept.hash)
    {'rows': [1, 2, 3]}
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        *,
        trusted: bool | None = None,
        limit: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.url = os.fspath(url)
        self.trusted = trusted
        self.limit = limit
        self._options = dict(options or {})
        self._files = files_at(self.url, self._options)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.url, self.trusted, self.limit, self._options)

    def placed(self, url: str) -> Store:
        """Give a store at another place, with the same settings."""
        return Store(url, trusted=self.trusted, limit=self.limit, options=self._options)

    def __repr__(self) -> str:
        return f"<Store {self.url!r}>"

    @property
    def files(self) -> Folder | Bucket:
        """The files of the store, for what is not a value."""
        return self._files

    @property
    def is_local(self) -> bool:
        """Whether it is a folder, and nothing behind a URL."""
        return isinstance(self._files, Folder)

    def id(self) -> str:
        """Tell this store from every other, by what is drawn when it is first asked for.

        Raises
        ------
        StoreError
            If the store cannot be written or read.

        Examples
        --------
        >>> Store("memory://example").id() == Store("memory://example").id()
        True
        """
        with self._telling("draw an id"):
            with suppress(FileNotFoundError):
                return self._drawn()
            # Another process may be first.
            self._files.create(_ID, token_hex(16).encode())
            return self._drawn()

    def has_id(self, known: str) -> bool:
        """Tell whether this is the store of an id, seen from here; nothing is made.

        Raises
        ------
        StoreError
            If the store cannot be read.

        Examples
        --------
        >>> Store("memory://of-nobody").has_id(Store("memory://example").id())
        False
        """
        with self._telling("read the id"), suppress(FileNotFoundError):
            return self._drawn() == known
        return False

    def save(self, value: Any) -> Kept:
        """Keep a value, on the disk when this returns.

        Raises
        ------
        StoreError
            If it is larger than the limit, cannot be written as bytes, or the store
            cannot take it.

        Examples
        --------
        >>> Store("memory://example").save(3).codec
        'json'
        """
        return self.write(encoded(value, limit=self.limit))

    def write(self, payload: Payload) -> Kept:
        """Keep a value that is bytes already.

        What is there is not written again, but what is there and damaged is.

        Raises
        ------
        StoreError
            If the store cannot take it, or would not read it.
        """
        if payload.codec == "pickle" and not self._trusts():
            raise StoreError(
                "a value that only a pickle can keep is not written to the store"
                f" {quoted(self.url)}: reading a pickle can run any code, and others may write"
                " there. Expected is a folder that belongs to you and that only you can write to"
                " (chmod -R go-w). Return plain data, a frame or an array; or open the store with"
                " trusted=True if all who can write to it are trusted."
            )
        with self._telling("keep a value", payload.nbytes):
            if payload.nbytes < _LARGE:
                path = self._wanted(payload)
                if path is not None:
                    self._files.put(payload.chunks, lambda: path)
            else:
                with ThreadPoolExecutor(1, "nbflow-hash") as hasher:
                    wanted = hasher.submit(self._wanted, payload)
                    self._files.put(payload.chunks, wanted.result)
        return Kept(payload.hash, payload.codec, payload.nbytes)

    def load(self, hashed: str) -> Any:
        """Give a value back, which may be changed in place.

        Raises
        ------
        StoreError
            If it is missing or damaged, or a pickle that is not trusted.

        Examples
        --------
        >>> store = Store("memory://example")
        >>> store.load(store.save((1, None)).hash)
        (1, None)
        """
        data = self.read(hashed)
        try:
            return decoded(data, trusted=self._trusts(_path(hashed)))
        except StoreError as error:
            raise StoreError(f"in the store {quoted(self.url)}, {error}") from error.__cause__

    def read(self, hashed: str) -> bytearray:
        """Give the bytes of a value, as they were written.

        Raises
        ------
        StoreError
            If they are missing or damaged.
        """
        path = _path(hashed)
        with self._telling(f"read the value {quoted(hashed)}"):
            try:
                data = self._files.get(path)
            except (FileNotFoundError, IsADirectoryError):
                raise self._missing(hashed) from None
        if digest([data]) != hashed:
            raise StoreError(
                f"the value {quoted(hashed)} in the store {quoted(self.url)} is damaged: the"
                f" {len(data):,} bytes of its file {quoted(path, 100)} are not what was written."
                " It is not used. Run the step again, which writes the file anew; if this happens"
                " more than once, check the disk."
            )
        return data

    def __contains__(self, hashed: object) -> bool:
        if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
            return False
        with self._telling(f"look for the value {quoted(hashed)}"):
            return self._files.size(_path(hashed)) is not None

    def is_intact(self, hashed: str) -> bool:
        """Tell whether a value is there and undamaged, by reading all of it.

        Who asks may be about to need it, so it counts as wanted again; see `delete`.

        Raises
        ------
        StoreError
            If the store cannot be read at all.

        Examples
        --------
        >>> Store("memory://example").is_intact("0" * 64)
        False
        """
        path = _path(hashed)
        with self._telling(f"read the value {quoted(hashed)}"):
            # First, for it may be deleted before it was touched, and not any more after.
            self._files.touch(path)
            return self._files.size(path) is not None and self._matches(path, hashed)

    def delete(self, hashed: str, *, unused_for: float = 0.0) -> bool:
        """Delete a value; what is not there any more is no error.

        Parameters
        ----------
        unused_for
            Leave it if it was written, or wanted again, within so many seconds: a run
            that has just found it there may not have said yet that it needs it.

        Returns
        -------
        bool
            Whether there was one, and it is deleted.

        Raises
        ------
        StoreError
            If the store cannot be written.

        Examples
        --------
        >>> store = Store("memory://example")
        >>> hashed = store.save("once").hash
        >>> store.delete(hashed), store.delete(hashed)
        (True, False)
        """
        path = _path(hashed)
        with self._telling(f"delete the value {quoted(hashed)}"):
            if unused_for and self._files.age(path) < unused_for:
                return False
            return self._files.remove(path)

    def hashes(self) -> Iterator[str]:
        """Give the hash of each value, in no particular order.

        Raises
        ------
        StoreError
            If the store cannot be read.

        Examples
        --------
        >>> store = Store("memory://of-one")
        >>> store.save(1).hash in list(store.hashes())
        True
        """
        return (hashed for hashed, _ in self._listed())

    def nbytes(self, hashed: str | None = None) -> int:
        """Tell how many bytes a value takes in the store, or all of them together.

        Raises
        ------
        StoreError
            If the value is missing, or the store cannot be read.

        Examples
        --------
        >>> store = Store("memory://example")
        >>> kept = store.save([1, 2])
        >>> store.nbytes(kept.hash) == kept.nbytes
        True
        """
        if hashed is None:
            return sum(size for _, size in self._listed())
        with self._telling(f"look for the value {quoted(hashed)}"):
            size = self._files.size(_path(hashed))
        if size is None:
            raise self._missing(hashed)
        return size

    def collect(self, grace: float = _A_DAY) -> int:
        """Remove what writers that were killed have left behind.

        Parameters
        ----------
        grace
            Leave what was written to within so many seconds: its writer may live.

        Returns
        -------
        int
            How many files were removed, and folders of what was being removed.

        Raises
        ------
        StoreError
            If the store cannot be written.

        Examples
        --------
        >>> Store("memory://example").collect()
        0
        """
        with self._telling("remove unfinished files"):
            names = self._files.names(INCOMING)
            files = {path for path, _ in self._files.walk(INCOMING)}
            # Nobody writes to a folder there: it was put aside to be removed.
            folders = [name for name in names if f"{INCOMING}/{name}" not in files]
            for name in folders:
                self._files.remove_tree(f"{INCOMING}/{name}")
            left = [f"{INCOMING}/{name}" for name in names if f"{INCOMING}/{name}" in files]
            old = [path for path in left if self._files.age(path) >= grace]
            return len(folders) + sum(self._files.remove(path) for path in old)

    def _drawn(self) -> str:
        data = self._files.get(_ID)
        if not _IS_ID.fullmatch(data):
            raise StoreError(
                f"the file {quoted(_ID)} of the store {quoted(self.url)} is damaged: expected are"
                " 32 hexadecimal digits. Delete it while no run is going on; another is drawn."
            )
        return data.decode()

    def _listed(self) -> Iterator[tuple[str, int]]:
        with self._telling("list the values"):
            for path, size in self._files.walk(_PAYLOADS):
                hashed = path.rpartition("/")[2]
                if _HASH.fullmatch(hashed) and path == _path(hashed):
                    yield hashed, size

    def _wanted(self, payload: Payload) -> str | None:
        """Name the file of a payload; None if it is there and undamaged."""
        path = _path(payload.hash)
        if self._files.size(path) != payload.nbytes or not self._matches(path, payload.hash):
            return path
        self._files.touch(path)
        # It may have been deleted before it was touched, not any more after.
        return None if self._files.size(path) is not None else path

    def _matches(self, path: str, hashed: str) -> bool:
        try:
            return digest_read(self._files.pieces(path)) == hashed
        except (FileNotFoundError, IsADirectoryError):
            return False

    def _trusts(self, path: str = _PAYLOADS) -> bool:
        return self._files.is_own(path) if self.trusted is None else self.trusted

    def _missing(self, hashed: str) -> StoreError:
        return StoreError(
            f"the value {quoted(hashed)} is missing from the store {quoted(self.url)}: there is no"
            f" file {quoted(_path(hashed), 100)}. It was deleted, or the store is not the one that"
            " it was written to. Run the step again, or open the right store."
        )

    def _telling(self, what: str, nbytes: int = 0) -> AbstractContextManager[None]:
        """Say of any failure what it means for the store, and what to do."""
        return advising(what, self.url, self._files.free, nbytes)


def _again(url: str, trusted: bool | None, limit: int | None, options: dict[str, Any]) -> Store:
    return Store(url, trusted=trusted, limit=limit, options=options)


def _path(hashed: str) -> str:
    if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
        raise StoreError(
            f"{quoted(hashed)} names no value. Expected are the 64 hexadecimal digits of its hash,"
            " as save() gives them."
        )
    return f"{_PAYLOADS}/{hashed[:2]}/{hashed}"
