"""How the elements of a mapped step ended, told of in portions."""

from __future__ import annotations

import threading
import time
from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.record.events import DeadLetter, ElementRecords, ErrorRecord, Event, InnerLetter, Status
from nbflow.store.kept import KeptSpan
from nbflow.values.outline import outline
from nbflow.values.preview import Preview
from nbflow.values.transfer import dumps
from nbflow.worker.keeper import Keeper
from nbflow.worker.outcome import Outcome
from nbflow.worker.recorder import Recorder

_PREVIEWED_ELEMENTS = 5
_LETTER_BYTES = 100_000
_SHOWN = 500


class Portions:
    """The elements of one mapped step that have ended in this task."""

    def __init__(
        self,
        name: str,
        recorder: Recorder,
        start: int = 0,
        keeper: Keeper | None = None,
        wish: bool | str = "auto",
        *,
        last: bool = False,
    ) -> None:
        self.name = name
        self.recorder = recorder
        self.keeper = keeper
        self.wish = wish
        self.last = last
        self.nbytes = 0
        self._told = False
        # Another thread sends what has ended while an element takes long.
        self._lock = threading.RLock()
        self._clear(start)

    def _clear(self, start: int) -> None:
        self.start = start
        self.begun = time.time()
        self.statuses: list[Status] = []
        self.seconds: list[float] = []
        self.previews: dict[int, Preview] = {}
        self.logs: dict[int, str] = {}
        self.errors: dict[int, ErrorRecord] = {}
        self.reasons: dict[int, str] = {}
        self.attempts: dict[int, int] = {}
        self.labels: dict[int, str] = {}
        self.spared: list[int] = []
        self.letters: dict[int, DeadLetter] = {}
        self.aside: list[int] = []
        self.inside: dict[int, tuple[InnerLetter, ...]] = {}
        self.values: list[Any] = []
        self.kept: list[KeptSpan] = []
        self.rows: int | None = 0
        self.columns: int | None = 0
        self.bytes = 0
        self.null_count: int | None = 0
        self.duplicates: int | None = 0
        self.scalars = 0
        self.began: float | None = None
        self.ended: float | None = None
        self.thread = 0

    def add(
        self,
        number: int,
        outcome: Outcome,
        log: str,
        attempt: int = 1,
        label: str | None = None,
        aside: tuple[Any] | None = None,
    ) -> None:
        """Take note of an element that has ended.

        Parameters
        ----------
        number
            Which element.
        outcome
            How its last attempt ended.
        log
            What it said.
        attempt
            How often it was tried.
        label
            Its name, if it has one.
        aside
            What it was computed from, if it failed and is put aside.
        """
        with self._lock:
            self._add(number, outcome, log, attempt, label)
            if aside is not None:
                self.letters[number] = letter(aside[0])

    def _add(
        self, number: int, outcome: Outcome, log: str, attempt: int, label: str | None
    ) -> None:
        if number != self.start + len(self.statuses):
            self.send()
            self._clear(number)
        absent = outcome.value if type(outcome.value) is Absent else None
        if outcome.error is not None:
            self.statuses.append(Status.FAILED)
            self.errors[number] = outcome.error
        elif absent is not None:
            self.statuses.append(Status.SKIPPED)
            self.reasons[number] = absent.reason
            if not absent.failed:
                self.spared.append(number)
            if absent.collected:
                self.aside.append(number)
        else:
            self.statuses.append(Status.COMPLETED)
        self.seconds.append(outcome.seconds)
        if absent is None:
            self._measure(number, outcome)
        if self.keeper is not None:
            self._note(number, outcome)
        if outcome.inside:
            self.inside[number] = outcome.inside
        if log:
            self.logs[number] = log
        if attempt > 1:
            self.attempts[number] = attempt
        if label is not None:
            self.labels[number] = label

    def _note(self, number: int, outcome: Outcome) -> None:
        """Hold on to a value until it is decided whether it is kept."""
        there = outcome.error is None and type(outcome.value) is not Absent
        if outcome.kept is not None:
            # It is kept with its receipt.
            self.kept.append(KeptSpan(number, number + 1, outcome.kept, None))
            there = False
        self.values.append(outcome.value if there else None)

    def _measure(self, number: int, outcome: Outcome) -> None:
        """Take note of when an element was computed, and of how large it is."""
        self.ended, look = time.time(), outcome.look
        if self.began is None:
            self.began, self.thread = self.ended - outcome.seconds, threading.get_ident()
        if look is None:
            return
        if number < _PREVIEWED_ELEMENTS:
            self.previews[number] = look
        self.bytes += look.bytes
        self.nbytes += look.bytes
        if look.rows is None or self.rows is None:
            self.rows = self.columns = None
        else:
            self.rows += look.rows
            self.columns = max(self.columns or 0, look.columns or 0)
        self.null_count = _total(self.null_count, look.null_count)
        self.duplicates = _total(self.duplicates, look.duplicates)
        self.scalars += look.is_scalar

    def send(self, *, last: bool = False) -> None:
        """Tell of the elements since the last time; of none only if there were none at all."""
        with self._lock:
            self._send(last=last)

    def _send(self, *, last: bool) -> None:
        if not self.statuses and (self._told or not last):
            return
        self._told = True
        if self.keeper is not None:
            self._keep(self.keeper)
        records = ElementRecords(
            self.start,
            tuple(self.statuses),
            tuple(self.seconds),
            self.previews,
            self.logs,
            self.errors,
            self.rows,
            self.columns,
            self.bytes,
            self.reasons,
            self.attempts,
            self.labels,
            frozenset(self.spared),
            self.letters,
            frozenset(self.aside),
            self.inside,
            tuple(self.kept),
            self.null_count,
            self.duplicates,
            self.scalars,
            self.began,
            self.ended,
            self.thread,
        )
        now = time.time()
        status = Status.FAILED if records.failed else Status.COMPLETED
        self.recorder.add(
            Event(
                self.name,
                status,
                now,
                1,
                self.recorder.address,
                now - self.begun,
                elements=records,
            )
        )
        self._clear(self.start + len(records.statuses))

    def _keep(self, keeper: Keeper) -> None:
        """Keep the values of this portion, if they are worth it."""
        if not keeper.wants(self.wish, self.values, self.bytes, last=self.last):
            return
        covered = {number for span in self.kept for number in range(span.start, span.stop)}
        there = [s is Status.COMPLETED for s in self.statuses]
        wanted = [ok and n not in covered for n, ok in enumerate(there, self.start)]
        if any(wanted):
            self.kept += keeper.keep_elements(self.start, self.values, wanted)


def _total(known: int | None, more: int | None) -> int | None:
    return None if known is None or more is None else known + more


def letter(item: Any) -> DeadLetter:
    """Pack what an element was computed from, if it is small, and describe it.

    Examples
    --------
    >>> letter("jan.csv").shown
    "'jan.csv'"
    """
    try:
        packed: bytes | None = dumps(item)
    except Exception:  # noqa: BLE001 - then it stays in words
        packed = None
    if packed is not None and len(packed) > _LETTER_BYTES:
        packed = None
    return DeadLetter(packed, outline(item, _SHOWN))
