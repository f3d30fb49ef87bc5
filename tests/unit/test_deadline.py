"""Limits of time: what is done in time, what can be stopped, and what cannot."""

from __future__ import annotations

import asyncio
import gc
import math
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

from nbflow.algebra import deadline
from nbflow.algebra.context import context, enter, leave, never
from nbflow.algebra.deadline import (
    CLEANUP_SECONDS,
    DEAF_SECONDS,
    TOLD_AT_MOST,
    awaited,
    checked_seconds,
    within,
)
from nbflow.algebra.deadline import _decided as decided
from nbflow.errors import FlowError
from nbflow.record.failure import recorded
from nbflow.worker.capture import captured

SOON = 0.02
NEVER = 60


@pytest.fixture(autouse=True)
def _nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A stop that arrives in code that is nobody's would be told of here.
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    yield
    assert not seen


def spin(*_: Any) -> None:
    while True:
        pass


def too_late(call: Callable[[], Any], **options: Any) -> TimeoutError:
    with pytest.raises(TimeoutError) as caught:
        within(SOON, "slow", call, **options)
    return caught.value


def stopped(call: Callable[[], Any]) -> TimeoutError:
    with pytest.MonkeyPatch.context() as patch:
        # However busy the machine is, the call has the time to hear of it.
        patch.setattr(deadline, "DEAF_SECONDS", 30)
        error = too_late(call, abandoned=pytest.fail)
    assert str(error) == STOPPED
    return error


def functions(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


STOPPED = "step 'slow' took longer than 0.02 s; it was stopped"
NOT_STOPPED = (
    "step 'slow' took longer than 0.02 s and could not be stopped: "
    "it goes on in the background until its call returns"
)


# The option


@pytest.mark.parametrize(("value", "read"), [(None, None), (1, 1.0), (0.5, 0.5), (1e300, 1e300)])
def test_a_limit_is_a_number_of_seconds_or_none(value: Any, read: float | None) -> None:
    assert checked_seconds(value, "the limit") == read


@pytest.mark.parametrize("value", [0, -1, True, False, math.nan, math.inf, "5", [5], 10**400])
def test_any_other_limit_is_refused(value: Any) -> None:
    with pytest.raises(FlowError, match="^the limit is .*a number of seconds above 0, or None"):
        checked_seconds(value, "the limit")


# In time


def test_what_is_done_in_time_gives_its_value() -> None:
    assert within(NEVER, "quick", lambda: [1, 2]) == [1, 2]
    assert within(1e300, "quick", lambda: None) is None


def fail() -> None:
    raise KeyError("mine")


def test_what_fails_in_time_fails_as_it_would_have() -> None:
    with pytest.raises(KeyError, match="mine") as caught:
        within(NEVER, "bad", fail)
    assert functions(caught.value)[1:] == ["within", "fail"]
    assert caught.value.__context__ is None
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert recorded(caught.value).traceback.count("File") == 1


def test_exits_and_interrupts_are_passed_on() -> None:
    for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit()):

        def leave_at_once(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            within(NEVER, "bad", leave_at_once)
        assert caught.value is error


def test_a_timeout_of_ones_own_is_passed_on_untouched() -> None:
    mine = TimeoutError("the server is slow")

    def ask() -> None:
        raise mine

    with pytest.raises(TimeoutError, match=r"^the server is slow$") as caught:
        within(NEVER, "ask", ask)
    assert caught.value is mine
    assert not hasattr(mine, "__notes__")


def test_a_failure_keeps_nothing_alive() -> None:
    class Big:
        pass

    big = Big()
    watch = weakref.ref(big)

    def work(big: Any) -> None:
        raise KeyError

    gc.disable()
    try:
        with pytest.raises(KeyError):
            within(NEVER, "bad", partial(work, big))
        del big
        assert watch() is None
    finally:
        gc.enable()


# What the thread of the call sees


def test_the_call_sees_what_its_caller_sees() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="outside")
    variable.set("inside")
    entered = enter("run-1", "load", 3, 1, never)
    try:
        assert within(NEVER, "ask", variable.get) == "inside"
        assert within(NEVER, "ask", context).element == 3
        within(NEVER, "set", lambda: variable.set("deeper"))
        assert variable.get() == "inside"
    finally:
        leave(entered)


def test_what_the_call_prints_is_its_callers() -> None:
    before = sys.stdout, sys.stderr
    try:
        with captured(every_level=False) as pad:
            within(NEVER, "talk", lambda: print("inside"))
            print("after")
        assert pad.take() == "inside\nafter\n"
    finally:
        sys.stdout, sys.stderr = before


def test_what_belongs_to_a_thread_of_dask_is_the_same() -> None:
    state = pytest.importorskip("distributed.worker").thread_state
    state.nbflow_probe = "here"
    try:
        assert within(NEVER, "ask", lambda: state.nbflow_probe) == "here"
    finally:
        del state.nbflow_probe


def test_a_limit_does_not_load_dask() -> None:
    code = (
        "import sys; from nbflow.algebra.deadline import within; within(60, 'x', list); "
        "print([each for each in ('distributed', 'asyncio', 'logging') if each in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


# Too late


def test_a_loop_is_stopped() -> None:
    error = stopped(spin)
    assert type(error) is TimeoutError
    assert error.__context__ is None
    assert error.__cause__ is None
    assert not hasattr(error, "__notes__")


def test_the_traceback_leads_to_where_the_call_was() -> None:
    error = stopped(lambda: spin(1))
    assert functions(error)[-3:] == ["within", "<lambda>", "spin"]


def test_what_is_cleaned_up_is_cleaned_up() -> None:
    done = threading.Event()

    def work() -> None:
        try:
            spin()
        finally:
            # Longer than a call that has not heard would be waited for.
            begun = time.monotonic()
            while time.monotonic() - begun < 2 * DEAF_SECONDS:
                pass
            done.set()

    assert str(too_late(work, abandoned=pytest.fail)) == STOPPED
    assert done.is_set()


def test_except_exception_does_not_catch_the_stop() -> None:
    def work() -> None:
        while True:
            try:
                spin()
            except Exception:
                pass

    stopped(work)


def test_a_call_that_catches_the_stop_a_few_times_is_stopped_all_the_same() -> None:
    caught = []

    def work() -> str:
        for _ in range(TOLD_AT_MOST - 1):
            try:
                spin()
            except BaseException as error:
                caught.append(type(error).__name__)
        spin()
        return "not reached"

    stopped(work)
    assert len(caught) == TOLD_AT_MOST - 1


def test_a_call_that_catches_everything_is_abandoned() -> None:
    release = threading.Event()
    ended = threading.Event()
    abandoned: list[int] = []

    def idle() -> None:
        while not release.is_set():
            pass

    def work() -> None:
        while not release.is_set():
            try:
                idle()
            except BaseException:
                pass
        ended.set()

    error = too_late(work, abandoned=lambda: abandoned.append(1))
    assert str(error) == NOT_STOPPED
    assert abandoned == [1]
    release.set()
    assert ended.wait(30)


def test_a_call_that_waits_in_c_is_abandoned_and_ends_when_it_returns() -> None:
    release = threading.Event()
    ended: list[str] = []
    over = threading.Event()

    def work() -> None:
        try:
            release.wait()
            ended.append("went on")
        finally:
            over.set()

    assert str(too_late(work)) == NOT_STOPPED
    release.set()
    assert over.wait(30)
    assert ended == []


def test_the_traceback_of_an_abandoned_call_leads_to_where_it_is() -> None:
    release = threading.Event()
    error = too_late(lambda: release.wait(30))
    release.set()
    assert functions(error)[:4] == ["too_late", "within", "<lambda>", "wait"]


def test_an_abandoned_call_is_not_heard_in_the_step_that_comes_next() -> None:
    release, over = threading.Event(), threading.Event()
    before = sys.stdout, sys.stderr

    def work() -> None:
        try:
            release.wait()
        finally:
            print("late")
            over.set()

    try:
        with captured(every_level=False) as pad:
            assert str(too_late(work)) == NOT_STOPPED
            release.set()
            assert over.wait(30)
            assert pad.take() == ""
    finally:
        sys.stdout, sys.stderr = before


def test_a_call_that_is_too_late_can_see_it() -> None:
    seen = threading.Event()

    def work() -> str:
        while not context().cancelled:
            pass
        seen.set()
        return "half of it"

    entered = enter("run-1", "slow", None, 1, never)
    try:
        assert not context().cancelled
        # What it returns then is not the value of the step.
        assert "took longer than 0.02 s" in str(too_late(work))
        assert not context().cancelled
    finally:
        leave(entered)


def test_a_call_that_returns_when_it_is_told_is_too_late() -> None:
    def work() -> str:
        try:
            spin()
        except BaseException:
            return "half of it"
        return "not reached"

    stopped(work)


def test_what_fails_while_it_is_stopped_is_told_of() -> None:
    def work() -> None:
        try:
            spin()
        finally:
            raise ValueError("cannot close")

    error = stopped(work)
    assert error.__notes__ == ["while it was stopped, it raised ValueError: cannot close"]
    assert functions(error)[-1] == "work"


def test_what_fails_with_an_error_that_cannot_be_read() -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def work() -> None:
        try:
            spin()
        finally:
            raise Unreadable

    (note,) = stopped(work).__notes__
    assert note.startswith("while it was stopped, it raised ")
    assert "Unreadable" in note


def test_a_stop_in_the_last_moment_leaks_nowhere() -> None:
    # The end of the call and the end of its time meet in ever other ways.
    values = late = 0
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for number in range(2000):
            seconds = 1e-5 + number % 50 * 1e-5

            def work(seconds: float = seconds) -> str:
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    pass
                return "value"

            try:
                assert within(seconds * (0.2 + number % 41 / 50), "close", work) == "value"
                values += 1
            except TimeoutError as error:
                assert "took longer than" in str(error)
                late += 1
    finally:
        sys.setswitchinterval(interval)
    assert values + late == 2000
    assert values
    assert late
    # What was put into a thread is gone with it.
    assert within(NEVER, "after", lambda: sum(range(100_000))) == 4999950000


def test_many_limits_at_once() -> None:
    results: list[str] = []

    def one(number: int) -> None:
        call = spin if number % 2 else (lambda: "value")
        try:
            results.append(within(SOON if number % 2 else NEVER, f"s{number}", call))
        except TimeoutError as error:
            assert f"'s{number}'" in str(error)
            results.append("late")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == ["late"] * 8 + ["value"] * 8


def test_a_limit_around_a_limit_stops_both() -> None:
    ended = threading.Event()

    def inner() -> None:
        try:
            spin()
        finally:
            ended.set()

    stopped(lambda: within(NEVER, "inner", inner))
    assert ended.is_set()


def test_an_inner_limit_is_the_step_s_own_affair() -> None:
    with pytest.raises(TimeoutError, match="step 'inner' took longer than 0.02 s; it was stopped"):
        within(NEVER, "outer", lambda: within(SOON, "inner", spin))


# Coroutines


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_coroutine_is_awaited() -> None:
    async def value() -> str:
        await asyncio.sleep(0)
        return "value"

    assert awaited(value()) == "value"
    assert within(NEVER, "quick", lambda: awaited(value())) == "value"


def test_a_coroutine_is_awaited_beside_a_running_loop() -> None:
    async def ask() -> threading.Thread:
        await asyncio.sleep(0)
        return threading.current_thread()

    async def cell() -> bool:
        here = asyncio.get_running_loop()
        threads = awaited(ask()), within(NEVER, "ask", lambda: awaited(ask()))
        assert asyncio.get_running_loop() is here
        return threading.current_thread() in threads

    assert not asyncio.run(cell())


def test_a_failure_of_a_coroutine_is_its_own() -> None:
    async def bad() -> None:
        await asyncio.sleep(0)
        fail()

    async def cell() -> None:
        for call in (lambda: awaited(bad()), lambda: within(NEVER, "b", lambda: awaited(bad()))):
            with pytest.raises(KeyError, match="mine") as caught:
                call()
            assert functions(caught.value)[-2:] == ["bad", "fail"]

    asyncio.run(cell())


def test_a_coroutine_that_waits_is_cancelled() -> None:
    ended = threading.Event()

    async def wait() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.set()

    error = stopped(lambda: awaited(wait()))
    assert ended.is_set()
    assert "wait" in functions(error)
    assert error.__context__ is None
    assert not hasattr(error, "__notes__")


def test_a_coroutine_that_computes_is_stopped() -> None:
    async def compute() -> None:
        await asyncio.sleep(0)
        spin()

    error = too_late(lambda: awaited(compute()), abandoned=pytest.fail)
    assert str(error) == STOPPED
    assert functions(error)[-1] == "spin"


def test_a_coroutine_that_waits_for_others_is_cancelled_with_them() -> None:
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await forever()
        finally:
            ended.append(number)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(1))
            group.create_task(wait(2))

    stopped(lambda: awaited(both()))
    assert sorted(ended) == [1, 2]


def test_a_coroutine_in_a_coroutine_is_cancelled() -> None:
    async def outer() -> None:
        awaited(forever())

    stopped(lambda: awaited(outer()))


def test_a_coroutine_that_goes_on_when_cancelled_is_too_late() -> None:
    async def work() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "half of it"
        return "not reached"

    stopped(lambda: awaited(work()))


def test_a_coroutine_that_is_cancelled_of_its_own() -> None:
    async def work() -> None:
        raise asyncio.CancelledError("mine")

    with pytest.raises(asyncio.CancelledError):
        within(NEVER, "cancel", lambda: awaited(work()))


# The decision


@pytest.mark.parametrize(
    ("state", "told", "since_told", "since_first", "following"),
    [
        ("deaf", 1, 0, 0, "wait"),
        ("deaf", 1, DEAF_SECONDS, DEAF_SECONDS, "give up"),
        ("deaf", 3, 0, 1, "wait"),
        ("cleaning up", 1, DEAF_SECONDS * 2, DEAF_SECONDS * 2, "wait"),
        ("cleaning up", 1, CLEANUP_SECONDS, CLEANUP_SECONDS, "give up"),
        ("forgotten", 1, 0, 0, "tell"),
        ("forgotten", TOLD_AT_MOST - 1, 0, 0, "tell"),
        ("forgotten", TOLD_AT_MOST, 0, 0, "give up"),
        ("forgotten", 2, 0, CLEANUP_SECONDS, "give up"),
    ],
)
def test_what_is_done_with_a_call_that_has_not_ended(
    state: Any, told: int, since_told: float, since_first: float, following: str
) -> None:
    assert decided(state, told, since_told, since_first) == following


def test_a_call_whose_clean_up_has_no_end_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "CLEANUP_SECONDS", 0.1)
    release = threading.Event()

    def work() -> None:
        try:
            spin()
        finally:
            release.wait()

    assert str(too_late(work)) == NOT_STOPPED
    release.set()
