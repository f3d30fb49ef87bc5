"""A process that has imported everything, of which scripts and commands are forked.

To import Dask and pandas takes longer than most of what these tests ask of a process. One
that is forked is a process of its own all the same: it has its own folder, its own streams
and its own end, and has nothing in common with others but what was imported.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

_WARM = [
    *("IPython", "distributed", "pandas", "pyarrow", "nbflow.running.clock"),
    *("nbflow.running.launch", "nbflow.notebook.records", "nbflow.notebook.report"),
    *("nbflow.notebook.source", "nbflow.worker.worker"),
]


class Forked:
    """A process that was forked, with what `subprocess.Popen` has of it.

    Parameters
    ----------
    nursery
        Where it is asked for.
    asked
        What it is to do.
    given
        What it reads from its standard input.
    """

    def __init__(self, nursery: socket.socket, asked: dict[str, Any], given: str = "") -> None:
        said, out = os.pipe()
        ended, end = os.pipe()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        with tempfile.TemporaryFile("w+", encoding="utf-8") as lines:
            lines.write(given)
            lines.seek(0)
            streams = [lines.fileno(), out, self._errors.fileno(), end]
            socket.send_fds(nursery, [json.dumps(asked).encode()], streams)
        os.close(out)
        os.close(end)
        self.stdout = os.fdopen(said, encoding="utf-8")
        self._ended = os.fdopen(ended)
        self.pid = int(self._ended.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Give how it has ended, if it has."""
        if self.returncode is None and select.select([self._ended], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give how it was: the number of a signal is negative."""
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._ended.readline())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end, and give what it has said, and its errors."""
        out = self.stdout.read()
        self.wait(timeout)
        self._errors.seek(0)
        errors = self._errors.read()
        self.close()
        return out, errors

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it if it has not ended, and forget what it has said."""
        if self.poll() is None:
            self.kill()
            self.wait()
        for each in (self.stdout, self._ended, self._errors):
            each.close()


class Nursery:
    """A process of which others are forked.

    Parameters
    ----------
    environment
        The variables of their environment.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def script(
        self,
        path: Path,
        *arguments: str,
        folder: Path | None = None,
        environment: dict[str, str] | None = None,
        given: str = "",
    ) -> Forked:
        """Do what ``python PATH ARGUMENTS`` does, with these changes of the environment."""
        asked = {
            "path": str(path),
            "arguments": arguments,
            "folder": str(folder or Path.cwd()),
            "modules": str(path.parent),
            "environment": environment or {},
        }
        return Forked(self._ours, asked, given)

    def command(
        self, *arguments: str, folder: Path, environment: dict[str, str] | None = None
    ) -> Forked:
        """Do what ``python -m nbflow ARGUMENTS`` does in a folder."""
        spec = importlib.util.find_spec("nbflow.__main__")
        asked = {
            "path": spec.origin,
            "arguments": arguments,
            "folder": str(folder),
            "modules": str(folder),
            "environment": environment or {},
        }
        return Forked(self._ours, asked)

    def close(self) -> None:
        """End it; those that were forked live on."""
        self._ours.close()
        self._process.wait(60)


def _born(theirs: int) -> dict[str, Any]:
    """Fork a process for each message; give it in the process what was asked for."""
    # Nobody asks how those have ended that wait for the others.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=theirs) as requests:
        while True:
            asked, descriptors, _, _ = socket.recv_fds(requests, 1 << 16, 4)
            if not asked:
                sys.exit()
            if os.fork() == 0:
                break
            for each in descriptors:
                os.close(each)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, end = descriptors
    child = os.fork()
    if child == 0:
        os.close(end)
        for number, each in enumerate(streams):
            os.dup2(each, number)
            os.close(each)
        return json.loads(asked)
    for each in streams:
        os.close(each)
    os.write(end, f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    os.write(end, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _begin(asked: dict[str, Any]) -> None:
    """Become the process that was asked for."""
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    sys.argv = [asked["path"], *asked["arguments"]]
    sys.path[0] = asked["modules"]
    main = ModuleType("__main__")
    main.__file__ = asked["path"]
    sys.modules["__main__"] = main
    text = Path(asked["path"]).read_text(encoding="utf-8")
    # Not with the annotations of this module.
    exec(compile(text, asked["path"], "exec", dont_inherit=True), main.__dict__)


if __name__ == "__main__":
    for name in _WARM:
        importlib.import_module(name)
    gc.freeze()
    _begin(_born(int(sys.argv[1])))
