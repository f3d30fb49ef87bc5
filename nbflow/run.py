"""Runs: what a user holds while a flow is computed, and afterwards."""

from __future__ import annotations

import threading
import time
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any

from nbflow.absence import Absent
from nbflow.address import addressed
from nbflow.callbacks import failures_of, notify
from nbflow.deterministic import is_deterministic
from nbflow.engine import Execution
from nbflow.errors import FlowError, RunCancelledError, RunError, RunTimeoutError, quoted
from nbflow.events import Event, Status
from nbflow.expression import ParamRef, nodes_in
from nbflow.failure import revived
from nbflow.flow import Flow
from nbflow.inputs import resolve
from nbflow.replay import replayed
from nbflow.retry import finite_number
from nbflow.state import RunState
from nbflow.summary import (
    dead_of,
    element_of,
    first_failed,
    keys_of,
    letters_table,
    note_of,
    reason_of,
    steps_table,
)
from nbflow.tables import elements_to_frame, to_frame

if TYPE_CHECKING:
    import pandas as pd

_last: Run | None = None
_HANDLERS_SECONDS = 30.0


class Run:
    """One execution of a flow: its status, its steps, and every result.

    Made by ``flow.run()`` and ``flow.submit()``. Results stay on the workers until
    they are asked for.

    Examples
    --------
    >>> from nbflow import step
    >>> run = (3 >> step(range) >> step(list)).run()  # doctest: +SKIP
    >>> run.result()  # doctest: +SKIP
    [0, 1, 2]
    >>> run["range"]  # doctest: +SKIP
    """

    def __init__(self, flow: Flow, execution: Execution, params: dict[str, Any]) -> None:
        self.flow = flow
        self.params = params
        self._execution = execution
        self._errors: dict[str, BaseException] = {}
        self._tracebacks: dict[int, TracebackType | None] = {}
        self._noted = False
        self._told = threading.Event()
        self._told.set()

    # How it is

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        return self._execution.state

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
        """One of ``running``, ``completed``, ``failed``, ``cancelled``."""
        return self.state.status

    @property
    def events(self) -> list[Event]:
        """Everything that has happened so far, in the order in which it was heard."""
        with self._execution.changed:
            return list(self._execution.events)

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
        return self._execution.wait(timeout)

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
        topology = self._execution.topology
        positions = sorted({topology.index[id(node)] for node in nodes_in(topology.value)})
        values = self._execution.values(positions)

        def value_of(leaf: Any) -> Any:
            if isinstance(leaf, ParamRef):
                return self.params[leaf.name]
            return values[topology.index[id(leaf)]]

        value = resolve(topology.value, value_of)
        return None if type(value) is Absent else value

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
        position = self._execution.topology.positions[name]
        if element is not None:
            return self._execution.element(position, element)
        return self._execution.values([position])[position]

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
        numbers = sorted(looks)
        return elements_to_frame(numbers, [looks[number].frame() for number in numbers])

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
            error = self._errors[key] = revived(record)
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
        return "".join(
            f"[{number}] {line}\n" for number in sorted(logs) for line in logs[number].splitlines()
        )

    # What to do about failures

    def cancel(self) -> None:
        """Let no other step begin, and ask those that run to stop.

        Running steps see it in ``nbflow.context().cancelled``. What has finished stays
        readable. Of a run that has ended, or was cancelled before, nothing changes.
        """
        self._execution.cancel()

    @property
    def dead_letters(self) -> pd.DataFrame:
        """The elements that failed and were put aside by ``on_error="collect"``.

        Columns are ``step``, ``element``, ``input``, ``error`` and ``attempts``.
        """
        return letters_table(self.state)

    def redrive(self) -> Run:
        """Compute the elements that were put aside again, then what depends on them.

        Returns at once, like `submit`; everything else is reused.

        Raises
        ------
        RunError
            If nothing was put aside, or the run has not ended.
        """
        if not self.status.final:
            raise RunError(f"run {quoted(self.id)} is {self.status}; wait for its end first")
        positions = self._execution.topology.positions
        dead = {positions[name]: numbers for name, numbers in dead_of(self.state).items()}
        if not dead:
            raise RunError(
                f"run {quoted(self.id)} has no dead letters, so there is nothing to redrive; "
                f'they come from .map(on_error="collect")'
            )
        return begun(self.flow, self._execution.redriven(dead, new_run_id()), self.params)

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
        execution = self._execution
        if element is None and self.state.steps[name].mapped:
            element = first_failed(self.state.steps[name])
        return replayed(
            execution.topology,
            self.params,
            execution.topology.positions[name],
            element,
            execution.values,
            execution.element,
        )

    def watch(self) -> None:
        """Call the handlers of the flow when the run has failed."""
        if self.flow.handlers:
            self._told.clear()
            threading.Thread(target=self._tell, name="nbflow-on-error", daemon=True).start()

    def _tell(self) -> None:
        try:
            self.wait()
            if self.status is Status.FAILED:
                notify(self.flow.handlers, failures_of(self.state))
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
        if state.status in (Status.RUNNING, Status.PENDING, Status.COMPLETED):
            return
        if state.status is Status.CANCELLED:
            raise RunCancelledError(_cancelled(state))
        failed = [each for each in state.steps.values() if each.status is Status.FAILED]
        failed.sort(key=lambda each: each.ended or 0.0)
        error = self.error(failed[0].name) if failed else None
        if error is None:
            reasons = {each.reason for each in state.steps.values() if each.reason}
            raise RunError(f"run {quoted(self.id)} is {state.status}: {'; '.join(sorted(reasons))}")
        if not self._noted:
            self._noted = True
            error.add_note(note_of(self.id, failed))
        # Each raise would otherwise add our frames to those of the raise before.
        raise error.with_traceback(self._tracebacks[id(error)])

    # Which step is meant

    def _found(self, step: Any) -> tuple[str, int | None]:
        return addressed(step, self._execution.topology, self.state)

    def _wait_for(self, name: str) -> None:
        execution = self._execution
        with execution.changed:
            execution.changed.wait_for(
                lambda: execution.state.status.final or execution.state.steps[name].status.final
            )

    # What it looks like

    def __repr__(self) -> str:
        if is_deterministic():
            return f"Run({self.name!r}, {self.status}, {len(self.state.steps)} steps)"
        return f"Run({self.name!r}, id={self.id!r}, {self.status}, {len(self.state.steps)} steps)"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from nbflow.notebook.report import report

        return report(self.flow, self.state).mimebundle()


def _cancelled(state: RunState) -> str:
    reasons = {each.reason for each in state.steps.values() if each.status is Status.CANCELLED}
    done = sum(each.status.succeeded for each in state.steps.values())
    return (
        f"run {quoted(state.run_id)} is cancelled: {'; '.join(sorted(reasons))}; the results of "
        f"{done} finished steps can still be read"
    )


def new_run_id() -> str:
    """Make up what a run is called."""
    return time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:4]


def begun(flow: Flow, execution: Execution, params: dict[str, Any]) -> Run:
    """Start an execution, and remember its run as the last one of this process.

    Parameters
    ----------
    flow, params
        What is run.
    execution
        How it is run.

    Raises
    ------
    TransferError
        If something in it cannot be sent to the workers.
    """
    global _last  # noqa: PLW0603 - the last run of the kernel
    execution.start()
    _last = Run(flow, execution, params)
    _last.watch()
    return _last


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
