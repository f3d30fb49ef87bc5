"""What a step prints, logs and warns, kept apart from what its neighbours say.

Threads of a worker share one stdout. The streams are replaced once in a process by
ones that look up which step the current thread is running.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, TextIOBase
from typing import Any

from nbflow.values.outline import valid

LIMIT = 64_000
_LONGEST = 4 * LIMIT
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)

_current = threading.local()
_installing = threading.Lock()
_installed = False


class Pad:
    """What one step has said, bounded: the beginning is dropped when it is too long."""

    __slots__ = ("_dropped", "_length", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._dropped = 0

    def write(self, text: str) -> None:
        """Take down a piece of text."""
        # As short as can be: some steps print a million times.
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * LIMIT:
            self._shorten()

    def _shorten(self) -> None:
        text = self._pieces[0] if len(self._pieces) == 1 else "".join(self._pieces)
        # Nobody would have seen the beginning of a very long line either.
        seen = _seen(text[-_LONGEST:])
        kept = seen[-LIMIT:]
        self._dropped += max(0, len(text) - _LONGEST) + len(seen) - len(kept)
        self._pieces, self._length = [kept], len(kept)

    def take(self) -> str:
        """Give what was said, and begin anew."""
        if not self._pieces:
            return ""
        if self._length > LIMIT:
            self._shorten()
        # What is no Unicode is spelled out, which takes more room.
        text, dropped = valid(_seen("".join(self._pieces))), self._dropped
        dropped += max(0, len(text) - LIMIT)
        text = text[-LIMIT:]
        self._pieces, self._length, self._dropped = [], 0, 0
        return f"… {dropped:,} characters before this were dropped …\n{text}" if dropped else text


def _seen(text: str) -> str:
    r"""Leave out what a line has overwritten, as bars of progress do.

    Examples
    --------
    >>> _seen("0 %\r50 %\r100 %\ndone\r\n")
    '100 %\ndone\r\n'
    """
    return _OVERWRITTEN.sub("", text) if "\r" in text else text


@contextmanager
def captured(*, every_level: bool) -> Iterator[Pad]:
    """Take down what the current thread says.

    Parameters
    ----------
    every_level
        Whether to let logging from level INFO on through to the pad. Only in a
        process of our own: it changes the level of the root logger.
    """
    _install(every_level=every_level)
    pad = Pad()
    before = getattr(_current, "pad", None)
    _current.pad = pad
    try:
        yield pad
    finally:
        _current.pad = before


def fresh_pad() -> Pad:
    """Let the current thread begin a new pad, and leave the old one to whoever still writes."""
    pad = _current.pad = Pad()
    return pad


class _Stream(TextIOBase):
    """A stdout that gives each thread's words to the step that it runs."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def write(self, text: str) -> int:
        pad = getattr(_current, "pad", None)
        if pad is not None:
            pad.write(text)
            return len(text)
        return self._original.write(text) if self._original is not None else len(text)

    def flush(self) -> None:
        if self._original is not None:
            self._original.flush()

    @property
    def buffer(self) -> Any:
        """Where bytes are printed."""
        has_pad = getattr(_current, "pad", None) is not None
        return _Bytes(self) if has_pad else getattr(self._original, "buffer", None)

    def writable(self) -> bool:
        return True

    # Libraries ask for these before they print, and the base class answers None.

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._original, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return getattr(self._original, "errors", None) or "backslashreplace"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Bytes(BufferedIOBase):
    """A stdout for bytes, of which what is no text is spelled out."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data).decode("utf-8", "backslashreplace"))
        return memoryview(data).nbytes

    def writable(self) -> bool:
        return True


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        pad = getattr(_current, "pad", None)
        if pad is not None:
            try:
                pad.write(f"{record.levelname} {record.name}: {record.getMessage()}\n")
            except Exception:  # noqa: BLE001 - a log call never fails a step
                self.handleError(record)


def _install(*, every_level: bool) -> None:
    global _installed  # noqa: PLW0603 - the streams of a process are global
    if _installed and isinstance(sys.stdout, _Stream):
        return
    with _installing:
        if not isinstance(sys.stdout, _Stream):
            sys.stdout, sys.stderr = _Stream(sys.stdout), _Stream(sys.stderr)
        if _installed:
            return
        _installed = True
        logging.getLogger().addHandler(_Handler())
        if every_level:
            if logging.getLogger().level == logging.WARNING:
                logging.getLogger().setLevel(logging.INFO)
            # Python shows a warning once a place; the second step would lose it.
            for category in (UserWarning, RuntimeWarning, FutureWarning):
                warnings.filterwarnings("always", category=category)
        _route_warnings()


def _route_warnings() -> None:
    show = warnings.showwarning

    def routed(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        pad = getattr(_current, "pad", None)
        if pad is None or file is not None:
            show(message, category, filename, lineno, file, line)
        else:
            pad.write(f"{category.__name__}: {message}\n")

    warnings.showwarning = routed
