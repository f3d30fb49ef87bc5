"""A kernel: a process that runs what it is given, cell by cell, and can be killed."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil
from chaos.stage import Stage

from nbflow.running.cluster import _PRELOAD

TESTS = Path(__file__).parent.parent
# A worker of a kernel's own cluster looks for faults too.
PRELOAD = [_PRELOAD, "from chaos.faults import arm; arm()"]
_PATIENCE = 60.0
_BEGINNING = """
import os, nbflow
from nbflow import step
from chaos import faults, flows
from chaos.kernel import PRELOAD
faults.arm()
"""


class CellError(Exception):
    """What a cell has raised, in words."""


class Kernel:
    """A kernel in a process of its own.

    Parameters
    ----------
    own_cluster
        Whether it starts a cluster of its own, which dies with it.

    Examples
    --------
    >>> with Kernel() as kernel:
    ...     kernel.cell("1 + 1")
    2
    """

    def __init__(self, own_cluster: bool = False) -> None:
        self._answers, theirs = os.pipe()
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chaos.kernel", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            pass_fds=[theirs],
            start_new_session=True,
            text=True,
        )
        os.close(theirs)
        self._heard = b""
        self._waiting = 0
        self.has_own_cluster = own_cluster
        # Not waited for: it begins while other tests run.
        self.begin(_BEGINNING)
        if own_cluster:
            self.begin("c = nbflow.connect(n_workers=2, threads_per_worker=1, preload=PRELOAD)")

    @property
    def pid(self) -> int:
        return self.process.pid

    def begin(self, code: str, **names: Any) -> None:
        """Hand over a cell, and return at once.

        Parameters
        ----------
        names
            What the code uses, as plain values.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"code": code, "names": names}) + "\n")
        self.process.stdin.flush()
        self._waiting += 1

    def answer(self) -> Any:
        """Wait for what the last cell gives.

        Raises
        ------
        CellError
            If it has raised something.
        """
        while self._waiting > 1:
            self._answer()
        return self._answer()

    def _answer(self) -> Any:
        deadline = time.monotonic() + _PATIENCE
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._answers], [], [], max(0.0, left))
            data = os.read(self._answers, 1 << 16) if ready else b""
            assert data, "the kernel is dead" if ready else "the kernel does not answer"
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        self._waiting -= 1
        answer = json.loads(line)
        if "error" in answer:
            raise CellError(answer["error"])
        return answer["value"]

    def cell(self, code: str, **names: Any) -> Any:
        """Run a cell, and give the value of its last line."""
        self.begin(code, **names)
        return self.answer()

    def on(self, stage: Stage, address: str | None = None) -> Kernel:
        """Let it know the stage, and the cluster if it has none of its own."""
        self.begin("", folder=stage.folder, store=stage.store, address=address)
        if not self.has_own_cluster:
            self.begin("c = nbflow.connect(address)")
        self.answer()
        return self

    def interrupt(self) -> None:
        """Send what the stop button sends, to the whole group as Jupyter does."""
        os.killpg(self.pid, signal.SIGINT)

    def wait(self) -> None:
        """Wait until the process has died, however that is."""
        self.process.wait(_PATIENCE)

    def kill(self) -> None:
        """Kill it, and wait until its own workers have died too."""
        children = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait(_PATIENCE)
        deadline = time.monotonic() + _PATIENCE
        for each in children:
            while is_alive(each):
                assert time.monotonic() < deadline, f"{each} outlives its kernel"
                time.sleep(0.005)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._answers)


class NewKernel(Protocol):
    """Gives kernels that are warm."""

    def __call__(self, *, own_cluster: bool) -> Kernel:
        """Give one that no other test has."""


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process still does anything; nobody may have asked for its end yet."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _serve(answers: int) -> None:
    """Run cells until there are none any more."""
    import __main__

    space = __main__.__dict__
    for line in sys.stdin:
        order = json.loads(line)
        space.update(order["names"])
        try:
            answer = {"value": _run(order["code"], space)}
        except BaseException as error:
            notes = "".join(f"\n{each}" for each in getattr(error, "__notes__", ()))
            answer = {"error": f"{type(error).__name__}: {error}{notes}"}
        os.write(answers, json.dumps(answer, default=str).encode() + b"\n")


def _run(code: str, space: dict[str, Any]) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), space)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    _serve(int(sys.argv[1]))
