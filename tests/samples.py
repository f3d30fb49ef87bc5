"""Values of every kind, and what their tables and texts are."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


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
    "range": (range(3), expected(value=[0, 1, 2])),
    "empty range": (range(0), expected(value=[])),
    "rows of scalars": ([(1, "a"), (2, None)], pd.DataFrame([[1, "a"], [2, None]])),
    "matrix of lists": (([1, 2], [3, 4]), pd.DataFrame([[1, 2], [3, 4]])),
    "lists and tuples": ([[1], (2,)], pd.DataFrame([[1], [2]])),
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
    "endless range": (range(10**9), "range(0, 1000000000)"),
    "more than can be counted": (range(10**30), f"range(0, {10**30})"),
    "deque": (deque([1]), "deque([1])"),
    "lists of other lengths": ([[1, 2], [3]], "[[1, 2], [3]]"),
    "lists in a list of lists": (([[1]],), "([[1]],)"),
    "list of empty lists": ([[], []], "[[], []]"),
    "rows with an object": ([[1, {}]], "[[1, {}]]"),
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
    "attributes that raise": (BadAttributes(), f"<{__name__}.BadAttributes object>"),
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
    "surrogate in list of lists": [["\ud800"], ["a"]],
    "hostile list in list": [BadList([1])],
    "hostile texts in a list": [[BadText("text")]],
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
