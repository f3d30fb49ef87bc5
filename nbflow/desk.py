"""What lives on the scheduler while flows run: queues of elements, and named locks.

A `Desk` is a plugin of the Dask scheduler. The lanes of a map take spans of element
numbers from it, and steps with a lock wait in line at it.

Workers talk to it over the stream that connects them to the scheduler, and not by
calls of their own: the stream keeps the order, and delivers each message once or
breaks, in which case the scheduler drops the worker, and the desk frees what it held.
So there is no span or lock that only a lost answer knows of.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from dask.context import thread_state as task_state
from distributed import Client, Worker, get_worker, rejoin, secede
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import Scheduler, TaskState
from distributed.threadpoolexecutor import thread_state as pool_state
from distributed.utils import sync

from nbflow.errors import ClusterError, RunCancelledError, RunError, quoted

# What the messages look like; another number when they change.
_PROTOCOL = 2
# Waiting threads of one worker that give up their slot. Each is a thread of the
# process, and thousands of steps may want the same lock.
_MOST_AWAY = 64
_LOOK_ROUND_SECONDS = 0.5
_REMEMBERED_RUNS = 10_000

Span = tuple[int, int]


# What the desk decides, without a cluster.


@dataclass
class _Lane:
    """The spans of one lane, and those that its newest incarnation is still to be given again."""

    token: str
    given: list[Span] = field(default_factory=list)
    again: deque[Span] = field(default_factory=deque)

    def note(self, start: int, stop: int) -> None:
        if self.given and self.given[-1][1] == start:
            start = self.given.pop()[0]
        self.given.append((start, stop))

    def repeat(self, wanted: int | None) -> Span:
        start, stop = self.again.popleft()
        if wanted is not None and stop - start > wanted:
            self.again.appendleft((start + wanted, stop))
            stop = start + wanted
        return start, stop


class Spans:
    """The numbers from 0 to a total, given out to lanes so that each is done once.

    Parameters
    ----------
    total
        How many numbers there are.

    Examples
    --------
    >>> spans = Spans(8)
    >>> spans.take(0, "a", lanes=2), spans.take(1, "b", lanes=2)
    ((0, 2), (2, 4))

    Lane 0 is computed again, under another token: it begins with what it had.

    >>> spans.take(0, "c", lanes=2), spans.take(0, "c", lanes=2), spans.take(0, "a", lanes=2)
    ((0, 2), (4, 5), None)
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._next = 0
        self._lanes: dict[int, _Lane] = {}
        self._fenced: set[str] = set()

    def take(
        self, lane: int, token: str, lanes: int, wanted: int | None = None, least: int = 1
    ) -> Span | None:
        """Give the next span to a lane, or None if nothing is left for it.

        Parameters
        ----------
        lane
            The number of the lane.
        token
            What tells one incarnation of the lane from another.
        lanes
            How many lanes there are.
        wanted
            How many numbers to give at most.
        least
            How many to give at least, if there are as many.
        """
        if token in self._fenced:
            return None
        wanted = None if wanted is None else max(1, wanted)
        mine = self._incarnation(lane, token)
        if mine.again:
            return mine.repeat(wanted)
        left = self.total - self._next
        if left <= 0:
            return None
        # Large spans first and small ones last, so that the lanes end together.
        size = min(left, max(least, -(-left // (2 * max(1, lanes)))))
        start, stop = self._next, self._next + (size if wanted is None else min(size, wanted))
        self._next = stop
        mine.note(start, stop)
        return start, stop

    def _incarnation(self, lane: int, token: str) -> _Lane:
        mine = self._lanes.setdefault(lane, _Lane(token))
        if mine.token != token:
            self._fenced.add(mine.token)
            mine.token, mine.again = token, deque(mine.given)
        return mine


class Line:
    """Who holds a lock, and who waits for it: the first in line holds it.

    Examples
    --------
    >>> line = Line()
    >>> line.join("a", "worker 1"), line.join("b", "worker 2")
    (True, False)
    >>> line.leave("a")
    'b'
    """

    def __init__(self) -> None:
        self._workers: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def holder(self) -> str | None:
        """The token that holds the lock."""
        return next(iter(self._workers), None)

    def worker_of(self, token: str) -> str:
        """Name the worker on which somebody holds or waits."""
        return self._workers[token]

    def join(self, token: str, worker: str) -> bool:
        """Get in line, and tell whether that is to hold the lock."""
        self._workers.setdefault(token, worker)
        return self.holder == token

    def leave(self, token: str) -> str | None:
        """Get out of line, and name who holds the lock because of it."""
        before = self.holder
        self._workers.pop(token, None)
        return self.holder if self.holder != before else None

    def leave_all(self, worker: str) -> str | None:
        """Get everybody on a worker out of line, and name who holds the lock because of it."""
        before = self.holder
        self._workers = {each: at for each, at in self._workers.items() if at != worker}
        return self.holder if self.holder != before else None


# On the scheduler. A stream handler that raises ends the connection to its worker.


class Desk(SchedulerPlugin):
    """The queues and the locks of all runs on one scheduler."""

    name = "nbflow-desk"
    idempotent = True

    def __init__(self) -> None:
        self._queues: dict[str, Spans] = {}
        self._lines: dict[str, Line] = {}
        self._forgotten: deque[str] = deque(maxlen=_REMEMBERED_RUNS)

    async def start(self, scheduler: Scheduler) -> None:
        """Add the handlers to a scheduler."""
        self._scheduler = scheduler
        scheduler.handlers.update({"nbflow_desk": _protocol, "nbflow_forget": self.forget})
        scheduler.stream_handlers.update(
            {
                "nbflow-take": self.take,
                "nbflow-line-up": self.line_up,
                "nbflow-release": self.release,
                "nbflow-rejoined": self.rejoined,
            }
        )

    def take(
        self,
        worker: str,
        token: str,
        queue: str,
        lane: int,
        incarnation: str,
        total: int,
        lanes: int,
        wanted: int | None,
        task: tuple[Any, int] | None,
        least: int = 1,
    ) -> None:
        """Answer a lane: with a span, or nothing, or what is wrong."""
        if task is not None and self._running(worker, *task) is None:
            # Dask has given its task to another worker. That incarnation is the newer one,
            # even if this one never came here before.
            self._answer(worker, token, {"span": None})
            return
        spans = self._queues.get(queue)
        if spans is None:
            if any(queue.startswith(prefix) for prefix in self._forgotten):
                self._answer(worker, token, {"forgotten": True})
                return
            spans = self._queues[queue] = Spans(total)
        if spans.total != total:
            self._answer(worker, token, {"first": spans.total})
            return
        self._answer(worker, token, {"span": spans.take(lane, incarnation, lanes, wanted, least)})

    def forget(self, prefix: str) -> None:
        """Drop the queues of a run."""
        self._forgotten.append(prefix)
        for each in [name for name in self._queues if name.startswith(prefix)]:
            del self._queues[each]

    def line_up(self, worker: str, token: str, lock: str) -> None:
        """Get in line, and answer whether the lock is had; if not, answer again when it is."""
        # What a dropped worker has sent before may be read after, and nobody would free it.
        if worker in self._scheduler.workers:
            line = self._lines.setdefault(lock, Line())
            self._answer(worker, token, line.join(token, worker))

    def release(self, token: str, lock: str, **_: Any) -> None:
        """Free a lock, or get out of the line for it."""
        line = self._lines.get(lock)
        if line is not None:
            self._next_in(lock, line, line.leave(token))

    def remove_worker(self, scheduler: Scheduler, worker: str, **_: Any) -> None:  # noqa: ARG002
        """Free what a worker that is gone held, and was in line for."""
        for lock, line in list(self._lines.items()):
            self._next_in(lock, line, line.leave_all(worker))

    def restart(self, scheduler: Scheduler) -> None:  # noqa: ARG002
        """Drop the queues together with all tasks."""
        self._queues.clear()

    def rejoined(self, worker: str, key: Any, run_id: int) -> None:
        """Count a task among those that use a slot again.

        Dask does not: to it, a task that has once seceded never uses a slot again.
        """
        task = self._running(worker, key, run_id)
        state = task.processing_on if task is not None else None
        if task is not None and state is not None and task in state.long_running:
            state.long_running.discard(task)
            state.task_prefix_count[task.prefix.name] += 1
            self._scheduler._task_prefix_count_global[task.prefix.name] += 1
            self._scheduler.check_idle_saturated(state)

    def _running(self, worker: str, key: Any, run_id: int) -> TaskState | None:
        """Give a task, if this run of it on this worker is the one that counts."""
        task = self._scheduler.tasks.get(key)
        state = task.processing_on if task is not None else None
        if task is None or state is None or state.address != worker or task.run_id != run_id:
            return None
        return task

    def _next_in(self, lock: str, line: Line, token: str | None) -> None:
        if not line:
            del self._lines[lock]
        if token is not None:
            self._answer(line.worker_of(token), token, answer=True)

    def _answer(self, worker: str, token: str, answer: Any) -> None:
        if worker in self._scheduler.stream_comms:
            message = {"op": "nbflow-answer", "token": token, "answer": answer}
            self._scheduler.worker_send(worker, message)


def _protocol() -> int:
    return _PROTOCOL


async def _called(scheduler: Any, handler: str, **fields: Any) -> Any:
    return await getattr(scheduler, handler)(**fields)


# In a notebook.

_installed: WeakKeyDictionary[Client, str] = WeakKeyDictionary()


def install(client: Client) -> None:
    """Put a desk on the scheduler of a client, unless there is one.

    Parameters
    ----------
    client
        A client of the cluster.

    Raises
    ------
    ClusterError
        If the scheduler does not take it.

    Examples
    --------
    >>> from nbflow import connect
    >>> install(connect(n_workers=1))  # doctest: +SKIP
    """
    # A client outlives its scheduler, and connects to the next one at the same address.
    scheduler = str(client._scheduler_identity.get("id"))
    if _installed.get(client) == scheduler:
        return
    address = client._scheduler_identity.get("address")
    try:
        client.register_plugin(Desk(), name=Desk.name)
        found = client.sync(_called, client.scheduler, "nbflow_desk")
    except Exception as error:
        raise ClusterError(
            f"the scheduler at {quoted(address)} refused the plugin "
            f"{quoted(Desk.name)}: {error!r}; caps, locks and maps over values known only at run "
            f"time need it: install the nbflow of this notebook where the scheduler runs"
        ) from error
    if found != _PROTOCOL:
        raise ClusterError(
            f"the scheduler at {quoted(address)} has the plugin "
            f"{quoted(Desk.name)} of another nbflow (messages of kind {found}, expected "
            f"{_PROTOCOL}); use the same nbflow everywhere, and restart the scheduler"
        )
    _installed[client] = scheduler


def forget(client: Client, queue_prefix: str) -> None:
    """Drop the queues of a run, when none of its tasks can be computed again.

    Does not wait, and does not mind a lost cluster. A lane that asks afterwards is
    told that its run is over.

    Parameters
    ----------
    client
        A client of the cluster.
    queue_prefix
        What the names of the queues begin with.

    Examples
    --------
    >>> forget(client, "run-1/")  # doctest: +SKIP
    """

    async def told() -> None:
        # Without a scheduler there are no queues either.
        with contextlib.suppress(Exception):
            await _called(client.scheduler, "nbflow_forget", prefix=queue_prefix)

    loop: Any = client.loop
    with contextlib.suppress(Exception):
        loop.add_callback(told)


# On a worker, in the thread of a task.

_desks: WeakKeyDictionary[Worker, bool] = WeakKeyDictionary()
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
    crowd = _crowd()
    if crowd is None:
        talk.hear()
        return
    with crowd.eager(talk.heard):
        while not crowd.leave():
            # Either the lock is had, and the slot never given up, or the door is open.
            if talk.hear() is not _OPEN:
                return
    with _outside(crowd):
        try:
            while talk.hear() is _OPEN:
                pass
        except BaseException:
            # Not after it has a slot again, which may take long.
            talk.say("nbflow-release", lock=lock)
            raise


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
    crowd = _crowd()
    if crowd is None or not crowd.leave():
        yield
        return
    with _outside(crowd):
        yield


_OPEN = object()


class _Crowd:
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
                heard.put(_OPEN)
        try:
            yield
        finally:
            with self._changing:
                self._returning -= 1


_crowds: WeakKeyDictionary[Any, _Crowd] = WeakKeyDictionary()
_creating = threading.Lock()


def _crowd() -> _Crowd | None:
    """Give the crowd of this thread's pool, if the thread uses a slot of one."""
    if not (hasattr(task_state, "key") and getattr(pool_state, "proceed", False)):
        return None
    with _creating:
        return _crowds.setdefault(pool_state.executor, _Crowd())


@contextlib.contextmanager
def _outside(crowd: _Crowd) -> Iterator[None]:
    """Be outside of the pool for the time of the body; the crowd has let the thread leave."""
    secede()
    try:
        yield
    finally:
        with crowd.returning():
            _come_back()


def _come_back() -> None:
    worker = get_worker()
    # Before, and not after: the worker hands its pool no task for the slot that is used next.
    if _has_desk(worker):
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


def _has_desk(worker: Worker, *, ask_again: bool = False) -> bool:
    known = _desks.get(worker)
    if known is None or (ask_again and not known):
        try:
            known = sync(worker.loop, _called, worker.scheduler, "nbflow_desk") == _PROTOCOL
        except (OSError, RuntimeError):
            return False
        _desks[worker] = known
    return known


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
        if not _has_desk(self._worker, ask_again=True):
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
