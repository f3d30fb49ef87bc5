"""The child of `nbflow.process`: a fresh interpreter that makes calls.

It imports as little as it can, for it may start once for every attempt.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import struct
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from functools import lru_cache, partial
from io import TextIOWrapper
from typing import Any, TypeAlias, TypeVar

from nbflow.algebra.calling import checked, invoke
from nbflow.algebra.context import enter, leave, never
from nbflow.errors import TransferError, quoted
from nbflow.record.failure import recorded
from nbflow.values.transfer import Parcel, dumps
from nbflow.worker import capture

# The parts of a message, each of which may be large.
Message: TypeAlias = list[bytearray]
T = TypeVar("T")

# The first part of the answer.
VALUE, FAILURE = b"value", b"failure"


def serve(channel: int, watched: int) -> None:
    """Make the calls that come over a socket, send their outcomes, and end the process.

    Parameters
    ----------
    channel
        The socket.
    watched
        The end of a pipe whose other end is closed when the parent ends.
    """
    for fd in (channel, watched):
        os.set_inheritable(fd, False)
    # A child of the child that held it open would hide that the child is gone.
    os.register_at_fork(after_in_child=partial(_close, channel))
    _end_with_parent(watched)
    _speak_by_lines()
    with suppress(EOFError):
        while True:
            through(sending(channel, _attempted(channel, through(receiving(channel)))))
    # Not by way of the interpreter's own end, which waits for threads.
    with suppress(Exception):
        atexit._run_exitfuncs()
    _flush()
    os._exit(0)


def _flush() -> None:
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    _libc().fflush(None)


def _attempted(channel: int, request: Message) -> list[Any]:
    judge = entered = None
    try:
        name, where, judge = pickle.loads(request[0])
        if where is not None:
            run_id, step, element, attempt, undoing = where
            entered = enter(run_id, step, element, attempt, never, undoing)
        _, packed, data, *buffers = request
        fn = pickle.loads(packed)
        args, kwargs = pickle.loads(data, buffers=buffers)
        through(sending(channel, []))
        return _packed(name, checked(name, invoke(fn, args, kwargs)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        return [FAILURE, dumps((recorded(error), _judged(judge, error)))]
    finally:
        if entered is not None:
            leave(entered)
        _flush()


def _judged(judge: bytes | None, error: BaseException) -> Any:
    return None if judge is None else pickle.loads(judge)(error)


def _packed(name: str, value: Any) -> list[Any]:
    try:
        parcel = Parcel.of(value)
    except Exception as error:
        raise TransferError(
            f"step {quoted(name)} returned a {type(value).__name__} that cannot be pickled, so it "
            f"could not leave the step's own process; return plain data, and open files, locks "
            f"and connections inside the step that uses them"
        ) from error
    return [VALUE, parcel.data, *parcel.buffers]


def _end_with_parent(watched: int) -> None:
    """Have the process group killed when the other end of a pipe is closed."""
    # By the system, which needs no thread of ours: C code may hold the interpreter for long.
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(watched, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(watched, fcntl.F_SETSIG, signal.SIGKILL)  # type: ignore[attr-defined,unused-ignore]
        fcntl.fcntl(watched, fcntl.F_SETFL, fcntl.fcntl(watched, fcntl.F_GETFL) | os.O_ASYNC)

    def watch() -> None:
        with suppress(OSError):
            os.read(watched, 1)
            os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="nbflow-lifeline", daemon=True).start()


def _speak_by_lines() -> None:
    """Let everything that is said be heard when it is said, as a worker would tell it."""
    import ctypes
    import faulthandler

    for stream in (sys.stdout, sys.stderr):
        assert isinstance(stream, TextIOWrapper)
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    faulthandler.enable(all_threads=False)
    for name in ("stdout", "__stdoutp"):
        with suppress(AttributeError, ValueError):
            _libc().setlinebuf(ctypes.c_void_p.in_dll(_libc(), name))
    capture._install(every_level=True)
    capture._current.pad = sys.__stdout__


@lru_cache(maxsize=1)
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None)


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


# What goes over the socket: how many parts, how long each is, and the parts. Both ways of
# going pause where they would block, which in the child they never do.


def sending(fd: int, parts: list[Any]) -> Generator[None, None, None]:
    """Send a message, with a pause wherever the socket takes no more.

    Examples
    --------
    >>> ours, theirs = os.pipe()
    >>> through(sending(theirs, [b"a", b"", b"bc"]))
    >>> through(receiving(ours))
    [bytearray(b'a'), bytearray(b''), bytearray(b'bc')]
    """
    views = [memoryview(each) for each in parts]
    lengths = [view.nbytes for view in views]
    head = struct.pack(f"!{len(views) + 1}Q", len(views), *lengths)
    for view in [memoryview(head), *views]:
        while view:
            try:
                view = view[os.write(fd, view) :]  # noqa: PLW2901 - what is left of it
            except BlockingIOError:
                yield


def receiving(fd: int) -> Generator[None, None, Message]:
    """Receive a message, with a pause wherever there is no more of it yet.

    Raises
    ------
    EOFError
        If there will be no more of it.

    Examples
    --------
    >>> ours, theirs = os.pipe()
    >>> through(sending(theirs, [b"a"]))
    >>> through(receiving(ours))
    [bytearray(b'a')]
    """
    (count,) = struct.unpack("!Q", (yield from _filled(fd, 8)))
    lengths = struct.unpack(f"!{count}Q", (yield from _filled(fd, 8 * count)))
    parts = []
    for length in lengths:
        parts.append((yield from _filled(fd, length)))  # noqa: PERF401 - no comprehension can yield
    return parts


def _filled(fd: int, length: int) -> Generator[None, None, bytearray]:
    data = bytearray(length)
    room = memoryview(data)
    while room:
        try:
            count = os.readv(fd, [room])
        except BlockingIOError:
            yield
            continue
        if not count:
            raise EOFError
        room = room[count:]
    return data


def through(pauses: Generator[None, None, T]) -> T:
    """Take no pauses, and give what there is in the end.

    Examples
    --------
    >>> def pausing():
    ...     yield
    ...     return "value"
    >>> through(pausing())
    'value'
    """
    while True:
        try:
            next(pauses)
        except StopIteration as stop:
            value: T = stop.value
            return value
