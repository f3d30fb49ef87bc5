"""Any result becomes a frame, and nothing raises."""

from __future__ import annotations

import warnings
from typing import Any

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from samples import (
    DESCRIPTIONS,
    FRAMES,
    BadClass,
    BadEverything,
    class_name,
    keys,
    mixed,
    thorough,
)

from nbflow.values.tables import converted, elements_to_frame, to_frame

DESCRIBED = ["type", "repr", "bytes"]


@pytest.mark.parametrize("name", FRAMES)
def test_lays_out_a_value_as_a_frame(name: str) -> None:
    value, table = FRAMES[name]

    assert_frame_equal(to_frame(value), table, check_dtype=False, check_column_type=False)


def test_gives_a_frame_as_itself() -> None:
    df = pd.DataFrame({"a": [1]})

    assert to_frame(df) is df


def test_keeps_the_index_of_a_series() -> None:
    assert to_frame(pd.Series([1], index=["x"])).index.tolist() == ["x"]


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_describes_anything_else_in_one_row(name: str) -> None:
    value, text = DESCRIPTIONS[name]

    table = to_frame(value)

    assert table.columns.tolist() == DESCRIBED
    assert table.shape == (1, 3)
    assert table["repr"].item() == text
    assert table["type"].item() == class_name(value)
    assert table["bytes"].item() >= 0


def test_computes_only_the_head_of_a_dask_frame() -> None:
    lazy = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=5)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Not to_frame, which would describe the frame in one row rather than raise.
        table = converted(lazy)

    assert table["a"].tolist() == [0, 1]
    assert to_frame(lazy["a"]).columns.tolist() == ["a"]


def test_computes_the_head_where_dask_asks_for_a_client_that_is_closed() -> None:
    lazy = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=5)

    with dask.config.set(scheduler="dask.distributed"):
        assert converted(lazy)["a"].tolist() == [0, 1]


def test_stacks_elements_under_their_keys() -> None:
    table = elements_to_frame(["eu", "us"], [{"n": [1, 2]}, {"n": [3]}])

    assert table.index.names == ["element", None]
    assert table.index.tolist() == [("eu", 0), ("eu", 1), ("us", 0)]
    assert table["n"].tolist() == [1, 2, 3]


def test_stacks_single_rows_as_their_frames_would_stack() -> None:
    rows = [{"n": 1}, {"n": 2, "m": "x"}]

    table = elements_to_frame([0, 1], rows)

    stacked = pd.concat([to_frame(row) for row in rows], keys=[0, 1], names=["element"])
    assert_frame_equal(table, stacked)


def test_stacks_scalars() -> None:
    table = elements_to_frame(range(3), [1, 2, 3])

    assert table.index.tolist() == [(0, 0), (1, 0), (2, 0)]
    assert table["value"].tolist() == [1, 2, 3]


def test_stacks_elements_with_differing_columns() -> None:
    table = elements_to_frame([0, 1], [pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [2]})])

    assert table.columns.tolist() == ["a", "b"]
    assert len(table) == 2


def test_keeps_the_names_of_inner_indexes() -> None:
    inner = pd.DataFrame({"n": [1]}, index=pd.MultiIndex.from_tuples([(1, 2)], names=["a", "b"]))

    assert elements_to_frame(["x", "y"], [inner, inner]).index.names == ["element", "a", "b"]


def test_no_elements_are_an_empty_frame() -> None:
    assert elements_to_frame([], []).empty


def test_describes_elements_that_do_not_fit_together() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])

    table = elements_to_frame([0, 1], [twice, pd.DataFrame({"b": [1]})])

    assert table["repr"].tolist() == ["DataFrame 1 x 2", "DataFrame 1 x 1"]


@pytest.mark.parametrize(
    "keys",
    [[0, "eu"], [(1, 2), (3, 4)], ["\ud800", "a"], [None, 1], [1, 1], [[1], object()]],
    ids=["mixed", "tuples", "surrogate", "none", "twice", "odd"],
)
def test_stacks_under_any_keys(keys: list[Any]) -> None:
    for values in ([1, 2], [{}, {}], [BadEverything(), [1]], [BadClass(), 1], [[], []]):
        assert elements_to_frame(keys, values).index.names[0] == "element"


@thorough
@given(st.lists(st.tuples(keys, mixed), max_size=5))
def test_stacks_generated_elements(elements: list[tuple[Any, Any]]) -> None:
    labels, values = [key for key, _ in elements], [value for _, value in elements]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = elements_to_frame(labels, values)

    assert len(table) >= 0
    assert not caught
