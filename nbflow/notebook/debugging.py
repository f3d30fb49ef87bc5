"""A step that failed, once more, here, and the debugger where it failed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from IPython import get_ipython
from IPython.core.error import StdinNotImplementedError

from nbflow import errors
from nbflow.errors import NbflowError, RunError, quoted
from nbflow.notebook.wording import printable
from nbflow.record.events import Status
from nbflow.record.summary import first_failed
from nbflow.running.run import Run
from nbflow.values.outline import outline

_OURS = str(Path(errors.__file__).parent)


def post_mortem(run: Run, step: str | None = None) -> None:
    """Compute a step or an element once more with the inputs it had, and debug its failure.

    This is what ``%debug`` does after an exception, except that the exception is raised
    here first: the frames of a worker cannot be looked into.

    Parameters
    ----------
    run, step
        Which step of which run; the one that failed first if left out.

    Raises
    ------
    RunError
        If no step has failed, or an input is not there any more.

    Examples
    --------
    >>> post_mortem(nbflow.last_run(), "parse[3]")  # doctest: +SKIP
    """
    chosen = culprit(run) if step is None else step
    print(f"{printable(chosen)} is computed once more, here, with the inputs it had")
    try:
        value = run.replay(chosen)
    except NbflowError as error:
        if not _is_of_user(error):
            raise
        _debug(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the step raises
        _debug(error)
    else:
        print(f"{printable(chosen)} did not fail this time; it gave {outline(value)}")


def culprit(run: Run) -> str:
    """Name the step, or the element, that failed first.

    Raises
    ------
    RunError
        If none has.
    """
    failed = [each for each in run.state.steps.values() if each.status is Status.FAILED]
    failed.sort(key=lambda each: each.ended or 0.0)
    # What was put aside has failed too.
    aside = [each for each in run.state.steps.values() if each.collected]
    for state in [*failed, *aside]:
        return state.called(first_failed(state))
    raise RunError(
        f"no step of run {quoted(run.id)} has failed, it is {run.status}; to look into one all the "
        f"same, name it: %flow debug STEP"
    )


def _is_of_user(error: BaseException) -> bool:
    """Tell whether an exception was raised by a step, and not by us on the way to it."""
    return _first_of_user(error.__traceback__) is not None


def _first_of_user(start: TracebackType | None) -> TracebackType | None:
    """Skip the frames that lead to the step: the caller's own, and ours."""
    inside = False
    while start is not None:
        ours = start.tb_frame.f_code.co_filename.startswith(_OURS)
        if inside and not ours:
            return start
        inside = inside or ours
        start = start.tb_next
    return None


def _debug(error: BaseException) -> None:
    start = _first_of_user(error.__traceback__) or error.__traceback__
    error = error.with_traceback(start)
    # As after an exception of a cell, so that %debug and %tb go on with it.
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, start
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    shell = get_ipython()
    print(f"{type(error).__name__}: {printable(str(error), 300)}; q leaves the debugger")
    try:
        shell.debugger(force=True)
    except StdinNotImplementedError:
        print("this notebook cannot ask for input, so there is no debugger; %tb shows where it was")
