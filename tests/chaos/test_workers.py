"""Workers that are killed, stopped and retired, and steps that end their own."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest
from chaos import faults
from chaos.flows import (
    DONE,
    PAID,
    double,
    etl,
    extract,
    harm,
    merge,
    payment,
    prepare,
    saga,
)
from chaos.kernel import is_alive
from chaos.matrix import row
from chaos.shared import addresses
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow import group
from nbflow.running import cluster as clusters

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}


def kill(stage: Stage, pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    # Not waited for by the system: that is for its nanny, which lives in this process too.
    stage.wait(lambda: not is_alive(process), "the end of a worker")


def pids(client: Client) -> dict[str, int]:
    found: dict[str, int] = client.run(os.getpid)
    return found


@row("16-M3")
def test_a_worker_that_dies_before_an_effect_begins_costs_no_attempt(
    cluster: Client, stage: Stage
) -> None:
    faults.plan(stage.folder, "claims/", "before", "kill")
    run = payment(stage.folder).submit(store=stage.store)
    assert run.result(40) == PAID
    assert faults.has_happened(stage.folder)
    assert stage.lines("charge")[0].attempt == 1
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("17-M4")
def test_an_effect_that_died_with_its_worker_is_in_doubt_and_others_are_not(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    flow = group(payment(stage.folder).options(fuse=False), 4 >> double >> double)
    run = flow.submit(store=stage.store)
    pid = stage.until("charge").pid
    kill(stage, pid)
    stage.open()
    assert run.wait(40)
    assert (run.status, run.state.steps["double_2"].status) == ("interrupted", "completed")
    assert "'charge' is in doubt" in run.state.reason
    assert f"process {pid}" in run.state.reason
    assert stage.counts() == {"prepare": 1, "charge": 1}
    assert run.resolve("charge", completed=[5]).resume().result(30) == [PAID, 16]
    assert stage.counts() == ONCE


@row("17-M4")
def test_an_effect_that_may_be_repeated_is_repeated_when_its_worker_dies(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    run = payment(stage.folder, on_doubt="retry").submit(store=stage.store)
    first = stage.until("charge")
    kill(stage, first.pid)
    stage.open()
    assert run.result(40) == PAID
    assert [each.key for each in stage.lines("charge")] == [first.key] * 2
    assert stage.counts()["notify"] == 1


MOMENTS = [
    pytest.param("payloads/", "before", id="row18-M5"),
    pytest.param("receipts/effects", "before", id="row18-M6"),
    pytest.param("receipts/effects", "after", id="row19-M7"),
]


@pytest.mark.parametrize(("part", "when"), MOMENTS)
def test_what_a_dead_worker_had_done_counts_if_it_left_a_receipt(
    part: str, when: str, cluster: Client, stage: Stage
) -> None:
    faults.plan(stage.folder, part, when, "kill")
    run = payment(stage.folder).submit(store=stage.store)
    assert run.wait(40)
    if when == "before":
        assert run.status == "interrupted"
        assert run.state.steps["charge"].doubts
        run = run.resolve("charge", completed=[5]).resume()
    assert run.result(30) == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("20-M8")
def test_results_that_are_kept_are_not_computed_again_when_their_holder_dies(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("prepare")
    flow = (
        extract.s(stage.folder, 5).options(fuse=False),
        prepare.s(stage.folder).options(fuse=False),
    ) >> nbflow.step(lambda rows, x: [*rows, x], name="joined", fuse=False)
    run = flow.submit(store=stage.store, checkpoint=True)
    stage.until("prepare")
    stage.until_written("extract", "completed")
    holder = stage.lines("extract")[0].pid
    assert holder != stage.lines("prepare")[0].pid
    kill(stage, holder)
    stage.open()
    assert run.result(40) == [0, 1, 2, 3, 4, 5]
    assert stage.counts() == {"extract": 1, "prepare": 1}


def without_the_holders(stage: Stage, client: Client) -> None:
    """Kill all workers of a cluster, and wait until others are in their place, and idle."""
    holders = pids(client)
    for pid in holders.values():
        kill(stage, pid)
    stage.wait(lambda: len(addresses(client) - holders.keys()) == 2, "two new workers")
    stage.until_idle(client)


@row("20-M12")
def test_what_a_finished_run_gave_is_there_when_all_who_held_it_have_died(
    cluster: Client, stage: Stage
) -> None:
    run = etl(stage.folder).run(store=stage.store, checkpoint=True)
    without_the_holders(stage, cluster)
    assert run.result() == DONE
    assert run.value("merge") == 90
    assert run.value("parse") == [2 * n for n in range(10)]
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


@row("20-M12")
def test_nothing_runs_again_when_the_holders_of_a_finished_run_die(
    cluster: Client, stage: Stage
) -> None:
    run = etl(stage.folder).run(store=stage.store, checkpoint=True)
    before = stage.counts()
    without_the_holders(stage, cluster)
    assert run.result() == DONE
    assert stage.counts() == before


@row("22-M4")
def test_a_worker_that_was_stopped_goes_on_and_nothing_is_done_twice(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    pid = stage.until("charge").pid
    os.kill(pid, signal.SIGSTOP)
    stage.open()
    # Who asks meanwhile hears that it runs.
    assert run.status == "running"
    os.kill(pid, signal.SIGCONT)
    assert (run.result(30), stage.counts()) == (PAID, ONCE)


@row("23-M4")
def test_a_worker_that_is_retired_in_the_middle_of_an_effect_does_it_once(
    fragile: Client, stage: Stage
) -> None:
    stage.shut("charge")
    run = payment(stage.folder).submit(store=stage.store)
    pid = stage.until("charge").pid
    [address] = [address for address, each in pids(fragile).items() if each == pid]
    fragile.retire_workers([address])
    stage.until_waiting(fragile)
    stage.open()
    assert (run.result(40), stage.counts()["charge"], stage.counts()["notify"]) == (PAID, 1, 1)


@row("25-M4")
@pytest.mark.parametrize(
    ("deed", "kind"),
    [("exit", SystemExit), ("interrupt", KeyboardInterrupt), ("leave", GeneratorExit)],
)
def test_an_effect_that_would_end_its_process_fails_once_and_its_worker_lives(
    deed: str, kind: Any, cluster: Client, stage: Stage
) -> None:
    before = pids(cluster)
    run = harm.s(1, stage.folder, deed).submit(store=stage.store)
    assert run.wait(30)
    assert (run.status, type(run.error("harm"))) == ("failed", kind)
    assert stage.counts() == {"harm": 1}
    assert pids(cluster) == before


@row("26-M4")
@pytest.mark.parametrize("deed", ["vanish", "crash"])
def test_an_effect_that_ends_its_process_is_begun_once_and_in_doubt(
    deed: str, cluster: Client, stage: Stage
) -> None:
    run = harm.s(1, stage.folder, deed).submit(store=stage.store)
    assert run.wait(60)
    assert (run.status, stage.counts()) == ("interrupted", {"harm": 1})
    assert "'harm' is in doubt" in run.state.reason


@row("26-M4")
def test_an_effect_that_was_resolved_as_failed_fails_its_run(cluster: Client, stage: Stage) -> None:
    stage.shut("reserve")
    run = saga(stage.folder).submit(store=stage.store)
    kill(stage, stage.until("reserve").pid)
    stage.open()
    assert run.wait(40)
    run = run.resolve("reserve", failed=True).resume()
    assert run.wait(30)
    assert run.status == "compensated"
    assert stage.order() == ["prepare", "charge", "reserve", "undo-charge"]


@row("26-M4")
@pytest.mark.parametrize("deed", ["vanish", "crash"])
def test_an_effect_that_ends_a_process_of_its_own_fails_at_once(
    deed: str, cluster: Client, stage: Stage
) -> None:
    flow = harm.options(isolation="process").s(1, stage.folder, deed) >> double
    run = flow.submit(store=stage.store)
    assert run.wait(60)
    assert run.status == "failed"
    assert (run.steps.status["harm"], stage.counts()) == ("failed", {"harm": 1})


@row("18-M11")
def test_an_undoing_whose_worker_died_is_done_once_more_and_the_others_once(
    cluster: Client, stage: Stage
) -> None:
    stage.spoil("close")
    stage.shut("undo-reserve")
    run = saga(stage.folder).submit(store=stage.store)
    first = stage.until("undo-reserve")
    kill(stage, first.pid)
    stage.open()
    assert run.wait(40)
    assert run.status == "compensated"
    assert [each.key for each in stage.lines("undo-reserve")] == [first.key] * 2
    assert (stage.counts()["undo-ship"], stage.counts()["undo-charge"]) == (1, 1)
    assert stage.counts()["close"] == 1


@row("17-M4")
def test_a_pure_step_that_died_with_its_worker_runs_again_by_itself(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("merge")
    flow = extract.s(stage.folder, 4) >> merge.s(folder=stage.folder)
    run = flow.submit(store=stage.store)
    stage.until_written("extract", "completed")
    kill(stage, stage.until("merge").pid)
    stage.open()
    assert run.result(40) == 6
    # What was kept before is not computed once more.
    assert stage.counts() == {"extract": 1, "merge": 2}


@row("24-M4")
def test_an_effect_that_needs_more_memory_than_there_is_is_begun_once(stage: Stage) -> None:
    options: dict[str, Any] = {"memory_limit": "500MB", "n_workers": 1, "threads_per_worker": 1}
    with (
        clusters.LocalCluster(
            host="127.0.0.1", dashboard_address="127.0.0.1:0", **options
        ) as small,
        Client(small, set_as_default=False) as client,
    ):
        run = harm.s(1, stage.folder, "hoard").submit(store=stage.store, cluster=client)
        assert run.wait(60)
        assert (run.status, stage.counts()) == ("interrupted", {"harm": 1})
        assert "'harm' is in doubt" in run.state.reason
