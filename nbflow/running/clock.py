"""Runs that begin later: who starts them, and when.

A run that waits for its time is a row in the journal. It is started by whoever takes it
first: a process in which somebody has a run that waits in the same journal, or
``nbflow tick``. Without either, it waits on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nbflow.errors import RunError, StoreError, quoted
from nbflow.journal.entry import Entry, is_driven
from nbflow.record.archive import Archive
from nbflow.record.events import Event, Status
from nbflow.running.history import loaded, recorded_state
from nbflow.running.resuming import Now, begin
from nbflow.running.run import Run
from nbflow.store.owner import Owner

# Other processes may have added some, and the clock may have been set.
LOOK_SECONDS: Final = 30.0
# Who has a run goes first, with the cluster that was meant for it.
COURTESY_SECONDS: Final = 10.0
_LEAST_SECONDS: Final = 0.05
_WAIT_SECONDS: Final = 0.2
_WRITTEN_SECONDS: Final = 30.0


@dataclass(slots=True, eq=False)
class Timer:
    """A run that somebody in this process has, and that waits for its time.

    Attributes
    ----------
    run
        The run.
    cluster
        What it is to run on, as given to ``submit``.
    changing
        Held while it is started or cancelled.
    """

    run: Run
    cluster: Any = None
    changing: threading.Lock = field(default_factory=threading.Lock)


class Clock:
    """Starts the runs whose time has come, of the journals in which this process has some.

    Those that another process has made are started too, a little later, so that the
    process that has one goes first. A journal in which nothing waits any more is looked
    at no more.
    """

    def __init__(self) -> None:
        self._archives: dict[Path, Archive] = {}
        self._timers: dict[str, Timer] = {}
        # Those that are being started, and those that cannot be started from here.
        self._begun: set[str] = set()
        self._refused: set[str] = set()
        self._woken = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, archive: Archive, timer: Timer | None = None) -> None:
        """Start what is due in a journal from now on.

        Parameters
        ----------
        archive
            The journal, and the store of it.
        timer
            A run that is in it.
        """
        with self._woken:
            self._archives[archive.journal.path] = archive
            if timer is not None:
                self._timers.setdefault(timer.run.id, timer)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="nbflow-clock", daemon=True)
                self._thread.start()
            self._woken.notify_all()

    def timer(self, run_id: str) -> Timer | None:
        """Give the timer of a run, if this process has it."""
        with self._woken:
            return self._timers.get(run_id)

    def _work(self) -> None:
        while True:
            patience = self._look()
            with self._woken:
                if not self._archives:
                    self._thread = None
                    return
                if patience > 0:
                    self._woken.wait(patience)

    def _look(self) -> float:
        """Start what is due, and say how many seconds there are until the next look."""
        with self._woken:
            archives = list(self._archives.values())
        patience = LOOK_SECONDS
        for archive in archives:
            try:
                waiting = archive.journal._pending()
            except StoreError:
                continue  # it may be readable again at the next look
            with self._woken:
                self._forget(archive, {entry.id for entry in waiting})
                mine = set(self._timers)
                busy = self._begun | self._refused
            now = time.time()
            times = {e.id: ready_at(e, now, mine) for e in waiting if e.id not in busy}
            for run_id, ready in times.items():
                if ready <= now:
                    self._start(archive, run_id)
                else:
                    patience = min(patience, ready - now)
        return max(_LEAST_SECONDS, patience)

    def _forget(self, archive: Archive, waiting: Collection[str]) -> None:
        """Forget the runs of a journal that wait no more, and the journal with the last one."""
        for run_id, timer in list(self._timers.items()):
            own = timer.run._archive
            mine = own is not None and own.journal.path == archive.journal.path
            if mine and run_id not in waiting and run_id not in self._begun:
                del self._timers[run_id]
        if not waiting:
            self._archives.pop(archive.journal.path, None)

    def _start(self, archive: Archive, run_id: str) -> None:
        """Start a run beside this thread, which a cluster that does not answer must not hold up."""
        with self._woken:
            self._begun.add(run_id)
        threading.Thread(
            target=self._fire, args=(archive, run_id), name="nbflow-timer", daemon=True
        ).start()

    def _fire(self, archive: Archive, run_id: str) -> None:
        timer = self.timer(run_id)
        try:
            if timer is not None:
                with timer.changing:
                    fire(timer.run, cluster=timer.cluster)
            else:
                fire(loaded(run_id, archive))
        except Exception as error:  # noqa: BLE001 - whatever it is, the other runs are started
            # Nothing is lost: it waits on, for a process that can start it.
            sys.stderr.write(f"nbflow: run {quoted(run_id)} is not started from here: {error}\n")
            with self._woken:
                self._refused.add(run_id)
        finally:
            with self._woken:
                self._begun.discard(run_id)
                if timer is not None and timer.run._drive is not None:
                    # Results are freed as soon as nobody holds the run.
                    self._timers.pop(run_id, None)
                self._woken.notify_all()


_clock = Clock()


def watch(run: Run, cluster: Any = None) -> None:
    """Start a run of this process when its time has come.

    Parameters
    ----------
    run
        A run that is pending.
    cluster
        As for ``submit``.
    """
    assert run._archive is not None
    _clock.watch(run._archive, Timer(run, cluster))


def ready_at(entry: Entry, now: float, mine: Collection[str]) -> float:
    """Say when a run may be started by this process.

    Parameters
    ----------
    entry
        A run that waits.
    now
        In seconds since the epoch.
    mine
        The runs that this process has.

    Examples
    --------
    >>> entry = Entry("run-1", "etl", "pending", started=0.0, due=60.0)
    >>> ready_at(entry, 0.0, {"run-1"}), ready_at(entry, 0.0, {})
    (60.0, 70.0)
    """
    alive = None if entry.owner is None else entry.owner.is_alive()
    if is_driven(entry, now, alive):
        # Another is about to start it.
        return now + LOOK_SECONDS
    return (entry.due or 0.0) + (0.0 if entry.id in mine else COURTESY_SECONDS)


def fire(run: Run, *, cluster: Any = None) -> bool:
    """Start a run that waits, unless another was first; tell whether it was started here.

    Where that fails, the run is interrupted, and says why: it can be resumed, and is not
    started by itself any more.

    Parameters
    ----------
    run
        The run.
    cluster
        As for ``submit``.

    Raises
    ------
    Exception
        Whatever stands in the way of reading its flow, or of writing to the journal. It
        waits on then.
    """
    ready = Now.of(run, None, {})
    entry = _taken(run)
    if entry is None:
        return False
    begin(run, ready, entry, cluster=cluster)
    return True


def tick(archive: Archive, refused: Callable[[str, Exception], None]) -> list[Run]:
    """Start all runs of a journal whose time has come, and give those started here.

    Parameters
    ----------
    archive
        The journal.
    refused
        Called with the id of each run that cannot be started from here, and why.

    Raises
    ------
    StoreError
        If the journal cannot be read.
    """
    started = []
    for entry in archive.journal.overdue(time.time()):
        try:
            run = loaded(entry.id, archive)
            if fire(run):
                started.append(run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are started
            refused(entry.id, error)
    return started


def begun(run: Run, timeout: float | None) -> bool:
    """Wait until a run waits no more for its time; tell whether that has come.

    Parameters
    ----------
    run
        A run that is pending.
    timeout
        How many seconds to wait at most.
    """
    assert run._archive is not None
    journal = run._archive.journal
    deadline = None if timeout is None else time.monotonic() + timeout
    # Not as one of this process's own: who has made it goes first.
    _clock.watch(run._archive)
    while run._drive is None:
        entry = journal.entry(run.id)
        if entry.status != Status.PENDING:
            # Who starts it here, has taken it up before it says so.
            if run._drive is None:
                run._record = recorded_state(entry, journal)
            return True
        left = _WAIT_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, _WAIT_SECONDS))
    return True


def cancel(run: Run) -> None:
    """Cancel a run that waits for its time.

    Parameters
    ----------
    run
        A run that is pending, as far as is known.

    Raises
    ------
    RunError
        If another process has started it.
    """
    assert run._archive is not None
    timer = _clock.timer(run.id)
    with nullcontext() if timer is None else timer.changing:
        if run._drive is None and not _cancelled(run):
            run._record = recorded_state(run._archive.journal.entry(run.id), run._archive.journal)
            if not run.status.final:
                raise RunError(
                    f"run {quoted(run.id)} is driven by another process, and can be cancelled there"
                )
    if run._drive is not None:
        run._drive.cancel()


def _cancelled(run: Run) -> bool:
    """Cancel a run, unless another was first; tell whether it was cancelled here."""
    assert run._archive is not None
    entry = _taken(run)
    if entry is None:
        return False
    record = recorded_state(entry, run._archive.journal)
    record.journal = run._archive.journal
    record.hold(entry.epoch)
    now, reason = time.time(), "the run was cancelled before it began"
    events = [Event(name, Status.CANCELLED, now, reason=reason) for name in record.state.steps]
    record.fold(events or [Event("", Status.CANCELLED, now, reason=reason)])
    run._record = record
    record.wait(_WRITTEN_SECONDS)
    return True


def _taken(run: Run) -> Entry | None:
    """Become the one who drives a run that waits; None if it waits no more, or another is it."""
    assert run._archive is not None
    journal = run._archive.journal
    if journal.entry(run.id).status != Status.PENDING:
        return None
    with suppress(RunError):
        # By a name of its own, so that of two threads of a process one is first, too.
        entry = journal.take(run.id, Owner.for_now())
        if entry.status != Status.PENDING:
            journal.release(run.id, entry.epoch)
            return None
        return journal.take(run.id, Owner.here(), force=True)
    return None


def _anew() -> None:
    """Begin again in a process that was forked, where the thread is not."""
    global _clock  # noqa: PLW0603 - a process has one
    _clock = Clock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
