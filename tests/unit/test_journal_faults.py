"""Whatever happens to the disk, the file or the process: what was said to be there is there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.errors import StoreError
from nbflow.journal import database, schema
from nbflow.journal.journal import Entry, Fenced, Journal
from nbflow.store import disk
from nbflow.store.owner import Owner

ME = Owner.here()


def begun(journal: Journal, run: str = "run-1", owner: Owner | None = ME) -> Entry:
    return journal.begin(Entry(run, "etl", "running", 1.0), b"body", owner)


def outcome(journal: Journal, run: str = "run-1", batch: bytes = b"x") -> Any:
    told: list[Any] = []
    journal.append(run, 1, batch, done=told.append)
    journal.flush()
    (error,) = told
    return error


def is_whole(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        checked = connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return checked and not connection.execute("PRAGMA foreign_key_check").fetchall()


# --- the disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_what_was_there_stays(small_disk: Path) -> None:
    journal = Journal(small_disk)
    begun(journal)
    begun(journal, "run-2")
    assert outcome(journal, batch=b"first") is None
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1 << 21))
    told: list[Any] = []
    for batch in (random.Random(0).randbytes(200_000), b"small"):
        journal.append("run-1", 1, batch, done=told.append)
        journal.flush()
    assert isinstance(told[0], StoreError)
    assert "the disk is full, 0.0" in str(told[0])
    assert "Make room and resume the run" in str(told[0])
    # The small one came after one that is not there.
    assert told[1] is told[0]
    with pytest.raises(StoreError, match="the disk is full"):
        journal.begin(Entry("run-3", "etl", "running", 1.0), bytes(200_000), ME)
    assert journal.batches("run-1") == [(1, 1, b"first")]
    ballast.unlink()
    assert outcome(journal) is told[0]
    assert outcome(journal, "run-2") is None
    epoch = journal.take("run-1", ME).epoch
    journal.append("run-1", epoch, b"again", done=told.append)
    journal.flush()
    assert told[-1] is None
    assert journal.batches("run-1") == [(1, 1, b"first"), (2, 2, b"again")]
    assert len(journal.entries()) == 2
    journal.close()
    assert is_whole(journal.path)


def test_a_disk_that_was_full_at_the_start_is_said(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(1 << 21))
    journal = Journal(small_disk)
    with pytest.raises(StoreError, match="the disk is full"):
        begun(journal)
    (small_disk / "ballast").unlink()
    assert begun(journal).epoch == 1
    assert outcome(journal) is None
    journal.close()


def test_a_disk_without_room_to_open_the_journal_is_said(small_disk: Path) -> None:
    journal = Journal(small_disk)
    begun(journal)
    journal.close()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(1 << 21))
    assert "the disk is full" in str(outcome(journal))
    (small_disk / "ballast").unlink()
    assert begun(journal, "run-2").epoch == 1
    journal.close()


def remounted(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def test_a_folder_that_may_not_be_written_is_said_and_read(small_disk: Path) -> None:
    journal = Journal(small_disk)
    begun(journal)
    assert outcome(journal) is None
    journal.close()
    remounted(small_disk, "ro")
    with pytest.raises(StoreError, match=r"it is not allowed .* choose another folder"):
        begun(journal, "run-2")
    with pytest.raises(StoreError, match="it is not allowed"):
        Journal(small_disk / "new" / "folder").begin(Entry("a", "b", "c", 1.0), b"", ME)
    assert isinstance(outcome(journal), StoreError)
    assert [entry.id for entry in journal.entries()] == ["run-1"]
    assert len(journal.batches("run-1")) == 1
    assert Journal(small_disk / "new").entries() == []
    remounted(small_disk, "rw")
    assert begun(journal, "run-2").epoch == 1
    journal.close()


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        journal = Journal(folder)
        for act in (journal.entries, lambda: begun(journal)):  # noqa: B023 - called at once
            with pytest.raises(StoreError, match="there is a file where a folder should be"):
                act()
    assert (tmp_path / "file").read_text() == "mine"


# --- the locks of others ---

HOLDER = """
    import sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("locked", flush=True)
    sys.stdin.readline()
    connection.execute("COMMIT")
"""


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    started = []

    def lock(path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLDER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield lock
    for process in started:
        process.kill()
        process.communicate()


def test_a_lock_of_another_process_is_waited_for(tmp_path: Path, lock: Any) -> None:
    journal = Journal(tmp_path, patience=60.0)
    begun(journal)
    holder = lock(journal.path)
    told: list[Any] = []
    for number in range(50):
        journal.append("run-1", 1, b"%d" % number, done=told.append)
    with pytest.raises(StoreError, match=r"not all .* is there after 0.5 seconds"):
        journal.flush(timeout=0.5)
    assert told == []
    holder.communicate("\n")
    journal.flush()
    assert told == [None] * 50
    assert len(journal.batches("run-1")) == 50


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_lock_that_is_kept_too_long_is_said_with_its_holder(
    tmp_path: Path, lock: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "delete":
        monkeypatch.setattr(database, "network", lambda _: "nfs")
        monkeypatch.setattr(database, "_warned", {tmp_path})
    journal = Journal(tmp_path, patience=0.2)
    begun(journal)
    holder = lock(journal.path)
    error = outcome(journal)
    assert isinstance(error, StoreError)
    who = f"by process {holder.pid} (" if Path("/proc/locks").exists() else "by another process"
    assert "it is locked, and was so for 0.2 seconds, " + who in str(error)
    with pytest.raises(StoreError, match="it is locked"):
        begun(journal, "run-2")
    holder.communicate("\n")
    assert begun(journal, "run-2").epoch == 1
    # What came after the lost batch would leave a gap.
    assert outcome(journal) is error
    assert journal.take("run-1", ME).epoch == 2


def test_a_lock_is_waited_for_while_the_log_is_set_up(
    tmp_path: Path, lock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(database, "network", lambda _: "nfs")
        patch.setattr(database, "_warned", {tmp_path})
        begun(Journal(tmp_path))
        Journal(tmp_path).close()
    journal = Journal(tmp_path, patience=60.0)
    holder = lock(journal.path)
    told: list[Any] = []
    journal.append("run-1", 1, b"x", done=told.append)
    with pytest.raises(StoreError, match=r"not all .* is there after 0.3 seconds"):
        journal.flush(timeout=0.3)
    holder.communicate("\n")
    journal.flush()
    assert told == [None]


def test_a_lease_that_cannot_be_renewed_is_lost(tmp_path: Path, lock: Any) -> None:
    journal = Journal(tmp_path, lease=0.3, beat=0.05, patience=0.05)
    begun(journal)
    told: list[str] = []
    over = threading.Event()

    def lost(reason: str) -> None:
        told.append(reason)
        over.set()

    journal.hold("run-1", 1, lost)
    journal.flush()
    lock(journal.path)
    assert over.wait(60)
    journal.close()
    assert len(told) == 1
    assert "the lease of the run 'run-1', good for 0.3 seconds, ran out" in told[0]
    assert "it is locked" in told[0]


def test_a_lease_outlives_a_short_lock(tmp_path: Path, lock: Any) -> None:
    journal = Journal(tmp_path, lease=60.0, beat=0.05, patience=0.02)
    begun(journal)
    told: list[str] = []
    journal.hold("run-1", 1, told.append)
    journal.flush()
    before = journal.entry("run-1").expires
    holder = lock(journal.path)
    # Long enough that it was to be renewed several times.
    for _ in range(20):
        with pytest.raises(StoreError, match="it is locked"):
            begun(journal, "run-2")
    holder.communicate("\n")
    while journal.entry("run-1").expires <= before + 0.2:
        pass
    assert told == []
    journal.close()


# --- the file ---


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"x", "sqlite"])
def test_a_file_of_another_program_is_refused_untouched(tmp_path: Path, content: Any) -> None:
    journal = Journal(tmp_path)
    if content == "sqlite":
        # As it was left by a program that was killed.
        with closing(sqlite3.connect(tmp_path / "other")) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE mine (a)")
            connection.execute("PRAGMA wal_checkpoint")
            connection.execute("INSERT INTO mine VALUES (1)")
            connection.commit()
            for end in ("", "-wal"):
                shutil.copy(tmp_path / f"other{end}", f"{journal.path}{end}")
        (tmp_path / "other").unlink()
    else:
        journal.path.write_bytes(content)
    files = sorted(os.listdir(tmp_path))
    before = journal.path.read_bytes(), journal.path.stat().st_mtime_ns
    for act in (journal.entries, lambda: journal.entry("a"), lambda: begun(journal)):
        with pytest.raises(StoreError, match=r"is no journal of nbflow: .* left untouched. Move"):
            act()
    assert isinstance(outcome(journal), StoreError)
    assert (journal.path.read_bytes(), journal.path.stat().st_mtime_ns) == before
    assert sorted(os.listdir(tmp_path)) == files


def test_an_empty_file_is_a_journal_that_was_just_begun(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.path.touch()
    assert journal.entries() == []
    assert begun(journal).epoch == 1


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    begun(journal)
    for number in range(200):
        journal.append("run-1", 1, bytes(2_000))
    journal.close()
    data = bytearray(journal.path.read_bytes())
    data[4096:] = random.Random(0).randbytes(len(data) - 4096)
    journal.path.write_bytes(data)
    fresh = Journal(tmp_path)
    for act in (fresh.entries, lambda: fresh.batches("run-1"), lambda: begun(fresh, "run-2")):
        with pytest.raises(StoreError, match=r"it is damaged .* Move it away"):
            act()
    assert journal.path.read_bytes() == data


def test_a_newer_file_is_neither_read_nor_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    begun(journal)
    journal.close()
    with closing(sqlite3.connect(journal.path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = journal.path.read_bytes()
    for act in (journal.entries, lambda: begun(journal, "run-2")):
        with pytest.raises(
            StoreError, match=r"has version 99 of its tables, .* up to version 2. .*Update nbflow"
        ):
            act()
    assert isinstance(outcome(journal), StoreError)
    assert journal.path.read_bytes() == before


SECOND = ("ALTER TABLE runs ADD COLUMN note TEXT", "UPDATE runs SET note = 'old ' || id")


@pytest.mark.parametrize("first", ["read", "write"])
def test_an_older_file_is_brought_forward_and_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    begun(Journal(tmp_path))
    old = Journal(tmp_path)
    assert outcome(old) is None
    old.close()
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, SECOND, ("SELECT 1",)))
    journal = Journal(tmp_path)
    if first == "write":
        assert outcome(journal) is None
    assert [entry.id for entry in journal.entries()] == ["run-1"]
    assert len(journal.batches("run-1")) == (2 if first == "write" else 1)
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("SELECT note FROM runs").fetchall() == [("old run-1",)]


def test_a_step_forward_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(Journal(tmp_path))
    monkeypatch.setattr(
        schema, "_MIGRATIONS", (*schema._MIGRATIONS, (SECOND[0], "UPDATE absent SET a = 1"))
    )
    journal = Journal(tmp_path)
    with pytest.raises(StoreError, match="no such table: absent"):
        journal.entries()
    monkeypatch.undo()
    assert [entry.id for entry in Journal(tmp_path).entries()] == ["run-1"]


def test_many_processes_make_the_journal_at_once(tmp_path: Path) -> None:
    code = """
        import sys
        from nbflow.journal.journal import Entry, Journal
        from nbflow.store.owner import Owner
        print("ready", flush=True)
        sys.stdin.readline()
        Journal(sys.argv[1]).begin(Entry(sys.argv[2], "etl", "running", 1.0), b"", Owner.here())
    """
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        others = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), str(folder), str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(4)
        ]
        for other in others:
            other.stdout.readline()
        for other in others:
            other.stdin.write("\n")
            other.stdin.flush()
        for other in others:
            other.communicate(timeout=60)
            assert other.returncode == 0
        assert len(Journal(folder).entries()) == 4


def test_a_file_that_is_deleted_while_a_run_goes_on_is_not_made_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder", beat=3_600.0)
    begun(journal)
    told: list[str] = []
    journal.hold("run-1", 1, told.append)
    assert outcome(journal) is None
    shutil.rmtree(tmp_path / "folder")
    error = outcome(journal)
    assert isinstance(error, StoreError)
    assert not isinstance(error, Fenced)
    assert "was deleted or moved away while it was in use" in str(error)
    assert told == [str(error)]
    assert not journal.path.parent.exists()
    # A new run begins a new journal, in which the old one is not.
    assert begun(journal, "run-2").epoch == 1
    assert outcome(journal) is error
    assert outcome(journal, "run-2") is None
    assert [entry.id for entry in journal.entries()] == ["run-2"]
    journal.close()


def test_a_file_that_was_made_anew_has_not_the_old_runs(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "folder", beat=0.01)
    begun(journal)
    over = threading.Event()
    journal.flush()
    shutil.rmtree(tmp_path / "folder")
    begun(Journal(tmp_path / "folder"), "run-2")
    error = outcome(journal)
    assert isinstance(error, StoreError)
    assert "the run 'run-1' is not in the journal" in str(error)
    journal.hold("run-1", 1, lambda _: over.set())
    assert over.wait(60)
    journal.close()


def test_what_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    begun(journal)
    begun(journal, "run-2")
    told: dict[str, list[Any]] = {"run-1": [], "run-2": []}
    for run in ("run-1", "run-2"):
        journal.append(run, 1, b"before", done=told[run].append)
    # A number that SQLite has no room for; half of the batch is written when that is seen.
    journal.append("run-1", 1, b"bad", hashes=[("h", 1 << 70)], done=told["run-1"].append)
    for run in ("run-1", "run-2"):
        journal.append(run, 1, b"after", done=told[run].append)
    journal.flush()
    assert told["run-2"] == [None, None]
    assert told["run-1"][0] is None
    assert isinstance(told["run-1"][1], StoreError)
    assert told["run-1"][2] is told["run-1"][1]
    assert [batch for _, _, batch in journal.batches("run-1")] == [b"before"]
    assert [batch for _, _, batch in journal.batches("run-2")] == [b"before", b"after"]
    assert journal.hashes() == {}
    journal.close()


# --- where it is ---

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:40 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
24 23 0:41 / /home/me/fast rw - xfs /dev/vdb rw
25 22 0:42 / /mnt/with\040space rw - cifs //server/share rw
26 22 0:43 / /over rw - nfs server:/a rw
27 22 0:44 / /over rw - tmpfs none rw
28 22 0:45 / /far rw - fuse.sshfs me@server:/ rw
damaged line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/homes", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/work/.nbflow", "nfs4"),
        ("/home/me/fast/.nbflow", "xfs"),
        ("/mnt/with space/.nbflow", "cifs"),
        ("/over/there", "tmpfs"),
        ("/far/away", "fuse.sshfs"),
    ],
)
def test_the_kind_of_a_file_system_is_told(path: str, kind: str) -> None:
    assert disk.file_system(path, MOUNTS) == kind
    assert (kind in disk._NETWORK) == (kind in ("nfs4", "cifs", "fuse.sshfs"))


@given(st.text(), st.text())
def test_any_text_in_place_of_the_mounts_is_borne(path: str, text: str) -> None:
    disk.file_system(path, text)
    disk.holders(text, {1})


def test_this_very_folder_is_found(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        pytest.skip("the mounts cannot be seen here")
    assert disk.file_system(str(tmp_path), mounts.read_text())


LOCKS = """\
1: POSIX  ADVISORY  WRITE 11 fe:00:7 120 120
1: -> POSIX  ADVISORY  WRITE 12 fe:00:7 120 120
2: POSIX  ADVISORY  READ 13 fe:00:7 123 123
3: POSIX  ADVISORY  READ 14 fe:00:8 1073741826 1073742335
4: FLOCK  ADVISORY  WRITE 15 fe:00:7 0 EOF
5: POSIX  ADVISORY  WRITE 16 fe:00:9 120 120
6: OFDLCK ADVISORY  WRITE -1 fe:00:8 120 120
7: POSIX  ADVISORY  WRITE 17 fe:00:8 1073741825 1073741825
8: POSIX  ADVISORY  WRITE 18 fe:00:8 0 EOF
"""


def test_who_writes_is_told_from_who_reads_or_waits() -> None:
    assert disk.holders(LOCKS, {7, 8}) == (11, 17)
    assert disk.holders(LOCKS, {6}) == ()


def test_on_a_network_it_is_warned_once_and_written_without_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "network", lambda _: "nfs4")
    journal = Journal(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begun(journal)
        journal.close()
        begun(journal, "run-2")
        assert outcome(journal) is None
    (warning,) = caught
    assert f"{str(tmp_path)!r}, is on a network file system (nfs4)" in str(warning.message)
    assert "Choose a folder on a disk of this machine" in str(warning.message)
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert len(journal.entries()) == 2
    journal.close()


class WithoutMemory(sqlite3.Connection):
    """Fails as on a file system that promises a log and cannot have one."""

    promises = True

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        if "journal_mode=WAL" in sql and not self.promises:
            return super().execute("PRAGMA journal_mode")
        (mode,) = super().execute("PRAGMA journal_mode").fetchone()
        if mode == "wal" and sql.startswith("BEGIN"):
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, values)


@pytest.mark.parametrize("promises", [True, False])
def test_where_no_log_works_it_is_written_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, promises: bool
) -> None:
    monkeypatch.setattr(WithoutMemory, "promises", promises)
    monkeypatch.setattr(database, "CONNECTION", WithoutMemory)
    journal = Journal(tmp_path)
    told: list[Any] = []
    with pytest.warns(UserWarning, match="cannot share memory"):
        begun(journal)
    journal.append("run-1", 1, b"x", done=told.append)
    journal.close()
    assert told == [None]
    with closing(sqlite3.connect(journal.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


# --- the n-th thing that SQLite does, for all n ---


class Failing(sqlite3.Connection):
    """Fails, or kills its process, when so much was done; `once` or from then on."""

    left = 0
    once = True
    after = False
    kills = False

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        return self._do(lambda: super(Failing, self).execute(sql, values))

    def executemany(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        return self._do(lambda: super(Failing, self).executemany(sql, values))

    def _do(self, act: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        kind = type(self)
        kind.left -= 1
        is_now = kind.left == 0 or (kind.left < 0 and not kind.once)
        if is_now and not kind.after:
            self._fail()
        done = act()
        if is_now and kind.after:
            # Or the traceback would keep it, and with it the lock that it has.
            done.close()
            self._fail()
        return done

    def _fail(self) -> None:
        if type(self).kills:
            os.kill(os.getpid(), signal.SIGKILL)
        raise sqlite3.OperationalError("injected")


RUNS = ("run-1", "run-2")


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one, for what is done hundreds of times."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else tmp_path))
    yield folder
    shutil.rmtree(folder)


def do_all(journal: Journal, say: Callable[[str], None]) -> None:
    """Begin two runs, write both, take one again and release it, and say what is there."""
    for run in RUNS:
        try:
            begun(journal, run)
        except StoreError:
            continue
        say(f"begun {run}")

    def append(run: str, epoch: int, batch: str) -> None:
        def done(error: Exception | None) -> None:
            if error is None:
                say(f"batch {run} {batch}")

        journal.append(run, epoch, batch.encode(), hashes=[(f"hash of {batch}", 1)], done=done)

    for number in range(2):
        for run in RUNS:
            append(run, 1, f"{run}:{number}")
        journal.flush()
    try:
        epoch = journal.take("run-1", ME).epoch
    except (StoreError, KeyError):
        return
    say(f"taken run-1 {epoch}")
    append("run-1", epoch, "run-1:again")
    journal.release("run-1", epoch)
    journal.flush()


def check(folder: Path, said: list[str]) -> None:
    """What was said to be there is there, in order, without gaps, and as a whole."""
    journal = Journal(folder)
    if journal.path.exists() and journal.path.stat().st_size:
        assert is_whole(journal.path)
    entries = {entry.id: entry for entry in journal.entries()}
    for run, entry in entries.items():
        assert journal.body(run) == b"body"
        batches = journal.batches(run)
        assert [seq for seq, _, _ in batches] == list(range(1, len(batches) + 1))
        texts = [batch.decode() for _, _, batch in batches]
        first = [text for text in texts if not text.endswith("again")]
        # Nothing before it is missing, and nothing is there twice.
        assert first == [f"{run}:{number}" for number in range(len(first))]
        assert texts == first + ["run-1:again"] * (len(texts) - len(first))
        assert len(texts) - len(first) <= 1
        epochs = [epoch for _, epoch, _ in batches]
        assert epochs == sorted(epochs)
        assert set(journal.hashes_of(run)) == {f"hash of {text}" for text in texts}
        for line in said:
            if line.startswith(f"batch {run} "):
                assert line.split(" ", 2)[2] in texts
            if line.startswith(f"taken {run} "):
                assert entry.epoch >= int(line.split()[2])
    for line in said:
        if line.startswith("begun "):
            assert line.split()[1] in entries
    # It goes on as if nothing had been.
    for run in RUNS:
        epoch = (
            journal.take(run, ME, force=True).epoch if run in entries else begun(journal, run).epoch
        )
        told: list[Any] = []
        journal.append(run, epoch, b"goes on", done=told.append)
        journal.flush()
        assert told == [None]
    journal.close()


@pytest.mark.parametrize("once", [True, False], ids=["once", "for-ever"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whatever_fails_what_was_said_is_there(
    in_memory: Path, monkeypatch: pytest.MonkeyPatch, once: bool, after: bool
) -> None:
    number, failed = 0, True
    while failed:
        number += 1
        monkeypatch.setattr(database, "CONNECTION", Failing)
        for name, value in {"left": number, "once": once, "after": after}.items():
            monkeypatch.setattr(Failing, name, value)
        said: list[str] = []
        folder = in_memory / str(number)
        with warnings.catch_warnings():
            # Where the log fails it is written without, which is said.
            warnings.simplefilter("ignore")
            journal = Journal(folder, patience=0.1)
            do_all(journal, said.append)
            failed = Failing.left <= 0
            if failed and once:
                # Only what failed is lost, not the journal.
                assert begun(journal, "run-3").epoch == 1
            journal.close()
        monkeypatch.undo()
        check(folder, said)
        shutil.rmtree(folder, ignore_errors=True)
    assert len(said) == 8
    assert number > 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whenever_it_is_killed_what_was_said_is_there(in_memory: Path, after: bool) -> None:
    number, was_killed = 0, True
    while was_killed:
        number += 1
        folder, heard = in_memory / str(number), in_memory / f"{number}.txt"
        heard.touch()
        pid = os.fork()
        if not pid:
            Failing.left, Failing.after, Failing.kills = number, after, True
            database.CONNECTION = Failing
            with heard.open("ab", buffering=0) as file:
                do_all(Journal(folder), lambda line: file.write(line.encode() + b"\n"))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        was_killed = os.WIFSIGNALED(status)
        assert was_killed or os.waitstatus_to_exitcode(status) == 0
        said = heard.read_text().splitlines()
        check(folder, said)
        shutil.rmtree(folder, ignore_errors=True)
    assert len(said) == 8
    assert number > 50
