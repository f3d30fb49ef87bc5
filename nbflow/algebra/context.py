"""Where a step is: its run, its name, its element and which attempt this is.

It is set for every call that a worker makes, so what is set is a plain tuple; a
`Context` is made of it only when a step asks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from nbflow.errors import RunError

Stop: TypeAlias = Callable[[], bool]
_Place: TypeAlias = tuple[str, str, int | str | None, int, Stop, bool]
Entered: TypeAlias = Token[_Place | None]

_current: ContextVar[_Place | None] = ContextVar("nbflow_context", default=None)


def never() -> bool:
    """Tell that nothing has been cancelled: the stop of an attempt that cannot be.

    Examples
    --------
    >>> never()
    False
    """
    return False


@dataclass(frozen=True, slots=True)
class Context:
    """Where a step is running, as it can see itself; made by `context`.

    Attributes
    ----------
    run_id
        The id of the run.
    step
        The name of the step in its flow.
    element
        Which element of a map it is; None for a step that is not mapped.
    attempt
        The number of this attempt, from 1.
    undoing
        Whether the step is not done here, but undone.

    Examples
    --------
    >>> Context("run-1", "load", None, 2).attempt
    2
    """

    run_id: str
    step: str
    element: int | str | None
    attempt: int
    _stop: Stop = field(default=never, repr=False, compare=False)
    undoing: bool = field(default=False, repr=False)

    @property
    def idempotency_key(self) -> str:
        """A text that is the same in every attempt of this call, and in no other call.

        Give it to a service that should do something once, however often it is asked:
        the SHA-256 of the run's id, the step and the element as a JSON list, and
        ``"undo"`` where the step is undone.
        """
        return key_of(self.run_id, self.step, self.element, undo=self.undoing)

    @property
    def key_of_step(self) -> str:
        """The `idempotency_key` that the step had when it was done: what to undo."""
        return key_of(self.run_id, self.step, self.element)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled or this attempt took too long: time to return."""
        return self._stop()

    def __reduce__(self) -> tuple[Any, ...]:
        # What stops it is of this process.
        return Context, (self.run_id, self.step, self.element, self.attempt, never, self.undoing)


def key_of(run_id: str, step: str, element: int | str | None, *, undo: bool = False) -> str:
    """Give the idempotency key of a step, of an element, or of the undoing of one.

    Examples
    --------
    >>> key_of("run-1", "charge", None) == key_of("run-1", "charge", None, undo=True)
    False
    """
    import json
    from hashlib import sha256

    names = json.dumps([run_id, step, element, *(["undo"] if undo else [])])
    return sha256(names.encode()).hexdigest()


def context() -> Context:
    """Tell a step where it is running.

    A thread that a step starts knows it if it is started in a copy of the step's
    context: ``Thread(target=contextvars.copy_context().run, args=(work,))``.

    Raises
    ------
    RunError
        If no step is running here.

    Examples
    --------
    >>> entered = enter("run-1", "load", None, 1, never)
    >>> context()
    Context(run_id='run-1', step='load', element=None, attempt=1)
    >>> leave(entered)
    """
    place = _current.get()
    if place is None:
        raise RunError(
            "context() was called where no step is running; call it inside a step, and run "
            "a thread that the step starts in contextvars.copy_context()"
        )
    return Context(*place)


def enter(
    run_id: str,
    step: str,
    element: int | str | None,
    attempt: int,
    stop: Stop,
    undoing: bool = False,
) -> Entered:
    """Say where the code that follows is running.

    Parameters
    ----------
    run_id, step, element, attempt, undoing
        What `context` gives.
    stop
        Tells whether the attempt should end. Best made once for many calls, such as
        ``functools.partial(is_cancelled, nonce)``.

    Returns
    -------
    What `leave` wants.

    Examples
    --------
    >>> entered = enter("run-1", "load", 7, 1, never)
    >>> context().element
    7
    >>> leave(entered)
    """
    return _current.set((run_id, step, element, attempt, stop, undoing))


def leave(entered: Entered) -> None:
    """Take back what `enter` said.

    Examples
    --------
    >>> leave(enter("run-1", "load", 7, 1, never))
    """
    _current.reset(entered)


def place() -> tuple[str, str, int | str | None, int, bool] | None:
    """Give what `enter` was told, without the stop: it can be taken to another process.

    Examples
    --------
    >>> entered = enter("run-1", "load", 7, 1, never)
    >>> place()
    ('run-1', 'load', 7, 1, False)
    >>> leave(entered)
    """
    current = _current.get()
    return None if current is None else (*current[:4], current[5])


def stopped() -> bool:
    """Tell whether the current attempt should end; False where no step is running.

    Examples
    --------
    >>> stopped()
    False
    """
    current = _current.get()
    return current is not None and current[4]()


def also_stopped_by(stop: Stop) -> None:
    """Let something else stop the current attempt too; nothing where no step is running.

    It holds until the context is left, or the copy of it that this is called in.

    Examples
    --------
    >>> entered = enter("run-1", "load", None, 1, never)
    >>> also_stopped_by(lambda: True)
    >>> context().cancelled
    True
    >>> leave(entered)
    """
    current = _current.get()
    if current is not None:
        before = current[4]
        _current.set((*current[:4], lambda: before() or stop(), current[5]))


# The runs that were cancelled, the last of them at the end. A run that is forgotten was
# cancelled so long ago that none of its steps can still be running.
_cancelled: dict[str, None] = {}
_cancelling = threading.Lock()
_KEPT = 4096


def cancel(nonce: str) -> None:
    """Let the steps of a run that are running in this process know that it was cancelled.

    Examples
    --------
    >>> cancel("run-1-of-today")
    >>> is_cancelled("run-1-of-today")
    True
    """
    with _cancelling:
        _cancelled.pop(nonce, None)
        _cancelled[nonce] = None
        while len(_cancelled) > _KEPT:
            del _cancelled[next(iter(_cancelled))]


def is_cancelled(nonce: str) -> bool:
    """Tell whether a run was cancelled, as far as this process has heard.

    Examples
    --------
    >>> is_cancelled("run-2-of-today")
    False
    """
    return nonce in _cancelled
