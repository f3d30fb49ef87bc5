"""What there is to keep of a flow, beside the journal where it is large.

A flow may hold a frame of many megabytes, and the same one in each run of a cell. So
what is large is a file under its hash, and the journal says which.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Final

from nbflow.errors import StoreError, quoted
from nbflow.journal.journal import Journal
from nbflow.store.folder import Folder

_LARGE: Final = 262_144
_ELSEWHERE: Final = b"nbflow-flow "
_FOLDER: Final = "flows"


def body_written(journal: Journal, body: bytes) -> bytes:
    """Put what is large in a file of its own; give what the journal is to keep.

    Parameters
    ----------
    journal
        Where the run is entered.
    body
        The flow as bytes.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> body_written(Journal(tempfile.mkdtemp()), b"small")
    b'small'
    """
    if len(body) <= _LARGE:
        return body
    name = sha256(body).hexdigest()
    folder = Folder(Path(journal.path).parent)
    path = f"{_FOLDER}/{name}"
    try:
        if folder.size(path) != len(body):
            folder.put([body], lambda: path)
    except OSError as error:
        raise StoreError(
            f"the flow, of {len(body) / 1e6:,.1f} MB with all that it holds, cannot be written to "
            f"{quoted(str(folder.root))}: {error}; make room, or pass the path of a large input "
            f"instead of the input itself"
        ) from error
    return _ELSEWHERE + name.encode()


def body_read(journal: Journal, run_id: str) -> bytes:
    """Give the flow of a run as bytes.

    Parameters
    ----------
    journal, run_id
        Where the run is entered, and which one.

    Raises
    ------
    RunNotFoundError
        If there is no such run.
    StoreError
        If its file is missing or damaged.
    """
    body = journal.body(run_id)
    if not body.startswith(_ELSEWHERE):
        return body
    name = body[len(_ELSEWHERE) :].decode()
    folder = Folder(Path(journal.path).parent)
    try:
        found = bytes(folder.get(f"{_FOLDER}/{name}"))
    except OSError as error:
        raise StoreError(
            f"the flow of run {quoted(run_id)} is missing: {error}; the file was deleted, or the "
            f"folder of the journal was copied without it"
        ) from error
    if sha256(found).hexdigest() != name:
        raise StoreError(f"the flow of run {quoted(run_id)} is damaged: its file was changed")
    return found
