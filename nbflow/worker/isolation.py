"""One attempt of a step in a process of its own, which can be killed whatever it does."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

from nbflow.algebra.context import place
from nbflow.errors import RunError, TransferError, UnsupportedError, quoted
from nbflow.record.events import ErrorRecord
from nbflow.record.failure import revived
from nbflow.values.transfer import Parcel, dumps
from nbflow.worker.child import FAILURE, Message
from nbflow.worker.process import Died, Process


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
    >>> from nbflow.record.failure import recorded
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
    with Ward() as ward:
        try:
            return ward.call(
                packed, args, kwargs, name=name, seconds=seconds, write=write, judge=judge
            )
        except Died as death:
            raise RunError(str(death)) from None


class Ward:
    """A process that makes one call after another; if it dies, the next has a new one.

    Parameters
    ----------
    memory
        With how many bytes of memory in use it is killed; None for any number.

    Examples
    --------
    >>> with Ward() as ward:
    ...     for number in (7, 8):
    ...         ward.call(dumps(divmod), [number, 2], {}, name="divide", write=print)
    (3, 1)
    (4, 0)
    """

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory
        self._child: Process | None = None

    def __enter__(self) -> Ward:
        return self

    def __exit__(self, *_: object) -> None:
        child, self._child = self._child, None
        if child is not None:
            try:
                child.end()
            finally:
                child.kill()

    def call(
        self,
        packed: bytes,
        args: list[Any],
        kwargs: dict[str, Any],
        *,
        name: str,
        seconds: float | None = None,
        write: Callable[[str], object],
        judge: bytes | None = None,
    ) -> Any:
        """Make a call; see `in_child`."""
        if os.name != "posix":
            raise UnsupportedError(
                f"step {quoted(name)} cannot run in a process of its own on this system; "
                f"Linux and macOS can do it"
            )
        request = _request(packed, args, kwargs, name, judge)
        child, self._child = self._child, None
        try:
            child = child or Process(self._memory)
        except OSError as error:
            raise RunError(
                f"no process for step {quoted(name)} could be started: {error}"
            ) from error
        try:
            answer = child.talk(request, seconds, name, write)
            if answer is None:
                child.end()
        except BaseException:
            child.kill()
            raise
        if answer is None:
            child.kill()
            raise Died(_death(name, child.exit_code))
        self._child = child
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
    about = dumps((name, place(), judge))
    return [about, packed, parcel.data, *parcel.buffers]


def _outcome(answer: Message, name: str) -> Any:
    kind, data, *buffers = answer
    if kind == FAILURE:
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
