"""Clocks that are set while runs go on or wait: what lasts is not measured by them.

The kernels and workers of these tests have the clock of one machine, which is set.
"""

from __future__ import annotations

import time

import pytest
from chaos.clocks import Clock, obey
from chaos.flows import PAID
from chaos.kernel import CellError, Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage
from distributed import Client

from nbflow.journal.journal import LEASE, Journal

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}
HOUR = 3_600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
# Signs of life and looks at the clock that come soon, so that no test need wait for them.
OBEYING = """
from pathlib import Path
from chaos import clocks
from nbflow.journal import journal
from nbflow.running import clock
clocks.obey(folder)
journal._known[Path(os.path.realpath(store))] = journal.Journal(store, beat=0.1)
clock.LOOK_SECONDS = 0.1
"""


@pytest.fixture
def clock(fragile: Client, stage: Stage) -> Clock:
    """Give the clock of the workers."""
    fragile.run(obey, stage.folder)
    return Clock(stage.folder)


@pytest.fixture
def kernels(new_kernel: NewKernel, fragile: Client, clock: Clock, stage: Stage) -> list[Kernel]:
    """Give two kernels on the machine of that clock."""
    found = []
    for _ in range(2):
        kernel = new_kernel(own_cluster=False).on(stage, fragile.scheduler.address)
        kernel.cell(OBEYING)
        found.append(kernel)
    return found


@JUMPS
@row("36-M4")
def test_a_run_stays_with_its_owner_when_the_clock_is_set(
    jump: float, kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    owner, other = kernels
    stage.shut("charge")
    owner.cell("run = flows.payment(folder).submit(store=store)")
    stage.until("charge")
    journal, [run_id] = Journal.at(stage.store), stage.run_ids()
    clock.set(jump)

    def renewed() -> bool:
        left = (journal.entry(run_id).expires or 0.0) - (time.time() + jump)
        return 0 < left <= LEASE

    stage.wait(renewed, "a sign of life by the new clock")
    with pytest.raises(CellError, match=f"is driven by process {owner.pid} on "):
        other.cell("nbflow.load(run_id, store).resume()", run_id=run_id)
    assert other.cell("str(nbflow.load(run_id, store).status)") == "running"
    stage.open()
    assert owner.cell("run.result(30)") == PAID
    assert stage.counts() == ONCE


@JUMPS
@row("36-M4")
def test_an_effect_at_work_is_not_begun_once_more_when_the_clock_is_set(
    jump: float, kernels: list[Kernel], clock: Clock, stage: Stage, fragile: Client
) -> None:
    first, second = kernels
    stage.shut("charge")
    first.cell("run = flows.payment(folder, on_doubt='retry').submit(store=store)")
    stage.until("charge")
    first.kill()
    clock.set(jump)
    second.cell("run = nbflow.load(run_id, store).resume()", run_id=stage.run_ids()[0])
    stage.wait(
        lambda: stage.is_waiting(fragile) or stage.counts()["charge"] > 1,
        "a second copy that waits, or does not",
    )
    assert stage.counts()["charge"] == 1
    stage.open()
    assert second.cell("run.result(30)") == PAID
    assert (stage.counts()["charge"], stage.counts()["notify"]) == (1, 1)


RETRYING = """
policy = nbflow.Retry(attempts=3, wait=1.0, backoff=1, jitter=False)
run = flows.payment(folder, retry=policy).submit(store=store)
"""


@JUMPS
@row("36-M9")
def test_a_retry_comes_once_when_the_clock_is_set_meanwhile(
    jump: float, kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    stage.spoil("charge", 1)
    kernels[0].cell(RETRYING)
    stage.until_written("charge", "retrying")
    clock.set(jump)
    assert kernels[0].cell("run.result(30)") == PAID
    assert [each.attempt for each in stage.lines("charge")] == [1, 2]
    assert stage.counts()["notify"] == 1


@row("36-M9")
def test_a_retry_that_is_overdue_by_the_new_clock_comes_at_once_and_once(
    kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    first, second = kernels
    stage.spoil("charge", 1)
    first.cell(RETRYING)
    stage.until_written("charge", "retrying")
    first.kill()
    clock.set(HOUR)
    second.cell("run = nbflow.load(run_id, store).resume()", run_id=stage.run_ids()[0])
    assert second.cell("run.result(30)") == PAID
    assert [each.attempt for each in stage.lines("charge")] == [1, 2]
    assert stage.counts()["notify"] == 1


@row("36-M9")
def test_a_retry_that_was_resumed_by_a_wrong_clock_comes_when_it_is_right(
    kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    first, second = kernels
    stage.spoil("charge", 1)
    first.cell(RETRYING)
    stage.until_written("charge", "retrying")
    first.kill()
    clock.set(-HOUR)
    second.cell("run = nbflow.load(run_id, store).resume()", run_id=stage.run_ids()[0])
    stage.wait(lambda: stage.load().state.steps["charge"].reason == "delay", "a worker that waits")
    clock.set(0)
    assert second.cell("run.wait(3)"), "it waits for an hour, as if the clock had been right"
    assert [each.attempt for each in stage.lines("charge")] == [1, 2]


LATER = "run = flows.payment(folder).submit(after=seconds, store=store)"
WAITED_FOR = "run = nbflow.load(run_id, store); [run.wait(30), str(run.status)]"
TICK = "from nbflow.__main__ import main; main(['tick', '--store', store])"


@row("36-M9")
def test_a_run_that_is_due_when_the_clock_is_set_forward_begins_once(
    kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    owner, other = kernels
    owner.cell(LATER, seconds=HOUR)
    [run_id] = stage.run_ids()
    other.begin(WAITED_FOR, run_id=run_id)
    # So far that nobody has to let anybody else go first.
    clock.set(HOUR + 60)
    assert owner.cell("[run.wait(30), str(run.status)]") == [True, "completed"]
    assert other.answer() == [True, "completed"]
    clock.set(0)
    for kernel in kernels:
        assert kernel.cell(TICK) == 0
    assert (stage.run_ids(), stage.counts()) == ([run_id], ONCE)


@row("36-M9")
def test_a_run_that_is_due_waits_for_the_clock_that_was_set_back_and_begins_once(
    kernels: list[Kernel], clock: Clock, stage: Stage
) -> None:
    owner, other = kernels
    owner.cell(LATER, seconds=HOUR)
    [run_id] = stage.run_ids()
    clock.set(-HOUR)
    for kernel in kernels:
        assert kernel.cell(TICK) == 0
    assert (owner.cell("str(run.status)"), stage.counts()) == ("pending", {})
    clock.set(HOUR + 60)
    assert owner.cell("[run.wait(30), str(run.status)]") == [True, "completed"]
    assert other.cell(WAITED_FOR, run_id=run_id) == [True, "completed"]
    assert stage.counts() == ONCE
