"""The clock of a machine that is set, for the processes that obey.

What a machine says of the time on the wall changes when its clock is set, and with it
what it says of the moment at which it was started, and of when its processes were.
Clocks that only run on are as they were.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

_LINUX = psutil._psplatform


class Clock:
    """The clock on the wall of one machine, which is a file.

    Parameters
    ----------
    folder
        That of the stage.
    """

    def __init__(self, folder: str) -> None:
        self._file = Path(folder, "clock")

    def set(self, seconds: float) -> None:
        """Set it forward by so many seconds against what it should be, or back."""
        new = self._file.with_name("clock-new")
        new.write_text(str(seconds))
        new.rename(self._file)

    def offset(self) -> float:
        try:
            return float(self._file.read_text())
        except FileNotFoundError:
            return 0.0


def obey(folder: str) -> None:
    """Let this process have the clock of a stage from now on."""
    clock, now, start = Clock(folder), time.time, _LINUX.boot_time

    def now_there() -> float:
        return now() + clock.offset()

    # Wherever it is known by a name of its own, as in Dask.
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name in [name for name, value in names.items() if value is now]:
            setattr(module, name, now_there)
    # The system reckons it from the clock on the wall, each time that it is asked.
    _LINUX.boot_time = lambda: start() + clock.offset()
