"""Results that are kept: which, where, and what becomes of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from tally import Tally

import nbflow
from nbflow import branch, step
from nbflow.running import cluster as clusters
from nbflow.store.store import Store

pytestmark = [pytest.mark.timeout(90)]


@step
def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(rows), "b": [f"row {n}" for n in range(rows)]})


@step
def first(df: pd.DataFrame) -> int:
    return int(df.a.iloc[0])


def kept(run: nbflow.Run, name: str) -> Any:
    return run.state.steps[name].kept


def test_small_results_of_a_short_run_are_kept_in_the_record(
    client: Client, tmp_path: Path
) -> None:
    run = (3 >> frame >> first).run(store=tmp_path / "s")
    later = nbflow.load(run.id, tmp_path / "s")
    del run
    assert later["frame"].b.to_list() == ["row 0", "row 1", "row 2"]
    assert later.result() == 0
    assert kept(later, "frame").data is not None
    assert not (tmp_path / "s" / "payloads").exists()


def test_a_step_can_ask_for_it_and_refuse_it(client: Client, tmp_path: Path) -> None:
    flow = 100_000 >> frame.options(checkpoint=True) >> first
    run = flow.run(store=tmp_path / "s")
    assert kept(run, "frame").hash in set(Store(tmp_path / "s").hashes())
    refused = 3 >> frame.options(checkpoint=False) >> first.options(checkpoint=False)
    run = refused.run(store=tmp_path / "s")
    assert kept(run, "frame") is None
    with pytest.raises(nbflow.RunError, match="'frame'.*was not kept"):
        nbflow.load(run.id, tmp_path / "s")
        loaded(run, tmp_path / "s")["frame"]


def loaded(run: nbflow.Run, store: Path) -> nbflow.Run:
    """Load a run as another process would."""
    from nbflow.record.archive import Archive
    from nbflow.running.history import loaded as read

    return read(run.id, Archive.of(store))


def test_a_run_can_ask_for_it_and_refuse_it(client: Client, tmp_path: Path) -> None:
    everything = (50_000 >> frame >> first).run(store=tmp_path / "s", checkpoint=True)
    assert len(loaded(everything, tmp_path / "s")["frame"]) == 50_000
    nothing = (3 >> frame >> first).run(store=tmp_path / "s", checkpoint=False)
    assert kept(nothing, "frame") is None
    with pytest.raises(nbflow.RunError, match="was not kept"):
        loaded(nothing, tmp_path / "s").result()


def test_what_is_quick_to_compute_and_slow_to_write_is_not_kept(
    client: Client, tmp_path: Path
) -> None:
    @step
    def zeros() -> Any:
        return np.zeros(30_000_000)

    run = (zeros >> step(len)).run(store=tmp_path / "s")
    assert kept(run, "zeros") is None
    assert loaded(run, tmp_path / "s").result() == 30_000_000


def test_decisions_are_always_kept(client: Client, tmp_path: Path) -> None:
    flow = 3 >> branch(lambda x: x > 2, step(str), step(float))
    run = flow.run(store=tmp_path / "s", checkpoint=False)
    assert kept(run, "lambda") is not None


def test_elements_are_kept_together_where_they_are_small(client: Client, tmp_path: Path) -> None:
    flow = step(abs).map(list(range(-500, 0)))
    run = flow.run(store=tmp_path / "s", checkpoint=True)
    parts = run.state.steps["abs"].elements
    assert sum(len(part.kept) for part in parts) < 50
    assert loaded(run, tmp_path / "s").result() == list(range(500, 0, -1))
    assert loaded(run, tmp_path / "s").value("abs[7]") == 493


def test_elements_that_are_frames_are_kept_one_by_one(client: Client, tmp_path: Path) -> None:
    run = frame.map([1, 2, 3], key=str).run(store=tmp_path / "s", checkpoint=True)
    later = loaded(run, tmp_path / "s")
    assert [len(df) for df in later.result()] == [1, 2, 3]
    assert later["frame"].index.get_level_values(0).tolist() == ["1", "2", "2", "3", "3", "3"]


def test_nothing_is_kept_twice(client: Client, tmp_path: Path) -> None:
    flow = 20_000 >> frame
    for _ in range(3):
        flow.run(store=tmp_path / "s", checkpoint=True)
    assert len(list(Store(tmp_path / "s").hashes())) == 1


class Odd:
    """Only a pickle keeps it."""

    def __init__(self, x: int) -> None:
        self.x = x


def test_what_only_a_pickle_keeps_is_read_from_a_store_of_ones_own(
    client: Client, tmp_path: Path
) -> None:
    run = step(Odd).s(4).run(store=tmp_path / "s", checkpoint=True)
    assert kept(run, "Odd").codec == "pickle"
    assert kept(run, "Odd").data is None
    assert loaded(run, tmp_path / "s").result().x == 4
    os.chmod(tmp_path / "s" / "payloads", 0o777)
    with pytest.raises(nbflow.StoreError, match="pickle"):
        loaded(run, tmp_path / "s").result()


def test_what_cannot_be_kept_is_said_in_the_log_and_the_run_goes_on(
    client: Client, tmp_path: Path
) -> None:
    store = Store(tmp_path / "s", limit=1_000_000)
    run = (100_000 >> frame.options(checkpoint=True) >> first).run(store=store)
    assert run.result() == 0
    assert kept(run, "frame") is None
    assert "the limit of the store is 1.0 MB" in run.log("frame")


def test_a_damaged_result_is_never_given(client: Client, tmp_path: Path) -> None:
    run = (100_000 >> frame >> first).run(store=tmp_path / "s", checkpoint=True)
    [file] = (tmp_path / "s" / "payloads").glob("*/*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(nbflow.StoreError, match="is damaged"):
        loaded(run, tmp_path / "s").value("frame")


def test_a_resumed_run_computes_a_damaged_result_again(
    client: Client, tmp_path: Path, tally: Tally
) -> None:
    count = tally.counting("count", len)
    flag = tmp_path / "ready"

    def check(size: int) -> int:
        if not flag.exists():
            raise OSError("not ready")
        return size

    flow = 100_000 >> frame.options(checkpoint=True) >> step(count) >> step(check)
    run = flow.run(store=tmp_path / "s", checkpoint=False, raise_on_error=False)
    [file] = (tmp_path / "s" / "payloads").glob("*/*")
    file.write_bytes(b"nothing")
    flag.touch()
    plan = run.plan_of_resume()
    assert plan.loc["frame"].to_list() == ["run", "its result is missing or damaged and is needed"]
    assert run.resume().result(30) == 100_000
    assert tally.counts() == {"count": 2}


def test_the_loss_of_a_worker_repeats_nothing_that_is_kept(client: Client, tmp_path: Path) -> None:
    folder = str(tmp_path)

    @step(checkpoint=True)
    def first_half(n: int) -> int:
        Path(folder, f"first-{n}-{os.getpid()}").touch()
        return n

    @step
    def second_half(n: int) -> int:
        if n == 3 and not Path(folder, "died").exists():
            # When it has been told that the first half is kept.
            while not list(Path(folder, "s", "runs").glob("*/receipts/segments/1/*/*")):
                pass
            Path(folder, "died").touch()
            os._exit(1)
        return n

    with clusters.LocalCluster(
        host="127.0.0.1", dashboard_address="127.0.0.1:0", n_workers=2, threads_per_worker=1
    ) as cluster:
        own = nbflow.connect(cluster)
        flow = first_half.s(3) >> second_half
        assert flow.run(store=tmp_path / "s").result() == 3
        own.close()
    nbflow.connect(client)
    assert len(list(tmp_path.glob("first-3-*"))) == 1


def test_a_run_in_memory_of_one_process(client: Client) -> None:
    with clusters.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as cluster:
        own = nbflow.connect(cluster)
        run = (20_000 >> frame >> first).run(store="memory://kept-here", checkpoint=True)
        assert kept(run, "frame").hash in set(Store("memory://kept-here").hashes())
        own.close()
    nbflow.connect(client)


def test_a_store_that_workers_do_not_see_keeps_nothing_and_harms_nothing(client: Client) -> None:
    run = (20_000 >> frame >> first).run(store="memory://not-theirs", checkpoint=True)
    assert run.result() == 0
    assert kept(run, "frame") is None

    @step(effect=True)
    def send(x: int) -> int:
        return x

    with pytest.raises(nbflow.StoreError, match="'send' has an effect.*does not see the store"):
        (1 >> send).run(store="memory://not-theirs")


def test_records_run_no_code_of_others(client: Client, tmp_path: Path) -> None:
    @step
    def fails() -> None:
        raise ValueError("no")

    run = fails.s().run(store=tmp_path / "s", raise_on_error=False)
    os.chmod(tmp_path / "s" / "journal.sqlite", 0o666)
    later = loaded(run, tmp_path / "s")
    assert type(later.error("fails")) is nbflow.RunError
    assert "ValueError: no" in str(later.error("fails"))
    with pytest.raises(nbflow.StoreError, match="written by others"):
        later.resume()


def test_elements_that_have_ended_are_told_of_while_another_takes_long(
    client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    @step
    def slow(n: int) -> int:
        while n == 7 and not gate.exists():
            time.sleep(0.01)
        return n

    run = slow.map(list(range(12)), chunk_size=12).submit(store=tmp_path / "s", checkpoint=True)
    deadline = time.monotonic() + 30
    while run.state.steps["slow"].done < 7:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    kept_now = [kept for part in run.state.steps["slow"].elements for kept in part.kept]
    gate.touch()
    assert kept_now[-1][1] == 7
    assert run.result(30) == list(range(12))
