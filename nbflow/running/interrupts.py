"""Interrupts that wait, so that nothing is left half begun and nobody's second thought is lost.

An interrupt may come between any two lines: between starting a run and waiting for it, for
one. While `held_back` is in force the first one waits until a place where it does no harm; a
second one comes through at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class _Interrupts:
    """What hears interrupts in the place of the handler that was there."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self.waits = False
        self.passes = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        if not (self.passes or self.waits):
            self.waits = True
            return
        # Whoever deals with this one is not to be interrupted meanwhile.
        self.passes = False
        self._let_through(number, frame)

    def let_through(self) -> None:
        """Raise what waits."""
        if self.waits:
            self._let_through(signal.SIGINT, None)

    def _let_through(self, number: int, frame: FrameType | None) -> None:
        self.waits = False
        self.handler(number, frame)


# Of the main thread: no other one is interrupted.
_held: _Interrupts | None = None


@contextmanager
def held_back() -> Iterator[None]:
    """Let a first interrupt wait until the end of the outermost such block.

    Raises
    ------
    KeyboardInterrupt
        At the end, if one has come and the block has not failed; or at once, if it is the
        second.
    """
    global _held  # noqa: PLW0603 - as there is one handler in a process
    handler = signal.getsignal(signal.SIGINT)
    if _held is not None or not _is_main() or not callable(handler):
        yield
        return
    interrupts = _Interrupts(handler)
    signal.signal(signal.SIGINT, interrupts.hear)
    _held = interrupts
    try:
        yield
    finally:
        _held = None
        signal.signal(signal.SIGINT, handler)
    interrupts.let_through()


@contextmanager
def let_through() -> Iterator[None]:
    """Let interrupts through again in a part of what holds them back.

    Raises
    ------
    KeyboardInterrupt
        If one has come already, or comes now.
    """
    interrupts = _held
    if interrupts is None or not _is_main():
        yield
        return
    before, interrupts.passes = interrupts.passes, True
    try:
        interrupts.let_through()
        yield
    finally:
        interrupts.passes = before


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
