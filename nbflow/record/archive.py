"""Where runs are written down: the journal, and the store of their results."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nbflow.errors import StoreError, quoted
from nbflow.journal.journal import Journal
from nbflow.store.store import Store

VARIABLE: Final = "NBFLOW_STORE"
_FOLDER: Final = ".nbflow"
_URL: Final = re.compile("[A-Za-z][A-Za-z0-9+.-]*://")
_LOCAL: Final = ("file://", "local://")


@dataclass(frozen=True, slots=True)
class Archive:
    """A journal and a store that belong together.

    Attributes
    ----------
    journal
        The record of runs, always in a folder of this machine.
    store
        Their results, in the same folder or behind a URL.
    """

    journal: Journal
    store: Store

    @classmethod
    def of(cls, store: Any = None) -> Archive:
        """Give the archive that is meant.

        Parameters
        ----------
        store
            A folder, a URL that fsspec knows, or a `Store`. None means what the variable
            ``NBFLOW_STORE`` says, or else ``.nbflow`` in the current folder, which is
            that of the notebook. Results behind a URL have their journal there.

        Raises
        ------
        StoreError
            If it is none of these, or cannot be opened.
        """
        if store is None:
            store = os.environ.get(VARIABLE) or _FOLDER
        if isinstance(store, Store):
            opened, place = store.placed(_absolute(store.url)), store.url
        elif isinstance(store, (str, os.PathLike)) and os.fspath(store):
            place = str(os.fspath(store))
            # Wherever this process goes from here, and wherever its workers are.
            opened = Store(_absolute(place))
        else:
            raise StoreError(
                f"the store is {store!r}; expected is a folder, a URL such as "
                f"'s3://bucket/folder', or False to keep nothing"
            )
        return cls(Journal.at(_folder_of(str(place))), opened)

    @classmethod
    def beside(cls, journal: Journal, url: str | None) -> Archive:
        """Give the archive of a run that is in a journal.

        Parameters
        ----------
        journal
            The journal.
        url
            Where the results are; None for the folder of the journal, wherever that is
            now.
        """
        return cls(journal, Store(str(Path(journal.path).parent) if url is None else url))

    @property
    def url(self) -> str | None:
        """Where the results are; None for the folder of the journal."""
        return None if self.store.is_local else self.store.url


def _folder_of(place: str) -> Path:
    """Give the folder of the journal: the store, if that is one."""
    if not is_url(place):
        for protocol in _LOCAL:
            place = place.removeprefix(protocol)
        return Path(place).expanduser()
    default = os.environ.get(VARIABLE) or _FOLDER
    return Path(_FOLDER) if is_url(default) else _folder_of(default)


def _absolute(place: str) -> str:
    return place if is_url(place) else str(_folder_of(place).absolute())


def is_url(place: str) -> bool:
    """Tell whether a place is elsewhere, and not a folder of this machine.

    Examples
    --------
    >>> is_url("s3://bucket/folder"), is_url("file:///results"), is_url("results")
    (True, False, False)
    """
    return _URL.match(place) is not None and not place.startswith(_LOCAL)


def passing_store(owner: object) -> Store:
    """Make a store that is gone when its owner is: for claims of a run that keeps nothing."""
    folder = tempfile.mkdtemp(prefix="nbflow-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Store(folder)


def is_own_record(archive: Archive) -> bool:
    """Tell whether nobody else can have written the journal: then its code may be run."""
    path = Path(archive.journal.path)
    try:
        about = path.stat()
    except OSError:
        return False
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022


def obstacle(archive: Archive) -> str | None:
    """Say why nothing can be written in an archive; None if nothing is in the way."""
    folder = Path(archive.journal.path).parent
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return f"the store {quoted(str(folder))} would be inside of {quoted(str(place))}, a file"
    if os.access(place, os.W_OK | os.X_OK):
        return None
    return (
        f"the folder {quoted(str(place))} cannot be written to; give another one by store= or "
        f"{VARIABLE}, or store=False"
    )
