"""How an exception travels: with its type, its words and its traceback.

An exception that pickle would lose or change (one whose constructor takes two
arguments, one that holds a lock, one of a class of the notebook) comes back as
what it was, as far as it can.
"""

from __future__ import annotations

import linecache
import os
import pickle
import re
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from nbflow import errors
from nbflow.errors import RunError
from nbflow.record.events import ErrorRecord
from nbflow.record.places import places_of, traceback_from
from nbflow.values.asking import PASSING, ask, briefly, is_leaf
from nbflow.values.kinds import ATOMS
from nbflow.values.outline import outline, valid
from nbflow.values.transfer import dumps

_MESSAGE_LIMIT = 8_000
_TRACEBACK_LIMIT = 64_000
# Beyond this many bytes a part of an exception travels only in words.
_PART_LIMIT = 1_000_000
_CAUSES = 10

# Where the frames are that come before those of the user: ours, and those of a loop of ours.
_BEFORE_USERS = tuple(
    str(each) + os.sep
    for each in (
        Path(errors.__file__).parent,
        Path(os.__file__).parent / "asyncio",
        Path(os.__file__).parent / "concurrent" / "futures",
    )
)

# Looking at an exception runs code of its class, which may raise anything at all. Even
# sys.exit() there must not end the worker.
_ANYTHING = BaseException


def recorded(error: BaseException) -> ErrorRecord:
    """Make the record of an exception, its traceback beginning with the user's code."""
    start = error.__traceback__
    while start is not None and start.tb_frame.f_code.co_filename.startswith(_BEFORE_USERS):
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
        except Exception:  # noqa: BLE001, S110 - the record says what is known all the same
            pass
    error = RunError(f"{record.type_name}: {record.message}")
    error.add_note(record.traceback)
    return error


def in_words(record: ErrorRecord) -> ErrorRecord:
    """Give what a record says, without the exception itself."""
    return replace(record, packed=None)


def with_sources(record: ErrorRecord) -> ErrorRecord:
    """Add the lines of source that the traceback lacks, and name cells as their notebook does.

    A worker knows the file and line of a function of a notebook's cell, and only the
    notebook knows what stands there, and which cell that is.
    """
    lines = record.traceback.splitlines()
    found = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        place = _PLACE.match(line)
        if place is None:
            found.append(line)
            continue
        cell = _cell(place["file"])
        found.append(line if cell is None else f"  {cell}, {line[place.start('rest') :]}")
        source = linecache.getline(place["file"], int(place["line"])).strip()
        if source and not following.startswith("    "):
            found.append(f"    {source}")
    return replace(record, traceback="\n".join(found) + "\n")


_PLACE = re.compile(r'  File "(?P<file>.+)", (?P<rest>line (?P<line>\d+), in )')


def _cell(file: str) -> str | None:
    """Name the cell whose code has this name of a file, as IPython's own tracebacks do."""
    # Not imported: who has no notebook has no cells.
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", _nothing)()
    named = getattr(getattr(shell, "compile", None), "format_code_name", _nothing)(file)
    return None if named is None else " ".join(named)


def _nothing(*_: Any) -> None:
    pass


def cut(text: str, limit: int) -> str:
    """Bound a text by leaving out its middle, saying so."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def _said(error: BaseException) -> str:
    return briefly(_message, error)


def _message(error: BaseException) -> str:
    try:
        if not _is_plain(error):
            ask(error)
        return valid(str(error))
    except PASSING:
        raise
    except _ANYTHING:
        return "(its message cannot be read)"


def _is_plain(error: BaseException) -> bool:
    """Tell whether an exception is one of Python's own, of words that it can say at once."""
    own = type(error).__module__ == "builtins" and not isinstance(error, BaseExceptionGroup)
    return own and all(is_leaf(type(each)) for each in error.args)


def _formatted(error: BaseException, start: TracebackType | None) -> str:
    return briefly(_with_traceback, error, start)


def _with_traceback(error: BaseException, start: TracebackType | None) -> str:
    try:
        if not _is_plain(error) or error.__cause__ or error.__context__:
            ask(error)
        return valid("".join(traceback.format_exception(type(error), error, start)))
    except PASSING:
        raise
    except _ANYTHING:
        places = valid("".join(traceback.format_tb(start)))
        head = "Traceback (most recent call last):\n" if places else ""
        return f"{head}{places}{type(error).__name__}: {_message(error)}\n"


def _packed(error: BaseException, start: TracebackType | None) -> bytes | None:
    try:
        return dumps(_taken_apart(error, start, _CAUSES))
    except _ANYTHING:
        return None


def _taken_apart(error: BaseException, start: TracebackType | None, depth: int) -> dict[str, Any]:
    def other(each: BaseException | None) -> dict[str, Any] | None:
        if each is None or not depth:
            return None
        return _taken_apart(each, each.__traceback__, depth - 1)

    members = None
    if isinstance(error, BaseExceptionGroup):
        members = [
            other(each) or _taken_apart(RunError(_part(_said_of(each))), None, 0)
            for each in error.exceptions
        ]
    return {
        # A group is put together again from its members, each of which has its own ways.
        "whole": None if members is not None else _whole(error),
        "class": type(error),
        "args": tuple(map(_part, error.args[: 1 if members is not None else None])),
        "state": _state(error),
        "places": places_of(start),
        "cause": other(error.__cause__),
        "context": other(None if error.__suppress_context__ else error.__context__),
        "members": members,
    }


def _whole(error: BaseException) -> bytes | None:
    """Pickle as the class itself wants it, if that gives the same exception back."""
    try:
        data = dumps(error)
        if len(data) > _PART_LIMIT:
            return None
        copy = pickle.loads(data)
        same = type(copy) is type(error) and copy.args == error.args
        return data if same and _said(copy) == _said(error) else None
    except _ANYTHING:
        return None


def _state(error: BaseException) -> dict[str, Any]:
    """Read the attributes of an exception, those in slots included."""
    found = dict(vars(error))
    for kind in type(error).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(error, name):
                found[name] = getattr(error, name)
    return {key: _part(each) for key, each in found.items() if _keeps(each)}


def _part(value: Any) -> Any:
    """Give a part of an exception, or its words if it cannot travel or is too large."""
    if isinstance(value, str):
        return cut(value, _PART_LIMIT // 20)
    return value if _travels(value) else _said_of(value)


def _keeps(value: Any) -> bool:
    return isinstance(value, str) or _travels(value)


def _travels(value: Any) -> bool:
    if type(value) in ATOMS and not isinstance(value, (str, bytes)):
        return True
    try:
        data = dumps(value)
        if len(data) <= _PART_LIMIT:
            pickle.loads(data)
            return True
    except _ANYTHING:
        pass
    return False


def _said_of(value: Any) -> str:
    return outline(value, _MESSAGE_LIMIT)


def _unpacked(parts: dict[str, Any]) -> BaseException:
    error = _built(parts).with_traceback(traceback_from(parts["places"]))
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
    if parts["members"]:
        error = kind.__new__(kind, *parts["args"], [_unpacked(each) for each in parts["members"]])
    else:
        error = kind.__new__(kind, *parts["args"])
        error.args = parts["args"]
    for name, value in parts["state"].items():
        object.__setattr__(error, name, value)
    return error
