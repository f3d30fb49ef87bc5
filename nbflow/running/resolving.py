"""A person says what became of a step that was in doubt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nbflow.algebra.context import key_of
from nbflow.errors import FlowError, RunError, quoted
from nbflow.record.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.record.failure import recorded
from nbflow.record.stepstate import StepState
from nbflow.record.turns import Resolved
from nbflow.running.address import addressed
from nbflow.running.history import recorded_state
from nbflow.running.run import Run
from nbflow.store.evidence import Evidence
from nbflow.store.kept import KeptSpan
from nbflow.store.owner import Owner
from nbflow.values.preview import preview
from nbflow.worker.effect import receipt_of
from nbflow.worker.keeper import Keeper, budget_of

_MOST_NAMED = 8
_EXPECTED = "expected is one of completed=value, retry=True and failed=True"


def resolve(run: Run, step: Any, verdict: Mapping[str, Any]) -> Run:
    """Say what became of a step; see `nbflow.running.run.Run.resolve`."""
    name, number = addressed(step, run._topology, run.state)
    state = run.state.steps[name]
    said = _checked(verdict)
    if number not in state.doubts:
        doubts = [called for each in run.state.steps.values() for called, _ in each.in_doubt]
        known = f"; in doubt is {', '.join(map(quoted, doubts[:_MOST_NAMED]))}" if doubts else ""
        raise RunError(
            f"step {quoted(step)} of run {quoted(run.id)} is not in doubt: it is {state.status}"
            f"{known}"
        )
    archive = run._archive
    if archive is None:
        raise RunError(f"run {quoted(run.id)} was not written down, so it cannot be gone on with")
    evidence = Evidence(archive.store, run.id)
    entry = archive.journal.take(run.id, Owner.here())
    record = recorded_state(entry, archive.journal)
    record.journal = archive.journal
    record.hold(entry.epoch)
    try:
        event = _event(run, name, number, said, verdict, record.state.steps[name])
        _leave(evidence, run, event, _key(run, state, number), entry.epoch)
        record.fold([_told(event, number, state)])
        archive.journal.flush(30.0)
    finally:
        archive.journal.release(run.id, entry.epoch)
    record.journal = None
    if record.error is not None:
        raise record.error
    run._record, run._drive = record, None
    return run


def _checked(verdict: Mapping[str, Any]) -> str:
    if len(verdict) != 1:
        raise FlowError(f"{len(verdict)} verdicts were given; {_EXPECTED}")
    [(said, value)] = verdict.items()
    if said not in ("completed", "retry", "failed"):
        raise FlowError(f"there is no verdict {quoted(said)}; {_EXPECTED}")
    if said != "completed" and value is not True:
        raise FlowError(f"the verdict {said}={value!r} means nothing; {_EXPECTED}")
    return said


def _key(run: Run, state: StepState, number: int | None) -> str:
    """Give the idempotency key that the claim was made under."""
    from nbflow.running.resuming import origin

    assert run._archive is not None
    element = None if number is None else state.labels.get(number, number)
    return key_of(origin(run._archive, run.id), state.name, element)


def _event(
    run: Run,
    name: str,
    number: int | None,
    said: str,
    verdict: Mapping[str, Any],
    state: StepState,
) -> Event:
    """Make what is told of the step by a person, as if a worker had told it."""
    now, turn = time.time(), Resolved(said, number)
    event = Event(name, Status.PENDING, now, max(1, state.attempts), turn=turn, element=number)
    if said == "completed":
        assert run._archive is not None
        value = verdict["completed"]
        keeper = Keeper(run._archive.store, budget_of(run.id), True)
        kept = keeper.must_keep(value)
        # Of an element it is said nowhere: there, a reason is why there is no value.
        reason = "" if number is not None else "it was said to have completed"
        look = preview(value)
        return replace(event, status=Status.COMPLETED, kept=kept, preview=look, reason=reason)
    if said == "failed":
        error: ErrorRecord = recorded(
            RunError(
                f"step {quoted(state.called(number))} was in doubt, and was resolved as failed"
            )
        )
        return replace(event, status=Status.FAILED, error=error)
    return event


def _leave(evidence: Evidence, run: Run, event: Event, key: str, epoch: int) -> None:
    """Leave the receipt that the attempt did not leave."""
    claims = evidence.claims(key)
    if claims:
        evidence.give_receipt(key, claims[-1].attempt, receipt_of(epoch, replace(event, turn=None)))


def _told(event: Event, number: int | None, state: StepState) -> Event:
    """Give what the fold takes in, which of an element is a record of it."""
    if number is None or event.status is Status.PENDING:
        return event
    label = state.labels.get(number)
    records = ElementRecords(
        number,
        (event.status,),
        (0.0,),
        {} if event.preview is None else {number: event.preview},
        errors={} if event.error is None else {number: event.error},
        bytes=0 if event.preview is None else event.preview.bytes,
        labels={} if label is None else {number: label},
        kept=() if event.kept is None else (KeptSpan(number, number + 1, event.kept, None),),
    )
    return replace(event, elements=records, kept=None, preview=None, error=None)
