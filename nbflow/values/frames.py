"""pandas frames, series and indexes as arrays of bytes, and back, exactly.

A value is taken apart into flat arrays and a plain description of them: of the index,
the columns, and what each array is.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nbflow.values.parts import NUMBERS, Parts
from nbflow.values.plain import NotPlainError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Plain objects are walked one by one, which takes a microsecond each.
_OBJECTS: Final = 100_000
# Each column of its own takes some twenty microseconds.
_WIDE: Final = 1_000
_DEFAULT_FLAGS: Final = True


def taken_apart(value: Any, parts: Parts) -> dict[str, Any]:
    """Describe a frame, series or index, and put its arrays into ``parts``.

    Raises
    ------
    Exception
        If something of it could not be given back exactly; the kinds are many.

    Examples
    --------
    >>> import pandas as pd
    >>> taken_apart(pd.RangeIndex(3, name="row"), Parts())
    {'kind': 'index', 'range': [0, 3, 1], 'name': 'row'}
    """
    import pandas as pd

    if isinstance(value, pd.Index):
        return {"kind": "index", **_index(value, parts)}
    if value.flags.allows_duplicate_labels is not _DEFAULT_FLAGS:
        raise NotPlainError("its flags are not the usual ones")
    about = {"index": _index(value.index, parts), "attrs": value.attrs}
    if isinstance(value, pd.Series):
        return {
            **about,
            "kind": "series",
            "name": value.name,
            "values": _values(value.array, parts),
        }
    about |= {"kind": "frame", "columns": _index(value.columns, parts)}
    table = _whole(value)
    if table is not None:
        order: Any = "C" if table.flags.c_contiguous else "F"
        numbers = parts.numbers(table.reshape(-1, order=order))
        return {**about, "shape": list(value.shape), "order": order, "table": numbers}
    return {**about, "values": [_values(column.array, parts) for _, column in value.items()]}


def put_together(about: dict[str, Any], raw: Sequence[Any], stream: Any) -> Any:
    """Rebuild what `taken_apart` described.

    Raises
    ------
    Exception
        If description and arrays do not fit together; the kinds are many.

    Examples
    --------
    >>> import pandas as pd
    >>> parts = Parts()
    >>> about = taken_apart(pd.Series([1, 2], name="sales"), parts)
    >>> put_together(about, parts.raw, parts.stream())
    0    1
    1    2
    Name: sales, dtype: int64
    """
    import pandas as pd

    found = _Found(raw, stream)
    kind = about["kind"]
    if kind == "index":
        return found.index(about)
    index = found.index(about["index"])
    if kind == "series":
        value: Any = _series(found.values(about["values"]), index, about["name"])
    elif "table" in about:
        order: Any = about["order"]
        table = found.numbers(about["table"]).reshape(about["shape"], order=order)
        value = pd.DataFrame(table, index=index, copy=False)
    else:
        # Copied once, into the blocks that a frame has when it is made.
        columns = [_series(found.values(each), index) for each in about["values"]]
        value = pd.DataFrame(dict(enumerate(columns)), index=index)
    if kind == "frame":
        value.columns = found.index(about["columns"])
    value.attrs = about["attrs"]
    return value


class _Found:
    """The arrays of a value, while it is put together again."""

    def __init__(self, raw: Sequence[Any], stream: Any) -> None:
        import pyarrow as pa

        self.raw = raw
        self.table = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()

    def numbers(self, about: dict[str, Any]) -> np.ndarray:
        import numpy as np

        dtype = np.dtype(about["dtype"])
        if "raw" in about:
            return np.frombuffer(self.raw[about["raw"]], dtype=dtype)
        (chunk,) = self.chunks(about)
        data = chunk.buffers()[-1]
        if not len(chunk):
            return np.empty(0, dtype=dtype)
        # Copied, for Arrow's buffers cannot be written to.
        return np.frombuffer(data, dtype=dtype, count=len(chunk)).copy()

    def chunks(self, about: dict[str, Any]) -> list[Any]:
        start, stop = about["packed"]
        cells = (self.table.column(position).chunk(0) for position in range(start, stop))
        return [cell.values for cell in cells]  # noqa: PD011 - of Arrow

    def index(self, about: dict[str, Any]) -> Any:
        import pandas as pd

        if "range" in about:
            start, stop, step = about["range"]
            return pd.RangeIndex(start, stop, step, name=about["name"])
        if "levels" in about:
            levels: Any = [self.index(level) for level in about["levels"]]
            codes: Any = [self.numbers(each) for each in about["codes"]]
            return pd.MultiIndex(levels, codes, names=about["names"], verify_integrity=False)
        array = self.values(about["values"])
        index: Any = pd.Index(array, dtype=array.dtype, name=about["name"], copy=False)
        if "freq" in about:
            index = type(index)(index, freq=about["freq"])
        return index

    def values(self, about: dict[str, Any]) -> Any:
        import numpy as np
        import pandas as pd

        match about["as"]:
            case "numbers":
                return self.numbers(about)
            case "objects" | "plain":
                members = about.get("members")
                if members is None:
                    members = [each for chunk in self.chunks(about) for each in chunk.to_pylist()]
                    if about["missing"] is not None:
                        members = [about["missing"] if each is None else each for each in members]
                return np.fromiter(members, dtype=object, count=len(members))
            case "codes":
                dtype = pd.CategoricalDtype(self.index(about["categories"]), about["ordered"])
                return pd.Categorical.from_codes(self.numbers(about), dtype=dtype, validate=False)
            case "zoned":
                instants = pd.DatetimeIndex(self.numbers(about)).tz_localize("UTC")
                return instants.tz_convert(about["zone"]).array.copy()
            case "masked":
                mask = self.numbers(about["mask"])
                return getattr(pd.arrays, about["class"])(self.numbers(about), mask)
            case "periods":
                ordinals = self.numbers(about)
                periods: Any = pd.PeriodIndex
                return periods.from_ordinals(ordinals, freq=about["freq"]).array.copy()
            case "intervals":
                left, right = (self.values(each) for each in about["bounds"])
                return pd.arrays.IntervalArray.from_arrays(left, right, about["closed"])
            case kind:
                return self.extension(kind, about)

    def extension(self, kind: str, about: dict[str, Any]) -> Any:
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        column = pa.chunked_array(self.chunks(about))
        match kind:
            case "text":
                missing = pd.NA if about["missing"] == "NA" else np.nan
                dtype: Any = pd.StringDtype(about["storage"], na_value=missing)
            case "arrow":
                dtype = pd.ArrowDtype(column.type)
            case _:
                raise ValueError(f"no array is kept as {kind!r}")
        return dtype.__from_arrow__(column)


def _series(array: Any, index: pd.Index, name: Any = None) -> Any:
    import pandas as pd

    # With the dtype said: pandas would look at objects and make texts of them.
    return pd.Series(array, index=index, name=name, dtype=array.dtype, copy=False)


def _index(index: Any, parts: Parts) -> dict[str, Any]:
    import pandas as pd

    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if isinstance(index, pd.MultiIndex):
        import numpy as np

        return {
            "levels": [_index(level, parts) for level in index.levels],
            "codes": [parts.numbers(np.asarray(codes)) for codes in index.codes],
            "names": list(index.names),
        }
    cls: Any = type(index)
    if cls.__module__.partition(".")[0] != "pandas":
        raise NotPlainError(f"{cls.__name__} is no class of pandas")
    about = {"values": _values(index.array, parts), "name": index.name}
    freq = index.freq if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex) else None
    if freq is not None:
        # Not every frequency is known by its text alone.
        if cls(index.array, freq=freq.freqstr).freq != freq:
            raise NotPlainError("the frequency of an index has no name")
        about["freq"] = freq.freqstr
    return about


def _values(array: Any, parts: Parts) -> dict[str, Any]:
    import numpy as np
    import pandas as pd

    dtype = array.dtype
    # Not isinstance(): an array of texts derives from it.
    if type(array) is pd.arrays.NumpyExtensionArray or isinstance(dtype, np.dtype):
        values = np.asarray(array)
        if values.dtype.hasobject:
            return _objects(values, parts)
        return {"as": "numbers", **parts.numbers(values)}
    match array:
        case pd.Categorical():
            about = {"as": "codes", "ordered": array.ordered, **parts.numbers(array.codes)}
            return {**about, "categories": _index(array.categories, parts)}
        case pd.arrays.DatetimeArray():
            naive = _integers(array).view(f"M8[{dtype.unit}]")
            return {"as": "zoned", "zone": dtype.tz, **parts.numbers(naive)}
        case pd.arrays.PeriodArray():
            # Of its name: as an offset, a month has another.
            freq = dtype.name.removeprefix("period[").removesuffix("]")
            if pd.PeriodDtype(freq) != dtype:
                raise NotPlainError("the frequency of periods has no name")
            return {"as": "periods", "freq": freq, **parts.numbers(_integers(array))}
        case pd.arrays.BooleanArray() | pd.arrays.IntegerArray() | pd.arrays.FloatingArray():
            # Not by way of Arrow, which pandas reads taking NaN for missing.
            data = array.to_numpy(dtype.numpy_dtype, na_value=0)
            mask = parts.numbers(array.isna())
            name = type(array).__name__
            return {"as": "masked", "class": name, "mask": mask, **parts.numbers(data)}
        case pd.arrays.IntervalArray():
            bounds = [_values(bound.array, parts) for bound in (array.left, array.right)]
            return {"as": "intervals", "closed": array.closed, "bounds": bounds}
    return _extension(array, dtype, parts)


def _integers(array: Any) -> np.ndarray:
    """Give dates or periods as the integers that they are."""
    return array.asi8  # type: ignore[no-any-return]


def _extension(array: Any, dtype: Any, parts: Parts) -> dict[str, Any]:
    import pandas as pd
    import pyarrow as pa

    if type(dtype) is pd.StringDtype:
        missing = "NA" if dtype.na_value is pd.NA else "nan"
        about = {"as": "text", "storage": dtype.storage, "missing": missing}
    elif type(dtype) is pd.ArrowDtype:
        about = {"as": "arrow"}
    else:
        raise NotPlainError(f"{dtype} is no dtype that is kept as Arrow")
    column = pa.array(array)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return {**about, **parts.arrow(chunks or [pa.array([], column.type)])}


def _objects(values: np.ndarray, parts: Parts) -> dict[str, Any]:
    """Keep objects as what they are: all of one kind as Arrow, else one by one."""
    import pyarrow as pa

    members = values.tolist()
    kinds = set(map(type, members)) - {type(None)}
    missing = None
    if len(kinds) == 2 and float in kinds and _only_nan(members):
        kinds, missing = kinds - {float}, float("nan")
        members = [None if type(each) is float else each for each in members]
    if len(kinds) <= 1:
        try:
            column = pa.array(members, _arrow_type(kinds), from_pandas=False)
            return {"as": "objects", "missing": missing, **parts.arrow([column])}
        except (KeyError, pa.ArrowException, OverflowError, UnicodeError):
            pass
    if len(members) > _OBJECTS:
        raise NotPlainError("there are too many objects to look at each")
    return {"as": "plain", "members": values.tolist()}


def _only_nan(members: list[Any]) -> bool:
    """Tell whether NaN is what is missing, and None is nowhere."""
    return all(
        each is not None and (type(each) is not float or math.isnan(each)) for each in members
    )


def _arrow_type(kinds: set[type]) -> Any:
    import pyarrow as pa

    types = {
        str: pa.large_string(),
        bytes: pa.large_binary(),
        bool: pa.bool_(),
        int: pa.int64(),
        float: pa.float64(),
        dt.date: pa.date32(),
    }
    return types[next(iter(kinds))] if kinds else pa.null()


def _whole(df: pd.DataFrame) -> np.ndarray | None:
    """Give the one table of numbers that a frame holds; None if it holds several.

    Column by column, a table by rows would be slow to take, and a wide one as well.
    """
    import numpy as np

    width = df.shape[1]
    if width < 2 or not len(df) or len(set(df.dtypes)) > 1:
        return None
    dtype = df.dtypes.iloc[0]
    if not isinstance(dtype, np.dtype) or dtype.kind not in NUMBERS:
        return None
    first, last = (df.iloc[:, position].to_numpy() for position in (0, width - 1))
    # The distance that columns have where they follow one another in the memory.
    is_by_rows = len(df) > 1 and last.strides[0] == width * dtype.itemsize
    step = dtype.itemsize if is_by_rows else last.nbytes
    is_one = _address(last) - _address(first) == step * (width - 1)
    # Otherwise it would be copied, which is worth it for a wide one only.
    return df.to_numpy() if is_one or width > _WIDE else None


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])
