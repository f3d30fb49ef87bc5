"""Ask foreign objects what they say of themselves, but not for long.

What a class of the user's says of itself may take for ever, and nothing can stop it where it
waits in C. So it is asked in a thread of our own. Where an answer does not come, that thread is
left behind, and its class is not asked again.

Most values are of classes that are known to answer at once. Looks at these need no thread.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeAlias, TypeVar

from nbflow.values.kinds import PLAIN, kind_of

T = TypeVar("T")

# So long one look may take. After half of it nobody else is asked.
LIMIT: Final = 1.0
# It is waited for in pieces: where another thread keeps the interpreter from all others, the
# end of a wait would come before the object had its time.
_PIECES: Final = 20
# The first class that does not answer is left out of a second look.
_LOOKS: Final = 2
# What these hold is of no foreign class.
_LIBRARIES: Final = frozenset({
    "builtins", "datetime", "decimal", "fractions", "numpy", "pandas", "pathlib", "polars",
    "pyarrow", "uuid",
})  # fmt: skip
_LEAVES: Final = PLAIN | {bytes, bytearray, complex, range}
_HOLDERS: Final = frozenset({list, tuple, dict, set, frozenset})
# A class may answer anything when it is asked for these; the slots of `type` cannot be overridden.
_name_of: Final = type.__dict__["__name__"].__get__
_module_of: Final = type.__dict__["__module__"].__get__


class Foreign(BaseException):
    """Foreign code would have to be called, in a thread that cannot be left behind."""


class Refused(Exception):  # noqa: N818 - it is an answer
    """What an object says of itself is not asked for."""


# Whoever makes do with less when a value raises lets these pass.
PASSING: Final = (KeyboardInterrupt, Foreign)


class _Turn:
    """One look at a value, in which foreign objects are asked."""

    def __init__(self) -> None:
        self.asked: type | None = None
        self.is_late = False


class _Here(threading.local):
    turn: _Turn | str | None = None


_here = _Here()
_slow: list[weakref.ref[type]] = []


def briefly(look: Callable[..., T], *arguments: Any) -> T:
    """Look at a value, which takes no longer than a few seconds whatever the value does.

    Parameters
    ----------
    look
        Looks at a value. It calls `ask` before it calls code of the value's class, lets
        `PASSING` pass, and makes do with less if anything else is raised.
    arguments
        What it is called with.

    Examples
    --------
    >>> briefly(len, "ab")
    2
    """
    if _here.turn is not None:
        return look(*arguments)
    _here.turn = "known"
    try:
        return look(*arguments)
    except Foreign:
        return _asking(look, arguments)
    finally:
        _here.turn = None


def _asking(look: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    for _ in range(_LOOKS):
        answer = _in_time(look, arguments)
        if answer is not None:
            if answer.error is None:
                return answer.value  # type: ignore[no-any-return]
            break
    return _with("refused", look, arguments)


def ask(value: Any) -> None:
    """Say that code of the class of a value is about to be called.

    Raises
    ------
    Refused
        If it may not be called.
    Foreign
        If it may be called, but not here.
    """
    turn, cls = _here.turn, type(value)
    if turn == "known":
        raise Foreign
    if turn is None:
        return
    if isinstance(turn, str) or turn.is_late or _is_slow(cls):
        raise Refused
    turn.asked = cls


def is_known(cls: type) -> bool:
    """Tell whether a class is one that everybody has, rather than one that derives from it.

    Examples
    --------
    >>> is_known(list), is_known(type("List", (list,), {}))
    (True, False)
    """
    if cls in _LEAVES or cls in _HOLDERS:
        return True
    module = _module_of(cls)
    if type(module) is not str or module.partition(".")[0] not in _LIBRARIES:
        return False
    return getattr(sys.modules.get(module), _name_of(cls), None) is cls


def is_leaf(cls: type) -> bool:
    """Tell whether the instances of a class answer at once, and hold nobody who does not.

    Examples
    --------
    >>> is_leaf(int), is_leaf(list)
    (True, False)
    """
    return cls in _LEAVES or (kind_of(cls) == "scalar" and is_known(cls))


def _with(turn: _Turn | str, look: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    _here.turn = turn
    try:
        return look(*arguments)
    finally:
        _here.turn = None


def _is_slow(cls: type) -> bool:
    return any(each() is cls for each in _slow)


# Threads that wait for somebody to ask


class _Answer:
    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        # Released when the answer is given: a lock is quicker than an event.
        self.awaited = threading.Lock()
        self.awaited.acquire()


_Job: TypeAlias = tuple[_Turn, Callable[..., Any], tuple[Any, ...], _Answer]


class _Asker:
    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._serve, name="nbflow-asking", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while (job := self.jobs.get()) is not None:
            turn, look, arguments, answer = job
            try:
                answer.value = _with(turn, look, arguments)
            except BaseException as error:  # noqa: BLE001 - of a foreign class
                answer.error = error
            answer.awaited.release()
            # Nothing of it is held while nobody asks.
            del job, turn, look, arguments, answer

    def stop(self) -> None:
        """Have the thread end, now if it is Python code that runs there."""
        self.jobs.put(None)
        put = ctypes.pythonapi.PyThreadState_SetAsyncExc
        put(ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(SystemExit))


_idle: list[_Asker] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


def _in_time(look: Callable[..., Any], arguments: tuple[Any, ...]) -> _Answer | None:
    """Look in another thread; None if that took too long."""
    try:
        asker = _idle.pop()
    except IndexError:
        asker = _Asker()
    turn, answer = _Turn(), _Answer()
    in_time = False
    try:
        asker.jobs.put((turn, look, arguments, answer))
        for piece in range(_PIECES):
            in_time = answer.awaited.acquire(timeout=LIMIT / _PIECES)
            if in_time:
                return answer
            turn.is_late = piece >= _PIECES // 2
    finally:
        if in_time:
            _idle.append(asker)
        else:
            turn.is_late = True
            asker.stop()
    if turn.asked is not None:
        _slow[:] = [each for each in _slow if each() is not None]
        _slow.append(weakref.ref(turn.asked))
    return None
