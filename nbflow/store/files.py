"""The files at a place: a local folder, or whatever fsspec reaches by its URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nbflow.errors import StoreError, quoted
from nbflow.store.bucket import Bucket
from nbflow.store.folder import Folder

_PROTOCOL: Final = re.compile("([A-Za-z][A-Za-z0-9+.-]*)://")


def files_at(url: str, options: Mapping[str, Any]) -> Folder | Bucket:
    """Give the files at a place.

    Parameters
    ----------
    url
        A folder, or a URL that fsspec knows.
    options
        What the fsspec file system of the URL takes.

    Raises
    ------
    StoreError
        If no file system has the protocol of the URL, or its package is missing.

    Examples
    --------
    >>> files_at("results", {}).root.name
    'results'
    """
    found = _PROTOCOL.match(url)
    if found is None or found[1] in ("file", "local"):
        path = url if found is None else url[found.end() :]
        # Wherever the process goes from here, the store stays.
        return Folder(Path(path).expanduser().absolute())
    try:
        return Bucket(url, options)
    except ImportError as error:
        raise StoreError(
            f"the store {quoted(url)} cannot be opened: {error}. Install the package, or choose a"
            " folder by store= or NBFLOW_STORE."
        ) from error
    except Exception as error:
        raise StoreError(
            f"the store {quoted(url)} cannot be opened: {error}. Expected is a folder, or a URL of"
            " which fsspec knows the protocol, such as 's3://bucket/folder'."
        ) from error
