"""A process that makes calls, as its parent sees it: started, spoken to, heard and ended.

Parent and child speak over a socket of their own: the call goes down, its outcome comes
up. What the child and its own children say goes a second way, and a third, on which
nothing is ever said, tells the child that its parent is gone. The child is a fresh
interpreter: Dask's workers may not have children by multiprocessing. What it does is in
`nbflow.worker.child`.
"""

from __future__ import annotations

import codecs
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from nbflow.algebra.context import stopped
from nbflow.errors import RunCancelledError, RunError, quoted
from nbflow.worker.child import Message, receiving, sending

# How long an interpreter may take to start and to read its call, imports included.
START_SECONDS = 300.0
# How long a child that has given its result may take to end.
EXIT_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_READ_BYTES = 1 << 16
_LINE_LIMIT = 8_192

# The interpreter looks for modules where its parent does, nbflow included.
_CHILD = (
    "import sys; fds, sys.argv, sys.path[:] = sys.argv[1:3], ['-c'], sys.argv[3:]; "
    "from nbflow.worker.child import serve; serve(*map(int, fds))"
)


class Died(Exception):  # noqa: N818 - what has happened, for whoever words it
    """The process of a step ended without a result."""


class Process:
    """A process that makes calls, as its parent sees it.

    Parameters
    ----------
    memory
        With how many bytes of memory in use it is killed; None for any number.

    Attributes
    ----------
    exit_code
        How it ended, once that is known.
    """

    def __init__(self, memory: int | None) -> None:
        self.exit_code: int | None = None
        self._memory = memory
        self._name = ""
        self._write: Callable[[str], object] = _unheard
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._channel, theirs = socket.socketpair()
        watched, self._lifeline = os.pipe()
        try:
            self._process = _started(theirs.fileno(), watched)
        except OSError:
            self._channel.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(watched)
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._channel.setblocking(False)
        os.set_blocking(self._output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ, self._listen)

    def talk(
        self,
        request: list[Any],
        seconds: float | None,
        name: str,
        write: Callable[[str], object],
    ) -> Message | None:
        """Ask for a call, and give its outcome; None if the child went away without.

        Parameters
        ----------
        request
            The call, packed, in the parts that are sent.
        seconds
            How long it may take, without the start of the process; None for any time.
        name
            The step's, for messages.
        write
            Receives what the process says, in whole lines.

        Raises
        ------
        TimeoutError
            If it took too long.
        RunCancelledError
            If the run was cancelled meanwhile.
        Died
            If it used too much memory.
        RunError
            If the process did not start in time.
        """
        self._name, self._write = name, write
        self._limit = time.monotonic() + START_SECONDS
        self._begun = False
        self._answer: Message | None = None
        self._sending = sending(self._channel.fileno(), request)
        self._hearing = self._heard(seconds)
        both = selectors.EVENT_READ | selectors.EVENT_WRITE
        self._selector.register(self._channel, both, self._exchange)
        while self._channel in self._selector.get_map():
            left = self._limit - time.monotonic()
            if left <= 0:
                raise self._too_late(seconds)
            if stopped():
                raise RunCancelledError(
                    f"the run was cancelled, and the process of step {quoted(self._name)} killed"
                )
            self._look(min(left, _LOOK_SECONDS))
            self._check_memory()
        while self._answer is not None and self._hears() and self._listen(0):
            pass
        self._end_line()
        return self._answer

    def _check_memory(self) -> None:
        if self._memory is None or self._process.poll() is not None:
            return
        import psutil  # type: ignore[import-untyped,unused-ignore]

        with suppress(psutil.Error):
            used = psutil.Process(self._process.pid).memory_info().rss
            if used > self._memory:
                raise Died(
                    f"the process of step {quoted(self._name)} was killed, as it used "
                    f"{used / 1e6:,.0f} MB of memory, and a worker has {self._memory / 1e6:,.0f}; "
                    f"give the step less at a time, or the workers more memory"
                )

    def _too_late(self, seconds: float | None) -> Exception:
        if self._begun:
            return TimeoutError(
                f"step {quoted(self._name)} took longer than {seconds:g} s; its process was killed"
            )
        return RunError(
            f"the process of step {quoted(self._name)} did not start within {START_SECONDS:g} s"
        )

    def _look(self, seconds: float) -> None:
        for key, events in self._selector.select(seconds):
            key.data(events)

    def _exchange(self, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and next(self._sending, self) is self:
                self._selector.modify(self._channel, selectors.EVENT_READ, self._exchange)
            if events & selectors.EVENT_READ and next(self._hearing, self) is self:
                self._selector.unregister(self._channel)
        except (EOFError, OSError):
            self._selector.unregister(self._channel)

    def _heard(self, seconds: float | None) -> Generator[None, None, None]:
        first = yield from receiving(self._channel.fileno())
        if first:
            # The call could not be read, so it does not begin.
            self._answer = first
            return
        self._begun = True
        self._limit = math.inf if seconds is None else time.monotonic() + seconds
        self._answer = yield from receiving(self._channel.fileno())

    def _listen(self, _: int) -> bool:
        """Pass on what there is to hear; False if there was nothing now, or is no more."""
        try:
            data = os.read(self._output.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._selector.unregister(self._output)
        text = self._line + self._decoder.decode(data, final=not data)
        lines, newline, self._line = text.rpartition("\n")
        if not data or len(self._line) > _LINE_LIMIT:
            newline, self._line = newline + self._line, ""
        if newline:
            self._write(lines + newline)
        return bool(data)

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        if line:
            self._write(line)

    def end(self) -> None:
        """Let the child end of its own accord, for a while."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        end = time.monotonic() + EXIT_SECONDS
        while self._hears() and self._process.poll() is None and time.monotonic() < end:
            self._look(_LOOK_SECONDS)
        self._wait(max(0, end - time.monotonic()))

    def _wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.exit_code = self._process.wait(seconds)

    def kill(self) -> None:
        """End the child and all that it has started, and hear its last words."""
        # macOS refuses to kill a group in which nobody is alive any more.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        end = time.monotonic() + EXIT_SECONDS
        try:
            if self.exit_code is None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(EXIT_SECONDS)
            while self._hears() and self._listen(0) and time.monotonic() < end:
                pass
        finally:
            self._selector.close()
            self._channel.close()
            self._output.close()
            os.close(self._lifeline)

    def _hears(self) -> bool:
        return self._output in self._selector.get_map()


def _unheard(_: str) -> None:
    pass


def _started(channel: int, watched: int) -> subprocess.Popen[bytes]:
    paths = [each for each in sys.path if isinstance(each, str)]
    return subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", _CHILD, str(channel), str(watched), *paths],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=(channel, watched),
        start_new_session=True,
    )
