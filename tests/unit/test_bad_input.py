"""What cannot mean anything is refused at once, with a name and an advice."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

import nbflow
from nbflow import (
    CycleError,
    FlowError,
    IdempotencyError,
    NbflowError,
    ParamError,
    RunCancelledError,
    RunError,
    RunNotFoundError,
    RunTimeoutError,
    SignatureError,
    StoreError,
    UnknownStepError,
    UnsupportedError,
    group,
    param,
    step,
)
from nbflow.errors import did_you_mean, quoted


@step
def raw():
    return 1


@step
def inc(x):
    return x + 1


@pytest.mark.parametrize(
    "value",
    [5, "inc", None, 1.5, b"x", object(), np.arange(2), np.float64(1), pd.DataFrame(), True, ...],
)
def test_a_value_on_the_right_is_refused(value):
    for left in (raw, raw >> inc, param("p", 1)):
        with pytest.raises(FlowError, match="a value cannot flow into it.*a step, a function"):
            left >> value
    with pytest.raises((FlowError, TypeError)):
        5 >> (raw >> value)


def test_a_set_anywhere():
    for write in (
        lambda: {raw} >> inc,
        lambda: {1, 2} >> inc,
        lambda: raw >> {inc},
        lambda: raw >> [{inc}],
        lambda: group({raw, inc}),
        lambda: inc.s({raw}),
        lambda: inc.s([{"k": frozenset([raw])}]),
        lambda: inc.map({1}),
        lambda: nbflow.chain({raw}, inc),
        lambda: nbflow.chord({raw}, inc),
    ):
        with pytest.raises(FlowError, match="order.*list"):
            write()


def test_truth_is_refused_where_python_asks_for_it():
    flow = raw >> inc
    for ask in (
        lambda: bool(flow),
        lambda: not flow,
        lambda: flow and inc,
        lambda: inc or flow,
        lambda: 1 if flow else 2,
        lambda: any([flow]),
        lambda: [each for each in [1] if flow],
    ):
        with pytest.raises(SignatureError, match="neither true nor false"):
            ask()


def test_comparison_binds_tighter_than_one_thinks():
    # inc > 5 is asked of Python, which knows no order of steps.
    with pytest.raises(TypeError):
        raw >> inc > 5


@pytest.mark.parametrize("ask", [list, tuple, set, sum, sorted, max, dict, lambda f: [*f]])
def test_a_flow_cannot_be_gone_through(ask):
    for each in (raw, raw >> inc, group(raw, inc.s(1)), param("p", 1)):
        with pytest.raises(SignatureError, match="cannot be iterated"):
            ask(each)


def test_a_flow_cannot_be_unpacked_by_mistake():
    with pytest.raises(SignatureError, match="cannot be iterated"):
        left, right = group(raw, raw)
    with pytest.raises(SignatureError, match="cannot be iterated"):
        inc.s(*group(raw))
    with pytest.raises(TypeError):
        1 in raw  # noqa: B015


def test_a_call_of_a_flow_or_with_a_flow():
    with pytest.raises(TypeError):
        (raw >> inc)(1)


def test_nesting_too_deep_to_be_found():
    def nested(value, depth=5_000):
        return functools.reduce(lambda inner, _: [inner], range(depth), value)

    with pytest.raises(FlowError, match="nested too deep"):
        nested(raw) >> inc
    with pytest.raises(FlowError, match="nested too deep"):
        inc.s(nested(raw))
    ring: list = [raw]
    ring.append(ring)
    with pytest.raises(FlowError, match="nested too deep, or in itself"):
        ring >> inc
    deep = nested(1)
    assert (deep >> step(type)).call() is list


def test_moderate_nesting_is_fine():
    deep = functools.reduce(lambda inner, _: [inner], range(100), raw)
    value = (deep >> step(lambda x: x)).call()
    for _ in range(100):
        (value,) = value
    assert value == 1


class Nasty:
    def __repr__(self):
        return "<script>\n" * 1000

    __str__ = __repr__


def test_messages_are_one_bounded_line():
    for write in (
        lambda: raw >> Nasty(),
        lambda: step(Nasty()),
        lambda: inc.map(Nasty()),
        lambda: raw.s()["x\n" * 999],
        lambda: nbflow.starmap(inc, [Nasty()]),
        lambda: inc.s(1).call(params={"y\n" * 999: 1}),
        lambda: step(inc.fn, **{"z\n" * 999: 1}),
    ):
        with pytest.raises(NbflowError) as caught:
            write()
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 400


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (FlowError, ValueError),
        (SignatureError, TypeError),
        (CycleError, ValueError),
        (UnknownStepError, KeyError),
        (ParamError, ValueError),
        (UnsupportedError, NotImplementedError),
        (RunError, RuntimeError),
        (RunTimeoutError, TimeoutError),
        (RunCancelledError, RuntimeError),
        (StoreError, RuntimeError),
        (RunNotFoundError, KeyError),
        (IdempotencyError, ValueError),
    ],
)
def test_every_error_is_also_the_matching_builtin(error, builtin):
    assert issubclass(error, NbflowError)
    assert issubclass(error, builtin)
    assert str(error("what happened")) == "what happened"
    assert error.__doc__


def test_quoted_is_one_bounded_line():
    assert quoted("a'b") == '"a\'b"'
    assert quoted("a\nb\0") == r"'a\nb\x00'"
    assert len(quoted("x" * 3000)) == 60
    assert quoted("x" * 3000).endswith("…'")
    assert quoted(None) == "'None'"


def test_did_you_mean():
    assert did_you_mean("claen", ["clean", "load"]) == "did you mean 'clean'?"
    assert did_you_mean("x", []) == "there are none"
    assert did_you_mean("zzz", [f"name {n}" for n in range(10)]).endswith("'name 7' and 2 more")
    assert did_you_mean(5, ["clean"]) == "there are 'clean'"
