"""What happens inside one Dask task: the steps of a segment.

`run_segment` never raises what a step raises. It returns an `Envelope` in which a
failure is an outcome like any other, and tells what happens as events meanwhile.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from distributed import get_worker

from nbflow.algebra.absence import Absent
from nbflow.algebra.context import is_cancelled
from nbflow.algebra.expression import Const, ListOf
from nbflow.algebra.inputs import following
from nbflow.algebra.items import is_frame
from nbflow.errors import TransferError
from nbflow.planning.order import Loop, Order, Work
from nbflow.planning.segment import Block
from nbflow.record.events import Event, Status
from nbflow.record.failure import recorded
from nbflow.values.transfer import Parcel
from nbflow.values.tree import subtrees
from nbflow.worker.attempt import Attempts, Trial
from nbflow.worker.barrier import Barriers, opened
from nbflow.worker.capture import captured
from nbflow.worker.claim import take
from nbflow.worker.crew import Crew, Scope, Unit
from nbflow.worker.elements import Elements
from nbflow.worker.envelope import Envelope, Results, Span
from nbflow.worker.isolation import Ward
from nbflow.worker.recorder import Recorder
from nbflow.worker.sinks import Part, Steps, Undoing, cancellation, skipped, tell_total
from nbflow.worker.vault import Vault

# As Dask kills a worker that uses more than this share of its memory.
_MEMORY_SHARE = 0.95
# How much work may be lost, should nobody hear of small results that were kept.
_PATIENCE_SECONDS = 0.02
# How many events are sent together, though no time has passed.
_LEAST_EVENTS = 200
_MOST_MESSAGES = 8
# About as long may the pieces take that a lane of a capped map takes at a time.
_PIECE_SECONDS = 0.02


def run_segment(order: Parcel, *inputs: Any) -> Envelope:
    """Compute the nodes of a segment.

    Parameters
    ----------
    order
        A packed `Order`.
    inputs
        The envelopes of the segments upstream, and the parcels of large constants.
    """
    return _computed(order, inputs, None)


def try_segment(cleared: frozenset[str], order: Parcel, *inputs: Any) -> Envelope:
    """Compute a segment over which workers have died, in a process that may die too.

    Parameters
    ----------
    cleared
        The steps that are known to do no harm.
    order, inputs
        As for `run_segment`.
    """
    limit = get_worker().memory_manager.memory_limit
    with Ward(None if limit is None else int(_MEMORY_SHARE * limit)) as ward:
        return _computed(order, inputs, Trial(ward, cleared))


def _computed(order: Parcel, inputs: tuple[Any, ...], trial: Trial | None) -> Envelope:
    opened = _opened(order)
    parcels = [each for each in inputs if isinstance(each, Parcel)]
    shared = dict(zip(opened.shared, parcels, strict=True))
    stop = partial(is_cancelled, opened.run)
    every_level = opened.sender != here()
    with ExitStack() as stack:
        vault = stack.enter_context(Vault(opened))
        results = Results([each for each in inputs if isinstance(each, Envelope)], vault.shelf)
        # As each time is a look at all steps, there are not too many.
        most = max(_LEAST_EVENTS, len(opened.works) // _MOST_MESSAGES)
        patience = _PATIENCE_SECONDS if _may_lose(opened) else 0.0
        recorder = stack.enter_context(
            Recorder(opened.topic, opened.run, vault.leave, most, patience)
        )
        vault.flush = recorder.flush
        pad = stack.enter_context(captured(every_level=every_level))
        for event in vault.left:
            # Who began this task before may not have been heard.
            recorder.add(event)
        opened = vault.order
        attempts = Attempts(opened, pad, stop, trial, vault)
        return _Task(opened, results, shared, recorder, attempts, vault).run()


def _may_lose(order: Order) -> bool:
    """Tell whether results are only kept where that pays, so that a few may be computed anew."""
    keeping = order.keeping
    if keeping is None or keeping.checkpoint is True or keeping.careful:
        return False
    # A step of which its user has said so keeps its result whatever it costs.
    return not any(work.checkpoint is True for work in order.works)


def _opened(order: Parcel) -> Order:
    try:
        opened: Order = order.open()
    except Exception:
        raise
    except BaseException as error:  # noqa: BLE001 - it would end the worker
        raise TransferError(f"an argument could not be read on the worker: {error!r}") from None
    return opened


def here() -> tuple[str, int]:
    """Name this process among all machines."""
    return socket.gethostname(), os.getpid()


class _Task:
    """The work of one segment and what is known while it is done."""

    def __init__(
        self,
        order: Order,
        results: Results,
        shared: dict[str, Parcel],
        recorder: Recorder,
        attempts: Attempts,
        vault: Vault,
    ) -> None:
        self.order = order
        self.vault = vault
        self.results = results
        self.recorder = recorder
        self.attempts = attempts
        self.root = Scope(results, shared, vault.shelf)
        self.envelope = Envelope()
        self._units_done = 0
        self._begun = time.perf_counter()

    def run(self) -> Envelope:
        if self.order.loop is not None:
            if not self._recall(self.order.loop):
                self._map(self.order.loop)
        elif self.order.block is not None:
            self._reduce(self.order.block)
        elif self.order.units and self.order.works[0].undo:
            self._undo()
        elif self.order.lane is None:
            self._follow(range(len(self.order.units)))
        else:
            taken = (n for span in self._spans(len(self.order.units)) for n in range(*span))
            self._follow(taken)
        return self.envelope

    # Steps one after the other

    def _follow(self, numbers: Any) -> None:
        crew = Crew(
            self.attempts, self.recorder, Steps(self.recorder, self.envelope, self.vault.keeper)
        )
        for number in numbers:
            crew.run(Unit(self.order.units[number], self.root))
            self._units_done += 1
        crew.finish()

    def _undo(self) -> None:
        # One after the other: what was done later is undone before what was done earlier.
        for unit in self.order.units:
            crew = Crew(
                self.attempts,
                self.recorder,
                Undoing(self.recorder, self.envelope, self.vault.keeper),
            )
            crew.run(Unit(unit, self.root))
            crew.finish()

    # A part of a tree

    def _reduce(self, block: Block) -> None:
        [[work]] = self.order.units
        assert isinstance(work, Work)
        assert work.split_every is not None
        if self.attempts.recalled(work.position, None) is not None:
            self.envelope.values[work.position] = []
            self.envelope.spans = ()
            return
        absent = self.results.absent.get(block.source)
        if absent is not None:
            self.envelope.absent[work.position] = absent
            return
        total = self.results.total(block.source) or 0
        part = subtrees(total, work.split_every, block.number, block.count)
        elements = self.results.numbered(block.source)
        self.root.values[block.source] = [elements[n] for n in range(part.start, part.stop)]
        crew = Crew(
            self.attempts,
            self.recorder,
            Part(self.recorder, self.envelope, self.vault.keeper, part.first),
        )
        crew.run(Unit((replace(work, levels=part.levels),), self.root))
        crew.finish()

    # A map

    def _recall(self, loop: Loop) -> bool:
        """Take over what a map gave before, if all of it is known."""
        order, works = self.order, loop.works
        known = [order.memory.get(work.position) for work in works]
        first = known[0]
        if first is None:
            return False
        start, stop = order.start, order.stop
        if order.lane is not None:
            if first.total is None:
                return False
            start, stop = 0, first.total
        if not all(each is not None and each.covers(start, stop) for each in known):
            return False
        # One lane gives all of it, for who takes what is not known from before.
        mine = range(start, stop) if order.lane is None or order.lane.number == 0 else range(0)
        for work, each in zip(works, known, strict=True):
            assert each is not None
            values = self.envelope.values[work.position] = [each.element(n) for n in mine]
            if any(type(value) is Absent for value in values):
                self.envelope.holes |= {work.position}
        self.envelope.spans = ((mine.start, mine.stop),) if mine else ()
        self.envelope.total = first.total if order.lane is not None else stop - start
        return True

    def _map(self, loop: Loop) -> None:
        works = loop.works
        try:
            complete = self.results.complete
            items, labels, shut = opened(loop, self.root.value_of, complete=complete)
            self._skip(tuple(each for each in works if each.position in shut), shut)
            if len(shut) == len(works):
                return
            tell_total(loop, len(items), self.recorder)
            order = self.order
            if order.lane is None and not isinstance(loop.axis.items, (Const, ListOf)):
                # Some elements of a list that only now is known are computed again.
                items = items[order.start : order.stop]
                labels = None if labels is None else labels[order.start : order.stop]
            self._elements(loop, items, labels, shut)
        except BaseException as error:  # noqa: BLE001 - of the user's items or names
            self._fail(works, error)

    def _elements(
        self, loop: Loop, items: list[Any], labels: list[str] | None, shut: Barriers
    ) -> None:
        elements = Elements(loop, self.recorder, self.order.start, shut, self.vault.keeper)
        crew = Crew(self.attempts, self.recorder, elements)
        offset = self.order.start
        # Slices of a frame travel one by one: of those, `together` says how long they are.
        sliced = loop.axis.size is None and bool(items) and is_frame(items[0])
        together = None if sliced else loop.axis.together
        for start, stop in self._spans(len(items), together):
            elements.expect(start + offset, stop - start)
            for number in range(start, stop):
                label = None if labels is None else labels[number]
                crew.run(elements.unit(self.root, number + offset, items[number], label))
            self._units_done += stop - start
        crew.finish()
        elements.fill(self.envelope)
        self.envelope.total = len(items)
        if crew.cancelled:
            self._cancel(loop.works)

    def _spans(self, total: int, together: int | None = None) -> Iterator[Span]:
        """Give what there is to do: all of it, or what a lane gets of it."""
        lane = self.order.lane
        if lane is None:
            yield 0, total
            return
        token, queue = uuid.uuid4().hex, f"{self.order.run}/{lane.queue}"
        while not self.attempts.stop():
            pace = self._pace()
            wanted = together or (pace if lane.capped else None)
            # To ask for more takes milliseconds, so what is taken should not take less.
            least = 1 if wanted else pace
            span = take(queue, lane.number, token, total, lane.count, wanted, least)
            if span is None:
                return
            yield span

    def _pace(self) -> int:
        """Say how many pieces to take: one, unless all so far were quick."""
        if not self._units_done:
            self._begun = time.perf_counter()
            return 1
        mean = (time.perf_counter() - self._begun) / self._units_done
        return max(1, int(_PIECE_SECONDS / max(mean, 1e-6)))

    # Ends

    def _skip(self, works: tuple[Work, ...], absents: dict[int, Absent]) -> None:
        for work in works:
            absent = self.envelope.absent[work.position] = absents[work.position]
            if not absent.doubt:
                self.recorder.add(skipped(work, absent))

    def _fail(self, works: tuple[Work, ...], error: BaseException) -> None:
        first, *others = works
        now, record = time.time(), recorded(error)
        address = self.recorder.address
        failed = Event(first.name, Status.FAILED, now, worker=address, seconds=0.0, error=record)
        self.recorder.add(failed)
        absent = Absent(first.name, f"{first.name} failed", failed=True)
        self.envelope.absent[first.position] = absent
        self._skip(tuple(others), {work.position: following(absent, work.name) for work in others})

    def _cancel(self, works: tuple[Work, ...]) -> None:
        for work in works:
            self.recorder.add(cancellation(work))
