"""What lives on the scheduler while flows run: queues of elements, and named locks.

A `Desk` is a plugin of the Dask scheduler. The lanes of a map take spans of element
numbers from it, and steps with a lock wait in line at it.

Workers talk to it (`nbflow.worker.claim`) over the stream that connects them to the
scheduler, and not by calls of their own: the stream keeps the order, and delivers each
message once or breaks, in which case the scheduler drops the worker, and the desk frees
what it held. So there is no span or lock that only a lost answer knows of.

The scheduler imports this module, so it imports little.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from distributed import Client, Worker
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import Scheduler, TaskState
from distributed.utils import sync

from nbflow.errors import ClusterError, quoted

# What the messages look like; another number when they change.
_PROTOCOL = 3
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

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:  # noqa: ARG002
        """Let a worker that comes run tasks that only wished for one that is gone.

        Dask forgets about them: it asks which tasks the new worker was named for.
        """
        for task in list(scheduler.unrunnable):
            wished = task.worker_restrictions or set()
            if task.loose_restrictions and wished.isdisjoint(scheduler.workers):
                task.worker_restrictions = set()

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


# On a worker.

_desks: WeakKeyDictionary[Worker, bool] = WeakKeyDictionary()


def has_desk(worker: Worker, *, ask_again: bool = False) -> bool:
    """Tell whether the scheduler of a worker has the desk of this nbflow.

    Parameters
    ----------
    worker
        The worker; what it was told is kept.
    ask_again
        Whether to ask once more where there was none: one may have come since.
    """
    known = _desks.get(worker)
    if known is None or (ask_again and not known):
        try:
            known = sync(worker.loop, _called, worker.scheduler, "nbflow_desk") == _PROTOCOL
        except (OSError, RuntimeError):
            return False
        _desks[worker] = known
    return known
