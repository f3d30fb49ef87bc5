"""What a function does, as a digest that is the same in every later process.

It stays when a cell is run again, a comment or the docstring is edited, or the kernel
starts anew, and changes with all that the function does: its code, defaults and
closed-over values, and the functions, classes and constants of the user's own that it
names. Bytecode differs between minor versions of Python, and so does the digest.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from nbflow.sketch.anatomy import Anatomy, View, anatomy_of, plain_bytes
from nbflow.values.outline import type_name

_SIZE: Final = 16
# Members of a circle are told apart by their neighbours, and theirs, so far.
_ROUNDS: Final = 4


class Code(NamedTuple):
    """What a function or value is.

    Attributes
    ----------
    digest
        The same for what does the same.
    unknown
        The parts that could not be looked into, which only their types stand for.
    """

    digest: str
    unknown: tuple[str, ...] = ()


def code_of(value: Any) -> Code:
    """Give the digest of a function, or of any value.

    Functions and classes of the user's own are followed as far as they lead. What is
    installed counts by its name and version. A part that is found only by
    ``getattr()`` with a name that is computed, or by an import of such a name, is not
    seen.

    Examples
    --------
    >>> def double(x): return 2 * x
    >>> def twice(x):
    ...     "Another name, and words about it."
    ...     return 2 * x
    >>> code_of(double) == code_of(twice), code_of(double) == code_of(lambda x: 3 * x)
    (True, False)
    """
    return Codes().of(value)


class _Part:
    """One object, on the way to its digest.

    Attributes
    ----------
    number
        When it was met first; `low` is the first object of a circle that it is in.
    inner
        What it holds: bytes, or the objects themselves.
    """

    __slots__ = ("digest", "held", "inner", "low", "name", "number", "ordered", "own", "unknown")

    def __init__(self, held: Any, name: str) -> None:
        self.held = held
        self.name = name
        self.digest: bytes | None = None
        self.unknown: frozenset[str] = frozenset()
        self.inner: list[bytes | _Part] = []
        self.own = b""
        self.ordered = True
        self.number = self.low = -1


class Codes:
    """The digests of many things, each part of them looked at once.

    Nothing may change meanwhile: it is for the things of one flow, as they are now.
    """

    def __init__(self) -> None:
        self._parts: dict[Any, _Part] = {}

    def of(self, value: Any, name: str = "") -> Code:
        """Give the digest of a function or a value.

        Parameters
        ----------
        name
            What it is called if it cannot be looked into.
        """
        token = _token(value)
        if token is not None:
            return Code(blake2b(token, digest_size=_SIZE).hexdigest())
        part = self._part(value, name)
        if part.digest is None:
            self._settle(part)
        assert part.digest is not None
        return Code(part.digest.hex(), tuple(sorted(part.unknown)))

    def _part(self, value: Any, name: str) -> _Part:
        # A view is made anew each time, of a module that stays.
        key = (id(value.module), value.names) if type(value) is View else id(value)
        known = self._parts.get(key)
        if known is None:
            known = self._parts[key] = _Part(value, name)
        return known

    def _open(self, part: _Part) -> None:
        try:
            found = anatomy_of(part.held)
        except Exception:  # noqa: BLE001 - classes of the user's are asked
            said = f"{part.name}, a {type_name(part.held)}" if part.name else type_name(part.held)
            part.unknown = frozenset({said})
            found = Anatomy(("unknown", type_name(part.held)))
        part.own = marshal.dumps(found.own, 2)
        part.ordered = found.ordered
        names = found.names or (part.name,) * len(found.parts)
        for each, name in zip(found.parts, names, strict=True):
            token = _token(each)
            part.inner.append(self._part(each, name) if token is None else token)

    def _settle(self, root: _Part) -> None:
        """Give digests to an object and all that it leads to, circles as a whole.

        These are the strongly connected components of Tarjan, found without recursion:
        a chain of any length will do.
        """
        count = 0
        line: list[_Part] = []
        stack: list[tuple[_Part, int]] = [(root, 0)]
        while stack:
            part, at = stack.pop()
            if part.number < 0:
                part.number = part.low = count
                count += 1
                line.append(part)
                self._open(part)
            for position in range(at, len(part.inner)):
                inner = part.inner[position]
                if isinstance(inner, bytes) or inner.digest is not None:
                    continue
                if inner.number < 0:
                    stack += [(part, position), (inner, 0)]
                    break
                part.low = min(part.low, inner.low)
            else:
                if part.low == part.number:
                    circle = [line.pop()]
                    while circle[-1] is not part:
                        circle.append(line.pop())
                    _finish(circle)


def _token(value: Any) -> bytes | None:
    try:
        return plain_bytes(value)
    except Exception:  # noqa: BLE001 - the class of a class may refuse to be compared
        return None


def _finish(circle: Sequence[_Part]) -> None:
    """Give digests to objects that lead to one another, or to one alone."""
    unknown = frozenset().union(*(part.unknown for part in circle))
    inside = set(map(id, circle))
    for part in circle:
        for inner in part.inner:
            if isinstance(inner, _Part):
                unknown |= inner.unknown
    digests = {id(part): _mixed(part, inside, {}) for part in circle}
    if len(circle) > 1 or any(each is circle[0] for each in circle[0].inner):
        whole = b"".join(sorted(digests.values()))
        for _ in range(min(len(circle), _ROUNDS)):
            digests = {id(part): _mixed(part, inside, digests) for part in circle}
        digests = {key: _hash(each + whole) for key, each in digests.items()}
    for part in circle:
        part.digest, part.unknown = digests[id(part)], unknown
        part.inner = []


def _mixed(part: _Part, inside: set[int], known: dict[int, bytes]) -> bytes:
    found = []
    for inner in part.inner:
        if isinstance(inner, bytes):
            found.append(b"=" + inner)
        elif id(inner) in inside:
            found.append(b"o" + known.get(id(inner), b""))
        else:
            assert inner.digest is not None
            found.append(b"#" + inner.digest)
    if not part.ordered:
        found.sort()
    return _hash(marshal.dumps((part.own, found), 2))


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SIZE).digest()
