"""The place where one test of chaos plays: its store, its gates, and the ledger of calls.

The ledger is a file to which each call of a step adds one line, whoever makes it. A gate
that is shut holds a step in the middle, until the test opens it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client

import nbflow
from nbflow.journal.journal import Journal
from nbflow.record.archive import Archive
from nbflow.running.history import loaded

# Longer than anything here takes, and shorter than the time-out of a test.
PATIENCE = 20.0
_ANSWER = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """One call of a step, as it has written itself down.

    Attributes
    ----------
    name, element
        The step, or ``undo-`` and the step, and its element.
    attempt
        Which attempt it said it was.
    key
        Its idempotency key.
    pid
        The process that made the call.
    """

    name: str
    element: str
    attempt: int
    key: str
    pid: int


class Stage:
    """The place where one test plays.

    Attributes
    ----------
    whole
        Whether the record is whole in the end; a test that damages it says so.

    Parameters
    ----------
    folder
        A folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.store = str(folder / "store")
        self.whole = True

    # Gates

    def shut(self, *names: str) -> None:
        """Let steps, or elements such as ``send[3]``, wait when they are called."""
        for name in names:
            Path(self.folder, f"shut-{name}").touch()

    def open(self, *names: str) -> None:
        """Let steps go on; all of them if none is named."""
        for name in names or [each.name[5:] for each in Path(self.folder).glob("shut-*")]:
            Path(self.folder, f"shut-{name}").unlink(missing_ok=True)

    def spoil(self, name: str, times: int = 9) -> None:
        """Let a step fail, so many times."""
        for number in range(times):
            Path(self.folder, f"spoilt-{name}-{number}").touch()

    def pace(self, seconds: float) -> None:
        """Let each call take so long, as if it had much to do."""
        Path(self.folder, "pace").write_text(str(seconds))

    def mend(self) -> None:
        """Let no step fail any more."""
        for each in Path(self.folder).glob("spoilt-*"):
            each.unlink()

    # The ledger

    def lines(self, name: str | None = None) -> list[Line]:
        """Give the calls so far, of one step or of all, in order."""
        try:
            text = Path(self.folder, "ledger").read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.splitlines():
            called, element, attempt, key, pid = line.split(" ")
            found.append(Line(called, element, int(attempt), key, int(pid)))
        return [each for each in found if name in (None, each.name)]

    def order(self) -> list[str]:
        """Name the steps in the order in which they were called."""
        return [each.name for each in self.lines()]

    def counts(self) -> dict[str, int]:
        """Count the calls by step."""
        return dict(Counter(self.order()))

    def until(self, name: str, count: int = 1) -> Line:
        """Wait until a step was called so often, and give that call."""
        self.wait(lambda: len(self.lines(name)) >= count, f"call {count} of {name}")
        return self.lines(name)[count - 1]

    def wait(self, there: Callable[[], object], what: str) -> None:
        """Wait until something is so, by looking."""
        deadline = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < deadline, f"{what} did not come; called: {self.counts()}"
            time.sleep(0.005)

    def forget(self) -> None:
        """Begin the ledger anew."""
        Path(self.folder, "ledger").unlink()

    def files(self, pattern: str) -> list[Path]:
        """List files by their names."""
        return list(Path(self.folder).glob(pattern))

    def touch(self, name: str) -> None:
        """Make a file, which somebody waits for."""
        Path(self.folder, name).touch()

    def say(self, text: str) -> None:
        """Let it be known what a kernel has said."""
        Path(self.folder, "said").write_text(text)

    def said(self) -> str:
        """Give what a kernel has said."""
        return Path(self.folder, "said").read_text()

    def until_idle(self, client: Client) -> None:
        """Wait until no thread of a cluster computes anything, known to its scheduler or not."""
        self.wait(lambda: not any(_told(client, _busy, unless=1)), "the end of all computing")

    # What was written down

    def run_ids(self) -> list[str]:
        """Give the ids of the runs in the journal, the oldest first."""
        return [str(each) for each in nbflow.runs(self.store).id.tolist()[::-1]]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the journal locked, so that nobody else is in the middle of writing to it."""
        with closing(sqlite3.connect(f"{self.store}/journal.sqlite", isolation_level=None)) as held:
            held.execute("PRAGMA busy_timeout = 20000")
            held.execute("BEGIN IMMEDIATE")
            yield

    def load(self, run_id: str | None = None) -> nbflow.Run:
        """Give a run as a new process would see it; without an id the only one."""
        if run_id is None:
            [run_id] = self.run_ids()
        # Not nbflow.load, which gives a run that this process drives as that one has it.
        return loaded(run_id, Archive.of(self.store))

    def until_written(self, step: str, *statuses: str) -> None:
        """Wait until the journal says that the step of the only run is so."""

        def written() -> bool:
            return bool(self.run_ids()) and self.load().state.steps[step].status in statuses

        self.wait(written, f"{' or '.join(statuses)} of {step} in the journal")

    def until_taken(self, epoch: int) -> None:
        """Wait until the only run was taken so often."""
        journal = Journal.at(self.store)
        [run_id] = self.run_ids()
        self.wait(lambda: journal.entry(run_id).epoch >= epoch, f"epoch {epoch}")

    def until_sent(self, client: Client) -> None:
        """Wait until a task is given to a worker, which may be busy with an old copy of it."""
        self.wait(lambda: any(client.processing().values()), "a task on a worker")

    def until_waiting(self, client: Client) -> None:
        """Wait until a copy of a task waits for another one that is at work.

        It may have seen it; or it was given to the same thread, which Dask believes to be
        free when the client of the other one is gone.
        """
        self.wait(lambda: self.is_waiting(client), "a second copy")

    def is_waiting(self, client: Client) -> bool:
        """Tell whether a task on a cluster waits, and holds no slot meanwhile."""
        return any(_told(client, _waiting, unless=0))


def _told(client: Client, question: Callable[..., int], unless: int) -> list[int]:
    """Ask all workers of a cluster, or give what is assumed unless they answer in time."""
    try:
        answers = client.sync(client._run, question, on_error="ignore", callback_timeout=_ANSWER)
    except TimeoutError:
        # Dask waits for half a minute for one that has just died.
        return [unless]
    return list(answers.values())


def _waiting(dask_worker: Any) -> int:
    return len(dask_worker.state.long_running) + len(dask_worker.state.ready)


def _busy(dask_worker: Any) -> int:
    return len(dask_worker.active_threads)


def enter(folder: str) -> None:
    """Write down in a step that it was called; wait at its gate; fail if it is spoilt."""
    here = nbflow.context()
    name = f"undo-{here.step}" if here.undoing else here.step
    element = "-" if here.element is None else here.element
    _write_down(folder, name)
    if os.path.exists(f"{folder}/pace"):
        time.sleep(float(Path(folder, "pace").read_text()))
    gates = [f"{folder}/shut-{name}", f"{folder}/shut-{name}[{element}]"]
    while any(map(os.path.exists, gates)):
        time.sleep(0.005)
    for number in range(9):
        try:
            os.unlink(f"{folder}/spoilt-{name}-{number}")
        except FileNotFoundError:
            continue
        raise ValueError(f"{name} is spoilt")


def leave(folder: str) -> None:
    """Write down in a step that it has done what it does."""
    _write_down(folder, f"end-{nbflow.context().step}")


def _write_down(folder: str, name: str) -> None:
    here = nbflow.context()
    element = "-" if here.element is None else here.element
    line = f"{name} {element} {here.attempt} {here.idempotency_key} {os.getpid()}\n"
    file = os.open(f"{folder}/ledger", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
