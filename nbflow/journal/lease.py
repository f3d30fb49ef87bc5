"""The signs of life for the runs that a process drives, and how it learns that it lost one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from nbflow.errors import quoted
from nbflow.journal.complaint import Gone
from nbflow.journal.entry import Fenced
from nbflow.journal.ledger import Ledger
from nbflow.journal.writing import Writing, call

# When a lease could not be renewed it is tried again after this part of the usual time.
_AGAIN: Final = 0.1


@dataclass(slots=True, eq=False)
class _Hold:
    of: tuple[str, int]
    lost: Callable[[str], None]
    # On the monotonic clock: since when the lease holds, and when to renew it.
    good: float
    due: float


class Leases:
    """The leases that a process renews, all in the thread of its writer.

    A lease that could not be renewed for as long as it holds is lost, by the monotonic
    clock. After a process was stopped for that long it first asks the journal, which
    knows whether another has taken the run.

    Parameters
    ----------
    seconds
        How long a lease holds.
    beat
        After how many seconds it is renewed.
    """

    def __init__(self, seconds: float, beat: float) -> None:
        self._seconds = seconds
        self._beat = beat
        self._holds: dict[tuple[str, int], _Hold] = {}

    def __len__(self) -> int:
        return len(self._holds)

    def begin(self, of: tuple[str, int], lost: Callable[[str], None]) -> None:
        """Renew a lease from now on."""
        now = time.monotonic()
        self._holds[of] = _Hold(of, lost, now, now)

    def end(self, of: tuple[str, int]) -> None:
        """Renew a lease no more."""
        self._holds.pop(of, None)

    def clear(self) -> None:
        """Renew no lease any more."""
        self._holds.clear()

    def patience(self) -> float | None:
        """Tell in how many seconds one is to be renewed; None if there is none."""
        due = min((hold.due for hold in self._holds.values()), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def renewals(self) -> list[Writing]:
        """Give what is to be written now."""
        now, expires = time.monotonic(), time.time() + self._seconds
        return [
            Writing(
                partial(Ledger.renew, run=hold.of[0], epoch=hold.of[1], expires=expires),
                partial(self._renewed, hold, now),
            )
            for hold in self._holds.values()
            if hold.due <= now
        ]

    def lose(self, of: tuple[str, int], reason: str) -> None:
        """Tell, once, that a run is lost."""
        hold = self._holds.pop(of, None)
        if hold is not None:
            call(hold.lost, reason)

    def _renewed(self, hold: _Hold, asked: float, _: None, error: Exception | None) -> None:
        now = time.monotonic()
        if error is None:
            hold.good, hold.due = asked, asked + self._beat
        elif isinstance(error, (Fenced, Gone)):
            self.lose(hold.of, str(error))
        elif now - hold.good >= self._seconds:
            self.lose(
                hold.of,
                f"the lease of the run {quoted(hold.of[0])}, good for {self._seconds:g} seconds,"
                f" ran out, as it could not be renewed: {error}",
            )
        else:
            hold.due = now + self._beat * _AGAIN
