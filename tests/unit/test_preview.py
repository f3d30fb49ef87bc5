"""A preview says of any value what its frame would, bounded and cheaply."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from pandas.testing import assert_frame_equal
from samples import (
    DESCRIPTIONS,
    HOSTILE,
    CountedRepr,
    Point,
    mixed,
    thorough,
)

from nbflow.values.preview import Preview, preview
from nbflow.values.size import size_of
from nbflow.values.tables import to_frame


def is_bounded(seen: Preview) -> bool:
    texts = [seen.type_name, seen.text, *seen.names, *seen.dtypes, *seen.index]
    texts += [cell for row in seen.cells for cell in row if isinstance(cell, str)]
    plain = all(
        cell is None or type(cell) in (bool, int, float, str) for row in seen.cells for cell in row
    )
    return (
        plain
        and max(map(len, texts)) <= 200
        and len(seen.cells) <= 20
        and len(seen.names) <= 20
        and all(len(row) == len(seen.names) for row in seen.cells)
        and len(seen.index) <= 20
        and all(len(known) in (0, len(seen.names)) for known in (seen.dtypes, seen.nulls))
    )


def assert_consistent(held: list[Any]) -> None:
    # Held in a list, for pytest cannot report a failure on hostile arguments.
    (value,) = held
    table, seen = to_frame(value), preview(value)

    assert issubclass(type(table), pd.DataFrame)
    assert is_bounded(seen)
    assert seen.bytes == size_of(value) >= 0
    assert json.loads(json.dumps(asdict(seen)))["text"] == seen.text
    assert pickle.loads(pickle.dumps(seen)) == seen  # noqa: S301
    assert "\ud800" not in json.dumps(asdict(seen), ensure_ascii=False)
    if seen.rows is not None:
        assert seen.rows == len(table)
        assert len(seen.frame()) == min(seen.rows, 20)
        assert len(seen.index) == min(seen.rows, 20)
    if seen.columns is not None:
        assert seen.columns == table.shape[1]
        assert seen.frame().shape[1] == min(seen.columns, 20)


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_previews_as_text_what_is_no_table(name: str) -> None:
    value, text = DESCRIPTIONS[name]

    seen = preview(value)

    assert (seen.rows, seen.columns, seen.names, seen.text) == (None, None, (), text)
    assert_frame_equal(seen.frame(), to_frame(value))


@pytest.mark.parametrize("name", HOSTILE)
def test_frame_and_preview_agree_on_any_value(name: str) -> None:
    assert_consistent([HOSTILE[name]])


def test_calls_no_repr_in_a_frame_beyond_the_cells_shown() -> None:
    df = pd.DataFrame({"a": pd.Series([CountedRepr()] * 1_000, dtype=object)})
    CountedRepr.calls = 0

    preview(df)

    assert CountedRepr.calls == 20


def test_does_not_consume_iterators() -> None:
    numbers = iter([1, 2])

    to_frame(numbers)
    preview(numbers)

    assert next(numbers) == 1


def test_previews_scalars_without_a_shape() -> None:
    seen = preview(3)

    assert (seen.type_name, seen.rows, seen.columns) == ("int", None, None)
    assert (seen.cells, seen.text) == (((3,),), "3")
    assert_frame_equal(seen.frame(), to_frame(3))


def test_previews_the_head_of_a_frame() -> None:
    df = pd.DataFrame(
        {"n": range(30), "t": ["a", None] * 15, "f": [1.5, math.nan] * 15},
        index=[f"row {i}" for i in range(30)],
    )

    seen = preview(df)

    assert (seen.type_name, seen.rows, seen.columns) == ("DataFrame", 30, 3)
    assert seen.names == ("n", "t", "f")
    assert seen.dtypes == ("int64", "str", "float64")
    assert seen.nulls == (0, 15, 15)
    assert seen.cells[:2] == ((0, "a", 1.5), (1, None, None))
    assert seen.index[:2] == ("row 0", "row 1")
    assert seen.text == ""
    assert_frame_equal(seen.frame(), df.head(20))


def test_leaves_the_nulls_of_a_large_frame_uncounted() -> None:
    large = pd.DataFrame(np.broadcast_to(np.float64(1), (1_000_000, 20)))

    assert preview(large).nulls == ()


def test_keeps_no_more_columns_than_are_shown() -> None:
    seen = preview(pd.DataFrame(np.zeros((30, 40))))

    assert (seen.rows, seen.columns) == (30, 40)
    assert (len(seen.names), len(seen.nulls), len(seen.cells)) == (20, 20, 20)


@pytest.mark.parametrize(
    ("value", "dtypes", "nulls"),
    [
        (pa.table({"a": [1, None]}), ("int64",), (1,)),
        (pa.array(["x", None]), ("string",), (1,)),
        (pl.DataFrame({"a": ["x", None]}), ("String",), (1,)),
        (pl.Series([1, None]), ("Int64",), (1,)),
        (pd.Series([1.5, None]), ("float64",), (1,)),
        (pd.Index([1]), ("int64",), ()),
        (np.zeros(1, dtype="f4"), ("float32",), ()),
        (np.zeros(1, dtype=[("a", "i4")]), ("int32",), ()),
        ([1, None], (), ()),
    ],
)
def test_previews_types_and_nulls_where_they_are_known(
    value: Any, dtypes: tuple[str, ...], nulls: tuple[int, ...]
) -> None:
    assert (preview(value).dtypes, preview(value).nulls) == (dtypes, nulls)


def test_counts_the_columns_of_rows_with_other_keys() -> None:
    seen = preview([{"a": 1}, Point(2, 3)])

    assert seen.names == ("a", "x", "y")
    assert seen.cells == ((1, None, None), (None, 2, 3))


def test_leaves_the_columns_of_many_rows_uncounted() -> None:
    seen = preview([{"a": 1}] * 20_000)

    assert (seen.rows, seen.columns, seen.names) == (20_000, None, ("a",))


def test_previews_a_long_list_by_its_head() -> None:
    seen = preview(list(range(100_000)))

    assert (seen.rows, seen.columns, len(seen.cells)) == (100_000, 1, 20)


def test_previews_many_rows_by_their_head() -> None:
    seen = preview([(i, "x", None) for i in range(100_000)])

    assert (seen.rows, seen.columns, seen.names) == (100_000, 3, ("0", "1", "2"))
    assert seen.cells[:2] == ((0, "x", None), (1, "x", None))


def test_previews_a_range_without_walking_it() -> None:
    seen = preview(range(10_000_000))

    assert (seen.rows, seen.columns, seen.cells[1]) == (10_000_000, 1, (1,))
    assert seen.bytes < 1_000


def test_gives_a_dict_of_very_many_keys_no_shape() -> None:
    assert preview(dict.fromkeys(range(20_000), 0)).rows is None


def test_previews_are_immutable() -> None:
    with pytest.raises(AttributeError):
        preview(1).rows = 3  # type: ignore[misc]


def test_loads_no_frame_library() -> None:
    code = """
import sys
from nbflow.values import outline, preview, size, tables
values = [1, "x", None, {"a": 1}, {"a": [1]}, [1, 2], [{"a": 1}], object(), {1}, [[1]], range(3)]
for value in values:
    preview.preview(value)
    size.size_of(value)
print(sorted({"pandas", "numpy", "pyarrow", "polars", "dask"} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603

    assert done.stdout == "[]\n"


@thorough
@given(mixed)
def test_never_raises_on_generated_values(value: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_consistent([value])

    assert not caught
