"""What a step knows of where it is running."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import FrozenInstanceError
from functools import partial
from typing import Any

import pytest

from nbflow.algebra.context import (
    Context,
    also_stopped_by,
    cancel,
    context,
    enter,
    is_cancelled,
    leave,
    never,
    place,
    stopped,
)
from nbflow.errors import RunError
from nbflow.values.transfer import dumps


@contextmanager
def inside(
    step: str = "load", element: int | str | None = None, stop: Any = never
) -> Iterator[None]:
    entered = enter("run-1", step, element, 2, stop)
    try:
        yield
    finally:
        leave(entered)


def test_a_step_knows_where_it_is() -> None:
    with inside(element=7):
        here = context()
    assert (here.run_id, here.step, here.element, here.attempt) == ("run-1", "load", 7, 2)
    assert here == Context("run-1", "load", 7, 2)
    assert repr(here) == "Context(run_id='run-1', step='load', element=7, attempt=2)"


def test_it_cannot_be_changed() -> None:
    with inside(), pytest.raises(FrozenInstanceError):
        context().attempt = 3  # type: ignore[misc]


def test_outside_a_step_it_says_so() -> None:
    with pytest.raises(RunError, match="where no step is running; call it inside a step"):
        context()
    assert place() is None
    assert not stopped()
    also_stopped_by(lambda: True)
    assert not stopped()


def test_a_step_in_a_step_gives_back_where_it_was() -> None:
    with inside("outer"):
        with inside("inner"):
            assert context().step == "inner"
        assert context().step == "outer"


def test_leaving_happens_after_a_failure_too() -> None:
    with pytest.raises(KeyError), inside():
        raise KeyError
    with pytest.raises(RunError):
        context()


def test_threads_do_not_see_one_another() -> None:
    meeting = threading.Barrier(2, timeout=30)

    def work(step: str) -> str:
        with inside(step):
            meeting.wait()
            return context().step

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, ["a", "b"])) == ["a", "b"]


def test_a_thread_of_a_step_sees_it_in_a_copy_of_the_context() -> None:
    seen: list[str] = []
    with inside():
        args = (lambda: seen.append(context().step),)
        thread = threading.Thread(target=copy_context().run, args=args)
        thread.start()
        thread.join()
    assert seen == ["load"]


def test_coroutines_see_it() -> None:
    async def ask() -> str:
        await asyncio.sleep(0)
        return context().step

    async def both() -> list[str]:
        return await asyncio.gather(ask(), asyncio.to_thread(lambda: context().step))

    with inside():
        assert asyncio.run(both()) == ["load", "load"]


# The key


def key(run_id: str, step: str, element: int | str | None, attempt: int = 1) -> str:
    return Context(run_id, step, element, attempt).idempotency_key


def test_the_key_stays_the_same_over_attempts_and_processes() -> None:
    assert key("run-1", "load", 7, 1) == key("run-1", "load", 7, 2)
    # Written down: a run that is resumed after an update asks with the keys of before.
    assert key("run-1", "load", None) == (
        "4174394f083c9201c26b6c1537216ccba6d547b963f366ca81a3b312470151df"
    )


def test_no_two_calls_share_a_key() -> None:
    calls: list[tuple[str, str, int | str | None]] = [
        ("r", "s", None),
        ("r", "s", 1),
        ("r", "s", "1"),
        ("r", "s", "None"),
        ("r", "s", "null"),
        ("r", "s1", None),
        ("rs", "", None),
        ("", "rs", None),
        ('r", "s', "t", None),
        ("r", 's", "t', None),
        ("r", "s", 11),
        ("r", "s1", 1),
        ("r", "é", None),
        ("r", "\udce9", None),
        ("r", "\\udce9", None),
    ]
    assert len({key(*each) for each in calls}) == len(calls)


# Stopping


def test_nothing_stops_it_unless_something_does() -> None:
    with inside():
        assert not context().cancelled
        assert not stopped()


def test_cancelled_is_asked_anew_each_time() -> None:
    flag = threading.Event()
    with inside(stop=flag.is_set):
        here = context()
        assert not here.cancelled
        flag.set()
        assert here.cancelled
        assert stopped()


@pytest.mark.parametrize("which", [0, 1])
def test_either_of_two_can_stop_it(which: int) -> None:
    flags = [threading.Event(), threading.Event()]
    with inside(stop=flags[0].is_set):
        also_stopped_by(flags[1].is_set)
        assert not stopped()
        flags[which].set()
        assert stopped()
        assert place() == ("run-1", "load", None, 2, False)


def test_another_stop_in_a_copy_does_not_stop_the_original() -> None:
    with inside():
        copy = copy_context()
        copy.run(also_stopped_by, lambda: True)
        assert copy.run(stopped)
        assert not stopped()


def test_it_travels_without_what_stops_it() -> None:
    with inside(element="a", stop=threading.Event().is_set):
        here = context()
    for packed in (pickle.dumps(here), dumps(here)):
        copy = pickle.loads(packed)
        assert copy == here
        assert not copy.cancelled


# Cancelled runs


def test_cancelled_runs_are_known_by_their_nonce() -> None:
    with inside(stop=partial(is_cancelled, "nonce-1")):
        assert not context().cancelled
        cancel("nonce-2")
        assert not context().cancelled
        cancel("nonce-1")
        assert context().cancelled


def test_the_last_few_thousand_cancelled_runs_are_kept() -> None:
    cancel("again")
    cancel("oldest")
    for number in range(4094):
        cancel(f"many-{number}")
    cancel("again")
    assert is_cancelled("oldest")
    cancel("one more")
    assert not is_cancelled("oldest")
    assert is_cancelled("again")
    for number in range(10_000):
        cancel(f"more-{number}")
    assert not is_cancelled("again")
    assert is_cancelled("more-9999")


def test_many_threads_cancel_at_once() -> None:
    def work(name: str) -> bool:
        for number in range(3000):
            cancel(f"{name}-{number}")
            is_cancelled(f"{name}-{number - 1}")
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, "abcdefgh"))
