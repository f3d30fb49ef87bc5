"""What objects say of themselves is asked for, but not for long."""

from __future__ import annotations

import enum
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from nbflow.record.failure import recorded, revived
from nbflow.values.asking import LIMIT, is_known, is_leaf
from nbflow.values.outline import cell, outline
from nbflow.values.preview import preview
from nbflow.values.size import size_of
from nbflow.values.tables import to_frame

# Far above what it takes, and far below what the objects here would take.
GUARD = 8 * LIMIT
LONG = 30.0


class Quick:
    def __repr__(self) -> str:
        return "quick"


def sleeper(base: type = object, **methods: Any) -> type:
    """Make a class whose instances take long to say anything; each test needs one of its own."""

    def sleep(self: object) -> str:
        time.sleep(LONG)
        return "late"

    names = methods.pop("names", ["__repr__"])
    return type("Sleeper", (base,), dict.fromkeys(names, sleep))


def in_time(look: Any, value: Any) -> Any:
    begun = time.monotonic()
    found = look(value)
    assert time.monotonic() - begun < GUARD
    return found


def test_a_repr_that_takes_long_is_left_behind_and_not_asked_for_again() -> None:
    kind = sleeper()

    assert in_time(outline, kind()) == "<Sleeper>"
    begun = time.monotonic()
    assert [outline(kind()) for _ in range(100)] == ["<Sleeper>"] * 100
    assert time.monotonic() - begun < GUARD


def test_a_repr_that_never_ends_does_not_go_on_in_the_background() -> None:
    stopped = threading.Event()

    class Endless:
        def __repr__(self) -> str:
            try:
                while True:
                    pass
            finally:
                stopped.set()

    assert in_time(outline, Endless()) == "<Endless>"
    assert stopped.wait(GUARD)


def test_others_in_a_table_are_shown_beside_one_that_takes_long() -> None:
    table = pd.DataFrame({"a": [Quick(), sleeper()(), Quick()], "b": [1, 2, 3]})

    seen = in_time(preview, table)

    assert seen.cells == (("quick", 1), ("<Sleeper>", 2), ("quick", 3))
    assert (seen.rows, seen.columns) == (3, 2)


def test_many_that_take_a_little_are_not_all_asked() -> None:
    class Slow:
        def __repr__(self) -> str:
            time.sleep(LIMIT / 10)
            return "slow"

    seen = in_time(preview, pd.DataFrame({"a": [Slow() for _ in range(20)]}))

    shown = [row[0] for row in seen.cells]
    assert shown[0] == "slow"
    assert shown[-1] == "<Slow>"


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (list, ["__len__", "__iter__"]),
        (dict, ["__len__", "keys", "values", "items"]),
        (int, ["__str__", "__repr__"]),
        (str, ["__str__", "__repr__", "__len__"]),
        (object, ["__sizeof__"]),
        (object, ["__getattr__"]),
        (object, ["nbytes"]),
        (pd.DataFrame, ["__len__"]),
    ],
)
def test_nothing_else_of_a_class_is_waited_for(base: type, names: list[str]) -> None:
    value = sleeper(base, names=names)()

    assert in_time(preview, value).type_name == "Sleeper"
    assert in_time(size_of, value) > 0
    assert len(in_time(outline, value)) > 0


def test_slow_members_of_what_python_has_are_not_waited_for() -> None:
    kind = sleeper()

    @dataclass
    class Held:
        member: Any

    class Colour(enum.Enum):
        RED = kind()

    for value in (
        [kind()],
        {kind(): 1},
        {"a": [kind()]},
        Held(kind()),
        Colour.RED,
        ValueError(kind()),
    ):
        in_time(preview, value)
        in_time(cell, value)


class Quitting:
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError, RecursionError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError]
)
def test_no_repr_raises_anything(error: type[BaseException]) -> None:
    value = Quitting(error)

    assert outline(value) == "<Quitting>"
    assert preview([value, 1]).text == "[<Quitting>, 1]"
    assert to_frame(value)["repr"].tolist() == ["<Quitting>"]


def test_an_interrupt_ends_the_looking_at_once() -> None:
    class Interrupting:
        def __repr__(self) -> str:
            signal.raise_signal(signal.SIGINT)
            time.sleep(LONG)
            return "late"

    with pytest.raises(KeyboardInterrupt):
        preview(Interrupting())


def test_threads_are_used_again() -> None:
    before = threading.active_count()
    for _ in range(50):
        assert outline(Quick()) == "quick"

    assert threading.active_count() <= before + 1


def test_only_classes_that_everybody_has_are_known() -> None:
    class datetime:
        __module__ = "datetime"

    assert is_known(pd.DataFrame)
    assert is_leaf(pd.Timestamp)
    assert not is_known(datetime)
    assert not is_known(Quick)


def test_an_error_whose_words_take_long_is_told_without_them() -> None:
    class SlowError(Exception):
        def __str__(self) -> str:
            time.sleep(LONG)
            return "late"

    try:
        raise SlowError
    except SlowError as error:
        record = in_time(recorded, error)

    assert record.message == "(its message cannot be read)"
    # Where it was raised is known all the same.
    assert "raise SlowError" in record.traceback
    assert type(in_time(revived, record)) is SlowError
