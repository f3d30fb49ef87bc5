"""Runs that begin later: in this kernel, in another one, or when cron says ``nbflow tick``."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from distributed import Client
from stories.nursery import Forked, Nursery

import nbflow
from nbflow import FlowError, RunError, StoreError, step
from nbflow.record.archive import Archive
from nbflow.running.clock import tick
from nbflow.store.owner import Owner

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
def _on_the_cluster(client: Client) -> None:
    """Let runs be started on the shared cluster."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@step
def note(path: Path, text: str = "x") -> str:
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, text.encode())
    os.close(file)
    return text


def noted(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def refuse(run_id: str, error: Exception) -> None:
    raise AssertionError(f"{run_id} is not started: {error}")


# In this kernel


def test_a_run_waits_for_its_time_and_then_begins(tmp_path, folder):
    path = tmp_path / "noted"

    run = note.s(path).submit(after=1.0, store=folder)

    assert run.status == "pending"
    assert nbflow.last_run() is run
    assert run.steps.loc["note", "status"] == "pending"
    assert nbflow.runs(folder)["status"].tolist() == ["pending"]
    assert nbflow.load(run.id, folder).status == "pending"
    assert not run.wait(0.01)
    assert noted(path) == ""
    assert run.wait()
    assert run.status == "completed"
    assert run.result() == "x"
    assert noted(path) == "x"
    assert nbflow.load(run.id, folder).value("note") == "x"


def test_run_waits_for_begin_and_end(folder, tmp_path):
    run = note.s(tmp_path / "noted").run(at=datetime.now(UTC), store=folder)

    assert run.status == "completed"


def test_a_time_that_has_passed_means_at_once(folder, tmp_path):
    assert note.s(tmp_path / "noted").run(at=0, store=folder).status == "completed"


def test_runs_begin_in_the_order_of_their_times(folder, tmp_path):
    path = tmp_path / "noted"
    now = time.time()
    late = note.s(path, "late").submit(at=now + 2.5, store=folder)
    early = note.s(path, "early").submit(at=now + 1.5, store=folder)

    assert early.wait() and late.wait()

    assert noted(path) == "earlylate"


def test_the_duration_of_a_run_is_not_the_time_it_waited(folder, tmp_path):
    run = note.s(tmp_path / "noted").submit(after=1.0, store=folder)
    accepted = nbflow.runs(folder)["started"][0]
    run.wait()

    assert nbflow.runs(folder)["started"][0] > accepted
    assert run.state.started > accepted.timestamp()


def test_a_run_that_is_cancelled_before_its_time_never_begins(folder, tmp_path):
    path = tmp_path / "noted"
    run = note.s(path).submit(after=0.5, store=folder)

    run.cancel()

    assert run.status == "cancelled"
    assert run.steps.loc["note", "reason"] == "the run was cancelled before it began"
    assert nbflow.load(run.id, folder).status == "cancelled"
    until(lambda: time.time() > run.state.started + 1)
    assert tick(Archive.of(folder), refuse) == []
    assert noted(path) == ""
    with pytest.raises(nbflow.RunCancelledError):
        run.result()


def test_a_run_can_be_cancelled_where_it_was_loaded(folder, tmp_path):
    run = note.s(tmp_path / "noted").submit(after=60.0, store=folder)

    nbflow.load(run.id, folder).cancel()

    assert run.wait(20.0)
    assert run.status == "cancelled"


def test_nobody_who_holds_the_run_is_needed_for_it_to_begin(folder, tmp_path):
    path = tmp_path / "noted"
    note.s(path).submit(after=0.3, store=folder)
    note.s(path).submit(after=0.3, store=folder)  # so that last_run() is not the first

    until(lambda: noted(path) == "xx")
    until(lambda: nbflow.runs(folder)["status"].tolist() == ["completed"] * 2)


def test_handlers_hear_of_a_failure_of_a_run_that_began_later(folder, tmp_path):
    heard: list[str] = []

    @step
    def fail() -> None:
        raise ValueError("no luck")

    flow = fail.s().on_error(lambda failures: heard.append("told"))

    with pytest.raises(ValueError, match="no luck"):
        flow.run(after=0.3, store=folder)
    assert heard == ["told"]


def test_the_same_key_gives_the_run_that_waits(folder, tmp_path):
    path = tmp_path / "noted"
    first = note.s(path).submit(after=1.0, store=folder, key="daily")

    second = note.s(path).submit(after=60.0, store=folder, key="daily")

    assert second.id == first.id
    assert second.wait() and second.status == "completed"
    assert noted(path) == "x"


def test_a_run_whose_cluster_is_gone_at_its_time_is_interrupted_and_can_be_resumed(
    folder, tmp_path, client
):
    lost = Client(client.scheduler.address, set_as_default=False)
    run = note.s(tmp_path / "noted").submit(after=0.2, store=folder, cluster=lost)
    lost.close()

    assert run.wait()

    assert run.status == "interrupted"
    assert "could not be started" in run.state.reason
    with pytest.raises(RunError, match="could not be started"):
        run.result()
    assert nbflow.load(run.id, folder).status == "interrupted"
    assert Archive.of(folder).journal.next_due() is None
    assert run.resume(cluster=client).result() == "x"


def test_what_has_begun_is_never_due_again_whatever_the_clock_says(folder, tmp_path):
    run = note.s(tmp_path / "noted").run(after=0, store=folder)
    journal = Archive.of(folder).journal

    assert journal.overdue(time.time() + 1e9) == []
    assert journal.next_due() is None
    assert run.status == "completed"


def test_a_run_that_waits_is_not_started_by_resuming_it(folder, tmp_path):
    run = note.s(tmp_path / "noted").submit(after=60.0, store=folder)

    with pytest.raises(RunError, match="waits for its time"):
        nbflow.load(run.id, folder).resume()
    assert run.status == "pending"
    run.cancel()


def test_a_later_run_that_is_written_down_nowhere_is_refused():
    with pytest.raises(StoreError, match=r"store=False keeps nothing; leave at= and after= out"):
        note.s(Path("noted")).submit(after=1.0, store=False)


def test_a_time_without_its_zone_is_refused():
    with pytest.raises(FlowError, match="no time zone"):
        note.s(Path("noted")).submit(at=datetime(2030, 1, 1))


# After the kernel that has made it

KERNEL = """
import os, sys, time
from pathlib import Path
import nbflow
from nbflow import step

store, ledger, after = sys.argv[1:]

@step
def note(text):
    file = os.open(ledger, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, text.encode())
    os.close(file)
    if text == "bad":
        raise ValueError("no luck")
    return text

if __name__ == "__main__":
    for text in sys.stdin.read().split():
        note.s(text).submit(after=float(after), store=store)
    print("entered", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def leave(nursery: Nursery, tmp_path: Path, folder: Path) -> Callable[[str], Path]:
    """Let a kernel enter runs, kill it before any of them is due, and let all be due."""

    def left(texts: str) -> Path:
        script, ledger = tmp_path / "kernel.py", tmp_path / "ledger"
        script.write_text(KERNEL)
        # Entered for later, and then due by hand: nothing depends on how fast the kill is.
        kill(nursery.script(script, str(folder), str(ledger), "3600", given=texts))
        make_due(folder)
        return ledger

    return left


def kill(kernel: Forked) -> None:
    """Kill a kernel when it has entered its runs."""
    assert kernel.stdout.readline() == "entered\n"
    kernel.close()


def make_due(folder: Path) -> None:
    with sqlite3.connect(folder / "journal.sqlite") as connection:
        connection.execute("UPDATE runs SET due = 1.0 WHERE status = 'pending'")
    connection.close()


@pytest.fixture
def ticking(nursery: Nursery, folder: Path) -> Callable[[], Forked]:
    """Start what cron starts, on the shared cluster."""
    return lambda: nursery.command("tick", "--store", str(folder), folder=folder.parent)


def test_tick_starts_what_a_killed_kernel_has_left_and_waits_for_its_end(folder, leave, ticking):
    ledger = leave("a b")
    assert nbflow.runs(folder)["status"].tolist() == ["pending"] * 2

    # Started as a shell does it, with a cluster of its own.
    line = [sys.executable, "-m", "nbflow", "tick", "--store", str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is completed") == 2
    assert sorted(noted(ledger)) == ["a", "b"]
    assert nbflow.runs(folder)["status"].tolist() == ["completed"] * 2
    again = ticking()
    assert again.communicate()[0] == "nothing is due\n"
    assert again.returncode == 0
    # Read in a process that has started none of them.
    assert sorted(nbflow.load(r, folder).value("note") for r in nbflow.runs(folder)["id"]) == [
        "a",
        "b",
    ]


def test_of_two_that_tick_at_once_one_starts_the_run(leave, ticking):
    ledger = leave("a")

    ticks = [ticking(), ticking()]
    outs = [each.communicate()[0] for each in ticks]

    assert [each.returncode for each in ticks] == [0, 0]
    assert sum("is completed" in out for out in outs) == 1
    assert noted(ledger) == "a"


def test_tick_tells_of_a_failure_by_its_exit_code_and_does_the_others(leave, ticking):
    ledger = leave("bad good")

    done = ticking()
    out, _ = done.communicate()

    assert done.returncode == 1
    assert "is failed" in out and "is completed" in out
    assert sorted(noted(ledger)) == sorted("badgood")


def test_tick_starts_nothing_that_others_may_have_written(folder, leave, ticking):
    ledger = leave("a")
    (folder / "journal.sqlite").chmod(0o666)

    done = ticking()
    _, err = done.communicate()

    assert done.returncode == 1
    assert "may have been written by others" in err
    assert noted(ledger) == ""
    assert nbflow.runs(folder)["status"].tolist() == ["pending"]


def test_a_later_kernel_starts_what_an_earlier_one_has_left(tmp_path, folder, monkeypatch, leave):
    monkeypatch.setattr("nbflow.running.clock.COURTESY_SECONDS", 0.2)
    ledger = leave("a")

    # That it waits for a run of its own there is what makes it look.
    own = note.s(tmp_path / "own").submit(after=600.0, store=folder)

    until(lambda: sorted(nbflow.runs(folder)["status"]) == ["completed", "pending"])
    assert noted(ledger) == "a"
    own.cancel()


def test_who_waits_for_the_run_of_a_killed_kernel_starts_it(folder, monkeypatch, leave):
    monkeypatch.setattr("nbflow.running.clock.COURTESY_SECONDS", 0.2)
    leave("a")
    run = nbflow.load(nbflow.runs(folder)["id"][0], folder)

    assert run.result() == "a"
    assert run.status == "completed"


TAKER = """
import os, signal, sys
from nbflow.record.archive import Archive
from nbflow.store.owner import Owner

journal = Archive.of(sys.argv[1]).journal
[entry] = journal.overdue(2.0)
journal.take(entry.id, Owner.here())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_whose_starter_was_killed_before_it_began_is_started_by_the_next(
    tmp_path, folder, leave, nursery
):
    ledger = leave("a")
    script = tmp_path / "taker.py"
    script.write_text(TAKER)
    taker = nursery.script(script, str(folder))
    assert taker.wait() == -signal.SIGKILL
    taker.close()

    [run] = tick(Archive.of(folder), refuse)

    assert run.wait() and run.status == "completed"
    assert noted(ledger) == "a"


def test_of_several_threads_that_tick_at_once_one_starts_the_run(folder, leave):
    ledger = leave("a")
    archive = Archive.of(folder)

    with ThreadPoolExecutor(8) as pool:
        found = [each.result() for each in [pool.submit(tick, archive, refuse) for _ in range(8)]]

    [[run]] = [each for each in found if each]
    assert run.wait() and run.status == "completed"
    assert noted(ledger) == "a"


NIGHTLY = """
import os
from nbflow import step

@step
def note(ledger):
    file = os.open(ledger, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, b"a")
    os.close(file)
"""
KEYED = """
import sys, time
from nightly import note

note.s(sys.argv[2]).submit(after=3600, store=sys.argv[1], key="daily")
print("entered", flush=True)
time.sleep(600)
"""


def test_the_same_key_in_a_later_kernel_starts_the_run_at_its_time(
    tmp_path, folder, nursery, monkeypatch
):
    (tmp_path / "nightly.py").write_text(NIGHTLY)
    ledger = tmp_path / "ledger"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    script = tmp_path / "keyed.py"
    script.write_text(KEYED)
    kill(nursery.script(script, str(folder), str(ledger)))
    make_due(folder)
    from nightly import note as nightly

    run = nightly.s(str(ledger)).submit(after=3600, store=folder, key="daily")

    until(lambda: nbflow.runs(folder)["status"].tolist() == ["completed"])
    assert nbflow.runs(folder)["id"].tolist() == [run.id]
    assert noted(ledger) == "a"


def test_a_run_that_another_starts_is_left_to_it(folder, leave):
    leave("a")
    journal = Archive.of(folder).journal
    [entry] = journal.entries()
    taken = journal.take(entry.id, Owner.for_now())

    assert tick(Archive.of(folder), refuse) == []
    with pytest.raises(RunError, match="driven by another process"):
        nbflow.load(entry.id, folder).cancel()

    journal.release(entry.id, taken.epoch)
    journal.flush()
    [run] = tick(Archive.of(folder), refuse)
    assert run.wait() and run.status == "completed"
