"""Plain values as strict JSON and back, exactly.

What JSON has no word for is an object with one key that starts with ``$``. What
cannot be kept exactly is refused: subclasses, values that contain themselves or
hold one list in two places, and whatever is nested deeply.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import pathlib
import struct
import sys
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

_DEEPEST: Final = 100
# What every JSON reader takes; and Python itself refuses to parse thousands of digits.
_LONGEST_INT: Final = 64
_SIMPLE_DTYPES: Final = "biufcmM"


class NotPlainError(Exception):
    """A value cannot be kept exactly as plain data. Never reaches the user."""


def written(value: Any) -> bytes:
    """Write a plain value as JSON.

    Raises
    ------
    NotPlainError
        If reading would not give the very same value.

    Examples
    --------
    >>> written({"a": (1, 2.5)})
    b'{"a":{"$tuple":[1,2.5]}}'
    """
    tagged = _Writer().tagged(value, _DEEPEST)
    return json.dumps(tagged, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def read(data: bytes | bytearray | memoryview) -> Any:
    """Read what `written` wrote.

    Raises
    ------
    Exception
        If the text is anything else; the kinds are many.

    Examples
    --------
    >>> read(b'{"a":{"$tuple":[1,2.5]}}')
    {'a': (1, 2.5)}
    """
    return json.loads(str(data, "utf-8"), object_hook=_untagged)


class _Writer:
    """Rewrite a value in the words of JSON.

    Parameters
    ----------
    seen
        What may change in place and was met before, by its address: met again, it is
        one object in two places, which JSON would make two.
    """

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}

    def tagged(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if value is None or cls is bool:
            return value
        if cls is str:
            return value if value.isascii() else _text(value)
        if cls is int:
            return value if value.bit_length() < _LONGEST_INT else {"$int": hex(value)}
        if cls is float:
            # Only a finite number less itself is zero.
            return value if value - value == 0 else {"$float": _bits(value)}
        if depth == 0:
            raise NotPlainError("it is nested too deeply")
        if cls is list:
            self._once(value)
            return [self.tagged(member, depth - 1) for member in value]
        if cls is dict:
            self._once(value)
            return self._dict(value, depth - 1)
        if cls is tuple:
            return {"$tuple": [self.tagged(member, depth - 1) for member in value]}
        if cls is set or cls is frozenset:
            if cls is set:
                self._once(value)
            return {f"${cls.__name__}": self._sorted(value, depth - 1)}
        return self._atom(value, cls, depth - 1)

    def _once(self, value: Any) -> None:
        if id(value) in self.seen:
            raise NotPlainError("one object is in two places of it")
        # Held, so that nothing else gets its address.
        self.seen[id(value)] = value

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        keys = value.keys()
        if all(type(key) is str for key in keys) and not _is_tag(value):
            tagged = {key: self.tagged(member, depth) for key, member in value.items()}
            if all(key.isascii() or type(_text(key)) is str for key in keys):
                return tagged
            return {"$dict": [[_text(key), member] for key, member in tagged.items()]}
        pairs = value.items()
        return {
            "$dict": [[self.tagged(key, depth), self.tagged(each, depth)] for key, each in pairs]
        }

    def _sorted(self, value: Any, depth: int) -> list[Any]:
        # The same set has the same text, whatever the order in which it is walked.
        return sorted((self.tagged(member, depth) for member in value), key=json.dumps)

    def _atom(self, value: Any, cls: type, depth: int) -> Any:
        if cls is bytearray:
            self._once(value)
        told = _ATOMS.get(cls)
        if told is not None:
            name, write = told
            return {f"${name}": self.tagged(write(value), depth)}
        missing = _missing(value)
        if missing is not None:
            return {"$missing": missing}
        if _is_numpy_text(cls):
            return {f"$numpy.{cls.__name__}": self.tagged(value[:], depth)}
        if _is_number(value, cls):
            return {"$numpy": [value.dtype.str, _base64(value.tobytes())]}
        raise NotPlainError(f"{cls.__name__} is no plain value")


def _missing(value: Any) -> str | None:
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    return "NA" if value is pandas.NA else "NaT" if value is pandas.NaT else None


def _read_missing(name: str) -> Any:
    import pandas as pd

    return {"NA": pd.NA, "NaT": pd.NaT}[name]


def _is_numpy_text(cls: type) -> bool:
    # Its dtype, and so its pickle, forgets about zeros at the end.
    numpy = sys.modules.get("numpy")
    return numpy is not None and cls in (numpy.str_, numpy.bytes_)


def _read_numpy_str(text: str) -> Any:
    import numpy as np

    return np.str_(text)


def _read_numpy_bytes(data: bytes) -> Any:
    import numpy as np

    return np.bytes_(data)


def _is_number(value: Any, cls: type) -> bool:
    numpy = sys.modules.get("numpy")
    if numpy is None or not issubclass(cls, numpy.generic):
        return False
    # A subclass of the user's own is no scalar that a dtype could name.
    return value.dtype.kind in _SIMPLE_DTYPES and cls is value.dtype.type


def _is_tag(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("$")


def _text(value: str) -> Any:
    try:
        value.encode()
    except UnicodeEncodeError:
        # Two halves of a character side by side would be read as the whole one.
        return {"$str": _base64(value.encode("utf-8", "surrogatepass"))}
    return value


def _bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _datetime(value: dt.datetime) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo]


def _read_datetime(parts: list[Any]) -> dt.datetime:
    text, fold, zone = parts
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _time(value: dt.time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, value.tzinfo]


def _read_time(parts: list[Any]) -> dt.time:
    text, fold, zone = parts
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _zone(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None or zoneinfo.ZoneInfo(value.key) is not value:
        raise NotPlainError("a time zone has no name")
    return value.key


def _offset(value: dt.timezone) -> list[Any]:
    # The arguments that pickle would take.
    return list(value.__getinitargs__())  # type: ignore[attr-defined]


def _uuid(value: uuid.UUID) -> list[Any]:
    return [value.hex, value.is_safe.value]


def _read_uuid(parts: list[Any]) -> uuid.UUID:
    return uuid.UUID(hex=parts[0], is_safe=uuid.SafeUUID(parts[1]))


def _read_numpy(parts: list[Any]) -> Any:
    import numpy as np

    dtype = np.dtype(parts[0])
    if dtype.kind not in _SIMPLE_DTYPES:
        raise ValueError(f"{parts[0]!r} is no dtype of a number")
    return np.frombuffer(base64.b64decode(parts[1]), dtype=dtype)[0]


_ATOMS: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    bytes: ("bytes", _base64),
    bytearray: ("bytearray", _base64),
    complex: ("complex", lambda value: [value.real, value.imag]),
    range: ("range", lambda value: [value.start, value.stop, value.step]),
    dt.datetime: ("datetime", _datetime),
    dt.date: ("date", dt.date.isoformat),
    dt.time: ("time", _time),
    dt.timedelta: (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
    ),
    dt.timezone: ("timezone", _offset),
    zoneinfo.ZoneInfo: ("zone", _zone),
    decimal.Decimal: ("decimal", str),
    uuid.UUID: ("uuid", _uuid),
    **{
        cls: (f"path.{cls.__name__}", str)
        for cls in (
            pathlib.PosixPath,
            pathlib.WindowsPath,
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
        )
    },
}
_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "$int": lambda text: int(text, 16),
    "$float": lambda text: struct.unpack(">d", bytes.fromhex(text))[0],
    "$str": lambda text: base64.b64decode(text).decode("utf-8", "surrogatepass"),
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": dict,
    "$bytes": base64.b64decode,
    "$bytearray": lambda text: bytearray(base64.b64decode(text)),
    "$complex": lambda parts: complex(*parts),
    "$range": lambda parts: range(*parts),
    "$datetime": _read_datetime,
    "$date": dt.date.fromisoformat,
    "$time": _read_time,
    "$timedelta": lambda parts: dt.timedelta(*parts),
    "$timezone": lambda parts: dt.timezone(*parts),
    "$zone": zoneinfo.ZoneInfo,
    "$decimal": decimal.Decimal,
    "$uuid": _read_uuid,
    "$numpy": _read_numpy,
    "$numpy.str_": _read_numpy_str,
    "$numpy.bytes_": _read_numpy_bytes,
    "$missing": _read_missing,
    "$path.PosixPath": pathlib.PosixPath,
    "$path.WindowsPath": pathlib.WindowsPath,
    "$path.PurePosixPath": pathlib.PurePosixPath,
    "$path.PureWindowsPath": pathlib.PureWindowsPath,
}


def _untagged(value: dict[str, Any]) -> Any:
    return _READERS[next(iter(value))](*value.values()) if _is_tag(value) else value
