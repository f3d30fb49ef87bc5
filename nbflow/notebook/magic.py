"""The magic ``%flow``, and ``%nbflow``, the same under a name that cannot clash."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import (
    Magics,
    line_cell_magic,
    magics_class,
    needs_local_scope,
    no_var_expand,
)
from IPython.display import display

from nbflow.algebra.flow import Composable, Flow
from nbflow.deterministic import is_deterministic
from nbflow.errors import NbflowError, RunError, quoted
from nbflow.notebook import inspecting, records
from nbflow.notebook import line as lines
from nbflow.notebook.arguments import (
    Help,
    LineParser,
    checkpoint_of,
    drawing_options,
    parser,
    renamed_of,
)
from nbflow.notebook.cellstep import step_of_cell
from nbflow.notebook.commands import COMMANDS, MAGIC_NAMES
from nbflow.notebook.completion import flow_matcher
from nbflow.notebook.telling import begin, retrying
from nbflow.notebook.watching import watched
from nbflow.notebook.wording import listed
from nbflow.record.events import Status
from nbflow.running import history
from nbflow.running.drive import Drive
from nbflow.running.interrupts import held_back
from nbflow.running.launch import wait_for_end
from nbflow.running.run import Run, last_run


@magics_class
class FlowMagics(Magics):
    """The commands behind ``%flow``."""

    @needs_local_scope
    @no_var_expand
    @line_cell_magic("flow")  # type: ignore[arg-type]
    def flow(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Any:
        """Run and look at flows; ``%flow --help`` tells more."""
        __tracebackhide__ = True
        return self._answered(line, local_ns, cell)

    @needs_local_scope
    @no_var_expand
    @line_cell_magic("nbflow")  # type: ignore[arg-type]
    def nbflow(
        self, line: str, cell: str | None = None, local_ns: Mapping[str, Any] | None = None
    ) -> Any:
        """Run and look at flows; the same as ``%flow``."""
        __tracebackhide__ = True
        return self._answered(line, local_ns, cell)

    def _answered(
        self, line: str, local_ns: Mapping[str, Any] | None, cell: str | None = None
    ) -> Any:
        __tracebackhide__ = True
        assert self.shell is not None
        names = {**self.shell.user_ns, **(local_ns or {})}
        try:
            given = _parser().parse_args(lines.split(line, names) or ["--help"])
            if (cell is not None) != (given.command == "step"):
                raise _misplaced(given.command)
            if cell is not None:
                return step_of_cell(self.shell, f"%%flow {line}", cell, given, names)
            if given.command in inspecting.COMMANDS:
                find = partial(_run_named, names=names, store=given.store)
                return inspecting.COMMANDS[given.command](find(given.run), given, find)
            command: Callable[..., Any] = getattr(self, f"_{given.command}")
            return command(given, names)
        except Help as text:
            print(str(text).strip())
            return None
        except NbflowError as error:
            if getattr(error, "__notes__", None):
                raise  # a step raised it, and its traceback is wanted
            raise UsageError(str(error)) from None

    def _run(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Run:
        __tracebackhide__ = True
        flow = _flow_named(given.flow, names)
        inputs = [lines.value_or_text(text, names) for text in given.inputs]
        policy = checkpoint_of(given)
        with held_back():
            started = flow.submit(
                *inputs,
                params=dict(given.param),
                cluster=given.cluster,
                store=given.store,
                key=given.key,
                checkpoint="auto" if policy is None else policy,
            )
            return _ended(started, given)

    def _runs(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        del names
        return records.table(given.store)

    def _load(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Run:
        del names
        return history.load(given.run, given.store)

    def _resume(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Run:
        __tracebackhide__ = True
        run = _run_named(given.run, names, given.store)
        flow = None if given.flow is None else _flow_named(given.flow, names)
        renamed = renamed_of(given, run.state.steps, None if flow is None else flow.steps)
        with held_back():
            resumed = run.resume(
                flow,
                cluster=given.cluster,
                renamed=renamed,
                force=given.force,
                checkpoint=checkpoint_of(given),
            )
            return _ended(resumed, given)

    def _undo(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Run:
        done = _run_named(given.run, names, given.store)
        with held_back():
            undone = done.undo(cluster=given.cluster)
            if given.no_wait:
                return undone
            wait_for_end(undone)
        if undone.status != Status.COMPENSATED and not given.no_raise:
            display(undone)
            raise RunError(
                f"run {quoted(undone.id)} is not undone: {undone.state.reason}; %flow undo tries "
                f"again"
            )
        return undone

    def _resolve(self, given: argparse.Namespace, names: Mapping[str, Any]) -> None:
        run = _run_named(given.run, names, given.store)
        if given.completed is not None:
            run.resolve(given.step, completed=lines.value_of(given.completed, names))
            said = "counts as completed"
        elif given.retry:
            run.resolve(given.step, retry=True)
            said = "will be tried again"
        else:
            run.resolve(given.step, failed=True)
            said = "counts as failed"
        left = [each for step in run.state.steps.values() for each, _ in step.in_doubt]
        further = f"go on with %flow resume {given.run}"
        if left:
            further = f"still in doubt: {listed(left)}"
        print(f"{given.step} {said}; {further}")

    def _show(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        found = lines.named(given.flow, names, (Composable, Run), "flow")
        if isinstance(found, Run):
            return found
        return found._flow().show(**drawing_options(given))

    def _steps(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        run = _run_named(given.run, names)
        state, table = run.state, run.steps
        deterministic = is_deterministic()
        for step in state.steps.values():
            if step.status is Status.RETRYING:
                said = [step.reason, *retrying(step, deterministic=deterministic)[1:]]
                table.loc[step.name, "reason"] = ", ".join(said)
            waits = begin(step, deterministic=deterministic)
            if waits:
                table.loc[step.name, "reason"] = waits
        started = table["started"] if deterministic else records.on_the_wall(table["started"])
        return table.assign(started=started, seconds=table["seconds"].round(3))

    def _status(self, given: argparse.Namespace, names: Mapping[str, Any]) -> None:
        from nbflow.notebook.text import tree

        run = _run_named(given.run, names)
        print(tree(run.flow, run.state, deterministic=is_deterministic()))

    def _cancel(self, given: argparse.Namespace, names: Mapping[str, Any]) -> None:
        run = _run_named(given.run, names)
        if run.status.final:
            raise UsageError(
                f"%flow: run {quoted(run.id)} is {run.status}, so there is nothing to cancel"
            )
        run.cancel()
        print(f"{run.name} was told to stop; what has finished can still be read")

    def _redrive(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Run:
        __tracebackhide__ = True
        return _ended(_run_named(given.run, names).redrive(), given)

    def _replay(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        __tracebackhide__ = True
        return _run_named(given.run, names).replay(given.step)

    def _result(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        from nbflow.values.tables import to_frame

        run = _run_named(given.run, names)
        return to_frame(run.result()) if given.step is None else run[given.step]

    def _connect(self, given: argparse.Namespace, names: Mapping[str, Any]) -> None:
        from nbflow.running.cluster import connect, slots_of

        options = {"n_workers": given.workers, "threads_per_worker": given.threads}
        address = names.get(given.address, given.address) if given.address else None
        client = connect(address, **{name: each for name, each in options.items() if each})
        workers = len(client.nthreads())
        print(f"connected to {workers} workers with {len(slots_of(client))} threads")


def _misplaced(command: str) -> UsageError:
    if command == "step":
        return UsageError(
            "%%flow: step makes a step of the rest of its cell; write it as the first line of the "
            "cell, with two percent signs: %%flow step NAME"
        )
    return UsageError(
        f"%%flow: {command} takes no cell; expected is %flow {command}, with one percent sign, or "
        f"%%flow step NAME"
    )


def _parser() -> LineParser:
    return parser("%flow", COMMANDS)


def _flow_named(text: str, names: Mapping[str, Any]) -> Flow:
    found: Composable = lines.named(text, names, (Composable,), "flow")
    flow = found._flow()
    # A flow without a name of its own is called what the user calls it.
    return flow if flow.label is not None or not text.isidentifier() else flow.named(text)


def _run_named(text: str | None, names: Mapping[str, Any], store: Any = None) -> Run:
    if text is None:
        return last_run()
    drive = Drive.living.get(text)
    if drive is not None:
        # Whoever was interrupted while waiting has no name for the run, only its id.
        return history.held(drive)
    if records.is_id(text) or store is not None:
        return history.load(text, store)
    run: Run = lines.named(text, names, (Run,), "run")
    return run


def _ended(started: Run, given: argparse.Namespace) -> Run:
    __tracebackhide__ = True
    if given.no_wait:
        return started
    with watched(started, "auto"):
        wait_for_end(started)
    if not given.no_raise and started.status != "completed":
        if started._shown_in is None:
            display(started)
        started.raise_for_error()
    return started


def load(shell: Any) -> None:
    """Register the magics and their completion in a shell."""
    magics = FlowMagics(shell)
    theirs = shell.find_line_magic("flow")
    if theirs is not None and type(getattr(theirs, "__self__", None)).__name__ != "FlowMagics":
        print("%flow belongs to another extension here; nbflow is %nbflow")
        shell.register_magic_function(magics.nbflow, "line_cell", "nbflow")
    else:
        shell.register_magics(magics)
    _forget(shell)
    shell.Completer.custom_matchers.append(flow_matcher)


def unload(shell: Any) -> None:
    """Take the magics and their completion from a shell."""
    for kind, name in product(("line", "cell"), MAGIC_NAMES):
        magic = shell.magics_manager.magics[kind].get(name)
        if type(getattr(magic, "__self__", None)).__name__ == "FlowMagics":
            del shell.magics_manager.magics[kind][name]
    _forget(shell)


def _forget(shell: Any) -> None:
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != "nbflow"]
