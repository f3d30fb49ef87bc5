"""Any result becomes a frame, a preview and a size, and nothing raises."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import pathlib
import pickle
import subprocess
import sys
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import dask.dataframe as dd
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from nbflow.outline import outline
from nbflow.preview import Preview, preview
from nbflow.size import size_of
from nbflow.tables import elements_to_frame, to_frame

# By name and not as parameters: pytest itself trips over some of these values.
DESCRIBED = ["type", "repr", "bytes"]


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Sale:
    city: str
    items: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Slotted:
    payload: Any


@dataclass
class Empty:
    pass


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


OldStyle = namedtuple("OldStyle", "a b")  # noqa: PYI024


def boom(*_: object, **__: object) -> Any:
    message = "hostile"
    raise RuntimeError(message)


class Quitter:
    def __repr__(self) -> str:
        raise SystemExit


class BadRepr:
    __repr__ = boom


class BadEverything:
    __repr__ = __str__ = __len__ = __eq__ = __bool__ = __iter__ = boom
    __array__ = __getitem__ = __contains__ = __sizeof__ = __format__ = boom
    __hash__ = None  # type: ignore[assignment]
    __class__ = property(boom)  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        boom()


class BadAttributes:
    def __getattribute__(self, name: str) -> Any:
        boom()


class BadMeta(type):
    __hash__ = boom  # type: ignore[assignment]
    __eq__ = boom
    __name__ = property(boom)  # type: ignore[assignment]

    def __getattribute__(cls, name: str) -> Any:
        boom()


class BadClass(metaclass=BadMeta):
    pass


class BadList(list[Any]):
    __len__ = __iter__ = __getitem__ = __repr__ = __eq__ = boom


class BadDict(dict[Any, Any]):
    __len__ = __iter__ = __getitem__ = __repr__ = keys = values = items = boom


class BadText(str):
    __slots__ = ()
    __len__ = __getitem__ = __str__ = __repr__ = encode = isascii = boom


class BadNumber(int):
    __str__ = __repr__ = boom


class BadFrame(pd.DataFrame):
    iloc = dtypes = property(boom)  # type: ignore[assignment]


class NotText:
    def __repr__(self) -> str:
        return 3  # type: ignore[return-value]


class TrickyText:
    def __repr__(self) -> str:
        return BadText("tricky")


class LongRepr:
    def __repr__(self) -> str:
        return "x" * 100_000_000


class Multiline:
    def __repr__(self) -> str:
        return "first\n   second"


class Surrogate:
    def __repr__(self) -> str:
        return "\ud800"


class CountedRepr:
    calls = 0

    def __repr__(self) -> str:
        type(self).calls += 1
        return "counted"


def class_name(value: object) -> str:
    return type.__dict__["__name__"].__get__(type(value))  # type: ignore[no-any-return]


def self_referential() -> list[Any]:
    itself: list[Any] = []
    itself.append(itself)
    return itself


def self_referential_dict() -> dict[str, Any]:
    itself: dict[str, Any] = {}
    itself["me"] = itself
    return itself


def deeply_nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return nested


def expected(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame(columns)


FRAMES: dict[str, tuple[Any, pd.DataFrame]] = {
    "int": (3, expected(value=[3])),
    "float": (1.5, expected(value=[1.5])),
    "bool": (True, expected(value=[True])),
    "none": (None, expected(value=[None])),
    "str": ("text", expected(value=["text"])),
    "empty str": ("", expected(value=[""])),
    "bytes": (b"raw", expected(value=[b"raw"])),
    "complex": (2 + 1j, expected(value=[2 + 1j])),
    "huge int": (10**400, expected(value=[10**400])),
    "datetime": (
        datetime.datetime(2020, 1, 2),  # noqa: DTZ001
        expected(value=[pd.Timestamp("2020-01-02").as_unit("us")]),
    ),
    "date": (datetime.date(2020, 1, 2), expected(value=[datetime.date(2020, 1, 2)])),
    "decimal": (decimal.Decimal("1.10"), expected(value=[decimal.Decimal("1.10")])),
    "enum": (Colour.RED, expected(value=[Colour.RED])),
    "uuid": (uuid.UUID(int=1), expected(value=[uuid.UUID(int=1)])),
    "path": (pathlib.Path("a"), expected(value=[pathlib.Path("a")])),
    "numpy scalar": (np.int16(4), pd.DataFrame({"value": [np.int16(4)]})),
    "nat": (pd.NaT, expected(value=[pd.NaT])),
    "na": (pd.NA, expected(value=[pd.NA])),
    "period": (pd.Period("2020"), expected(value=[pd.Period("2020")])),
    "list of scalars": ([1, 2], expected(value=[1, 2])),
    "tuple of scalars": ((1, 2), expected(value=[1, 2])),
    "mixed scalars": (["a", None, 3], expected(value=["a", None, 3])),
    "empty list": ([], expected(value=[])),
    "empty tuple": ((), expected(value=[])),
    "empty dict": ({}, pd.DataFrame()),
    "dict of scalars": ({"a": 1, "b": "x"}, expected(a=[1], b=["x"])),
    "dict with int keys": ({1: "x"}, pd.DataFrame({1: ["x"]})),
    "dict of lists": ({"a": [1, 2], "b": (3, 4)}, expected(a=[1, 2], b=[3, 4])),
    "dict of empty lists": ({"a": [], "b": []}, expected(a=[], b=[])),
    "dict of nested lists": ({"a": [[1], [2, 3]]}, expected(a=[[1], [2, 3]])),
    "dict of arrays": ({"a": np.arange(2), "b": ["x", "y"]}, expected(a=[0, 1], b=["x", "y"])),
    "dict of series aligns": (
        {"a": pd.Series([1, 2], index=["x", "y"]), "b": pd.Series([4, 3], index=["y", "x"])},
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=["x", "y"]),
    ),
    "list of dicts": ([{"a": 1}, {"a": 2}], expected(a=[1, 2])),
    "dicts of other keys": ([{"a": 1}, {"b": "x"}], expected(a=[1, None], b=[None, "x"])),
    "dicts with nested cells": ([{"a": [1, 2]}], expected(a=[[1, 2]])),
    "dataclass": (Sale("Oslo", [1]), expected(city=["Oslo"], items=[[1]])),
    "list of dataclasses": ([Sale("Oslo")], expected(city=["Oslo"], items=[[]])),
    "slotted dataclass": (Slotted(1), expected(payload=[1])),
    "named tuple": (Point(1, 2), expected(x=[1], y=[2])),
    "named tuples": ([Point(1, 2), Point(3, 4)], expected(x=[1, 3], y=[2, 4])),
    "tuple of named tuples": ((OldStyle(1, 2),), expected(a=[1], b=[2])),
    "mixed records": ([Point(1, 2), {"x": 3}], expected(x=[1, 3], y=[2, None])),
    "ordered dict": (OrderedDict(b=1, a=2), expected(b=[1], a=[2])),
    "counter": (Counter("aab"), expected(a=[2], b=[1])),
    "defaultdict": (defaultdict(list, a=[1]), expected(a=[1])),
    "series": (pd.Series([1], name="n"), expected(n=[1])),
    "nameless series": (pd.Series([1]), expected(value=[1])),
    "index": (pd.Index([1, 2], name="n"), expected(n=[1, 2])),
    "multi index with one name twice": (
        pd.MultiIndex.from_tuples([(1, 2)], names=["n", "n"]),
        pd.DataFrame([[1, 2]], columns=["n", "n"]),
    ),
    "pandas array": (pd.array([1, None]), expected(value=pd.array([1, None]))),
    "array 0d": (np.array(5), expected(value=[5])),
    "array 1d": (np.array([1, 2]), expected(value=[1, 2])),
    "array 2d": (np.array([[1, 2]]), pd.DataFrame([[1, 2]])),
    "structured array": (
        np.array([(1, 2.0)], dtype=[("a", "i8"), ("b", "f8")]),
        expected(a=[1], b=[2.0]),
    ),
    "arrow table": (pa.table({"a": [1, 2]}), expected(a=[1, 2])),
    "arrow batch": (pa.record_batch({"a": [1]}), expected(a=[1])),
    "arrow array": (pa.array([1, 2]), expected(value=[1, 2])),
    "arrow chunks": (pa.chunked_array([[1], [2]]), expected(value=[1, 2])),
    "polars frame": (pl.DataFrame({"a": [1, 2]}), expected(a=[1, 2])),
    "polars series": (pl.Series("s", [1]), expected(s=[1])),
    "nameless polars series": (pl.Series([1]), expected(value=[1])),
    "polars lazy frame": (pl.LazyFrame({"a": [1]}), expected(a=[1])),
}

DESCRIPTIONS: dict[str, tuple[Any, str]] = {
    "object": (object(), "<object object>"),
    "set": ({1, 3, 2}, "{1, 2, 3}"),
    "frozenset": (frozenset({"b", "a"}), "frozenset({'a', 'b'})"),
    "empty set": (set(), "set()"),
    "large set": (set(range(100)), "{… 100 members}"),
    "range": (range(3), "range(0, 3)"),
    "deque": (deque([1]), "deque([1])"),
    "list of lists": ([[1, 2], [3]], "[[1, 2], [3]]"),
    "tuple of list": (([1],), "([1],)"),
    "list of dicts and scalars": ([{}, 1], "[{}, 1]"),
    "unequal lists": ({"a": [1, 2], "b": [3]}, "{'a': [1, 2], 'b': [3]}"),
    "scalars and lists": ({"a": 1, "b": [3]}, "{'a': 1, 'b': [3]}"),
    "nested dict": ({"a": {"b": 1}}, "{'a': {'b': 1}}"),
    "dict of matrices": ({"a": np.zeros((2, 2))}, "{'a': ndarray 2 x 2}"),
    "dict of frames": ({"a": pd.DataFrame({"x": [1]})}, "{'a': DataFrame 1 x 1}"),
    "list of arrow arrays": ([pa.array([1])], "[Int64Array 1]"),
    "array 3d": (np.zeros((2, 3, 4)), "ndarray 2 x 3 x 4"),
    "repr of many lines": (Multiline(), "first second"),
    "repr that is no unicode": (Surrogate(), "\\ud800"),
    "repr that raises": (BadRepr(), "<BadRepr>"),
    "repr that exits": (Quitter(), "<Quitter>"),
    "repr that is no text": (NotText(), "<NotText>"),
    "repr of a hostile text": (TrickyText(), "tricky"),
    "attributes that raise": (BadAttributes(), "<BadAttributes>"),
    "metaclass that raises": (BadClass(), "<BadClass>"),
    "everything raises": (BadEverything(), "<BadEverything>"),
    "list in itself": (self_referential(), "[[[[[…]]]]]"),
}

HOSTILE: dict[str, Any] = {
    **{name: value for name, (value, _) in (FRAMES | DESCRIPTIONS).items()},
    "repr of 100 megabytes": LongRepr(),
    "hostile member": [BadEverything()],
    "hostile cell": [{"a": BadEverything()}],
    "hostile cell in column": {"a": [BadEverything(), 1]},
    "hostile metaclass in dict": {"a": BadClass()},
    "hostile field": Sale(BadEverything()),
    "hostile in frame": pd.DataFrame({"a": pd.Series([BadRepr()], dtype=object)}),
    "hostile frame": BadFrame({"a": [1]}),
    "hostile list": BadList([1, 2]),
    "hostile dict": BadDict(a=1),
    "hostile str": BadText("text"),
    "list of hostile str": [BadText("text")],
    "dict in itself": self_referential_dict(),
    "deeply nested": deeply_nested(),
    "surrogate": "\ud800",
    "surrogate member": ["a", "\ud800"],
    "surrogate key": {"\ud800": 1},
    "surrogate column": {"\ud800": ["\ud800"]},
    "surrogate in rows": [{"\ud800": "\ud800"}],
    "surrogate in array": np.array(["\ud800"]),
    "int too long to print": 10**5_000,
    "list with int too long to print": [10**5_000, 1],
    "nested int too long to print": [[10**5_000]],
    "ints beyond 64 bits": [2**63, -1, 2**64],
    "non finite": [math.nan, math.inf, -math.inf],
    "dataclass without fields": Empty(),
    "empty dicts": [{}, {}],
    "odd keys": {None: 1, (1, 2): 2, math.nan: 3, True: 4},
    "wide dict": {f"c{i}": i for i in range(50)},
    "empty frame": pd.DataFrame(),
    "frame of no rows": pd.DataFrame({"a": []}),
    "frame of no columns": pd.DataFrame(index=range(30)),
    "one name twice": pd.DataFrame([[1, "a"]], columns=["a", "a"]),
    "mixed column": pd.DataFrame({"a": [1, "x", None, 2.5]}),
    "more than is shown": pd.DataFrame(np.zeros((30, 30))),
    "tuple labels": pd.DataFrame({"a": [1]}, index=[("x", 1)]),
    "column levels": pd.DataFrame({("a", "b"): [1]}),
    "category": pd.Series([1, 2], dtype="category"),
    "arrow one name twice": pa.table([[1], [2]], names=["a", "a"]),
    "arrow with index": pa.Table.from_pandas(pd.DataFrame({"a": [1]}, index=["x"])),
    "empty arrow": pa.table({}),
    "empty polars": pl.DataFrame(),
    "nested polars": pl.DataFrame({"a": [[1, 2]], "b": [{"x": 1}]}),
    "array of no columns": np.zeros((2, 0)),
    "structured 2d": np.zeros((2, 2), dtype=[("a", "i4")]),
    "object array": np.array([None, [1], "x"], dtype=object),
    "masked array": np.ma.masked_array([1, 2], mask=[True, False]),
    "datetime array": np.array(["2020", "NaT"], dtype="M8[ns]"),
    "long double": np.longdouble(1),
    "module": pd,
    "class": int,
    "function": len,
    "iterator": iter([1]),
    "exception": ValueError("wrong"),
    "groupby": pd.DataFrame({"a": [1]}).groupby("a"),
}


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


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_previews_as_text_what_is_no_table(name: str) -> None:
    value, text = DESCRIPTIONS[name]

    seen = preview(value)

    assert (seen.rows, seen.columns, seen.names, seen.text) == (None, None, (), text)
    assert_frame_equal(seen.frame(), to_frame(value))


@pytest.mark.parametrize("name", HOSTILE)
def test_frame_and_preview_agree_on_any_value(name: str) -> None:
    assert_consistent([HOSTILE[name]])


def test_cuts_long_reprs() -> None:
    assert len(preview(LongRepr()).text) == 200
    assert preview(LongRepr()).text.endswith("…")
    assert len(to_frame(LongRepr())["repr"].item()) == 2_000


def test_does_not_call_the_repr_of_a_large_object() -> None:
    large = CountedRepr()
    large.payload = np.zeros(20_000_000, dtype="u1")  # type: ignore[attr-defined]

    assert preview(large).text == "<CountedRepr>"
    assert CountedRepr.calls == 0


def test_calls_no_repr_in_a_frame_beyond_the_cells_shown() -> None:
    df = pd.DataFrame({"a": pd.Series([CountedRepr()] * 1_000, dtype=object)})
    CountedRepr.calls = 0

    preview(df)

    assert CountedRepr.calls == 20


def test_interrupting_is_not_swallowed() -> None:
    class Interrupted:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    for described in (preview, to_frame):
        with pytest.raises(KeyboardInterrupt):
            described(Interrupted())


def test_strips_memory_addresses() -> None:
    values = [object(), [object(), [1]], lambda: None, pl.LazyFrame({"a": [1]}), iter([])]

    for value in values:
        assert "0x" not in preview(value).text


def test_does_not_consume_iterators() -> None:
    numbers = iter([1, 2])

    to_frame(numbers)
    preview(numbers)

    assert next(numbers) == 1


def test_computes_only_the_head_of_a_dask_frame() -> None:
    lazy = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=5)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = to_frame(lazy)

    assert table["a"].tolist() == [0, 1]
    assert to_frame(lazy["a"]).columns.tolist() == ["a"]
    assert preview(lazy).rows is None


def test_previews_scalars_without_a_shape() -> None:
    seen = preview(3)

    assert (seen.type_name, seen.rows, seen.columns) == ("int", None, None)
    assert (seen.cells, seen.text) == (((3,),), "3")
    assert_frame_equal(seen.frame(), to_frame(3))


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("x" * 300, "x" * 199 + "…"),
        ("\ud800", "\\ud800"),
        (2**64 - 1, 2**64 - 1),
        (2**64, str(2**64)),
        (10**5_000, "<int>"),
        (math.nan, None),
        (math.inf, math.inf),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.uint8(3), 3),
        (np.bool_(True), True),  # noqa: FBT003
        (np.str_("a"), "a"),
        (np.float64("nan"), None),
        (np.longdouble(2), "2.0"),
        (np.datetime64("2020-01-02", "ns"), "2020-01-02T00:00:00.000000000"),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Timestamp("2020-01-02"), "2020-01-02 00:00:00"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        (decimal.Decimal("1.10"), "1.10"),
        (Colour.RED, "Colour.RED"),
        (Level.HIGH, "3"),
        (b"raw", "b'raw'"),
        ([1, "a"], "[1, 'a']"),
        (object(), "<object object>"),
        (BadRepr(), "<BadRepr>"),
        (BadNumber(1), "<BadNumber>"),
    ],
    ids=class_name,
)
def test_bounds_cells_to_plain_values(value: Any, cell: Any) -> None:
    assert preview({"a": [value]}).cells == ((cell,),)


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


def test_gives_a_dict_of_very_many_keys_no_shape() -> None:
    assert preview(dict.fromkeys(range(20_000), 0)).rows is None


def test_bounds_the_outline_of_nested_values() -> None:
    nested = {"numbers": [list(range(1_000_000))], "text": "x" * 10_000}

    assert len(preview(nested).text) == 200


def test_previews_are_immutable() -> None:
    with pytest.raises(AttributeError):
        preview(1).rows = 3  # type: ignore[misc]


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


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (b"x" * 10_000, 10_000, 11_000),
        ("x" * 10_000, 10_000, 11_000),
        (np.zeros(10_000), 80_000, 81_000),
        (pd.DataFrame({"a": np.zeros(10_000)}), 80_000, 81_000),
        (pd.Series(np.zeros(10_000)), 80_000, 81_000),
        (pd.Series(["x" * 100] * 1_000, dtype=object), 100_000, 200_000),
        (pd.DataFrame({"a": ["x" * 100] * 1_000}, dtype=object), 100_000, 200_000),
        (pd.DataFrame(np.zeros((10, 300), dtype=object)), 24_000, 200_000),
        (pd.Series(["x" * 100] * 1_000, dtype="str"), 100_000, 120_000),
        (pa.table({"a": np.zeros(10_000)}), 80_000, 81_000),
        (pl.DataFrame({"a": np.zeros(10_000)}), 80_000, 81_000),
        (list(range(1_000, 11_000)), 300_000, 400_000),
        ([np.zeros(1_000)] * 100, 800_000, 900_000),
        ({i: f"{i:0100}" for i in range(1_000)}, 100_000, 300_000),
        ({f"{i:0100}" for i in range(1_000)}, 100_000, 300_000),
        (Slotted(np.zeros(10_000)), 80_000, 81_000),
        (Point(1, 2), 50, 200),
    ],
)
def test_estimates_sizes(value: Any, low: int, high: int) -> None:
    assert low <= size_of(value) <= high


def test_counts_what_an_object_holds_or_declares() -> None:
    class Holder:
        def __init__(self) -> None:
            self.payload = np.zeros(10_000)

    class Declared:
        nbytes = 12_345

    assert size_of(Holder()) > 80_000
    assert size_of(Declared()) >= 12_345


def test_loads_no_frame_library() -> None:
    code = """
import sys
from nbflow import preview, size, tables
values = [1, "x", None, {"a": 1}, {"a": [1]}, [1, 2], [{"a": 1}], object(), {1}, [[1]]]
for value in values:
    preview.preview(value)
    size.size_of(value)
print(sorted({"pandas", "numpy", "pyarrow", "polars", "dask"} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603

    assert done.stdout == "[]\n"


texts = st.text(st.characters(), max_size=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=8),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.sampled_from(
        [pd.NaT, pd.NA, np.int8(1), np.float16(2), np.datetime64("NaT"), Colour.RED, Level.HIGH]
    ),
)
keys = st.one_of(texts, st.integers(), st.none(), st.booleans(), st.tuples(texts, st.integers()))
leaves = st.one_of(
    scalars,
    st.builds(Point, scalars, scalars),
    st.builds(Sale, texts),
    st.builds(object),
    st.builds(BadEverything),
    st.sets(st.integers(), max_size=3),
    st.lists(st.floats(), max_size=3).map(np.array),
    st.lists(st.integers(-9, 9), max_size=3).map(pd.Series),
    st.lists(st.integers(-9, 9), max_size=3).map(lambda cells: pd.DataFrame({"a": cells})),
)
mixed = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(st.dictionaries(keys, inner, max_size=3), max_size=3),
        st.dictionaries(keys, st.lists(inner, min_size=2, max_size=2), max_size=3),
        st.builds(Slotted, inner),
    ),
    max_leaves=12,
)
thorough = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(mixed)
def test_never_raises_on_generated_values(value: Any) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_consistent([value])

    assert not caught


@thorough
@given(st.lists(st.tuples(keys, mixed), max_size=5))
def test_stacks_generated_elements(elements: list[tuple[Any, Any]]) -> None:
    labels, values = [key for key, _ in elements], [value for _, value in elements]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = elements_to_frame(labels, values)

    assert len(table) >= 0
    assert not caught
