"""The magic ``%flow``, and ``%nbflow``, the same under a name that cannot clash."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, needs_local_scope
from IPython.display import display

from nbflow.deterministic import is_deterministic
from nbflow.drive import Drive
from nbflow.errors import NbflowError, did_you_mean, quoted
from nbflow.events import Status
from nbflow.flow import Composable, Flow
from nbflow.history import held
from nbflow.launch import wait_for_end
from nbflow.notebook.arguments import (
    Help,
    LineParser,
    drawing_options,
    parser,
)
from nbflow.notebook.commands import COMMANDS, MAGIC_NAMES
from nbflow.notebook.completion import flow_matcher
from nbflow.notebook.telling import retrying
from nbflow.run import Run, last_run


@magics_class
class FlowMagics(Magics):
    """The commands behind ``%flow``."""

    @needs_local_scope
    @line_magic("flow")  # type: ignore[arg-type]
    def flow(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run and look at flows; ``%flow --help`` tells more."""
        __tracebackhide__ = True
        return self._answered(line, local_ns)

    @needs_local_scope
    @line_magic("nbflow")  # type: ignore[arg-type]
    def nbflow(self, line: str, local_ns: Mapping[str, Any] | None = None) -> Any:
        """Run and look at flows; the same as ``%flow``."""
        __tracebackhide__ = True
        return self._answered(line, local_ns)

    def _answered(self, line: str, local_ns: Mapping[str, Any] | None) -> Any:
        __tracebackhide__ = True
        assert self.shell is not None
        names = {**self.shell.user_ns, **(local_ns or {})}
        try:
            given = _parser().parse_args(_split(line) or ["--help"])
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
        inputs = [_value_of(text, names) for text in given.inputs]
        started = flow.submit(*inputs, params=dict(given.param), cluster=given.cluster)
        return _ended(started, given)

    def _show(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        found = _named(given.flow, names, (Composable, Run), "flow")
        if isinstance(found, Run):
            return found
        return found._flow().show(**drawing_options(given))

    def _steps(self, given: argparse.Namespace, names: Mapping[str, Any]) -> Any:
        run = _run_named(given.run, names)
        state, table = run.state, run.steps
        for step in state.steps.values():
            if step.status is Status.RETRYING:
                said = [step.reason, *retrying(step, deterministic=is_deterministic())[1:]]
                table.loc[step.name, "reason"] = ", ".join(said)
        return table

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
        from nbflow.tables import to_frame

        run = _run_named(given.run, names)
        return to_frame(run.result()) if given.step is None else run[given.step]

    def _connect(self, given: argparse.Namespace, names: Mapping[str, Any]) -> None:
        from nbflow.cluster import connect, slots_of

        options = {"n_workers": given.workers, "threads_per_worker": given.threads}
        address = names.get(given.address, given.address) if given.address else None
        client = connect(address, **{name: each for name, each in options.items() if each})
        workers = len(client.nthreads())
        print(f"connected to {workers} workers with {len(slots_of(client))} threads")


def _parser() -> LineParser:
    return parser("%flow", COMMANDS)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"%flow: {error}; quotes come in pairs") from None


def _named(text: str, names: Mapping[str, Any], kinds: tuple[type, ...], what: str) -> Any:
    try:
        found = eval(text, dict(names))  # noqa: S307 - the user's own expression, in the user's kernel
    except Exception:  # noqa: BLE001 - whatever it is, the line names nothing
        found = None
    if isinstance(found, kinds):
        return found
    known = sorted(name for name, each in names.items() if _shown(name, each, kinds))
    kind = "is not defined" if found is None else f"is a {type(found).__name__}, not a {what}"
    raise UsageError(f"%flow: {quoted(text)} {kind}; {did_you_mean(text, known)}")


def _shown(name: str, value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not name.startswith("_")


def _flow_named(text: str, names: Mapping[str, Any]) -> Flow:
    found: Composable = _named(text, names, (Composable,), "flow")
    flow = found._flow()
    # A flow without a name of its own is called what the user calls it.
    return flow if flow.label is not None or not text.isidentifier() else flow.named(text)


def _run_named(text: str | None, names: Mapping[str, Any]) -> Run:
    if text is None:
        return last_run()
    drive = Drive.living.get(text)
    if drive is not None:
        # Whoever was interrupted while waiting has no name for the run, only its id.
        return held(drive)
    run: Run = _named(text, names, (Run,), "run")
    return run


def _ended(started: Run, given: argparse.Namespace) -> Run:
    __tracebackhide__ = True
    if given.no_wait:
        return started
    wait_for_end(started)
    started.wait_for_handlers()
    if not given.no_raise and started.status != "completed":
        display(started)
        started.raise_for_error()
    return started


def _value_of(text: str, names: Mapping[str, Any]) -> Any:
    try:
        return eval(text, dict(names))  # noqa: S307 - the user's own expression, in the user's kernel
    except Exception:  # noqa: BLE001 - what is no expression is text
        return text


def load(shell: Any) -> None:
    """Register the magics and their completion in a shell."""
    magics = FlowMagics(shell)
    theirs = shell.find_line_magic("flow")
    if theirs is not None and type(getattr(theirs, "__self__", None)).__name__ != "FlowMagics":
        print("%flow belongs to another extension here; nbflow is %nbflow")
        shell.register_magic_function(magics.nbflow, "line", "nbflow")
    else:
        shell.register_magics(magics)
    _forget(shell)
    shell.Completer.custom_matchers.append(flow_matcher)


def unload(shell: Any) -> None:
    """Take the magics and their completion from a shell."""
    for name in MAGIC_NAMES:
        magic = shell.magics_manager.magics["line"].get(name)
        if type(getattr(magic, "__self__", None)).__name__ == "FlowMagics":
            del shell.magics_manager.magics["line"][name]
    _forget(shell)


def _forget(shell: Any) -> None:
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != "nbflow"]
