"""A call that may take only so long, in a thread of its own.

Python cannot end a thread. It can put an exception into one, which arrives as soon
as the thread runs Python code: so a loop stops, and its ``finally`` blocks run, but a
call that waits in C goes on until it returns. A coroutine is cancelled instead.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from functools import lru_cache
from traceback import format_exception_only
from types import FrameType, TracebackType
from typing import Any, Literal, TypeAlias

from nbflow.algebra.context import also_stopped_by
from nbflow.errors import FlowError, quoted

# How long a call that has not heard that it should stop is waited for: it is blocked.
DEAF_SECONDS = 0.25
# How long one that has heard may clean up. It is not told again meanwhile, for that
# would interrupt its cleaning up.
CLEANUP_SECONDS = 5.0
# How often a call that heard and went on regardless is told.
TOLD_AT_MOST = 5
# What is raised by stopping alone; asyncio is not imported for it.
_STOPS = frozenset({"_TookTooLong", "CancelledError"})
_LOOK_SECONDS = 0.01
_PIECE_SECONDS = 0.1

# What belongs to a thread and has to be the same in the one that stands in for it: where
# the module is loaded, for otherwise there is nothing in it.
_OF_THREADS = (("nbflow.worker.capture", "_current"), ("distributed.worker", "thread_state"))

_State: TypeAlias = Literal["deaf", "cleaning up", "forgotten"]
_Next: TypeAlias = Literal["tell", "wait", "give up"]


def checked_seconds(value: Any, what: str) -> float | None:
    """Read a limit of time: a positive number of seconds, or None for no limit.

    Parameters
    ----------
    value
        What the user gave.
    what
        What it was given for, for the message.

    Raises
    ------
    FlowError
        If it is neither.

    Examples
    --------
    >>> checked_seconds(5, "the step option 'timeout'")
    5.0
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):
            if math.isfinite(value) and value > 0:
                return float(value)
    raise FlowError(
        f"{what} is {value!r}; it must be a number of seconds above 0, or None for no limit"
    )


def within(
    seconds: float,
    name: str,
    call: Callable[[], Any],
    *,
    abandoned: Callable[[], None] | None = None,
) -> Any:
    """Give the value of a call, or stop it when it takes too long.

    The call runs in another thread, which sees what the caller's sees: its context
    variables, where its output goes, which Dask worker it belongs to.

    Parameters
    ----------
    seconds
        How long the call may take.
    name
        The step's, for the message.
    call
        What to call.
    abandoned
        Called if it could not be stopped and goes on.

    Raises
    ------
    TimeoutError
        If it was not done in time. Its traceback leads to where the call was.
    BaseException
        What the call raises in time.

    Examples
    --------
    >>> within(60, "add", lambda: 1 + 1)
    2
    """
    __tracebackhide__ = True
    helper = _Helper(call)
    try:
        if not helper.wait(seconds):
            raise _too_late(helper, seconds, name, abandoned)
        if helper.error is not None:
            raise helper.error.with_traceback(helper.where_raised())
        return helper.value
    finally:
        # The traceback leads through here, and would keep itself and all it has seen.
        helper.error = helper.value = None


def awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine, so that the limit of time it may be under can cancel it.

    A loop that is running in the thread already, as in a notebook, is left alone.

    Examples
    --------
    >>> import asyncio
    >>> awaited(asyncio.sleep(0, "done"))
    'done'
    """
    __tracebackhide__ = True
    # It takes half as long to import as the rest of nbflow, and few steps need it.
    import asyncio

    helper: _Helper | None = getattr(_here, "helper", None)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run = _run
    else:
        run = _run_elsewhere
    # Not in the except clause: what the coroutine raises would tell of that error too.
    return run(coroutine, helper)


def _run(coroutine: Coroutine[Any, Any, Any], helper: _Helper | None) -> Any:
    __tracebackhide__ = True
    import asyncio

    if helper is None:
        return asyncio.run(coroutine)

    async def cancellable() -> Any:
        task = asyncio.current_task()
        assert task is not None
        helper.tasks.append(task)
        try:
            return await coroutine
        finally:
            helper.tasks.remove(task)

    return asyncio.run(cancellable())


def _run_elsewhere(coroutine: Coroutine[Any, Any, Any], helper: _Helper | None) -> Any:
    __tracebackhide__ = True
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def wait() -> None:
        try:
            outcome.append(_run(coroutine, helper))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=copy_context().run, args=(wait,), name="nbflow-await")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _too_late(
    helper: _Helper, seconds: float, name: str, abandoned: Callable[[], None] | None
) -> TimeoutError:
    took = f"step {quoted(name)} took longer than {seconds:g} s"
    where = helper.where_now()
    if not helper.stop():
        helper.silence()
        if abandoned is not None:
            abandoned()
        end = "and could not be stopped: it goes on in the background until its call returns"
        return TimeoutError(f"{took} {end}").with_traceback(where)
    error = TimeoutError(f"{took}; it was stopped").with_traceback(helper.where_raised() or where)
    if helper.error is not None and type(helper.error).__name__ not in _STOPS:
        said = "".join(format_exception_only(helper.error)).strip()
        error.add_note(f"while it was stopped, it raised {said}")
    return error


class _TookTooLong(BaseException):
    """Put into a thread; being no `Exception`, it passes ``except Exception``.

    While it lives, the thread is on its way out of the call. If it has died and the
    call goes on, it was caught and forgotten.
    """

    def __init__(self) -> None:
        super().__init__("the step took too long")
        helper: _Helper | None = getattr(_here, "helper", None)
        if helper is not None:
            helper.heard = weakref.ref(self)


# The helper that the current thread belongs to.
_here = threading.local()


class _Helper:
    """A call in a thread of its own, and what is known of it meanwhile.

    One lock decides whether the call was done or its time was over. Only a call whose
    time is over is told to stop, and then its outcome does not matter any more; so
    wherever in our own code a stop arrives late, nothing is lost.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = threading.Event()
        self.expired = False
        self.heard: weakref.ref[_TookTooLong] | None = None
        self.tasks: list[Any] = []
        self._cancelling = threading.Event()
        self._call = call
        self._begun = False
        self._closed = False
        # Reentrant, should a stop arrive between its being taken and the block it guards.
        self._lock = threading.RLock()
        self._context = copy_context()
        self._carried = _carried()
        self._locals: list[dict[str, Any]] = []
        self._put = _putter()
        self._thread = threading.Thread(target=self._body, name="nbflow-limited", daemon=True)
        self._thread.start()

    # In the helper's own thread

    def _body(self) -> None:
        _here.helper = self
        while not self._closed:
            try:
                if not self._begun:
                    self._run()
                self._close()
            except _TookTooLong as stop:
                # Kept, and so alive: no other will be sent.
                self.error = stop
        self.done.set()

    def _run(self) -> None:
        with self._lock:
            if self.expired:
                return
            self._begun = True
        try:
            for local, values in self._carried:
                vars(local).update(values)
                self._locals.append(vars(local))
            self._context.run(also_stopped_by, lambda: self.expired)
            self.value = self._context.run(self._call)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.error = error

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            # One that is on its way would arrive in nobody's code.
            self._put(threading.get_ident(), None)

    # In the caller's thread

    def wait(self, seconds: float) -> bool:
        """Wait until the call is done or its time is over; True if it was done in time."""
        end = time.monotonic() + seconds
        try:
            # In pieces, in between which the stop of a limit around this one can arrive.
            while not self.done.wait(max(0, min(_PIECE_SECONDS, end - time.monotonic()))):
                if time.monotonic() >= end:
                    break
        except BaseException:
            if self._expire():
                self.stop()
            raise
        return not self._expire()

    def _expire(self) -> bool:
        with self._lock:
            self.expired = not self._closed
        if not self.expired:
            self.done.wait()
        return self.expired

    def stop(self) -> bool:
        """Make the call end, or give up; True if it has ended."""
        if self.tasks:
            self._cancel()
        if not self._cancelling.is_set():
            self._tell()
        first = last = time.monotonic()
        told = 1
        while not self.done.wait(_LOOK_SECONDS):
            now = time.monotonic()
            following = _decided(self._state(), told, now - last, now - first)
            if following == "give up":
                return False
            if following == "tell":
                self._tell()
                told, last = told + 1, now
        return True

    def _cancel(self) -> None:
        def cancel(task: Any) -> None:
            self._cancelling.set()
            task.cancel()

        # The innermost first: the ones around wait for it.
        for task in reversed(self.tasks):
            with suppress(RuntimeError):  # its loop has ended meanwhile
                task.get_loop().call_soon_threadsafe(cancel, task)
        self._cancelling.wait(DEAF_SECONDS)

    def _tell(self) -> None:
        if self._lock.acquire(timeout=_LOOK_SECONDS):
            try:
                if self._begun and not self._closed:
                    self.heard = None
                    self._put(self._thread.ident, _TookTooLong)
            finally:
                self._lock.release()

    def _state(self) -> _State:
        if self.heard is not None:
            return "forgotten" if self.heard() is None else "cleaning up"
        return "cleaning up" if self._cancelling.is_set() else "deaf"

    def silence(self) -> None:
        """Let what the call still prints be no word of the step that comes next."""
        for each in self._locals:
            each.pop("pad", None)

    def where_raised(self) -> TracebackType | None:
        """Give the traceback of what the call raised, without our own frames."""
        found = self.error.__traceback__ if self.error is not None else None
        while found is not None and found.tb_frame.f_code in _OURS:
            found = found.tb_next
        return found

    def where_now(self) -> TracebackType | None:
        """Give a traceback that leads to where the call is now."""
        frame: FrameType | None = sys._current_frames().get(self._thread.ident or 0)
        found: TracebackType | None = None
        while frame is not None and frame.f_code not in _OURS:
            found = TracebackType(found, frame, frame.f_lasti, frame.f_lineno or 0)
            frame = frame.f_back
        return None if frame is None else found


_OURS = frozenset(each.__code__ for each in (_Helper._body, _Helper._run, _Helper._close))


def _decided(state: _State, told: int, since_told: float, since_first: float) -> _Next:
    """Decide what to do with a call that was told to stop, some times, and goes on."""
    if since_first >= CLEANUP_SECONDS:
        return "give up"
    if state == "cleaning up":
        return "wait"
    if state == "forgotten":
        return "tell" if told < TOLD_AT_MOST else "give up"
    return "wait" if since_told < DEAF_SECONDS else "give up"


def _carried() -> list[tuple[threading.local, dict[str, Any]]]:
    locals_of = [getattr(sys.modules.get(module), name, None) for module, name in _OF_THREADS]
    return [(each, dict(vars(each))) for each in locals_of if each is not None]


@lru_cache(maxsize=1)
def _putter() -> Callable[[int | None, type[BaseException] | None], Any]:
    import ctypes

    # Looked up by item, it is a function of our own, whose types are nobody else's.
    put = ctypes.pythonapi["PyThreadState_SetAsyncExc"]
    put.argtypes = (ctypes.c_ulong, ctypes.py_object)

    def putter(thread: int | None, error: type[BaseException] | None) -> Any:
        # An empty py_object is the null pointer, which takes back what was put.
        return put(thread or 0, ctypes.py_object() if error is None else error)

    return putter
