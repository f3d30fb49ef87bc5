"""A process that has imported everything, of which kernels and their workers are forked.

To import Dask and pandas takes a second, and these tests need some two hundred processes.
A process that is forked is one of its own all the same: it is killed and stopped as any
other, and has nothing in common with the one that it came from but what was imported.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from pathlib import Path

import dask
from distributed.utils import get_mp_context

TESTS = Path(__file__).parent.parent
FORKED = {"distributed.worker.multiprocessing-method": "forkserver"}
_WARM = ["distributed.nanny", "distributed.worker", "nbflow.worker.preload", "nbflow.worker.worker"]


class Nursery:
    """A process of which kernels are forked."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH", "")]))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.kernel", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, orders: int, answers: int) -> int:
        """Fork a kernel, and give its process id.

        Parameters
        ----------
        orders, answers
            Where it reads its cells, and writes what they give.
        """
        socket.send_fds(self._ours, [b"fork"], [orders, answers])
        return int(self._ours.recv(64))

    def close(self) -> None:
        """End it; its kernels live on."""
        self._ours.close()
        self._process.wait(60)


def bear(theirs: int, serve: Callable[[int], None]) -> None:
    """Fork a kernel for each message, until there are none any more.

    Parameters
    ----------
    theirs
        Where the messages come from.
    serve
        What a kernel does; it is given where its answers go.
    """
    # Nobody asks how they have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=theirs) as nursery:
        while (message := socket.recv_fds(nursery, 64, 2))[0]:
            orders, answers = message[1]
            child = os.fork()
            if child == 0:
                break
            nursery.send(str(child).encode())
            os.close(orders)
            os.close(answers)
        else:
            return
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(orders, 0, inheritable=False)
    os.close(orders)
    os.set_inheritable(answers, False)
    sys.stdin = os.fdopen(0)
    try:
        serve(answers)
    finally:
        os._exit(0)


def let_workers_be_forked() -> None:
    """Fork the workers of this process's clusters of a copy of it, as it is now.

    It is the server of `multiprocessing` that forks them, which would otherwise be
    started from nothing. Like workers that are started from nothing, they belong to the
    process group of this process, and die with it.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(connection.arbitrary_address("AF_UNIX"))
    listener.listen()
    lives, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive)
        try:
            forkserver.main(listener.detach(), lives, [])
        finally:
            os._exit(0)
    os.close(lives)
    server = forkserver._forkserver
    server._forkserver_address = listener.getsockname()
    server._forkserver_alive_fd = alive
    server._forkserver_pid = pid
    listener.close()
    dask.config.set(FORKED)


@contextmanager
def forked_workers() -> Iterator[None]:
    """Fork the workers of this process's clusters meanwhile, of what has imported as much."""
    with dask.config.set(FORKED):
        context = get_mp_context()
        if not forkserver._forkserver._preload_modules[-1:] == _WARM[-1:]:
            context.set_forkserver_preload([*forkserver._forkserver._preload_modules, *_WARM])
        yield
