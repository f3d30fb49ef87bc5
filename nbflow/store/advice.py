"""What a failure means for a store, and what to do about it, in words."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from nbflow.errors import StoreError, quoted
from nbflow.values.payload import amount

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.EEXIST})


@contextmanager
def advising(
    what: str, url: str, free: Callable[[], int | None], nbytes: int = 0
) -> Iterator[None]:
    """Say of any failure in the body what it means for a store, and what to do.

    Parameters
    ----------
    what
        What is done there, such as ``keep a value``.
    url
        Where the store is.
    free
        Tells how many bytes it still takes; None if that is not known.
    nbytes
        How many bytes are written.

    Raises
    ------
    StoreError
        For whatever else was raised.

    Examples
    --------
    >>> with advising("keep a value", "results", lambda: None):
    ...     raise TimeoutError("no answer")
    Traceback (most recent call last):
    nbflow.errors.StoreError: cannot keep a value in the store 'results': TimeoutError: no answer. \
Check that the place exists and that you may read and write it.
    """
    try:
        yield
    except StoreError:
        raise
    # Not only OSError: what is remote raises what its library has.
    except Exception as error:
        begun = f"cannot {what} in the store {quoted(url)}: "
        raise StoreError(begun + _advised(error, nbytes, free)) from error


def _advised(error: Exception, nbytes: int, free: Callable[[], int | None]) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        bytes_free = free()
        left = "" if bytes_free is None else f", and {amount(bytes_free)} are free"
        return (
            f"the disk is full. Needed are {amount(nbytes)}{left}. Make room, or choose another"
            " folder by store= or NBFLOW_STORE."
        )
    if number in _FORBIDDEN:
        return (
            f"it is not allowed ({error}). Expected is a folder that you may read and write."
            " Change its permissions, or choose another by store= or NBFLOW_STORE."
        )
    if number in _NO_FOLDER:
        return (
            f"there is a file where a folder should be ({error}). Move the file away, or choose"
            " another folder by store= or NBFLOW_STORE."
        )
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{reason}. Check that the place exists and that you may read and write it."
