"""How an exception travels: with its type, its words and its traceback.

An exception that pickle would lose or change (one whose constructor takes two
arguments, one that holds a lock, one of a class of the notebook) comes back as
what it was, as far as it can.
"""

from __future__ import annotations

import pickle
import traceback
from types import TracebackType
from typing import Any

from tblib import Traceback

from nbflow.errors import RunError
from nbflow.events import ErrorRecord
from nbflow.transfer import can_travel, dumps

_MESSAGE_LIMIT = 8_000
_TRACEBACK_LIMIT = 64_000
_CAUSES = 10


def recorded(error: BaseException, skip: int = 0) -> ErrorRecord:
    """Make the record of an exception.

    Parameters
    ----------
    error
        The exception, caught where the user's function was called.
    skip
        How many frames at the beginning of its traceback are not the user's.
    """
    start = error.__traceback__
    for _ in range(skip):
        if start is not None and start.tb_next is not None:
            start = start.tb_next
    return ErrorRecord(
        type(error).__name__,
        cut(_said(error), _MESSAGE_LIMIT),
        cut(_formatted(error, start), _TRACEBACK_LIMIT),
        _packed(error, start),
    )


def revived(record: ErrorRecord) -> BaseException:
    """Give the exception back: the user's own where it could travel."""
    if record.packed is not None:
        try:
            return _unpacked(pickle.loads(record.packed))
        except Exception:  # noqa: BLE001 - the record says what is known all the same
            pass
    error = RunError(f"{record.type_name}: {record.message}")
    error.add_note(record.traceback)
    return error


def cut(text: str, limit: int) -> str:
    """Bound a text by leaving out its middle, saying so."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return "(its message cannot be read)"


def _formatted(error: BaseException, start: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, start))
    except Exception:  # noqa: BLE001 - formatting reads attributes of the user's classes
        return f"{type(error).__name__}: {_said(error)}"


def _packed(error: BaseException, start: TracebackType | None) -> bytes | None:
    try:
        return dumps(_taken_apart(error, start, _CAUSES))
    except Exception:  # noqa: BLE001 - a class may refuse to be pickled at all
        return None


def _taken_apart(error: BaseException, start: TracebackType | None, depth: int) -> dict[str, Any]:
    cause = error.__cause__ if depth else None
    context = error.__context__ if depth and not error.__suppress_context__ else None
    return {
        "whole": _whole(error),
        "class": type(error),
        "args": tuple(each if can_travel(each) else _said_of(each) for each in error.args),
        "state": {key: each for key, each in vars(error).items() if can_travel(each)},
        "traceback": None if start is None else Traceback(start).to_dict(),
        "cause": cause and _taken_apart(cause, cause.__traceback__, depth - 1),
        "context": context and _taken_apart(context, context.__traceback__, depth - 1),
    }


def _whole(error: BaseException) -> bytes | None:
    """Pickle as the class itself wants it, if that gives the same exception back."""
    try:
        data = dumps(error)
        copy = pickle.loads(data)
    except Exception:  # noqa: BLE001 - a user's __reduce__ or __init__ may raise anything
        return None
    same = type(copy) is type(error) and copy.args == error.args and _said(copy) == _said(error)
    return data if same else None


def _said_of(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"<{type(value).__name__}>"


def _unpacked(parts: dict[str, Any]) -> BaseException:
    error = _built(parts)
    if parts["traceback"] is not None:
        error = error.with_traceback(Traceback.from_dict(parts["traceback"]).as_traceback())
    if parts["cause"] is not None:
        error.__cause__ = _unpacked(parts["cause"])
    if parts["context"] is not None:
        error.__context__ = _unpacked(parts["context"])
    return error


def _built(parts: dict[str, Any]) -> BaseException:
    if parts["whole"] is not None:
        whole: BaseException = pickle.loads(parts["whole"])
        return whole
    kind: type[BaseException] = parts["class"]
    # Without __init__, whose arguments need not be those that the exception keeps.
    error = kind.__new__(kind, *parts["args"])
    error.args = parts["args"]
    error.__dict__.update(parts["state"])
    return error
