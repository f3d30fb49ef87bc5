"""How a run goes on after it has stopped, and what it takes over."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nbflow.algebra.flow import Flow, is_open
from nbflow.algebra.options import checked_checkpoint
from nbflow.errors import FlowError, RunError, StoreError, quoted
from nbflow.journal.entry import Entry
from nbflow.record.archive import Archive, is_own_record
from nbflow.record.events import Event, Status
from nbflow.record.record import Record
from nbflow.record.recovery import RUNS, Decision, decided
from nbflow.record.state import RunState
from nbflow.record.turns import Resumed
from nbflow.running.cluster import current_client
from nbflow.running.drive import Drive
from nbflow.running.harvest import harvested
from nbflow.running.history import latest_sketch, recorded_state
from nbflow.running.interrupts import held_back, let_through
from nbflow.running.run import Run, remember
from nbflow.running.showing import show
from nbflow.sketch.difference import compared
from nbflow.sketch.sketch import Sketch
from nbflow.store.evidence import Evidence
from nbflow.store.owner import Owner

if TYPE_CHECKING:
    import pandas as pd


# Threads of one process are one owner, whom the journal refuses nothing.
_one_at_a_time = threading.RLock()


def can_be_resumed(run: Run) -> bool:
    """Tell whether a run has stopped, and there is something left to do."""
    state = run.state
    if not run.status.final or run._archive is None:
        return False
    if state.rollback is not None:
        return state.status in (Status.INTERRUPTED, Status.FAILED)
    return state.status in (Status.INTERRUPTED, Status.FAILED, Status.CANCELLED)


def resume(
    run: Run,
    flow: Flow | None,
    *,
    cluster: Any,
    renamed: Mapping[str, str],
    force: bool,
    checkpoint: bool | str | None,
) -> Run:
    """Go on with a run; see `nbflow.running.run.Run.resume`."""
    with held_back(), _one_at_a_time:
        return _resume(run, flow, cluster, renamed, checkpoint, force=force)


def _resume(
    run: Run,
    flow: Flow | None,
    cluster: Any,
    renamed: Mapping[str, str],
    checkpoint: bool | str | None,
    *,
    force: bool,
) -> Run:
    archive = _archive(run)
    _check_ended(run, force=force)
    now = Now.of(run, flow, renamed)
    entry = archive.journal.take(run.id, Owner.here(), force=force)
    try:
        record = _taken_up(archive, entry, run.state)
        policy = entry.checkpoint if checkpoint is None else checked_checkpoint(checkpoint)
        drive = _driven(record, archive, now, cluster, policy)
        drive.harvest()
        decisions = drive.decide(now.changed, renamed)
        if record.state.rollback is not None:
            _go_on_undoing(drive)
        else:
            _check_left(run, decisions)
            show(_table(decisions), f"run {run.id} goes on")
            drive.go_on(decisions, renamed, now.rewritten)
    except BaseException:
        archive.journal.release(run.id, entry.epoch)
        raise
    resumed = Run(record, now.params, flow=now.flow, drive=drive, archive=archive)
    resumed._sketch = now.sketch
    remember(resumed)
    resumed.watch()
    return resumed


def begin(run: Run, now: Now, entry: Entry, *, cluster: Any) -> None:
    """Start a run that was written down and has not begun, or let it be interrupted.

    Parameters
    ----------
    run, now
        The run, which is driven from here from now on, and its flow.
    entry
        As this process has taken it.
    cluster
        As for ``submit``.
    """
    archive = _archive(run)
    run._record = record = _taken_up(archive, entry, run.state)
    try:
        drive = _driven(record, archive, now, cluster, entry.checkpoint)
        # Who has asked for it may be another process.
        drive.keeps_results = True
        run.flow, run.params, run._drive = now.flow, dict(now.params), drive
        run.watch()
        drive.go_on(drive.decide())
    except Exception as error:  # noqa: BLE001 - whatever it is, the run must not wait for ever
        reason = f"it could not be started: {error}; call run.resume() when it can"
        record.fold([Event("", Status.INTERRUPTED, time.time(), reason=reason)])


def _taken_up(archive: Archive, entry: Entry, seen: RunState) -> Record:
    """Give what is written down of a run, to which more is added from here."""
    record = recorded_state(entry, archive.journal)
    if not record.state.status.final and seen.ended is not None:
        # Whoever drove it has died, and could not write down when. Nor is it written down now:
        # whose end is written down may be taken by anybody.
        record.fold([Event("", Status.INTERRUPTED, seen.ended, reason=seen.reason)])
    record.journal = archive.journal
    record.hold(entry.epoch)
    return record


def _driven(
    record: Record, archive: Archive, now: Now, cluster: Any, checkpoint: bool | str
) -> Drive:
    topology, known_by = now.flow.topology, origin(archive, record.id)
    with let_through():
        client = current_client(cluster)
    return Drive(topology, now.params, client, record, archive, checkpoint, known_by)


def undo(run: Run, cluster: Any) -> Run:
    """Undo what a run has done; see `nbflow.running.run.Run.undo`."""
    if not run.status.final:
        raise RunError(f"run {quoted(run.id)} is {run.status}; wait for its end, or cancel it")
    if run.state.rollback is not None and run.state.status is Status.COMPENSATED:
        raise RunError(f"run {quoted(run.id)} is undone already")
    archive = _archive(run)
    now = Now.of(run, None, {})
    with held_back():
        entry = archive.journal.take(run.id, Owner.here())
        try:
            record = _taken_up(archive, entry, run.state)
            drive = _driven(record, archive, now, cluster, "auto")
            if record.state.rollback is None:
                drive.roll_back(Status.COMPENSATED)
            else:
                _go_on_undoing(drive)
        except BaseException:
            archive.journal.release(run.id, entry.epoch)
            raise
        undone = Run(record, now.params, flow=now.flow, drive=drive, archive=archive)
        remember(undone)
        return undone


def _go_on_undoing(drive: Drive) -> None:
    turn = Resumed(frozenset())
    drive.record.turn(turn)
    if not drive.state.status.final:
        drive.go_on_rolling_back()


def plan_of_resume(run: Run, flow: Flow | None, renamed: Mapping[str, str] | None) -> pd.DataFrame:
    """Tell what a resume would do; see `nbflow.running.run.Run.plan_of_resume`."""
    archive = _archive(run)
    now = Now.of(run, flow, renamed or {})
    record = recorded_state(archive.journal.entry(run.id), archive.journal)
    record.fold(harvested(Evidence(archive.store, run.id).receipts(), record.state))
    state = record.state.renamed(renamed or {})
    return _table(
        decided(now.flow.topology, state, now.changed, lambda k: archive.store.is_intact(k.hash))
    )


class Now:
    """A flow as it is now, against what was written down of it."""

    def __init__(
        self,
        flow: Flow,
        params: Mapping[str, Any],
        sketch: Sketch,
        changed: Mapping[str, str],
        rewritten: bytes | None = None,
    ) -> None:
        self.flow = flow
        self.params = params
        self.sketch = sketch
        self.changed = changed
        self.rewritten = rewritten

    @classmethod
    def of(cls, run: Run, flow: Flow | None, renamed: Mapping[str, str]) -> Now:
        """Compare the flow that is given with that of a run.

        Raises
        ------
        FlowError
            If it has other steps.
        StoreError
            If there is none, and that of the run cannot be read.
        """
        archive = _archive(run)
        record = recorded_state(archive.journal.entry(run.id), archive.journal)
        recorded = latest_sketch(archive.journal, run.id, record)
        if flow is None:
            if run._drive is not None or run._sketch is None:
                return cls(run.flow, run.params, recorded, {})
            _check_own(archive, "give the flow: run.resume(flow)")
            return cls(recorded.flow().named(run.name), recorded.values(), recorded, {})
        given = flow._flow() if hasattr(flow, "_flow") else flow
        if recorded.seals_values:
            _check_own(archive, "run the flow as a new run")
        inputs = recorded.inputs() if is_open(given) else []
        ready, params = given.ready(*inputs), recorded.values()
        sketch = Sketch.of(ready, params, inputs)
        difference = compared(recorded, sketch, renamed)
        if not difference.same_graph:
            raise FlowError(
                f"the flow is not that of run {quoted(run.id)}:\n{difference.text}\nrun it as a "
                f"new run; or, if steps only have other names now, say so by renamed="
                f"{{'old': 'new'}}"
            )
        changed = difference.changed
        rewritten = sketch.packed() if changed or renamed else None
        return cls(ready.named(run.name), params, sketch, changed, rewritten)


def _check_own(archive: Archive, advice: str) -> None:
    if not is_own_record(archive):
        raise StoreError(
            f"the journal {quoted(str(archive.journal.path))} may have been written by others, and "
            f"the code and the values in it are not read; {advice}"
        )


def _archive(run: Run) -> Archive:
    if run._archive is None:
        raise RunError(
            f"run {quoted(run.id)} was not written down (store=False), so there is nothing to go "
            f"on from; run the flow again"
        )
    return run._archive


def _check_ended(run: Run, *, force: bool) -> None:
    driven = Drive.living.get(run.id)
    if driven is not None and not driven.state.status.final and not force:
        raise RunError(
            f"run {quoted(run.id)} is {driven.state.status} in this process; wait for its end"
        )
    if run.status is Status.PENDING and not force:
        raise RunError(
            f"run {quoted(run.id)} waits for its time, and then begins by itself; wait for it, or "
            f"take it with resume(force=True) to start it now"
        )
    state = run.state
    undone = state.rollback is not None and state.status is Status.COMPENSATED
    if undone or (state.rollback is not None and state.status is Status.CANCELLED):
        raise RunError(
            f"run {quoted(run.id)} was rolled back, and never goes forward again; run the flow "
            f"as a new run"
        )


def _check_left(run: Run, decisions: Sequence[Decision]) -> None:
    if run.state.status is Status.COMPLETED and not any(d.action in RUNS for d in decisions):
        raise RunError(f"run {quoted(run.id)} is completed; there is nothing left to do")


def origin(archive: Archive, run_id: str) -> str:
    """Name the run by whose id elements are known outside: the first of those redriven."""
    entry = archive.journal.entry(run_id)
    while entry.parent is not None:
        entry = archive.journal.entry(entry.parent)
    return entry.id


def _table(decisions: Sequence[Decision]) -> pd.DataFrame:
    import pandas as pd

    rows = [(d.step, _action(d), "; ".join(filter(None, [d.reason, d.note]))) for d in decisions]
    return pd.DataFrame(rows, columns=["step", "decision", "reason"]).set_index("step")


def _action(decision: Decision) -> str:
    if decision.spans is None:
        return decision.action
    count = sum(stop - start for start, stop in decision.spans)
    return f"run {count} element{'s' * (count != 1)}"
