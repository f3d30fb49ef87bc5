"""A run that computes again what another one has put aside."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from nbflow.algebra.flow import Flow
from nbflow.algebra.topology import Topology
from nbflow.errors import RunError, quoted
from nbflow.planning.plan import Redrive, depending
from nbflow.record.events import Event, Status
from nbflow.record.record import Record
from nbflow.record.summary import dead_of
from nbflow.record.turns import Redriven
from nbflow.running.cluster import current_client
from nbflow.running.drive import Drive
from nbflow.running.engine import Execution
from nbflow.running.history import held, loaded
from nbflow.running.launch import entry_of
from nbflow.running.run import Run, new_run_id, remember
from nbflow.store.owner import Owner


def redrive(run: Run) -> Run:
    """Compute what was put aside again; see `nbflow.running.run.Run.redrive`."""
    if not run.status.final:
        raise RunError(f"run {quoted(run.id)} is {run.status}; wait for its end first")
    dead = dead_of(run.state)
    if not dead:
        raise RunError(
            f"run {quoted(run.id)} has no dead letters, so there is nothing to redrive; "
            f'they come from .map(on_error="collect")'
        )
    with _one_at_a_time:
        # Asked for twice, it is done once.
        child = run._redriven or _child(run)
        run._redriven = _redrive(run, dead) if child is None else child
        return run._redriven


# A button is clicked twice more easily than a cell is run.
_one_at_a_time = threading.RLock()


def _child(run: Run) -> Run | None:
    """Give the run that went on from this one, if there is one."""
    if run._archive is None:
        return None
    entries = run._archive.journal.entries()
    known = next((each.id for each in entries if each.parent == run.id), None)
    if known is None:
        return None
    driven = Drive.living.get(known)
    return loaded(known, run._archive) if driven is None else held(driven)


def _redrive(run: Run, dead: dict[str, list[int]]) -> Run:
    drive = run._drive
    execution = None if drive is None else drive.execution
    if drive is None or execution is None or execution.client.status != "running":
        return _from_record(run, dead)
    positions = drive.topology.positions
    planned = execution.redrive({positions[name]: numbers for name, numbers in dead.items()})
    return _from_cluster(run, drive, execution, planned)


def _from_cluster(run: Run, drive: Drive, execution: Execution, planned: Redrive) -> Run:
    """Go on from the results that are still on the cluster."""
    names = drive.topology.names
    again = {names[each]: tuple(numbers) for each, numbers in planned.again.items()}
    turn = Redriven(again, frozenset(names[each] for each in planned.later))
    fresh = _begun(run, run.flow, drive.params, turn, drive.origin)
    fresh.prepare(before=(execution, planned))
    return _started(run, run.flow, fresh, turn)


def _from_record(run: Run, dead: Mapping[str, list[int]]) -> Run:
    """Go on from the results that are kept."""
    flow, params = run.flow, run.params
    if run._sketch is not None:
        flow, params = run._sketch.flow().named(run.name), run._sketch.values()
    topology = flow.topology
    positions = topology.positions
    regions: set[str] = set()
    for name in dead:
        axis = topology.nodes[positions[name]].axis
        assert axis is not None
        key = axis.lineage[0].key
        regions |= {
            other
            for other, node in zip(topology.names, topology.nodes, strict=True)
            if node.axis is not None and node.axis.lineage[0].key is key
        }
    numbers = tuple(sorted({n for each in dead.values() for n in each}))
    later = {
        topology.names[each] for each in depending(topology, [positions[name] for name in regions])
    }
    turn = Redriven(dict.fromkeys(regions - later, numbers), frozenset(later))
    drive = _begun(run, flow, params, turn, run.id)
    started = _started(run, flow, drive, turn, go=False)
    drive.go_on(drive.decide())
    return started


def _begun(
    run: Run, flow: Flow, params: Mapping[str, object], turn: Redriven, origin: str
) -> Drive:
    state = run.state.redriven(new_run_id(), turn, time.time())
    archive = run._archive
    record = Record(state, None if archive is None else archive.journal)
    old = run._drive
    client = current_client() if old is None else old.client
    policy = False if archive is None else archive.journal.entry(run.id).checkpoint
    store = None if old is None else old.store
    topology: Topology = flow.topology
    return Drive(topology, params, client, record, archive, policy, origin, store)


def _started(run: Run, flow: Flow, drive: Drive, turn: Redriven, *, go: bool = True) -> Run:
    archive, record = run._archive, drive.record
    if archive is not None:
        body = archive.journal.body(run.id)
        entry = entry_of(record.state, "", archive, None, run.id, policy=drive.checkpoint)
        found = archive.journal.begin(entry, body, Owner.here())
        record.hold(found.epoch)
    record.fold([Event("", Status.RUNNING, time.time(), turn=turn)])
    fresh = Run(record, drive.params, flow=flow, drive=drive, archive=archive)
    remember(fresh)
    if go:
        drive.start()
    fresh.watch()
    return fresh
