"""A kernel: a process that runs what it is given, cell by cell, and can be killed."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any, Protocol

import psutil
from chaos.nursery import Nursery, bear, let_workers_be_forked
from chaos.stage import Stage

from nbflow.running.cluster import _PRELOAD

# A worker of a kernel's own cluster looks for faults too.
PRELOAD = [_PRELOAD, "from chaos.faults import arm; arm()"]
_PATIENCE = 60.0
# What is there in a kernel from the beginning; the last ones are imported by the first run.
_BEGINNING = """
import os, nbflow
from nbflow import step
from chaos import faults, flows, power, stage
from chaos.kernel import PRELOAD
import distributed, pandas, pyarrow
import nbflow.running.launch, nbflow.running.pruning, nbflow.worker.worker
faults.arm()
"""


class CellError(Exception):
    """What a cell has raised, in words."""


class Kernel:
    """A kernel in a process of its own.

    Parameters
    ----------
    nursery
        Where it is forked.
    own_cluster
        Whether it starts a cluster of its own, which dies with it.

    Examples
    --------
    >>> with Kernel(nursery) as kernel:
    ...     kernel.cell("1 + 1")
    2
    """

    def __init__(self, nursery: Nursery, own_cluster: bool = False) -> None:
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        self.pid = nursery.fork(orders, answers)
        self._process = psutil.Process(self.pid)
        os.close(orders)
        os.close(answers)
        self._heard = b""
        self._waiting = 0
        self.has_own_cluster = own_cluster
        if own_cluster:
            # Not waited for: it begins while other tests run.
            self.begin("c = nbflow.connect(n_workers=2, threads_per_worker=1, preload=PRELOAD)")

    def begin(self, code: str, **names: Any) -> None:
        """Hand over a cell, and return at once.

        Parameters
        ----------
        names
            What the code uses, as plain values.
        """
        os.write(self._orders, json.dumps({"code": code, "names": names}).encode() + b"\n")
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

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(number)

    def wait(self) -> None:
        """Wait until the process has died, however that is."""
        _wait_for_the_end(self._process)

    def kill(self) -> None:
        """Kill it, and wait until its own workers have died too."""
        with suppress(psutil.NoSuchProcess):
            family = [self._process, *self._process.children(recursive=True)]
            self._process.kill()
            for each in family:
                _wait_for_the_end(each)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        os.close(self._orders)
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


def _wait_for_the_end(process: psutil.Process) -> None:
    deadline = time.monotonic() + _PATIENCE
    while is_alive(process):
        assert time.monotonic() < deadline, f"{process} does not end"
        time.sleep(0.005)


def _serve(answers: int) -> None:
    """Run cells until there are none any more."""
    import __main__

    let_workers_be_forked()
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
    exec(_BEGINNING)
    bear(int(sys.argv[1]), _serve)
