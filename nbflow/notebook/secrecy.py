"""What is shown to nobody: what parameters named as secrets are given, wherever it stands."""

from __future__ import annotations

import inspect
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from nbflow.values.outline import outline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbflow.algebra.expression import Node

HIDDEN: Final = "•••"
_NAMES: Final = ("password", "passwd", "token", "secret", "key", "credential")
_NAMED: Final = rf"[\w-]*(?:{'|'.join(_NAMES)})[\w-]*"
_QUOTED: Final = r"""'(?:\\.|[^'\\])*(?:'|$)|"(?:\\.|[^"\\])*(?:"|$)"""
# As objects write themselves, and as code gives a value to a name.
_WRITTEN: Final = re.compile(
    rf"""(?i)({_NAMED}['"]?\s*[=:]\s*)((?:[rbuf]{{0,2}}(?:{_QUOTED}))|[^\s,;)\]}}]+)"""
)
_CODED: Final = re.compile(
    rf"""(?ims)({_NAMED}['"]?\]?\s*(?::[^=\n"'(){{}}]*)?[=:]\s*[rbuf]{{0,2}})"""
    rf"""(\"\"\".*?\"\"\"|'''.*?'''|{_QUOTED})"""
)
_IN_ADDRESS: Final = re.compile(r"(://[^\s/:@'\"]*:)[^\s/@'\"]+@")
_MOST_MEMBERS, _DEPTH = 50, 4
# What is shorter stands in code for many other things.
_LEAST: Final = 4


class Hidden:
    """What stands in the place of a secret."""

    def __repr__(self) -> str:
        return HIDDEN


def is_secret(name: str) -> bool:
    """Tell whether what a name is given is to be shown to nobody.

    Examples
    --------
    >>> is_secret("api_token"), is_secret("path")
    (True, False)
    """
    return any(each in name.casefold() for each in _NAMES)


def said(name: str, value: Any, limit: int) -> str:
    """Say what a name is given, in one line, without what is secret in it.

    Examples
    --------
    >>> said("n", {"day": 1, "password": "hush"}, 80), said("token", 4, 80)
    ("{'day': 1, 'password': •••}", '•••')
    >>> said("url", "postgres://me:hush@host/db", 80)
    "'postgres://me:•••@host/db'"
    """
    if is_secret(name):
        return HIDDEN
    found = outline(_without(value, _DEPTH), limit)
    return _IN_ADDRESS.sub(rf"\1{HIDDEN}@", _WRITTEN.sub(rf"\1{HIDDEN}", found))


def _without(value: Any, depth: int) -> Any:
    """Give a value with something else in the place of what is secret in its containers."""
    if type(value) not in (dict, list, tuple) or depth == 0:
        return value
    if type(value) is not dict:
        return type(value)(_without(each, depth - 1) for each in islice(value, _MOST_MEMBERS))
    return {
        key: Hidden() if type(key) is str and is_secret(key) else _without(each, depth - 1)
        for key, each in islice(value.items(), _MOST_MEMBERS)
    }


def code(text: str, node: Node) -> str:
    r"""Give source code without the secrets in it, as far as they can be known by their names.

    Examples
    --------
    >>> from nbflow import step
    >>> node = (4 >> step(abs)).topology.nodes[0]
    >>> print(code("def load(n, password='hush'):\n    token: str = 'x'; n = 'y'", node))
    def load(n, password=•••):
        token: str = •••; n = 'y'
    """
    text = _IN_ADDRESS.sub(rf"\1{HIDDEN}@", _CODED.sub(rf"\1{HIDDEN}", text))
    for each in _values(node):
        if isinstance(each, str) and len(each) >= _LEAST:
            text = text.replace(each, HIDDEN)
    return text


def _values(node: Node) -> Iterator[Any]:
    """Go through the secrets that a step is given, and those that it has by default."""
    for name, value in constants(node):
        if is_secret(name):
            yield value
    for each in _parameters(node.call.definition.fn):
        if is_secret(each.name):
            yield each.default


def constants(node: Node) -> Iterator[tuple[str, Any]]:
    """Go through the constants that a step is given, each with the name of its parameter."""
    from nbflow.algebra.expression import Const

    parameters = _parameters(node.call.definition.fn)
    for at, part in enumerate(node.args):
        if type(part) is Const:
            yield _name_of(at, parameters), part.value
    for key, part in node.kwargs:
        if type(part) is Const:
            yield key, part.value


def secret_constants(node: Node) -> frozenset[int]:
    """Give the identities of the constants that flow into a parameter named as a secret."""
    from nbflow.algebra.expression import Const, leaves

    parameters = _parameters(node.call.definition.fn)
    named = [(_name_of(at, parameters), part) for at, part in enumerate(node.args)]
    parts = (part for name, part in [*named, *node.kwargs] if is_secret(name))
    return frozenset(id(leaf) for part in parts for leaf in leaves(part) if type(leaf) is Const)


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except Exception:  # noqa: BLE001 - a function may be anything
        return []


def _name_of(at: int, parameters: list[inspect.Parameter]) -> str:
    for number, each in enumerate(parameters):
        if each.kind is each.VAR_POSITIONAL or (
            number == at and each.kind is not each.KEYWORD_ONLY
        ):
            return each.name
    return ""
