"""Shows a run while it goes on, and leaves a report in the notebook that stays.

The notebook only ever holds the report, which needs neither a kernel nor trust. While the
run goes on it is written anew now and then, so that saving is safe at any moment; the panel
takes its place on the page, several times a second, and is not saved at all.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from IPython.display import display

from nbflow.notebook.glance import Glance
from nbflow.notebook.html import Markup, element
from nbflow.notebook.report import report
from nbflow.notebook.steptable import sheet
from nbflow.notebook.wording import counted, size
from nbflow.running.history import seconds_before
from nbflow.running.workforce import workforce

if TYPE_CHECKING:
    from nbflow.running.run import Run

TICK: Final = 0.1
# How often the report is written anew, without and with a panel in its place; and of what the
# time it takes may at most be this part.
_REPORT_SECONDS: Final = (2.0, 10.0)
_REPORT_SHARE: Final = 0.02
_WORKERS_SECONDS: Final = 2.0
# What making the sheets of steps may take of each tick.
_SHEETS_SECONDS: Final = 0.003
# The report of more steps takes a while to write. Whoever has waited for the run goes on first.
_LONG_STEPS: Final = 100
_AFTER_SECONDS: Final = 0.02
_numbers = count(1)


class Live:
    """One run that is shown, until it has ended.

    Parameters
    ----------
    run
        The run.
    panel
        Whether the browser shows a panel in place of the report.
    """

    def __init__(self, run: Run, *, panel: bool = True) -> None:
        self.run = run
        self.glance: Glance | None = None
        self._panel: Any = None
        self._has_panel = False
        self._reported = time.monotonic()
        self._took = 0.0
        self._asked_at = -_WORKERS_SECONDS
        # Each place has a panel of its own: a run may be shown twice, or go on another time.
        self._place = f"{run.id}.{next(_numbers)}"
        self._shown = display(framed(run, self._place), display_id=True)
        if panel:
            self._open()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="nbflow-live", daemon=True)

    def start(self) -> None:
        """Follow the run from now on."""
        self._thread.start()

    def finish(self, *, later: bool = False) -> None:
        """Wait until the end of the run is shown, if the run has ended.

        Parameters
        ----------
        later
            Whether it may be shown while the next cell runs, if that takes long.
        """
        if self.run.status.final and not (later and takes_long(self.run)):
            self._ended.wait(timeout=10.0)

    def _open(self) -> None:
        # Where the widget cannot be made, the report is all there is.
        with suppress(Exception):
            from nbflow.notebook.panel import Panel

            run = self.run
            self.glance = Glance(run.flow, run.state, seconds_before(run), self._place)
            self.glance.whole["id"] = run.id
            self.glance.look(run.state, time.time(), _SHEETS_SECONDS)
            self._panel = Panel(lambda: self.glance.whole, self._answer)  # type: ignore[union-attr]

    def _follow(self) -> None:
        while not self.run.wait(TICK):
            self._tell()
            self._report()
        self._tell()
        if takes_long(self.run):
            time.sleep(_AFTER_SECONDS)
        self._shown.update(framed(self.run, self._place))
        self._ended.set()
        # What a page may want to see of so many steps, while the next cell runs already.
        while self.glance is not None and not self.glance.is_complete:
            time.sleep(TICK)
            self._tell()

    def _tell(self) -> None:
        if self._panel is None or self.glance is None:
            return
        delta = self.glance.look(self.run.state, time.time(), _SHEETS_SECONDS)
        now = time.monotonic()
        if now - self._asked_at >= _WORKERS_SECONDS:
            self._asked_at = now
            self.glance.workers = _workers(self.run)
        with suppress(Exception):
            self._panel.tell(delta)

    def _report(self) -> None:
        """Write the report anew, so that a notebook that is saved now reads well."""
        now = time.monotonic()
        if now - self._reported < max(_REPORT_SECONDS[self._has_panel], self._took / _REPORT_SHARE):
            return
        with suppress(Exception):
            self._shown.update(framed(self.run, self._place))
        self._reported = time.monotonic()
        self._took = self._reported - now

    def _answer(self, what: str, name: str) -> dict[str, Any]:
        if what == "here":
            self._has_panel = True
        elif what == "cancel":
            self.run.cancel()
        elif what == "sheet" and name in self.run.state.steps:
            return {"sheets": {name: sheet(self.run.state.steps[name])}, "steps": {}}
        return {}


class PanelOf:
    """A run that is shown by a panel wherever this is displayed.

    Parameters
    ----------
    run
        The run, whether it goes on or has ended.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def _ipython_display_(self) -> None:
        Live(self.run).start()

    def __repr__(self) -> str:
        return report(self.run.flow, self.run.state).text


def takes_long(run: Run) -> bool:
    """Tell whether it takes a while to write the report of a run."""
    return len(run.state.steps) > _LONG_STEPS


def show_later(run: Run) -> None:
    """Show a run that has ended: in a line now, and its report while the next cell runs."""
    shown = display(said(run), display_id=True)

    def follow() -> None:
        time.sleep(_AFTER_SECONDS)
        shown.update(framed(run))

    threading.Thread(target=follow, name="nbflow-report", daemon=True).start()


def said(run: Run) -> Framed:
    """Say in a line how a run is."""
    line = repr(run)
    return Framed(str(element("pre", line)), line)


def framed(run: Run, place: str | None = None) -> Framed:
    """Give the report of a run, marked so that a panel finds its place."""
    made = report(run.flow, run.state)
    if place is None or made.deterministic:
        return Framed(made.html, made.text)
    marked = element("div", Markup(made.html), **{"data-nbflow-run": place})
    return Framed(marked, made.text)


class Framed:
    """HTML, with text for where there is none."""

    def __init__(self, html: str, text: str) -> None:
        self._bundle = {"text/html": html, "text/plain": text}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self._bundle


def _workers(run: Run) -> str:
    found = workforce(None if run._drive is None else run._drive.client)
    return "" if found is None else f"{counted(found[0], 'worker')}, {size(found[1])}"
