"""Workers that die: pure steps are computed again, and nothing hangs."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client

import nbflow
from nbflow import branch, group, step
from nbflow.running import cluster as clusters

pytestmark = [pytest.mark.timeout(90)]


@contextmanager
def cluster_of_its_own(client: Client, **options: Any) -> Iterator[Client]:
    with clusters.LocalCluster(
        host="127.0.0.1", dashboard_address="127.0.0.1:0", **options
    ) as cluster:
        own = nbflow.connect(cluster)
        yield own
        own.close()
    nbflow.connect(client)


@pytest.fixture
def fragile(client: Client) -> Iterator[Client]:
    """Give a cluster of its own to those that break it."""
    with cluster_of_its_own(client, n_workers=2, threads_per_worker=1) as own:
        yield own


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
    # Not process.wait(): the worker's nanny lives in this process too, and must be the one that
    # hears how its child ended, or else it may start no other.
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)


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
    assert run.status == "interrupted"
    with pytest.raises(nbflow.RunError, match="lost the cluster"):
        run.result()
    assert (3 >> double).run().result() == 6


def test_a_result_outlives_the_worker_that_held_it(fragile: Client) -> None:
    run = (step(os.getpid).named("where") >> double).run()
    kill(run.value("where"))
    # Computed again elsewhere: a pure step may be.
    assert run.value("double") == 2 * run.value("where")


@step
def kill_at(x: int, deadly: int) -> int:
    if x == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@step
def upto(n: int) -> list[int]:
    return list(range(n))


def test_a_step_that_kills_its_worker_each_time_fails_with_a_reason(fragile: Client) -> None:
    run = group(die.s() >> double, 4 >> double.s()).submit()
    assert run.wait(60)
    assert run.status == "failed"
    statuses = run.steps.status.to_dict()
    assert statuses["die"] == "failed"
    assert statuses["double"] == "skipped"
    assert statuses["double_2"] == "completed"
    assert "every worker that ran step 'die' died" in run.steps.reason["die"]
    assert "exit code 1" in run.steps.reason["die"]
    assert run.steps.reason["double"] == "die failed"
    with pytest.raises(nbflow.RunError, match="every worker that ran step 'die' died"):
        run.result()
    assert (3 >> double).run().result() == 6


def test_dependents_of_a_killer_are_skipped_and_not_blamed(fragile: Client) -> None:
    run = (die.s() >> double.si(3) >> double).options(fuse=False).submit()
    assert run.wait(60)
    assert run.steps.status.tolist() == ["failed", "skipped", "skipped"]
    assert set(run.steps.reason[1:]) == {"die failed"}


def test_steps_that_travel_with_a_killer_keep_their_values(fragile: Client) -> None:
    run = (3 >> double >> double >> kill_at.s(12) >> double).submit()
    assert run.wait(60)
    assert run.steps.status.tolist() == ["completed", "completed", "failed", "skipped"]
    assert (run.value("double"), run.value("double_2")) == (6, 12)
    assert "SIGKILL" in run.steps.reason["kill_at"]


def test_a_killer_that_runs_beside_others_takes_none_of_them_along(client: Client) -> None:
    with cluster_of_its_own(client, n_workers=1, threads_per_worker=4):
        flow = group([1 >> double >> double, double.map(range(50)), kill_at.s(1, 1), 5 >> double])
        run = flow.submit()
        assert run.wait(60)
        failed = run.steps.index[run.steps.status == "failed"].tolist()
        assert failed == ["kill_at"]
        assert run.value("double_3") == [2 * x for x in range(50)]
        assert (run.value("double_2"), run.value("double_4")) == (4, 10)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("collect", [True, False])
def test_one_element_that_kills_its_worker_is_the_only_one_that_fails(
    given: bool, collect: bool, fragile: Client
) -> None:
    options = {"on_error": "collect"} if collect else {}
    placed = kill_at.s(37).map(range(60), **options) if given else kill_at.s(37).map(**options)
    flow = (placed if given else upto.s(60) >> placed) >> step(sum)
    run = flow.submit()
    assert run.wait(80)
    state = run.state.steps["kill_at"]
    assert (state.done, state.failed, state.collected) == (60, not collect, collect)
    if collect:
        assert run.result() == sum(range(60)) - 37
        assert run.dead_letters.element.tolist() == [37]
    else:
        assert run.steps.reason["sum"] == "kill_at[37] failed"
        with pytest.raises(nbflow.RunError, match=r"'kill_at\[37\]'.*SIGKILL"):
            run.result()


def test_a_step_that_needs_more_memory_than_a_worker_has_says_so(client: Client) -> None:
    @step
    def hoard(x: int) -> int:
        held = []
        while True:
            held.append(bytearray(10_000_000))
            time.sleep(0.01)

    with cluster_of_its_own(client, n_workers=1, threads_per_worker=1, memory_limit="450MB"):
        run = group([1 >> double, 1 >> hoard >> double]).submit()
        assert run.wait(80)
        assert run.steps.status.tolist() == ["completed", "failed", "skipped"]
        assert "MB of memory, and a worker has" in run.steps.reason["hoard"]


@step
def slowly(x: Any) -> Any:
    time.sleep(0.01)
    return x


def is_even(values: list[int]) -> bool:
    return len(values) % 2 == 0


def small_etl() -> Any:
    numbers = 30 >> upto
    return group(
        numbers >> slowly.map() >> double.map() >> step(sum),
        slowly.map(range(40)) >> step(sum),
        numbers >> slowly.map(max_concurrency=2) >> step(max),
        numbers >> branch(is_even, slowly >> step(len), slowly >> step(min)),
        5 >> slowly >> slowly >> double >> slowly,
        group([n >> slowly >> double for n in range(8)], max_concurrency=3) >> step(sum),
        [2, 3] >> (upto >> (upto >> slowly.map()).map()).map(),
    )


def test_lanes_begin_anew_when_all_workers_have_died(client: Client, tmp_path: Path) -> None:
    with cluster_of_its_own(client, n_workers=2, threads_per_worker=1) as own:
        members = [hold.s(n, str(tmp_path)) for n in range(4)]
        run = (group(members, max_concurrency=2) >> step(sum)).submit()
        holder(tmp_path)
        for pid in own.run(os.getpid).values():
            kill(pid)
        (tmp_path / "leave").touch()
        assert run.result(60) == 6
        # Named for a worker that is gone, and taken by whoever came.
        assert set(run.steps.status) == {"completed"}


def killed_at_random(
    own: Client, pids: list[int], flow: Any, chosen: random.Random, usual: float
) -> Any:
    run = flow.submit()
    time.sleep(chosen.random() * usual)  # any moment will do
    with suppress(psutil.NoSuchProcess):
        kill(chosen.choice(pids))
    run.wait(60)
    return run


# The sweep of tests/chaos has more of them.
_MOMENTS = 8


@pytest.mark.timeout(280)
def test_a_worker_killed_at_random_moments_changes_no_value(client: Client) -> None:
    flow, chosen, moments = small_etl(), random.Random(20261121), 0
    flows, right = (flow, flow.options(fuse=False)), flow.call()
    while moments < _MOMENTS:
        with cluster_of_its_own(client, n_workers=2, threads_per_worker=1) as own:
            begun = time.monotonic()
            assert flow.run().result() == right
            usual = time.monotonic() - begun
            # Now and then a nanny of Dask starts no new worker; then the cluster has served.
            while moments < _MOMENTS and (pids := both(own)):
                run = killed_at_random(own, pids, flows[moments % 2], chosen, usual)
                assert run.result(1) == right
                assert set(run.steps.status) <= {"completed", "skipped"}
                for state in run.state.steps.values():
                    assert state.total is None or (state.done, state.failed) == (state.total, 0)
                moments += 1


def both(own: Client) -> list[int]:
    """Give the processes of both workers, as soon as both answer; none if they do not come."""
    end = time.monotonic() + 8
    while time.monotonic() < end:
        # One that was killed may still be counted.
        pids = list(own.run(os.getpid, on_error="ignore").values())
        if len(pids) == 2:
            return pids
        time.sleep(0.05)
    return []


def test_losing_the_whole_cluster_ends_the_run(client: Client, tmp_path: Path) -> None:
    cluster = clusters.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=False
    )
    own = nbflow.connect(cluster)
    run = (1 >> hold.s(str(tmp_path)) >> double).submit()
    holder(tmp_path)
    (tmp_path / "leave").touch()
    cluster.close()
    assert run.wait(60)
    assert run.status in ("interrupted", "completed")
    if run.status == "interrupted":
        with pytest.raises(nbflow.RunError, match="lost the cluster"):
            run.result()
    own.close()
    nbflow.connect(client)
