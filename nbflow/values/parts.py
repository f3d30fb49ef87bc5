"""The arrays that a value was taken apart into, on their way to a file.

Numbers that do not compress stay where they are; everything else becomes one Arrow
table of a single row, whose cells are lists, for they differ in length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nbflow.values.plain import NotPlainError

if TYPE_CHECKING:
    import numpy as np

# The kinds of dtype whose bytes say all.
NUMBERS: Final = "biufcmM"
_BELOW_THIS_COMPRESS: Final = 1 << 16
_SAMPLE: Final = 1 << 13
_PAYS_BELOW: Final = 0.9


class Parts:
    """The arrays of a value, gathered while it is taken apart.

    Attributes
    ----------
    raw
        Arrays of numbers that are kept as they are, without copying them.
    packed
        Arrow arrays, to be compressed.

    Examples
    --------
    >>> import numpy as np
    >>> Parts().numbers(np.array([1, 2]))
    {'dtype': '<i8', 'packed': [0, 1]}
    """

    def __init__(self) -> None:
        self.raw: list[Any] = []
        self.packed: list[Any] = []

    def numbers(self, array: np.ndarray) -> dict[str, Any]:
        """Keep a one-dimensional array of numbers."""
        import numpy as np

        if array.dtype.kind not in NUMBERS:
            raise NotPlainError(f"{array.dtype} is no dtype of numbers")
        flat = np.ascontiguousarray(array).view(np.uint8)
        described = {"dtype": array.dtype.str}
        if not _pays(flat):
            self.raw.append(flat)
            return {**described, "raw": len(self.raw) - 1}
        return {**described, **self.arrow([_carrier(flat, array.dtype.itemsize)])}

    def arrow(self, chunks: Sequence[Any]) -> dict[str, Any]:
        """Keep an Arrow array that is in pieces."""
        import pyarrow as pa

        start = len(self.packed)
        for chunk in chunks:
            _check(chunk.type)
            offsets = pa.array([0, len(chunk)], pa.int64())
            self.packed.append(pa.LargeListArray.from_arrays(offsets, chunk))
        return {"packed": [start, len(self.packed)]}

    def stream(self) -> Any:
        """Give the table of what is to be compressed as an Arrow stream."""
        import pyarrow as pa

        names = [str(position) for position in range(len(self.packed))]
        return arrow_stream(pa.Table.from_arrays(self.packed, names=names))


def arrow_stream(table: Any) -> Any:
    """Write an Arrow table as a compressed stream, into one buffer.

    Examples
    --------
    >>> import pyarrow as pa
    >>> stream = arrow_stream(pa.table({"sales": [1, 2]}))
    >>> pa.ipc.open_stream(stream).read_all().num_rows
    2
    """
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _pays(flat: np.ndarray) -> bool:
    """Tell from samples whether compressing is worth its time."""
    import pyarrow as pa

    if flat.nbytes < _BELOW_THIS_COMPRESS:
        return True
    starts = range(0, flat.nbytes - _SAMPLE, flat.nbytes // 8)
    sizes = [
        pa.compress(pa.py_buffer(flat[start : start + _SAMPLE]), "lz4").size for start in starts
    ]
    return bool(sum(sizes) < _PAYS_BELOW * _SAMPLE * len(sizes))


def _carrier(flat: np.ndarray, itemsize: int) -> Any:
    import pyarrow as pa

    types = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}
    length = flat.nbytes // itemsize
    return pa.Array.from_buffers(
        types.get(itemsize, pa.binary(itemsize)), length, [None, pa.py_buffer(flat)]
    )


def _check(dtype: Any) -> None:
    if has_foreign_types(dtype):
        raise NotPlainError(f"the Arrow type {dtype} is known only where it is registered")


def has_foreign_types(dtype: Any) -> bool:
    """Tell whether an Arrow type needs code of the user's own to be read.

    Examples
    --------
    >>> import pyarrow as pa
    >>> has_foreign_types(pa.list_(pa.int8()))
    False
    """
    import pyarrow as pa

    if isinstance(dtype, pa.BaseExtensionType):
        name = str(getattr(dtype, "extension_name", ""))
        return not name.startswith(("arrow.", "pandas.")) or name == "arrow.py_extension_type"
    inner = [dtype.field(position).type for position in range(dtype.num_fields)]
    if pa.types.is_dictionary(dtype):
        inner.append(dtype.value_type)
    return any(map(has_foreign_types, inner))
