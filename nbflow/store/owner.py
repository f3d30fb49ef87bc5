"""Which process does something, told from every other one on any machine, and whether it lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from uuid import uuid4

import psutil


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, by what no other process has in common with it.

    Attributes
    ----------
    host, boot
        The machine, and which start of it.
    pid, began
        The process and when it began, in seconds since the start of the machine, or since
        the epoch where the system says only that; a pid is used again.
    nonce
        What is drawn anew by each process, and after each fork.

    Examples
    --------
    >>> Owner.here().is_alive()
    True
    """

    host: str
    boot: str
    pid: int
    began: float
    nonce: str

    @classmethod
    def here(cls) -> Owner:
        """Name this process."""
        return _owner(os.getpid())

    @classmethod
    def for_now(cls) -> Owner:
        """Name this process, told apart from all else that it does.

        Examples
        --------
        >>> Owner.for_now() == Owner.here(), Owner.for_now().is_alive()
        (False, True)
        """
        return replace(cls.here(), nonce=uuid4().hex[:12])

    def is_alive(self) -> bool | None:
        """Tell whether the process still exists; None where that cannot be seen from here.

        A process that was stopped is alive. One on another machine cannot be seen.
        """
        here = Owner.here()
        if self.host != here.host:
            return None
        if self.boot != here.boot:
            return False
        if self == here:
            return True
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # What the system says of the start differs in the last digits by reader.
            return abs(_began(process) - self.began) < 1.0
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@cache
def _owner(pid: int) -> Owner:
    began = _began(psutil.Process(pid))
    return Owner(socket.gethostname(), _boot(), pid, began, uuid4().hex[:12])


def _began(process: psutil.Process) -> float:
    """Say when a process began, by a clock that nobody sets, if there is one."""
    try:
        about = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
        # The name of the program, in brackets, may hold anything.
        return int(about.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float(process.create_time())


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(int(psutil.boot_time()))
