"""What the journal says is recorded is there, for whoever drives the run and nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow.errors import RunError, RunNotFoundError, StoreError
from nbflow.journal.entry import is_driven, is_live
from nbflow.journal.journal import Entry, Fenced, Journal
from nbflow.store.owner import Owner

ME = Owner.here()
FAR = replace(ME, host="far", nonce="far")  # whether it lives cannot be seen from here
DEAD = replace(ME, boot="before", nonce="dead")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal.at(tmp_path / "folder")
    yield journal
    journal.close()


def an_entry(run: str = "run-1", **fields: Any) -> Entry:
    return Entry(run, "etl", fields.pop("status", "running"), fields.pop("started", 1.0), **fields)


def begun(journal: Journal, run: str = "run-1", owner: Owner | None = ME, **fields: Any) -> Entry:
    return journal.begin(an_entry(run, **fields), b"body of " + run.encode(), owner)


def outcome(journal: Journal, run: str, epoch: int, batch: bytes = b"x", **fields: Any) -> Any:
    told: list[Any] = []
    journal.append(run, epoch, batch, done=told.append, **fields)
    journal.flush()
    (error,) = told
    return error


PRELUDE = """
    import os, sys
    from nbflow.errors import RunError
    from nbflow.journal.journal import Entry, Fenced, Journal
    from nbflow.store.owner import Owner

    folder, ME = sys.argv[1], Owner.here()

    def say(*words):
        print(*words, flush=True)

    def hear():
        return sys.stdin.readline().strip()
"""


class Other:
    """Another process, which runs some code."""

    def __init__(self, folder: Path | str, code: str) -> None:
        text = textwrap.dedent(PRELUDE) + textwrap.dedent(code)
        self.process = subprocess.Popen(
            [sys.executable, "-c", text, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        return self.process.stdout.readline().strip()

    def say(self, word: str = "go") -> None:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.communicate(timeout=60) is not None
        assert self.process.returncode == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


# --- what is written is there ---


def test_a_run_is_there_as_it_was_begun(journal: Journal) -> None:
    entry = an_entry(
        steps=3, key="k", identity="abc", store="s3://x", due=None, parent="run-0", started=12.5
    )
    made = journal.begin(entry, b"plan", ME)
    assert (made.epoch, made.owner) == (1, ME)
    assert made.expires > time.time()
    for each in (journal, Journal(journal.path.parent)):
        assert each.entry("run-1") == made
        assert each.entries() == [made]
        assert each.keyed("k") == made
        assert each.keyed("other") is None
        assert each.body("run-1") == b"plan"
        assert each.batches("run-1") == []


def test_a_run_may_begin_without_an_owner(journal: Journal) -> None:
    made = begun(journal, owner=None, status="pending", due=5.0)
    assert (made.epoch, made.owner, made.expires) == (0, None, None)
    assert outcome(journal, "run-1", 0) is None


def test_batches_have_numbers_without_gaps_in_order(journal: Journal) -> None:
    begun(journal)
    begun(journal, "run-2")
    for number in range(1_200):
        journal.append("run-1", 1, b"%d" % number)
        journal.append("run-2", 1, b"%d" % -number)
    journal.flush()
    assert journal.batches("run-1") == [(n + 1, 1, b"%d" % n) for n in range(1_200)]
    assert journal.batches("run-2", after=1_199) == [(1_200, 1, b"-1199")]


def test_the_newest_run_is_first(journal: Journal) -> None:
    for run, started in [("a", 1.0), ("c", 3.0), ("b", 2.0), ("d", 3.0)]:
        begun(journal, run, started=started)
    assert [entry.id for entry in journal.entries()] == ["d", "c", "b", "a"]


def test_done_is_told_after_the_commit(journal: Journal) -> None:
    begun(journal)
    seen: list[Any] = []

    def look(error: Exception | None) -> None:
        seen.append((error, Journal(journal.path.parent).batches("run-1")))

    journal.append("run-1", 1, b"x", done=look)
    journal.flush()
    assert seen == [(None, [(1, 1, b"x")])]


def test_a_status_has_its_end_and_takes_the_old_one_back(journal: Journal) -> None:
    begun(journal)
    outcome(journal, "run-1", 1, status="failed", ended=7.0)
    assert (journal.entry("run-1").status, journal.entry("run-1").ended) == ("failed", 7.0)
    outcome(journal, "run-1", 1)
    assert (journal.entry("run-1").status, journal.entry("run-1").ended) == ("failed", 7.0)
    outcome(journal, "run-1", 1, status="running")
    assert (journal.entry("run-1").status, journal.entry("run-1").ended) == ("running", None)


def test_what_done_raises_is_shown_and_ends_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(journal)
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.append(args.exc_value))
    error = KeyError("mine")

    def fail(_: Any) -> None:
        raise error

    journal.append("run-1", 1, b"1", done=fail)
    assert outcome(journal, "run-1", 1, b"2") is None
    assert shown == [error]


def test_done_that_waits_for_the_journal_is_told_so(journal: Journal) -> None:
    begun(journal)
    errors: list[Any] = []

    def wait(_: Any) -> None:
        for act in (journal.flush, journal.close, lambda: journal.take("run-1", ME)):
            with pytest.raises(StoreError, match="cannot wait for itself"):
                act()
            errors.append(True)

    journal.append("run-1", 1, b"1", done=wait)
    journal.flush()
    assert len(errors) == 3


def test_a_closed_journal_is_one_file_and_opens_again(journal: Journal) -> None:
    begun(journal)
    journal.append("run-1", 1, b"1")
    journal.close()
    assert [path.name for path in journal.path.parent.iterdir()] == ["journal.sqlite"]
    assert len(journal.batches("run-1")) == 1
    assert [path.name for path in journal.path.parent.iterdir()] == ["journal.sqlite"]
    assert outcome(journal, "run-1", 1) is None
    assert len(journal.batches("run-1")) == 2


def test_an_idle_writer_ends_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nbflow.journal.writer._IDLE", 0.0)
    journal = Journal(tmp_path)
    begun(journal)
    for number in range(300):
        journal.append("run-1", 1, b"%d" % number)
        if number % 10 == 0:
            journal.flush()
            if journal._writer._thread is not None:
                journal._writer._thread.join()
    journal.flush()
    assert [seq for seq, _, _ in journal.batches("run-1")] == list(range(1, 301))


def test_many_threads_lose_nothing(journal: Journal) -> None:
    def write(run: str) -> None:
        begun(journal, run)
        for number in range(200):
            journal.append(run, 1, b"%d" % number)

    threads = [threading.Thread(target=write, args=(f"run-{n}",)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    for n in range(5):
        assert [batch for _, _, batch in journal.batches(f"run-{n}")] == [
            b"%d" % number for number in range(200)
        ]


def test_what_is_queued_is_written_when_the_process_ends(tmp_path: Path) -> None:
    code = """
        journal = Journal.at(folder)
        journal.begin(Entry("run-1", "etl", "running", 1.0), b"", ME)
        for number in range(2_000):
            journal.append("run-1", 1, b"x" * 1_000)
    """
    Other(tmp_path, code).end()
    assert len(Journal.at(tmp_path).batches("run-1")) == 2_000


# --- the file ---


def test_a_folder_has_one_journal_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    journal = Journal.at(tmp_path / "folder")
    assert Journal.at(str(tmp_path / "link")) is journal
    monkeypatch.chdir(tmp_path)
    assert Journal.at("folder") is journal
    assert Journal.at(".") is not journal


def test_reading_where_nothing_is_gives_nothing_and_makes_nothing(journal: Journal) -> None:
    assert journal.entries() == []
    assert journal.keyed("k") is None
    assert journal.hashes() == {}
    assert journal.overdue(1e12) == []
    assert journal.next_due() is None
    journal.prune([], 1.0)
    journal.flush()
    journal.close()
    for ask in (
        journal.entry,
        journal.body,
        journal.batches,
        journal.hashes_of,
        lambda run: journal.take(run, ME),
        lambda run: journal.prune([run], 1.0),
    ):
        with pytest.raises(RunNotFoundError, match=r"no run 'run-1'.*no run was ever begun in"):
            ask("run-1")
    assert not journal.path.parent.exists()


def test_only_begin_makes_a_journal(journal: Journal) -> None:
    error = outcome(journal, "run-1", 1)
    assert isinstance(error, StoreError)
    assert "journal.sqlite" in str(error)
    journal.release("run-1", 1)
    journal.flush()
    assert not journal.path.parent.exists()


def test_the_journal_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / "new" / "folder")
        begun(journal)
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in journal.path.parent.iterdir()
        }
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    assert set(modes) >= {"journal.sqlite", "journal.sqlite-wal"}
    assert set(modes.values()) == {0o600}


def test_commits_are_on_the_disk_and_readers_do_not_wait(journal: Journal) -> None:
    begun(journal)
    connection = journal._writer._ledger.connection
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert found == ["wal", 2, 1, 5_000]
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(journal.entries()) == 1


# --- keys ---


def test_a_key_names_one_run(journal: Journal) -> None:
    first = begun(journal, key="k", identity="a")
    assert begun(journal, "run-2", key="k", identity="b") == first
    assert [entry.id for entry in journal.entries()] == ["run-1"]
    assert begun(journal, "run-3", key="other").id == "run-3"
    assert begun(journal, "run-4").key is None
    assert begun(journal, "run-5").key is None


def test_an_id_names_one_run(journal: Journal) -> None:
    begun(journal)
    with pytest.raises(StoreError, match=r"a run 'run-1' is in the journal .* already"):
        begun(journal, steps=9)
    assert journal.entry("run-1").steps == 0
    assert outcome(journal, "run-1", 1) is None


def test_two_processes_with_one_key_begin_one_run(tmp_path: Path) -> None:
    code = """
        journal = Journal.at(folder)
        for number in range(20):
            say("ready")
            hear()
            run = f"{os.getpid()}-{number}"
            say(journal.begin(Entry(run, "f", "running", 1.0, key=str(number)), b"", ME).id)
    """
    others = [Other(tmp_path, code) for _ in range(2)]
    for _ in range(20):
        assert [other.hear() for other in others] == ["ready"] * 2
        for other in others:
            other.say()
        one, two = (other.hear() for other in others)
        assert one == two
    for other in others:
        other.end()
    assert len(Journal.at(tmp_path).entries()) == 20


# --- who drives a run ---


def test_taking_a_run_fences_the_one_who_had_it(journal: Journal) -> None:
    begun(journal, owner=FAR)
    assert outcome(journal, "run-1", 1, b"old") is None
    taken = journal.take("run-1", ME, force=True)
    assert (taken.epoch, taken.owner) == (2, ME)
    assert taken == journal.entry("run-1")
    begun(journal, "run-2")
    told: list[Any] = []
    journal.append("run-1", 1, b"late", status="failed", hashes=[("h", 1)], done=told.append)
    journal.append("run-2", 1, b"same group", done=told.append)
    journal.append("run-1", 2, b"new", done=told.append)
    journal.flush()
    assert isinstance(told[0], Fenced)
    assert f"'run-1' was taken over by process {os.getpid()} on" in str(told[0])
    assert told[1:] == [None, None]
    assert journal.batches("run-1") == [(1, 1, b"old"), (2, 2, b"new")]
    assert journal.batches("run-2") == [(1, 1, b"same group")]
    assert journal.entry("run-1").status == "running"
    assert journal.hashes() == {}


def test_a_run_that_another_drives_is_refused(journal: Journal) -> None:
    begun(journal, owner=FAR)
    with pytest.raises(
        RunError, match=r"driven by process \d+ on far, .* another (30|29) seconds.*force=True"
    ):
        journal.take("run-1", ME)
    assert journal.entry("run-1").epoch == 1
    assert outcome(journal, "run-1", 1) is None


@pytest.mark.parametrize("owner", [DEAD, ME, None], ids=["dead", "own", "none"])
def test_a_run_that_nobody_else_drives_is_taken_at_once(
    journal: Journal, owner: Owner | None
) -> None:
    made = begun(journal, owner=owner)
    assert journal.take("run-1", ME).epoch == made.epoch + 1


def test_a_run_whose_lease_has_run_out_is_taken(tmp_path: Path) -> None:
    begun(Journal(tmp_path, lease=0.0), owner=FAR)
    assert Journal(tmp_path).take("run-1", ME).epoch == 2


def test_a_released_run_is_anybodys(journal: Journal) -> None:
    begun(journal, owner=FAR)
    lost: list[str] = []
    journal.hold("run-1", 1, lost.append)
    journal.append("run-1", 1, b"last")
    journal.release("run-1", 1)
    journal.flush()
    entry = journal.entry("run-1")
    assert (entry.owner, entry.expires, entry.epoch) == (None, None, 1)
    assert journal.take("run-1", ME).epoch == 2
    # One that comes too late changes nothing.
    journal.release("run-1", 1)
    journal.flush()
    assert journal.entry("run-1").owner == ME
    assert lost == []
    assert journal.batches("run-1") == [(1, 1, b"last")]


def test_only_one_of_two_processes_takes_a_run(tmp_path: Path) -> None:
    journal = Journal.at(tmp_path)
    code = """
        journal = Journal.at(folder)
        for number in range(20):
            say("ready")
            hear()
            try:
                say("took", journal.take(f"run-{number}", ME).epoch)
            except RunError as error:
                say("refused")
    """
    for number in range(20):
        begun(journal, f"run-{number}", owner=DEAD)
    others = [Other(tmp_path, code) for _ in range(2)]
    for _ in range(20):
        assert [other.hear() for other in others] == ["ready"] * 2
        for other in others:
            other.say()
        assert sorted(other.hear() for other in others) == ["refused", "took 2"]
    for other in others:
        other.end()


@given(
    owned=st.booleans(),
    alive=st.sampled_from([True, False, None]),
    expires=st.none() | st.floats(0, 20),
)
def test_who_may_be_shut_out(owned: bool, alive: bool | None, expires: float | None) -> None:
    entry = an_entry(owner=FAR if owned else None, expires=expires)
    good = expires is not None and expires > 10.0
    assert is_driven(entry, 10.0, alive) == (owned and alive is not False and good)
    assert is_live(entry, 10.0, alive) == (owned and (alive is True or (alive is None and good)))


# --- leases ---


def test_a_held_run_stays_with_its_owner(tmp_path: Path) -> None:
    journal = Journal(tmp_path, lease=0.5, beat=0.05)
    begun(journal, owner=FAR)
    journal.hold("run-1", 1, lambda _: None)
    first = journal.entry("run-1").expires
    while journal.entry("run-1").expires < first + 1.0:
        with pytest.raises(RunError, match="is driven by"):
            journal.take("run-1", ME)
    journal.release("run-1", 1)
    journal.flush()
    assert journal.take("run-1", ME).epoch == 2


@pytest.mark.parametrize("appends", [True, False], ids=["by-an-append", "by-the-heartbeat"])
def test_one_who_lost_a_run_is_told_once(tmp_path: Path, appends: bool) -> None:
    journal = Journal(tmp_path, beat=3_600.0 if appends else 0.01)
    begun(journal)
    told: list[str] = []
    over = threading.Event()

    def lost(reason: str) -> None:
        told.append(reason)
        over.set()

    journal.hold("run-1", 1, lost)
    journal.flush()
    Journal(tmp_path).take("run-1", FAR, force=True)
    if appends:
        assert isinstance(outcome(journal, "run-1", 1), Fenced)
        assert isinstance(outcome(journal, "run-1", 1), Fenced)
    assert over.wait(60)
    journal.flush()
    (reason,) = told
    assert "'run-1' was taken over by process" in reason
    assert "on far" in reason


def test_a_run_taken_again_by_its_own_process_is_lost_to_the_old_driver(tmp_path: Path) -> None:
    journal = Journal(tmp_path, beat=0.01)
    begun(journal)
    old, new = threading.Event(), threading.Event()
    journal.hold("run-1", 1, lambda _: old.set())
    journal.hold("run-1", journal.take("run-1", ME).epoch, lambda _: new.set())
    assert old.wait(60)
    journal.close()
    assert not new.is_set()


def test_a_process_that_was_stopped_while_another_took_its_run_writes_nothing(
    tmp_path: Path,
) -> None:
    code = """
        journal = Journal(folder, lease=0.3, beat=0.05)
        lost = []
        journal.begin(Entry("run-1", "etl", "running", 1.0), b"", ME)
        journal.append("run-1", 1, b"before")
        journal.hold("run-1", 1, lost.append)
        journal.flush()
        say("holds")
        hear()
        told = []
        for number in range(10):
            journal.append("run-1", 1, b"late", status="failed", done=told.append)
            journal.flush()
        say(len(lost), *{type(error).__name__ for error in told})
    """
    other = Other(tmp_path, code)
    assert other.hear() == "holds"
    journal = Journal(tmp_path)
    with pytest.raises(RunError, match=f"driven by process {other.process.pid} "):
        journal.take("run-1", ME)
    taken = None
    while taken is None:
        other.process.send_signal(signal.SIGSTOP)
        os.waitpid(other.process.pid, os.WUNTRACED)
        try:
            deadline = time.monotonic() + 2.0
            while taken is None and time.monotonic() < deadline:
                try:
                    taken = journal.take("run-1", ME)
                except RunError:
                    continue
        except StoreError:
            # It was stopped in the middle of a commit.
            other.process.send_signal(signal.SIGCONT)
    assert taken.epoch == 2
    other.say()
    other.process.send_signal(signal.SIGCONT)
    assert other.hear() == "1 Fenced"
    assert outcome(journal, "run-1", 2, b"mine") is None
    assert journal.batches("run-1") == [(1, 1, b"before"), (2, 2, b"mine")]
    assert journal.entry("run-1").status == "running"
    other.end()


def test_a_run_whose_driver_was_killed_is_taken_at_once(tmp_path: Path) -> None:
    code = """
        journal = Journal.at(folder)
        journal.begin(Entry("run-1", "etl", "running", 1.0), b"", ME)
        journal.hold("run-1", 1, print)
        journal.flush()
        say("holds")
        hear()
    """
    other = Other(tmp_path, code)
    assert other.hear() == "holds"
    other.kill()
    assert Journal.at(tmp_path).take("run-1", ME).epoch == 2


# --- timers ---


def test_a_timer_is_overdue_until_its_run_has_started(journal: Journal) -> None:
    begun(journal, "late", owner=None, status="pending", due=20.0)
    begun(journal, "soon", owner=None, status="pending", due=10.0)
    begun(journal, "no timer", owner=None, status="pending")
    assert journal.next_due() == 10.0
    assert journal.overdue(9.0) == []
    assert [entry.id for entry in journal.overdue(20.0)] == ["soon", "late"]
    epoch = journal.take("soon", ME).epoch
    outcome(journal, "soon", epoch, status="pending")
    assert journal.entry("soon").due == 10.0
    outcome(journal, "soon", epoch, status="running")
    assert journal.entry("soon").due is None
    assert journal.next_due() == 20.0


def test_a_timer_that_another_is_about_to_start_is_not_started_twice(journal: Journal) -> None:
    begun(journal, owner=None, status="pending", due=10.0)
    taken = journal.take("run-1", FAR)
    assert journal.overdue(time.time()) == []
    assert journal.next_due() == taken.expires
    # Nor is it lost with who was about to.
    assert [entry.id for entry in journal.overdue(taken.expires + 1)] == ["run-1"]
    journal.take("run-1", DEAD, force=True)
    assert [entry.id for entry in journal.overdue(time.time())] == ["run-1"]


# --- what results are needed ---


def test_results_are_needed_until_no_run_needs_them(journal: Journal) -> None:
    begun(journal, owner=None)
    begun(journal, "run-2", owner=None)
    outcome(journal, "run-1", 0, hashes=[("a", 1), ("b", 2)])
    outcome(journal, "run-1", 0, hashes=[("a", 1)])
    outcome(journal, "run-2", 0, hashes=[("b", 2), ("c", 3)])
    assert journal.hashes() == {"a": 1, "b": 2, "c": 3}
    assert journal.hashes_of("run-1") == {"a": 1, "b": 2}
    journal.prune(["run-1"], 50.0)
    assert journal.hashes() == {"b": 2, "c": 3}
    assert journal.hashes_of("run-1") == {}
    assert journal.entry("run-1").pruned == 50.0
    assert journal.entry("run-2").pruned is None
    assert len(journal.batches("run-1")) == 2
    assert journal.body("run-1") == b"body of run-1"


def test_a_run_that_goes_on_after_it_was_pruned_needs_what_is_new(journal: Journal) -> None:
    begun(journal, owner=None)
    journal.prune(["run-1"], 50.0)
    outcome(journal, "run-1", 0, hashes=[("new", 4)])
    assert journal.hashes() == {"new": 4}


@pytest.mark.parametrize("owner", [ME, FAR], ids=["own", "unseen"])
def test_a_live_run_is_not_pruned_nor_are_the_others(journal: Journal, owner: Owner) -> None:
    begun(journal, "over", owner=None)
    outcome(journal, "over", 0, hashes=[("a", 1)])
    begun(journal, owner=owner)
    with pytest.raises(RunError, match=r"'run-1' are not given up, nor those .* driven by"):
        journal.prune(["over", "run-1"], 50.0)
    assert journal.hashes() == {"a": 1}
    assert journal.entry("over").pruned is None


def test_a_run_of_a_dead_process_is_pruned(journal: Journal) -> None:
    begun(journal, owner=DEAD)
    journal.prune(["run-1"], 50.0)
    assert journal.entry("run-1").pruned == 50.0


# --- what is not there ---


def test_an_unknown_run_is_said_with_what_was_meant(journal: Journal) -> None:
    begun(journal, "etl-2026-alpha", owner=None)
    for ask in (
        journal.entry,
        journal.body,
        journal.batches,
        journal.hashes_of,
        lambda run: journal.take(run, ME),
        lambda run: journal.prune([run], 1.0),
    ):
        with pytest.raises(
            RunNotFoundError,
            match=r"no run 'etl-2026-alpa' .*journal.sqlite.*did you mean 'etl-2026-alpha'",
        ):
            ask("etl-2026-alpa")


# --- many processes ---


def test_four_processes_write_at_once(tmp_path: Path) -> None:
    code = """
        journal = Journal.at(folder)
        run, told = str(os.getpid()), []
        say("ready")
        hear()
        epoch = journal.begin(Entry(run, "etl", "running", 1.0), b"", ME).epoch
        for number in range(300):
            journal.append(run, epoch, b"%d" % number, done=told.append)
            if number % 3 == 0:
                journal.flush()
        journal.flush()
        say(len(told), *{str(error) for error in told})
    """
    others = [Other(tmp_path, code) for _ in range(4)]
    for other in others:
        other.hear()
    for other in others:
        other.say()
    assert [other.hear() for other in others] == ["300 None"] * 4
    for other in others:
        other.end()
    journal = Journal.at(tmp_path)
    for other in others:
        assert journal.batches(str(other.process.pid)) == [
            (n + 1, 1, b"%d" % n) for n in range(300)
        ]


LOCKS = Path("/proc/locks")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_nothing_of_sqlite_crosses_a_fork(tmp_path: Path) -> None:
    # The parent's connection is open when it forks, and closed before the child's.
    code = """
        journal = Journal.at(folder)
        journal.begin(Entry("parent", "etl", "running", 1.0), b"", ME)
        journal.append("parent", 1, b"1")
        for _ in range(50):
            journal.append("parent", 1, b"1")
        assert journal._writer._running
        pid = os.fork()
        if not pid:
            try:
                journal.append("parent", 1, b"from the child")
            except Exception as error:
                say(type(error).__name__, "before this process was forked" in str(error))
            own = Journal.at(folder)
            assert own is not journal
            own.begin(Entry("child", "etl", "running", 2.0), b"", Owner.here())
            own.append("child", 1, b"2")
            own.flush()
            shared = os.stat(str(own.path) + "-shm").st_ino
            locks = open("/proc/locks").readlines() if os.path.exists("/proc/locks") else []
            say(any(f" {os.getpid()} " in line and f":{shared} " in line for line in locks))
            os._exit(0)
        os.waitpid(pid, 0)
        journal.append("parent", 1, b"3")
        journal.close()
        say("over")
    """
    other = Other(tmp_path, code)
    assert other.hear() == "StoreError True"
    # Without a lock of its own others would take away what the child writes to.
    assert other.hear() == str(LOCKS.exists())
    assert other.hear() == "over"
    other.end()
    journal = Journal.at(tmp_path)
    assert len(journal.batches("parent")) == 52
    assert journal.batches("child") == [(1, 1, b"2")]
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- any order of things ---


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "take", "release", "flush"]), st.integers(0, 1)),
        max_size=25,
    )
)
def test_only_the_last_who_took_a_run_writes_it(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    drivers = [Journal(folder), Journal(folder)]
    owners = [ME, FAR]
    begun(drivers[0], owner=owners[0])
    epochs, current, expected, told = [1, 0], 1, [], []
    try:
        for move, who in moves:
            journal = drivers[who]
            if move == "append":
                batch = b"%d" % len(told)
                is_right = epochs[who] == current
                journal.append("run-1", epochs[who], batch, done=told.append)
                journal.flush()
                assert (told[-1] is None) == is_right
                assert is_right or isinstance(told[-1], Fenced)
                if is_right:
                    expected.append((len(expected) + 1, current, batch))
            elif move == "take":
                current = epochs[who] = journal.take("run-1", owners[who], force=True).epoch
            elif move == "release":
                journal.release("run-1", epochs[who])
                journal.flush()
                if epochs[who] == current:
                    assert journal.entry("run-1").owner is None
            else:
                journal.flush()
            assert drivers[1 - who].entry("run-1").epoch == current
        assert drivers[0].batches("run-1") == expected
    finally:
        for journal in drivers:
            journal.close()
        shutil.rmtree(folder)
