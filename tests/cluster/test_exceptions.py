"""Exceptions of every kind reach the notebook as what they were, and no worker dies."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import numpy as np
import pytest
from distributed import Client

import nbflow
from nbflow import group, step

pytestmark = [pytest.mark.timeout(60)]


class TwoArguments(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class HoldsLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.kept = "kept"


class RefusesPickle(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("not with me")


class ExitsPickle(Exception):
    def __reduce__(self) -> Any:
        raise SystemExit("not with me")


class RefusesUnpickle(Exception):
    def __reduce__(self) -> Any:
        return refuse, ("x",)


class ExitsUnpickle(Exception):
    def __reduce__(self) -> Any:
        return leave, ("x",)


def refuse(*_: Any) -> None:
    raise RuntimeError("will not be read")


def leave(*_: Any) -> None:
    raise SystemExit(5)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class ExitsOnStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(6)


class Slotted(Exception):
    __slots__ = ("detail",)

    def __init__(self, detail: str) -> None:
        super().__init__(detail, threading.Lock())
        self.detail = detail


class Keyword(Exception):
    def __init__(self, *, reason: str) -> None:
        super().__init__()
        self.reason = reason

    def __str__(self) -> str:
        return f"because {self.reason}"


class Base(BaseException):
    pass


def pids(client: Client) -> set[int]:
    return set(client.run(os.getpid).values())


SOURCE = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": lambda: KeyboardInterrupt("stop"),
    "GeneratorExit": lambda: GeneratorExit("over"),
    "CancelledError": lambda: asyncio.CancelledError("away"),
    "StopIteration": lambda: StopIteration(7),
    "StopAsyncIteration": lambda: StopAsyncIteration(7),
    "MemoryError": lambda: MemoryError("full"),
    "RecursionError": lambda: RecursionError("deep"),
    "AssertionError": lambda: AssertionError(),
    "OSError": lambda: FileNotFoundError(2, "No such file", "eu.csv"),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    "KeyError": lambda: KeyError("column"),
    "two arguments": lambda: TwoArguments(4, "bad"),
    "lock": lambda: HoldsLock("locked"),
    "refuses pickle": lambda: RefusesPickle("p"),
    "exits in pickle": lambda: ExitsPickle("p"),
    "refuses unpickle": lambda: RefusesUnpickle("u"),
    "exits in unpickle": lambda: ExitsUnpickle("u"),
    "no words": lambda: Unspeakable("w"),
    "exits in str": lambda: ExitsOnStr("w"),
    "slots": lambda: Slotted("d"),
    "keyword": lambda: Keyword(reason="so"),
    "base": lambda: Base("b"),
    "array": lambda: ValueError(np.arange(3)),
    "array beside text": lambda: ValueError("text", np.arange(30_000)),
    "nested lock": lambda: ValueError({"a": [threading.Lock()]}),
    "group": lambda: ExceptionGroup("several", [ValueError("one"), TwoArguments(2, "two")]),
    "group with a lock": lambda: ExceptionGroup("several", [ValueError("one"), HoldsLock("two")]),
    "base group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), SystemExit(2)]),
}


@pytest.mark.parametrize("kind", SOURCE)
def test_an_exception_arrives_as_what_it_was(kind: str, client: Client) -> None:
    make = SOURCE[kind]

    def fail() -> None:
        raise make()

    before = pids(client)
    run = group(step(fail) >> step(str), step(len).s("abc")).run(raise_on_error=False)
    expected = make()
    error = run.error("fail")
    assert type(error) is type(expected)
    assert run.steps.status.to_dict() == {
        "fail": "failed",
        "str": "skipped",
        "len": "completed",
    }
    assert run.steps.reason["fail"].startswith(type(expected).__name__)
    assert pids(client) == before
    if kind in ("two arguments", "lock", "keyword"):
        assert str(error) == str(expected)
    with pytest.raises(type(expected)) as caught:
        run.result()
    assert "nbflow.last_run()" in caught.value.__notes__[-1]
    assert caught.traceback[-1].name == "fail"


def test_the_attributes_of_an_exception_arrive(client: Client) -> None:
    def error_of(make: Any) -> Any:
        def fail() -> None:
            raise make()

        return step(fail).run(raise_on_error=False).error("fail")

    two = error_of(lambda: TwoArguments(4, "bad"))
    assert (two.code, two.text) == (4, "bad")
    assert error_of(lambda: HoldsLock("x")).kept == "kept"
    assert error_of(lambda: FileNotFoundError(2, "No such file", "eu.csv")).filename == "eu.csv"
    assert error_of(lambda: Keyword(reason="so")).reason == "so"
    assert error_of(lambda: Slotted("d")).detail == "d"
    several = error_of(lambda: ExceptionGroup("several", [ValueError("one"), HoldsLock("two")]))
    assert [type(each) for each in several.exceptions] == [ValueError, HoldsLock]
    assert (error_of(lambda: ValueError(np.arange(3))).args[0] == np.arange(3)).all()


def test_a_real_recursion_arrives_as_itself(client: Client) -> None:
    @step
    def deep(n: int = 0) -> int:
        return deep(n + 1)

    with pytest.raises(RecursionError) as caught:
        deep.run()
    assert len(caught.traceback) < 200


def test_a_real_exhaustion_of_memory_is_a_failure(client: Client) -> None:
    @step
    def hungry() -> bytes:
        return bytes(2**62)

    with pytest.raises(MemoryError):
        hungry.run()


def test_a_huge_message_is_bounded(client: Client) -> None:
    @step
    def loud() -> None:
        raise ValueError("x" * 10_000_000)

    run = loud.run(raise_on_error=False)
    error = run.error("loud")
    assert type(error) is ValueError
    assert len(str(error)) < 100_000
    assert "left out" in str(error)
    assert len(run.steps.reason["loud"]) < 10_000


def test_a_long_chain_of_causes_is_bounded(client: Client) -> None:
    @step
    def chained() -> None:
        error: Exception = ValueError("0")
        for number in range(1, 300):
            new = ValueError(str(number))
            new.__cause__ = error
            error = new
        raise error

    @step
    def cyclic() -> None:
        first, second = ValueError("a"), ValueError("b")
        first.__cause__, second.__cause__ = second, first
        raise first

    assert str(chained.run(raise_on_error=False).error("chained")) == "299"
    assert str(cyclic.run(raise_on_error=False).error("cyclic")) == "a"


def test_exits_raised_by_an_async_step_are_failures(client: Client) -> None:
    @step
    async def leaving() -> None:
        raise SystemExit(4)

    @step
    async def cancelling() -> None:
        raise asyncio.CancelledError

    before = pids(client)
    run = group(leaving.s(), cancelling.s()).run(raise_on_error=False)
    assert isinstance(run.error("leaving"), SystemExit)
    assert isinstance(run.error("cancelling"), asyncio.CancelledError)
    assert pids(client) == before


def test_an_exception_class_of_the_function_itself_arrives(client: Client) -> None:
    class Local(Exception):
        pass

    @step
    def fail() -> None:
        raise Local("here")

    with pytest.raises(Local, match="here"):
        fail.run()


def test_arun_raises_what_a_step_raised(client: Client) -> None:
    def fail() -> None:
        raise TwoArguments(1, "x")

    async def main() -> None:
        await step(fail).arun()

    with pytest.raises(TwoArguments):
        asyncio.run(main())
    assert nbflow.last_run().status == "failed"


def test_words_that_are_no_unicode_can_be_shown() -> None:
    @step
    def mutter() -> None:
        print("half \ud800")
        raise ValueError("half \udfff")

    run = mutter.s().run(raise_on_error=False)

    assert "half \\ud800" in run.log("mutter")
    assert run.steps.loc["mutter", "reason"] == "ValueError: half \\udfff"
    for text in run._repr_mimebundle_().values():
        text.encode("utf-8")
