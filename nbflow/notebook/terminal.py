"""Shows a run in a terminal while it goes on, and at its end the report in that place.

What is shown stands at the foot of what was written so far, and is written over ten times a
second at most. Nothing is drawn where the cursor cannot be moved.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, TextIO

from nbflow.notebook.beside import beside
from nbflow.notebook.board import Board, Line
from nbflow.notebook.columns import sayable, wide
from nbflow.notebook.report import report
from nbflow.notebook.style import PROBLEMS, Mark, Shown
from nbflow.record.events import Status
from nbflow.running.history import seconds_before

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbflow.running.run import Run

TICK: Final = 0.1
# Drawing takes at most this part of the time.
_SHARE: Final = 0.05
_PATIENCE_SECONDS: Final = 3.0
# A longer report would push away all that was there before.
_LONGEST_REPORT: Final = 200
_DEFAULT_SIZE: Final = (80, 24)
_COLOURS: Final[Mapping[Shown, str]] = {
    Status.PENDING: "2",
    Status.RUNNING: "36",
    Status.RETRYING: "33",
    Status.COMPLETED: "32",
    Status.REUSED: "32",
    Status.FAILED: "1;31",
    Status.SKIPPED: "2",
    Status.CANCELLED: "35",
    Status.COMPENSATED: "35",
    Status.INTERRUPTED: "33",
    Mark.DOUBT: "1;33",
    Mark.NOT_UNDONE: "1;31",
    Mark.PARTLY: "35",
    Mark.UNDOING: "35",
}


# A terminal has one foot.
_drawing = threading.Lock()


def can_draw(stream: Any) -> bool:
    """Tell whether a stream is a terminal in which what was written can be written over."""
    try:
        if not stream.isatty():
            return False
        os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    if sys.platform == "win32":
        # The old console shows the codes themselves.
        return bool(os.environ.get("WT_SESSION") or os.environ.get("TERM"))
    return os.environ.get("TERM", "dumb").lower() not in ("", "dumb", "unknown")


class Screen:
    """The foot of a terminal, on which lines are written over.

    Parameters
    ----------
    stream
        The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lock = threading.RLock()
        # https://no-color.org: if it is set, and to whatever.
        self.colours = not os.environ.get("NO_COLOR")
        self._encoding = getattr(stream, "encoding", None) or "ascii"
        self._written: list[int] = []
        self._drawn = ""
        self._told = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """How many columns and lines there are, asked anew as windows change."""
        try:
            columns, height = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return _DEFAULT_SIZE
        # A terminal that does not know says zero.
        return columns or _DEFAULT_SIZE[0], height or _DEFAULT_SIZE[1]

    def draw(self, lines: list[Line]) -> None:
        """Write lines in the place of those that stand there."""
        with self.lock:
            back = self._back()
            self._drawn = "".join(self._coloured(each) + "\x1b[K\n" for each in lines) + "\x1b[J"
            self._written = [wide(each.text) for each in lines]
            self._write(back + self._drawn)

    def erase(self) -> None:
        """Take away what stands there."""
        with self.lock:
            rows = self._rows()
            if rows:
                # A terminal that is cleared from its first line on may keep what stood there.
                self._write(self._back() + "\x1b[K\n" * rows + self._back())
                self._written = []

    def above(self, text: str, stream: TextIO) -> None:
        """Write text where the lines stand, and these below it."""
        with self.lock:
            written = self._written
            self.erase()
            stream.write(text)
            stream.flush()
            # Below what is written all the time, they are drawn when their turn comes.
            now = time.monotonic()
            if written and now - self._told >= TICK:
                self._write(self._drawn)
                self._written = written
            self._told = now

    def say(self, text: str) -> None:
        """Write a text to stay."""
        with self.lock:
            self._write(sayable(text, self._encoding) + "\n")

    def _rows(self) -> int:
        """Count the rows of the lines; in a window that got narrower, long ones take several."""
        columns = self.size[0]
        return sum(max(1, -(-each // columns)) for each in self._written)

    def _back(self) -> str:
        rows = self._rows()
        return f"\r\x1b[{rows}A" if rows else "\r"

    def _coloured(self, line: Line) -> str:
        said = sayable(line.text, self._encoding)
        code = None if line.status is None else _COLOURS.get(line.status)
        if not self.colours:
            return said
        if line.filled:
            return f"\x1b[36m{said[: line.filled]}\x1b[0m{said[line.filled :]}"
        if code is None or line.sign >= len(said):
            return said
        # What is wrong is coloured as a whole, elsewhere the sign is.
        whole = line.status in PROBLEMS or code == "2"
        end = len(said) if whole else line.sign + 1
        return f"{said[: line.sign]}\x1b[{code}m{said[line.sign : end]}\x1b[0m{said[end:]}"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


class Terminal:
    """One run that is shown in a terminal, until it has ended.

    Where one is shown already, another one leaves its report and nothing else.

    Parameters
    ----------
    run
        The run.
    stream
        The terminal.
    """

    def __init__(self, run: Run, stream: TextIO) -> None:
        self.run = run
        self.screen = Screen(stream)
        self._board = Board(run.flow)
        self._stopped = threading.Event()
        self._beside = ExitStack()
        self._draws = False
        self._thread = threading.Thread(target=self._follow, name="nbflow-terminal", daemon=True)

    def start(self) -> None:
        """Follow the run from now on."""
        self._draws = _drawing.acquire(blocking=False)
        if self._draws:
            self._beside.enter_context(beside(self.screen))
            self._thread.start()

    def finish(self) -> None:
        """Draw no more: leave the report of a run that has ended, or the last that was drawn."""
        self._stopped.set()
        if self._draws:
            # A terminal that was halted takes nothing, and is not waited for.
            self._thread.join(timeout=_PATIENCE_SECONDS)
            _drawing.release()
        final = self.run.status.final
        with suppress(OSError, ValueError), self.screen.lock:
            if final:
                self.screen.erase()
            self._beside.close()
            if final:
                self.screen.say(reported(self.run))

    def _follow(self) -> None:
        pause = 0.0
        with suppress(Exception):
            self._board.expected = seconds_before(self.run)
        # A terminal that is gone is drawn to no more; the run goes on.
        with suppress(Exception):
            while not self.run.wait(pause) and not self._stopped.is_set():
                began = time.monotonic()
                self._draw()
                pause = max(TICK, (time.monotonic() - began) / _SHARE)

    def _draw(self) -> None:
        with self.screen.lock:
            columns, height = self.screen.size
            # In the last column some terminals break the line; below all, the cursor stands.
            lines = self._board.lines(self.run.state, time.time(), columns - 1, height - 1)
            self.screen.draw(lines)


def reported(run: Run) -> str:
    """Write the report of a run, or of a very large one what is worth looking at."""
    state = run.state
    if len(state.steps) <= _LONGEST_REPORT:
        return report(run.flow, state).text
    return "\n".join(line.text for line in Board(run.flow).summary(state))
