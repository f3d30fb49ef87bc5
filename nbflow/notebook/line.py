"""What the user has typed after a magic: words, what stands for values, and names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from IPython.core.error import UsageError
from IPython.utils.text import DollarFormatter

from nbflow.errors import did_you_mean, quoted

# A value may hold blanks, quotes and braces, which mean something else in the rest of a line.
_VALUE = re.compile(r"(?P<before>.*\s--completed)[\s=]+(?P<value>.*?)(?P<after>\s--store\b.*)?$")


def split(line: str, names: Mapping[str, Any]) -> list[str]:
    """Split a line into words.

    What is in braces, or after a dollar sign, is replaced by the value that it names, as
    in any magic; but not in the value that a step is said to have: that is taken as it
    is, up to ``--store`` or the end.

    Parameters
    ----------
    line
        What was typed.
    names
        The user's names.

    Raises
    ------
    UsageError
        If a quote is left open.

    Examples
    --------
    >>> split("resolve r charge --completed {'id': 7}", {})
    ['resolve', 'r', 'charge', '--completed', "{'id': 7}"]
    """
    found = _VALUE.match(line) if line.split()[:1] == ["resolve"] else None
    if found is None:
        return _words(line, names)
    before, value, after = found["before"], found["value"].strip(), found["after"] or ""
    return [*_words(before, names), *([value] if value else []), *_words(after, names)]


def _words(text: str, names: Mapping[str, Any]) -> list[str]:
    with suppress(Exception):  # then it stays as it is, as IPython has it
        text = DollarFormatter().vformat(text, [], dict(names))
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"%flow: {error}; quotes come in pairs") from None


def named(text: str, names: Mapping[str, Any], kinds: tuple[type, ...], what: str) -> Any:
    """Give what a name or an expression of the user's stands for.

    Parameters
    ----------
    text, names
        The expression, and the user's names.
    kinds, what
        What it must be, and that in words.

    Raises
    ------
    UsageError
        If it is something else.
    """
    try:
        found = eval(text, dict(names))  # noqa: S307 - the user's own expression, in the user's kernel
    except Exception:  # noqa: BLE001 - whatever it is, the line names nothing
        found = None
    if isinstance(found, kinds):
        return found
    known = names_of(names, kinds)
    kind = "is not defined" if found is None else f"is a {type(found).__name__}, not a {what}"
    raise UsageError(f"%flow: {quoted(text)} {kind}; {did_you_mean(text, known)}")


def names_of(names: Mapping[str, Any], kinds: type | tuple[type, ...]) -> Sequence[str]:
    """List the user's names of some kinds of things."""
    return sorted(
        name for name, each in names.items() if isinstance(each, kinds) and not name.startswith("_")
    )


def value_or_text(text: str, names: Mapping[str, Any]) -> Any:
    """Give the value of an expression; what is none is text."""
    try:
        return eval(text, dict(names))  # noqa: S307 - the user's own expression, in the user's kernel
    except Exception:  # noqa: BLE001 - what is no expression is text
        return text


def value_of(text: str, names: Mapping[str, Any]) -> Any:
    """Give the value of an expression.

    Raises
    ------
    UsageError
        If it has none: a slip of the pen must not become a result.
    """
    try:
        return eval(text, dict(names))  # noqa: S307 - the user's own expression, in the user's kernel
    except Exception as error:  # noqa: BLE001 - whatever it is, there is no value
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(
            f"%flow: {quoted(text)} has no value ({said}); expected is a Python expression: a text "
            f"stands in quotes"
        ) from None
