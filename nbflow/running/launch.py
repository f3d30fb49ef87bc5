"""Starting a flow on Dask, and waiting for its end: ``flow.run()``, ``submit()``, ``arun()``."""

from __future__ import annotations

import asyncio
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from nbflow.algebra.evaluate import bound_params
from nbflow.algebra.flow import Flow
from nbflow.algebra.moment import due_at
from nbflow.algebra.options import checked_checkpoint
from nbflow.algebra.topology import Topology
from nbflow.errors import (
    FlowError,
    IdempotencyError,
    StoreError,
    UnsupportedError,
    did_you_mean,
    quoted,
)
from nbflow.journal.entry import Entry
from nbflow.record.archive import Archive, obstacle, passing_store
from nbflow.record.events import Status
from nbflow.record.record import Record
from nbflow.record.state import RunState
from nbflow.record.tenancy import mark
from nbflow.running.clock import watch
from nbflow.running.cluster import current_client
from nbflow.running.drive import Drive, has_effects, planned
from nbflow.running.history import held, loaded
from nbflow.running.interrupts import held_back, let_through
from nbflow.running.run import Run, new_run_id, remember
from nbflow.sketch.bodies import body_written
from nbflow.sketch.sketch import Sketch
from nbflow.store.owner import Owner

# So long after an interrupt a second one cancels the run.
_SECOND_THOUGHTS_SECONDS = 1.0
_OPTIONS = (
    "params",
    "cluster",
    "raise_on_error",
    "display",
    "store",
    "key",
    "checkpoint",
    "at",
    "after",
)
_LATER = ("fail_fast",)
_LONGEST_KEY = 1_000
_warned = False


def submit(
    flow: Flow,
    *inputs: Any,
    params: dict[str, Any] | None = None,
    cluster: Any = None,
    store: Any = None,
    key: str | None = None,
    checkpoint: bool | str = "auto",
    at: datetime | float | None = None,
    after: float | None = None,
    **later: Any,
) -> Run:
    """Start a flow on Dask, or let it start later, and return at once.

    Parameters
    ----------
    flow
        What to run.
    inputs
        Arguments for every open first step.
    params
        Values of the flow's parameters.
    cluster
        A scheduler's address, a client or a cluster, instead of the current one.
    store
        Where the run is written down, with its results: a folder, a URL that fsspec
        knows, or False for nowhere. Otherwise ``NBFLOW_STORE`` says, or else it is
        ``.nbflow`` beside the notebook.
    key
        What names the run once and for all: the same key and flow give the run that
        there is.
    checkpoint
        Whether results are kept of which their steps say nothing: ``"auto"``, True or
        False.
    at
        When to start: a time with its time zone, or seconds since the epoch. It is
        written down, so that it outlives this process: the run is started by a process
        that has one that waits in the same journal, or by ``nbflow tick``.
    after
        In how many seconds to start.
    later
        Options that do not work in this version.

    Raises
    ------
    FlowError, ParamError
        If the flow cannot run as it is.
    TransferError
        If something in it cannot be sent to the workers.
    ClusterError
        If there is no cluster.
    StoreError
        If the run cannot be written down.
    IdempotencyError
        If the key is that of a run of another flow.
    """
    _refuse(later)
    policy = checked_checkpoint(checkpoint)
    checked_key(key)
    due = due_at(at, after, time.time())
    ready = flow.ready(*inputs)
    bound = bound_params(ready.topology, params or {})
    asked = key is not None or due is not None
    archive = None if store is False else _archive(store, ready.topology, asked)
    if key is not None and archive is None:
        raise StoreError(
            f"the key {quoted(key)} names a run in its record, and store=False keeps none; leave "
            f"one of them out"
        )
    if due is not None and archive is None:
        raise StoreError(
            "a run that starts later is written down until then, and store=False keeps nothing; "
            "leave at= and after= out, or give a store"
        )
    if key is not None and archive is not None:
        known = archive.journal.keyed(key)
        if known is not None:
            return _existing(known, Sketch.of(ready, bound, inputs), archive, cluster)
    request = _Request(ready, inputs, bound, cluster, archive, policy, key, due)
    with held_back():
        return _started(request) if due is None else _waiting(request)


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """What is asked for: a flow that is ready, and what `submit` was told about it."""

    flow: Flow
    inputs: Sequence[Any]
    params: Mapping[str, Any]
    cluster: Any
    archive: Archive | None
    policy: bool | str
    key: str | None
    due: float | None

    @property
    def can_be_entered_late(self) -> bool:
        """Whether the run may begin before it is written down: nothing depends on that."""
        if self.archive is None or self.key is not None:
            return False
        return not has_effects(self.flow.topology)

    def planned(self) -> RunState:
        """Make the state of a run that has not begun."""
        flow = self.flow
        return planned(flow.topology, new_run_id(), flow.name, time.time())


def _started(request: _Request) -> Run:
    archive, topology = request.archive, request.flow.topology
    with let_through():
        client = current_client(request.cluster)
    state = request.planned()
    late, policy, kept = request.can_be_entered_late, request.policy, None
    journal = None if archive is None or late else archive.journal
    record = Record(state, journal, entering=late)
    if archive is None:
        kept = passing_store(record) if has_effects(topology) else None
        policy = False
    drive = Drive(topology, request.params, client, record, archive, policy, store=kept)
    drive.keeps_results = request.key is not None
    drive.prepare()
    run = Run(record, dict(request.params), flow=request.flow, drive=drive, archive=archive)
    if late:
        drive.start()
    if archive is not None:
        try:
            sketch, found = _entered(request, state, archive)
        except BaseException:
            drive.give_up()
            # Whoever was interrupted does not know whether it was written down after all.
            archive.journal.release(state.run_id, 1)
            raise
        if found.id != state.run_id:
            return _existing(found, sketch, archive, request.cluster)
        record.enter(archive.journal, found.epoch)
    remember(run)
    if not late:
        drive.start()
    run.watch()
    return run


def _waiting(request: _Request) -> Run:
    """Write down a run that begins later."""
    archive = request.archive
    assert archive is not None
    state = replace(request.planned(), status=Status.PENDING, ended=None, begins=request.due)
    sketch, found = _entered(request, state, archive)
    if found.id != state.run_id:
        return _existing(found, sketch, archive, request.cluster)
    run = Run(Record(state), request.params, flow=request.flow, archive=archive)
    remember(run)
    watch(run, request.cluster)
    return run


def _entered(request: _Request, state: RunState, archive: Archive) -> tuple[Sketch, Entry]:
    """Write a run down, and give its entry; or that of the run which its key names."""
    mark(archive)
    sketch = Sketch.of(request.flow, request.params, request.inputs)
    body = body_written(archive.journal, sketch.packed())
    # The identity takes long to work out, and tells what a key is of.
    identity = "" if request.key is None else sketch.identity
    entry = entry_of(state, identity, archive, request.key, policy=request.policy)
    owner = Owner.here() if request.due is None else None
    return sketch, archive.journal.begin(replace(entry, due=request.due), body, owner)


def entry_of(
    state: RunState,
    identity: str,
    archive: Archive,
    key: str | None,
    parent: str | None = None,
    *,
    policy: bool | str,
) -> Entry:
    """Make the entry of a run in the journal.

    Parameters
    ----------
    state, identity
        The run, and what tells its flow and its inputs from others.
    archive, key, parent
        Where it is written down, what names it, and the run that it goes on from.
    policy
        Whether results are kept of which their steps say nothing.
    """
    status = str(state.status)
    return Entry(
        state.run_id,
        state.name,
        status,
        state.started,
        steps=len(state.steps),
        key=key,
        identity=identity,
        store=archive.url,
        parent=parent,
        checkpoint=policy,
    )


def _existing(entry: Entry, sketch: Sketch, archive: Archive, cluster: Any) -> Run:
    """Give the run that a key names, and go on with it if it has stopped."""
    if entry.identity != sketch.identity:
        raise IdempotencyError(
            f"the key {quoted(entry.key or '')} is that of run {quoted(entry.id)} of flow "
            f"{quoted(entry.flow)}, and this is another flow, or has other inputs or parameters; "
            f"take another key, or look at nbflow.load({entry.id!r})"
        )
    driven = Drive.living.get(entry.id)
    run = loaded(entry.id, archive) if driven is None else held(driven)
    if run.can_be_resumed:
        return run.resume(cluster=cluster)
    if run.status is Status.PENDING:
        watch(run, cluster)
    return run


def checked_key(key: Any) -> None:
    """Refuse what cannot name a run.

    Raises
    ------
    IdempotencyError
        If it is no text, blank, or very long.
    """
    if key is None:
        return
    if not isinstance(key, str) or not key.strip() or "\0" in key or len(key) > _LONGEST_KEY:
        shown = quoted(key) if isinstance(key, str) else repr(key)
        raise IdempotencyError(
            f"the key is {shown}; expected is a text that is not blank, of up to "
            f"{_LONGEST_KEY:,} characters, such as 'daily-2026-11-21'"
        )


def _archive(store: Any, topology: Topology, asked: bool) -> Archive | None:
    """Give the archive, or go without where nobody has asked for one and none can be made."""
    archive = Archive.of(store)
    problem = obstacle(archive)
    if problem is None:
        if has_effects(topology):
            _warn_of_claims(archive)
        return archive
    if asked or store is not None or has_effects(topology):
        raise StoreError(problem)
    warnings.warn(f"nothing is written down of this run: {problem}", RuntimeWarning, stacklevel=4)
    return None


def _warn_of_claims(archive: Archive) -> None:
    """Say once in a process that where the store is, two could claim the same effect."""
    global _warned  # noqa: PLW0603 - once in a process
    if _warned or archive.store.files.is_exclusive:
        return
    _warned = True
    warnings.warn(
        f"the store {quoted(archive.store.url)} is not known to make a file only if there is none: "
        f"if two copies of a step with an effect begin at the same moment, both may run. Expected "
        f"is a folder, or an object store of S3 or Google",
        RuntimeWarning,
        stacklevel=5,
    )


def run(
    flow: Flow,
    *inputs: Any,
    raise_on_error: bool = True,
    display: str | None = "auto",
    **options: Any,
) -> Run:
    """Start a flow as `submit` does, and wait for its end.

    Parameters
    ----------
    flow, inputs, options
        As for `submit`.
    raise_on_error
        Whether to raise what a step has raised.
    display
        How a notebook shows the run meanwhile: ``"live"``, as a terminal does too;
        ``"static"``, as a report at its end; or None for not at all.
    """
    __tracebackhide__ = True  # what IPython's tracebacks leave out
    from nbflow.notebook.watching import chosen, watched

    chosen(display)
    with held_back():
        started = submit(flow, *inputs, **options)
        with watched(started, display):
            wait_for_end(started)
    if raise_on_error:
        started.raise_for_error()
    return started


async def arun(
    flow: Flow,
    *inputs: Any,
    raise_on_error: bool = True,
    display: str | None = "auto",
    **options: Any,
) -> Run:
    """Start a flow as `submit` does, and leave the event loop free until its end."""
    from nbflow.notebook.watching import chosen, watched

    chosen(display)
    started = await asyncio.to_thread(submit, flow, *inputs, **options)
    with watched(started, display):
        await asyncio.to_thread(started.wait)
        await asyncio.to_thread(started.wait_for_handlers)
    if raise_on_error:
        started.raise_for_error()
    return started


def wait_for_end(started: Run) -> None:
    """Wait for a run and its handlers; an interrupt ends the waiting, and not the run.

    Raises
    ------
    KeyboardInterrupt
        Saying that the run goes on, and where it is found.
    """
    __tracebackhide__ = True
    with held_back():
        try:
            with let_through():
                started.wait()
                started.wait_for_handlers()
        except KeyboardInterrupt:
            said = f"stopped waiting; run {quoted(started.id)} goes on"
            sys.stderr.write(f"{said} (interrupt once more to cancel it)\n")
        else:
            return
        try:
            with let_through():
                started.wait(_SECOND_THOUGHTS_SECONDS)
        except KeyboardInterrupt:
            started.cancel()
            raise KeyboardInterrupt(f"run {quoted(started.id)} was cancelled") from None
        raise KeyboardInterrupt(
            f"stopped waiting; run {quoted(started.id)} goes on, and nbflow.last_run() is it"
        ) from None


def _refuse(later: dict[str, Any]) -> None:
    for name, value in later.items():
        if name in _OPTIONS:
            continue  # means something only to those who wait
        if name not in _LATER:
            raise FlowError(
                f"run has no option {quoted(name)}; {did_you_mean(name, _OPTIONS)}; a run-time "
                f"parameter is given with params={{{name!r}: …}}, an input by position"
            )
        if value is not None and value is not False:
            raise UnsupportedError(
                f"the run option {quoted(name)} does not work in this version of nbflow; leave it "
                f"out"
            )
