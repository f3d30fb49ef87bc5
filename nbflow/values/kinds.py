"""Tell by its class what kind of thing a value is.

A class is looked up among the modules that are loaded already, for a value of a
library that nobody imported cannot exist. So this loads no frame library.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal[
    "array", "arrow", "arrow_column", "dict", "frame", "index", "lazy", "list", "other",
    "polars", "polars_column", "range", "record", "scalar", "series", "set",
]  # fmt: skip

# Most of a long list is of these: they hold nothing and cannot be changed in place.
ATOMS: Final = frozenset({int, float, str, bool, bytes, complex, type(None)})
PLAIN: Final = frozenset({type(None), bool, int, float, str})
_EXACT: Final[dict[type, Kind]] = {
    **dict.fromkeys(PLAIN, "scalar"), dict: "dict", list: "list", tuple: "list", range: "range",
}  # fmt: skip
# The first match wins: Dask's Index derives from its Series.
_CLASSES: Final[dict[Kind, str]] = {
    "frame": "pandas.DataFrame",
    "series": "pandas.Series",
    "index": "pandas.Index",
    "array": "numpy.ndarray pandas.api.extensions.ExtensionArray",
    "arrow": "pyarrow.Table pyarrow.RecordBatch",
    "arrow_column": "pyarrow.Array pyarrow.ChunkedArray",
    "polars": "polars.DataFrame",
    "polars_column": "polars.Series",
    "other": "dask.dataframe.Index",
    "lazy": "polars.LazyFrame dask.dataframe.DataFrame dask.dataframe.Series",
    "scalar": "numpy.generic enum.Enum datetime.date datetime.time datetime.timedelta"
    " datetime.tzinfo decimal.Decimal fractions.Fraction pathlib.PurePath uuid.UUID"
    " pandas.Period pandas.Interval pandas.api.typing.NAType builtins.int builtins.float"
    " builtins.complex builtins.str builtins.bytes builtins.bytearray",
    "dict": "builtins.dict",
    "list": "builtins.list builtins.tuple",
    "set": "builtins.set builtins.frozenset",
}
_NAMED: Final = tuple(
    (*path.rpartition(".")[::2], kind) for kind, paths in _CLASSES.items() for path in paths.split()
)


def kind_of(cls: type) -> Kind:
    """Tell what kind of thing the instances of a class are."""
    exact = _EXACT.get(cls)
    if exact is not None:
        return exact
    if field_names(cls) is not None:
        return "record"
    for module, name, kind in _NAMED:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and issubclass(cls, known):
            return kind
    return "other"


def field_names(cls: type) -> tuple[str, ...] | None:
    """Name the fields of a dataclass or named tuple; None for any other class."""
    if isinstance(getattr(cls, "__dataclass_fields__", None), dict):
        return tuple(field.name for field in fields(cls))
    named = getattr(cls, "_fields", None)
    return named if issubclass(cls, tuple) and isinstance(named, tuple) else None


def record(value: Any) -> Any:
    """Give a dataclass or named tuple as a dict of its fields, a dict as it is."""
    names = field_names(type(value))
    return value if names is None else {name: getattr(value, name, None) for name in names}
