"""What holds of every run in a journal, whatever has happened to those who wrote it.

The numbers are those of the fault matrix.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos.stage import Stage

from nbflow.journal.journal import Entry, Journal
from nbflow.record.events import Event, Status
from nbflow.record.minutes import opened
from nbflow.record.state import RunState
from nbflow.record.turns import Resolved, Resumed
from nbflow.running.history import recorded_state, status_of
from nbflow.running.run import Run
from nbflow.store.evidence import Evidence
from nbflow.store.store import Store

STRICT = True


def check(stage: Stage) -> None:
    """See to it that all invariants hold of all runs that are written down on a stage."""
    if not Path(stage.store, "journal.sqlite").exists():
        return
    journal = Journal.at(stage.store)
    entries = journal.entries()
    runs = [stage.load(entry.id) for entry in entries]
    _check_begun(runs, stage)
    for entry, run in zip(entries, runs, strict=True):
        _check_record(journal, entry)
        # I8: what a run has given can be read for ever, and without a cluster.
        if run.status is Status.COMPLETED:
            run.result()
        batches = [opened(batch) for _, _, batch in journal.batches(entry.id)]
        events = [event for batch in batches for event in batch]
        _check_once(events, run.flow)
        _check_state(run.state, run.flow)


def _check_record(journal: Journal, entry: Entry) -> None:
    batches = journal.batches(entry.id)
    # I4
    assert [number for number, _, _ in batches] == list(range(1, len(batches) + 1))
    epochs = [epoch for _, epoch, _ in batches]
    assert epochs == sorted(epochs)
    assert not epochs or epochs[-1] <= entry.epoch
    # I5
    state = recorded_state(entry, journal).state
    assert state.status == status_of(entry, time.time())
    if Status(entry.status).final:
        assert (entry.status, entry.ended) == (str(state.status), state.ended)
    # I6
    if state.status is Status.INTERRUPTED:
        assert state.reason
    assert state.status.final or entry.owner is not None


def _check_begun(runs: list[Run], stage: Stage) -> None:
    """I2: nothing with an effect is begun more often than it was claimed."""
    effects = {
        name
        for run in runs
        for name, node in zip(run.flow.topology.names, run.flow.topology.nodes, strict=True)
        if node.call.definition.options.has_effect
    }
    store = Store(stage.store)
    begun = Counter(
        line.key for line in stage.lines() if line.name.removeprefix("undo-") in effects
    )
    for key, count in begun.items():
        # A run that computes again what another has put aside has claims of its own.
        claims = sum(len(Evidence(store, run.id).claims(key)) for run in runs)
        assert count <= claims, f"begun {count} times, claimed {claims} times"


def _check_once(events: list[Event], flow: Any) -> None:
    """I1: a step, or an element, completes once, unless it is decided that it runs again."""
    options = {
        name: node.call.definition.options
        for name, node in zip(flow.topology.names, flow.topology.nodes, strict=True)
    }
    completed: Counter[tuple[str, int | None]] = Counter()
    for event in events:
        if isinstance(event.turn, Resumed):
            for name, spans in event.turn.again.items():
                for key in [key for key in completed if key[0] == name]:
                    if spans is None or any(a <= (key[1] or 0) < b for a, b in spans):
                        del completed[key]
        if event.undo or not event.step:
            continue
        if event.elements is not None:
            records = enumerate(event.elements.statuses, event.elements.start)
            done = [(event.step, number) for number, each in records if each.succeeded]
        else:
            done = [(event.step, event.element)] * event.status.succeeded
        if isinstance(event.turn, Resolved) or not options[event.step].has_effect:
            continue
        completed.update(done)
    twice = {key: count for key, count in completed.items() if count > 1}
    assert not twice, f"completed more than once: {twice}"


def _check_state(state: RunState, flow: Any) -> None:
    topology = flow.topology
    for position, name in enumerate(topology.names):
        step = state.steps[name]
        # I1, of what was folded
        numbers = [n for part in step.elements for n in range(part.start, part.stop)]
        assert len(numbers) == len(set(numbers)), f"elements of {name} are known twice"
        assert step.total is None or len(numbers) <= step.total
        # I3
        if step.status in (Status.COMPLETED, Status.REUSED):
            for each in topology.upstream[position]:
                before = state.steps[topology.names[each]]
                assert before.status.final, f"{name} has ended, and {before.name} not"
    if state.rollback is not None:
        _check_rollback(state, topology)


def _check_rollback(state: RunState, topology: Any) -> None:
    """I7: what was done is undone, the last first, and nothing else."""
    assert state.rollback is not None
    entries = state.rollback.entries
    assert len(entries) == len(set(entries))
    assert {name for name, _ in entries} <= state.undoable
    order = [topology.positions[name] for name, _ in entries]
    above: dict[int, set[int]] = {}
    for position in range(len(topology.names)):
        direct = set(topology.upstream[position])
        above[position] = direct.union(*(above[each] for each in direct))
    for number, position in enumerate(order):
        assert not above[position] & set(order[:number]), "undone before what came of it"
    undone = {name for name, step in state.steps.items() if step.status is Status.COMPENSATED}
    assert undone <= {name for name, _ in entries}
    if state.status is Status.COMPENSATED:
        done = {n for n, s in state.steps.items() if n in state.undoable and s.has_done_something}
        assert not done, f"not undone: {done}"
