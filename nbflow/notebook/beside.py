"""What others print while a picture of text stands at the foot of the terminal.

It is written above the picture. What does not pass through Python's own streams, such as what
a program writes that was started, is not seen here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from nbflow.notebook.terminal import Screen


class Beside:
    """A stream whose lines are written above what the screen shows.

    Parameters
    ----------
    stream
        The one in whose place it stands.
    screen
        What is shown.
    """

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        self._stream = stream
        self._screen = screen
        self._begun = ""

    def write(self, text: str) -> int:
        """Write lines above the picture; one that has no end yet waits for it."""
        with self._screen.lock:
            lines, end, self._begun = (self._begun + text).rpartition("\n")
            if end:
                self._screen.above(lines + end, self._stream)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for each in lines:
            self.write(each)

    def flush(self) -> None:
        """Write out what was written so far; a line that has no end yet waits."""
        self._stream.flush()

    def finish(self) -> None:
        """Write the line that has no end yet."""
        with self._screen.lock:
            begun, self._begun = self._begun, ""
            self._stream.write(begun)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def beside(screen: Screen) -> Iterator[None]:
    """Let Python's streams, and logs that go there, be written above what a screen shows."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    made: dict[str, Beside] = {}
    for name, stream in before.items():
        if stream is screen.stream or _is_terminal(stream):
            made[name] = Beside(stream, screen)
            setattr(sys, name, made[name])
    moved = []
    for handler in _handlers():
        for name, stream in made.items():
            if handler.stream is before[name]:
                handler.setStream(stream)
                moved.append((handler, stream, before[name]))
    try:
        yield
    finally:
        for handler, stream, old in moved:
            if handler.stream is stream:
                handler.setStream(old)
        for name, stream in made.items():
            # Somebody may have put another one in its place meanwhile.
            if getattr(sys, name) is stream:
                setattr(sys, name, before[name])
            stream.finish()


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _handlers() -> Iterator[logging.StreamHandler[Any]]:
    """Find what writes logs to streams; of no logger is there a list of handlers."""
    loggers: list[Any] = [logging.root, *logging.root.manager.loggerDict.values()]
    for each in loggers:
        for handler in getattr(each, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and hasattr(handler, "stream"):
                yield handler
