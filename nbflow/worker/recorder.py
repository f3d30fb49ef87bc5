"""How a worker tells what happens: events in a buffer, sent by time."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from typing import Protocol

from distributed import get_worker

from nbflow.record.events import Event, Status
from nbflow.values.transfer import PROTOCOL

FLUSH_SECONDS = 0.05


class Source(Protocol):
    """Holds back what has ended, to tell of many at once."""

    def send(self) -> None:
        """Tell of it now."""


class Recorder:
    """Sends the events of a segment: every 50 ms, and at its end.

    A step that has ended before anybody could hear of its start is told of once. A
    step that goes on is told of by a thread of the process, so that it is seen to
    run even if it never comes back.

    Parameters
    ----------
    topic, run
        Where events go, and of which run they are.
    leave
        Leaves events that say where results are kept where others find them too.
    most
        So many events are sent together: who hears of them works on them meanwhile.
    patience
        How many seconds of work may be lost with events that were sent and never heard:
        those that say where results of less are kept are not left.
    """

    def __init__(
        self,
        topic: str,
        run: str,
        leave: Callable[[bytes], None] | None = None,
        most: int = 256,
        patience: float = 0.0,
    ) -> None:
        self.topic = topic
        self.run = run
        self._leave = leave
        self._most = most
        self._patience = patience
        self._left = time.perf_counter()
        self.worker = get_worker()
        self.address = self.worker.address
        self._events: list[Event] = []
        self._running: tuple[str, float, int] | None = None
        self._sent = time.perf_counter()
        self._lock = threading.Lock()
        # What holds things back that have ended, to tell of many at once.
        self.sources: list[Source] = []
        self.current: str | None = None

    def __enter__(self) -> Recorder:
        _flusher.watch(self)
        return self

    def __exit__(self, *_: object) -> None:
        _flusher.forget(self)
        with self._lock:
            self._running = None
        self.flush()

    def running(self, step: str, at: float, attempt: int = 1) -> None:
        """Take note of the step that runs now."""
        with self._lock:
            self._running = (step, at, attempt)
            self.current = step
        if self.due():
            self.flush()

    def add(self, event: Event) -> None:
        """Take note of something that is over."""
        with self._lock:
            self._events.append(event)
            self._running = self.current = None
        # What has taken long, to compute or to keep, must not be lost for being told late.
        long = event.seconds is not None and event.seconds >= FLUSH_SECONDS
        if long or (event.kept is not None and event.kept.data is None):
            self.flush()

    def due(self) -> bool:
        """Tell whether it is time to send, or there is much to send."""
        if len(self._events) >= self._most:
            return True
        return time.perf_counter() - self._sent >= FLUSH_SECONDS

    def drain(self) -> None:
        """Take in what is held back, in whatever thread."""
        for each in list(self.sources):
            each.send()

    def flush(self) -> None:
        """Send what there is."""
        # Sent under the lock: the order is kept, and at the end of a segment nothing is
        # still in the hands of the other thread.
        with self._lock:
            events, self._events = self._events, []
            running, self._running = self._running, None
            self._sent = time.perf_counter()
            if running is not None:
                name, at, attempt = running
                events.append(Event(name, Status.RUNNING, at, attempt, self.address))
            if events:
                packed = pickle.dumps(events, protocol=PROTOCOL)
                if self._leave is not None and self._is_worth_leaving(events):
                    self._leave(packed)
                    self._left = time.perf_counter()
                self.worker.log_event(self.topic, (self.run, packed))

    def _is_worth_leaving(self, events: list[Event]) -> bool:
        # What is in a file has taken longer than the event that says so.
        if any(event.files for event in events):
            return True
        late = time.perf_counter() - self._left >= self._patience
        return late and any(event.results for event in events)


class _Flusher:
    """One thread for each process that flushes the recorders of running segments."""

    def __init__(self) -> None:
        self._recorders: dict[int, Recorder] = {}
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, recorder: Recorder) -> None:
        self._recorders[id(recorder)] = recorder
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="nbflow-flush", daemon=True)
            self._thread.start()
        self._wake.set()

    def current(self, run: str) -> list[str]:
        recorders = list(self._recorders.values())
        return [each.current for each in recorders if each.run == run and each.current is not None]

    def forget(self, recorder: Recorder) -> None:
        self._recorders.pop(id(recorder), None)

    def _work(self) -> None:
        while True:
            # In this order, or one that comes between the two would not be seen.
            self._wake.clear()
            if not self._recorders:
                self._wake.wait()
            time.sleep(FLUSH_SECONDS)
            for recorder in list(self._recorders.values()):
                if recorder.due():
                    recorder.drain()
                    recorder.flush()


_flusher = _Flusher()


def running_here(run: str) -> list[str]:
    """Name the steps of a run that this process is in the middle of."""
    return _flusher.current(run)
