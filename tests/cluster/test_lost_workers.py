"""Workers that die: pure steps are computed again, and nothing hangs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client

import nbflow
from nbflow import group, step

pytestmark = [pytest.mark.timeout(90)]


@pytest.fixture
def fragile(client: Client) -> Iterator[Client]:
    """Give a cluster of its own to those that break it."""
    own = nbflow.connect(
        nbflow.cluster.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        )
    )
    yield own
    cluster = own.cluster
    own.close()
    cluster.close()
    nbflow.connect(client)


@step
def double(x: Any) -> Any:
    return 2 * x


@step
def hold(x: Any, folder: str) -> Any:
    """Say who runs it, and wait for leave."""
    Path(folder, f"pid-{os.getpid()}-{time.time_ns()}").touch()
    while not Path(folder, "leave").exists():
        time.sleep(0.01)
    return x


@step
def die() -> None:
    os._exit(1)


def holder(folder: Path) -> int:
    while True:
        for each in folder.glob("pid-*"):
            return int(each.name.split("-")[1])
        time.sleep(0.01)


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.send_signal(signal.SIGKILL)
    process.wait(20)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_worker_killed_in_the_middle_changes_no_value(
    fuse: bool, fragile: Client, tmp_path: Path
) -> None:
    flow = group(
        1 >> double >> hold.s(str(tmp_path)) >> double >> double,
        double.map(range(20)) >> step(sum),
    ).options(fuse=fuse)
    run = flow.submit()
    kill(holder(tmp_path))
    (tmp_path / "leave").touch()
    assert run.result(40) == [8, 380]
    assert set(run.steps.status) == {"completed"}


def test_a_worker_killed_in_the_middle_of_a_map_counts_no_element_twice(
    fragile: Client, tmp_path: Path
) -> None:
    @step
    def slowly(x: int) -> int:
        time.sleep(0.01)
        if x == 15:
            Path(tmp_path, f"pid-{os.getpid()}-0").touch()
            while not Path(tmp_path, "leave").exists():
                time.sleep(0.01)
        return x

    run = slowly.map(range(80)).submit()
    kill(holder(tmp_path))
    (tmp_path / "leave").touch()
    assert run.result(60) == list(range(80))
    state = run.state.steps["slowly"]
    assert (state.done, state.failed) == (80, 0)
    told = sorted(n for part in state.elements for n in range(part.start, part.stop))
    assert told == list(range(80))


def test_a_large_constant_outlives_the_worker_that_held_it(fragile: Client, tmp_path: Path) -> None:
    values = np.ones(1_000_000)

    @step
    def total(array: Any, x: int, folder: str) -> float:
        while not Path(folder, "leave").exists():
            time.sleep(0.01)
        return float(array.sum()) + x

    each = total.options(fuse=False)
    run = group(values >> each.s(i, str(tmp_path)) >> double for i in range(6)).submit()
    [holders] = {tuple(v) for k, v in fragile.who_has().items() if str(k).startswith("constant-")}
    kill(fragile.run(os.getpid)[holders[0]])
    (tmp_path / "leave").touch()
    assert run.result(60) == [2 * (1_000_000.0 + i) for i in range(6)]
    assert set(run.steps.status) == {"completed"}


def test_a_large_order_outlives_the_worker_that_held_it(fragile: Client, tmp_path: Path) -> None:
    @step
    def size(data: bytes, folder: str) -> int:
        while not Path(folder, "leave").exists():
            time.sleep(0.01)
        return len(data)

    run = group(size.s(bytes(30_000), str(tmp_path)) for _ in range(40)).submit()
    holding = [v for k, v in fragile.who_has().items() if str(k).startswith("order-") and v]
    kill(fragile.run(os.getpid)[holding[0][0]])
    (tmp_path / "leave").touch()
    assert run.result(60) == [30_000] * 40


def test_restarting_the_cluster_by_hand_ends_the_run(fragile: Client, tmp_path: Path) -> None:
    run = (np.ones(1_000_000) >> hold.s(str(tmp_path)) >> double).submit()
    holder(tmp_path)
    fragile.restart()
    assert run.wait(60)
    assert run.status == "cancelled"
    with pytest.raises(nbflow.RunError, match="cluster was lost"):
        run.result()
    assert (3 >> double).run().result() == 6


def test_a_result_outlives_the_worker_that_held_it(fragile: Client) -> None:
    run = (step(os.getpid).named("where") >> double).run()
    kill(run.value("where"))
    # Computed again elsewhere: a pure step may be.
    assert run.value("double") == 2 * run.value("where")


def test_a_step_that_kills_its_worker_each_time_fails_with_a_reason(fragile: Client) -> None:
    run = group(die.s() >> double, 4 >> double.s()).submit()
    assert run.wait(60)
    assert run.status == "failed"
    statuses = run.steps.status.to_dict()
    assert statuses["die"] == "failed"
    assert statuses["double"] == "skipped"
    assert statuses["double_2"] == "completed"
    assert "every worker that ran it died" in run.steps.reason["die"]
    assert run.steps.reason["double"] == "die failed"
    with pytest.raises(nbflow.RunError, match="'die' did not come back"):
        run.result()
    assert (3 >> double).run().result() == 6


def test_dependents_of_a_killer_are_skipped_and_not_blamed(fragile: Client) -> None:
    run = (die.s() >> double.si(3) >> double).options(fuse=False).submit()
    assert run.wait(60)
    assert run.steps.status.tolist() == ["failed", "skipped", "skipped"]
    assert set(run.steps.reason[1:]) == {"die failed"}


def test_losing_the_whole_cluster_ends_the_run(client: Client, tmp_path: Path) -> None:
    cluster = nbflow.cluster.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=False
    )
    own = nbflow.connect(cluster)
    run = (1 >> hold.s(str(tmp_path)) >> double).submit()
    holder(tmp_path)
    (tmp_path / "leave").touch()
    cluster.close()
    assert run.wait(60)
    assert run.status in ("cancelled", "completed")
    if run.status == "cancelled":
        with pytest.raises(nbflow.RunError, match="cluster was lost"):
            run.result()
    own.close()
    nbflow.connect(client)
