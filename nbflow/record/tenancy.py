"""Which journals keep their results in a store behind a URL.

What is in a folder is told of by the journal beside it. Behind a URL, several journals
may keep results that the others know nothing of, so each leaves a mark.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbflow.record.archive import Archive
from nbflow.store.store import Store

_MARKS: Final = "journals"
_marked: set[tuple[int, str, str]] = set()


def mark(archive: Archive) -> None:
    """Leave a mark in a store that is not beside its journal, once in a process.

    Raises
    ------
    StoreError
        If the store cannot be written.
    """
    if archive.store.is_local:
        return
    place = str(archive.journal.path)
    if (os.getpid(), archive.store.url, place) in _marked:
        return
    data = json.dumps({"host": socket.gethostname(), "journal": place}).encode()
    with archive.store._telling("leave the mark of a journal", len(data)):
        archive.store.files.create(f"{_MARKS}/{_id(archive)}", data)
    _marked.add((os.getpid(), archive.store.url, place))


def others(archive: Archive) -> dict[str, str]:
    """Say of each other journal that has a mark in the store where it is, by the file of the mark.

    Raises
    ------
    StoreError
        If the store cannot be read.
    """
    if archive.store.is_local:
        return {}
    files, found = archive.store.files, {}
    with archive.store._telling("look for the marks of journals"):
        for name in sorted(set(files.names(_MARKS)) - {_id(archive)}):
            found[f"{_MARKS}/{name}"] = _read(bytes(files.get(f"{_MARKS}/{name}")))
    return found


def _id(archive: Archive) -> str:
    # It goes with the folder, wherever that is moved or mounted.
    return Store(Path(archive.journal.path).parent).id()


def _read(data: bytes) -> str:
    with suppress(ValueError, TypeError, KeyError):
        about = json.loads(data)
        return f"{about['journal']} on {about['host']}"
    return "a journal nobody knows"
