"""Disks that are full, files that are damaged or gone, and a journal that others hold."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from chaos import faults
from chaos.flows import PAID, extract, merge, payment, prepare
from chaos.invariants import check
from chaos.kernel import Kernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow import step
from nbflow.journal import journal

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}


def ballast(place: Path) -> Path:
    """Fill a disk to its last byte."""
    file = place / "ballast"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))
    return file


def cleared_up(run: nbflow.Run, stage: Stage) -> None:
    """See to it that an effect happened once: its receipt came later, or it is in doubt."""
    if run.status == "interrupted":
        assert run.state.steps["charge"].doubts
        assert stage.counts()["charge"] == 1
        run = run.resolve("charge", completed=[5]).resume()
    assert run.result(30) == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Stage]:
    """Give a stage on a disk of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    yield Stage(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


@row("37-M1")
def test_on_a_full_disk_nothing_is_begun(cluster: Client, small_disk: Stage) -> None:
    stage = small_disk
    prepare.s(stage.folder).run(store=stage.store)
    stage.forget()
    stage.touch("ledger")
    full = ballast(Path(stage.folder))
    with pytest.raises(nbflow.StoreError, match="the disk is full"):
        payment(stage.folder).submit(store=stage.store)
    assert stage.counts() == {}
    full.unlink()
    assert payment(stage.folder).run(store=stage.store).result() == PAID
    assert stage.counts() == ONCE


@row("39-M8")
def test_on_a_disk_that_becomes_full_nothing_counts_as_done_that_is_not_written(
    cluster: Client, stage: Stage, tmp_path: Path
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    stage.until_written("prepare", "completed")
    faults.plan(stage.folder, faults.COMMIT, "before", "fail for good")
    stage.open()
    assert run.wait(40)
    assert run.status == "interrupted"
    assert "disk is full" in run.state.reason
    with pytest.raises(nbflow.NbflowError, match="disk is full"):
        run.result()
    faults.let_go(stage.folder)
    stage.until_idle(cluster)
    resumed = stage.load().resume()
    assert (resumed.result(30), stage.counts()["charge"]) == (PAID, 1)
    assert stage.counts()["notify"] == 1


@row("37-M1")
def test_a_run_that_could_not_be_entered_was_never_sent(cluster: Client, stage: Stage) -> None:
    prepare.s(stage.folder).run(store=stage.store)
    stage.forget()
    faults.plan(stage.folder, faults.COMMIT, "before", "fail")
    with pytest.raises(nbflow.StoreError, match="disk is full"):
        payment(stage.folder).submit(store=stage.store, key="order-1")
    assert (stage.counts(), len(stage.run_ids())) == ({}, 1)
    run = payment(stage.folder).submit(store=stage.store, key="order-1")
    assert (run.result(30), stage.counts()) == (PAID, ONCE)


@row("38-M5")
def test_an_effect_whose_result_cannot_be_kept_is_not_done_twice_for_that(
    cluster: Client, stage: Stage
) -> None:
    faults.plan(stage.folder, "payloads/", "before", "fail for good")
    stage.spoil("notify", 1)
    run = payment(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    assert run.status == "failed"
    assert "was not kept" in run.log("charge")
    faults.let_go(stage.folder)
    # Nobody has the result any more, and the effect is not repeated to get it.
    run = stage.load().resume()
    assert run.wait(30)
    assert run.status == "interrupted"
    assert run.state.steps["charge"].doubts
    run = run.resolve("charge", completed=[5]).resume()
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)


@row("38-M6")
def test_an_effect_whose_receipt_cannot_be_written_is_in_doubt(
    cluster: Client, stage: Stage
) -> None:
    faults.plan(stage.folder, "receipts/effects", "before", "fail")
    run = payment(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    assert run.status == "interrupted"
    assert "it was done, but that could not be written down" in run.state.reason
    run = run.resolve("charge", completed=[5]).resume()
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)


@row("38-M6")
def test_an_effect_that_ended_without_a_receipt_is_not_waited_for_elsewhere(
    foreign_kernel: Kernel, cluster: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.shut("charge")
    foreign_kernel.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge")
    faults.plan(stage.folder, "receipts/effects", "before", "fail")
    foreign_kernel.kill()
    stage.open()
    stage.until_idle(cluster)
    # The worker that began it lives, and does something else.
    run = stage.load().resume(cluster=elsewhere)
    assert run.wait(40)
    cleared_up(run, stage)


@row("38-M3")
def test_an_effect_that_cannot_be_claimed_is_not_begun(cluster: Client, stage: Stage) -> None:
    faults.plan(stage.folder, "claims/", "before", "fail")
    run = payment(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    assert (run.status, stage.counts()) == ("failed", {"prepare": 1})
    assert "the disk is full" in str(run.error("charge"))
    assert stage.load().resume().result(30) == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("38-M5")
def test_on_a_small_disk_what_cannot_be_kept_is_said_and_a_resume_works(
    cluster: Client, small_disk: Stage
) -> None:
    stage = small_disk
    large = step(lambda folder: os.urandom(4_000_000), name="large", checkpoint=True)
    flow = large.s(stage.folder) >> step(len)
    run = flow.submit(store=stage.store)
    assert run.wait(30)
    assert run.value("len") == 4_000_000
    assert "the disk is full" in run.log("large")


@row("40-M8")
def test_a_journal_that_is_locked_for_a_moment_is_waited_for(cluster: Client, stage: Stage) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    with stage.locked():
        stage.open()
        stage.until("notify")
        assert not run.wait(0.5)
    assert (run.result(30), stage.counts()) == (PAID, ONCE)


@row("40-M8")
def test_a_journal_that_stays_locked_stops_the_run_and_no_event_is_lost(
    cluster: Client, stage: Stage
) -> None:
    place = Path(os.path.realpath(stage.store))
    journal._known[place] = journal.Journal(place, patience=0.3)
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    stage.until_written("prepare", "completed")
    with stage.locked():
        stage.open()
        assert run.wait(30)
        assert run.status == "interrupted"
        assert "locked" in run.state.reason
    stage.until_idle(cluster)
    resumed = stage.load().resume()
    assert (resumed.result(30), stage.counts()["charge"]) == (PAID, 1)
    assert stage.counts()["notify"] == 1


@row("41-M4")
def test_a_journal_that_is_deleted_stops_the_run(cluster: Client, stage: Stage) -> None:
    stage.whole = False
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    stage.until_written("prepare", "completed")
    for each in Path(stage.store).glob("journal.sqlite*"):
        each.unlink()
    stage.open()
    assert run.wait(30)
    assert run.status == "interrupted"
    assert "journal" in run.state.reason
    with pytest.raises(nbflow.NbflowError):
        run.result()
    assert stage.counts()["charge"] == 1


@row("41-M4")
def test_a_store_that_becomes_read_only_stops_the_run(cluster: Client, stage: Stage) -> None:
    bound = ["mount", "--bind", stage.store, stage.store]
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    stage.until_written("prepare", "completed")
    if os.geteuid() != 0 or subprocess.run(bound, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    subprocess.run(["mount", "-o", "remount,ro,bind", stage.store], check=True)
    try:
        # As when another program had it open: it is opened anew.
        journal.Journal.at(stage.store).close()
        stage.open()
        assert run.wait(30)
        assert run.status == "interrupted"
        stage.until_idle(cluster)
    finally:
        subprocess.run(["umount", "-l", stage.store], check=True)
    run = stage.load().resume()
    assert run.wait(30)
    cleared_up(run, stage)


def payload_of(stage: Stage, name: str) -> Path:
    kept = stage.load().state.steps[name].kept
    assert kept is not None
    return Path(stage.store, "payloads", kept.hash[:2], kept.hash)


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


DAMAGES = [flipped, truncated, Path.unlink]


@row("43-M12")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pure_result_that_is_damaged_is_never_served_and_computed_anew(
    damage: Any, cluster: Client, stage: Stage
) -> None:
    stage.spoil("prepare", 1)
    flow = (
        extract.s(stage.folder, 5_000) >> step(sum, fuse=False),
        prepare.s(stage.folder) >> step(abs),
    ) >> step(max)
    first = flow.submit(store=stage.store)
    assert first.wait(30)
    damage(payload_of(stage, "extract"))
    loaded = stage.load()
    with pytest.raises(nbflow.StoreError, match=r"damaged|missing"):
        loaded.value("extract")
    # The sum is known, and so is not computed from it.
    run = loaded.resume()
    assert run.result(30) == sum(range(5_000))


@row("43-M8")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pure_result_that_is_damaged_and_needed_is_computed_anew(
    damage: Any, cluster: Client, stage: Stage
) -> None:
    stage.spoil("merge", 1)
    flow = extract.s(stage.folder, 5_000) >> merge.s(folder=stage.folder)
    first = flow.submit(store=stage.store)
    assert first.wait(30)
    damage(payload_of(stage, "extract"))
    run = stage.load().resume()
    assert run.result(30) == sum(range(5_000))
    assert stage.counts() == {"extract": 2, "merge": 2}


@row("43-M8")
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_effect_whose_result_is_damaged_is_asked_about_and_not_repeated(
    damage: Any, cluster: Client, stage: Stage
) -> None:
    stage.spoil("notify", 1)
    assert payment(stage.folder).submit(store=stage.store).wait(30)
    damage(payload_of(stage, "charge"))
    run = stage.load().resume()
    assert run.wait(30)
    assert (run.status, stage.counts()["charge"]) == ("interrupted", 1)
    assert run.state.steps["charge"].doubts
    run = run.resolve("charge", completed=[5]).resume()
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)


@row("45-M4")
@pytest.mark.parametrize("text", [b"", b"{}", b"\0\1\2", b'{"attempt": 7}'])
def test_a_claim_that_is_damaged_is_still_a_claim(
    text: bytes, kernel_of_its_own: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    kernel_of_its_own.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge")
    kernel_of_its_own.kill()
    stage.open()
    [claim] = stage.files("store/runs/*/claims/*/1")
    claim.write_bytes(text)
    run = stage.load().resume()
    assert run.wait(30)
    assert (run.status, stage.counts()["charge"]) == ("interrupted", 1)
    assert run.state.steps["charge"].doubts
    assert run.resolve("charge", completed=[5]).resume().result(30) == PAID


@row("45-M7")
def test_a_receipt_that_is_damaged_is_no_receipt(
    kernel_of_its_own: Kernel, cluster: Client, stage: Stage
) -> None:
    faults.plan(stage.folder, "receipts/effects", "after", "hold")
    kernel_of_its_own.cell("run = flows.payment(folder).submit(store=store)")
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    kernel_of_its_own.kill()
    [receipt] = stage.files("store/runs/*/receipts/effects/*/1")
    flipped(receipt)
    run = stage.load().resume()
    assert run.wait(30)
    assert (run.status, stage.counts()["charge"]) == ("interrupted", 1)
    assert run.state.steps["charge"].doubts


@row("56-M12")
def test_a_journal_of_a_later_version_is_neither_read_nor_written(
    cluster: Client, stage: Stage
) -> None:
    stage.whole = False
    stage.spoil("notify", 1)
    run = payment(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    stage.mend()
    loaded = stage.load()
    # Closed, as by the end of the process that has written it.
    journal.Journal.at(stage.store).close()
    with closing(sqlite3.connect(f"{stage.store}/journal.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for refused in (
        loaded.resume,
        lambda: nbflow.runs(stage.store),
        stage.load,
        lambda: payment(stage.folder).submit(store=stage.store),
    ):
        with pytest.raises(nbflow.StoreError, match="has version 99 of its tables"):
            refused()
    assert stage.counts() == ONCE


def frames_of(log: Path) -> list[int]:
    """Give the lengths of a log of SQLite after its header and after each page in it."""
    page = int.from_bytes(log.read_bytes()[8:12], "big")
    return list(range(32, log.stat().st_size + 1, 24 + page))


@row("42-M7")
def test_a_journal_whose_end_never_reached_the_disk_is_whole_up_to_there(
    foreign_kernel: Kernel,
    cluster: Client,
    stage: Stage,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foreign_kernel.cell("run = flows.payment(folder).submit(store=store)")
    assert foreign_kernel.cell("run.result(30)") == PAID
    # Killed, so that what was written is still in the log.
    foreign_kernel.kill()
    stage.until_idle(cluster)
    frames = frames_of(Path(stage.store, "journal.sqlite-wal"))
    # After each page as a whole, and within it.
    lengths = [each - cut for each in frames[1:] for cut in (700, 0)]
    found: list[str] = []
    for number, length in enumerate(lengths):
        copy = Stage(tmp_path_factory.mktemp(f"cut-{number}"))
        shutil.copytree(stage.store, copy.store, ignore=shutil.ignore_patterns("*-shm"))
        os.truncate(f"{copy.store}/journal.sqlite-wal", length)
        check(copy)
        run = copy.load() if copy.run_ids() else None
        status = "none" if run is None else str(run.state.steps["charge"].status)
        if run is not None and status not in found and run.status == "interrupted":
            # What is missing there is found where its worker has left it.
            assert run.resume().result(30) == PAID
        found.append(status)
    # Once it has been so, it is so with all that was written later too.
    order = ["none", "pending", "running", "completed"]
    assert found == sorted(found, key=order.index)
    assert {found[0], found[-1]} == {"none", "completed"}
    assert stage.counts()["charge"] == 1
    assert stage.counts()["notify"] == 1
    with capsys.disabled():
        print(f"\na log of {len(frames) - 1} pages, cut {len(lengths)} times: {Counter(found)}")


def cut_off_in_a_commit(file: Path) -> None:
    """Leave a file of SQLite as a process does that dies while a commit makes it longer.

    Its first page says already how long it is to be, and what that page was before stands
    beside it: in the form that https://sqlite.org/fileformat2.html#the_rollback_journal
    gives.
    """
    with closing(sqlite3.connect(file)) as connection:
        # As where there can be no log, such as on a network.
        assert connection.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    whole = file.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    first, count = whole[:size], len(whole) // size

    def word(number: int) -> bytes:
        return number.to_bytes(4, "big")

    head = bytes.fromhex("d9d505f920a163d7") + b"".join(map(word, (1, 0, count, 512, size)))
    check = word(sum(first[size - 200 : 0 : -200]))
    before = head.ljust(512, b"\0") + word(1) + first + check
    file.with_name(f"{file.name}-journal").write_bytes(before)
    file.write_bytes(whole[:28] + word(count + 2) + whole[32:])


@row("42-M8")
def test_a_journal_whose_writer_died_in_a_commit_is_as_it_was_before(
    cluster: Client, stage: Stage
) -> None:
    payment(stage.folder).run(store=stage.store)
    journal.Journal.at(stage.store).close()
    cut_off_in_a_commit(Path(stage.store, "journal.sqlite"))
    try:
        assert stage.load().result() == PAID
    finally:
        # SQLite itself undoes what was cut off, so that the record can be looked at.
        with closing(sqlite3.connect(f"{stage.store}/journal.sqlite")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@row("44-M4")
def test_an_effect_whose_store_was_gone_meanwhile_happens_once(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    stage.until_written("prepare", "completed")
    store, away = Path(stage.store), Path(stage.folder, "away")
    # A file where the folder was: nothing can be made there again.
    store.rename(away)
    store.touch()
    stage.open()
    assert run.wait(40)
    assert run.status == "interrupted"
    stage.until_idle(cluster)
    store.unlink()
    away.rename(store)
    run = stage.load().resume()
    assert run.wait(30)
    cleared_up(run, stage)
