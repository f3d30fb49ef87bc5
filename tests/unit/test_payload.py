"""What is written as bytes comes back the very same, or is a pickle and says so."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import math
import pathlib
import pickle
import sys
import threading
import uuid
import zoneinfo
from collections import Counter, OrderedDict
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from samples import BadEverything, Colour, Point, Sale

from nbflow.errors import StoreError
from nbflow.values.digest import digest, digest_read
from nbflow.values.payload import decoded, encoded
from nbflow.values.plain import written


def packed(value: Any) -> tuple[str, bytearray]:
    payload = encoded(value)
    data = bytearray(b"".join(payload.chunks))
    assert len(data) == payload.nbytes
    assert digest([data]) == payload.hash
    return payload.codec, data


def back(value: Any, codec: str) -> Any:
    used, data = packed(value)
    assert used == codec
    return decoded(data, trusted=codec == "pickle")


def same(one: Any, other: Any) -> bool:
    """Tell whether plain values are alike to the last bit, type and order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset):
        # What is not equal to itself is still the same kind of thing.
        return sorted(map(written, one)) == sorted(map(written, other))
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (one != one and other != other)
        )
    if isinstance(one, complex):
        return same([one.real, one.imag], [other.real, other.imag])
    if one is pd.NA or one is pd.NaT:
        return one is other
    if isinstance(one, np.str_ | np.bytes_):
        return one[:] == other[:] and len(one) == len(other)
    if isinstance(one, np.generic):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, dt.datetime | dt.time):
        return (
            one.replace(tzinfo=None) == other.replace(tzinfo=None)
            and one.fold == other.fold
            and repr(one.tzinfo) == repr(other.tzinfo)
        )
    if isinstance(one, uuid.UUID):
        return one == other and one.is_safe == other.is_safe
    return one == other


ZONES = st.one_of(
    st.none(),
    st.just(dt.UTC),
    st.sampled_from(["Europe/Oslo", "America/New_York"]).map(zoneinfo.ZoneInfo),
    st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))),
    st.just(dt.timezone(dt.timedelta(0), "named")),
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(lambda number: number << 70),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "L"])),
    st.binary(),
    st.complex_numbers(),
    # A signalling one cannot be a key; it has a case of its own.
    st.decimals().filter(lambda number: not number.is_snan()),
    st.dates(),
    st.times(timezones=ZONES),
    st.datetimes(timezones=ZONES),
    st.datetimes().map(lambda moment: moment.replace(fold=1)),
    st.timedeltas(),
    st.uuids(),
    st.text(st.characters(exclude_characters="\0")).map(pathlib.PurePosixPath),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    npst.scalar_dtypes().flatmap(
        lambda dtype: npst.from_dtype(dtype) if dtype.kind in "biufcmM" else st.none()
    ),
)
KEYS = st.one_of(st.text(), st.sampled_from(["$tuple", "$", "$x"]), ATOMS)
PLAIN = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(KEYS, inner),
        st.sets(ATOMS),
        st.frozensets(ATOMS),
        st.binary().map(bytearray),
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_values_come_back_to_the_last_bit(value: Any) -> None:
    assert same(back(value, "json"), value)


@pytest.mark.parametrize(
    "value",
    [
        10**5_000, -(10**5_000), 2**63, -0.0, float("inf"), float("-inf"), float("nan"),
        "\ud83d\ude00",
        {chr(0xD83D): 1, chr(0xDC00): 2}, {"$tuple": [1]}, {1: 2, "1": 3, (1, 2): 4},
        Decimal("sNaN"), Decimal("1.00"), Decimal("-0"), (), [], {}, set(), b"", "",
        pathlib.Path("a/b"), np.float64("nan"), np.longdouble(1) / 3, np.datetime64("NaT", "s"),
        dt.datetime.max, dt.timedelta.min, zoneinfo.ZoneInfo("UTC"), dt.UTC, pd.NA, pd.NaT,
        np.str_("a\0"), np.bytes_(b"a\0"), np.str_(chr(0xD800)),
        uuid.UUID(int=1, is_safe=uuid.SafeUUID.safe), [[[[]]]], [0, False, 0.0],
    ],
    ids=lambda value: ascii(type(value).__name__),
)  # fmt: skip
def test_values_that_json_has_no_words_for(value: Any) -> None:
    assert same(back(value, "json"), value)


def test_a_set_has_one_text_whatever_its_order() -> None:
    names = [f"n{i}" for i in range(50)]
    assert encoded(set(names)).hash == encoded(set(reversed(names))).hash


SHARED: list[int] = [1]


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2), Sale("Oslo"), Colour.RED, OrderedDict(a=1), Counter("aab"), len,
        pd.Timestamp("2020-01-01"), [pd.DataFrame({"a": [1]})], {"x": np.arange(3)},
        [SHARED, SHARED], list(range(1_000_000)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_only_a_pickle_keeps_is_marked(value: Any) -> None:
    found = back(value, "pickle")
    assert type(found) is type(value)
    assert pickle.dumps(found) == pickle.dumps(value) or found == value


def test_one_object_in_two_places_stays_one() -> None:
    one, other = back([SHARED, SHARED], "pickle")
    assert one is other


def test_a_value_that_contains_itself() -> None:
    value: list[Any] = []
    value.append(value)
    found = back(value, "pickle")
    assert found[0] is found


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_deep_nesting_is_kept_as_far_as_it_goes_and_then_said() -> None:
    assert back(nested(90), "json") == nested(90)
    assert back(nested(110), "pickle") == nested(110)
    with pytest.raises(StoreError, match=r"a value of type 'list' cannot be kept: .*Return data"):
        encoded(nested(100_000))


@pytest.mark.parametrize("value", [threading.Lock(), (i for i in range(3)), sys.stdout])
def test_what_cannot_be_kept_is_named(value: Any) -> None:
    with pytest.raises(StoreError) as error:
        encoded(value)
    assert f"type '{type(value).__name__}' cannot be kept" in str(error.value)
    assert "checkpoint=False" in str(error.value)


def test_a_hostile_value_is_refused_in_words() -> None:
    with pytest.raises(StoreError, match="'BadEverything' cannot be kept: RuntimeError: hostile"):
        encoded(BadEverything())


# --- numpy ---


ARRAYS = npst.arrays(
    st.one_of(
        npst.scalar_dtypes(),
        npst.nested_dtypes(),
        npst.array_dtypes(),
        npst.byte_string_dtypes(),
        npst.unicode_string_dtypes(),
    ),
    npst.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)


@given(ARRAYS, st.booleans())
def test_arrays_come_back(array: np.ndarray, by_columns: bool) -> None:
    array = np.asarray(array, order="F" if by_columns else "C")
    codec, data = packed(array)
    found = decoded(data, trusted=True)
    assert type(found) is np.ndarray
    assert found.dtype == array.dtype
    assert found.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert codec in ("numpy", "pickle")


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5), np.array([]), np.zeros((0, 3)), np.zeros((2, 0, 4), dtype="M8[25s]"),
        np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(10)[::-2],
        np.arange(3, dtype=">i4"),
        np.array(["a", "bc"]), np.array([b"\0a"]), np.array(["2020", "NaT"], dtype="M8[D]"),
        np.zeros(3, dtype=[("a", "i4"), ("b", "M8[s]"), ("c", "f8", (2,))]),
        np.zeros(2, dtype=np.dtype({"names": ["x"], "formats": ["u1"], "offsets": [5]})),
        np.array(["NaT", 3], dtype="m8[ns]"), np.array([1j]), np.float16([1, 2]),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)  # fmt: skip
def test_arrays_of_every_kind_need_no_pickle(array: np.ndarray) -> None:
    found = back(array, "numpy")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    if array.flags.forc:
        assert found.flags.f_contiguous == array.flags.f_contiguous
    assert found.flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, None]),
        np.ma.masked_array([1, 2], [True, False]),
        np.zeros(2, dtype=np.dtype([("a", "i4"), ("b", "f8")], align=True)),
        np.zeros(2, dtype=np.dtype("i4", metadata={"unit": "m"})),
        np.rec.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["a"], dtype=np.dtypes.StringDType()),
    ],
    ids=["objects", "masked", "aligned", "metadata", "record", "strings"],
)
def test_arrays_with_more_than_numbers_are_pickles(array: Any) -> None:
    found = back(array, "pickle")
    assert type(found) is type(array)
    assert found.dtype.metadata == array.dtype.metadata
    assert found.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert found.tolist() == array.tolist()


def test_large_arrays_are_neither_copied_to_be_written_nor_read() -> None:
    array = np.arange(100_000.0)
    payload = encoded(array)
    assert any(
        chunk.nbytes == array.nbytes and np.shares_memory(np.frombuffer(chunk), array)
        for chunk in payload.chunks
    )
    data = bytearray(b"".join(payload.chunks))
    assert np.shares_memory(decoded(data), np.frombuffer(data, dtype=np.uint8))


def test_the_memory_of_a_pickled_array_is_not_copied_either() -> None:
    value = {"x": np.arange(100_000.0)}
    assert any(
        chunk.nbytes == value["x"].nbytes and np.shares_memory(np.frombuffer(chunk), value["x"])
        for chunk in encoded(value).chunks
    )
    back(value, "pickle")["x"][0] = 7


# --- Arrow and polars ---


@pytest.mark.parametrize(
    "value",
    [
        pa.table({"a": [1, None], "b": ["x", "y"]}),
        pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        pa.table({}), pa.table({"a": pa.array([], pa.int8())}),
        pa.record_batch({"a": [1]}), pa.record_batch({"a": pa.array([], pa.int8())}),
        pa.array([1, None]), pa.array([]), pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.chunked_array([[1], [2, 3]]), pa.chunked_array([], pa.int8()),
        pa.array([[1], None]), pa.array([{"a": 1}]), pa.array([Decimal("1.5")]),
        pa.array(["x"]).view(pa.string()), pa.array([1, 2, 3])[1:],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_arrow_comes_back(value: Any) -> None:
    found = back(value, "arrow")
    assert type(found) is type(value)
    assert found.equals(value)
    if isinstance(value, pa.Table):
        assert found.schema.equals(value.schema, check_metadata=True)


class Registered(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.int64(), "tests.registered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: Any) -> Registered:
        return cls()


def test_types_that_only_this_process_knows_are_pickles() -> None:
    pa.register_extension_type(Registered())
    try:
        inner = pa.ExtensionArray.from_storage(Registered(), pa.array([1]))
        assert packed(pa.table({"a": inner}))[0] == "pickle"
        assert packed(pa.table({"a": pa.ListArray.from_arrays([0, 1], inner)}))[0] == "pickle"
        assert packed(pd.Series(pd.array(inner, dtype=pd.ArrowDtype(Registered()))))[0] == "pickle"
    finally:
        pa.unregister_extension_type("tests.registered")


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"a": [1, None], "b": ["x", "é"]}), pl.DataFrame(), pl.Series("s", [1.5]),
        pl.Series([], dtype=pl.Int8), pl.Series(["a", "b"], dtype=pl.Categorical),
        pl.Series(["a"], dtype=pl.Enum(["b", "a"])), pl.Series([[1], None]), pl.Series([{"a": 1}]),
        pl.Series([Decimal("1.5")]), pl.Series([dt.time(1)]), pl.Series([dt.timedelta(1)]),
        pl.Series([dt.datetime(2020, 1, 1)]).dt.replace_time_zone("Europe/Oslo"),
        pl.Series([[1, 2]], dtype=pl.Array(pl.Int8, 2)), pl.Series([None]),
        pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})], rechunk=False),
        pl.Series([b"x"]), pl.Series([2**100], dtype=pl.Int128),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_polars_comes_back(value: Any) -> None:
    found = back(value, "polars")
    assert type(found) is type(value)
    compare = pl.testing.assert_frame_equal
    if isinstance(value, pl.Series):
        compare = pl.testing.assert_series_equal
    compare(found, value)


def test_a_lazy_polars_frame_is_a_pickle() -> None:
    assert packed(pl.LazyFrame({"a": [1]}))[0] == "pickle"


# --- the bytes ---


def test_the_same_value_has_the_same_hash() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert encoded(df).hash == encoded(df.copy()).hash
    assert encoded([1]).hash != encoded((1,)).hash
    assert len({encoded(value).hash for value in (1, 1.0, True, "1", np.int64(1))}) == 5


@pytest.mark.parametrize("size", [0, 1, (1 << 23) - 1, 1 << 23, (1 << 23) + 1, 3 << 23])
@pytest.mark.parametrize("step", [1_000_003, 1 << 23, 1 << 30])
def test_a_hash_does_not_depend_on_how_bytes_are_cut(size: int, step: int) -> None:
    data = memoryview(np.arange(size, dtype=np.uint8))
    pieces = [data[start : start + step] for start in range(0, size, step)]
    assert digest(pieces) == digest([data]) == digest_read(iter(pieces))
    if size <= 1 << 23:
        assert digest(pieces) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"", b"x", b"nbflow-payload 1", b"{}" * 100, b"\0" * 1_000])
def test_bytes_that_are_no_value_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError, match=f"{len(data):,} bytes cannot be read as a value"):
        decoded(data)


@pytest.mark.parametrize(
    "value", [{"a": [1]}, np.arange(100), pd.DataFrame({"a": ["x"]}), pa.array([1]), pl.Series([1])]
)
def test_bytes_that_are_cut_off_are_refused(value: Any) -> None:
    _, data = packed(value)
    for end in range(len(data)):
        with pytest.raises(StoreError):
            decoded(data[:end])


def test_an_unknown_codec_is_refused() -> None:
    _, data = packed([1])
    with pytest.raises(StoreError, match=r"cannot be read as a value.*yaml"):
        decoded(data.replace(b'"codec":"json"', b'"codec":"yaml"'))


class Bomb:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it went off')",)


def test_a_pickle_is_read_only_where_it_is_trusted() -> None:
    codec, data = packed(Bomb())
    assert codec == "pickle"
    with pytest.raises(StoreError, match=r"kept as a pickle.*trusted=True"):
        decoded(data)
    with pytest.raises(SystemExit, match="it went off"):
        decoded(data, trusted=True)


def test_a_pickle_whose_module_is_gone_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = packed(Point(1, 2))
    monkeypatch.delattr("samples.Point")
    with pytest.raises(
        StoreError, match=r"kept as 'pickle' cannot be rebuilt here: AttributeError"
    ):
        decoded(data, trusted=True)


def test_a_value_above_the_limit_is_refused_with_figures() -> None:
    # Five gigabytes, of which none is touched.
    huge = np.broadcast_to(np.zeros(1), (625_000_000,))
    with pytest.raises(
        StoreError, match=r"'ndarray' takes about 5\.0 GB.* 1\.0 GB.*raise the limit"
    ):
        encoded(huge, limit=1_000_000_000)
    assert encoded([1], limit=1_000).codec == "json"


def test_decimals_do_not_depend_on_the_context() -> None:
    with decimal.localcontext(prec=3):
        assert same(back(Decimal("1.23456789"), "json"), Decimal("1.23456789"))
