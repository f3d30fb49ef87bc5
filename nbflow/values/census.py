"""How many nulls and repeated rows a table has, where finding out is cheap."""

from __future__ import annotations

from typing import Any, Final

from nbflow.values.tables import converted

# Counting nulls in this many cells takes a few milliseconds.
_COUNTED_CELLS: Final = 8_000_000
# Comparing rows costs fifty times as much for each cell.
_COMPARED_CELLS: Final = 100_000
# And each column costs something of its own, however short it is.
_COMPARED_COLUMNS: Final = 500


def nulls_by_column(value: Any, kind: str) -> list[int] | None:
    """Count the nulls of each column; None where that is not known or not cheap.

    Parameters
    ----------
    value
        A table.
    kind
        What `nbflow.values.kinds.kind_of` says of it.

    Examples
    --------
    >>> import pandas as pd
    >>> nulls_by_column(pd.DataFrame({"city": ["Oslo", None], "sales": [3, 4]}), "frame")
    [1, 0]
    """
    match kind:
        case "frame" | "series" if value.size <= _COUNTED_CELLS:
            return list((value if kind == "frame" else value.to_frame()).isna().sum())
        case "arrow":
            return [each.null_count for each in arrow_columns(value)]
        case "polars":
            return [each.null_count() for each in value.get_columns()]
        case "arrow_column":
            return [value.null_count]
        case "polars_column":
            return [value.null_count()]
    return None


def arrow_columns(value: Any) -> list[Any]:
    """List the columns of an Arrow table that are columns of the frame it converts to."""
    # Conversion puts these back into the index, so they are no columns.
    hidden = (value.schema.pandas_metadata or {}).get("index_columns", ())
    names = enumerate(value.schema.names)
    return [value.column(position) for position, name in names if name not in hidden]


def repeated_rows(value: Any, kind: str, columns: int) -> int | None:
    """Count the rows that are equal to an earlier one; None where that would not be cheap.

    Cells that are Python objects are not compared: what that costs, only they know.

    Parameters
    ----------
    value, kind
        As for `nulls_by_column`.
    columns
        How many columns there are.

    Examples
    --------
    >>> import pandas as pd
    >>> repeated_rows(pd.DataFrame({"city": ["Oslo", "Rome", "Oslo"]}), "frame", 1)
    1
    """
    if kind not in ("frame", "arrow", "polars") or columns > _COMPARED_COLUMNS:
        return None
    if len(value) * columns > _COMPARED_CELLS:
        return None
    if len(value) < 2 or columns == 0:
        return 0
    try:
        frame = converted(value)
        if "object" in map(str, frame.dtypes):
            return None
        # Often the first column is a key, which says it at once.
        return 0 if frame.iloc[:, 0].is_unique else int(frame.duplicated().sum())
    except Exception:  # noqa: BLE001 - of a column of a kind that pandas cannot compare
        return None
