"""What pruning gives up and what it leaves, whatever it is killed in."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nbflow
from nbflow import StoreError, step
from nbflow.journal.entry import Entry
from nbflow.journal.journal import Journal
from nbflow.record.archive import Archive
from nbflow.record.events import Event, Status
from nbflow.record.minutes import packed
from nbflow.record.tenancy import mark
from nbflow.running.pruning import Family, freed, given_up
from nbflow.sketch.sketch import Sketch
from nbflow.store.evidence import Claim, Evidence
from nbflow.store.owner import Owner
from nbflow.values.preview import preview
from nbflow.worker.effect import receipt_of

DAY = 86_400.0
NOW = time.time()


@step
def extract() -> list[int]:
    return [1]


BODY = Sketch.of(extract.s(), {}).packed()


def begun(archive: Archive, run: str, days: float, parent: str | None = None, **more) -> Entry:
    at = NOW - days * DAY
    url = archive.store.url
    entry = Entry(run, "etl", "running", at - 1, steps=1, store=url, parent=parent, **more)
    return archive.journal.begin(entry, BODY, Owner.here())


def ran(
    archive: Archive,
    run: str,
    value: object,
    days: float,
    status: str = "completed",
    parent: str | None = None,
    **more,
) -> str:
    """Enter a run that has ended so many days ago, with one result; give its hash."""
    entry = begun(archive, run, days, parent, **more)
    kept, at = archive.store.save(value), NOW - days * DAY
    how = Status.COMPLETED if status == "completed" else Status.FAILED
    event = Event("extract", how, at, 1, kept=kept, preview=preview(value), seconds=0.5)
    archive.journal.append(
        run,
        entry.epoch,
        packed([event]),
        hashes=[(kept.hash, kept.nbytes)],
        status=status,
        ended=at,
    )
    archive.journal.release(run, entry.epoch)
    archive.journal.flush()
    return kept.hash


def aged(folder: Path, seconds: float = 7200.0) -> None:
    """Let the results, and what is unfinished, be so old."""
    for path in [*folder.glob("payloads/*/*"), *folder.glob("incoming/*")]:
        os.utime(path, (NOW - seconds, NOW - seconds))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("payloads/*/*")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def archive(folder: Path) -> Archive:
    return Archive.of(folder)


def large(n: int) -> list[int]:
    return list(range(n, n + 1000))


# What is given up


def test_the_results_of_old_runs_are_given_up_and_their_record_stays(archive, folder):
    old = ran(archive, "old", large(1), days=40)
    young = ran(archive, "young", large(2), days=2)
    aged(folder)
    nbytes = archive.store.nbytes(old)

    gone = nbflow.prune(keep_days=30, store=folder)

    assert gone.to_dict("list") | {"ended": None} == {
        "run": ["old"],
        "flow": ["etl"],
        "ended": None,
        "bytes": [nbytes],
    }
    assert str(gone["ended"].dtype).startswith("datetime64[") and gone["ended"].dt.tz is not None
    assert files(folder) == {young}
    assert nbflow.runs(folder)["id"].tolist() == ["young", "old"]
    run = nbflow.load("old", folder)
    assert run.status == "completed"
    assert run.steps.loc["extract", "seconds"] == 0.5
    assert not run.preview("extract").empty
    assert run._repr_mimebundle_()
    assert nbflow.load("young", folder).value("extract") == large(2)


def test_a_value_of_a_pruned_run_says_when_it_was_pruned_and_what_to_do(archive, folder):
    ran(archive, "old", large(1), days=40)
    aged(folder)
    nbflow.prune(keep_days=30, store=folder)

    with pytest.raises(StoreError, match=r"'old' were pruned on .* run the flow again"):
        nbflow.load("old", folder).value("extract")


def test_a_value_that_is_missing_for_another_reason_does_not_say_that_it_was_pruned(
    archive, folder
):
    archive.store.delete(ran(archive, "run", large(1), days=1))

    with pytest.raises(StoreError, match="is missing from the store"):
        nbflow.load("run", folder).value("extract")


def test_the_oldest_results_are_given_up_until_the_others_are_few_enough(archive, folder):
    hashes = {n: ran(archive, f"run-{n}", large(n), days=n) for n in (3, 1, 4, 2)}
    aged(folder)
    most = sum(archive.store.nbytes(hashes[n]) for n in (1, 2))

    gone = nbflow.prune(max_bytes=most, store=folder)

    assert gone["run"].tolist() == ["run-4", "run-3"]
    assert files(folder) == {hashes[1], hashes[2]}


def test_a_result_that_another_run_needs_is_left(archive, folder):
    shared = ran(archive, "old", large(1), days=40)
    assert ran(archive, "young", large(1), days=1) == shared
    aged(folder)

    gone = nbflow.prune(keep_days=30, store=folder)

    assert gone[["run", "bytes"]].values.tolist() == [["old", 0]]
    assert nbflow.load("young", folder).value("extract") == large(1)


def test_a_key_of_a_pruned_run_is_still_its(archive, folder):
    ran(archive, "old", large(1), days=40, key="daily")

    nbflow.prune(keep_days=30, store=folder)

    assert archive.journal.keyed("daily").id == "old"


def test_a_run_that_goes_on_is_left_whatever_its_age(archive, folder):
    entry = begun(archive, "going", days=90)
    kept = archive.store.save(large(1))
    archive.journal.append("going", 1, packed([]), hashes=[(kept.hash, kept.nbytes)])
    archive.journal.flush()
    aged(folder)

    assert nbflow.prune(keep_days=0, max_bytes=0, store=folder).empty
    assert files(folder) == {kept.hash}
    archive.journal.release("going", entry.epoch)


def test_results_of_a_run_that_was_interrupted_are_given_up_only_for_their_age(archive, folder):
    entry = begun(archive, "stopped", days=40)
    kept = archive.store.save(large(1))
    archive.journal.append("stopped", 1, packed([]), hashes=[(kept.hash, kept.nbytes)])
    archive.journal.release("stopped", entry.epoch)
    archive.journal.flush()
    aged(folder)

    assert nbflow.prune(max_bytes=0, store=folder).empty
    assert files(folder) == {kept.hash}
    assert nbflow.prune(keep_days=30, store=folder)["run"].tolist() == ["stopped"]
    assert files(folder) == set()


def test_a_run_and_those_redriven_from_it_are_given_up_together(archive, folder):
    first = ran(archive, "first", large(1), days=40)
    second = ran(archive, "second", large(2), days=2, parent="first")
    aged(folder)

    assert nbflow.prune(keep_days=30, store=folder).empty
    assert files(folder) == {first, second}
    assert nbflow.prune(keep_days=1, store=folder)["run"].tolist() == ["first", "second"]
    assert files(folder) == set()


def test_a_pruned_run_that_went_on_since_keeps_what_it_has_found(archive, folder):
    found = ran(archive, "run", large(1), days=40)
    nbflow.prune(keep_days=30, store=folder)  # the file is young and stays
    entry = archive.journal.take("run", Owner.here())
    at = time.time()
    archive.journal.append("run", entry.epoch, packed([]), status="completed", ended=at)
    archive.journal.release("run", entry.epoch)
    archive.journal.flush()
    aged(folder)

    assert nbflow.prune(store=folder).empty

    assert files(folder) == {found}
    assert nbflow.prune(max_bytes=0, store=folder)["run"].tolist() == ["run"]
    assert files(folder) == set()


def test_without_a_limit_only_what_nothing_needs_is_removed(archive, folder):
    needed = ran(archive, "run", large(1), days=400)
    archive.store.save(large(2))
    aged(folder)

    gone = nbflow.prune(store=folder)

    assert gone.empty
    assert gone.columns.tolist() == ["run", "flow", "ended", "bytes"]
    assert files(folder) == {needed}


def test_a_folder_is_the_same_however_it_is_written(archive, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    young = ran(Archive.of("store"), "young", large(2), days=2)
    ran(archive, "old", large(1), days=40)
    aged(folder)

    assert nbflow.prune(keep_days=30, store=f"file://{folder}")["run"].tolist() == ["old"]
    assert files(folder) == {young}


def test_where_no_run_was_ever_begun_nothing_is_removed(archive, folder):
    found = archive.store.save(large(1)).hash
    aged(folder)

    assert nbflow.prune(keep_days=0, store=folder).empty
    assert files(folder) == {found}


@pytest.mark.parametrize("wrong", [-1, math.nan, "30", True])
@pytest.mark.parametrize("name", ["keep_days", "max_bytes"])
def test_a_limit_that_is_no_number_is_refused(name, wrong, folder):
    with pytest.raises(StoreError, match=rf"{name} is .* expected is a number of"):
        nbflow.prune(**{name: wrong}, store=folder)


# What is removed


def test_what_was_written_a_short_while_ago_is_left(archive, folder):
    ran(archive, "run", large(1), days=1)
    orphan = archive.store.save(large(2)).hash
    aged(folder, seconds=1800.0)

    nbflow.prune(store=folder)

    assert orphan in files(folder)


def test_what_somebody_looked_for_a_short_while_ago_is_left(archive, folder):
    ran(archive, "run", large(1), days=1)
    orphan = archive.store.save(large(2)).hash
    aged(folder)
    assert archive.store.is_intact(orphan)

    nbflow.prune(store=folder)

    assert orphan in files(folder)


def test_what_a_killed_writer_has_left_is_removed(archive, folder):
    ran(archive, "run", large(1), days=1)
    unfinished = folder / "incoming" / "1-a"
    unfinished.write_bytes(b"half")
    aged(folder, seconds=2 * DAY)

    nbflow.prune(store=folder)

    assert not unfinished.exists()


def left(archive: Archive, run: str, value: object) -> str:
    """Leave a claim, and a receipt of a result that the journal does not know of."""
    evidence, key = Evidence(archive.store, run), "ab" * 32
    kept = archive.store.save(value)
    assert evidence.claim(key, Claim(1, Owner.here(), "tcp://127.0.0.1:1", 0.0, "a"))
    event = Event("extract", Status.COMPLETED, NOW, 1, kept=kept)
    evidence.give_receipt(key, 1, receipt_of(0, event))
    evidence.leave(1, 0, "b", 1, packed([event]))
    return kept.hash


def test_what_workers_left_of_a_run_that_has_ended_is_removed(archive, folder):
    ran(archive, "run", large(1), days=1)
    left(archive, "run", large(2))

    nbflow.prune(store=folder)

    assert os.listdir(folder / "runs") == []
    assert nbflow.load("run", folder).status == "completed"


@pytest.mark.parametrize("only", ["effects", "segments"])
def test_what_workers_left_of_an_interrupted_run_is_left_with_its_results(only, archive, folder):
    ran(archive, "run", large(1), days=1)
    entry = begun(archive, "stopped", days=40)
    archive.journal.release("stopped", entry.epoch)
    archive.journal.flush()
    found = left(archive, "stopped", large(2))
    other = {"effects": "segments", "segments": "effects"}[only]
    shutil.rmtree(folder / "runs" / "stopped" / "receipts" / other)
    aged(folder)

    nbflow.prune(store=folder)

    assert found in files(folder)
    assert len(list(Evidence(archive.store, "stopped").receipts())) == 1
    assert len(Evidence(archive.store, "stopped").claims("ab" * 32)) == 1


def test_what_workers_leave_of_a_run_of_nobody_knows_whom_is_left(archive, folder):
    ran(archive, "run", large(1), days=1)
    left(archive, "unknown", large(2))

    nbflow.prune(store=folder)

    assert os.listdir(folder / "runs") == ["unknown"]


# Behind a URL


def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Archive:
    monkeypatch.setenv("NBFLOW_STORE", str(folder))
    archive = Archive.of(f"memory://{name}")
    mark(archive)
    return archive


@pytest.fixture
def old_files(monkeypatch):
    """Let the files of a store in memory be old: nothing sets their time."""
    monkeypatch.setattr("nbflow.running.pruning.GRACE_SECONDS", 0.0)


def test_results_behind_a_url_are_those_of_its_runs(folder, monkeypatch, old_files):
    here = Archive.of(folder)
    ran(here, "here", large(1), days=40)
    there = elsewhere(folder, monkeypatch, "prune-own")
    ran(there, "there", large(2), days=40)

    gone = nbflow.prune(keep_days=30, store="memory://prune-own/")

    assert gone["run"].tolist() == ["there"]
    assert list(there.store.hashes()) == []
    assert nbflow.load("here", folder).value("extract") == large(1)


def test_nothing_is_removed_where_another_journal_has_results_too(
    folder, tmp_path, monkeypatch, old_files
):
    other = elsewhere(tmp_path / "other", monkeypatch, "prune-two")
    theirs = ran(other, "theirs", large(1), days=40)
    mine = elsewhere(folder, monkeypatch, "prune-two")
    ran(mine, "mine", large(2), days=40)

    with pytest.raises(StoreError, match=r"other journals .* on .* delete the file 'journals/"):
        nbflow.prune(keep_days=0, store="memory://prune-two")

    assert theirs in mine.store
    assert nbflow.load("mine").value("extract") == large(2)


def test_a_file_behind_a_url_is_left_while_a_run_goes_on(folder, monkeypatch, old_files):
    there = elsewhere(folder, monkeypatch, "prune-going")
    ran(there, "old", large(1), days=40)
    begun(there, "going", days=0)

    assert nbflow.prune(keep_days=30, store="memory://prune-going")["run"].tolist() == ["old"]
    assert len(list(there.store.hashes())) == 1

    there.journal.release("going", 1)
    there.journal.flush()
    nbflow.prune(store="memory://prune-going")
    assert list(there.store.hashes()) == []


# What is chosen


entry_ids = st.integers(min_value=0, max_value=10**9)


@st.composite
def families(draw) -> list[Family]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        entries = tuple(
            Entry(f"run-{number}-{n}", "etl", "completed", 0.0)
            for n in range(draw(st.integers(1, 2)))
        )
        hashes = st.dictionaries(st.sampled_from("abcdef"), st.just(0), max_size=3)
        sizes = {"a": 0, "b": 1, "c": 10, "d": 10, "e": 100, "f": 5}
        needs = {each.id: {h: sizes[h] for h in draw(hashes)} for each in entries}
        last = draw(st.integers(0, 50)) * DAY
        found.append(Family(entries, needs, last, draw(st.booleans()), draw(st.booleans())))
    return found


def total(of: list[Family]) -> int:
    return sum({h: n for family in of for h, n in family.hashes.items()}.values())


@given(families(), st.none() | st.integers(0, 50), st.none() | st.integers(0, 150))
def test_what_is_given_up_is_as_little_as_is_asked_for(known, keep_days, max_bytes):
    now = 50 * DAY

    gone = given_up(known, now, keep_days, max_bytes)

    kept = [family for family in known if not any(family is each for each in gone)]
    limit = -math.inf if keep_days is None else now - keep_days * DAY
    assert not any(family.live for family in gone)
    for family in kept:
        assert family.live or family.last >= limit or not family.hashes
    young = [family for family in gone if family.last >= limit]
    assert all(family.ended for family in young)
    if max_bytes is None:
        assert not young
    else:
        movable = [f for f in kept if not f.live and f.ended and f.hashes]
        assert total(kept) <= max_bytes or not movable
        # None is given up that did not have to be, and the oldest are.
        assert not young or total([*kept, young[-1]]) > max_bytes
        assert all(a.last <= b.last for a in young for b in movable)
    assert sum(nbytes for _, nbytes in freed(gone, known)) == total(known) - total(kept)


# Killed in between

KILLED = """
import os, signal, shutil, sys
from nbflow.running.pruning import prune
import nbflow.running.history, pandas

folder, copies = sys.argv[1:]
kinds = {"os.remove", "os.rename", "os.rmdir", "sqlite3.connect"}
for number in range(1, 200):
    place = f"{copies}/{number}"
    shutil.copytree(folder, place)
    child = os.fork()
    if not child:
        left = [number]
        def hook(kind, arguments):
            if kind in kinds and (kind != "sqlite3.connect" or place in str(arguments[0])):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        prune(keep_days=30, store=place)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(number)
        break
"""


def test_pruning_that_is_killed_anywhere_is_finished_by_the_next(archive, folder, tmp_path):
    old = {ran(archive, f"old-{n}", large(n), days=40 + n) for n in range(2)}
    young = ran(archive, "young", large(5), days=2)
    ran(archive, "left", large(6), days=2)
    left(archive, "left", large(7))
    (folder / "incoming" / "1-a").write_bytes(b"half")
    archive.journal.close()
    aged(folder, seconds=2 * DAY)
    copies = tmp_path / "copies"
    copies.mkdir()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)

    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(copies)],
        capture_output=True,
        text=True,
        check=True,
    )

    count = int(done.stdout)
    assert count > 10
    ways = set()
    for number in range(1, count + 1):
        place = copies / str(number)
        needed = set(Journal.at(place).hashes())
        rows_gone, files_gone = not needed & old, old - files(place)
        assert needed <= files(place), f"killed at {number}, a run lost what it needs"
        assert rows_gone or not files_gone, f"killed at {number}, files went before rows"
        ways.add((rows_gone, len(files_gone)))
        nbflow.prune(keep_days=30, store=place)
        kept = Archive.of(place).store
        assert files(place) == {young, kept.save(large(6)).hash}
        assert os.listdir(place / "runs") == [], f"killed at {number}"
        assert os.listdir(place / "incoming") == [], f"killed at {number}"
        assert nbflow.load("young", place).value("extract") == large(5)
        assert nbflow.load("old-0", place).status == "completed"
    assert ways >= {(False, 0), (True, 0), (True, 1), (True, 2)}
