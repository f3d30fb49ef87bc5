"""What a task claims at the desk: elements of a map, and named locks.

A thread that has asked waits for the answer, which comes over the stream between the
scheduler and its worker; see `nbflow.worker.desk`.
"""

from __future__ import annotations

import contextlib
import queue
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from dask.context import thread_state as task_state
from distributed import get_worker
from distributed.core import Status

from nbflow.errors import ClusterError, RunCancelledError, RunError, quoted
from nbflow.worker.desk import Desk, Span, has_desk
from nbflow.worker.slot import OPEN, crowd_here, outside

_LOOK_ROUND_SECONDS = 0.5

# Who waits for which answer.
_answers: dict[str, queue.SimpleQueue[Any]] = {}


def _never() -> bool:
    return False


def take(
    queue: str,
    lane: int,
    token: str,
    total: int,
    lanes: int,
    wanted: int | None = None,
    least: int = 1,
) -> Span | None:
    """Take the next span of a queue, in a task.

    Parameters
    ----------
    queue
        The name of the queue, the same in all its lanes.
    lane
        The number of the lane: that of the task.
    token
        New each time the task starts. A lane that comes with a new one is given what
        it was given before, and its old incarnation nothing any more.
    total
        How many numbers the queue has, the same each time.
    lanes
        How many lanes there are.
    wanted
        How many numbers to take at most. None takes many at first, and fewer towards
        the end.
    least
        How many to take at least, if there are as many.

    Returns
    -------
    start and stop of the span, or None if nothing is left for the lane.

    Raises
    ------
    RunError
        If the queue has another total, or belongs to a run that is over.
    ClusterError
        If there is no desk, or the scheduler is lost.

    Examples
    --------
    >>> take("run-1/clean", lane=0, token="a", total=100, lanes=4)  # doctest: +SKIP
    (0, 13)
    """
    with _Talk(f"queue {quoted(queue)}") as talk:
        talk.say(
            "nbflow-take",
            queue=queue,
            lane=lane,
            incarnation=token,
            total=total,
            lanes=lanes,
            wanted=wanted,
            least=least,
            task=talk.task(),
        )
        answer = talk.hear()
    if "first" in answer:
        raise RunError(
            f"the queue {quoted(queue)} had {answer['first']} elements at first, and has {total} "
            f"now: a step was computed again and gave something else; make it give the same "
            f"each time"
        )
    if "forgotten" in answer:
        raise RunError(
            f"the queue {quoted(queue)} is gone, as its run is over; run the flow again to compute "
            f"its values"
        )
    return None if answer["span"] is None else (answer["span"][0], answer["span"][1])


@contextlib.contextmanager
def holding(lock: str, cancelled: Callable[[], bool] = _never) -> Iterator[None]:
    """Hold a lock, in a task: at most one holder in the cluster, first come first served.

    While it waits, the task gives up its slot, see `waiting`. A lock is not reentrant.
    It is freed when its worker leaves the cluster.

    Parameters
    ----------
    lock
        The name of the lock, for all runs and notebooks of the cluster.
    cancelled
        Asked now and then while waiting; true gives up.

    Raises
    ------
    RunCancelledError
        If it gave up.
    ClusterError
        If there is no desk, or the scheduler is lost while waiting.

    Examples
    --------
    >>> with holding("warehouse"):  # doctest: +SKIP
    ...     load()
    """
    with _Talk(f"lock {quoted(lock)}", cancelled) as talk:
        try:
            talk.say("nbflow-line-up", lock=lock)
            if not talk.hear():
                _stand_in_line(talk, lock)
            yield
        finally:
            talk.say("nbflow-release", lock=lock)


def _stand_in_line(talk: _Talk, lock: str) -> None:
    crowd = crowd_here()
    if crowd is None:
        talk.hear()
        return
    with crowd.eager(talk.heard):
        while not crowd.leave():
            # Either the lock is had, and the slot never given up, or the door is open.
            if talk.hear() is not OPEN:
                return
    with outside(crowd):
        try:
            while talk.hear() is OPEN:
                pass
        except BaseException:
            # Not after it has a slot again, which may take long.
            talk.say("nbflow-release", lock=lock)
            raise


class _Talk:
    """What one thread says to the desk, and hears from it."""

    def __init__(self, about: str, cancelled: Callable[[], bool] = _never) -> None:
        self._about = about
        self._cancelled = cancelled
        self._token = uuid.uuid4().hex
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __enter__(self) -> _Talk:
        try:
            self._worker = get_worker()
        except ValueError:
            raise ClusterError(
                f"{self._about} was asked for outside of a task of a cluster, where there is none"
            ) from None
        if not has_desk(self._worker, ask_again=True):
            # A message that the scheduler does not know would end the connection to it.
            raise ClusterError(
                f"{self._about} was asked for, and the scheduler at "
                f"{quoted(self._worker.scheduler.address)} has no plugin {quoted(Desk.name)} of "
                f"this nbflow; use the same nbflow everywhere, and run the flow with it"
            )
        self._worker.stream_handlers.setdefault("nbflow-answer", _deliver)
        _answers[self._token] = self.heard
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _answers.pop(self._token, None)

    def task(self) -> tuple[Any, int] | None:
        """Name the run of the task that this thread is in."""
        key: Any = getattr(task_state, "key", None)
        task = self._worker.state.tasks.get(key)
        return None if task is None else (task.key, task.run_id)

    def say(self, op: str, **fields: Any) -> None:
        message = {"op": op, "token": self._token, **fields}
        # The loop of a worker that is gone is closed: nobody is left to hear it.
        with contextlib.suppress(RuntimeError):
            self._worker.loop.add_callback(self._worker.batched_send, message)

    def hear(self) -> Any:
        while True:
            try:
                return self.heard.get(timeout=_LOOK_ROUND_SECONDS)
            except queue.Empty:
                self.look_round()

    def look_round(self) -> None:
        """Give up waiting when there is reason to."""
        if self._cancelled():
            raise RunCancelledError(f"the run was cancelled while it waited for {self._about}")
        if self._worker.status in (Status.closing, Status.closed, Status.failed):
            raise ClusterError(
                f"the worker left the cluster while it waited for {self._about}; run the flow again"
            )


def _deliver(token: str, answer: Any) -> None:
    heard = _answers.get(token)
    if heard is not None:
        heard.put(answer)
