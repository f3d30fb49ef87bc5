"""Drives a plan on a cluster: one Dask graph, events folded as they come.

Nothing polls. Events of the workers arrive on the client's own thread and are folded
there; a second thread waits for Dask, and speaks up only for steps whose worker never
could.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from typing import Any

from distributed import Client, Future, KilledWorker

from nbflow.absence import Absent
from nbflow.cluster import slots_of
from nbflow.context import cancel as cancel_run
from nbflow.desk import forget, install
from nbflow.dispatch import Dispatch
from nbflow.ear import Ear
from nbflow.envelope import Envelope, Results
from nbflow.errors import RunError, quoted
from nbflow.events import Event, Status
from nbflow.failure import recorded, with_sources
from nbflow.order import Orders
from nbflow.plan import Plan, Redrive
from nbflow.recorder import running_here
from nbflow.state import RunState, Shape, StepState
from nbflow.topology import Topology
from nbflow.worker import here


class Execution:
    """One run of a flow on a cluster, from the first message to the last event.

    Attributes
    ----------
    state
        The fold over all events so far.
    events
        The events so far, in the order in which they came.
    """

    def __init__(
        self,
        topology: Topology,
        params: Mapping[str, Any],
        client: Client,
        run_id: str,
        name: str,
        before: tuple[Execution, Redrive] | None = None,
    ) -> None:
        self.topology = topology
        self.client = client
        self.events: list[Event] = []
        self.changed = threading.Condition()
        # What an element is known by outside, however often it is driven anew.
        self.origin = run_id
        self._nonce = uuid.uuid4().hex[:10]
        self._first = 0
        self._cancelled = False
        self._params = params
        self._before = before
        slots = slots_of(client)
        if before is None:
            self.plan = Plan.of(topology, max(1, len(slots)))
            self.state = RunState.planned(run_id, name, shapes(topology), time.time())
        else:
            self._go_on(*before, run_id)
        self._dispatch = Dispatch(topology, self.plan, client, slots, self._nonce)
        if before is not None:
            self._dispatch.take_over(before[0].futures)

    @property
    def futures(self) -> dict[int, Future[Any]]:
        """What the segments give, by number."""
        return self._dispatch.futures

    def _go_on(self, before: Execution, redrive: Redrive, run_id: str) -> None:
        """Go on from the plan of another run, and what is known of its steps."""
        self.plan, self._first, self.origin = redrive.plan, redrive.first, before.origin
        names, known = self.topology.names, shapes(self.topology)
        dead = {names[each]: numbers for each, numbers in redrive.again.items()}
        later = {names[each]: known[names[each]] for each in redrive.later}
        self.state = before.state.again(run_id, dead, later, time.time())

    def redriven(self, dead: Mapping[int, Sequence[int]], run_id: str) -> Execution:
        """Make the run that computes some elements again, and what depends on them."""
        redrive = self.plan.redriven(self.topology, dead, max(1, len(slots_of(self.client))))
        name, params = self.state.name, self._params
        return Execution(self.topology, params, self.client, run_id, name, (self, redrive))

    def start(self) -> None:
        """Send everything to the scheduler, and return.

        Raises
        ------
        TransferError
            If a function or an argument cannot be sent; then nothing was started.
        """
        fresh = range(self._first, len(self.plan.segments))
        if not fresh:
            return
        ear = Ear.of(self.client)
        if self.plan.shares or self._waits():
            install(self.client)
            weakref.finalize(self, forget, self.client, self._nonce)
        orders = Orders(
            self.topology,
            self.plan,
            self._params,
            ear.topic,
            self._nonce,
            self.origin,
            here(),
        )
        self._dispatch.pack(orders, fresh)
        self._dispatch.warn_of_resources()
        ear.runs[self._nonce] = self
        self._dispatch.send(list(fresh))
        threading.Thread(target=self._watch, name="nbflow-watch", daemon=True).start()

    def _waits(self) -> bool:
        """Tell whether steps may give up their slot while they wait."""
        options = [node.call.definition.options for node in self.topology.nodes]
        return any(each.lock or each.retry for each in options)

    # What comes back

    def receive(self, packed: bytes) -> None:
        """Take in events as a worker has sent them."""
        self._fold([_with_sources(event) for event in pickle.loads(packed)])

    def _fold(self, events: list[Event]) -> None:
        with self.changed:
            self.events.extend(events)
            self.state = self.state.apply(events)
            self.changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the run; tell whether it has come."""
        with self.changed:
            return self.changed.wait_for(lambda: self.state.status.final, timeout)

    def cancel(self) -> bool:
        """Ask the steps that run to stop, and let no other begin.

        Returns
        -------
        Whether there was anything to cancel.
        """
        with self.changed:
            if self.state.status.final or self._cancelled:
                return False
            self._cancelled = True
        started = self._told_to_stop()
        names = self.topology.names
        with self.changed:
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
        self._fold([_cancelled_event(name) for name in names if name in never])
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
        """Wait until Dask has ended, and fill in what no event has told."""
        dispatch, generation = self._dispatch, self.client.generation
        try:
            while True:
                dispatch.wait()
                lost = () if self._cancelled else dispatch.to_send_again(generation, self._cleared)
                if not lost:
                    break
                dispatch.send_again(lost)
        except (OSError, RuntimeError, CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must end
            self._fold(self._ended(Status.FAILED, f"the cluster failed: {error}"))
            return
        finally:
            dispatch.unpack()
        with self.changed:
            # Events travel before the message that a task is done, on the same way.
            self.changed.wait_for(lambda: self.state.status.final, timeout=1.0)
            if self.state.status.final:
                return
        culprits: dict[int, str] = {}
        for number, future in self.futures.items():
            if number < self._first:
                continue
            self._settle(number, future, culprits)
        self._fold(self._ended(Status.CANCELLED, "the run ended without word of this step"))

    def _cleared(self, number: int) -> frozenset[str]:
        """Name the steps of a segment that had ended, in whatever way, before its worker died."""
        names = [self.topology.names[each] for each in self.plan.segments[number].positions]
        steps = self.state.steps
        return frozenset(n for n in names if steps[n].status.final and not steps[n].mapped)

    def _settle(self, number: int, future: Future[Any], culprits: dict[int, str]) -> None:
        """Say of the steps of a segment what Dask says of it, if they could not."""
        segment = self.plan.segments[number]
        names = [self.topology.names[each] for each in segment.positions]
        open_steps = [self.state.steps[n] for n in names if not self.state.steps[n].status.final]
        if not open_steps or future.status == "finished":
            return
        now = time.time()
        if future.status != "error":
            reason = "the cluster was lost"
            self._fold([Event(n.name, Status.CANCELLED, now, reason=reason) for n in open_steps])
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
        self._fold(ended)

    def _ended(self, status: Status, reason: str) -> list[Event]:
        now = time.time()
        return [
            Event(name, status, now, reason=reason)
            for name, step in self.state.steps.items()
            if not step.status.final
        ]

    # Values

    def values(self, positions: list[int]) -> dict[int, Any]:
        """Fetch the results of nodes from the workers, and nothing else.

        Raises
        ------
        RunError
            If a result is no longer there.
        """
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
        results = Results(self._received(picked))
        found = [] if position in results.absent else results.elements(position)
        if not found or type(found[0]) is Absent:
            raise RunError(f"there is no element {number}")
        return found[0]

    def _holds(self, home: int, number: int) -> bool:
        segment = self.plan.segments[home]
        return segment.start <= number < segment.stop

    def _gathered(self, wanted: Mapping[int, list[int]]) -> Results:
        fetched = [
            self._fetched(number, self.futures[number], tuple(each))
            for number, each in wanted.items()
        ]
        return Results(self._received(fetched))

    def _received(self, futures: list[Future[Any]]) -> list[Envelope]:
        try:
            return list(self.client.gather(futures))
        except (CancelledError, KilledWorker) as error:
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


def _with_sources(event: Event) -> Event:
    """Put lines of the notebook's cells into tracebacks: only the notebook has them."""
    if event.error is not None:
        event = replace(event, error=with_sources(event.error))
    if event.elements is not None and event.elements.errors:
        errors = {number: with_sources(each) for number, each in event.elements.errors.items()}
        event = replace(event, elements=replace(event.elements, errors=errors))
    return event


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


def living() -> dict[str, Execution]:
    """Give the runs that somebody in this process still holds, by id."""
    runs = [each for ear in Ear.all() for each in list(ear.runs.values())]
    return {each.state.run_id: each for each in runs if isinstance(each, Execution)}


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


def shapes(topology: Topology) -> dict[str, Shape]:
    """Say what is known of the steps of a flow before it runs."""
    found = {}
    for name, node in zip(topology.names, topology.nodes, strict=True):
        axis = node.axis
        total = axis.lineage[0].count if axis is not None else None
        found[name] = Shape(axis is not None, total)
    return found
