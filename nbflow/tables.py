"""Turn any result into a DataFrame, a bounded preview, or a size in bytes.

Nothing here raises, whatever a step returned: what cannot be laid out as a
table is described in one row instead. Importing this module loads no frame
library. A value is recognised by looking its class up among the modules that
are loaded already, for a value of a library that nobody imported cannot exist.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass, fields
from itertools import chain, islice
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

__all__ = ["Preview", "elements_to_frame", "preview", "size_of", "to_frame"]

Cell: TypeAlias = bool | int | float | str | None
Kind: TypeAlias = Literal[
    "array", "arrow", "arrow_column", "dict", "frame", "index", "lazy", "list",
    "other", "polars", "polars_column", "record", "scalar", "series", "set",
]  # fmt: skip

_SHOWN: Final = 20
_TEXT: Final = 200
_LONG_TEXT: Final = 2_000
_LAZY_ROWS: Final = 1_000
# Counting nulls in this many cells takes a few milliseconds.
_COUNTED_CELLS: Final = 8_000_000
# Beyond these, walking every key, or calling a repr, is no longer cheap.
_WALKED: Final = 10_000
_LARGE: Final = 10_000_000
_SAMPLED: Final = 50

_VALUE: Final = ("value",)
_FIRST: Final = ("0",)
_POSITIONS: Final = tuple(str(position) for position in range(_SHOWN))
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]*")
_BRACKETS: Final[dict[type, tuple[str, str]]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}
_PLAIN: Final = frozenset({type(None), bool, int, float, str})
_EXACT: Final[dict[type, Kind]] = {
    **dict.fromkeys(_PLAIN, "scalar"),
    dict: "dict",
    list: "list",
    tuple: "list",
}
_FAMILIES: Final[tuple[tuple[str, str, Kind], ...]] = (
    ("pandas", "DataFrame", "frame"),
    ("pandas", "Series", "series"),
    ("pandas", "Index", "index"),
    ("pandas.api.extensions", "ExtensionArray", "array"),
    ("pandas.api.typing", "NAType", "scalar"),
    ("pandas", "Period Interval", "scalar"),
    ("numpy", "ndarray", "array"),
    ("numpy", "generic", "scalar"),
    ("pyarrow", "Table RecordBatch", "arrow"),
    ("pyarrow", "Array ChunkedArray", "arrow_column"),
    ("polars", "DataFrame", "polars"),
    ("polars", "Series", "polars_column"),
    ("polars", "LazyFrame", "lazy"),
    ("dask.dataframe", "Index", "other"),
    ("dask.dataframe", "DataFrame Series", "lazy"),
    ("enum", "Enum", "scalar"),
    ("datetime", "date time timedelta tzinfo", "scalar"),
    ("decimal", "Decimal", "scalar"),
    ("fractions", "Fraction", "scalar"),
    ("pathlib", "PurePath", "scalar"),
    ("uuid", "UUID", "scalar"),
    ("builtins", "int float complex str bytes bytearray", "scalar"),
    ("builtins", "dict", "dict"),
    ("builtins", "list tuple", "list"),
    ("builtins", "set frozenset", "set"),
)
# The first match wins, so a subclass stands before the class it derives from.
_LIBRARIES: Final[tuple[tuple[str, str, Kind], ...]] = tuple(
    (module, name, kind) for module, names, kind in _FAMILIES for name in names.split()
)
_COLUMN_KINDS: Final = frozenset({"list", "array", "series", "index"})
_TABULAR: Final = _COLUMN_KINDS - {"list"} | {
    "frame", "arrow", "arrow_column", "polars", "polars_column",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Preview:
    """What is known of a value without holding it.

    Small, picklable and JSON-able whatever the value was: at most 20 rows and
    20 columns, and no text of more than 200 characters.

    Attributes
    ----------
    type_name
        Name of the value's class.
    rows, columns
        Shape of the table that `to_frame` would make; None for what is no
        table, and where finding out would not be cheap.
    bytes
        Estimated size in memory.
    names, dtypes, nulls
        Of the columns kept. ``dtypes`` and ``nulls`` are empty where unknown.
    cells
        Head of the table, row by row; what is missing or NaN is None.
    index
        Labels of the rows kept.
    text
        Short repr of what is no table, else empty.

    Examples
    --------
    >>> seen = preview({"city": ["Oslo", "Rome"], "sales": [3, None]})
    >>> seen.names, seen.cells
    (('city', 'sales'), (('Oslo', 3), ('Rome', None)))
    """

    type_name: str
    rows: int | None
    columns: int | None
    bytes: int
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    nulls: tuple[int, ...]
    cells: tuple[tuple[Cell, ...], ...]
    index: tuple[str, ...]
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Give the fields as data that `json` takes.

        Examples
        --------
        >>> preview(3).as_dict()["cells"]
        [[3]]
        """
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("names", "dtypes", "nulls", "index"):
            data[name] = list(data[name])
        data["cells"] = [list(row) for row in self.cells]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preview:
        """Rebuild a preview from what `as_dict` gave.

        Examples
        --------
        >>> Preview.from_dict(preview(3).as_dict()) == preview(3)
        True
        """
        known = {f.name: data[f.name] for f in fields(cls)}
        for name in ("names", "dtypes", "nulls", "index"):
            known[name] = tuple(known[name])
        known["cells"] = tuple(tuple(row) for row in known["cells"])
        return cls(**known)

    def frame(self) -> pd.DataFrame:
        """Rebuild the head of the table, for display.

        Examples
        --------
        >>> preview([{"city": "Oslo"}, {"city": "Rome"}]).frame()
           city
        0  Oslo
        1  Rome
        """
        import pandas as pd

        if self.rows is None and not self.names:
            return _described_as(self.type_name, self.text, self.bytes)
        is_numbered = self.index == _POSITIONS[: len(self.index)]
        index = range(len(self.index)) if is_numbered else list(self.index)
        if not self.names:
            return pd.DataFrame(index=index)
        return pd.DataFrame(list(self.cells), columns=list(self.names), index=index)


def to_frame(value: Any) -> pd.DataFrame:
    """Give any value as a DataFrame, without ever raising.

    - A frame is itself. Series, indexes, 1-d and 2-d arrays, Arrow and polars
      data convert; a column without a name is called ``value``. Of a lazy frame
      (Dask, polars) only the head is computed.
    - A scalar is one column ``value``. So is a list or tuple of scalars, a row
      each; an empty one has no rows.
    - A dict of scalars is one row, a dict of equally long lists is columns, an
      empty dict is an empty frame.
    - A dataclass or named tuple is one row; a list of them, or of dicts, is a
      row each. What is nested in a row is left in its cell as it is.
    - Anything else is one row of ``type``, ``repr`` and ``bytes``: lists of lists,
      dicts that mix lists and scalars, sets, arrays of more dimensions.
      Iterators are never consumed.

    Examples
    --------
    >>> to_frame({"city": "Oslo", "sales": 3})
       city  sales
    0  Oslo      3
    """
    try:
        frame: pd.DataFrame = _converted(value)
    except KeyboardInterrupt:
        raise
    # Not only Exception: a panic inside polars derives from BaseException.
    except BaseException:
        return _described(value)
    return frame


def elements_to_frame(keys: Iterable[Any], values: Iterable[Any]) -> pd.DataFrame:
    """Concatenate the elements of a mapped step, their keys as outer index.

    Elements need not have the same columns. Where their tables do not fit
    together at all, each element is described in one row.

    Examples
    --------
    >>> elements_to_frame(["eu", "us"], [{"sales": 3}, {"sales": 4}]).loc["us"]
       sales
    0      4
    """
    import pandas as pd

    # Anything but a scalar goes by its text: pandas would take a tuple apart.
    labels = [_clean_label(key) if _kind(type(key)) == "scalar" else _label(key) for key in keys]
    members = list(values)
    if not members:
        return pd.DataFrame()
    # One frame for all is far quicker than one for each of thousands of elements.
    if _are_single_rows(members):
        together = to_frame(members)
        if len(together) == len(members):
            return _keyed(labels, [1] * len(members), together.set_axis([0] * len(members)))
    frames = [to_frame(member) for member in members]
    lengths = [len(frame) for frame in frames]
    try:
        return _keyed(labels, lengths, pd.concat(frames))
    except Exception:
        rows = [_described(member) for member in members]
        return _keyed(labels, [1] * len(members), pd.concat(rows))


def preview(value: Any) -> Preview:
    """Describe a value briefly, cheaply, and without ever raising.

    No list is converted, no lazy frame computed, and no repr called of an
    object that is large; of a list only the types of its members are scanned.

    Examples
    --------
    >>> preview(range(3)).text
    'range(0, 3)'
    """
    try:
        cls = type(value)
        # By far the most common results of small steps, so these take the short way.
        if cls in _PLAIN:
            row, size, text = (_cell(value),), sys.getsizeof(value), _text(value)
            return Preview(cls.__name__, None, None, size, _VALUE, (), (), (row,), _FIRST, text)
        return _previewed(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return _opaque(value)


def size_of(value: Any) -> int:
    """Estimate the bytes a value takes in memory, from a sample of it.

    Examples
    --------
    >>> size_of("x" * 1_000) > 1_000
    True
    """
    try:
        return _size(value, _SAMPLED)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return int(object.__sizeof__(value))


# --- conversion


def _converted(value: Any) -> Any:
    kind = _kind(type(value))
    match kind:
        case "frame":
            return value
        case "scalar":
            return _built({"value": [value]})
        case "series":
            return _series_frame(value)
        case "arrow_column" | "polars_column":
            return _series_frame(value.to_pandas())
        case "arrow" | "polars":
            return value.to_pandas()
        case "index":
            return _index_frame(value)
        case "array":
            return _array_frame(value)
        case "lazy":
            return to_frame(_lazy_head(value))
        case "record":
            return _built([_record(value)])
        case "list" | "dict":
            data = _laid_out(_plain(value), kind)
            return _described(value) if data is None else _built(data)
        case _:
            return _described(value)


def _laid_out(members: Any, kind: Kind) -> Any:
    """Arrange for pandas the members of a list or dict, or give None."""
    layout = _list_layout(members) if kind == "list" else _dict_layout(members)
    match layout:
        case "values":
            return {"value": members}
        case "records":
            return [_record(member) for member in members]
        case "row" if members:
            return [members]
        case "row" | "columns":
            return members
        case _:
            return None


def _series_frame(value: pd.Series[Any]) -> pd.DataFrame:
    # Without a name pandas has None, polars the empty string.
    return value.to_frame(name="value" if value.name in (None, "") else value.name)


def _index_frame(value: pd.Index[Any]) -> pd.DataFrame:
    import pandas as pd

    if isinstance(value, pd.MultiIndex):
        return value.to_frame(index=False, allow_duplicates=True)
    return value.to_frame(index=False, name="value" if value.name is None else value.name)


def _array_frame(value: Any) -> pd.DataFrame:
    if value.ndim == 0:
        return _built({"value": [value[()]]})
    if value.ndim == 1 and not _is_structured(value):
        return _built({"value": value})
    if value.ndim <= 2:
        return _built(value)
    return _described(value)


def _lazy_head(value: Any) -> Any:
    if hasattr(value, "collect"):
        return value.head(_LAZY_ROWS).collect()
    # Not value.head(): it warns when the first partition is shorter.
    head = methodcaller("head", _LAZY_ROWS)
    return value.partitions[0].map_partitions(head).compute()


def _built(data: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.DataFrame(data)
    # Inferring types looks into the values, which may be hostile, or text that is
    # no valid Unicode; as plain objects they pass.
    except Exception:
        if isinstance(data, dict):
            data = {_clean_label(key): column for key, column in data.items()}
        elif isinstance(data, list):
            data = [{_clean_label(key): cell for key, cell in row.items()} for row in data]
        return pd.DataFrame(data, dtype=object)


def _described(value: Any) -> pd.DataFrame:
    return _described_as(_type_name(value), _text(value, _LONG_TEXT), size_of(value))


def _described_as(type_name: str, text: str, size: int) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"type": [type_name], "repr": [text], "bytes": [size]})


def _are_single_rows(members: list[Any]) -> bool:
    try:
        if _list_layout(members) != "records":
            return _list_layout(members) == "values"
        return all(
            _kind(type(member)) == "record" or (member and _dict_layout(member) == "row")
            for member in members
        )
    except Exception:
        return False


def _keyed(labels: list[Any], lengths: list[int], stacked: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    outer = [label for label, length in zip(labels, lengths, strict=True) for _ in range(length)]
    inner = stacked.index
    levels = [inner.get_level_values(position) for position in range(inner.nlevels)]
    names = ["element", *inner.names]
    return stacked.set_axis(pd.MultiIndex.from_arrays([outer, *levels], names=names))


# --- what a value is


def _kind(cls: type) -> Kind:
    exact = _EXACT.get(cls)
    if exact is not None:
        return exact
    if _field_names(cls) is not None:
        return "record"
    for module, name, kind in _LIBRARIES:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and issubclass(cls, known):
            return kind
    return "other"


def _field_names(cls: type) -> tuple[str, ...] | None:
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        return tuple(field.name for field in fields(cls))
    named = getattr(cls, "_fields", None)
    if issubclass(cls, tuple) and isinstance(named, tuple):
        return named
    return None


def _record(value: Any) -> Any:
    names = _field_names(type(value))
    return value if names is None else {name: getattr(value, name, None) for name in names}


def _plain(value: Any) -> Any:
    """Copy a subclass of list, tuple or dict, whose own methods may be hostile."""
    cls = type(value)
    if cls in _BRACKETS:
        return value
    if issubclass(cls, dict):
        return dict(value)
    return list.copy(value) if issubclass(cls, list) else tuple.__getitem__(value, slice(None))


def _is_structured(array: Any) -> bool:
    return getattr(array.dtype, "names", None) is not None


def _list_layout(members: Sequence[Any]) -> Literal["values", "records"] | None:
    kinds = {_kind(cls) for cls in set(map(type, members))}
    if kinds <= {"scalar"}:
        return "values"
    return "records" if kinds <= {"dict", "record"} else None


def _dict_layout(members: dict[Any, Any]) -> Literal["row", "columns"] | None:
    kinds = {_kind(cls) for cls in set(map(type, members.values()))}
    if kinds <= {"scalar"}:
        return "row"
    if not kinds <= _COLUMN_KINDS or len({len(column) for column in members.values()}) > 1:
        return None
    flat = all(getattr(column, "ndim", 1) == 1 for column in members.values())
    return "columns" if flat else None


# --- previews


class _Head(NamedTuple):
    """The first cells of one column."""

    name: Any
    members: Iterable[Any]
    dtype: Any = None
    nulls: int | None = None


def _previewed(value: Any) -> Preview:
    match _kind(type(value)):
        case "frame" | "series":
            return _frame_preview(value)
        case "index":
            return _index_preview(value)
        case "array":
            return _array_preview(value)
        case "arrow":
            return _arrow_preview(value)
        case "polars":
            return _polars_preview(value)
        case "arrow_column" | "polars_column":
            return _column_preview(value)
        case "list":
            return _list_preview(value, _plain(value))
        case "dict":
            return _dict_preview(value, _plain(value))
        case "record":
            return _row_preview(value, _record(value))
        case "scalar":
            return _scalar_preview(value, value)
        case _:
            return _opaque(value)


def _table(
    value: Any,
    rows: int,
    columns: int | None,
    heads: Sequence[_Head],
    index: tuple[str, ...] | None = None,
) -> Preview:
    columns_of_cells = [[_cell(member) for member in head.members] for head in heads]
    return Preview(
        type_name=_type_name(value),
        rows=rows,
        columns=columns,
        bytes=size_of(value),
        names=tuple([_label(head.name) for head in heads]),
        dtypes=tuple([_clip(str(head.dtype)) for head in heads if head.dtype is not None]),
        nulls=tuple([head.nulls for head in heads if head.nulls is not None]),
        cells=tuple(zip(*columns_of_cells, strict=True)),
        index=_POSITIONS[:rows] if index is None else index,
        text="",
    )


def _frame_preview(value: Any) -> Preview:
    df = to_frame(value)
    rows, columns = df.shape
    shown = df.iloc[:, :_SHOWN]
    head = shown.iloc[:_SHOWN]
    names, dtypes = list(shown.columns), list(shown.dtypes)
    counted = shown.size <= _COUNTED_CELLS
    nulls = shown.isna().sum().tolist() if counted else [None] * len(names)
    heads = [
        _Head(name, head.iloc[:, position].tolist(), dtypes[position], nulls[position])
        for position, name in enumerate(names)
    ]
    return _table(value, rows, columns, heads, tuple(_label(label) for label in head.index))


def _index_preview(value: Any) -> Preview:
    # A head first: a frame of all the labels of a MultiIndex takes long to build.
    head = to_frame(value[:_SHOWN])
    heads = [_Head(name, column.tolist(), column.dtype) for name, column in head.items()]
    return _table(value, len(value), len(heads), heads[:_SHOWN])


def _array_preview(value: Any) -> Preview:
    if value.ndim == 0:
        return _scalar_preview(value, value[()])
    head, dtype = value[:_SHOWN], value.dtype
    if value.ndim == 1 and _is_structured(value):
        heads = [_Head(name, head[name], dtype[name]) for name in dtype.names]
    elif value.ndim == 1:
        heads = [_Head("value", _cells_of(head), dtype)]
    elif value.ndim == 2 and not _is_structured(value):
        shown = range(min(value.shape[1], _SHOWN))
        heads = [_Head(position, _cells_of(head[:, position]), dtype) for position in shown]
        return _table(value, len(value), value.shape[1], heads)
    else:
        return _opaque(value)
    return _table(value, len(value), len(heads), heads[:_SHOWN])


def _cells_of(head: Any) -> Iterable[Any]:
    # Plain Python numbers are quicker to bound than numpy's own.
    return head.tolist() if head.dtype.kind in "biuf" else head  # type: ignore[no-any-return]


def _arrow_preview(value: Any) -> Preview:
    schema = value.schema
    # Conversion puts these back into the index, so they are no columns.
    hidden = (schema.pandas_metadata or {}).get("index_columns", ())
    kept = [position for position, name in enumerate(schema.names) if name not in hidden]
    heads = []
    for position in kept[:_SHOWN]:
        field, column = schema.field(position), value.column(position)
        members = column.slice(0, _SHOWN).to_pylist()
        heads.append(_Head(field.name, members, field.type, column.null_count))
    return _table(value, value.num_rows, len(kept), heads)


def _polars_preview(value: Any) -> Preview:
    heads = [
        _Head(column.name, column.head(_SHOWN).to_list(), column.dtype, column.null_count())
        for column in value.get_columns()[:_SHOWN]
    ]
    return _table(value, value.height, value.width, heads)


def _column_preview(value: Any) -> Preview:
    if _kind(type(value)) == "arrow_column":
        members = value.slice(0, _SHOWN).to_pylist()
        head = _Head("value", members, value.type, value.null_count)
    else:
        members = value.head(_SHOWN).to_list()
        head = _Head(value.name or "value", members, value.dtype, value.null_count())
    return _table(value, len(value), 1, [head])


def _list_preview(value: Any, members: Sequence[Any]) -> Preview:
    layout = _list_layout(members)
    if layout == "values":
        return _table(value, len(members), 1, [_Head("value", members[:_SHOWN])])
    if layout is None:
        return _opaque(value)
    rows = [_record(member) for member in members[:_SHOWN]]
    walked = members if len(members) <= _WALKED else rows
    names = {cls: _field_names(cls) for cls in set(map(type, walked))}
    union = dict.fromkeys(chain.from_iterable(names[type(member)] or member for member in walked))
    heads = [_Head(name, [row.get(name) for row in rows]) for name in islice(union, _SHOWN)]
    return _table(value, len(members), len(union) if walked is members else None, heads)


def _dict_preview(value: Any, members: dict[Any, Any]) -> Preview:
    layout = _dict_layout(members) if len(members) <= _WALKED else None
    if not members:
        return _table(value, 0, 0, ())
    if layout == "row":
        return _row_preview(value, members)
    kinds = {_kind(type(column)) for column in islice(members.values(), _WALKED)}
    # Series are aligned by their labels, which only pandas can tell.
    if layout is None or "series" in kinds:
        return _opaque(value)
    heads = [_Head(name, column[:_SHOWN]) for name, column in members.items()][:_SHOWN]
    return _table(value, len(next(iter(members.values()))), len(members), heads)


def _row_preview(value: Any, row: Mapping[Any, Any]) -> Preview:
    heads = [_Head(name, (cell,)) for name, cell in islice(row.items(), _SHOWN)]
    return _table(value, 1, len(row), heads)


def _scalar_preview(value: Any, scalar: Any) -> Preview:
    row, size, text = (_cell(scalar),), size_of(value), _text(scalar)
    return Preview(_type_name(value), None, None, size, _VALUE, (), (), (row,), _FIRST, text)


def _opaque(value: Any) -> Preview:
    text, size = _text(value), size_of(value)
    return Preview(_type_name(value), None, None, size, (), (), (), (), (), text)


# --- text


# A metaclass may hide or break __name__; the slot of `type` itself cannot be overridden.
_name_of: Final = type.__dict__["__name__"].__get__


def _type_name(value: Any) -> str:
    return _clip(_name_of(type(value)))


def _cell(value: Any) -> Cell:
    cls = type(value)
    if cls is int:
        return value if value.bit_length() <= 64 else _text(value)
    if cls is str:
        return _clip(value)
    if cls is float:
        return None if math.isnan(value) else value
    if value is None:
        return None
    if cls is bool:
        return bool(value)
    try:
        return _converted_cell(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{_type_name(value)}>"


def _converted_cell(value: Any) -> Cell:
    cls = type(value)
    if _kind(cls) != "scalar" or issubclass(cls, bytes | bytearray):
        return _text(value)
    if _type_name(value) in ("NaTType", "NAType"):
        return None
    if issubclass(cls, str):
        return _clip(value)
    if getattr(getattr(value, "dtype", None), "kind", "") in ("b", "i", "u", "f"):
        plain = value.item()
        if type(plain) in _PLAIN:
            return _cell(plain)
    return _clip(_tidied(str(value), _TEXT))


def _label(label: Any) -> str:
    if type(label) is str:
        return _clip(label)
    if type(label) is tuple:
        return _clip(", ".join(_label(part) for part in label))
    return "None" if (cell := _cell(label)) is None else str(cell)


def _clean_label(label: Any) -> Any:
    return _valid(label) if type(label) is str else label


def _valid(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _clip(text: str, limit: int = _TEXT) -> str:
    if type(text) is str and len(text) <= limit and text.isascii():
        return text
    # Through the class: a subclass of str may slice in its own way.
    head = _valid(str.__getitem__(text, slice(limit + 1)))
    return head if len(head) <= limit else head[: limit - 1] + "…"


def _tidied(text: str, limit: int) -> str:
    """Put on one line, without the addresses that differ in every run."""
    start = str.__getitem__(text, slice(4 * limit))
    return " ".join(_ADDRESS.sub("", start).split())


def _text(value: Any, limit: int = _TEXT) -> str:
    try:
        return _clip(_outlined(value, limit, 4), limit)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{_type_name(value)}>"


def _outlined(value: Any, limit: int, depth: int) -> str:
    cls = type(value)
    if cls is str or cls is bytes:
        return repr(value[: limit + 1])
    if cls in _PLAIN:
        return repr(value)
    if cls not in _BRACKETS:
        return _short_repr(value, limit)
    if not value:
        return repr(value)
    opening, closing = _BRACKETS[cls]
    if depth == 0:
        return f"{opening}…{closing}"
    if cls is tuple and len(value) == 1:
        closing = ",)"
    return f"{opening}{_joined(_parts(value, limit, depth - 1), limit)}{closing}"


def _parts(value: Any, limit: int, depth: int) -> Iterable[str]:
    cls = type(value)
    if cls is dict:
        return (
            f"{_outlined(key, limit, depth)}: {_outlined(member, limit, depth)}"
            for key, member in value.items()
        )
    members = (_outlined(member, limit, depth) for member in value)
    if cls is list or cls is tuple:
        return members
    # The order of a set of strings differs from process to process.
    return sorted(members) if len(value) <= _SAMPLED else (f"… {len(value)} members",)


def _joined(parts: Iterable[str], limit: int) -> str:
    kept: list[str] = []
    room = limit
    for part in parts:
        if room <= 0:
            kept.append("…")
            break
        kept.append(part)
        room -= len(part) + 2
    return ", ".join(kept)


def _short_repr(value: Any, limit: int) -> str:
    name = _type_name(value)
    try:
        kind = _kind(type(value))
        if kind in _TABULAR:
            shape = getattr(value, "shape", None) or (len(value),)
            return f"{name} {' x '.join(map(str, shape))}"
        if kind == "lazy" or _size(value, _SAMPLED) > _LARGE:
            return f"<{name}>"
        return _tidied(repr(value), limit)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{name}>"


# --- size


def _size(value: Any, breadth: int) -> int:
    cls = type(value)
    if cls in _PLAIN or breadth == 0:
        return sys.getsizeof(value)
    kind = _kind(cls)
    if kind == "frame":
        return _frame_size(value, breadth)
    if kind == "series":
        return int(value.index.nbytes) + _array_size(value, breadth)
    if kind in ("array", "index"):
        return _array_size(value, breadth)
    if kind in ("arrow", "arrow_column"):
        return int(value.nbytes)
    if kind in ("polars", "polars_column"):
        return int(value.estimated_size())
    return sys.getsizeof(value) + _members_size(value, kind, breadth)


def _members_size(value: Any, kind: Kind, breadth: int) -> int:
    if kind == "list":
        return _sampled_size(value[:: len(value) // breadth + 1], len(value), breadth)
    if kind == "set":
        return _sampled_size(value, len(value), breadth)
    if kind == "dict":
        keys = _sampled_size(value.keys(), len(value), breadth)
        return keys + _sampled_size(value.values(), len(value), breadth)
    if kind == "record":
        members = _record(value).values()
        return _sampled_size(members, len(members), breadth)
    if kind in ("scalar", "lazy"):
        return 0
    # Only where the class declares it: asking an object may make it answer anything.
    if hasattr(type(value), "nbytes") and type(value.nbytes) is int:
        return int(value.nbytes)
    inner = getattr(value, "__dict__", None)
    return _sampled_size(inner.values(), len(inner), breadth) if type(inner) is dict else 0


def _sampled_size(members: Iterable[Any], count: int, breadth: int) -> int:
    sample = list(islice(members, breadth))
    if not sample:
        return 0
    # A narrower sample at each level bounds the work, also for what contains itself.
    return sum(_size(member, breadth // 5) for member in sample) * count // len(sample)


def _array_size(value: Any, breadth: int) -> int:
    size = int(value.nbytes)
    if not getattr(value.dtype, "hasobject", False) or getattr(value, "nlevels", 1) > 1:
        return size
    return size + _sampled_size(getattr(value, "flat", value), value.size, breadth)


def _frame_size(df: pd.DataFrame, breadth: int) -> int:
    dtypes = list(df.dtypes)
    widths = [dtype.itemsize for dtype in dtypes if getattr(dtype, "hasobject", None) is False]
    size = int(df.index.nbytes + len(df) * sum(widths))
    other = [
        position
        for position, dtype in enumerate(dtypes)
        if getattr(dtype, "hasobject", None) is not False
    ]
    sample = other[:: len(other) // breadth + 1]
    if not sample:
        return size
    sampled = sum(_array_size(df.iloc[:, position], breadth) for position in sample)
    return size + sampled * len(other) // len(sample)
