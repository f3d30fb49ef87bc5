"""Runs: what a user holds while a flow is computed, and afterwards."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nbflow.algebra.absence import Absent
from nbflow.algebra.expression import ParamRef
from nbflow.algebra.flow import Flow
from nbflow.algebra.inputs import resolve
from nbflow.algebra.moment import begins
from nbflow.algebra.retry import finite_number
from nbflow.deterministic import is_deterministic
from nbflow.errors import (
    FlowError,
    RunCancelledError,
    RunError,
    RunTimeoutError,
    quoted,
)
from nbflow.record.archive import Archive, is_own_record
from nbflow.record.events import Event, Status
from nbflow.record.failure import in_words, revived
from nbflow.record.record import Record
from nbflow.record.state import RunState
from nbflow.record.summary import (
    element_of,
    first_failed,
    keys_of,
    letters_table,
    note_of,
    reason_of,
    steps_table,
    why,
)
from nbflow.running.address import addressed
from nbflow.running.callbacks import failures_of, notify
from nbflow.running.drive import Drive, sinks
from nbflow.running.findings import Findings
from nbflow.running.inspection import Inspection
from nbflow.running.replay import replayed
from nbflow.sketch.sketch import Sketch
from nbflow.values.tables import elements_to_frame, to_frame

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import pandas as pd

_last: Run | None = None
_HANDLERS_SECONDS = 30.0


class Run(Inspection):
    """One execution of a flow: its status, its steps, and every result.

    Made by ``flow.run()`` and ``flow.submit()``, and by `nbflow.load` in any later
    process. Results stay on the workers until they are asked for.

    Examples
    --------
    >>> from nbflow import step
    >>> run = (3 >> step(range) >> step(list)).run()  # doctest: +SKIP
    >>> run.result()  # doctest: +SKIP
    [0, 1, 2]
    >>> run["range"]  # doctest: +SKIP
    """

    def __init__(
        self,
        record: Record,
        params: Mapping[str, Any],
        *,
        flow: Flow,
        drive: Drive | None = None,
        archive: Archive | None = None,
        sketch: Sketch | None = None,
    ) -> None:
        self.flow = flow
        self.params = dict(params)
        self._record = record
        self._drive = drive
        self._archive = archive
        # Of a run that was loaded: what it takes to go on with it.
        self._sketch = sketch
        self._errors: dict[str, BaseException] = {}
        self._tracebacks: dict[int, TracebackType | None] = {}
        self._noted = False
        self._shown_in: str | None = None
        self._redriven: Run | None = None
        self._told = threading.Event()
        self._told.set()

    # How it is

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        return self._record.state

    @property
    def id(self) -> str:
        """What the run is called in history."""
        return self.state.run_id

    @property
    def name(self) -> str:
        """The name of the flow."""
        return self.state.name

    @property
    def status(self) -> Status:
        """How it is, as a word.

        ``pending``, ``running``, ``completed``, ``failed``, ``cancelled``,
        ``compensated`` or ``interrupted``; ended only when that is written down.
        """
        return self._record.status

    @property
    def events(self) -> list[Event]:
        """Everything that has happened so far, in the order in which it was heard."""
        with self._record.changed:
            return list(self._record.events)

    @property
    def steps(self) -> pd.DataFrame:
        """The table of steps, indexed by name, in topological order.

        Columns are ``status``, ``attempts``, ``started`` (a UTC time), ``seconds``,
        ``rows``, ``columns``, ``bytes``, ``worker`` and ``reason``.
        """
        return steps_table(self.state)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; tell whether it has come.

        Parameters
        ----------
        timeout
            How many seconds to wait at most. None waits as long as it takes.

        Raises
        ------
        FlowError
            If the time is no number of seconds.
        """
        if timeout is not None and finite_number(timeout) is None:
            raise FlowError(
                f"the timeout is {timeout!r}; it must be a finite number of seconds, or None"
            )
        return self._follow(timeout)

    def _follow(self, timeout: float | None) -> bool:
        """Wait for the end, also of a run that another process drives."""
        if self._drive is None and self.state.status is Status.PENDING:
            from nbflow.running.clock import begun

            deadline = None if timeout is None else time.monotonic() + timeout
            if not begun(self, timeout):
                return False
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if self._drive is not None or self._archive is None:
            return self._record.wait(timeout)
        from nbflow.running.following import followed

        return followed(self, timeout)

    # Results

    def result(self, timeout: float | None = None) -> Any:
        """Give the value of the flow, waiting for it.

        Raises
        ------
        RunTimeoutError
            If the run has not ended in time. It goes on.
        Exception
            The exception of the first step that failed.
        """
        __tracebackhide__ = True
        if not self.wait(timeout):
            raise RunTimeoutError(
                f"run {quoted(self.id)} has not ended within {timeout:g} s; it goes on: wait again "
                f"with .result(), or look at .steps"
            )
        self.raise_for_error()
        topology = self._topology
        values = self._findings.values(sinks(topology))

        def value_of(leaf: Any) -> Any:
            if isinstance(leaf, ParamRef):
                return self.params[leaf.name]
            return values[topology.index[id(leaf)]]

        value = resolve(topology.value, value_of)
        if type(value) is not Absent:
            return value
        if value.failed:
            raise RunError(
                f"the result of run {quoted(self.id)} is not there any more: {value.reason}"
            )
        return None

    def value(self, step: Any) -> Any:
        """Give the result of a step, or of one element such as ``parse[0]``.

        Raises
        ------
        UnknownStepError
            If there is no such step.
        RunError
            If the step has no value, because it failed, was skipped or was cancelled.
        """
        name, element = self._found(step)
        self._wait_for(name)
        state = self.state.steps[name]
        status, reason = state.status, reason_of(state)
        if element is not None:
            status, reason = element_of(state, element)
        if not status.succeeded:
            raise RunError(
                f"step {quoted(step)} has no value: it is {status}; {reason or 'look at run.steps'}"
            ) from self.error(step)
        position = self._topology.positions[name]
        if element is not None:
            return self._findings.element(position, element)
        return self._findings.values([position])[position]

    @property
    def _topology(self) -> Any:
        return self.flow.topology if self._drive is None else self._drive.topology

    @property
    def _findings(self) -> Findings:
        execution = None if self._drive is None else self._drive.execution
        return Findings(self._topology, self.state, execution, self._archive)

    @property
    def _trusted(self) -> bool:
        """Whether exceptions and inputs may be unpickled: nobody else has written them."""
        return self._drive is not None or self._archive is None or is_own_record(self._archive)

    def __getitem__(self, step: Any) -> pd.DataFrame:
        """Give the result of a step as a DataFrame."""
        name, element = self._found(step)
        value = self.value(step)
        if element is None and self.state.steps[name].mapped:
            return elements_to_frame(keys_of(self.state.steps[name]), value)
        return to_frame(value)

    def preview(self, step: Any) -> pd.DataFrame:
        """Give the first rows of a result, as they were when the step ended."""
        name, element = self._found(step)
        state = self.state.steps[name]
        if not state.mapped:
            return to_frame(None) if state.preview is None else state.preview.frame()
        looks = {number: look for part in state.elements for number, look in part.previews.items()}
        if element is not None:
            return looks[element].frame() if element in looks else to_frame(self.value(step))
        numbers, labels = sorted(looks), state.labels
        keys = [labels.get(number, number) for number in numbers]
        return elements_to_frame(keys, [looks[number].frame() for number in numbers])

    def error(self, step: Any) -> BaseException | None:
        """Give the exception with which a step failed, or None."""
        name, element = self._found(step)
        state = self.state.steps[name]
        record = state.error
        if element is not None:
            errors = {n: each for part in state.elements for n, each in part.errors.items()}
            record = errors.get(element)
        if record is None:
            return None
        key = name if element is None else f"{name}[{element}]"
        if key not in self._errors:
            error = self._errors[key] = revived(record if self._trusted else in_words(record))
            self._tracebacks[id(error)] = error.__traceback__
        return self._errors[key]

    def log(self, step: Any) -> str:
        """Give what a step printed, logged and warned, wherever it ran."""
        name, element = self._found(step)
        state = self.state.steps[name]
        if not state.mapped:
            return state.log
        logs = {n: text for part in state.elements for n, text in part.logs.items()}
        if element is not None:
            return logs.get(element, "")
        labels = state.labels
        return "".join(
            f"[{labels.get(number, number)}] {line}\n"
            for number in sorted(logs)
            for line in logs[number].splitlines()
        )

    # What to do about failures

    def cancel(self) -> None:
        """Let no other step begin, and ask those that run to stop.

        Running steps see it in ``nbflow.context().cancelled``. A run that waits for its
        time does not begin. What has finished stays readable. Of a run that has ended, or
        was cancelled before, nothing changes.
        """
        if self._drive is not None:
            self._drive.cancel()
            return
        if self.status is Status.PENDING:
            from nbflow.running.clock import cancel

            cancel(self)
            return
        if not self.status.final:
            raise RunError(
                f"run {quoted(self.id)} is driven by another process, and can be cancelled there"
            )

    @property
    def dead_letters(self) -> pd.DataFrame:
        """The elements that failed and were put aside by ``on_error="collect"``.

        Columns are ``step``, ``element``, ``input``, ``error`` and ``attempts``.
        """
        return letters_table(self.state, trusted=self._trusted)

    def redrive(self) -> Run:
        """Compute the elements that were put aside again, then what depends on them.

        Returns at once, like `submit`; everything else is reused. Asked for twice, it is
        done once.

        Raises
        ------
        RunError
            If nothing was put aside, or the run has not ended.
        """
        from nbflow.running.redriving import redrive

        return redrive(self)

    # Going on

    @property
    def can_be_resumed(self) -> bool:
        """Whether the run has stopped before its end, or ended in failure."""
        from nbflow.running.resuming import can_be_resumed

        return can_be_resumed(self)

    def plan_of_resume(
        self, flow: Flow | None = None, *, renamed: Mapping[str, str] | None = None
    ) -> pd.DataFrame:
        """Tell what `resume` would do: for each step a decision, and its reason.

        Parameters
        ----------
        flow, renamed
            As for `resume`.
        """
        from nbflow.running.resuming import plan_of_resume

        return plan_of_resume(self, flow, renamed)

    def resume(
        self,
        flow: Flow | None = None,
        *,
        cluster: Any = None,
        renamed: Mapping[str, str] | None = None,
        force: bool = False,
        checkpoint: bool | str | None = None,
    ) -> Run:
        """Go on with a run that has stopped, and return at once, like `submit`.

        Steps and elements that had ended well are reused, the others run. What is done
        with each is shown before it begins.

        Parameters
        ----------
        flow
            The flow as it is now. Of those steps that have changed, pure ones run again,
            and what follows them; what has an effect is not repeated. Without it, the
            code is that of the first time.
        cluster
            As for `submit`.
        renamed
            What steps are called now, by the names that they had.
        force
            Whether to take the run from a process that still drives it.
        checkpoint
            As for `submit`; None for what was said there.

        Raises
        ------
        RunError
            If it is running, has nothing left to do, or was rolled back.
        FlowError
            If the flow has other steps than the run.
        """
        from nbflow.running.resuming import resume

        return resume(
            self, flow, cluster=cluster, renamed=renamed or {}, force=force, checkpoint=checkpoint
        )

    def resolve(self, step: Any, **verdict: Any) -> Run:
        """Say what became of a step that is in doubt; then `resume` goes on.

        Parameters
        ----------
        step
            The step, or the element, such as ``charge[3]``.
        verdict
            One of ``completed=value``, ``retry=True`` and ``failed=True``.

        Raises
        ------
        RunError
            If the step is not in doubt.
        """
        from nbflow.running.resolving import resolve

        return resolve(self, step, verdict)

    def undo(self, *, cluster: Any = None) -> Run:
        """Undo what the run has done, by the ``compensate`` of its steps; return at once.

        Parameters
        ----------
        cluster
            As for `submit`.

        Raises
        ------
        RunError
            If the run has not ended, or nothing is there to undo.
        """
        from nbflow.running.resuming import undo

        return undo(self, cluster)

    def replay(self, step: Any) -> Any:
        """Compute a step or an element once more, in this process, with the same inputs.

        What it raises, it raises here: ``%debug`` then looks into the step. Of a mapped
        step without an element, the first one that failed is meant.

        Raises
        ------
        RunError
            If an input has no value.
        """
        __tracebackhide__ = True
        name, element = self._found(step)
        self._wait_for(name)
        if element is None and self.state.steps[name].mapped:
            element = first_failed(self.state.steps[name])
        topology, params = self._topology, self.params
        if self._drive is None and self._sketch is not None:
            topology, params = self._sketch.flow().topology, self._sketch.values()
        position = topology.positions[name]
        found = self._findings
        return replayed(topology, params, position, element, found.values, found.element)

    def watch(self) -> None:
        """Call the handlers of the flow when the run has failed."""
        if self.flow.handlers:
            self._told.clear()
            threading.Thread(target=self._tell, name="nbflow-on-error", daemon=True).start()

    def _tell(self) -> None:
        try:
            self.wait()
            # A run that was rolled back has failed too.
            failures = failures_of(self.state)
            if failures and self.status in (Status.FAILED, Status.COMPENSATED):
                notify(self.flow.handlers, failures)
        finally:
            self._told.set()

    def wait_for_handlers(self) -> None:
        """Wait until the handlers of a failed run have been called, but not for ever."""
        self._told.wait(_HANDLERS_SECONDS)

    def raise_for_error(self) -> None:
        """Raise the exception of the first step that failed, if one did.

        Raises
        ------
        Exception
            The user's own, with a note that names the step, the run and the worker.
        RunError
            If the run was cancelled, or ended without telling why.
        """
        __tracebackhide__ = True
        state = self.state
        if self._record.error is not None:
            raise self._record.error
        if state.status in (Status.RUNNING, Status.PENDING, Status.COMPLETED):
            return
        if state.status is Status.CANCELLED:
            raise RunCancelledError(_cancelled(state))
        if state.status is Status.INTERRUPTED:
            raise RunError(f"run {quoted(self.id)} is interrupted: {state.reason}")
        failed = [each for each in state.steps.values() if each.status is Status.FAILED]
        failed.sort(key=lambda each: each.ended or 0.0)
        error = self.error(failed[0].name) if failed else None
        if error is None:
            raise RunError(f"run {quoted(self.id)} is {state.status}: {why(state)}")
        if not self._noted:
            self._noted = True
            error.add_note(note_of(state, failed))
        # Each raise would otherwise add our frames to those of the raise before.
        raise error.with_traceback(self._tracebacks[id(error)])

    # Which step is meant

    def _found(self, step: Any) -> tuple[str, int | None]:
        return addressed(step, self._topology, self.state)

    def _wait_for(self, name: str) -> None:
        record = self._record
        if self._drive is None:
            return
        with record.changed:
            record.changed.wait_for(lambda: record.settled or record.state.steps[name].status.final)

    # What it looks like

    def save(self, path: str | os.PathLike[str], **options: Any) -> Path:
        """Write the drawing of the run, or with ``.html`` its report, and give the path.

        Parameters
        ----------
        path
            The file; what is written says its ending: ``.svg``, ``.png``, ``.pdf``,
            ``.html``, ``.dot`` or ``.mmd`` (Mermaid).
        options
            As for ``flow.show()``.

        Raises
        ------
        FlowError
            If it ends otherwise, or cannot be written.
        """
        from nbflow.notebook.saving import saved

        return saved(path, self.flow, self.state, **options)

    def panel(self) -> Any:
        """Show the run in a panel, live while it goes on, in which each step can be looked at.

        Examples
        --------
        >>> from nbflow import last_run
        >>> last_run().panel()  # doctest: +SKIP
        """
        from nbflow.notebook.live import PanelOf

        return PanelOf(self)

    def __repr__(self) -> str:
        said = f"{self.status}, {len(self.state.steps)} steps"
        if is_deterministic():
            return f"Run({self.name!r}, {said})"
        due = self.state.begins
        if self.status is Status.PENDING and due is not None:
            said += f", {begins(due, time.time())}"
        return f"Run({self.name!r}, id={self.id!r}, {said})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from nbflow.notebook.report import report
        from nbflow.notebook.watching import place

        if self._shown_in is not None and self._shown_in == place():
            # The cell has shown it already.
            return {"text/plain": repr(self)}
        return report(self.flow, self.state).mimebundle()


def _cancelled(state: RunState) -> str:
    reasons = {each.reason for each in state.steps.values() if each.status is Status.CANCELLED}
    done = sum(each.status.succeeded for each in state.steps.values())
    return (
        f"run {quoted(state.run_id)} is cancelled: {'; '.join(sorted(reasons))}; the results of "
        f"{done} finished steps can still be read"
    )


_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4,8}")


def is_run_id(text: str) -> bool:
    """Tell whether a text has the form of what runs are called.

    Examples
    --------
    >>> is_run_id(new_run_id()), is_run_id("20261121-3")
    (True, False)
    """
    return _ID.fullmatch(text) is not None


def new_run_id() -> str:
    """Make up what a run is called."""
    return time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:8]


def remember(run: Run) -> None:
    """Take note of the run that was started last in this process."""
    global _last  # noqa: PLW0603 - the last run of the kernel
    _last = run


def last_run() -> Run:
    """Give the run that was started last in this process.

    Raises
    ------
    RunError
        If none was started.
    """
    if _last is None:
        raise RunError("no flow was run in this process yet; start one with flow.run()")
    return _last
