"""A value as bytes and back: what the store keeps, and the journal names by its hash.

The first codec that gives the very same value back is taken: strict JSON, Arrow, the
format of the library that the value is from, and pickle last. Only a pickle can run
code when it is read, so only a pickle needs trust.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from nbflow.errors import StoreError, quoted
from nbflow.values import plain
from nbflow.values.digest import digest
from nbflow.values.frames import put_together, taken_apart
from nbflow.values.outline import type_name
from nbflow.values.parts import Parts, arrow_stream, has_foreign_types
from nbflow.values.size import size_of
from nbflow.values.transfer import Parcel

Codec: TypeAlias = Literal["json", "pandas", "arrow", "polars", "numpy", "pickle"]

_MAGIC: Final = b"nbflow-payload 1"
_ALIGNED: Final = 64
_LENGTH: Final = 8
# Pickle is several times as fast, which matters only from here on.
_PLAIN: Final = 4_000_000


class _UnkeepableError(Exception):
    """A codec cannot give a value back exactly. Never reaches the user."""


@dataclass(frozen=True, eq=False)
class Payload:
    """A value as bytes, in pieces, so that large arrays are not copied.

    The pieces show the value's own memory: write them before it changes.

    Attributes
    ----------
    codec
        How the value is written. Of a ``pickle``, reading can run any code.
    chunks
        The bytes, in order.

    Examples
    --------
    >>> payload = encoded({"rows": 3})
    >>> payload.codec, payload.nbytes, len(payload.hash)
    ('json', 128, 64)
    """

    codec: Codec
    chunks: tuple[memoryview, ...]

    @property
    def nbytes(self) -> int:
        """How many bytes it has."""
        return sum(chunk.nbytes for chunk in self.chunks)

    @cached_property
    def hash(self) -> str:
        """The hash of its bytes, codec included: see `nbflow.values.digest`."""
        return digest(self.chunks)


def encoded(value: Any, *, limit: int | None = None) -> Payload:
    """Write a value as bytes, in the safest way that keeps it exactly.

    Parameters
    ----------
    limit
        How many bytes the value may take in memory, by estimate.

    Raises
    ------
    StoreError
        If the value is too large, or cannot be written at all.

    Examples
    --------
    >>> encoded([1, "two", (3.0,)]).codec
    'json'
    """
    if limit is not None:
        _check_size(value, limit)
    payload = _without_pickle(value)
    if payload is not None:
        return payload
    try:
        return _payload("pickle", *_write_pickle(value))
    except Exception as error:
        raise StoreError(
            f"a value of type {quoted(type_name(value))} cannot be kept: {_reason(error)}. Expected"
            " is what can be written to a file. Return data (a frame, an array, a list), not what"
            " is open or running; or keep no result of this step with checkpoint=False."
        ) from error


def _without_pickle(value: Any) -> Payload | None:
    """Write a value by the codec that it should have; None if that cannot keep it."""
    try:
        codec, write = _chosen(value)
        return _payload(codec, *write(value))
    except KeyboardInterrupt:
        raise
    # Why it cannot is of many kinds; a panic inside polars derives from BaseException.
    except BaseException:  # noqa: BLE001
        return None


def decoded(data: bytes | bytearray | memoryview, *, trusted: bool = False) -> Any:
    """Give the value that was written.

    Parameters
    ----------
    data
        The bytes. What is rebuilt may share their memory.
    trusted
        Whether a pickle is read, which can run any code.

    Raises
    ------
    StoreError
        If the bytes are none of a value, or a pickle that is not trusted.

    Examples
    --------
    >>> decoded(b"".join(encoded({"rows": 3}).chunks))
    {'rows': 3}
    """
    try:
        codec, about, parts = _opened(memoryview(data))
        read = _READERS[codec]
    except Exception as error:
        raise StoreError(
            f"{len(data):,} bytes cannot be read as a value: {_reason(error)}. Expected is a file"
            " that this version of nbflow, or an older one, has written. Run the step again."
        ) from error
    if codec == "pickle" and not trusted:
        raise StoreError(
            "a value is kept as a pickle, and reading a pickle can run any code. Expected is one"
            " that only you can have written: its folder is yours, and others cannot write there"
            " (chmod -R go-w). If you trust whoever can, read it with trusted=True."
        )
    try:
        return read(about, parts)
    except Exception as error:
        raise StoreError(
            f"a value that is kept as {quoted(codec)} cannot be rebuilt here: {_reason(error)}."
            " Expected are the packages and modules that it was made with. Install or import them,"
            " or run the step again."
        ) from error


def _check_size(value: Any, limit: int) -> None:
    estimate = size_of(value)
    if estimate > limit:
        raise StoreError(
            f"a value of type {quoted(type_name(value))} takes about {amount(estimate)}, and the"
            f" limit of the store is {amount(limit)}. Return less (fewer rows or columns, or"
            " the path of a file), raise the limit, or keep no result of this step with"
            " checkpoint=False."
        )


def amount(nbytes: int) -> str:
    """Say a number of bytes.

    Examples
    --------
    >>> amount(5_000_000_000)
    '5.0 GB'
    """
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:,.1f} MB"


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- the bytes: a header, then parts, each aligned ---


def _payload(codec: Codec, about: Any, parts: Sequence[Any]) -> Payload:
    views = [memoryview(part).cast("B") for part in parts]
    sizes = [view.nbytes for view in views]
    header = plain.written({"codec": codec, "about": about, "sizes": sizes})
    start = _MAGIC + len(header).to_bytes(_LENGTH, "little") + header
    chunks = [memoryview(start + _padding(len(start)))]
    for view in views:
        chunks += [view, memoryview(_padding(view.nbytes))]
    return Payload(codec, tuple(chunk for chunk in chunks if chunk.nbytes))


def _padding(size: int) -> bytes:
    return bytes(-size % _ALIGNED)


def _header(data: memoryview) -> tuple[dict[str, Any], int]:
    start = len(_MAGIC) + _LENGTH
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("they do not begin as a value does")
    length = int.from_bytes(data[len(_MAGIC) : start], "little")
    if start + length > data.nbytes:
        raise ValueError("they end too early")
    return plain.read(data[start : start + length]), start + length


def _opened(data: memoryview) -> tuple[str, Any, list[memoryview]]:
    header, end = _header(data)
    parts = []
    for size in header["sizes"]:
        start = end + -end % _ALIGNED
        end = start + size
        parts.append(data[start:end])
    if end + -end % _ALIGNED != data.nbytes:
        raise ValueError("they end too early or too late")
    return header["codec"], header["about"], parts


# --- the codecs: each gives a plain description and parts ---

_Written: TypeAlias = tuple[Any, Sequence[Any]]


def _chosen(value: Any) -> tuple[Codec, Callable[[Any], _Written]]:
    cls = type(value)
    package = cls.__module__.partition(".")[0]
    library: Any = sys.modules.get(package)
    if package == "pandas" and (
        cls in (library.DataFrame, library.Series) or issubclass(cls, library.Index)
    ):
        return "pandas", _write_pandas
    if package == "pyarrow":
        return "arrow", _write_arrow
    if package == "polars":
        return "polars", _write_polars
    if package == "numpy" and cls is library.ndarray:
        return "numpy", _write_numpy
    return "json", _write_plain


def _write_plain(value: Any) -> _Written:
    if size_of(value) > _PLAIN:
        raise _UnkeepableError("too large to be looked at member by member")
    return value, []


def _read_plain(about: Any, _: Sequence[memoryview]) -> Any:
    return about


def _write_pandas(value: Any) -> _Written:
    parts = Parts()
    about = taken_apart(value, parts)
    return about, [parts.stream(), *parts.raw]


def _read_pandas(about: Any, parts: Sequence[memoryview]) -> Any:
    return put_together(about, parts[1:], parts[0])


def _write_arrow(value: Any) -> _Written:
    import pyarrow as pa

    kind = type(value).__name__
    match value:
        case pa.Table():
            table = value
        case pa.RecordBatch():
            table = pa.Table.from_batches([value])
        case pa.ChunkedArray():
            table = pa.table([value], names=["value"])
        case pa.Array():
            kind = "Array"
            table = pa.table([value], names=["value"])
        case _:
            raise _UnkeepableError(kind)
    if any(has_foreign_types(field.type) for field in table.schema):
        raise _UnkeepableError("an extension type")
    return {"kind": kind}, [arrow_stream(table)]


def _read_arrow(about: Any, parts: Sequence[memoryview]) -> Any:
    import pyarrow as pa

    table = pa.ipc.open_stream(pa.py_buffer(parts[0])).read_all()
    match about["kind"]:
        case "RecordBatch":
            batches = table.to_batches()
            return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        case "ChunkedArray":
            return table.column(0)
        case "Array":
            chunks = table.column(0).chunks
            return chunks[0] if chunks else pa.array([], table.schema.field(0).type)
    return table


def _write_polars(value: Any) -> _Written:
    import polars as pl

    kind = type(value).__name__
    if type(value) not in (pl.DataFrame, pl.Series):
        raise _UnkeepableError(kind)
    df = value.to_frame() if kind == "Series" else value
    # Not every type of polars is one of Arrow: its own reader says which come back.
    if _polars_frame(_polars_stream(df.head(0))).schema != df.schema:
        raise _UnkeepableError("a dtype")
    return {"kind": kind, "height": df.height}, [_polars_stream(df)]


def _polars_stream(df: Any) -> memoryview:
    import polars as pl

    with io.BytesIO() as file:
        df.write_ipc_stream(file, compression="lz4", compat_level=pl.CompatLevel.newest())
        return memoryview(file.getvalue())


def _polars_frame(data: memoryview) -> Any:
    import polars as pl

    return pl.read_ipc_stream(io.BytesIO(data))


def _read_polars(about: Any, parts: Sequence[memoryview]) -> Any:
    df = _polars_frame(parts[0])
    return df.to_series() if about["kind"] == "Series" else df


def _write_numpy(value: Any) -> _Written:
    import numpy as np

    dtype = value.dtype
    if dtype.hasobject or dtype.metadata:
        raise _UnkeepableError("a dtype")
    described = np.lib.format.dtype_to_descr(dtype)
    if not _same_dtype(dtype, np.lib.format.descr_to_dtype(described)):
        raise _UnkeepableError("a dtype")
    order: Literal["C", "F"] = (
        "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    )
    # Not ascontiguousarray(), which would give what has no dimension one.
    flat = np.asarray(value, order=order).reshape(-1, order=order)
    # As bytes: neither dates nor records show their memory to Python.
    part = flat.view(np.uint8) if dtype.itemsize and flat.size else b""
    about = {"dtype": described, "shape": value.shape, "order": order}
    return about, [part]


def _same_dtype(one: Any, other: Any) -> bool:
    if one != other or one.isalignedstruct != other.isalignedstruct or one.metadata:
        return False
    if one.type is not other.type:
        return False
    if one.names is None:
        return one.base is one or _same_dtype(one.base, other.base)
    fields = zip(one.fields.values(), other.fields.values(), strict=True)
    return all(_same_dtype(mine[0], theirs[0]) for mine, theirs in fields)


def _read_numpy(about: Any, parts: Sequence[memoryview]) -> Any:
    import numpy as np

    dtype = np.lib.format.descr_to_dtype(about["dtype"])
    if not parts[0].nbytes:
        return np.zeros(about["shape"], dtype=dtype, order=about["order"])
    array = np.frombuffer(parts[0], dtype=dtype)
    return array.reshape(about["shape"], order=about["order"])


def _write_pickle(value: Any) -> _Written:
    parcel = Parcel.of(value)
    return None, [parcel.data, *parcel.buffers]


def _read_pickle(_: Any, parts: Sequence[memoryview]) -> Any:
    import pickle

    data, *buffers = parts
    return pickle.loads(data, buffers=buffers)


_READERS: Final[dict[str, Any]] = {
    "json": _read_plain,
    "pandas": _read_pandas,
    "arrow": _read_arrow,
    "polars": _read_polars,
    "numpy": _read_numpy,
    "pickle": _read_pickle,
}
