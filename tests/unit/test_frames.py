"""Frames, series and indexes of pandas come back the very same."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbflow.values.payload import decoded, encoded


def back(value: Any, codec: str = "pandas") -> Any:
    payload = encoded(value)
    assert payload.codec == codec
    return decoded(bytearray(b"".join(payload.chunks)), trusted=codec == "pickle")


def assert_same_index(one: pd.Index, other: pd.Index) -> None:
    assert type(one) is type(other)
    pd.testing.assert_index_equal(one, other, exact=True, check_exact=True)
    assert list(one.names) == list(other.names)
    assert getattr(one, "freq", None) == getattr(other, "freq", None)
    if isinstance(one, pd.MultiIndex):
        for mine, theirs in zip(one.levels, other.levels, strict=True):
            assert_same_index(mine, theirs)


def assert_same(one: Any, other: Any) -> None:
    """Compare to the last bit, and the types of objects in their cells."""
    assert type(one) is type(other)
    if isinstance(one, pd.Index):
        assert_same_index(one, other)
        return
    assert_same_index(one.index, other.index)
    assert one.attrs == other.attrs
    if isinstance(one, pd.Series):
        assert_same_index(pd.Index([one.name]), pd.Index([other.name]))
        one, other = one.to_frame(), other.to_frame()
    else:
        assert_same_index(one.columns, other.columns)
    assert list(one.dtypes) == list(other.dtypes)
    for position in range(one.shape[1]):
        mine, theirs = one.iloc[:, position], other.iloc[:, position]
        pd.testing.assert_series_equal(mine, theirs, check_exact=True, check_freq=False)
        if mine.dtype == object:
            assert list(map(type, mine)) == list(map(type, theirs))
            assert repr(mine.tolist()) == repr(theirs.tolist())
        if mine.dtype.kind == "f" and isinstance(mine.dtype, np.dtype):
            assert mine.to_numpy().tobytes() == theirs.to_numpy().tobytes()


def or_missing(values: Any, missing: Any = None) -> Any:
    return st.one_of(values, st.just(missing))


I64 = st.integers(-(2**63), 2**63 - 1)
DATES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
# For each dtype, what its cells may be.
CELLS: dict[Any, Any] = {
    "int8": st.integers(-128, 127), "int64": I64, "uint64": st.integers(0, 2**64 - 1),
    "float16": st.floats(width=16), "float32": st.floats(width=32), "float64": st.floats(),
    "complex128": st.complex_numbers(), "bool": st.booleans(),
    "str": or_missing(st.text()), "string[python]": or_missing(st.text(), pd.NA),
    "string[pyarrow]": or_missing(st.text(), pd.NA),
    "Int64": or_missing(I64, pd.NA), "UInt8": or_missing(st.integers(0, 255), pd.NA),
    "Float64": or_missing(st.floats(allow_nan=False), pd.NA),
    "boolean": or_missing(st.booleans(), pd.NA),
    "datetime64[s]": or_missing(DATES), "datetime64[ns]": or_missing(DATES),
    "datetime64[us, Europe/Oslo]": or_missing(DATES.map(lambda each: each.replace(tzinfo=dt.UTC))),
    "datetime64[ms, UTC]": or_missing(DATES.map(lambda each: each.replace(tzinfo=dt.UTC))),
    "timedelta64[us]": or_missing(st.timedeltas(dt.timedelta(-1000), dt.timedelta(1000))),
    "category": or_missing(st.sampled_from(["a", "b", "c"])),
    "period[M]": or_missing(DATES), "period[2D]": or_missing(DATES),
    "object": st.one_of(
        st.none(), st.integers(), st.text(), st.floats(), st.dates(), st.binary(),
        st.tuples(st.text()), st.lists(st.integers()),
    ),
    "int64[pyarrow]": or_missing(I64, pd.NA), "string[pyarrow] ": or_missing(st.text(), pd.NA),
    "bool[pyarrow]": or_missing(st.booleans(), pd.NA),
}  # fmt: skip


def column(dtype: str, cells: list[Any]) -> Any:
    if dtype.startswith("datetime64") and dtype.endswith("]") and "," in dtype:
        return pd.Series(pd.DatetimeIndex(pd.to_datetime(cells, utc=True)).astype(dtype))
    if dtype.startswith("period"):
        return pd.Series(pd.PeriodIndex(cells, dtype=dtype))
    if dtype == "object":
        return pd.Series(np.fromiter(cells, dtype=object, count=len(cells)), dtype=object)
    return pd.Series(cells, dtype=dtype.strip())


@st.composite
def series(draw: Any, length: int) -> pd.Series:
    dtype = draw(st.sampled_from(sorted(CELLS)))
    return column(dtype, draw(st.lists(CELLS[dtype], min_size=length, max_size=length)))


LABELS = st.one_of(
    st.none(), st.text(max_size=3), st.integers(0, 3), st.dates(), st.tuples(st.text(max_size=2))
)


@st.composite
def indexes(draw: Any, length: int) -> pd.Index:
    kind = draw(st.sampled_from(["range", "one", "many", "dates"]))
    if kind == "range":
        start, step = draw(st.integers(-5, 5)), draw(st.sampled_from([-3, 1, 2]))
        return pd.RangeIndex(start, start + length * step, step, name=draw(LABELS))
    if kind == "dates":
        freq = draw(st.sampled_from(["D", "2h", "ME", "B", None]))
        index = pd.date_range("2020-01-01", periods=length, freq=freq or "D", name=draw(LABELS))
        return index if freq else index._with_freq(None)
    levels = 1 if kind == "one" else draw(st.integers(1, 3))
    arrays = []
    for _ in range(levels):
        level = draw(series(length))
        # An index has neither halves nor unhashable labels.
        if level.dtype in ("float16", "object", "complex128"):
            level = level.map(str).astype("str")
        arrays.append(level.array)
    if kind == "one":
        return pd.Index(arrays[0], name=draw(LABELS))
    names = draw(st.lists(LABELS, min_size=levels, max_size=levels))
    return pd.MultiIndex.from_arrays(arrays, names=names)


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    length, width = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    columns = [draw(series(length)) for _ in range(width)]
    df = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(length))
    df.index = draw(indexes(length))
    df.columns = draw(
        st.one_of(
            indexes(width),
            st.lists(LABELS, min_size=width, max_size=width).map(
                lambda labels: pd.Index(labels, dtype=object, tupleize_cols=False)
            ),
        )
    )
    df.attrs = draw(st.dictionaries(st.text(), st.one_of(st.integers(), st.tuples(st.text()))))
    return df


@given(frames())
def test_frames_come_back_to_the_last_bit(df: pd.DataFrame) -> None:
    assert_same(back(df), df)


@given(st.integers(0, 4).flatmap(series))
def test_series_come_back_to_the_last_bit(one: pd.Series) -> None:
    assert_same(back(one), one)


@given(st.integers(0, 4).flatmap(indexes))
def test_indexes_come_back_to_the_last_bit(index: pd.Index) -> None:
    assert_same(back(index), index)


BINS = pd.cut([1, 2, np.nan], 2)
EXACT = {
    "empty": pd.DataFrame(),
    "no columns": pd.DataFrame(index=["a", "b"]),
    "no rows": pd.DataFrame({"a": [1], "b": ["x"]})[:0],
    "duplicate names": pd.DataFrame([[1, "x"]], columns=["a", "a"]),
    "no names": pd.DataFrame([[1, 2.0]], columns=[0, None]),
    "names of many kinds": pd.DataFrame([[1, 2, 3]], columns=[1, "1", (1,)]),
    "two rows of names": pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None])
    ),
    "named columns": pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name=("r", 1))).rename_axis(
        columns="k"
    ),
    "ordered categories": pd.DataFrame(
        {"c": pd.Categorical(["a", None], categories=["b", "a", "z"], ordered=True)}
    ),
    "categories that are bins": pd.DataFrame({"c": BINS}),
    "bins": pd.DataFrame({"i": pd.arrays.IntervalArray(BINS.categories)}),
    "bins closed left": pd.Series(pd.interval_range(0, 3, closed="left")),
    "bins of dates": pd.Series(pd.interval_range(pd.Timestamp("2020", tz="UTC"), periods=2)),
    "missing only": pd.DataFrame(
        {"a": [None, None], "b": [np.nan] * 2, "c": pd.array([pd.NA] * 2)}
    ),
    "kinds of missing": pd.DataFrame({"a": pd.Series([None, np.nan, 1.0], dtype=object)}),
    "nothing but None": pd.DataFrame({"a": [None] * 200_000}, dtype=object),
    "many texts and NaN": pd.DataFrame({"a": ["x", np.nan] * 100_000}, dtype=object),
    "many texts and None": pd.DataFrame({"a": ["x", None] * 100_000}, dtype=object),
    "NaN that is not missing": pd.Series(
        pd.arrays.FloatingArray(np.array([np.nan, 1.0, 2.0]), np.array([False, False, True]))
    ),
    "NaN of Arrow that is not missing": pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array([float("nan"), None, 1.0]))
    ),
    "decimals": pd.DataFrame({"a": [Decimal("1.0"), Decimal("1.00"), None]}),
    "dates": pd.DataFrame({"a": [dt.date(2020, 1, 1), None]}, dtype=object),
    "large integers": pd.DataFrame({"a": pd.Series([2**70, -1], dtype=object)}),
    "lone surrogate": pd.DataFrame({"a": pd.Series(["\ud800", "x"], dtype=object)}),
    "lists": pd.DataFrame({"a": [[1, 2], [3], []]}),
    "tuples of one length": pd.DataFrame({"a": pd.Series([(1, 2), (3, 4)])}),
    "texts as objects": pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}),
    "labels as objects": pd.DataFrame({"a": [1]}, index=pd.Index(["x"], dtype=object)),
    "lists of Arrow": pd.DataFrame(
        {"a": pd.array([[1], None], dtype=pd.ArrowDtype(pa.list_(pa.int8())))}
    ),
    "pieces of Arrow": pd.concat([pd.Series(["a"]), pd.Series(["b"])], ignore_index=True),
    "unused levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_product([["x", "y"], [1]], names=["k", "k"])
    )[:1],
    "text where NaN is missing": pd.Series(["a", None], dtype=pd.StringDtype("python", np.nan)),
    "big-endian": pd.Series(np.arange(3, dtype=">i4")),
    "wide": pd.DataFrame(np.arange(2_000).reshape(1, 2_000)),
    "wide by pieces": pd.concat([pd.DataFrame({i: [i, -i]}) for i in range(1_100)], axis=1),
    "one table": pd.DataFrame(np.arange(6.0).reshape(2, 3)),
    "one table by rows": pd.DataFrame(np.arange(6.0).reshape(2, 3), copy=False),
    "rows of one table": pd.DataFrame(np.arange(40.0).reshape(10, 4), copy=False)[::2],
    "part of a table": pd.DataFrame(np.arange(40.0).reshape(10, 4), copy=False).iloc[2:5, 1:3],
    "two columns of dates": pd.DataFrame({i: pd.date_range("2020", periods=2) for i in "ab"}),
    "offset zone": pd.Series(
        pd.date_range("2020", periods=2, tz=dt.timezone(dt.timedelta(hours=2)))
    ),
    "attrs": pd.Series([1], name=("a", 1)),
}


@pytest.mark.parametrize("name", EXACT)
def test_frames_of_every_kind_need_no_pickle(name: str) -> None:
    assert_same(back(EXACT[name]), EXACT[name])


class Subclass(pd.DataFrame):
    pass


def unusual(name: str) -> Any:
    match name:
        case "an object of a class":
            return pd.DataFrame({"a": [print, 1]})
        case "sparse":
            return pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])})
        case "a subclass":
            return Subclass({"a": [1]})
        case "flags":
            return pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False)
        case "attrs that are not plain":
            df = pd.DataFrame({"a": [1]})
            df.attrs = {"when": pd.Timestamp("2020")}
            return df
        case "holidays":
            days = pd.offsets.CustomBusinessDay(holidays=["2020-01-02"])
            return pd.DataFrame({"a": range(3)}, index=pd.date_range("2020", periods=3, freq=days))
    return None


@pytest.mark.parametrize(
    "name",
    [
        "an object of a class",
        "sparse",
        "a subclass",
        "flags",
        "attrs that are not plain",
        "holidays",
    ],
)
def test_what_arrow_cannot_keep_is_a_pickle(name: str) -> None:
    value = unusual(name)
    found = back(value, "pickle")
    assert_same(found, value)
    assert found.flags.allows_duplicate_labels == value.flags.allows_duplicate_labels


@pytest.mark.parametrize("by_rows", [False, True])
def test_large_numbers_are_not_copied_and_the_frame_can_be_changed(by_rows: bool) -> None:
    numbers = np.random.default_rng(0).random((50_000, 4))
    df = pd.DataFrame(numbers, copy=False)
    if not by_rows:
        df = pd.DataFrame({name: df[name].to_numpy() for name in df})
    payload = encoded(df)
    large = [np.frombuffer(chunk) for chunk in payload.chunks if chunk.nbytes > 100_000]
    assert sum(each.nbytes for each in large) == numbers.nbytes
    assert all(any(np.shares_memory(each, df[name].to_numpy()) for name in df) for each in large)
    found = back(df)
    assert_same(found, df)
    found.iloc[0, 0] = 7.0
    found["new"] = 1
    assert found.iloc[0, 0] == 7.0


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(100_000), np.zeros(100_000, dtype="M8[s]"), ["some long text", "b"] * 50_000,
        pd.array([None, 1] * 5, dtype="Int64"), pd.Categorical(["a", "b"] * 5),
        pd.date_range("2020", periods=3, tz="UTC"), pd.period_range("2020", periods=3, freq="D"),
    ],
    ids=lambda values: type(values).__name__,
)  # fmt: skip
def test_what_compresses_is_small_and_can_be_changed(values: Any) -> None:
    one = pd.Series(values)
    if len(one) > 10_000:
        assert encoded(one).nbytes < one.nbytes / 3
    found = back(one)
    found.iloc[0] = found.iloc[1]
    assert found.iloc[0] == one.iloc[1]
    frame = back(one.to_frame("a"))
    frame.iloc[0, 0] = frame.iloc[1, 0]
    assert_same(back(one), one)
