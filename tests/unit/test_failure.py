"""How an exception is recorded and given back."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from nbflow import step
from nbflow.errors import RunError, TransferError
from nbflow.record.events import ErrorRecord
from nbflow.record.failure import cut, recorded, revived


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code

    def __reduce__(self) -> Any:
        raise RuntimeError


def caught(fn: Callable[[], Any]) -> BaseException:
    try:
        fn()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def back(fn: Callable[[], Any]) -> BaseException:
    return revived(recorded(caught(fn)))


def fail() -> None:
    raise TwoArguments(3, "bad")


def test_an_exception_is_itself_again() -> None:
    error = back(fail)
    assert type(error) is TwoArguments
    assert (str(error), error.code, error.args) == ("3: bad", 3, ("3: bad",))
    frames = traceback.extract_tb(error.__traceback__)
    assert [frame.name for frame in frames] == ["caught", "fail"]
    assert frames[-1].line == 'raise TwoArguments(3, "bad")'


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("late", [False, True])
def test_our_frames_are_left_out(timeout: float | None, late: bool) -> None:
    async def fail_later() -> None:
        fail()

    flow = step(fail_later if late else fail, timeout=timeout).s()
    error = caught(flow.call)
    # As on a worker, where our frames come first.
    while error.__traceback__.tb_frame.f_code.co_name != "call":
        error.__traceback__ = error.__traceback__.tb_next
    record = recorded(error)
    frames = traceback.extract_tb(revived(record).__traceback__)
    assert [frame.name for frame in frames] == ["fail_later", "fail"][not late :]
    assert "nbflow" not in record.traceback.replace(__file__, "")
    assert record.traceback.startswith("Traceback (most recent call last)")


def test_an_exception_of_ours_alone_has_its_words() -> None:
    error = caught(step(zip).s([1]).call)
    while error.__traceback__.tb_frame.f_code.co_name != "call":
        error.__traceback__ = error.__traceback__.tb_next
    record = recorded(error)
    assert "File" not in record.traceback
    assert "'zip' returned an iterator" in record.traceback
    assert type(revived(record)) is TransferError


def test_the_record_is_plain_words() -> None:
    record = recorded(caught(fail))
    assert (record.type_name, record.message) == ("TwoArguments", "3: bad")
    assert 'raise TwoArguments(3, "bad")' in record.traceback


def test_an_exception_without_a_traceback_is_recorded() -> None:
    assert str(revived(recorded(ValueError("plain")))) == "plain"


def test_causes_contexts_and_suppression_are_kept() -> None:
    def cause() -> None:
        try:
            fail()
        except TwoArguments as error:
            raise ValueError("outer") from error

    def silent() -> None:
        try:
            fail()
        except TwoArguments:
            raise ValueError("outer") from None

    error = back(cause)
    assert type(error.__cause__) is TwoArguments
    assert "The above exception was the direct cause" in "".join(traceback.format_exception(error))
    assert back(silent).__context__ is None


def test_a_deep_recursion_is_shortened() -> None:
    def deep(n: int = 0) -> int:
        return deep(n + 1)

    error = back(deep)
    assert type(error) is RecursionError
    assert len(traceback.extract_tb(error.__traceback__)) == 60


def test_groups_are_put_together_again() -> None:
    def several() -> None:
        inner = ExceptionGroup("inner", [KeyError("k"), TwoArguments(1, "x")])
        locked = ValueError("locked")
        locked.lock = threading.Lock()  # type: ignore[attr-defined]
        raise ExceptionGroup("outer", [inner, locked])

    error = back(several)
    assert isinstance(error, ExceptionGroup)
    assert error.message == "outer"
    inner, locked = error.exceptions
    assert isinstance(inner, ExceptionGroup)
    assert [type(each) for each in inner.exceptions] == [KeyError, TwoArguments]
    assert type(locked) is ValueError


def test_groups_without_end_are_cut() -> None:
    def nested() -> None:
        error: Exception = ValueError("core")
        for number in range(30):
            error = ExceptionGroup(str(number), [error])
        raise error

    assert isinstance(back(nested), ExceptionGroup)


def test_large_parts_travel_in_words() -> None:
    def huge() -> None:
        error = ValueError("x" * 5_000_000, list(range(1_000_000)))
        error.table = bytes(5_000_000)  # type: ignore[attr-defined]
        raise error

    record = recorded(caught(huge))
    assert record.packed is not None
    assert len(record.packed) < 200_000
    assert len(record.message) < 9_000
    error = revived(record)
    assert type(error) is ValueError
    assert "characters left out" in error.args[0]
    assert not hasattr(error, "table")


def test_notes_are_kept() -> None:
    def noted() -> None:
        error = TwoArguments(1, "x")
        error.add_note("a note")
        raise error

    assert back(noted).__notes__ == ["a note"]


def test_what_cannot_be_given_back_is_told_in_words() -> None:
    error = revived(ErrorRecord("Odd", "what it said", "the traceback", b"no pickle"))
    assert type(error) is RunError
    assert str(error) == "Odd: what it said"
    assert error.__notes__ == ["the traceback"]
    assert type(revived(ErrorRecord("Odd", "said", "tb", None))) is RunError


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [("short", 5, "short"), ("abcdefgh", 4, "ab\n… 4 characters left out …\ngh"), ("", 3, "")],
)
def test_long_texts_lose_their_middle(text: str, limit: int, expected: str) -> None:
    assert cut(text, limit) == expected
