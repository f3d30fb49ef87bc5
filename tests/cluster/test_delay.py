"""Steps that wait before they begin: without a slot, and once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from distributed import Client
from tally import Tally

import nbflow
from nbflow import FlowError, Retry, TryAgain, param, step
from nbflow.record.events import Event, Status

pytestmark = pytest.mark.timeout(90)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def waits(events: list[Event], name: str) -> list[float]:
    """Give the times for which a step is said to wait, before its first attempt."""
    return [e.retry_at for e in events if e.step == name and e.reason == "delay"]


@step
def one(*_: object) -> int:
    return 1


@step
def double(x: int) -> int:
    return 2 * x


@pytest.mark.parametrize("fuse", [True, False])
def test_a_step_that_waits_holds_no_slot(fuse: bool, client: Client) -> None:
    late = one.options(delay=3600.0, fuse=fuse)
    # More of them than the cluster has slots.
    flow = [late.named(f"late{n}").s(n) for n in range(4)] + [double.s(n) for n in range(2)]
    run = nbflow.group(*flow).submit()

    until(lambda: run.state.steps["double"].status is Status.COMPLETED)
    until(lambda: all(run.state.steps[f"late{n}"].retry_at for n in range(4)))

    assert run.steps.loc["late0", ["status", "reason"]].tolist() == ["pending", "delay"]
    assert run.steps.loc["late0", "attempts"] == 0
    run.cancel()
    assert run.wait()
    assert run.steps.loc["late0", "status"] == "cancelled"
    assert run.steps.loc["double", "status"] == "completed"


@pytest.mark.parametrize("fuse", [True, False])
def test_a_step_waits_after_what_it_needs_and_gives_the_same(fuse: bool, client: Client) -> None:
    flow = one.s() >> double.options(delay=0.3, fuse=fuse) >> double.named("again")

    run = flow.run()

    assert run.result() == flow.call() == 4
    [wait] = [event for event in run.events if event.reason == "delay"]
    assert wait.at >= run.state.steps["one"].ended
    assert run.steps.loc["double", ["attempts", "reason"]].tolist() == [1, ""]


@pytest.mark.parametrize("fuse", [True, False])
def test_what_is_skipped_is_not_waited_for(fuse: bool, client: Client) -> None:
    @step
    def fails() -> int:
        raise ValueError("no luck")

    late = double.options(delay=3600.0, fuse=fuse)
    odd = nbflow.branch(lambda n: n % 2 == 1, late, one)
    run = nbflow.group(fails.s() >> late.named("never"), 4 >> odd).run(raise_on_error=False)

    assert run.steps["status"].loc[["never", "double", "one"]].tolist() == [
        "skipped",
        "skipped",
        "completed",
    ]
    assert not [event for event in run.events if event.reason == "delay"]


@pytest.mark.parametrize("fuse", [True, False])
def test_each_element_of_a_map_waits(fuse: bool, client: Client) -> None:
    flow = double.options(delay=0.3, fuse=fuse).map([1, 2, 3]) >> step(sum)

    run = flow.run()

    assert run.result() == flow.call() == 12
    assert len(waits(run.events, "double")) == 3


def test_elements_that_are_known_only_at_run_time_wait(client: Client) -> None:
    flow = step(range).s(param("n", 3)) >> double.options(delay=0.2).map() >> step(sum)

    run = flow.run()

    assert run.result() == 6
    assert len(waits(run.events, "double")) == 3


def test_elements_wait_side_by_side(client: Client) -> None:
    # One after the other they would take an hour.
    flow = double.options(delay=1.8).map(range(2000)) >> step(sum)

    assert flow.run().result() == 2 * sum(range(2000))


def test_only_the_first_attempt_waits(client: Client, tally: Tally) -> None:
    @step(delay=0.2, retry=Retry(3, wait=0.0))
    def fail_twice() -> int:
        tally.add("tried")
        if tally.counts()["tried"] < 3:
            raise TryAgain(0.0)
        return 7

    run = fail_twice.s().run()

    assert run.result() == 7
    assert len(waits(run.events, "fail_twice")) == 1
    assert run.steps.loc["fail_twice", "attempts"] == 3


def test_a_step_that_is_not_wanted_is_skipped(client: Client) -> None:
    flow = one.s() >> double.options(delay=0.2, when=lambda x: x > 1)

    assert flow.run().steps.loc["double", "status"] == "skipped"


def test_call_does_not_wait() -> None:
    assert (one.s() >> double.options(delay=3600.0)).call() == 2


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "1", True])
def test_a_delay_that_is_no_time_is_refused(wrong: object) -> None:
    with pytest.raises(FlowError, match="delay"):
        step(one.definition.fn, delay=wrong)


KERNEL = """
import sys, time
import nbflow
from nbflow import step

store, delay, name = sys.argv[1:]

@step
def one():
    return 1

@step(delay=float(delay))
def late(x):
    return x + 1

flows = {
    "plain": one.s() >> late,
    "alone": one.s() >> late.options(fuse=False),
    "mapped": [1, 2, 3] >> late.map() >> step(sum),
}

if __name__ == "__main__":
    nbflow.connect(n_workers=1, threads_per_worker=1)
    run = flows[name].submit(store=store)
    waiting = 3 if name == "mapped" else 1
    while sum(each.retry_at is not None for each in run.events) < waiting:
        time.sleep(0.02)
    run._archive.journal.flush()
    print(run.id, flush=True)
    time.sleep(600)
"""


def left_behind(tmp_path: Path, delay: float, name: str) -> nbflow.Run:
    """Give a run whose kernel was killed while a step waited."""
    script = tmp_path / "kernel.py"
    script.write_text(KERNEL)
    line = [sys.executable, str(script), str(tmp_path / "store"), str(delay), name]
    kernel = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    run_id = kernel.stdout.readline().strip()
    kernel.send_signal(signal.SIGKILL)
    kernel.wait()
    kernel.stdout.close()
    return nbflow.load(run_id, tmp_path / "store")


@pytest.mark.parametrize("name", ["plain", "alone"])
def test_a_run_that_goes_on_keeps_the_time_for_which_a_step_waited(
    name: str, tmp_path: Path, client: Client
) -> None:
    run = left_behind(tmp_path, 3600.0, name)
    [due] = waits(run.events, "late")
    before = len(run.events)

    resumed = run.resume()
    until(lambda: waits(resumed.events[before:], "late"))

    assert waits(resumed.events[before:], "late") == [due]
    resumed.cancel()
    assert resumed.wait()


@pytest.mark.parametrize("name", ["plain", "alone"])
def test_a_step_whose_time_has_passed_meanwhile_waits_no_more(
    name: str, tmp_path: Path, client: Client
) -> None:
    run = left_behind(tmp_path, 5.0, name)
    [due] = waits(run.events, "late")
    before = len(run.events)
    until(lambda: time.time() > due)

    resumed = run.resume()

    assert resumed.wait()
    assert resumed.result() == 2
    assert waits(resumed.events[before:], "late") == []


def test_elements_of_a_run_that_goes_on_keep_the_time_for_which_they_waited(
    tmp_path: Path, client: Client
) -> None:
    run = left_behind(tmp_path, 3600.0, "mapped")
    dues = waits(run.events, "late")
    before = len(run.events)

    resumed = run.resume()
    until(lambda: len(waits(resumed.events[before:], "late")) == 3)

    assert sorted(waits(resumed.events[before:], "late")) == sorted(dues)
    resumed.cancel()
    assert resumed.wait()


def test_elements_whose_time_has_passed_meanwhile_wait_no_more(
    tmp_path: Path, client: Client
) -> None:
    run = left_behind(tmp_path, 5.0, "mapped")
    before = len(run.events)
    until(lambda: time.time() > max(waits(run.events, "late")))

    resumed = run.resume()

    assert resumed.wait()
    assert resumed.result() == 9
    assert waits(resumed.events[before:], "late") == []
