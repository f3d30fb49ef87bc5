"""Kernels that live: interrupted, cancelled, paused, and more than one at once."""

from __future__ import annotations

import os
import signal
import time

import pytest
from chaos.flows import PAID, payment, saga
from chaos.kernel import CellError, Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow.journal.journal import Journal

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}
SUBMIT = "run = flows.payment(folder).submit(store=store)"


@row("14-M4")
def test_an_interrupt_ends_the_waiting_and_nothing_else(kernel: Kernel, stage: Stage) -> None:
    stage.shut("charge")
    kernel.begin("flows.payment(folder).run(store=store)")
    stage.until("charge")
    kernel.interrupt()
    with pytest.raises(CellError, match="KeyboardInterrupt: stopped waiting; run .* goes on"):
        kernel.answer()
    stage.open()
    assert kernel.cell("nbflow.last_run().result(30)") == PAID
    assert stage.counts() == ONCE
    assert kernel.cell("flows.payment(folder).run(store=store).result()") == PAID


@row("15-M4")
def test_a_second_interrupt_cancels_and_what_was_done_is_undone(
    kernel: Kernel, stage: Stage
) -> None:
    stage.shut("reserve")
    kernel.cell("import sys; sys.stderr = open(folder + '/said', 'a', buffering=1)")
    kernel.begin("flows.saga(folder).run(store=store)")
    stage.until("reserve")
    kernel.interrupt()
    stage.wait(lambda: "goes on" in stage.said(), "what the interrupt says")
    kernel.interrupt()
    with pytest.raises(CellError, match="KeyboardInterrupt: run .* was cancelled"):
        kernel.answer()
    stage.open()
    assert kernel.cell("run = nbflow.last_run(); run.wait(30); str(run.status)") == "cancelled"
    assert stage.order() == ["prepare", "charge", "reserve", "undo-reserve", "undo-charge"]


@row("15-M4")
def test_a_cancelled_run_is_rolled_back_when_its_steps_have_ended(
    kernel: Kernel, stage: Stage
) -> None:
    stage.shut("ship")
    kernel.cell("run = flows.saga(folder).submit(store=store)")
    stage.until("ship")
    kernel.cell("run.cancel()")
    assert "undo-reserve" not in stage.counts()
    stage.open()
    assert kernel.cell("run.wait(30); str(run.status)") == "cancelled"
    assert stage.order()[-3:] == ["undo-ship", "undo-reserve", "undo-charge"]
    assert "close" not in stage.counts()


@row("33-M4")
def test_a_run_that_a_living_kernel_drives_is_not_resumed(kernel: Kernel, stage: Stage) -> None:
    stage.shut("charge")
    kernel.cell(SUBMIT)
    stage.until("charge")
    with pytest.raises(nbflow.RunError, match=f"is driven by process {kernel.pid} on "):
        stage.load().resume()
    assert stage.load().status == "running"
    stage.open()
    assert kernel.cell("run.result(30)") == PAID
    assert stage.counts() == ONCE


@row("34-M4")
def test_a_run_taken_by_force_is_driven_by_one_and_the_other_says_so(
    kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    kernel.cell(SUBMIT)
    stage.until("charge")
    run = stage.load().resume(force=True)
    stage.until_waiting(cluster)
    stage.open()
    assert (run.result(30), stage.counts()) == (PAID, ONCE)
    written = len(Journal.at(stage.store).batches(run.id))
    status, reason = kernel.cell("run.wait(40); str(run.status), run.state.reason")
    assert status == "interrupted"
    assert f"was taken over by process {os.getpid()} on " in reason
    assert len(Journal.at(stage.store).batches(run.id)) == written


# A lease that is over soon, so that the test need not wait for half a minute.
SHORT_LEASE = """
from pathlib import Path
from nbflow.journal import journal
journal._known[Path(os.path.realpath(store))] = journal.Journal(store, lease=1.0, beat=0.2)
"""


@row("35-M8")
def test_an_owner_that_was_paused_writes_nothing_when_it_wakes(
    kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    kernel.cell(SHORT_LEASE + SUBMIT)
    stage.until("charge")
    # Not in the middle of a commit, which would keep all others out.
    with stage.locked():
        kernel.send(signal.SIGSTOP)
    journal, [run_id] = Journal.at(stage.store), stage.run_ids()
    stage.wait(lambda: (journal.entry(run_id).expires or 0) < time.time(), "the end of the lease")
    run = stage.load().resume()
    stage.until_waiting(cluster)
    stage.open()
    assert (run.result(30), stage.counts()) == (PAID, ONCE)
    written = len(journal.batches(run_id))
    kernel.send(signal.SIGCONT)
    status, reason = kernel.cell("run.wait(40); str(run.status), run.state.reason")
    assert status == "interrupted"
    assert "was taken over" in reason
    assert len(journal.batches(run_id)) == written
    assert stage.counts() == ONCE


def two_kernels(new_kernel: NewKernel, stage: Stage, cluster: Client, code: str) -> list[str]:
    """Let two kernels do the same at the same time, and give what each answers."""
    kernels = [new_kernel(own_cluster=False).on(stage, cluster.scheduler.address) for _ in range(2)]
    for each in kernels:
        each.begin("while not os.path.exists(folder + '/start'): pass\n" + code)
    stage.touch("start")
    answers = []
    for each in kernels:
        try:
            answers.append(str(each.answer()))
        except CellError as error:
            answers.append(str(error))
    return sorted(answers)


@row("33-M12")
def test_of_two_resumes_at_once_one_goes_on(
    foreign_kernel: Kernel, new_kernel: NewKernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge", "notify")
    foreign_kernel.cell(SUBMIT)
    stage.until("charge")
    foreign_kernel.kill()
    [run_id] = stage.run_ids()
    first, second = two_kernels(
        new_kernel, stage, cluster, f"run = nbflow.load({run_id!r}, store).resume(); run.id"
    )
    assert first == run_id
    assert "RunError: the run" in second
    assert "is driven by process" in second
    stage.open()
    run = stage.load()
    assert run.wait(30)
    assert (run.status, stage.counts()) == ("completed", ONCE)


@row("46-M1")
def test_of_one_key_given_twice_at_once_there_is_one_run(
    new_kernel: NewKernel, cluster: Client, stage: Stage
) -> None:
    code = (
        "run = flows.payment(folder).submit(store=store, key='order-1')\n"
        "run.wait(30)\n"
        "run.id, nbflow.load(run.id, store).result()"
    )
    first, second = two_kernels(new_kernel, stage, cluster, code)
    assert first == second == str([*stage.run_ids(), PAID])
    assert stage.counts() == ONCE


@row("47-M12")
def test_a_key_of_another_flow_is_refused(cluster: Client, stage: Stage) -> None:
    payment(stage.folder).run(store=stage.store, key="order-1")
    with pytest.raises(nbflow.IdempotencyError, match="'order-1' is that of run"):
        saga(stage.folder).submit(store=stage.store, key="order-1")
    assert stage.counts() == ONCE
