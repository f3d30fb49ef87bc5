"""Undoes steps of a run, one after the other, in one task on the cluster."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import dask
from dask.task_spec import Task
from distributed import Client, Future, KilledWorker
from distributed.client import _wait

from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import Const
from nbflow.algebra.options import Options
from nbflow.algebra.topology import Topology
from nbflow.errors import RunError
from nbflow.planning.order import Keeping, Order, Work
from nbflow.record.events import Event, Status
from nbflow.record.failure import recorded
from nbflow.record.recollection import Held, recollected
from nbflow.record.record import Record
from nbflow.record.saga import Entry, still_to_undo
from nbflow.running.ear import Ear
from nbflow.values.transfer import Parcel, dumps, local_modules_by_value
from nbflow.worker.worker import here, run_segment, try_segment

# After so many deaths of workers, those that were not undone have failed.
_MOST_DEATHS = 2


class Rollback:
    """The undoing of a run on a cluster.

    Parameters
    ----------
    topology
        The flow.
    client
        A client of the cluster.
    record
        Takes in what happens.
    origin
        What elements are known by outside.
    keeping
        Where results, claims and receipts are.
    """

    def __init__(
        self,
        topology: Topology,
        client: Client,
        record: Record,
        origin: str,
        keeping: Keeping,
    ) -> None:
        self.topology = topology
        self.client = client
        self.record = record
        self.origin = origin
        self.keeping = keeping
        self.ended: Callable[[Rollback], None] | None = None
        self.lost = False
        self._nonce = uuid.uuid4().hex[:10]
        self._forsaken = False
        self._future: Future[Any] | None = None

    def start(self) -> None:
        """Send what is to be undone to the scheduler, and return."""
        Ear.of(self.client).runs[self._nonce] = self
        threading.Thread(target=self._drive, name="nbflow-undo", daemon=True).start()

    def receive(self, data: bytes) -> None:
        """Take in events as a worker has sent them."""
        if not self._forsaken:
            self.record.receive(data)

    def forsake(self) -> None:
        """Hear nothing more: another drives the run."""
        self._forsaken = True
        if self._future is not None:
            with suppress(Exception):
                self.client.cancel([self._future])

    def _drive(self) -> None:
        try:
            for deaths in range(_MOST_DEATHS + 1):
                entries = self._left()
                if not entries or not self._sent(entries, apart=deaths > 0):
                    break
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what stands in the way
            self._fail(self._left(), error)
        else:
            if not self.lost and not self._forsaken:
                reason = RunError("the workers that undid it died, or ended without a word")
                self._fail(self._left(), reason)
        ended, self.ended = self.ended, None
        if ended is not None and not self._forsaken:
            ended(self)

    def _left(self) -> list[Entry]:
        state = self.record.state
        assert state.rollback is not None
        return still_to_undo(state.rollback, state)

    def _sent(self, entries: Sequence[Entry], *, apart: bool) -> bool:
        """Undo on a worker; tell whether it died, so that there is more to do."""
        with local_modules_by_value():
            order = Parcel.of(self._order(entries))
        fn = partial(try_segment, frozenset()) if apart else run_segment
        key = f"undo-{self._nonce}{uuid.uuid4().hex[:6]}"
        graph = {key: Task(key, fn, order)}
        with dask.annotate(priority=10):  # type: ignore[attr-defined]
            [self._future] = self.client.get(graph, [key], sync=False)
        with suppress(CancelledError):
            self.client.sync(_wait, [self._future])
        with self.record.changed:
            self.record.changed.wait_for(lambda: self._forsaken or not self._left(), timeout=1.0)
        if self._future.status == "error":
            return isinstance(self._future.exception(), KilledWorker)
        self.lost = self._future.status != "finished"
        return False

    def _order(self, entries: Sequence[Entry]) -> Order:
        functions: list[bytes] = []
        units = []
        for name, number in entries:
            position = self.topology.positions[name]
            definition = undoing(self.topology, position)
            packed = dumps((definition.fn, definition.options))
            if packed not in functions:
                functions.append(packed)
            args = (self._result(name, number),)
            index = functions.index(packed)
            label = self._label(name, number)
            own = (1, frozenset[str]())
            work = Work(position, name, index, args, (), (), own, undo=True, element=number)
            units.append((replace(work, label=label),))
        return Order(
            Ear.of(self.client).topic,
            self._nonce,
            self.origin,
            here(),
            tuple(functions),
            (),
            tuple(units),
            keeping=self.keeping,
        )

    def _label(self, name: str, number: int | None) -> int | str | None:
        """Give the name of an element, which its idempotency key was made of."""
        if number is None:
            return None
        return self.record.state.steps[name].labels.get(number, number)

    def _result(self, name: str, number: int | None) -> Any:
        """Give the recorded result of what is undone; None where it is in doubt, or lost."""
        state = self.record.state.steps[name]
        if number in state.doubts:
            return Const(None)
        known = recollected(state)
        if known is None:
            return Const(None)
        value = known.value if number is None else known.element(number)
        if not isinstance(value, Held) or value.kept is None:
            return Const(None)
        kept, store = value.kept, self.keeping.evidence.store
        return value if kept.data is not None or store.is_intact(kept.hash) else Const(None)

    def _fail(self, entries: Sequence[Entry], error: BaseException) -> None:
        now = time.time()
        record = recorded(error)
        self.record.fold(
            [
                Event(name, Status.FAILED, now, error=record, undo=True, element=number)
                for name, number in entries
            ]
        )


def undoing(topology: Topology, position: int) -> Definition:
    """Give what undoes a step, with the options that it is undone by."""
    compensate: Any = topology.nodes[position].call.definition.options.compensate
    known = getattr(compensate, "definition", None)
    definition = known if isinstance(known, Definition) else Definition.of(compensate)
    # What was begun, and of which nobody knows whether it ended, is undone once more.
    kept: Options = replace(
        definition.options, effect=True, compensate=None, on_doubt="retry", when=(), delay=None
    )
    return replace(definition, options=kept)
