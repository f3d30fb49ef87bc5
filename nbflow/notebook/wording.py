"""How names, counts, sizes and times are put into words, the same everywhere."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

# Emoji and several scripts need these two joiners; every other sign that is not
# printed would let a name pretend to be another, so it is spelled out.
_JOINERS = frozenset("\u200c\u200d")
_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}")
_MOMENT = re.compile(
    r"\b\d{2}:\d{2}:\d{2}\b|(?<=process )\d+ on \S*\w|\b(?:tcp|tls|ucx|inproc)://\S*\w"
)
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_SHAPED = ("pandas", "numpy", "polars", "pyarrow")
_NAME, _MOST_NAMED = 48, 6
_SPELLED = (bool, int, float, type(None))


def printable(text: str, limit: int | None = None) -> str:
    r"""Put any text on one line of signs that can be seen.

    Parameters
    ----------
    text
        What the user wrote.
    limit
        How long the result may be; the middle is left out, because names differ in
        their ends.

    Examples
    --------
    >>> printable("two\nlines")
    'two\\nlines'
    >>> printable("a" * 30 + "_2", 12)
    'aaaaaaa…aa_2'
    """
    if limit is not None and len(text) > 4 * limit:
        text = text[: 2 * limit] + text[-2 * limit :]
    if not text.isprintable():
        text = "".join(map(_visible, text))
    return text if limit is None else _shortened(text, limit)


def _visible(sign: str) -> str:
    if sign.isprintable() or sign in _JOINERS:
        return sign
    if sign.isspace() and sign not in "\t\r\n\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029":
        return " "
    return sign.encode("unicode_escape").decode("ascii")


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}…{text[-tail:]}"


def paragraph(text: str, limit: int) -> str:
    r"""Keep the lines of a text, and nothing else that cannot be seen.

    What is too long loses its beginning: the end of a log or a traceback says most.

    Examples
    --------
    >>> paragraph("\x1b[31mred\x1b[0m\nplain", 100)
    'red\nplain'
    """
    dropped = max(0, len(text) - limit)
    kept = _ANSI.sub("", text[dropped:]).replace("\r\n", "\n")
    if not kept.replace("\n", "").isprintable():
        kept = "".join(each if each in "\n\t" else _visible(each) for each in kept)
    return f"… {count(dropped)} characters …\n{kept}" if dropped else kept


def without_addresses(text: str) -> str:
    """Leave out memory addresses, which differ in every run.

    Examples
    --------
    >>> without_addresses("<object at 0x7f0a12bc>")
    '<object at 0x…>'
    """
    return _ADDRESS.sub("0x…", text)


def timeless(text: str) -> str:
    """Leave out what nbflow itself says differently in every run: when, and in which process.

    Examples
    --------
    >>> timeless("begun at 14:03:07 by process 81 on lab")
    'begun at … by process …'
    """
    return _MOMENT.sub("…", without_addresses(text))


def count(number: int) -> str:
    """Write a whole number so that thousands can be told.

    Examples
    --------
    >>> count(1204)
    '1,204'
    """
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Write a number of things.

    Examples
    --------
    >>> counted(1, "step"), counted(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], limit: int = _NAME) -> str:
    """Write some names, and how many more there are.

    Parameters
    ----------
    names
        Which.
    limit
        How long each may be.

    Examples
    --------
    >>> listed(["a", "b"]), listed(["load"] * 8)
    ('a, b', 'load, load, load, load, load, load and 2 more')
    """
    shown = ", ".join(printable(name, limit) for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {count(more)} more" if more > 0 else shown


def dimensions(rows: int | None, columns: int | None) -> str:
    """Write how large a table is, or nothing where there is none.

    Examples
    --------
    >>> dimensions(1204, 9), dimensions(7, None), dimensions(None, None)
    ('1,204 × 9', '7 rows', '')
    """
    if rows is None:
        return ""
    return counted(rows, "row") if columns is None else f"{count(rows)} × {count(columns)}"


def duration(seconds: float | None) -> str:
    """Write a time as a person would say it.

    Examples
    --------
    >>> [duration(each) for each in (0.0004, 0.031, 1.24, 61, 7500)]
    ['<1 ms', '31 ms', '1.2 s', '1 min 01 s', '2 h 05 min']
    """
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "<1 ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{count(minutes // 60)} h {minutes % 60:02} min"


def size(number: int | None) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> [size(each) for each in (512, 1536, 73_400_320)]
    ['512 B', '1.5 kB', '73 MB']
    """
    if number is None:
        return ""
    value, power = float(number), 0
    while value >= 999.5 and power < len(_UNITS) - 1:
        value, power = value / 1000, power + 1
    return (
        f"{value:.1f} {_UNITS[power]}" if power and value < 9.95 else f"{value:.0f} {_UNITS[power]}"
    )


def described(value: Any) -> str:
    """Say what a constant is without computing anything, and without its contents.

    A text may be a password, and a picture is saved with the notebook.

    Examples
    --------
    >>> described(4), described("secret"), described([1, 2])
    ('4', 'str', 'list of 2')
    """
    kind = type(value)
    if kind in _SPELLED:
        return repr(value) if kind is not int or value.bit_length() < 64 else "int"
    if kind in (list, tuple, dict):
        return f"{kind.__name__} of {count(len(value))}"
    if str(kind.__module__).split(".")[0] in _SHAPED:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(type(each) is int for each in shape):
            rows, columns = (*shape, None, None)[:2]
            return f"{kind.__name__} {dimensions(rows, columns)}".rstrip()
    return kind.__name__
