"""Which cluster flows run on, and how the one of our own behaves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

import nbflow
from nbflow import group, step
from nbflow.running import cluster as clusters

pytestmark = [pytest.mark.timeout(90)]

LOOPBACK: dict[str, Any] = {"dashboard_address": "127.0.0.1:0"}


@step
def where() -> int:
    return os.getpid()


@step
def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def other() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **LOOPBACK) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def _shared_again(cluster_client: Client) -> Iterator[None]:
    yield
    nbflow.connect(cluster_client)


@pytest.fixture
def own_aside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test have a cluster of our own, beside the shared one."""
    monkeypatch.setattr(clusters, "_own", None)
    yield
    clusters.close_own()


# Choosing


def test_an_address_where_nothing_listens_is_an_error_within_seconds(client: Client) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        before = time.monotonic()
        with pytest.raises(nbflow.ClusterError, match="no Dask scheduler answers") as caught:
            nbflow.connect(address)
        with pytest.raises(nbflow.ClusterError):
            (3 >> double).run(cluster=address)
        assert time.monotonic() - before < 30
    assert address in str(caught.value)
    assert isinstance(caught.value, ConnectionError)
    # The mistake left nothing behind.
    assert (3 >> double).run().result() == 6


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "http://127.0.0.1:1", "tcp://nowhere.invalid:1", 7]
)
def test_an_address_that_is_none_is_an_error(wrong: Any, client: Client) -> None:
    with pytest.raises(nbflow.ClusterError):
        nbflow.connect(wrong, timeout=2)
    assert (3 >> double).run().result() == 6


def test_options_beside_an_address_are_refused(client: Client) -> None:
    with pytest.raises(nbflow.ClusterError, match="n_workers"):
        nbflow.connect(client, n_workers=3)


def test_an_address_a_client_and_a_cluster_will_do(other: LocalCluster) -> None:
    here = os.getpid()
    for chosen in (other.scheduler_address, other):
        with nbflow.connect(chosen):
            assert where.run().result() == here
    with Client(other) as mine:
        assert nbflow.connect(mine) is mine
        assert where.run().result() == here


def test_a_cluster_can_be_named_for_one_run(other: LocalCluster, client: Client) -> None:
    assert where.run(cluster=other).result() == os.getpid()
    assert where.run(cluster=other.scheduler_address).result() == os.getpid()
    with Client(other, set_as_default=False) as mine:
        assert where.run(cluster=mine).result() == os.getpid()
    # The choice was for those runs only.
    assert where.run().result() != os.getpid()


def test_naming_a_cluster_again_and_again_opens_no_more_connections(
    other: LocalCluster, client: Client
) -> None:
    for _ in range(5):
        where.run(cluster=other.scheduler_address)
    names = [each for each in other.scheduler.clients if each.startswith("Client")]
    assert len(names) <= 2


def test_the_current_client_of_dask_is_used(other: LocalCluster) -> None:
    with Client(other):
        assert where.run().result() == os.getpid()


def test_a_closed_client_is_an_error_that_says_what_to_do() -> None:
    with LocalCluster(n_workers=1, processes=False, **LOOPBACK) as lost:
        mine = nbflow.connect(lost)
        mine.close()
        with pytest.raises(nbflow.ClusterError, match=r"closed.*nbflow\.connect\(\)"):
            nbflow.connect(mine)
        with pytest.raises(nbflow.ClusterError, match=r"closed.*nbflow\.connect\(\)"):
            double.s(3).run(cluster=mine)


def test_after_the_current_client_is_closed_our_own_cluster_starts(own_aside: None) -> None:
    with LocalCluster(n_workers=1, processes=False, **LOOPBACK) as lost:
        nbflow.connect(lost).close()
    assert (3 >> double).run().result() == 6
    assert where.run().result() != os.getpid()


def test_what_listens_but_is_no_scheduler_is_an_error(client: Client) -> None:
    with socket.socket() as dumb:
        dumb.bind(("127.0.0.1", 0))
        dumb.listen()
        with pytest.raises(nbflow.ClusterError):
            nbflow.connect(f"127.0.0.1:{dumb.getsockname()[1]}", timeout=1)
    assert (3 >> double).run().result() == 6


def test_steps_run_in_a_cluster_of_threads(own_aside: None) -> None:
    with nbflow.connect(processes=False, threads_per_worker=4):

        @step
        def talk(x: int) -> int:
            print(f"I am {x}")
            return x

        @step
        def fail() -> None:
            raise SystemExit(3)

        flow = group(talk.map(range(30)), 1 >> double >> double, (talk.s(5) >> double))
        run = flow.run()
        assert run.result() == [list(range(30)), 4, 10]
        assert run.log("talk[3]") == "I am 3\n"
        assert run.log("talk_2") == "I am 5\n"
        failed = fail.run(raise_on_error=False)
        assert isinstance(failed.error("fail"), SystemExit)

        @step
        def spoil(items: list[int]) -> int:
            items.append(1)
            return len(items)

        mine = [1]
        assert (mine >> group(spoil, spoil.s())).run().result() == [2, 2]
        assert mine == [1]


def test_threads_print_as_before_once_a_run_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **LOOPBACK) as threads:
        nbflow.connect(threads)
        step(lambda: print("inside")).named("talk").run()
        print("outside")
    assert capsys.readouterr().out == "outside\n"


def test_resources_bring_steps_where_they_are() -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, resources={"GPU": 1}, **LOOPBACK
    ) as cluster:
        nbflow.connect(cluster)
        gpu = double.options(resources={"GPU": 1})
        assert (1 >> gpu >> double).run().result() == 4
        assert gpu.map(range(5)).run().result() == [0, 2, 4, 6, 8]


def test_a_worker_that_dask_has_given_up_is_replaced(own_aside: None) -> None:
    # Dask gives one up that is not there 15 seconds after it has died, as it has died again.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1ms"}):
        nbflow.connect(n_workers=1, threads_per_worker=1)
        found: list[int] = []
        for _ in range(3):
            pid = where.s().run().result()
            assert pid not in found
            found.append(pid)
            # Dask may just be about to end it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_an_asynchronous_client_is_refused() -> None:
    import asyncio

    async def main() -> None:
        async with Client(
            asynchronous=True, processes=False, n_workers=1, set_as_default=False, **LOOPBACK
        ) as mine:
            with pytest.raises(nbflow.ClusterError, match="asynchronous"):
                nbflow.connect(mine)

    asyncio.run(main())


# The cluster of our own, in a process of its own


def script(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def started(command: list[str], tmp_path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )


DEFAULT = """
    import os, sys, time
    import nbflow
    import psutil
    from nbflow import step
    from distributed import default_client

    @step
    def double(x):
        return 2 * x

    def main():
        assert (2 >> double).run().result() == 4
        first = default_client()
        assert (2 >> double).run().result() == 4
        assert default_client() is first
        assert len(first.nthreads()) >= 2
        tree = [psutil.Process(), *psutil.Process().children(recursive=True)]
        listening = {
            connection.laddr.ip
            for process in tree
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}, listening

        def warm():
            import sys, threading
            for thread in threading.enumerate():
                if thread.name == "nbflow-warm":
                    thread.join(30)
            return "pandas" in sys.modules and "pyarrow" in sys.modules

        assert all(first.run(warm).values())
        groups = set(first.run(lambda: os.getpgid(0)).values())
        assert os.getpgid(0) not in groups

        # Closed by hand, it is started again.
        first.close()
        first.cluster.close()
        assert (2 >> double).run().result() == 4
        assert default_client() is not first
        default_client().cluster.close()
        assert (3 >> double).run().result() == 6
        print("done")

    if __name__ == "__main__":
        main()
"""


def test_the_default_cluster_is_on_loopback_warm_and_started_once(tmp_path: Path) -> None:
    done = subprocess.run(
        script(tmp_path, DEFAULT), capture_output=True, text=True, timeout=80, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


INTERRUPTED = """
    import os, sys, time
    import nbflow
    from nbflow import step

    @step
    def slow(x):
        time.sleep(60 if x else 0)
        return x

    def main():
        client = nbflow.connect(n_workers=2, threads_per_worker=1)
        before = sorted(client.run(os.getpid).values())
        run = slow.s(0).run()
        print("ready", flush=True)
        try:
            slow.s(1).run()
        except KeyboardInterrupt as error:
            print("interrupted", error, flush=True)
        assert nbflow.last_run().status == "running"
        assert sorted(client.run(os.getpid).values()) == before
        assert run.result() == 0
        assert slow.map([0, 0, 0]).run().result() == [0, 0, 0]
        print("done", flush=True)
        os._exit(0)

    if __name__ == "__main__":
        main()
"""


def test_the_stop_button_stops_waiting_and_nothing_else(tmp_path: Path) -> None:
    process = started(script(tmp_path, INTERRUPTED), tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    # The run has begun once a worker is busy; before that an interrupt is as good.
    _until_busy(process.pid)
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    said = process.stdout.readline()
    assert said.startswith("interrupted stopped waiting; run '")
    assert time.monotonic() - before < 3
    out, err = process.communicate(timeout=40)
    assert out == "done\n", err
    assert process.returncode == 0, err


def _until_busy(pid: int) -> None:
    # A step is on its way when the main thread waits for it.
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if any(
            each.status() == psutil.STATUS_SLEEPING
            for each in psutil.Process(pid).children(recursive=True)
        ):
            time.sleep(0.5)
            return
        time.sleep(0.05)


KILLED = """
    import os, time
    import nbflow
    from nbflow import step

    def main():
        client = nbflow.connect(n_workers=2, threads_per_worker=1)
        print(*client.run(os.getpid).values(), flush=True)
        step(time.sleep).s(60).run()

    if __name__ == "__main__":
        main()
"""


def test_workers_die_with_the_kernel(tmp_path: Path) -> None:
    process = started(script(tmp_path, KILLED), tmp_path)
    assert process.stdout is not None
    pids = [int(each) for each in process.stdout.readline().split()]
    workers = [psutil.Process(pid) for pid in pids]
    process.kill()
    process.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


QUIET_END = """
    import nbflow
    from nbflow import step

    def main():
        nbflow.connect(n_workers=2, threads_per_worker=1)
        print(step(len).s("abc").run().result())

    if __name__ == "__main__":
        main()
"""


def test_a_script_ends_quietly(tmp_path: Path) -> None:
    done = subprocess.run(
        script(tmp_path, QUIET_END), capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")


def test_a_cluster_that_cannot_start_is_one_clear_error() -> None:
    with pytest.raises(nbflow.ClusterError, match="n_workers=0"):
        nbflow.connect(n_workers=0)
    with pytest.raises(nbflow.ClusterError, match="options of distributed.LocalCluster"):
        nbflow.connect(wrokers=1)
