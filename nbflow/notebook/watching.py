"""Whether a run is shown to whoever waits for it, and how.

In a notebook with a page in front of it a run is shown live, and so it is at the prompt of
IPython in a terminal. Where a notebook is executed by a program, and for tests, its report is
shown once, at the end: these outputs are the same.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nbflow.deterministic import is_deterministic
from nbflow.errors import FlowError

if TYPE_CHECKING:
    from nbflow.running.run import Run

CHOICES: Final = ("auto", "static", "live", None)
VARIABLE: Final = "NBFLOW_DISPLAY"
# What is over sooner is shown when it is over.
_PATIENCE_SECONDS: Final = 0.3
# Set for kernels by Jupyter's server, VS Code and Colab: programs that execute notebooks set none.
_FRONT_ENDS: Final = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")
# Of one cell no more runs are shown than these.
_MOST_OF_CELL: Final = 10
_of_cell: dict[str, int] = {}


@contextmanager
def watched(run: Run, choice: str | None) -> Iterator[None]:
    """Show a run while somebody waits for it.

    Parameters
    ----------
    run
        The run, which goes on already.
    choice
        ``"live"``, ``"static"``, None for not at all, or ``"auto"``.
    """
    mode = chosen(choice)
    if mode is None or not _has_room(run):
        yield
        return
    if mode == "terminal":
        with _in_terminal(run):
            yield
        return
    from IPython.display import display

    from nbflow.notebook.live import Live, framed, show_later, takes_long

    live = None
    if mode == "live" and not run.wait(_PATIENCE_SECONDS):
        live = Live(run)
        live.start()
    try:
        yield
    finally:
        run._shown_in = place()
        if live is not None:
            live.finish(later=has_page())
        elif run.status.final and mode == "live" and has_page() and takes_long(run):
            show_later(run)
        elif run.status.final:
            display(framed(run))


@contextmanager
def _in_terminal(run: Run) -> Iterator[None]:
    from nbflow.notebook.terminal import Terminal

    shown = Terminal(run, sys.stdout)
    if not run.wait(_PATIENCE_SECONDS):
        shown.start()
    try:
        yield
    finally:
        if run.status.final:
            run._shown_in = place()
        shown.finish()


def chosen(choice: str | None) -> str | None:
    """Say how a run is shown: live or static in a notebook, or in a terminal; None for not at all.

    Raises
    ------
    FlowError
        If there is no such choice.
    """
    if choice not in CHOICES:
        raise FlowError(f"display is {choice!r}; it must be 'live', 'static', 'auto' or None")
    if choice != "auto":
        return choice if cell() is not None else _terminal(asked=choice == "live")
    if threading.current_thread() is not threading.main_thread():
        return None
    said = os.environ.get(VARIABLE, "").strip().lower()
    if cell() is None:
        asked = said == "live" or (not said and prompt() is not None and not is_deterministic())
        return _terminal(asked=asked)
    if said in ("static", "live"):
        return said
    if said in ("none", "off", "0"):
        return None
    return "live" if has_page() and not is_deterministic() else "static"


def has_page() -> bool:
    """Tell whether a page shows what this kernel gives, rather than a program that ends with it."""
    return any(os.environ.get(each) for each in _FRONT_ENDS)


def cell() -> str | None:
    """Name the execution of a cell that goes on; None outside of notebooks."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython import get_ipython

    shell: Any = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    # Programs that execute notebooks need not count cells.
    return str(shell.get_parent().get("header", {}).get("msg_id", shell.execution_count))


def prompt() -> str | None:
    """Name what is executed at a prompt of IPython in a terminal; None elsewhere."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell: Any = get_ipython()
    if shell is None or hasattr(shell, "kernel"):
        return None
    return f"In [{shell.execution_count}]"


def place() -> str | None:
    """Name the cell, or the prompt, that is executed; None elsewhere."""
    return cell() or prompt()


def _terminal(*, asked: bool) -> str | None:
    from nbflow.notebook.terminal import can_draw

    return "terminal" if asked and can_draw(sys.stdout) else None


def _has_room(run: Run) -> bool:
    """Count the runs that a cell shows, and say when there are too many."""
    number = place()
    if number is None:
        return True
    count = _of_cell[number] = _of_cell.pop(number, 0) + 1
    for old in [each for each in _of_cell if each != number]:
        del _of_cell[old]
    if count == _MOST_OF_CELL + 1:
        print(  # noqa: T201 - said to whoever reads the cell
            f"run {run.id} and those after it are not shown here; nbflow.runs() lists them"
        )
    return count <= _MOST_OF_CELL
