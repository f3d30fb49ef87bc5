"""What happens inside one Dask task: the steps of a segment, one after the other.

`run_segment` never raises what a step raises. It returns an `Envelope` in which a
failure is an outcome like any other, and tells what happens as events meanwhile.
"""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from nbflow.capture import Pad, captured
from nbflow.errors import TransferError, quoted
from nbflow.evaluate import arguments, calls_of, checked, invoke, items_of
from nbflow.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.expression import leaves
from nbflow.failure import recorded
from nbflow.order import Envelope, Failure, Order, Ref, Results, Work
from nbflow.preview import Preview, preview
from nbflow.recorder import Recorder
from nbflow.transfer import Parcel, can_travel

# Frames between ours that catches an exception and the user's: `_attempt` and `invoke`.
_OUR_FRAMES = 2
_PREVIEWED_ELEMENTS = 5


def run_segment(order: Parcel, *inputs: Any) -> Envelope:
    """Compute the nodes of a segment.

    Parameters
    ----------
    order
        A packed `Order`.
    inputs
        The envelopes of the segments upstream, and the parcels of large constants.
    """
    opened = _opened(order)
    parcels = [each for each in inputs if isinstance(each, Parcel)]
    shared = dict(zip(opened.shared, parcels, strict=True))
    results = Results([each for each in inputs if isinstance(each, Envelope)])
    every_level = opened.sender != here()
    recorder = Recorder(opened.topic, opened.run)
    with recorder, captured(every_level=every_level) as pad:
        return _Loop(opened, results, shared, recorder, pad).run()


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


class _Loop:
    """The steps of one segment and what is known while they run."""

    def __init__(
        self,
        order: Order,
        results: Results,
        shared: dict[str, Parcel],
        recorder: Recorder,
        pad: Pad,
    ) -> None:
        self.order = order
        self.results = results
        self.shared = shared
        self.recorder = recorder
        self.pad = pad
        self.envelope = Envelope()
        self.opened: dict[str, Any] = {}
        self.functions: dict[int, Callable[..., Any]] = {}

    def run(self) -> Envelope:
        for work in self.order.work:
            culprit = self._culprit(work)
            if culprit is not None:
                self._end(work, Failure(Status.SKIPPED, culprit))
                event = Event(work.name, Status.SKIPPED, time.time(), reason=f"{culprit} failed")
                self.recorder.add(event)
            elif work.elements is None:
                self._run_one(work)
            else:
                self._run_elements(work)
        return self.envelope

    def _culprit(self, work: Work) -> str | None:
        failures = self.results.failures
        if failures:
            for position in work.upstream:
                if position in failures:
                    return failures[position].culprit
        return None

    def _culprit_of_item(self, item: Any) -> str | None:
        failures = self.results.failures
        if failures:
            for leaf in leaves(item):
                if isinstance(leaf, Ref) and leaf.position in failures:
                    return failures[leaf.position].culprit
        return None

    def _end(self, work: Work, failure: Failure) -> None:
        self.results.failures[work.position] = failure
        self.envelope.failures[work.position] = failure

    def _run_one(self, work: Work) -> None:
        at = time.time()
        self.recorder.running(work.name, at)
        value, seconds, look, error = self._attempt(work, work.args, work.name)
        status = Status.COMPLETED if error is None else Status.FAILED
        self.recorder.add(
            Event(
                work.name,
                status,
                at + seconds,
                1,
                self.recorder.address,
                seconds,
                look,
                self.pad.take(),
                error,
            )
        )
        if error is not None:
            self._end(work, Failure(Status.FAILED, work.name))
            return
        self.results.values[work.position] = value
        self.envelope.values[work.position] = value
        self.envelope.nbytes += look.bytes if look is not None else 0

    def _run_elements(self, work: Work) -> None:
        assert work.elements is not None
        batch = _ElementBatch(work, self.recorder)
        calls = calls_of(work.args, work.own, work.elements)
        for number, (item, args) in enumerate(
            zip(items_of(work.elements), calls, strict=True), work.start
        ):
            culprit = self._culprit_of_item(item)
            if culprit is not None:
                batch.skip(number, culprit)
                continue
            self.recorder.running(work.name, time.time())
            value, seconds, look, error = self._attempt(work, args, f"{work.name}[{number}]")
            batch.add(number, value, seconds, look, error, self.pad.take())
        batch.send()
        if batch.failed is not None:
            self._end(work, Failure(Status.FAILED, f"{work.name}[{batch.failed}]"))
        elif batch.culprit is not None:
            self._end(work, Failure(Status.SKIPPED, batch.culprit))
        self.results.values[work.position] = batch.values
        self.envelope.values[work.position] = batch.values
        self.envelope.starts[work.position] = work.start
        self.envelope.nbytes += batch.nbytes

    def _attempt(
        self, work: Work, args: tuple[Any, ...], name: str
    ) -> tuple[Any, float, Preview | None, ErrorRecord | None]:
        begun = time.perf_counter()
        try:
            fn = self.functions.get(work.function) or self._function(work.function)
            positional, keywords = arguments(args, work.kwargs, self._value_of)
            value = invoke(fn, positional, keywords)
            seconds = time.perf_counter() - begun
            _check_travels(name, checked(name, value))
            return value, seconds, preview(value), None
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a step must not end the worker
            return None, time.perf_counter() - begun, None, recorded(error, skip=_OUR_FRAMES)

    def _function(self, number: int) -> Callable[..., Any]:
        fn = self.functions[number] = function(self.order.functions[number])
        return fn

    def _value_of(self, leaf: Any) -> Any:
        if isinstance(leaf, Ref):
            return self.results[leaf.position]
        if leaf.key not in self.opened:
            self.opened[leaf.key] = self.shared[leaf.key].open()
        return self.opened[leaf.key]


def _check_travels(name: str, value: Any) -> None:
    if not can_travel(value):
        raise TransferError(
            f"step {quoted(name)} returned a {type(value).__name__} that cannot be pickled, so it "
            f"could not reach the next worker or the notebook; return plain data, and open files, "
            f"locks and connections inside the step that uses them"
        )


class _ElementBatch:
    """The elements of one batch that have ended, told of in groups."""

    def __init__(self, work: Work, recorder: Recorder) -> None:
        self.work = work
        self.recorder = recorder
        self.values: list[Any] = []
        self.failed: int | None = None
        self.culprit: str | None = None
        self.nbytes = 0
        self._clear(work.start)

    def _clear(self, start: int) -> None:
        self.start = start
        self.begun = time.time()
        self.statuses: list[Status] = []
        self.seconds: list[float] = []
        self.previews: dict[int, Preview] = {}
        self.logs: dict[int, str] = {}
        self.errors: dict[int, ErrorRecord] = {}
        self.reasons: dict[int, str] = {}
        self.rows: int | None = 0
        self.columns: int | None = 0
        self.bytes = 0

    def add(
        self,
        number: int,
        value: Any,
        seconds: float,
        look: Preview | None,
        error: ErrorRecord | None,
        log: str,
    ) -> None:
        self.values.append(value)
        self.statuses.append(Status.COMPLETED if error is None else Status.FAILED)
        self.seconds.append(seconds)
        if log:
            self.logs[number] = log
        if error is not None:
            self.errors[number] = error
            self.failed = number if self.failed is None else self.failed
        if look is not None:
            self._measure(number, look)
        if self.recorder.due():
            self.send()

    def skip(self, number: int, culprit: str) -> None:
        # An empty place keeps the others where they belong.
        self.values.append(None)
        self.statuses.append(Status.SKIPPED)
        self.seconds.append(0.0)
        self.reasons[number] = f"{culprit} failed"
        self.culprit = self.culprit or culprit
        if self.recorder.due():
            self.send()

    def _measure(self, number: int, look: Preview) -> None:
        if number < _PREVIEWED_ELEMENTS:
            self.previews[number] = look
        self.bytes += look.bytes
        self.nbytes += look.bytes
        if look.rows is None or self.rows is None:
            self.rows = self.columns = None
        else:
            self.rows += look.rows
            self.columns = max(self.columns or 0, look.columns or 0)

    def send(self) -> None:
        if not self.statuses and self.start != self.work.start:
            return
        records = ElementRecords(
            self.start,
            tuple(self.statuses),
            tuple(self.seconds),
            self.previews,
            self.logs,
            self.errors,
            self.rows,
            self.columns,
            self.bytes,
            self.reasons,
        )
        now = time.time()
        status = Status.FAILED if self.errors else Status.COMPLETED
        event = Event(
            self.work.name,
            status,
            now,
            1,
            self.recorder.address,
            now - self.begun,
            elements=records,
        )
        self.recorder.add(event)
        self._clear(self.start + len(records.statuses))


# Unpickling a function costs more than a small step, and the same bytes come many times.
_functions: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()
_FUNCTIONS_KEPT = 256
_BYTES_KEPT = 100_000


def function(packed: bytes) -> Callable[..., Any]:
    """Unpack a user's function, or give the one unpacked before."""
    fn = _functions.get(packed)
    if fn is None:
        fn = pickle.loads(packed)
        if len(packed) <= _BYTES_KEPT:
            _functions[packed] = fn
        if len(_functions) > _FUNCTIONS_KEPT:
            _functions.popitem(last=False)
    return fn
