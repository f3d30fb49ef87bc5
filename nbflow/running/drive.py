"""Drives one run from its first message to its end, whatever happens to its cluster."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, ClassVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from distributed import Client

from nbflow.algebra.expression import nodes_in
from nbflow.algebra.topology import Topology
from nbflow.errors import ClusterError, RunError, quoted
from nbflow.planning.order import Keeping
from nbflow.planning.orders import Past
from nbflow.planning.plan import Redrive
from nbflow.record.archive import Archive
from nbflow.record.events import Event, Status
from nbflow.record.recollection import recollected
from nbflow.record.record import Record
from nbflow.record.recovery import RUNS, Decision, decided, resumed, waited_until
from nbflow.record.saga import rolling_back
from nbflow.record.state import RunState, Shape, said_of_doubts
from nbflow.running.cluster import is_own, own_again
from nbflow.running.engine import Execution
from nbflow.running.harvest import harvested
from nbflow.running.pace import learn
from nbflow.running.pulse import Pulse
from nbflow.running.rollback import Rollback
from nbflow.store.evidence import Evidence
from nbflow.store.owner import Owner
from nbflow.store.store import Store

# So often in so many seconds is a cluster of our own started anew.
_MOST_LOSSES = 3
_LOSS_SECONDS = 600.0
_RECONNECT_SECONDS = 10.0


class Drive:
    """One run, and who drives it at present.

    Parameters
    ----------
    topology, params
        The flow, and the values of its parameters.
    client
        A client of the cluster.
    record
        What is known of the run.
    archive
        Where it is written down; None if nothing is.
    checkpoint
        What the run says of results of which their steps say nothing.
    origin
        What elements are known by outside; the run's own id if left out.
    store
        Where claims are, of a run that is not written down.

    Attributes
    ----------
    execution
        The plan as it was driven last, if it was.
    keeps_results
        Whether what the flow gives is kept in any case: of a run that others may ask for.
    living
        The runs that somebody in this process still holds, by id.
    """

    living: ClassVar[WeakValueDictionary[str, Drive]] = WeakValueDictionary()

    def __init__(
        self,
        topology: Topology,
        params: Mapping[str, Any],
        client: Client,
        record: Record,
        archive: Archive | None,
        checkpoint: bool | str,
        origin: str | None = None,
        store: Store | None = None,
    ) -> None:
        self.topology = topology
        self.params = params
        self.client = client
        self.record = record
        self.archive = archive
        self.store = store if archive is None else archive.store
        self.checkpoint = checkpoint
        self.origin = record.id if origin is None else origin
        self.execution: Execution | None = None
        self.keeps_results = False
        self._rollback: Rollback | None = None
        self._losses: list[float] = []
        self._cancelled = False
        # Weakly, so that results are freed as soon as nobody holds the run.
        forsake = weakref.WeakMethod(self._forsake)
        record.on_loss = lambda: (found := forsake()) and found()
        Drive.living[record.id] = self

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        return self.record.state

    def _keeping(self) -> Keeping | None:
        if self.store is None:
            return None
        evidence = Evidence(self.store, self.record.id)
        epoch = max(1, self.record.epoch)
        return Keeping(
            evidence,
            self.store.id(),
            epoch,
            self.checkpoint,
            self.keeps_results,
            careful=has_effects(self.topology),
        )

    def prepare(
        self, past: Past | None = None, before: tuple[Execution, Redrive] | None = None
    ) -> None:
        """Plan, and write down what the workers are to do; nothing is sent yet.

        Raises
        ------
        TransferError
            If something cannot be sent to the workers.
        StoreError
            If the store cannot be written.
        """
        execution = Execution(
            self.topology,
            self.params,
            self.client,
            self.record,
            self.origin,
            self._keeping(),
            past,
            before,
        )
        execution.ended = self._after
        execution.pack()
        self.execution = execution

    def start(self) -> None:
        """Send it all to the cluster, and return."""
        assert self.execution is not None
        self.execution.start()
        if not is_own(self.client):
            execution = self.execution

            def goes_on() -> bool:
                return self.execution is execution and not self.state.status.final

            Pulse(self.client, goes_on, self._lost_pulse).start()

    def _lost_pulse(self, why: str) -> None:
        """Stop: the cluster is there, and does not answer."""
        lost_at, address = time.strftime("%H:%M:%S"), _address(self.client)
        self._forsake()
        self._stop_at(lost_at, address, why)

    # What happens when a cluster has done what it was given

    def _after(self, execution: Execution) -> None:
        if self.record.error is not None:
            return
        if execution.lost and not self._cancelled and not self.state.status.final:
            if execution.restarted:
                # Whoever restarts a cluster wants what is on it to stop.
                self._stop_at(time.strftime("%H:%M:%S"), _address(self.client), "it was restarted")
            else:
                self._cluster_lost()
            return
        execution.settle()
        if self.state.has_to_undo and not self.state.status.final:
            self._begin_rollback()
            return
        doubtful = any(step.doubts for step in self.state.steps.values())
        if doubtful and not self.state.status.final:
            self._interrupt(said_of_doubts(self.state.steps))
            return
        execution.close("the run ended without word of this step")
        if execution.is_cut:
            learn(self.topology, self.params, self.state)
        self._finish()

    def _begin_rollback(self) -> None:
        statuses = {step.status for step in self.state.steps.values()}
        failed = Status.FAILED in statuses
        self.roll_back(Status.COMPENSATED if failed else Status.CANCELLED)

    def roll_back(self, cause: Status) -> None:
        """Undo what was done, and end the run as `cause` says.

        Raises
        ------
        RunError
            If there is nothing to undo.
        """
        turn = rolling_back(self.topology, self.state, cause)
        if turn is None:
            raise RunError(
                f"run {quoted(self.record.id)} has nothing to undo: none of its steps with "
                f"compensate= was done"
            )
        self.record.turn(turn)
        # Who goes on with the run must know of it, or would go forward from what was undone.
        if self.record.is_written():
            self.go_on_rolling_back()

    def go_on_rolling_back(self) -> None:
        """Undo what was not undone yet."""
        keeping = self._keeping()
        assert keeping is not None
        rollback = Rollback(self.topology, self.client, self.record, self.origin, keeping)
        rollback.ended = self._after_rollback
        self._rollback = rollback
        rollback.start()

    def _after_rollback(self, rollback: Rollback) -> None:
        if self.record.error is not None:
            return
        if rollback.lost:
            self._cluster_lost()
            return
        self._finish()

    def _finish(self) -> None:
        """Remove what only a run that goes on needs."""
        if self.store is None or not self.record.wait(timeout=30.0):
            return
        if self.state.status is not Status.INTERRUPTED and self.record.error is None:
            evidence = Evidence(self.store, self.record.id)
            topology, steps = self.topology, self.state.steps
            named = zip(topology.names, topology.nodes, strict=True)
            effects = {name for name, n in named if n.call.definition.options.has_effect}
            # Dask computes anew what its workers held, should they die, as long as this run is
            # held here; what was kept is then found by what its segment has left.
            may_return = any(steps[name].is_kept for name in steps.keys() - effects)
            with suppress(Exception):
                if effects:
                    evidence.end(max(1, self.record.epoch))
                if not may_return:
                    (evidence.forget_segments if effects else evidence.remove)()

    def _interrupt(self, reason: str) -> None:
        self.record.fold([Event("", Status.INTERRUPTED, time.time(), reason=reason)])

    # A lost cluster

    def _cluster_lost(self) -> None:
        """Go on on a new cluster, if that is ours to start; or stop, to be resumed."""
        lost_at = time.strftime("%H:%M:%S")
        address = _address(self.client)
        try:
            self._reconnect()
            self._go_on()
        except Exception as error:  # noqa: BLE001 - it ends here, with all that is written down
            self._stop_at(lost_at, address, str(error))

    def _reconnect(self) -> None:
        """Get a cluster that works.

        Raises
        ------
        ClusterError
            If there is none.
        """
        now = time.monotonic()
        self._losses = [each for each in self._losses if now - each < _LOSS_SECONDS] + [now]
        if len(self._losses) > _MOST_LOSSES:
            raise ClusterError(f"it was lost {len(self._losses)} times in a short time")
        if is_own(self.client):
            self.client = own_again()
            return
        if self.client.status == "closed":
            raise ClusterError("the client was closed")
        deadline = now + _RECONNECT_SECONDS
        while self.client.status != "running":
            if self.client.status == "closed" or time.monotonic() > deadline:
                raise ClusterError("the scheduler does not answer")
            time.sleep(0.1)

    def _go_on(self) -> None:
        self.record.wait_for_entry()
        if self.record.journal is not None:
            # So that taking it anew is not taken for somebody else's doing.
            self.record.journal.release(self.record.id, self.record.epoch)
            entry = self.record.journal.take(self.record.id, Owner.here())
            self.record.hold(entry.epoch)
        else:
            self.record.epoch += 1
        self.harvest()
        if self.state.rollback is not None:
            self.go_on_rolling_back()
            return
        self.go_on(self.decide())

    def _stop_at(self, lost_at: str, address: str, why: str) -> None:
        steps = self.state.steps.values()
        done = sum(each.status.succeeded for each in steps)
        begun = [each.name for each in steps if each.status in _BEGUN]
        text = (
            f"lost the cluster at {address} at {lost_at}: {why}; {done} of {len(self.state.steps)} "
            f"steps had ended"
        )
        if begun:
            text += f", {len(begun)} had begun ({', '.join(begun[:5])})"
        self._interrupt(f"{text}; call run.resume() when there is a cluster")

    # Going on

    def harvest(self) -> None:
        """Take in what workers have left of the run, and nobody heard."""
        if self.store is None:
            return
        evidence = Evidence(self.store, self.record.id)
        self.record.fold(harvested(evidence.receipts(), self.state))

    def decide(
        self,
        changed: Mapping[str, str] | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> tuple[Decision, ...]:
        """Decide which steps run again.

        Parameters
        ----------
        changed
            The steps whose code or arguments are others now, with what to say of it.
        renamed
            What steps are called now, by the names that they had.
        """
        store, state = self.store, self.state.renamed(renamed or {})

        def is_there(kept: Any) -> bool:
            return store is not None and store.is_intact(kept.hash)

        return decided(self.topology, state, changed, is_there)

    def go_on(
        self,
        decisions: Sequence[Decision],
        renamed: Mapping[str, str] | None = None,
        flow: bytes | None = None,
    ) -> None:
        """Run again what is to run again, and reuse the rest.

        Parameters
        ----------
        decisions
            What becomes of each step.
        renamed, flow
            What steps are called now, and the flow as it is now, if it is another.
        """
        state = self.state.renamed(renamed or {})
        begun = {d.step: state.steps[d.step] for d in decisions if d.action in RUNS}
        turn = resumed(decisions, renamed, flow)
        self.record.turn(turn)
        if self.state.status.final:
            return
        positions = self.topology.positions
        memory = {}
        for name, step in self.state.steps.items():
            known = recollected(step)
            if known is not None:
                memory[positions[name]] = known
        attempts = {
            positions[name]: (step.attempts, step.attempts if _retries(step) else 0)
            for name, step in begun.items()
            if step.attempts and not step.mapped
        }
        waited = waited_until(self.record.events)
        due = {positions[name]: waited[name] for name in begun if waited.get(name)}
        done = {
            positions[name]: step.done_of(self.state.steps[name])
            for name, step in begun.items()
            if self.topology.nodes[positions[name]].call.definition.options.has_effect
        }
        self.prepare(Past(memory, attempts, due, done))
        self.start()

    # What may be asked for meanwhile

    def cancel(self) -> bool:
        """Ask the steps that run to stop, and let no other begin."""
        self._cancelled = True
        return self.execution is not None and self.execution.cancel()

    def give_up(self) -> None:
        """Stop what was sent already: the run cannot be written down, so there is none."""
        self.cancel()
        self._forsake()
        if self.store is not None:
            with suppress(Exception):
                Evidence(self.store, self.record.id).remove()

    def _forsake(self) -> None:
        """Stop driving: nothing can be written down, or another drives the run."""
        for each in (self.execution, self._rollback):
            if each is not None:
                each.forsake()


_BEGUN = frozenset({Status.RUNNING, Status.RETRYING})


def _retries(step: Any) -> bool:
    return bool(step.status is Status.RETRYING)


def _address(client: Client) -> str:
    with suppress(Exception):
        scheduler: Any = client.scheduler
        return str(scheduler.address)
    return "an unknown address"


# Before anything has happened, one run of a flow is like another.
_unbegun: WeakKeyDictionary[Topology, RunState] = WeakKeyDictionary()


def planned(topology: Topology, run_id: str, name: str, at: float) -> RunState:
    """Make the state of a run before anything has happened.

    Parameters
    ----------
    topology
        Its flow.
    run_id, name
        What the run is called.
    at
        When it was accepted, in seconds since the epoch.
    """
    known = _unbegun.get(topology)
    if known is None:
        known = _unbegun[topology] = RunState.planned("", "", shapes(topology), 0.0)
    ended = at if known.status.final else None
    return replace(known, run_id=run_id, name=name, started=at, ended=ended)


def shapes(topology: Topology) -> dict[str, Shape]:
    """Say what is known of the steps of a flow before it runs."""
    plain, found = Shape(), {}
    for name, node in zip(topology.names, topology.nodes, strict=True):
        axis = node.axis
        undoable = node.call.definition.options.compensate is not None
        if axis is None and not undoable:
            found[name] = plain
            continue
        total = axis.lineage[0].count if axis is not None else None
        found[name] = Shape(axis is not None, total, undoable)
    return found


def has_effects(topology: Topology) -> bool:
    """Tell whether a flow has a step that must not be repeated unknown to its user."""
    return any(node.call.definition.options.has_effect for node in topology.nodes)


def sinks(topology: Topology) -> list[int]:
    """List the steps whose values make up the value of the flow."""
    return sorted({topology.index[id(node)] for node in nodes_in(topology.value)})
