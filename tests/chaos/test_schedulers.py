"""Schedulers that are lost, hang, or lose the connection to the kernel."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos import faults
from chaos.flows import DONE, PAID, UNDONE, etl, payment, saga
from chaos.kernel import Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow.running import drive, pulse

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}


# As from the command line, which forgets to end where there is more to do.
PROGRAM = """
from distributed.cli import {0}
try:
    {0}.main(options)
finally:
    os._exit(0)
"""
LOCAL = ["--host", "127.0.0.1"]


class Site:
    """A cluster of processes of their own: a scheduler, and workers without nannies."""

    def __init__(self, new_kernel: NewKernel, folder: str) -> None:
        self._new_kernel = new_kernel
        self._file = f"{folder}/scheduler.json"
        self.workers: list[Kernel] = []
        self.scheduler = self._started(
            "dask_scheduler", "--port", "0", "--dashboard-address", "127.0.0.1:0"
        )

    def _started(self, program: str, *options: str) -> Kernel:
        process = self._new_kernel(own_cluster=False)
        options = (*options, *LOCAL, "--scheduler-file", self._file)
        process.begin(PROGRAM.format(program), options=options)
        return process

    def add_worker(self) -> None:
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
        options += ["--preload", "chaos.faults"]
        self.workers.append(self._started("dask_worker", *options))

    def connected(self, stage: Stage) -> Client:
        stage.wait(lambda: Path(self._file).exists(), "a scheduler")
        client = Client(scheduler_file=self._file, set_as_default=False)
        client.wait_for_workers(len(self.workers), timeout=30)
        return client


@pytest.fixture
def site(new_kernel: NewKernel, stage: Stage) -> Site:
    site = Site(new_kernel, stage.folder)
    site.add_worker()
    return site


@pytest.fixture
def client(site: Site, stage: Stage) -> Iterator[Client]:
    client = site.connected(stage)
    yield nbflow.connect(client)
    client.close(timeout=0.5)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a cluster for lost sooner than a user would want it."""
    monkeypatch.setattr(drive, "_RECONNECT_SECONDS", 0.5)
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(pulse, "SUSPECT_SECONDS", 0.6)
    monkeypatch.setattr(pulse, "_NO_WORKERS_SECONDS", 0.5)


@row("28-M4")
def test_a_foreign_scheduler_that_dies_leaves_a_run_that_goes_on_elsewhere(
    site: Site, client: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    site.scheduler.kill()
    assert run.wait(40)
    assert run.status == "interrupted"
    assert f"lost the cluster at {client.scheduler.address}" in run.state.reason
    assert "run.resume()" in run.state.reason
    # The worker ends what it has begun, and then itself.
    stage.open()
    site.workers[0].wait()
    resumed = stage.load().resume(cluster=elsewhere)
    assert resumed.wait(30)
    if resumed.status == "interrupted":
        assert resumed.state.steps["charge"].doubts
        resumed = resumed.resolve("charge", completed=[5]).resume(cluster=elsewhere)
    assert (resumed.result(30), stage.counts()["charge"]) == (PAID, 1)
    assert stage.counts()["notify"] == 1


@row("27-M3")
def test_what_a_dead_scheduler_had_not_given_out_runs_once_elsewhere(
    site: Site, client: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.shut("prepare")
    run = payment(stage.folder).options(fuse=False).submit(store=stage.store)
    stage.until("prepare")
    site.scheduler.kill()
    assert run.wait(40)
    stage.open()
    site.workers[0].wait()
    assert stage.load().resume(cluster=elsewhere).result(30) == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("30-M11")
def test_a_rollback_goes_on_elsewhere_when_the_scheduler_dies(
    site: Site, client: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.spoil("close")
    stage.shut("undo-reserve")
    run = saga(stage.folder).submit(store=stage.store)
    stage.until("undo-reserve")
    site.scheduler.kill()
    assert run.wait(40)
    assert run.status == "interrupted"
    stage.mend()
    stage.open()
    site.workers[0].wait()
    resumed = stage.load().resume(cluster=elsewhere)
    assert resumed.wait(30)
    assert resumed.status == "compensated"
    undone = [each for each in stage.order() if each.startswith("undo-")]
    assert list(dict.fromkeys(undone)) == UNDONE
    assert stage.counts()["close"] == 1


@row("29-M4")
def test_a_scheduler_that_was_stopped_is_suspected_and_the_run_waits_for_it(
    site: Site, client: Client, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    site.scheduler.send(signal.SIGSTOP)
    said: list[str] = []

    def heard(words: str) -> bool:
        said.append(capfd.readouterr().err)
        return words in "".join(said)

    stage.wait(lambda: heard("the scheduler does not answer"), "a word of it")
    stage.open()
    site.scheduler.send(signal.SIGCONT)
    assert (run.result(40), stage.counts()) == (PAID, ONCE)


@row("29-M4")
def test_a_scheduler_that_stays_stopped_is_lost_and_the_run_goes_on_elsewhere(
    site: Site,
    client: Client,
    stage: Stage,
    elsewhere: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulse, "LOST_SECONDS", 1.0)
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    site.scheduler.send(signal.SIGSTOP)
    assert run.wait(40)
    assert run.status == "interrupted"
    assert "does not answer" in run.state.reason
    resumed = stage.load().resume(cluster=elsewhere)
    stage.open()
    assert (resumed.result(40), stage.counts()) == (PAID, ONCE)


@row("21-M4")
def test_when_all_workers_are_gone_it_is_said_and_a_new_one_goes_on(
    site: Site, client: Client, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    stage.until("charge")
    site.workers[0].kill()
    said: list[str] = []

    def heard(words: str) -> bool:
        said.append(capfd.readouterr().err)
        return words in "".join(said)

    stage.wait(lambda: heard("no workers left"), "a word of it")
    stage.open()
    site.add_worker()
    assert run.wait(40)
    assert run.status == "interrupted"
    assert run.state.steps["charge"].doubts
    assert run.resolve("charge", completed=[5]).resume().result(30) == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


LOSE = "nbflow.running.cluster.CONNECT_SECONDS = 0.3; c.cluster.sync(c.cluster.scheduler.close)"


@row("28-M4")
def test_a_run_goes_on_when_its_own_cluster_is_lost(
    kernel_of_its_own: Kernel, stage: Stage
) -> None:
    stage.shut("merge")
    kernel_of_its_own.cell("run = flows.etl(folder).submit(store=store)")
    stage.until_written("parse", "completed")
    stage.until("merge")
    kernel_of_its_own.cell(LOSE)
    stage.open()
    assert kernel_of_its_own.cell("run.result(40)") == DONE
    assert (stage.counts()["extract"], stage.counts()["parse"]) == (1, 10)
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)
    # The next one finds a cluster too.
    assert kernel_of_its_own.cell("flows.payment(folder).run(store=store).result()") == PAID


@row("28-M4")
def test_an_effect_on_a_cluster_of_its_own_that_is_lost_happens_once(
    kernel_of_its_own: Kernel, stage: Stage, cluster: Client
) -> None:
    stage.shut("charge")
    kernel_of_its_own.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge")
    kernel_of_its_own.cell(LOSE)
    stage.open()
    status = kernel_of_its_own.cell("run.wait(40); str(run.status)")
    assert status in ("completed", "interrupted")
    assert stage.counts()["charge"] == 1
    if status == "interrupted":
        run = stage.load()
        assert run.state.steps["charge"].doubts
        assert run.resolve("charge", completed=[5]).resume().result(30) == PAID
    assert stage.counts() == {**ONCE, "prepare": stage.counts()["prepare"]}


BLIP = "c.loop.add_callback(c.scheduler_comm.comm.abort)"


@row("31-M4")
def test_a_connection_that_breaks_loses_nothing_and_repeats_nothing(
    foreign_kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    foreign_kernel.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge")
    foreign_kernel.cell(BLIP)
    stage.until_taken(2)
    stage.until_sent(cluster)
    stage.open()
    assert foreign_kernel.cell("run.result(40)") == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("32-M7")
def test_a_connection_that_breaks_after_the_receipt_repeats_nothing(
    foreign_kernel: Kernel, stage: Stage
) -> None:
    faults.plan(stage.folder, "receipts/effects", "after", "hold")
    foreign_kernel.cell("run = flows.payment(folder).submit(store=store)")
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    foreign_kernel.cell(BLIP)
    stage.until_taken(2)
    faults.let_go(stage.folder)
    assert foreign_kernel.cell("run.result(40)") == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("31-M4")
def test_a_map_goes_on_when_the_connection_breaks(
    new_kernel: NewKernel, cluster: Client, stage: Stage
) -> None:
    kernel = new_kernel(own_cluster=False).on(stage, cluster.scheduler.address)
    stage.shut("send[4]")
    kernel.cell("run = flows.sending(folder).submit(store=store)")
    stage.until("send", 9)
    kernel.cell(BLIP)
    stage.until_taken(2)
    stage.until_sent(cluster)
    stage.open()
    assert kernel.cell("run.result(40)") == 450
    assert stage.counts() == {"send": 10}


def test_the_flows_mean_the_same_without_any_fault(cluster: Client, stage: Stage) -> None:
    assert etl(stage.folder).run(store=stage.store).result() == DONE
