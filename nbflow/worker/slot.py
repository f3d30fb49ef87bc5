"""The slot of a task on its worker: given up while the task waits, and taken again afterwards.

Dask's `secede` and `rejoin` do it, with two things added: not too many threads of a
worker are away at once, and Dask's books are set right when one is back.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from dask.context import thread_state as task_state
from distributed import Worker, get_worker, rejoin, secede
from distributed.threadpoolexecutor import thread_state as pool_state
from distributed.utils import sync

from nbflow.worker.desk import has_desk

# Waiting threads of one worker that give up their slot. Each is a thread of the
# process, and thousands of steps may want the same lock.
_MOST_AWAY = 64

# What those who wait in their slots hear when it is worth trying to leave.
OPEN = object()


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """Give up the slot of a task while the body waits, so that another task can run.

    Afterwards it waits for a slot again. Changes nothing outside of a task, in a
    `waiting` within another, and when very many tasks of the worker wait already.

    Examples
    --------
    >>> import time
    >>> with waiting():
    ...     time.sleep(0.001)
    """
    crowd = crowd_here()
    if crowd is None or not crowd.leave():
        yield
        return
    with outside(crowd):
        yield


class Crowd:
    """The threads of one pool that have left it to wait, and are not too many.

    Others then wait for their locks in their slots. They leave too when somebody comes
    back: that may be who was given the lock, and needs a slot to go on.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._outside = 0
        self._returning = 0
        self._eager: set[queue.SimpleQueue[Any]] = set()

    def leave(self) -> bool:
        """Tell whether the thread may leave."""
        with self._changing:
            free = self._outside < _MOST_AWAY or self._returning > 0
            self._outside += free
            return free

    @contextlib.contextmanager
    def eager(self, heard: queue.SimpleQueue[Any]) -> Iterator[None]:
        """Let a thread hear when it is worth trying to leave."""
        with self._changing:
            self._eager.add(heard)
        try:
            yield
        finally:
            with self._changing:
                self._eager.discard(heard)

    @contextlib.contextmanager
    def returning(self) -> Iterator[None]:
        """Count the thread among those that come back, until it has."""
        with self._changing:
            self._outside -= 1
            self._returning += 1
            for heard in self._eager:
                heard.put(OPEN)
        try:
            yield
        finally:
            with self._changing:
                self._returning -= 1


_crowds: WeakKeyDictionary[Any, Crowd] = WeakKeyDictionary()
_creating = threading.Lock()


def crowd_here() -> Crowd | None:
    """Give the crowd of this thread's pool, if the thread uses a slot of one."""
    if not (hasattr(task_state, "key") and getattr(pool_state, "proceed", False)):
        return None
    with _creating:
        return _crowds.setdefault(pool_state.executor, Crowd())


@contextlib.contextmanager
def outside(crowd: Crowd) -> Iterator[None]:
    """Be outside of the pool for the time of the body; the crowd has let the thread leave.

    Parameters
    ----------
    crowd
        That of the thread; its `Crowd.leave` said yes.
    """
    secede()
    try:
        yield
    finally:
        with crowd.returning():
            _come_back()


def _come_back() -> None:
    worker = get_worker()
    # Before, and not after: the worker hands its pool no task for the slot that is used next.
    if has_desk(worker):
        # A Dask that keeps other books goes on with what it believes, which does no harm.
        with contextlib.suppress(RuntimeError, AttributeError):
            sync(worker.loop, _count_again, worker, task_state.key)
    # The pool of a worker that is closing takes nobody any more.
    with contextlib.suppress(RuntimeError):
        rejoin()


async def _count_again(worker: Worker, key: Any) -> None:
    """Count a task among those that use a slot again; see `Desk.rejoined`.

    Or else the worker would hand its pool one task more than it has slots for. That
    one could wait there for long, and no idle worker could steal it.
    """
    state = worker.state
    counter, task = state.task_counter, state.tasks.get(key)
    if task is None or task.state != "long-running":
        return
    state.long_running.discard(task)
    state.executing.add(task)
    task.state = "executing"
    # Dask counts tasks by state, and ends a worker whose count is off.
    counter.transitions({task: "long-running"})
    worker.batched_send({"op": "nbflow-rejoined", "key": key, "run_id": task.run_id})
