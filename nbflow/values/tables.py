"""Turn any result into a DataFrame.

Nothing here raises, whatever a step returned: what cannot be laid out as a table
is described in one row instead.
"""

from __future__ import annotations

import sys
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal

from nbflow.values.kinds import kind_of, record
from nbflow.values.outline import label, outline, type_name, valid
from nbflow.values.size import size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

_LONG_TEXT: Final = 2_000
_LAZY_ROWS: Final = 1_000
_LONGEST_RANGE: Final = 10_000_000


def to_frame(value: Any) -> pd.DataFrame:
    """Give any value as a DataFrame, without ever raising.

    - A frame is itself. Series, indexes, 1-d and 2-d arrays, Arrow and polars
      data convert; a column without a name is called ``value``. Of a lazy frame
      (Dask, polars) only the head is computed.
    - A scalar is one column ``value``. So is a list, tuple or range of scalars, a
      row each; an empty one has no rows.
    - A dict of scalars is one row, a dict of equally long lists is columns, an
      empty dict is an empty frame.
    - A dataclass or named tuple is one row; a list of them, or of dicts, is a
      row each. What is nested in a row is left in its cell as it is.
    - A list of equally long lists or tuples of scalars is a row each, its columns
      numbered from 0.
    - Anything else is one row of ``type``, ``repr`` and ``bytes``: unequal lists,
      dicts that mix lists and scalars, sets, arrays of more dimensions, ranges of
      more than ten million. Iterators are never consumed.

    Examples
    --------
    >>> to_frame({"city": "Oslo", "sales": 3})
       city  sales
    0  Oslo      3
    """
    try:
        frame = converted(value)
    except KeyboardInterrupt:
        raise
    # Not only Exception: a panic inside polars derives from BaseException.
    except BaseException:  # noqa: BLE001
        frame = None
    return _described(value) if frame is None else frame


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
    labels = [_clean(key) if kind_of(type(key)) == "scalar" else label(key) for key in keys]
    members = list(values)
    if not members:
        return pd.DataFrame()
    # One frame for all is far quicker than one for each of thousands of elements.
    if _are_single_rows(members):
        together = to_frame(members)
        if len(together) == len(members):
            return _keyed(labels, [1] * len(members), together.set_axis([0] * len(members)))
    frames = [to_frame(member) for member in members]
    try:
        return _keyed(labels, [len(frame) for frame in frames], pd.concat(frames))
    except Exception:  # noqa: BLE001 - of what the elements are, or their labels
        rows = [_described(member) for member in members]
        return _keyed(labels, [1] * len(members), pd.concat(rows))


def converted(value: Any) -> Any:
    """Lay a value out as a DataFrame, or give None for what is no table.

    Raises whatever the value raises while it is looked at.
    """
    match kind_of(type(value)):
        case "frame":
            return value
        case "scalar":
            return _built({"value": [value]})
        case "series":
            return value.to_frame(name=_column_name(value))
        case "index" if value.nlevels == 1:
            return value.to_frame(index=False, name=_column_name(value))
        case "index":
            return value.to_frame(index=False, allow_duplicates=True)
        case "arrow" | "arrow_column" | "polars" | "polars_column":
            return converted(value.to_pandas())
        case "lazy":
            return converted(_lazy_head(value))
        case "record":
            return _built([record(value)])
        case "array" | "dict" | "list" | "range" as kind:
            data = _laid_out(value, kind)
            return None if data is None else _built(data)
    return None


def described(name: str, text: str, size: int) -> pd.DataFrame:
    """Give the one row that stands for what is no table."""
    import pandas as pd

    return pd.DataFrame({"type": [name], "repr": [text], "bytes": [size]})


def list_layout(members: Sequence[Any]) -> Literal["values", "records", "rows"] | None:
    """Tell how the members of a list fill a table; None where they do not."""
    if type(members) is range:
        return "values" if len(members) <= _LONGEST_RANGE else None
    kinds = _kinds(members)
    if kinds <= {"scalar"}:
        return "values"
    if kinds <= {"dict", "record"}:
        return "records"
    if kinds != {"list"}:
        return None
    widths = set(map(len, members))
    is_even = len(widths) == 1 and 0 not in widths
    return "rows" if is_even and _kinds(chain.from_iterable(members)) <= {"scalar"} else None


def dict_layout(members: dict[Any, Any]) -> Literal["row", "columns"] | None:
    """Tell whether a dict is a row, or columns, of a table; None where it is neither."""
    columns = members.values()
    kinds = _kinds(columns)
    if kinds <= {"scalar"}:
        return "row"
    if not kinds <= {"list", "array", "series", "index"} or len(set(map(len, columns))) > 1:
        return None
    return "columns" if all(getattr(column, "ndim", 1) == 1 for column in columns) else None


def _kinds(members: Iterable[Any]) -> set[str]:
    return {kind_of(cls) for cls in set(map(type, members))}


def _column_name(column: Any) -> Any:
    # Without a name pandas has None, polars the empty string.
    return "value" if column.name is None or column.name == "" else column.name


def _laid_out(value: Any, kind: str) -> Any:
    """Arrange a container for pandas, or give None for what is no table."""
    if kind == "array":
        if value.ndim < 2 and getattr(value.dtype, "names", None) is None:
            return {"value": value.ravel()}
        return value if value.ndim <= 2 else None
    match dict_layout(value) if kind == "dict" else list_layout(value):
        case "values":
            return {"value": value}
        case "records":
            return [record(member) for member in value]
        case "rows":
            return list(value)
        case "row":
            return [value] if value else value
        case "columns":
            return value
    return None


def _lazy_head(value: Any) -> Any:
    if hasattr(value, "collect"):
        return value.head(_LAZY_ROWS).collect()
    # Not value.head(): it warns when the first partition is shorter.
    head = value.partitions[0].map_partitions(lambda part: part.head(_LAZY_ROWS))
    return head.compute(scheduler=_scheduler())


def _scheduler() -> str | None:
    """Say where Dask computes, where it would ask for a client and there is none."""
    # There is a frame of Dask, so that Dask is loaded.
    base = sys.modules["dask.base"]
    # It goes on asking when clients were closed in another order than they were made.
    try:
        base.get_scheduler()
    except RuntimeError:
        return "threads"
    return None


def _built(data: Any) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.DataFrame(data)
    # Inferring types looks into the values, which may be hostile, or text that is
    # no valid Unicode; as plain objects they pass.
    except Exception:  # noqa: BLE001
        if isinstance(data, list):
            data = [_clean_keys(row) for row in data]
        return pd.DataFrame(_clean_keys(data), dtype=object)


def _clean_keys(data: Any) -> Any:
    return {_clean(key): each for key, each in data.items()} if isinstance(data, dict) else data


def _clean(key: Any) -> Any:
    return valid(key) if type(key) is str else key


def _described(value: Any) -> pd.DataFrame:
    return described(type_name(value), outline(value, _LONG_TEXT), size_of(value))


def _are_single_rows(members: list[Any]) -> bool:
    try:
        layout = list_layout(members)
        return layout == "values" or (layout == "records" and all(map(_is_row, members)))
    except Exception:  # noqa: BLE001 - of a hostile element
        return False


def _is_row(member: Any) -> bool:
    if kind_of(type(member)) == "record":
        return True
    return bool(member) and dict_layout(member) == "row"


def _keyed(labels: list[Any], lengths: list[int], stacked: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    outer = [key for key, length in zip(labels, lengths, strict=True) for _ in range(length)]
    inner = stacked.index
    levels = [inner.get_level_values(position) for position in range(inner.nlevels)]
    names = ["element", *inner.names]
    return stacked.set_axis(pd.MultiIndex.from_arrays([outer, *levels], names=names))
