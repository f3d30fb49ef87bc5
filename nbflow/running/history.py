"""The runs there have been: listed, and given back in any later process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nbflow.errors import StoreError, quoted
from nbflow.journal.entry import Entry, is_driven
from nbflow.journal.journal import Journal
from nbflow.record.archive import Archive
from nbflow.record.events import Event, Status
from nbflow.record.minutes import opened
from nbflow.record.record import Record
from nbflow.record.state import RunState
from nbflow.record.turns import Redriven, Resumed
from nbflow.running.drive import Drive, planned
from nbflow.running.run import Run
from nbflow.sketch.bodies import body_read
from nbflow.sketch.sketch import Sketch

if TYPE_CHECKING:
    import pandas as pd


def runs(store: Any = None) -> pd.DataFrame:
    """List all runs that are written down, the newest first.

    Columns are ``id``, ``flow``, ``status``, ``started`` (a UTC time), ``seconds``,
    ``steps`` and ``key``.

    Parameters
    ----------
    store
        As for ``flow.submit()``.

    Raises
    ------
    StoreError
        If the journal cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> runs(tempfile.mkdtemp()).empty
    True
    """
    import pandas as pd

    now = time.time()
    entries = Archive.of(store).journal.entries()
    seconds = [None if e.ended is None else e.ended - e.started for e in entries]
    return pd.DataFrame(
        {
            "id": pd.array([e.id for e in entries], dtype="str"),
            "flow": pd.array([e.flow for e in entries], dtype="str"),
            "status": pd.array([str(status_of(e, now)) for e in entries], dtype="str"),
            "started": pd.to_datetime([e.started for e in entries], unit="s", utc=True),
            "seconds": pd.Series(seconds, dtype="float64").array,
            "steps": pd.array([e.steps for e in entries], dtype="Int64"),
            "key": pd.array([e.key for e in entries], dtype="str"),
        }
    )


def seconds_before(run: Run) -> float | None:
    """Say how long a flow of this name took when it was last completed; None if never."""
    if run._archive is None:
        return None
    for entry in run._archive.journal.entries():
        alike = entry.flow == run.name and entry.steps == len(run.state.steps)
        if alike and entry.id != run.id and entry.status == Status.COMPLETED and entry.ended:
            return entry.ended - entry.started
    return None


def status_of(entry: Entry, now: float) -> Status:
    """Say how a run is: one that nobody drives any more is interrupted."""
    status = Status(entry.status)
    if status is not Status.RUNNING:
        return status
    alive = None if entry.owner is None else entry.owner.is_alive()
    return status if is_driven(entry, now, alive) else Status.INTERRUPTED


def load(run_id: str, store: Any = None) -> Run:
    """Give a run back, in any later process, and without a cluster.

    Parameters
    ----------
    run_id
        What it is called, as in `runs`.
    store
        As for ``flow.submit()``.

    Raises
    ------
    RunNotFoundError
        If there is none.
    StoreError
        If the journal cannot be read.

    Examples
    --------
    >>> from nbflow import load
    >>> load("20261121-200000-1a2b")["clean"]  # doctest: +SKIP
    """
    driven = Drive.living.get(run_id)
    if driven is not None:
        return held(driven)
    return loaded(run_id, Archive.of(store))


def held(drive: Drive) -> Run:
    """Give a run that is driven in this process."""
    from nbflow.algebra.flow import Flow

    flow = Flow(drive.topology.value, label=drive.state.name)
    return Run(drive.record, drive.params, flow=flow, drive=drive, archive=drive.archive)


def loaded(run_id: str, archive: Archive) -> Run:
    """Give a run as it is written down.

    Parameters
    ----------
    run_id, archive
        Which run, and where.
    """
    journal = archive.journal
    entry = journal.entry(run_id)
    record = recorded_state(entry, journal)
    sketch = latest_sketch(journal, run_id, record)
    if entry.store != archive.url:
        archive = Archive.beside(journal, entry.store)
    flow = sketch.picture()
    return Run(record, {}, flow=flow.named(entry.flow), archive=archive, sketch=sketch)


def latest_sketch(journal: Journal, run_id: str, record: Record) -> Sketch:
    """Give the flow of a run as it was the last time that somebody went on with it."""
    turns = [event.turn for event in record.events]
    given = [turn.flow for turn in turns if isinstance(turn, Resumed) and turn.flow is not None]
    return Sketch.opened(given[-1] if given else body_read(journal, run_id))


def recorded_state(entry: Entry, journal: Journal) -> Record:
    """Fold all that is written down of a run.

    Parameters
    ----------
    entry
        The run.
    journal
        Where it is written down.
    """
    state = _beginning(entry, journal)
    record = Record(state, None, entry.epoch)
    for events in _batches(journal, entry.id):
        record.fold(events)
    status = status_of(entry, time.time())
    if status is Status.INTERRUPTED and not record.state.status.final:
        reason = "the process that drove it is gone"
        at = entry.ended or journal.last_sign(entry) or time.time()
        record.fold([Event("", Status.INTERRUPTED, at, reason=reason)])
    return record


def _beginning(entry: Entry, journal: Journal) -> RunState:
    """Make the state of a run before anything has happened in it."""
    if entry.parent is None:
        topology = Sketch.opened(body_read(journal, entry.id)).picture().topology
        state = planned(topology, entry.id, entry.flow, entry.started)
        waits = entry.status == Status.PENDING
        if not waits:
            return state
        return replace(state, status=Status.PENDING, ended=None, begins=entry.due)
    before = recorded_state(journal.entry(entry.parent), journal).state
    events = [event for batch in _batches(journal, entry.id) for event in batch]
    turn = next((e.turn for e in events if isinstance(e.turn, Redriven)), None)
    if turn is None:
        raise StoreError(f"the record of run {quoted(entry.id)} does not say what it began with")
    return before.redriven(entry.id, turn, entry.started)


def _batches(journal: Journal, run_id: str) -> Iterable[list[Event]]:
    return (opened(batch) for _, _, batch in journal.batches(run_id))
