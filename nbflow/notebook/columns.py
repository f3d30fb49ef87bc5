"""Text as a terminal shows it: how many columns it takes, and what its encoding cannot say."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# What stands in where a terminal has no such sign; each as wide as the sign itself.
_PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "○": ".",
        "◐": "*",
        "↻": "~",
        "✓": "+",
        "≡": "=",
        "✗": "x",
        "–": "-",
        "⊘": "/",
        "↶": "<",
        "◇": "?",
        "×": "x",
        "·": ",",
        "…": "~",
        "←": "<",
        "→": ">",
        "├": "|",
        "│": "|",
        "└": "`",
        "─": "-",
        "━": "#",
        "•": "*",
        "\N{MINUS SIGN}": "-",
    }
)


def wide(text: str) -> int:
    r"""Say how many columns a text takes.

    Examples
    --------
    >>> wide("clean"), wide("数据"), wide("e\u0301")
    (5, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_wide, text))


def _wide(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def fitted(text: str, columns: int) -> str:
    """Cut a text that takes more columns than there are.

    Examples
    --------
    >>> fitted("extract", 5), fitted("数据清洗", 5), fitted("ok", 5)
    ('extr…', '数据…', 'ok')
    """
    if wide(text) <= columns:
        return text
    taken, kept = 1, 0
    for sign in text:
        taken += _wide(sign)
        if taken > columns:
            break
        kept += 1
    return text[:kept] + "…" if columns > 0 else ""


def padded(text: str, columns: int) -> str:
    """Fill a text up with spaces."""
    return text + " " * max(0, columns - wide(text))


def sayable(text: str, encoding: str) -> str:
    """Put signs that a terminal can show in the place of those that it cannot.

    Examples
    --------
    >>> sayable("├─ ✓ clean × 3 数", "ascii"), sayable("✓ × 3", "latin-1")
    ('|- + clean x 3 ??', '+ × 3')
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_said(sign, encoding) for sign in text)
    except LookupError:
        return sayable(text, "ascii")
    return text


def _said(sign: str, encoding: str) -> str:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return _PLAIN.get(sign, "?" * _wide(sign))
    return sign
