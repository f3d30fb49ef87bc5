"""What a resume makes of maps, sagas, branches, edited code, and what is done twice."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from chaos import faults
from chaos.flows import (
    PAID,
    SETTLED,
    UNDONE,
    charge,
    close,
    extract,
    merge,
    notify,
    parse,
    payment,
    prepare,
    reserve,
    saga,
    send,
    sending,
    settlement,
    undo,
)
from chaos.kernel import Kernel, NewKernel
from chaos.matrix import row
from chaos.stage import Stage, enter
from distributed import Client

import nbflow
from nbflow import branch, step
from nbflow.algebra.flow import Flow

pytestmark = pytest.mark.timeout(90)

ONCE = {"prepare": 1, "charge": 1, "notify": 1}


def killed_with_three_letters_in_flight(
    new_kernel: NewKernel, stage: Stage, **options: Any
) -> nbflow.Run:
    """Let a kernel send ten letters, kill it when seven are sent, and give the run."""
    kernel = new_kernel(own_cluster=False)
    kernel.begin("", folder=stage.folder, store=stage.store, options=options)
    kernel.cell("nbflow.connect(n_workers=1, threads_per_worker=3, preload=PRELOAD)")
    # The last of them are sent first.
    stage.shut("send[0]", "send[1]", "send[2]")
    kernel.cell("run = flows.sending(folder, **options).submit(store=store)")
    stage.until("send", 10)
    stage.wait(lambda: stage.load().state.steps["send"].done == 7, "seven that are written down")
    kernel.kill()
    stage.open()
    return stage.load()


@row("48-M4")
def test_of_ten_letters_three_are_in_doubt_and_seven_are_not_sent_again(
    new_kernel: NewKernel, cluster: Client, stage: Stage
) -> None:
    run = killed_with_three_letters_in_flight(new_kernel, stage).resume()
    assert run.wait(30)
    assert run.status == "interrupted"
    assert set(run.state.steps["send"].doubts) == {0, 1, 2}
    assert stage.counts() == {"send": 10}
    run = run.resolve("send[0]", completed=1_000)
    run = run.resolve("send[1]", retry=True)
    run = run.resolve("send[2]", completed=0).resume()
    assert run.result(30) == sum(10 * n for n in range(10) if n not in (0, 2)) + 1_000
    assert stage.counts() == {"send": 11}
    assert [each.element for each in stage.lines("send")][-1] == "1"


@row("48-M4")
def test_elements_that_may_be_sent_again_are_and_only_those_in_flight(
    new_kernel: NewKernel, cluster: Client, stage: Stage
) -> None:
    run = killed_with_three_letters_in_flight(new_kernel, stage, on_doubt="retry")
    assert run.resume().result(30) == 450
    again = [each.element for each in stage.lines("send")][10:]
    assert sorted(again) == ["0", "1", "2"]


@row("48-M4")
def test_pure_elements_that_are_kept_do_not_run_again(
    kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("parse[7]")
    kernel.cell(
        "flow = flows.parse.s(folder=folder).map(range(10), chunk_size=1)\n"
        "run = flow.submit(store=store)"
    )
    stage.until("parse", 10)
    stage.wait(lambda: stage.load().state.steps["parse"].done == 9, "nine that are written down")
    kernel.kill()
    stage.open()
    assert stage.load().resume().result(30) == [2 * n for n in range(10)]
    again = [each.element for each in stage.lines("parse")][10:]
    # A worker that outlived the kernel has ended it.
    assert again in (["7"], [])


@row("49-M12")
def test_a_redrive_that_is_clicked_twice_sends_once(cluster: Client, stage: Stage) -> None:
    stage.spoil("send", 1)
    flow = send.s(folder=stage.folder).map(range(4), on_error="collect")
    run = flow.run(store=stage.store)
    [dead] = run.dead_letters.element.tolist()
    stage.shut("send")
    first = run.redrive()
    second = run.redrive()
    stage.open()
    assert first.wait(30)
    assert second.wait(30)
    assert first.id == second.id
    assert [each.element for each in stage.lines("send")][-1] == str(dead)
    assert len(stage.lines("send")) == 5


@row("50-M11")
def test_an_undoing_that_always_fails_is_said_and_the_others_are_done(
    cluster: Client, stage: Stage
) -> None:
    stage.spoil("close")
    stage.spoil("undo-reserve")
    run = saga(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    assert run.status == "failed"
    assert "undoing reserve failed" in run.state.reason
    assert stage.order()[-3:] == ["undo-ship", "undo-reserve", "undo-charge"]
    statuses = run.steps.status
    assert (statuses["ship"], statuses["charge"]) == ("compensated", "compensated")
    assert statuses["reserve"] == "completed"
    # When the reason is gone, a resume undoes what is left, and nothing else.
    stage.mend()
    again = stage.load().resume()
    assert again.wait(30)
    assert again.status == "compensated"
    assert stage.order()[-1] == "undo-reserve"
    assert (stage.counts()["undo-ship"], stage.counts()["undo-charge"]) == (1, 1)
    assert stage.counts()["close"] == 1


@row("50-M11")
def test_an_undoing_that_fails_once_is_tried_again(cluster: Client, stage: Stage) -> None:
    stage.spoil("close")
    stage.spoil("undo-reserve", 1)
    run = saga(stage.folder, retry=2).submit(store=stage.store)
    assert run.wait(30)
    assert run.status == "compensated"
    undone = [each for each in stage.order() if each.startswith("undo-")]
    assert undone == ["undo-ship", "undo-reserve", "undo-reserve", "undo-charge"]
    assert len({each.key for each in stage.lines("undo-reserve")}) == 1


@row("50-M12")
@pytest.mark.parametrize("gone", ["never kept", "deleted"])
def test_an_effect_whose_result_is_gone_can_be_undone(
    gone: str, cluster: Client, stage: Stage
) -> None:
    if gone == "never kept":
        stage.spoil("close")
        faults.plan(stage.folder, "payloads/", "before", "fail for good")
    run = saga(stage.folder).submit(store=stage.store)
    assert run.wait(30)
    if gone == "deleted":
        assert run.status == "completed"
        for each in stage.files("store/payloads/*/*"):
            each.unlink()
        run = stage.load().undo()
        assert run.wait(30)
    assert run.status == "compensated"
    assert stage.order()[-3:] == UNDONE


@row("50-M12")
def test_a_run_that_succeeded_is_undone_once(cluster: Client, stage: Stage) -> None:
    run = saga(stage.folder).run(store=stage.store)
    undone = run.undo()
    assert undone.wait(30)
    assert undone.status == "compensated"
    assert stage.order()[-3:] == ["undo-ship", "undo-reserve", "undo-charge"]
    with pytest.raises(nbflow.RunError, match="undone already"):
        stage.load().undo()
    with pytest.raises(nbflow.RunError, match="never goes forward again"):
        stage.load().resume()


def slow(x: int, folder: str) -> int:
    enter(folder)
    try:
        # In C: no exception ends it in the middle.
        time.sleep(1.0)
    except BaseException:
        Path(folder, "late").touch()
    return x


@row("51-M4")
def test_a_step_that_ends_after_its_time_changes_nothing_any_more(
    cluster: Client, stage: Stage
) -> None:
    late = step(slow, effect=True, timeout=0.3)
    flow = prepare.s(stage.folder) >> charge.options(compensate=partial(undo, stage.folder)).s(
        folder=stage.folder
    )
    flow = flow >> step(len) >> late.s(stage.folder)
    run = flow.submit(store=stage.store)
    assert run.wait(30)
    stage.wait(lambda: stage.files("late"), "the late end")
    stage.until_idle(cluster)
    for seen in (run, stage.load()):
        assert seen.status == "interrupted"
        assert "goes on in the background" in str(seen.state.steps["slow"].doubts)
    ended = stage.load().resolve("slow", failed=True).resume()
    assert ended.wait(30)
    assert (ended.status, ended.steps.status["slow"]) == ("compensated", "failed")
    assert stage.counts() == {"prepare": 1, "charge": 1, "undo-charge": 1, "slow": 1}


@row("52-M11")
def test_a_step_that_was_left_behind_is_undone_or_in_doubt(cluster: Client, stage: Stage) -> None:
    late = step(slow, timeout=0.3, compensate=partial(undo, stage.folder))
    run = (prepare.s(stage.folder) >> late.s(stage.folder)).submit(store=stage.store)
    assert run.wait(30)
    stage.wait(lambda: stage.files("late"), "the late end")
    stage.until_idle(cluster)
    if run.status == "interrupted":
        assert run.state.steps["slow"].doubts
    else:
        assert (run.status, stage.order()) == ("compensated", ["prepare", "slow", "undo-slow"])


@row("52-M10")
def test_what_is_at_work_when_its_run_fails_ends_before_it_is_undone(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("settle")
    stage.spoil("close")
    run = settlement(stage.folder).submit(store=stage.store)
    stage.until("settle")
    stage.until_written("close", "failed")
    assert not run.wait(0)
    stage.open()
    assert run.wait(30)
    assert run.status == "compensated"
    assert stage.order()[-4:] == SETTLED


@row("52-M10")
def test_what_outlived_its_kernel_ends_before_it_is_undone(
    foreign_kernel: Kernel, cluster: Client, stage: Stage, elsewhere: Client
) -> None:
    stage.shut("settle", "close")
    foreign_kernel.cell("run = flows.settlement(folder).submit(store=store)")
    stage.until("settle")
    stage.until("close")
    foreign_kernel.kill()
    stage.spoil("close")
    run = stage.load().resume(cluster=elsewhere)
    stage.until_waiting(elsewhere)
    stage.open("close")
    stage.until_written("close", "failed")
    assert not run.wait(0)
    stage.open()
    assert run.wait(30)
    assert run.status == "compensated"
    assert stage.order()[-3:] == SETTLED[-3:]
    assert stage.counts()["settle"] == 1


@row("52-M10")
def test_what_outlived_its_kernel_is_undone_or_in_doubt_when_its_run_is_cancelled(
    foreign_kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("charge")
    foreign_kernel.cell("run = flows.saga(folder).submit(store=store)")
    stage.until("charge")
    foreign_kernel.kill()
    run = stage.load().resume()
    stage.until_waiting(cluster)
    run.cancel()
    # It may wait for what is at work and hears nothing of this, or say that there is doubt.
    has_waited = not run.wait(1)
    stage.open()
    assert run.wait(30)
    if has_waited:
        assert (run.status, stage.order()[-1]) == ("cancelled", "undo-charge")
    else:
        assert run.status == "interrupted"
        assert run.state.steps["charge"].doubts


def test_nothing_is_undone_before_it_is_written_down_that_the_run_is_rolled_back(
    cluster: Client, stage: Stage
) -> None:
    stage.shut("close")
    stage.spoil("close")
    run = saga(stage.folder).submit(store=stage.store)
    stage.until("close")
    stage.until_written("ship", "completed")
    with stage.locked():
        stage.open()
        stage.wait(lambda: run.state.rollback is not None, "the rollback")
        # What was sent before these would be called before them.
        for number in range(20):
            cluster.submit(abs, -number, pure=False).result()
        assert stage.order()[-1] == "close"
        assert not run.status.final
    assert run.wait(30)
    assert (run.status, stage.order()[-3:]) == ("compensated", UNDONE)


@row("53-M12")
def test_a_handler_that_raises_changes_nothing(cluster: Client, stage: Stage) -> None:
    told: list[Any] = []

    def handler(*failures: Any) -> None:
        told.append(failures)
        raise ZeroDivisionError("of the handler")

    stage.spoil("notify", 1)
    flow = payment(stage.folder).on_error(handler)
    with pytest.raises(ValueError, match="notify is spoilt"), pytest.warns(RuntimeWarning):
        flow.run(store=stage.store)
    assert len(told) == 1
    run = stage.load()
    assert run.status == "failed"
    assert (run.resume().result(30), stage.counts()["charge"]) == (PAID, 1)


def edited(stage: Stage, *, pure: bool, effect: bool) -> Flow:
    """Make the flow as it is after its code was edited."""

    def prepare(folder: str) -> int:
        enter(folder)
        return 6

    def charge(x: int, folder: str) -> list[int]:
        enter(folder)
        return [x, x]

    folder = stage.folder
    first: Any = step(prepare) if pure else globals()["prepare"]
    second: Any = step(charge, effect=True) if effect else globals()["charge"]
    return first.s(folder) >> second.s(folder=folder) >> notify.s(folder=folder)


@row("54-M12")
def test_an_effect_whose_code_was_edited_is_kept_and_a_note_says_so(
    cluster: Client, stage: Stage
) -> None:
    stage.spoil("notify", 1)
    assert payment(stage.folder).submit(store=stage.store).wait(30)
    flow = edited(stage, pure=False, effect=True)
    plan = stage.load().plan_of_resume(flow)
    assert plan.decision.to_dict() == {"prepare": "reuse", "charge": "reuse", "notify": "run"}
    assert "has an effect and is not repeated" in plan.reason["charge"]
    run = stage.load().resume(flow)
    assert (run.result(30), stage.counts()) == (PAID, {**ONCE, "notify": 2})


@row("54-M12")
def test_a_pure_step_whose_code_was_edited_runs_again_with_what_is_pure_after_it(
    cluster: Client, stage: Stage
) -> None:
    folder = stage.folder

    def flow(add: int) -> Flow:
        def double(x: int, folder: str) -> int:
            enter(folder)
            return 2 * x + add

        return prepare.s(folder) >> step(double).s(folder) >> step(abs) >> close.s(folder=folder)

    stage.spoil("close", 1)
    assert flow(0).submit(store=stage.store).wait(30)
    plan = stage.load().plan_of_resume(flow(1))
    assert plan.decision.to_dict() == {
        "prepare": "reuse",
        "double": "run",
        "abs": "run",
        "close": "run",
    }
    run = stage.load().resume(flow(1))
    assert run.result(30) == "closed"
    assert run.value("abs") == 11
    assert stage.counts() == {"prepare": 1, "double": 2, "close": 2}


@row("54-M12")
def test_an_effect_after_a_pure_step_that_was_edited_is_kept(cluster: Client, stage: Stage) -> None:
    stage.spoil("notify", 1)
    assert payment(stage.folder).submit(store=stage.store).wait(30)
    flow = edited(stage, pure=True, effect=False)
    run = stage.load().resume(flow)
    assert (run.result(30), stage.counts()["charge"]) == (PAID, 1)


@row("55-M12")
def test_a_branch_that_was_taken_stays_taken_though_its_condition_was_edited(
    cluster: Client, stage: Stage
) -> None:
    folder = stage.folder

    def flow(large: Any) -> Flow:
        taken = branch(large, reserve.s(folder=folder), charge.s(folder=folder))
        return prepare.s(folder) >> taken >> close.s(folder=folder)

    stage.spoil("close", 1)
    first = flow(lambda x: x > 3).submit(store=stage.store)
    assert first.wait(30)
    run = stage.load().resume(flow(lambda x: x > 30))
    assert run.result(30) == "closed"
    assert stage.counts() == {"prepare": 1, "reserve": 1, "close": 2}


@row("55-M4")
def test_a_branch_that_was_taken_stays_taken_though_its_condition_says_otherwise_now(
    kernel: Kernel, cluster: Client, stage: Stage
) -> None:
    stage.shut("reserve")
    kernel.cell(
        "from nbflow import branch\n"
        "flow = flows.prepare.s(folder) >> branch(\n"
        "    lambda x: not os.path.exists(folder + '/later'),\n"
        "    flows.reserve.s(folder=folder), flows.charge.s(folder=folder)\n"
        ") >> flows.close.s(folder=folder)\n"
        "run = flow.options(fuse=False).submit(store=store, checkpoint=True)"
    )
    stage.until("reserve")
    stage.until_written("prepare", "completed")
    kernel.kill()
    stage.touch("later")
    stage.open()
    assert stage.load().resume().result(30) == "closed"
    assert "charge" not in stage.counts()


@row("13-M12")
def test_what_only_a_run_that_goes_on_needs_is_gone_in_the_end(
    cluster: Client, stage: Stage
) -> None:
    flow = extract.s(stage.folder, 3) >> parse.s(folder=stage.folder).map()
    run = (flow >> merge.s(folder=stage.folder)).run(store=stage.store)
    assert run.result() == 6

    def pruned() -> bool:
        # As long as a run is held, its results may be computed anew by Dask, and are found.
        nbflow.prune(store=stage.store)
        return not stage.files("store/runs/*/receipts/segments/*/*/*")

    stage.wait(pruned, "the end of what only a run needs")
    assert sending(stage.folder, 2).run(store=stage.store).result() == 10
    stage.wait(lambda: not stage.files("store/incoming/*"), "the end of unfinished files")
