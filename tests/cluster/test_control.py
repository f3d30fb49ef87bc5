"""Failure and control flow on real workers: retries, limits, caps, letters, cancelling."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from tally import Tally

import nbflow
from nbflow import (
    Retry,
    RunCancelledError,
    RunError,
    TryAgain,
    branch,
    context,
    group,
    step,
    switch,
)

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("client")]


@step
def double(x: Any) -> Any:
    return 2 * x


@step
def inc(x: Any) -> Any:
    return x + 1


@step
def total(values: Any) -> Any:
    return sum(values)


@step
def upto(n: int) -> list[int]:
    return list(range(n))


@step
def unsteady(x: Any, tries: int = 3) -> Any:
    if context().attempt < tries:
        raise OSError(f"attempt {context().attempt}")
    return x


@step
def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@step
def needs(x: Any, folder: str) -> Any:
    """Work only once somebody has mended things."""
    if x == 2 and not Path(folder, "mended").exists():
        raise ValueError(f"bad {x}")
    return x


@step
def total_rows(lists: list[list[Any]]) -> int:
    return sum(map(len, lists))


@step
def patient(folder: str) -> str:
    Path(folder, "running").touch()
    while not context().cancelled:
        time.sleep(0.01)
    return "stopped when asked"


class Locked(Exception):
    """One that cannot be pickled."""

    def __init__(self) -> None:
        import threading

        super().__init__("locked")
        self.lock = threading.Lock()


both = pytest.mark.parametrize("fuse", [True, False])


@both
def test_only_the_failing_step_of_a_chain_is_tried_again(fuse: bool, tally: Tally) -> None:
    first = step(tally.counting("first", lambda: 1))
    last = step(tally.counting("last", lambda x: x))
    retry = unsteady.options(retry=Retry(attempts=3, wait=0.01))
    run = (first >> retry >> last).options(fuse=fuse).run()
    assert run.result() == 1
    assert list(run.steps.attempts) == [1, 3, 1]
    assert tally.counts() == {"first": 1, "last": 1}
    told = [each.attempt for each in run.events if each.status == "retrying"]
    assert told == [1, 2]
    assert all(each.retry_at for each in run.events if each.status == "retrying")


@both
def test_a_filter_sees_the_real_exception_even_one_that_cannot_travel(fuse: bool) -> None:
    @step(retry=Retry(attempts=2, on=Locked, wait=0.01), fuse=fuse)
    def guarded() -> int:
        if context().attempt == 1:
            raise Locked
        return 7

    @step(retry=Retry(attempts=5, on=KeyError, wait=0.01), fuse=fuse)
    def other() -> None:
        raise Locked

    assert guarded.run().result() == 7
    run = other.run(raise_on_error=False)
    assert (run.status, run.steps.attempts["other"]) == ("failed", 1)


def test_a_step_may_ask_for_another_attempt() -> None:
    @step
    def polling() -> int:
        if context().attempt < 4:
            raise TryAgain(0.01)
        return context().attempt

    assert polling.run().result() == 4
    assert polling.s().call() == 4


def test_attempts_are_counted_where_they_were_made() -> None:
    retry = unsteady.options(retry=Retry(attempts=3, wait=0.01))
    run = (retry.map([1, 2, 3]) >> total).run()
    assert (run.result(), run.steps.attempts["unsteady"]) == (6, 3)
    assert (retry.map([1, 2, 3]) >> total).call() == 6


def test_the_key_of_a_call_is_the_same_in_every_attempt(tally: Tally) -> None:
    @step(retry=Retry(attempts=3, wait=0.01))
    def keyed(x: int) -> str:
        tally.add(context().idempotency_key)
        if context().attempt < 3:
            raise OSError
        return context().idempotency_key

    keys = keyed.map([1, 2]).run().result()
    assert len(set(keys)) == 2
    assert tally.counts() == dict.fromkeys(sorted(keys), 3)


@both
def test_waiting_for_a_retry_holds_no_slot(fuse: bool) -> None:
    slow = unsteady.options(retry=Retry(attempts=2, wait=2, jitter=False), fuse=fuse)
    waiting = group(slow.s(n, tries=2) for n in range(8)).submit()
    with waiting._record.changed:
        waiting._record.changed.wait_for(
            lambda: (
                {"retrying"} == {str(s.status) for s in waiting.state.steps.values()}
                or waiting.state.status.final
            )
        )
    ninth = (1 >> inc).run()
    assert ninth.result() == 2
    # All of them were still waiting when it had ended.
    assert waiting.status == "running"
    assert waiting.result() == list(range(8))


@both
def test_an_attempt_that_takes_too_long_fails_and_the_run_goes_on(fuse: bool) -> None:
    @step(timeout=0.3, fuse=fuse)
    def spin() -> None:
        while True:
            pass

    @step(timeout=0.3, fuse=fuse)
    def blocked() -> None:
        time.sleep(1.5)

    run = group(spin, blocked, inc.s(1)).run(raise_on_error=False)
    assert list(run.steps.status) == ["failed", "failed", "completed"]
    assert isinstance(run.error("spin"), TimeoutError)
    assert "'spin' took longer than 0.3 s; it was stopped" in str(run.error("spin"))
    assert "goes on in the background" in str(run.error("blocked"))
    with pytest.raises(TimeoutError):
        group(spin).call()


def test_a_step_in_its_own_process_harms_nobody() -> None:
    @step(isolation="process")
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    @step(isolation="process")
    def fine(x: int) -> int:
        print("said in the child")
        return x + 1

    run = group(crash, fine.s(1), inc.s(1)).run(raise_on_error=False)
    assert list(run.steps.status) == ["failed", "completed", "completed"]
    assert "SIGSEGV" in str(run.error("crash"))
    assert (run.value("fine"), run.log("fine")) == (2, "said in the child\n")


@both
def test_only_the_arm_that_is_taken_runs(fuse: bool, tally: Tally) -> None:
    heavy = step(tally.counting("heavy", lambda x: x + 100))
    light = step(tally.counting("light", lambda x: x))

    def is_big(x: int) -> bool:
        return x > 3

    flow = (double.s(1) >> branch(is_big, heavy >> inc, light) >> inc).options(fuse=fuse)
    run = flow.run()
    assert run.result() == 3
    assert tally.counts() == {"light": 1}
    assert (run.steps.status["heavy"], run.steps.reason["heavy"]) == ("skipped", "is_big was False")
    assert run.status == "completed"


@both
def test_a_predicate_that_raises_takes_both_arms_along(fuse: bool) -> None:
    def is_big(x: int) -> bool:
        raise KeyError("size")

    flow = (1 >> branch(is_big, double, inc) >> step(str)).options(fuse=fuse)
    run = flow.run(raise_on_error=False)
    assert dict(run.steps.status) == {
        "is_big": "failed",
        "double": "skipped",
        "inc": "skipped",
        "str": "skipped",
    }
    assert run.steps.reason["str"] == "is_big failed"
    with pytest.raises(KeyError, match="size"):
        run.result()


def test_an_unknown_case_names_the_known_ones() -> None:
    flow = 1 >> switch(lambda x: "mars", {"eu": inc, "us": double})
    with pytest.raises(nbflow.FlowError, match="'mars'.*'eu', 'us'.*default="):
        flow.run()


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_map_over_what_comes_later(n: int) -> None:
    flow = n >> upto >> (double >> inc).map() >> total
    run = flow.run()
    assert run.result() == flow.call() == sum(2 * x + 1 for x in range(n))
    assert set(run.steps.status) == {"completed"}
    assert run.state.steps["double"].total == n


def test_a_map_over_what_is_no_list_fails_with_advice() -> None:
    run = (step(str).s("abc") >> double.map() >> total).run(raise_on_error=False)
    assert run.status == "failed"
    assert "splitlines" in str(run.error("double"))
    assert run.steps.reason["total"] == "double failed"


def test_maps_in_maps() -> None:
    flow = 4 >> upto >> (upto >> double.map() >> total).map()
    run = flow.run()
    assert run.result() == flow.call() == [0, 0, 2, 6]
    bad = (4 >> upto >> (upto >> odd_only.map() >> total).map()).run(raise_on_error=False)
    assert bad.status == "failed"


def test_elements_are_called_by_their_keys() -> None:
    run = double.map([1, 2], key=lambda x: f"n{x}").run()
    assert run.value("double[n2]") == run.value("double[1]") == 4
    assert list(run["double"].index.get_level_values(0)) == ["n1", "n2"]
    with pytest.raises(nbflow.UnknownStepError):
        run.value("double[n9]")


@pytest.mark.parametrize("over", ["members", "elements"])
def test_never_more_at_once_than_the_cap(over: str, tmp_path: Path) -> None:
    @step
    def busy(n: int) -> int:
        mine = tmp_path / f"in-{n}"
        mine.touch()
        together = len(list(tmp_path.glob("in-*")))
        time.sleep(0.02)
        mine.unlink()
        return together

    if over == "members":
        flow = group((busy.s(n) for n in range(12)), max_concurrency=1)
    else:
        flow = busy.map(range(12), max_concurrency=1)
    assert flow.run().result() == [1] * 12


def test_a_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    @step(lock="warehouse", fuse=False)
    def busy(n: int) -> int:
        mine = tmp_path / f"in-{n}"
        mine.touch()
        together = len(list(tmp_path.glob("in-*")))
        time.sleep(0.02)
        mine.unlink()
        return together

    first, second = (group(busy.s(n + k) for n in range(4)).submit() for k in (0, 10))
    assert first.result() + second.result() == [1] * 8


def test_what_failed_is_put_aside_and_driven_again(tmp_path: Path) -> None:
    folder = str(tmp_path)
    flow = 5 >> upto >> (needs.s(folder) >> inc).map(on_error="collect") >> total >> inc
    run = flow.run()
    assert run.result() == flow.call() == 13
    [letter] = run.dead_letters.to_dict("records")
    assert letter == {
        "step": "needs",
        "element": 2,
        "input": 2,
        "error": "ValueError: bad 2",
        "attempts": 1,
    }
    still = run.redrive()
    assert still.result() == 13
    assert len(still.dead_letters) == 1
    (tmp_path / "mended").touch()
    again = still.redrive()
    assert again.result() == 16
    assert again.status == "completed"
    assert dict(again.steps.status)["upto"] == "reused"
    assert again.value("needs") == [0, 1, 2, 3, 4]
    with pytest.raises(RunError, match="nothing to redrive"):
        again.redrive()


def test_the_rows_of_a_map_are_known_after_a_redrive(tmp_path: Path) -> None:
    rows = step(lambda n: list(range(n)), name="rows")
    run = ((needs.s(str(tmp_path)) >> rows).map(range(5), on_error="collect") >> total_rows).run()
    assert run.steps.rows["rows"] == 0 + 1 + 3 + 4
    (tmp_path / "mended").touch()
    again = run.redrive()
    assert again.result() == 0 + 1 + 2 + 3 + 4
    assert again.steps.rows["rows"] == 0 + 1 + 2 + 3 + 4


def test_what_a_map_in_a_map_put_aside_is_driven_again(tmp_path: Path) -> None:
    inner = needs.s(str(tmp_path)).map(on_error="collect")
    run = (4 >> upto >> (upto >> inner).map()).run()
    assert run.result() == [[], [0], [0, 1], [0, 1]]
    assert run.dead_letters.element.tolist() == ["3/2"]
    (tmp_path / "mended").touch()
    again = run.redrive()
    assert again.result() == [[], [0], [0, 1], [0, 1, 2]]
    assert len(again.dead_letters) == 0


def test_a_step_can_be_replayed_with_its_inputs() -> None:
    run = (4 >> upto >> odd_only.map() >> total).run(raise_on_error=False)
    with pytest.raises(ValueError, match="0 is even"):
        run.replay("odd_only")
    assert run.replay("odd_only[3]") == 3
    assert run.replay("upto") == [0, 1, 2, 3]
    with pytest.raises(RunError, match="'odd_only' has no value"):
        run.replay("total")


def test_a_failing_run_tells_its_handlers_once() -> None:
    told: list[Any] = []
    flow = (odd_only.map([1, 2, 3]) >> total).on_error(told.append)
    with pytest.raises(ValueError, match="2 is even"):
        flow.run()
    [[failure]] = told
    assert (failure.step, failure.element, str(failure.error)) == ("odd_only", 1, "2 is even")
    (odd_only.s(1)).on_error(told.append).run()
    assert len(told) == 1


def test_a_handler_that_fails_masks_nothing() -> None:
    def broken(failures: Any) -> None:
        raise KeyError("handler")

    with (
        pytest.warns(RuntimeWarning, match="'broken' failed itself"),
        pytest.raises(ValueError, match="2 is even"),
    ):
        odd_only.s(2).on_error(broken).call()


def test_a_cancelled_run_keeps_what_it_has(tmp_path: Path) -> None:
    flow = group(double.s(1), patient.s(str(tmp_path)) >> inc)
    run = flow.submit()
    assert run.value("double") == 2
    while not (tmp_path / "running").exists():
        time.sleep(0.01)
    run.cancel()
    run.cancel()
    assert run.wait(30)
    run.cancel()
    assert run.status == "cancelled"
    assert dict(run.steps.status) == {
        "double": "completed",
        "patient": "completed",
        "inc": "cancelled",
    }
    assert (run.value("double"), run.value("patient")) == (2, "stopped when asked")
    with pytest.raises(RunCancelledError, match="2 finished steps"):
        run.result()
    # The cluster takes the next one at once.
    assert (1 >> inc).run().result() == 2


def test_cancelling_ends_the_waiting_for_a_retry() -> None:
    slow = unsteady.options(retry=Retry(attempts=2, wait=60, jitter=False))
    run = slow.submit(1)
    with run._record.changed:
        run._record.changed.wait_for(
            lambda: run.state.steps["unsteady"].status == "retrying" or run.state.status.final
        )
    run.cancel()
    assert run.wait(30)
    assert run.status == "cancelled"


def test_what_needs_a_client_of_its_own_says_so(client: Client) -> None:
    with pytest.raises(RunError, match="inside a step"):
        context()
