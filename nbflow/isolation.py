"""One attempt of a step in a process of its own, which can be killed whatever it does.

Parent and child speak over a socket of their own: the call goes down, its outcome comes
up. What the child and its own children say goes a second way, and a third, on which
nothing is ever said, tells the child that its parent is gone. The child is a fresh
interpreter: Dask's workers may not have children by multiprocessing.
"""

from __future__ import annotations

import atexit
import codecs
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from nbflow import capture, context
from nbflow.errors import RunCancelledError, RunError, TransferError, UnsupportedError, quoted
from nbflow.evaluate import checked, invoke
from nbflow.events import ErrorRecord
from nbflow.failure import recorded, revived
from nbflow.transfer import Parcel, dumps

if TYPE_CHECKING:
    from subprocess import Popen

# How long an interpreter may take to start and to read its call, imports included.
START_SECONDS = 300.0
# How long a child that has given its result may take to end.
EXIT_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_PIPE_BYTES = 1 << 20
_LINE_LIMIT = 8_192
_VALUE, _FAILURE = b"value", b"failure"

Message: TypeAlias = list[bytearray]


class ChildFailure(Exception):  # noqa: N818 - it carries the error, and is not it
    """What a step raised in a process of its own, where it was looked at.

    Attributes
    ----------
    record
        The exception as it travels.
    verdict
        What the `judge` given to `in_child` said of it.

    Examples
    --------
    >>> failure = ChildFailure(recorded(KeyError("k")), verdict=0.5)
    >>> failure.error, failure.verdict
    (KeyError('k'), 0.5)
    """

    def __init__(self, record: ErrorRecord, verdict: Any = None) -> None:
        super().__init__(record, verdict)
        self.record = record
        self.verdict = verdict

    @property
    def error(self) -> BaseException:
        """The exception itself, as far as it could travel."""
        return revived(self.record)

    def __str__(self) -> str:
        return f"{self.record.type_name}: {self.record.message}"


def in_child(
    packed: bytes,
    args: list[Any],
    kwargs: dict[str, Any],
    *,
    name: str,
    seconds: float | None,
    write: Callable[[str], object],
    judge: bytes | None = None,
) -> Any:
    """Call a function in a new process, and give its value.

    The process and all that it has started are killed when the call is done, when its
    time is over, when the run is cancelled, and when this process ends. `context`
    gives there what it gives here.

    Parameters
    ----------
    packed
        The function, packed by `transfer.dumps`.
    args, kwargs
        What it is called with.
    name
        The step's, for messages.
    seconds
        How long the call may take, without the start of the process; None for any time.
    write
        Receives what the process says, in whole lines.
    judge
        A packed function that is called in the child with what the step raised; its
        value comes back as the `ChildFailure.verdict`.

    Raises
    ------
    ChildFailure
        If the function raises anything.
    TimeoutError
        If it took too long.
    RunCancelledError
        If the run was cancelled meanwhile.
    TransferError
        If an argument or the result cannot be pickled.
    RunError
        If the process ended without a result.

    Examples
    --------
    >>> in_child(dumps(divmod), [7, 2], {}, name="divide", seconds=60, write=print)
    (3, 1)
    """
    if os.name != "posix":
        raise UnsupportedError(
            f"step {quoted(name)} cannot run in a process of its own on this system; "
            f"Linux and macOS can do it"
        )
    child = _Child(name, _request(packed, args, kwargs, name, judge), write)
    try:
        answer = child.talk(seconds)
        child.end()
    finally:
        child.kill()
    if answer is None:
        raise RunError(_death(name, child.exit_code))
    return _outcome(answer, name)


def _request(
    packed: bytes, args: list[Any], kwargs: dict[str, Any], name: str, judge: bytes | None
) -> list[Any]:
    try:
        parcel = Parcel.of((args, kwargs))
    except Exception as error:
        raise TransferError(
            f"an argument of step {quoted(name)} cannot be pickled, so it cannot reach the "
            f"step's own process: {error!r}; hand over plain data"
        ) from error
    about = dumps((name, context.place(), judge))
    return [about, packed, parcel.data, *parcel.buffers]


def _outcome(answer: Message, name: str) -> Any:
    kind, data, *buffers = answer
    if kind == _FAILURE:
        raise ChildFailure(*pickle.loads(data))
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise TransferError(
            f"what step {quoted(name)} returned came out of its process, but cannot be read: "
            f"{error!r}"
        ) from error


def _death(name: str, code: int | None) -> str:
    process = f"the process of step {quoted(name)}"
    if code is None:
        return f"{process} closed its connection before giving a result"
    if code >= 0:
        return f"{process} ended itself with exit code {code} before giving a result"
    try:
        ended = f"{process} was ended by {signal.Signals(-code).name} (signal {-code})"
    except ValueError:
        ended = f"{process} was ended by signal {-code}"
    if -code == signal.SIGKILL:
        return f"{ended}, as a system does that has no memory left; give the step less at a time"
    return ended


class _Child:
    """A process that makes one call, as its parent sees it."""

    def __init__(self, name: str, request: list[Any], write: Callable[[str], object]) -> None:
        import selectors
        import socket

        self.exit_code: int | None = None
        self._name = name
        self._write = write
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._channel, theirs = socket.socketpair()
        watched, self._lifeline = os.pipe()
        try:
            self._process = self._started(theirs.fileno(), watched)
        except OSError as error:
            self._channel.close()
            os.close(self._lifeline)
            raise RunError(f"no process for step {quoted(name)} could be started: {error}") from error
        finally:
            theirs.close()
            os.close(watched)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._sending = _sending(self._channel.fileno(), request)
        self._selector = selectors.DefaultSelector()
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(self._channel, both, self._exchange)
        self._selector.register(self._output, selectors.EVENT_READ, self._listen)
        for fd in (self._channel.fileno(), self._output.fileno()):
            os.set_blocking(fd, False)
        _widen(self._output.fileno())

    def _started(self, channel: int, watched: int) -> Popen[bytes]:
        import subprocess

        paths = [path for path in sys.path if isinstance(path, str)]
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(channel), str(watched), *paths],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            pass_fds=(channel, watched),
            start_new_session=True,
        )
