"""Describe any value briefly, without holding it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

from nbflow.values.asking import PASSING, ask, briefly, is_known
from nbflow.values.census import arrow_columns, nulls_by_column, repeated_rows
from nbflow.values.frozen import by_values
from nbflow.values.kinds import PLAIN, field_names, kind_of, record
from nbflow.values.older import restore
from nbflow.values.outline import Cell, cell, clip, label, outline, type_name
from nbflow.values.size import size_of
from nbflow.values.tables import converted, described, dict_layout, list_layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

_SHOWN: Final = 20
# Beyond this, walking every key is no longer cheap.
_WALKED: Final = 10_000
# A text in a cell is cut at twice as many characters.
_LONG_TEXT: Final = 100
_COMPARED: Final = frozenset({"frame", "arrow", "polars"})
_VALUE: Final = ("value",)
_FIRST: Final = ("0",)
_POSITIONS: Final = tuple(map(str, range(_SHOWN)))


@by_values
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
    null_count
        How many cells are null in all columns together; None where unknown.
    duplicates
        How many rows are equal to an earlier one; None where unknown.

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
    null_count: int | None = None
    duplicates: int | None = None

    def __setstate__(self, state: Sequence[Any]) -> None:
        restore(self, state)

    @property
    def is_scalar(self) -> bool:
        """Whether it is of a single value, and no table."""
        return self.rows is None and self.names == _VALUE

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
            return described(self.type_name, self.text, self.bytes)
        is_numbered = self.index == _POSITIONS[: len(self.index)]
        index = range(len(self.index)) if is_numbered else list(self.index)
        if not self.names:
            return pd.DataFrame(index=index)
        return pd.DataFrame(list(self.cells), columns=list(self.names), index=index)


def preview(value: Any) -> Preview:
    """Describe a value briefly, cheaply, and without ever raising.

    No more than the head of a value is converted, no lazy frame computed, and no
    repr called of an object that is large or waited for long; of a list only the types
    of its members, and of those of its rows, are scanned.

    Examples
    --------
    >>> preview(object()).text
    '<object object>'
    """
    return briefly(_looked_at, value)


def _looked_at(value: Any) -> Preview:
    try:
        # By far the most common results of small steps, so these take the short way.
        if (cls := type(value)) in PLAIN:
            return _scalar(value, cls.__name__, sys.getsizeof(value))
        return _previewed(value)
    except PASSING:
        raise
    except BaseException:  # noqa: BLE001 - a value may raise anything when looked at
        return _opaque(value)


def _previewed(value: Any) -> Preview:
    kind = kind_of(type(value))
    if not is_known(type(value)):
        ask(value)
    match kind:
        case "list" | "range":
            return _list_preview(value)
        case "dict":
            return _dict_preview(value)
        case "record":
            return _row_preview(value, record(value))
        case "scalar":
            return _scalar(value, type_name(value), size_of(value))
        case "array" if value.ndim == 0:
            return _scalar(value[()], type_name(value), size_of(value))
        case "lazy" | "set" | "other":
            return _opaque(value)
    return _table_preview(value, kind)


def _table_preview(value: Any, kind: str) -> Preview:
    # A frame of the head alone: one of all the rows may take long to build.
    whole = value.iloc if kind in ("frame", "series") else value
    head = converted(whole[:_SHOWN])
    if head is None:
        return _opaque(value)
    shown = list(islice(head.items(), _SHOWN))
    dtypes = _known_types(value, kind) or [column.dtype for _, column in shown]
    nulls, columns = nulls_by_column(value, kind), head.shape[1]
    look = _table(
        value,
        len(value),
        columns,
        [(name, column.tolist()) for name, column in shown],
        index=tuple(map(label, head.index)),
        dtypes=tuple(clip(str(dtype)) for dtype in dtypes),
        nulls=() if nulls is None else tuple(map(int, nulls[:_SHOWN])),
        null_count=None if nulls is None else int(sum(nulls)),
    )
    if _is_whole(look) and kind in _COMPARED:
        return replace(look, duplicates=len(look.cells) - len(set(look.cells)))
    return replace(look, duplicates=repeated_rows(value, kind, columns))


def _is_whole(look: Preview) -> bool:
    """Tell whether all cells are there as they are: comparing these costs next to nothing."""
    if look.rows != len(look.cells) or look.columns != len(look.names):
        return False
    texts = (each for row in look.cells for each in row if isinstance(each, str))
    return "object" not in look.dtypes and all(len(each) < _LONG_TEXT for each in texts)


def _known_types(value: Any, kind: str) -> Iterable[Any] | None:
    """Give the types of the columns shown, where the value has them."""
    match kind:
        case "frame":
            return list(value.iloc[:, :_SHOWN].dtypes)
        case "series" | "polars_column":
            return [value.dtype]
        case "arrow":
            return [each.type for each in arrow_columns(value)[:_SHOWN]]
        case "arrow_column":
            return [value.type]
        case "polars":
            return [each.dtype for each in value.get_columns()[:_SHOWN]]
    return None


def _list_preview(members: Sequence[Any]) -> Preview:
    layout, head = list_layout(members), members[:_SHOWN]
    if layout == "values":
        return _table(members, len(members), 1, [("value", head)])
    if layout == "rows":
        return _table(members, len(members), len(head[0]), enumerate(zip(*head, strict=True)))
    if layout is None:
        return _opaque(members)
    rows = [record(member) for member in head]
    walked = members if len(members) <= _WALKED else rows
    names = {cls: field_names(cls) for cls in set(map(type, walked))}
    union = dict.fromkeys(chain.from_iterable(names[type(each)] or each for each in walked))
    heads = ((name, [row.get(name) for row in rows]) for name in union)
    return _table(members, len(members), len(union) if walked is members else None, heads)


def _dict_preview(members: dict[Any, Any]) -> Preview:
    if not members:
        return _table(members, 0, 0, ())
    layout = dict_layout(members) if len(members) <= _WALKED else None
    if layout == "row":
        return _row_preview(members, members)
    columns = members.values()
    # Series are aligned by their labels, which only pandas can tell.
    if layout is None or any(kind_of(type(column)) == "series" for column in columns):
        return _opaque(members)
    heads = ((name, column[:_SHOWN]) for name, column in members.items())
    return _table(members, len(next(iter(columns))), len(members), heads)


def _row_preview(value: Any, row: Mapping[Any, Any]) -> Preview:
    return _table(value, 1, len(row), ((name, (each,)) for name, each in row.items()))


def _table(
    value: Any,
    rows: int,
    columns: int | None,
    heads: Iterable[tuple[Any, Iterable[Any]]],
    *,
    index: tuple[str, ...] | None = None,
    dtypes: tuple[str, ...] = (),
    nulls: tuple[int, ...] = (),
    null_count: int | None = None,
) -> Preview:
    shown = list(islice(heads, _SHOWN))
    return Preview(
        type_name=type_name(value),
        rows=rows,
        columns=columns,
        bytes=size_of(value),
        names=tuple(label(name) for name, _ in shown),
        dtypes=dtypes,
        nulls=nulls,
        cells=tuple(zip(*(map(cell, members) for _, members in shown), strict=True)),
        index=_POSITIONS[:rows] if index is None else index,
        text="",
        null_count=null_count,
    )


def _scalar(value: Any, name: str, size: int) -> Preview:
    row, text = (cell(value),), outline(value)
    return Preview(name, None, None, size, _VALUE, (), (), (row,), _FIRST, text)


def _opaque(value: Any) -> Preview:
    text, size = outline(value), size_of(value)
    return Preview(type_name(value), None, None, size, (), (), (), (), (), text)
