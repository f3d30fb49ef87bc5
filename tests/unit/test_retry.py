"""When a step is tried again, and how long it waits."""

from __future__ import annotations

import math
import pickle
import random as chance
import subprocess
import sys
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from nbflow.algebra.retry import ATTEMPTS_WITHOUT_POLICY, Retry, TryAgain, next_wait
from nbflow.errors import FlowError, NbflowError, TransferError
from nbflow.record.failure import recorded, revived
from nbflow.values.transfer import dumps

STEADY = Retry(attempts=5, wait=1, backoff=2, max_wait=6, jitter=False)


def waits(policy: Retry | None, error: BaseException, count: int = 12) -> list[float | None]:
    return [next_wait(policy, attempt, error, lambda: 0.5) for attempt in range(1, count + 1)]


# The option


@pytest.mark.parametrize("value", [None, False, 0])
def test_no_retry(value: Any) -> None:
    assert Retry.of(value) is None


def test_a_number_is_how_many_more_times_to_try() -> None:
    assert Retry.of(1) == Retry(attempts=2)
    assert Retry.of(3) == Retry()


def test_a_policy_is_itself() -> None:
    assert Retry.of(STEADY) is STEADY


@pytest.mark.parametrize("value", [-1, True, 1.0, 2.5, math.nan, math.inf, "3", [3], Retry, {}])
def test_anything_else_is_refused_with_what_would_be_right(value: Any) -> None:
    with pytest.raises(FlowError, match="the step option 'retry' is .*how many more times") as got:
        Retry.of(value)
    assert repr(value) in str(got.value)


# The policy


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"attempts": 0}, "'attempts' of a Retry is 0; it must be a whole number of tries"),
        ({"attempts": -3}, "'attempts' of a Retry is -3"),
        ({"attempts": True}, "'attempts' of a Retry is True"),
        ({"attempts": 2.0}, "'attempts' of a Retry is 2.0"),
        ({"attempts": "2"}, "'attempts' of a Retry is '2'"),
        ({"wait": -0.1}, "'wait' of a Retry is -0.1; it must be a finite number, 0 or more"),
        ({"wait": math.nan}, "'wait' of a Retry is nan"),
        ({"wait": math.inf}, "'wait' of a Retry is inf"),
        ({"wait": "1"}, "'wait' of a Retry is '1'"),
        ({"wait": None}, "'wait' of a Retry is None"),
        ({"wait": True}, "'wait' of a Retry is True"),
        ({"backoff": 0.5}, "'backoff' of a Retry is 0.5; it must be a finite number, 1 or more"),
        ({"backoff": math.nan}, "'backoff' of a Retry is nan"),
        ({"max_wait": -1}, "'max_wait' of a Retry is -1"),
        ({"max_wait": math.inf}, "'max_wait' of a Retry is inf"),
        ({"jitter": 1}, "'jitter' of a Retry is 1; it must be True or False"),
        ({"on": "OSError"}, "'on' of a Retry is 'OSError'; it must be an exception class"),
        ({"on": (OSError, 3)}, "'on' of a Retry is 3"),
        ({"on": [OSError()]}, "'on' of a Retry is OSError()"),
        ({"on": int}, "'on' of a Retry is <class 'int'>"),
        ({"on": None}, "'on' of a Retry is None"),
        ({"on": ((OSError,),)}, "'on' of a Retry is (<class 'OSError'>,)"),
        ({"on": list[int]}, "'on' of a Retry is list[int]"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(FlowError) as got:
        Retry(**given)
    assert str(got.value).startswith(expected)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(FlowError, match="'wait' of a Retry"):
        Retry(wait=10**400)


def test_one_class_or_several() -> None:
    assert Retry(on=OSError).on == (OSError,)
    assert Retry(on=[OSError, KeyError]).on == (OSError, KeyError)
    assert Retry(on=OSError) == Retry(on=(OSError,)) == Retry(on=[OSError])
    assert hash(Retry(on=[OSError])) == hash(Retry(on=OSError))


def test_a_policy_is_a_value() -> None:
    with pytest.raises(FrozenInstanceError):
        STEADY.attempts = 9  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(STEADY)) == STEADY
    assert pickle.loads(dumps(STEADY)) == STEADY


# Waits


def test_waits_grow_up_to_their_limit_and_end() -> None:
    assert waits(STEADY, OSError(), 6) == [1, 2, 4, 6, None, None]


def test_chance_shortens_a_wait() -> None:
    policy = Retry(attempts=3, wait=1, max_wait=6)
    assert waits(policy, OSError(), 3) == [0.5, 1, None]


def test_a_wait_by_chance_lies_between_nothing_and_its_full_length() -> None:
    policy = Retry(attempts=100, wait=1, max_wait=6)
    drawn = [next_wait(policy, 4, OSError()) for _ in range(300)]
    assert all(each is not None and 0 <= each <= 6 for each in drawn)
    assert len(set(drawn)) > 200


def test_the_seed_of_the_user_is_used_and_nothing_else() -> None:
    chance.seed(3)
    first = next_wait(Retry(), 1, OSError())
    chance.seed(3)
    assert next_wait(Retry(), 1, OSError()) == first


def test_no_wait_at_all() -> None:
    assert waits(Retry(attempts=3, wait=0), OSError(), 3) == [0, 0, None]


@pytest.mark.parametrize("attempt", [2000, 10**6, 10**9])
def test_no_number_of_attempts_is_too_many(attempt: int) -> None:
    policy = Retry(attempts=10**10, wait=1, backoff=10, max_wait=7, jitter=False)
    assert next_wait(policy, attempt, OSError()) == 7
    still = Retry(attempts=10**10, wait=2, backoff=1, jitter=False)
    assert next_wait(still, attempt, OSError()) == 2


def test_no_wait_is_longer_than_a_thread_can_sleep() -> None:
    policy = Retry(wait=1e300, max_wait=1e300, jitter=False)
    assert next_wait(policy, 1, OSError()) == 4_000_000
    assert next_wait(None, 1, TryAgain(1e300)) == 4_000_000


# What is heard


def test_only_listed_exceptions_are_tried_again() -> None:
    policy = Retry(on=(ConnectionError, KeyError), wait=0)
    assert next_wait(policy, 1, ConnectionResetError()) == 0
    assert next_wait(policy, 1, KeyError()) == 0
    assert next_wait(policy, 1, OSError()) is None


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_exception_is_tried_again_only_if_listed(error: BaseException) -> None:
    assert next_wait(Retry(wait=0), 1, error) is None
    assert next_wait(Retry(wait=0, on=type(error)), 1, error) == 0
    assert next_wait(Retry(wait=0, on=BaseException), 1, error) == 0


def test_what_cannot_travel_is_never_tried_again() -> None:
    assert next_wait(Retry(on=BaseException), 1, TransferError("…")) is None
    assert next_wait(Retry(on=TransferError), 1, TransferError("…")) is None


def test_without_a_policy_only_a_step_that_asks_is_tried_again() -> None:
    assert waits(None, OSError(), 3) == [None] * 3
    expected: list[float | None] = [3] * (ATTEMPTS_WITHOUT_POLICY - 1)
    assert waits(None, TryAgain(3)) == [*expected, None, None, None]


def test_without_a_policy_and_a_delay_the_waits_are_the_usual_ones() -> None:
    usual = Retry(attempts=ATTEMPTS_WITHOUT_POLICY)
    assert waits(None, TryAgain()) == waits(usual, OSError())


def test_asking_counts_towards_the_policy_whatever_it_listens_to() -> None:
    policy = Retry(attempts=3, on=KeyError)
    assert waits(policy, TryAgain(0), 4) == [0, 0, None, None]
    assert waits(Retry(attempts=3, on=(), wait=1, jitter=False), TryAgain(), 3) == [1, 2, None]
    assert next_wait(Retry(on=()), 1, OSError()) is None


def test_one_attempt_is_all_there_is() -> None:
    assert waits(Retry(attempts=1), TryAgain(1), 2) == [None, None]


# Asking


def test_how_asking_reads() -> None:
    assert str(TryAgain()) == "asked for another attempt"
    assert str(TryAgain(2)) == "asked for another attempt in 2 s"
    assert str(TryAgain(delay=0.25)) == "asked for another attempt in 0.25 s"
    assert str(TryAgain(0)) == "asked for another attempt in 0 s"


def test_asking_is_an_error_of_nbflow_and_no_other() -> None:
    assert issubclass(TryAgain, NbflowError)
    with pytest.raises(TryAgain):
        raise TryAgain


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "2", True, [], 10**400])
def test_a_delay_that_cannot_be_is_refused(delay: Any) -> None:
    with pytest.raises(FlowError, match="the delay of TryAgain is .*number of seconds, 0 or more"):
        TryAgain(delay)


@pytest.mark.parametrize("delay", [None, 0, 2.5])
def test_asking_travels(delay: float | None) -> None:
    def fail() -> None:
        raise TryAgain(delay) from OSError("busy")

    with pytest.raises(TryAgain) as caught:
        fail()
    copies = [pickle.loads(pickle.dumps(caught.value)), revived(recorded(caught.value))]
    for copy in copies:
        assert (type(copy), copy.delay, str(copy)) == (TryAgain, delay, str(caught.value))
    assert isinstance(copies[1].__cause__, OSError)


def test_trying_again_costs_nothing_to_import() -> None:
    code = (
        "import sys, nbflow; before = set(sys.modules); "
        "import nbflow.algebra.retry, nbflow.algebra.context; "
        "print(*sorted(set(sys.modules) - before))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(said.stdout.split()) <= {"nbflow.algebra.retry", "nbflow.algebra.context"}
