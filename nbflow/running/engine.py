"""Drives a plan on a cluster: one Dask graph, events folded as they come.

Nothing polls. Events of the workers arrive on the client's own thread and are folded
there; a second thread waits for Dask, and speaks up only for steps whose worker never
could.
"""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

from distributed import Client, Future, KilledWorker

from nbflow.algebra.absence import Absent
from nbflow.algebra.context import cancel as cancel_run
from nbflow.algebra.topology import Topology
from nbflow.errors import RunError, quoted
from nbflow.planning.order import Keeping
from nbflow.planning.orders import Orders, Past
from nbflow.planning.plan import Plan, Redrive
from nbflow.record.events import Event, Status
from nbflow.record.failure import recorded
from nbflow.record.recollection import Shelf
from nbflow.record.record import Record
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState
from nbflow.running.cluster import slots_of
from nbflow.running.dispatch import Dispatch
from nbflow.running.ear import Ear
from nbflow.running.pace import seconds_of
from nbflow.store.reading import value_kept
from nbflow.worker.desk import forget, install
from nbflow.worker.envelope import Envelope, Results
from nbflow.worker.recorder import running_here
from nbflow.worker.worker import here


class Execution:
    """One time that a plan is driven on a cluster, from the first message to the last event.

    Attributes
    ----------
    is_cut
        Whether the flow is several tasks, unless its steps are known to be quick.

    Parameters
    ----------
    topology, params
        What is computed.
    client
        A client of the cluster.
    record
        Takes in what happens.
    origin
        What an element is known by outside, however often it is driven anew.
    keeping
        Where results are kept.
    past
        What is known from before.
    before
        The execution that this one goes on from, and how.
    """

    def __init__(
        self,
        topology: Topology,
        params: Mapping[str, Any],
        client: Client,
        record: Record,
        origin: str,
        keeping: Keeping | None = None,
        past: Past | None = None,
        before: tuple[Execution, Redrive] | None = None,
    ) -> None:
        self.topology = topology
        self.client = client
        self.record = record
        self.origin = origin
        self.ended: Callable[[Execution], None] | None = None
        self.lost = False
        self.restarted = False
        self.is_cut = False
        self._params = params
        self._keeping = keeping
        self._past = past
        self._nonce = uuid.uuid4().hex[:10]
        self._first = 0
        self._cancelled = False
        self._forsaken = False
        store = None if keeping is None else keeping.evidence.store
        self._shelf = Shelf(partial(value_kept, store))
        slots = slots_of(client)
        if before is None:
            self.plan = Plan.of(topology, max(1, len(slots)))
            self.is_cut = len(self.plan.segments) > 1
            seconds = seconds_of(topology, params) if self.is_cut and past is None else None
            if seconds:
                self.plan = Plan.of(topology, max(1, len(slots)), seconds)
        else:
            self.plan, self._first = before[1].plan, before[1].first
        self._dispatch = Dispatch(topology, self.plan, client, slots, self._nonce)
        if before is not None:
            self._dispatch.take_over(before[0].futures)

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        return self.record.state

    @property
    def futures(self) -> dict[int, Future[Any]]:
        """What the segments give, by number."""
        return self._dispatch.futures

    def redrive(self, dead: Mapping[int, Sequence[int]]) -> Redrive:
        """Plan what computes some elements again, and what depends on them."""
        return self.plan.redriven(self.topology, dead, max(1, len(slots_of(self.client))))

    def pack(self) -> None:
        """Write down what the workers are to do.

        Raises
        ------
        TransferError
            If a function or an argument cannot be sent.
        """
        ear = Ear.of(self.client)
        orders = Orders(
            self.topology,
            self.plan,
            self._params,
            ear.topic,
            self._nonce,
            self.origin,
            here(),
            self._keeping,
            self._past,
        )
        self._dispatch.pack(orders, range(self._first, len(self.plan.segments)))

    def start(self) -> None:
        """Send everything to the scheduler, and return."""
        fresh = list(range(self._first, len(self.plan.segments)))
        if fresh:
            if self.plan.shares or self._waits():
                install(self.client)
                weakref.finalize(self, forget, self.client, self._nonce)
            self._dispatch.warn_of_resources()
            Ear.of(self.client).runs[self._nonce] = self
            self._dispatch.send(fresh)
        threading.Thread(target=self._watch, name="nbflow-watch", daemon=True).start()

    def _waits(self) -> bool:
        """Tell whether steps may give up their slot while they wait."""
        options = [node.call.definition.options for node in self.topology.nodes]
        return any(each.lock or each.retry or each.delay or each.has_effect for each in options)

    def receive(self, data: bytes) -> None:
        """Take in events as a worker has sent them."""
        if not self._forsaken:
            self.record.receive(data)

    def forsake(self) -> None:
        """Send nothing more, and hear nothing more: another drives the run."""
        self._forsaken = True
        self._dispatch.unpack()
        with suppress(Exception):
            self.client.cancel(list(self.futures.values()))

    def cancel(self) -> bool:
        """Ask the steps that run to stop, and let no other begin.

        Returns
        -------
        Whether there was anything to cancel.
        """
        with self.record.changed:
            if self.state.status.final or self._cancelled:
                return False
            self._cancelled = True
        started = self._told_to_stop()
        names = self.topology.names
        with self.record.changed:
            steps = self.state.steps
            pending = {n for n, s in steps.items() if s.status is Status.PENDING} - started
        idle = [
            number
            for number in self._dispatch.packed
            if {names[p] for p in self.plan.segments[number].positions} <= pending
        ]
        with suppress(Exception):
            self.client.cancel([self.futures[each] for each in idle])
        never = {names[p] for number in idle for p in self.plan.segments[number].positions}
        self.record.fold([_cancelled_event(name) for name in names if name in never])
        return True

    def _told_to_stop(self) -> set[str]:
        """Tell all workers of the end of the run; name the steps that they are in."""
        try:
            answers = self.client.sync(
                self.client._run, _cancel_here, self._nonce, callback_timeout=_ANSWER_SECONDS
            )
        except Exception:  # noqa: BLE001 - without a cluster nothing runs that could be told
            return set()
        return {name for each in answers.values() for name in each}

    def _watch(self) -> None:
        """Wait until Dask has ended, and say so."""
        try:
            self._wait_for_dask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must end
            self.record.fold(self._closed(Status.FAILED, f"the cluster failed: {error}"))
        finally:
            self._dispatch.unpack()
        # Not held any longer: who is told here holds this execution.
        ended, self.ended = self.ended, None
        if ended is not None and not self._forsaken:
            ended(self)

    def _wait_for_dask(self) -> None:
        dispatch, generation = self._dispatch, self.client.generation
        with suppress(OSError, RuntimeError, CancelledError):
            while True:
                dispatch.wait()
                lost = () if self._cancelled else dispatch.to_send_again(generation, self._cleared)
                if not lost or self._forsaken:
                    break
                dispatch.send_again(list(lost))
        self.lost = not self._cancelled and any(
            each.status not in ("finished", "error") for each in self._mine()
        )
        with self.record.changed:
            # Events travel before the message that a task is done, on the same way.
            self.record.changed.wait_for(self._is_over, timeout=0.0 if self.lost else 1.0)
        self.restarted = self.client.generation != generation

    def _mine(self) -> list[Future[Any]]:
        return [each for number, each in self.futures.items() if number >= self._first]

    def _is_over(self) -> bool:
        if self._forsaken:
            return True
        # What is behind a doubt does not end.
        topology, steps, behind = self.topology, self.state.steps, set[int]()
        for position, name in enumerate(topology.names):
            if steps[name].doubts or not behind.isdisjoint(topology.upstream[position]):
                behind.add(position)
            elif steps[name].waits:
                return False
        return True

    def settle(self) -> None:
        """Say of the steps that have not ended what Dask says of them, or that nobody knows."""
        culprits: dict[int, str] = {}
        for number, future in list(self.futures.items()):
            if number >= self._first:
                self._settle(number, future, culprits)

    def close(self, reason: str) -> None:
        """End the steps that have not ended."""
        self.record.fold(self._closed(Status.CANCELLED, reason))

    def _cleared(self, number: int) -> frozenset[str]:
        """Name the steps of a segment that had ended, in whatever way, before its worker died."""
        names = [self.topology.names[each] for each in self.plan.segments[number].positions]
        steps = self.state.steps
        return frozenset(n for n in names if steps[n].status.final and not steps[n].mapped)

    def _settle(self, number: int, future: Future[Any], culprits: dict[int, str]) -> None:
        """Say of the steps of a segment what Dask says of it, if they could not."""
        segment = self.plan.segments[number]
        names = [self.topology.names[each] for each in segment.positions]
        open_steps = [self.state.steps[n] for n in names if self.state.steps[n].waits]
        if not open_steps or future.status == "finished":
            return
        now = time.time()
        if future.status != "error":
            reason = "the run was cancelled" if self._cancelled else "the cluster was lost"
            events = [Event(n.name, Status.CANCELLED, now, reason=reason) for n in open_steps]
            self.record.fold(events)
            return
        # Dask gives whatever depends on a lost task the same error.
        inherited = [culprits[each] for each in segment.upstream if each in culprits]
        culprit = inherited[0] if inherited else _likely(open_steps)
        culprits[number] = culprit
        ended = [
            Event(each.name, Status.SKIPPED, now, reason=f"{culprit} failed")
            for each in open_steps
            if each.name != culprit
        ]
        if not inherited:
            error = RunError(_lost(culprit, len(open_steps), future.exception()))
            ended.insert(0, Event(culprit, Status.FAILED, now, error=recorded(error)))
        self.record.fold(ended)

    def _closed(self, status: Status, reason: str) -> list[Event]:
        now = time.time()
        return [
            Event(name, status, now, reason=reason)
            for name, step in self.state.steps.items()
            if step.waits
        ]

    # Values

    def values(self, positions: list[int]) -> dict[int, Any]:
        """Fetch the results of nodes from the workers, and nothing else.

        Raises
        ------
        RunError
            If a result is no longer there.
        """
        self._check_client()
        wanted: dict[int, list[int]] = {}
        for position in positions:
            for number in self.plan.homes[position]:
                wanted.setdefault(number, []).append(position)
        results = self._gathered(wanted)
        return {position: results[position] for position in positions}

    def element(self, position: int, number: int) -> Any:
        """Fetch one element of a mapped step, and nothing besides.

        Raises
        ------
        RunError
            If it has no value.
        """
        self._check_client()
        homes = self.plan.homes[position]
        known = [self.plan.segments[home] for home in homes]
        if known[0].lane is None and known[0].region is not None:
            homes = tuple(h for h in homes if self._holds(h, number))
        picked = [
            self.client.submit(
                pick_element, self.futures[home], position, number, pure=False, priority=100
            )
            for home in homes
        ]
        results = Results(self._received(picked), self._shelf)
        found = [] if position in results.absent else results.elements(position)
        if not found or type(found[0]) is Absent:
            raise RunError(f"there is no element {number}")
        return found[0]

    def _check_client(self) -> None:
        if self.client.status == "closed":
            raise RunError(
                "the result was not kept, and the cluster that held it is gone: its client is "
                "closed; run the flow again"
            )

    def _holds(self, home: int, number: int) -> bool:
        segment = self.plan.segments[home]
        return segment.start <= number < segment.stop

    def _gathered(self, wanted: Mapping[int, list[int]]) -> Results:
        fetched = [
            self._fetched(number, self.futures[number], tuple(each))
            for number, each in wanted.items()
        ]
        return Results(self._received(fetched), self._shelf)

    def _received(self, futures: list[Future[Any]]) -> list[Envelope]:
        try:
            return list(self.client.gather(futures))
        except (CancelledError, KilledWorker, OSError) as error:
            raise RunError(
                f"a result is no longer on the cluster, because a worker or the connection was "
                f"lost ({error}); run the flow again"
            ) from error

    def _fetched(self, number: int, future: Future[Any], positions: tuple[int, ...]) -> Future[Any]:
        """Give a future of some results of a segment, as little as is sensible."""
        inside = self.plan.segments[number].positions
        others = [self.topology.names[each] for each in inside if each not in positions]
        surplus = sum(self.state.steps[name].bytes or 0 for name in others)
        if surplus <= _SURPLUS_BYTES:
            return future
        return self.client.submit(pick, future, positions, pure=False, priority=100)


def _likely(steps: list[StepState]) -> str:
    """Name the step during which a segment was most likely lost."""
    running = [each.name for each in steps if each.status is Status.RUNNING]
    return running[0] if running else steps[0].name


def _lost(name: str, count: int, error: BaseException) -> str:
    text = f"step {quoted(name)} did not come back"
    if count > 1:
        text += (
            f", or one of the {count - 1} that travelled with it (.options(fuse=False) keeps them "
            f"apart)"
        )
    if isinstance(error, KilledWorker):
        return (
            f"{text}: every worker that ran it died; it may need more memory than a worker has, "
            f"or end the process"
        )
    return f"{text}: {error!r}"[:2000]


# So long may workers take to answer; one that computes in C may take longer.
_ANSWER_SECONDS = 3.0


# Up to this size, results that nobody asked for come along: a task to leave them
# behind would wait for a free thread.
_SURPLUS_BYTES = 1_000_000


def pick(envelope: Envelope, positions: tuple[int, ...]) -> Envelope:
    """Take some results out of an envelope, on the worker that holds it."""
    return envelope.part(positions)


def pick_element(envelope: Envelope, position: int, number: int) -> Envelope:
    """Take one element out of an envelope, on the worker that holds it."""
    return envelope.element(position, number)


async def _cancel_here(nonce: str) -> list[str]:
    cancel_run(nonce)
    return running_here(nonce)


def _cancelled_event(name: str) -> Event:
    return Event(name, Status.CANCELLED, time.time(), reason="the run was cancelled")
