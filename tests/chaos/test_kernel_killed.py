"""The kernel is killed, at each moment of a run; a new one goes on.

With a cluster of its own its workers die with it; those of a foreign one go on.
"""

from __future__ import annotations

from typing import Any

import pytest
from chaos import faults
from chaos.flows import PAID, UNDONE, payment, prepare
from chaos.kernel import Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}
SUBMIT = "run = flows.payment(folder, **options).submit(store=store, key='order-1')"


def submitted(kernel: Kernel, **options: Any) -> None:
    kernel.cell(SUBMIT, options=options)


@pytest.fixture
def begun(stage: Stage, cluster: Client) -> Stage:
    """Have a journal, so that the next commit is that of a new run."""
    prepare.s(stage.folder).run(store=stage.store)
    stage.forget()
    return stage


@row("1-M1")
def test_a_run_that_was_not_entered_never_was(kernel: Kernel, begun: Stage) -> None:
    faults.plan(begun.folder, faults.COMMIT, "before", "kill")
    kernel.begin(SUBMIT, options={})
    kernel.wait()
    assert len(begun.run_ids()) == 1
    run = payment(begun.folder).submit(store=begun.store, key="order-1")
    assert (run.result(30), begun.counts()) == (PAID, ONCE)


@row("2-M2")
def test_a_run_that_was_entered_and_not_sent_runs_once(kernel: Kernel, begun: Stage) -> None:
    faults.plan(begun.folder, faults.COMMIT, "after", "kill")
    kernel.begin(SUBMIT, options={})
    kernel.wait()
    run = begun.load(begun.run_ids()[-1])
    assert run.status == "interrupted"
    assert (run.resume().result(30), begun.counts()) == (PAID, ONCE)


@row("3-M3")
def test_a_step_that_was_sent_and_not_begun_runs_once(kernel: Kernel, stage: Stage) -> None:
    stage.shut("occupy")
    kernel.cell("busy = [c.submit(flows.occupy, folder, n) for n in range(2)]")
    stage.wait(lambda: len(stage.files("busy-*")) == 2, "two threads that are busy")
    submitted(kernel)
    kernel.cell(
        "while c.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) < 3: pass"
    )
    kernel.kill()
    stage.open("occupy")
    assert stage.counts() == {}
    assert (stage.load().resume().result(30), stage.counts()) == (PAID, ONCE)


@row("4-M4")
@pytest.mark.parametrize("verdict", ["completed", "retry", "failed"])
def test_an_effect_that_died_with_its_kernel_is_in_doubt_until_somebody_says(
    verdict: str, stage: Stage, cluster: Client, kernel_of_its_own: Kernel
) -> None:
    kernel = kernel_of_its_own
    stage.shut("charge")
    submitted(kernel)
    stage.until("charge")
    kernel.kill()
    stage.open()
    run = stage.load().resume()
    assert run.wait(30)
    assert run.status == "interrupted"
    assert run.state.steps["charge"].doubts
    assert "'charge'" in run.state.reason
    run.resolve("charge", **{verdict: [8] if verdict == "completed" else True})
    run = run.resume()
    assert run.wait(30)
    if verdict == "failed":
        assert (run.status, stage.counts()["charge"]) == ("failed", 1)
        return
    assert run.result(30) == ("notified of 8" if verdict == "completed" else PAID)
    assert stage.counts()["charge"] == (1 if verdict == "completed" else 2)
    assert stage.counts()["notify"] == 1
    assert len({each.key for each in stage.lines("charge")}) == 1


@row("4-M4")
def test_an_effect_in_doubt_that_may_be_repeated_is_repeated_under_one_key(
    stage: Stage, cluster: Client, kernel_of_its_own: Kernel
) -> None:
    kernel = kernel_of_its_own
    stage.shut("charge")
    submitted(kernel, on_doubt="retry")
    stage.until("charge")
    kernel.kill()
    stage.open()
    assert stage.load().resume().result(30) == PAID
    first, second = stage.lines("charge")
    assert first.key == second.key
    assert stage.counts()["notify"] == 1


@row("4-M4")
@pytest.mark.parametrize("was_done", [True, False])
def test_who_can_verify_an_effect_in_doubt_is_asked(
    was_done: bool, stage: Stage, cluster: Client, kernel_of_its_own: Kernel
) -> None:
    kernel = kernel_of_its_own
    stage.shut("charge")
    kernel.cell(
        "flow = flows.payment(folder, verify=lambda x, folder: [9] if was_done else None)\n"
        "run = flow.submit(store=store)",
        was_done=was_done,
    )
    stage.until("charge")
    kernel.kill()
    stage.open()
    assert stage.load().resume().result(30) == ("notified of 9" if was_done else PAID)
    assert stage.counts()["charge"] == (1 if was_done else 2)


@row("5-M4")
@pytest.mark.parametrize("ends", ["before", "after"])
def test_an_effect_that_outlives_its_kernel_is_not_repeated(
    ends: str, stage: Stage, cluster: Client, foreign_kernel: Kernel
) -> None:
    stage.shut("charge")
    submitted(foreign_kernel)
    stage.until("charge")
    foreign_kernel.kill()
    if ends == "before":
        stage.open()
        stage.until("notify")
    run = stage.load().resume()
    if ends == "after":
        stage.until_waiting(cluster)
    stage.open()
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)
    assert stage.counts()["notify"] == 1


HELD = [
    pytest.param("payloads/", "before", id="row6-M5"),
    pytest.param("receipts/effects", "before", id="row7-M6"),
    pytest.param("receipts/effects", "after", id="row8-M7"),
]


@pytest.mark.parametrize(("part", "when"), HELD)
def test_what_was_done_and_not_told_is_never_done_twice(
    part: str, when: str, kernel: Kernel, stage: Stage
) -> None:
    faults.plan(stage.folder, part, when, "hold")
    submitted(kernel)
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    kernel.kill()
    run = stage.load().resume()
    faults.let_go(stage.folder)
    assert run.wait(30)
    if kernel.has_own_cluster and when == "before":
        assert run.state.steps["charge"].doubts
        run = run.resolve("charge", completed=[5]).resume()
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)
    assert stage.counts()["notify"] == 1


@row("9-M8")
def test_what_follows_a_recorded_effect_begins_once(kernel: Kernel, stage: Stage) -> None:
    faults.plan(stage.folder, "claims/", "before", "hold", nth=2)
    submitted(kernel)
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    stage.until_written("charge", "completed")
    kernel.kill()
    run = stage.load().resume()
    faults.let_go(stage.folder)
    assert (run.result(30), stage.counts()) == (PAID, ONCE)
    assert run.state.steps["charge"].status == "reused"


@row("9-M8")
def test_a_copy_that_was_held_up_begins_nothing_when_its_run_has_ended_elsewhere(
    foreign_kernel: Kernel, stage: Stage, cluster: Client, elsewhere: Client
) -> None:
    faults.plan(stage.folder, "claims/", "before", "hold", nth=2)
    submitted(foreign_kernel)
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")
    stage.until_written("charge", "completed")
    foreign_kernel.kill()
    run = stage.load().resume(cluster=elsewhere)
    assert (run.result(30), stage.counts()) == (PAID, ONCE)
    faults.let_go(stage.folder)
    stage.until_idle(cluster)
    assert stage.counts() == ONCE


RETRYING = """
policy = nbflow.Retry(attempts=3, wait=1.5, backoff=1, jitter=False)
run = flows.payment(folder, retry=policy).submit(store=store)
"""


@row("10-M9")
def test_a_retry_that_is_due_stays_due_and_counts_on(
    kernel_of_its_own: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.spoil("charge", 1)
    kernel_of_its_own.cell(RETRYING)
    stage.until_written("charge", "retrying")
    kernel_of_its_own.kill()
    due = stage.load().state.steps["charge"].retry_at
    run = stage.load().resume()
    assert run.result(30) == PAID
    assert [each.attempt for each in stage.lines("charge")] == [1, 2]
    assert run.state.steps["charge"].attempts == 2
    assert due is not None
    assert run.state.steps["charge"].ended >= due


@row("10-M9")
def test_an_old_copy_that_waits_for_its_next_attempt_ends_with_its_run(
    foreign_kernel: Kernel, cluster: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.spoil("charge", 1)
    foreign_kernel.cell(RETRYING)
    stage.until_written("charge", "retrying")
    foreign_kernel.kill()
    run = stage.load().resume(cluster=elsewhere)
    assert run.result(30) == PAID
    stage.until_idle(cluster)
    assert [each.attempt for each in stage.lines("charge")] == [1, 2]
    assert stage.counts()["notify"] == 1


def held_between_undoings(stage: Stage, kernel: Kernel) -> None:
    stage.shut("close")
    stage.spoil("close")
    kernel.cell("run = flows.saga(folder).submit(store=store)")
    stage.until("close")
    # From here on all claims are those of undoing.
    faults.plan(stage.folder, "claims/", "before", "hold", nth=2)
    stage.open()
    stage.wait(lambda: faults.has_happened(stage.folder), "a worker that is held up")


def undone(stage: Stage) -> list[str]:
    return [name for name in stage.order() if name.startswith("undo-")]


@row("11-M10")
def test_a_rollback_goes_on_with_the_next_entry_and_never_forward(
    kernel: Kernel, stage: Stage
) -> None:
    held_between_undoings(stage, kernel)
    kernel.kill()
    stage.mend()
    run = stage.load().resume()
    assert run.wait(30)
    faults.let_go(stage.folder)
    assert run.status == "compensated"
    assert undone(stage) == UNDONE
    assert stage.counts()["close"] == 1


@row("12-M11")
def test_an_undoing_that_was_cut_off_is_done_once_more_under_its_key(
    kernel: Kernel, stage: Stage
) -> None:
    stage.spoil("close")
    stage.shut("undo-reserve")
    kernel.cell("run = flows.saga(folder).submit(store=store)")
    stage.until("undo-reserve")
    kernel.kill()
    stage.mend()
    run = stage.load().resume()
    stage.open()
    assert run.wait(30)
    assert run.status == "compensated"
    if kernel.has_own_cluster:
        assert undone(stage) == ["undo-ship", "undo-reserve", "undo-reserve", "undo-charge"]
    else:
        assert undone(stage) == UNDONE
    assert len({each.key for each in stage.lines("undo-reserve")}) == 1
    assert stage.counts()["close"] == 1


@row("13-M12")
def test_a_run_that_had_ended_is_read_in_a_new_kernel_without_a_cluster(
    kernel: Kernel, new_kernel: NewKernel, stage: Stage
) -> None:
    submitted(kernel)
    assert kernel.cell("run.result(30)") == PAID
    kernel.kill()
    reader = new_kernel(own_cluster=False)
    reader.begin("run = nbflow.load(run_id, store)", run_id=stage.run_ids()[0], store=stage.store)
    assert reader.cell("run.result(), str(run.status), len(run.value('charge'))") == [
        PAID,
        "completed",
        9_000,
    ]
    assert reader.cell("from distributed.client import _global_clients; len(_global_clients)") == 0
    assert stage.counts() == ONCE
