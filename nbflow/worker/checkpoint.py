"""Whether a result is worth keeping: when computing it took longer than writing it will.

All the writing of a run may take a tenth of the time that the computing takes.
"""

from __future__ import annotations

import threading
from typing import Final

# So few bytes go into the record of events, and are in no file of their own.
INLINE: Final = 8_192
_FILE_SECONDS: Final = 0.005
_INLINE_SECONDS: Final = 0.0003
_ATOM_SECONDS: Final = 0.00002
_BYTES_A_SECOND: Final = 300e6
_SHARE: Final = 0.1
# What a run may spend from the start, so that small results of a short run are kept too.
_CREDIT_SECONDS: Final = 0.005
# How much the last measurement counts.
_LATEST: Final = 0.3


class Budget:
    """What one run may spend on keeping results, in one process.

    Examples
    --------
    >>> budget = Budget()
    >>> budget.computed(100.0)
    >>> budget.allows(2.0, 1_000_000), budget.allows(0.001, 1_000_000)
    (True, False)
    """

    def __init__(self) -> None:
        self._computed = 0.0
        self._spent = 0.0
        self._pace = 1.0
        self._lock = threading.Lock()

    def computed(self, seconds: float) -> None:
        """Take note of time that was spent on computing."""
        self._computed += seconds

    def estimate(self, nbytes: int) -> float:
        """Say how many seconds it will take to keep so many bytes."""
        if nbytes <= INLINE:
            return _INLINE_SECONDS
        return (_FILE_SECONDS + nbytes / _BYTES_A_SECOND) * self._pace

    def allows(self, seconds: float, nbytes: int, *, is_atom: bool = False) -> bool:
        """Tell whether a result should be kept.

        Parameters
        ----------
        seconds
            How long it took to compute all that would be lost with it.
        nbytes
            How large it is, by estimate.
        is_atom
            Whether it is a number or a short text.
        """
        cost = _ATOM_SECONDS if is_atom else self.estimate(nbytes)
        left = _CREDIT_SECONDS + _SHARE * self._computed - self._spent
        return cost <= left and (cost <= seconds or nbytes <= INLINE)

    def spent_on_atom(self) -> None:
        """Take note of what keeping a number or a short text takes."""
        self._spent += _ATOM_SECONDS

    def spent(self, seconds: float, nbytes: int) -> None:
        """Take note of what keeping a result has taken."""
        with self._lock:
            self._spent += seconds
            if nbytes > INLINE:
                expected = _FILE_SECONDS + nbytes / _BYTES_A_SECOND
                self._pace += _LATEST * (seconds / expected - self._pace)
