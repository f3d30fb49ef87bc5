"""Places where runs cannot be written down, and what a user hears of that."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import nbflow
from nbflow import step
from nbflow.journal.journal import Journal
from nbflow.record.archive import Archive
from nbflow.running import history

pytestmark = [pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def _on_the_cluster(client: Client) -> None:
    """Let runs be started on the shared cluster."""


@step
def double(x: Any) -> Any:
    return 2 * x


@step(effect=True)
def send(x: Any) -> Any:
    return x


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small disk in memory, where that is allowed."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_that_may_only_be_read_is_warned_of_where_nobody_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mounted(tmp_path / "disk", "ro,size=1m") as disk:
        monkeypatch.setenv("NBFLOW_STORE", str(disk / "store"))
        with pytest.warns(RuntimeWarning, match="nothing is written down.*cannot be written to"):
            run = (1 >> double).run()
        assert run.result() == 2
        with pytest.raises(nbflow.StoreError, match="cannot be written to"):
            (1 >> double).run(store=disk / "store")
        with pytest.raises(nbflow.StoreError, match="cannot be written to"):
            (1 >> send).run()
        with pytest.raises(nbflow.StoreError, match="cannot be written to"):
            (1 >> double).run(key="k")


def test_a_full_disk_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    @step
    def begin(x: int) -> int:
        begun.touch()
        return x

    with mounted(tmp_path / "disk", "size=300k") as disk:
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb") as file:
            while True:
                file.write(bytes(10_000))
        with pytest.raises(nbflow.StoreError, match="(?i)full|no room|space"):
            (1 >> begin).run(store=disk / "store")
        assert not begun.exists()
        filler.unlink()
        assert (1 >> begin).run(store=disk / "store").result() == 1


def test_a_disk_that_becomes_full_stops_the_run_and_space_lets_it_go_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    @step
    def wait(x: int) -> bytes:
        while not gate.exists():
            pass
        # More than there is room for in what the journal holds already.
        print(os.urandom(25_000).hex())
        return os.urandom(6_000)

    flow = 1 >> wait >> step(len)
    with mounted(tmp_path / "disk", "size=400k") as disk:
        run = flow.submit(store=disk / "store")
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb") as file:
            while True:
                file.write(bytes(1_000))
                file.flush()
        gate.touch()
        assert run.wait(60)
        assert run.status == "interrupted"
        with pytest.raises(nbflow.StoreError, match="(?i)full|no room|space"):
            run.result()
        filler.unlink()
        assert nbflow.load(run.id, disk / "store").resume().result(60) == 6_000


def test_nothing_goes_on_of_a_run_that_cannot_be_entered(tmp_path: Path, client: Client) -> None:
    mark = tmp_path / "mark"
    left = step(mark.write_bytes).named("left")
    with mounted(tmp_path / "disk", "size=400k") as disk:
        assert (2 >> double).run(store=disk / "store").result() == 4
        flow = os.urandom(500_000) >> step(lambda data: time.sleep(1.0) or data) >> left
        with pytest.raises(nbflow.StoreError, match="(?i)full|no room|space"):
            flow.submit(store=disk / "store")
        assert list(nbflow.runs(disk / "store").flow) == ["double"]
    while any(client.processing().values()):
        time.sleep(0.05)
    assert (2 >> double).run().result() == 4
    assert not mark.exists()


def test_a_file_in_place_of_the_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(nbflow.StoreError, match="a file"):
        (1 >> double).run(store=tmp_path / "store" / "inner")


@pytest.mark.parametrize("store", [3, 1.5, [], {}, b"", ""])
def test_what_is_no_place_is_said(store: Any) -> None:
    with pytest.raises(nbflow.StoreError, match="expected is a folder"):
        (1 >> double).run(store=store)


def test_a_protocol_that_nobody_knows_is_said() -> None:
    with pytest.raises(nbflow.StoreError, match="nowhere://"):
        (1 >> double).run(store="nowhere://bucket/folder")


def test_a_journal_of_a_later_version_is_neither_read_nor_written(tmp_path: Path) -> None:
    run = (1 >> double).run(store=tmp_path)
    Journal.at(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    for attempt in (
        lambda: (1 >> double).run(store=tmp_path),
        lambda: nbflow.runs(tmp_path),
        lambda: history.loaded(run.id, Archive.of(tmp_path)),
    ):
        with pytest.raises(nbflow.StoreError, match="999"):
            attempt()


def test_a_journal_of_another_program_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = (tmp_path / "journal.sqlite").read_bytes()
    with pytest.raises(nbflow.StoreError):
        (1 >> double).run(store=tmp_path)
    assert (tmp_path / "journal.sqlite").read_bytes() == before


def test_two_resumes_at_once_are_one(tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    @step
    def check(x: int) -> int:
        if not flag.exists():
            raise OSError
        return x

    run = (1 >> check).run(store=tmp_path / "s", raise_on_error=False)
    flag.touch()
    resumed: list[nbflow.Run] = []
    refused: list[Exception] = []
    start = threading.Barrier(2)

    def resume() -> None:
        start.wait()
        try:
            resumed.append(run.resume())
        except nbflow.RunError as error:
            refused.append(error)

    threads = [threading.Thread(target=resume) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert any(each.wait(30) and each.status == "completed" for each in resumed)
    assert len(resumed) + len(refused) == 2
    loaded = history.loaded(run.id, Archive.of(tmp_path / "s"))
    assert (loaded.status, loaded.result()) == ("completed", 1)


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (1 >> double).run(store=tmp_path).result() == 2
    assert (tmp_path / "journal.sqlite").stat().st_mode & 0o077 == 0


def test_the_store_is_beside_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NBFLOW_STORE")
    monkeypatch.chdir(tmp_path)
    run = (1 >> double).run()
    assert (tmp_path / ".nbflow").stat().st_mode & 0o777 == 0o700
    assert nbflow.runs()["id"].tolist() == [run.id]
    # Wherever the process goes from here, this run is written where it began.
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert nbflow.runs().empty
