"""When two values, and two functions, are the same."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pandas as pd
import pytest

from nbflow.fingerprint import same_function, same_value

NAN = float("nan")


class Raises:
    def __eq__(self, other):
        raise RuntimeError("no")

    __hash__ = None


class Odd:
    def __eq__(self, other):
        return pd.NA

    __hash__ = None


@pytest.mark.parametrize(
    "make",
    [
        lambda: 5,
        lambda: "text",
        lambda: None,
        lambda: (1, [2, {"a": {3}}]),
        lambda: float("nan"),
        lambda: [float("nan"), {"k": float("nan")}],
        lambda: np.arange(6).reshape(2, 3),
        lambda: np.array([1.0, np.nan]),
        lambda: np.array([["a", None]], dtype=object),
        lambda: np.float64(1.5),
        lambda: np.int8(3),
        lambda: np.datetime64("2020-01-01"),
        lambda: pd.DataFrame({"a": [1, None], "b": ["x", "y"]}),
        lambda: pd.DataFrame(),
        lambda: pd.Series([1, 2], name="s"),
        lambda: pd.Index([1, 2]),
        lambda: pd.Timestamp("2020-01-01"),
        lambda: [pd.DataFrame({"a": [1]})],
        lambda: frozenset([1, 2]),
        lambda: range(3),
        lambda: lambda x: x + 1,
        lambda: [lambda x, y=(lambda: 1): x + 1],
        lambda: functools.partial(len),
        lambda: functools.partial(lambda x, y: x, 1, y=[2]),
        lambda: len,
        lambda: pd.DataFrame,
    ],
)
def test_a_value_made_again_is_the_same(make):
    assert same_value(make(), make())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 2),
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ("1", 1),
        ([1], (1,)),
        ([1], [1, 1]),
        ([1], [True]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (NAN, 1.0),
        (None, 0),
        (np.arange(3), np.arange(4)),
        (np.arange(3), np.arange(3.0)),
        (np.arange(3), np.array(3)),
        (np.zeros(3), [0.0, 0.0, 0.0]),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [1.0]})),
        (pd.Series([1]), pd.DataFrame({"a": [1]})),
        (Raises(), Raises()),
        (Odd(), Odd()),
        (object(), object()),
        (len, abs),
        (functools.partial(len), functools.partial(abs)),
        (functools.partial(pow, 2), functools.partial(pow, 3)),
        (functools.partial(int, base=2), functools.partial(int, base=3)),
        (functools.partial(len), len),
        (lambda x: x, lambda y: y),
        (lambda x: x, lambda x, /: x),
        (lambda x=1: x, lambda x=2: x),
        (lambda *, x=1: x, lambda *, x=2: x),
        (lambda: {1, 2}, lambda: {1, 3}),
        (lambda: lambda: 1, lambda: lambda: 2),
        (pd.DataFrame, pd.Series),
    ],
)
def test_what_differs_differs(left, right):
    assert not same_value(left, right)
    assert not same_value(right, left)
    assert same_value(left, left)


def test_a_list_that_holds_itself_ends():
    left: list = []
    left.append(left)
    right: list = []
    right.append(right)
    assert same_value(left, left)
    assert not same_value(left, right)


def test_where_a_function_is_defined_does_not_matter():
    spaces = [{}, {}]
    for lines, space in enumerate(spaces):
        exec(compile("\n" * lines + "def f(x): return [x for y in x]", f"<{lines}>", "exec"), space)
    assert same_function(spaces[0]["f"], spaces[1]["f"])


def test_recursive_functions_and_closures_over_each_other_end():
    def make(end):
        def even(n):
            return True if n == 0 else odd(n - 1)

        def odd(n):
            return end if n == 0 else even(n - 1)

        return even

    assert same_function(make(False), make(False))
    assert not same_function(make(False), make(None))


def test_closures_that_share_much_are_compared_once():
    def make():
        fn = lambda: 0  # noqa: E731
        for _ in range(60):
            fn = (lambda a, b: lambda: a() + b())(fn, fn)
        return fn

    found = []
    thread = threading.Thread(target=lambda: found.append(same_function(make(), make())))
    thread.daemon = True
    thread.start()
    thread.join(20)
    assert found == [True]


def test_an_empty_cell_counts_as_different():
    def make():
        def inner():
            return later

        if False:
            later = 1
        return inner

    assert not same_function(make(), make())


def test_a_comparison_that_failed_leaves_nothing_behind():
    def make(value):
        return lambda: value

    left, right = make([1]), make([2])
    assert not same_function(left, right)
    assert not same_function(left, right)
    assert same_function(make([1]), make([1]))
