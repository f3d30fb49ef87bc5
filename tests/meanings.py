"""What random flows mean, by plain recursion that knows nothing of nbflow.

A flow is described as a tree of plain data. Some trees stand for a value; others are
open, and stand for what is done with a value that flows in: the arms of a branch, the
body of a map. `Meaning` computes the value of a tree and counts the calls on the way.
A step that is skipped gives `ABSENT`, one that fails where failures are put aside gives
`FAILED`, and the rules for both are written here once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from zlib import crc32


@dataclass(frozen=True)
class Tree:
    """One node of a description.

    Attributes
    ----------
    kind
        A value: ``const leaf list tuple dict then fan nest map upmap starmap chunks arg
        after param chain group shared through mapped mapflow chunked sum crossing``; or
        what is done with one: ``step paired row split choose switch each zip pieces
        parts over behind total``.
    uids
        The numbers of the steps that it places.
    children
        What it is made of.
    data
        A constant, the keys of a dict, the shape of a fan-out, or how it is done.
    """

    kind: str
    uids: tuple[int, ...] = ()
    children: tuple[Tree, ...] = ()
    data: Any = None

    @property
    def open(self) -> bool:
        """Whether it stands for what is done with a value."""
        return self.kind in _OPEN


_OPEN = frozenset(
    {
        *("step", "paired", "row", "split", "choose", "switch", "each", "zip", "pieces"),
        *("parts", "over", "behind", "total"),
    }
)


@dataclass(frozen=True)
class Mapping:
    """How something is mapped: nothing of it changes the value, but for ``collect``."""

    key: str | None = None
    chunk_size: int | None = None
    max_concurrency: int | None = None
    collect: bool = False


# The functions that flows are made of, as values. A value tells which call made it.


def value_made(uid: int) -> Any:
    return ("made", uid)


def value_told(value: Any, uid: int) -> Any:
    return ("told", uid, value)


def value_joined(values: Any, uid: int) -> Any:
    return ("joined", uid, list(values))


def value_gathered(values: dict[str, Any], uid: int) -> Any:
    return ("gathered", uid, dict(values))


def value_paired(left: Any, right: Any, uid: int) -> Any:
    return ("paired", uid, left, right)


def value_listed(value: Any, uid: int, size: int) -> list[Any]:
    count = decided(value, 4, uid) if size < 0 else size
    return [("item", uid, number, value) for number in range(count)]


def value_pieces(value: Any, uid: int, size: int) -> list[Any]:
    return [
        (each, number)[: 1 + uid % 2] for number, each in enumerate(value_listed(value, uid, size))
    ]


def value_summed(values: Any, uid: int) -> Any:
    return ("summed", uid, list(values))


def decided(value: Any, ways: int, salt: int) -> int:
    """Choose one of several ways: always the same one, or as the value has it."""
    return salt if 0 <= salt < ways else crc32(f"{salt} {value!r}".encode()) % ways


def breaks(value: Any, uid: int) -> bool:
    """Tell whether a fragile step fails."""
    return decided(value, 3, -uid) == 0


# Values that are not there


class Missing:
    """Stands where a value would."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


ABSENT, FAILED = Missing("ABSENT"), Missing("FAILED")


def lacking(values: Iterable[Any]) -> Missing | None:
    """Say what is missing among values that are all needed: a failure before the rest."""
    found = [value for value in values if isinstance(value, Missing)]
    return FAILED if FAILED in found else ABSENT if found else None


def fan_in(values: list[Any]) -> Any:
    """Leave out of a list what was skipped; it is skipped if all its members were."""
    lacks = lacking(values)
    there = [value for value in values if not isinstance(value, Missing)]
    return FAILED if lacks is FAILED else ABSENT if lacks and not there else there


def elements(values: list[Any], collect: bool) -> Any:
    """Leave out of the elements of a map what was skipped, or failed and is put aside."""
    if collect and FAILED in values:
        return [value for value in values if not isinstance(value, Missing)]
    return fan_in(values)


def settled(shape: Any) -> Any:
    """Apply the rules to nested containers."""
    if type(shape) is list:
        return fan_in([settled(each) for each in shape])
    if type(shape) is _Tuple:
        values = tuple([settled(each) for each in shape])
        return lacking(values) or values
    if type(shape) is _Dict:
        values = {key: settled(each) for key, each in shape.items()}
        return lacking(values.values()) or values
    return shape


class _Tuple(tuple[Any, ...]):
    """A tuple that was written, rather than one that a step gave."""

    __slots__ = ()


class _Dict(dict[str, Any]):
    """A dict that was written."""


def filled(shape: Any, make: Callable[[], Any]) -> Any:
    """Put something new in every place of a shape, in order."""
    if isinstance(shape, dict):
        return {key: filled(each, make) for key, each in shape.items()}
    if isinstance(shape, (list, tuple)):
        return type(shape)([filled(each, make) for each in shape])
    return make()


def written_shape(tree: Tree) -> str:
    """Say what stands on the left of ``>>``: a fan-out into a tuple is a tuple."""
    if tree.kind == "fan":
        return type(tree.data).__name__
    if tree.kind == "through":
        return written_shape(tree.children[1])
    if tree.kind == "row":
        return written_shape(tree.children[-1])
    if tree.kind == "split":
        return "value" if tree.uids else str(tree.data)
    return tree.kind


def rows(values: list[Any], wide: int) -> list[tuple[Any, ...]]:
    """Cut a list into tuples."""
    return [tuple(values[at : at + wide]) for at in range(0, len(values), wide)] if wide else []


def portions(values: list[Any], size: int) -> list[list[Any]]:
    """Cut a list into lists."""
    return [values[at : at + size] for at in range(0, len(values), size)]


# Meaning


def meaning(tree: Tree) -> Any:
    """Compute what a flow must give; None if it is skipped as a whole."""
    value = Meaning().of(tree)
    return None if isinstance(value, Missing) else value


def expected_calls(tree: Tree) -> Counter[int]:
    """Say how often each placed step must be called."""
    account = Meaning()
    account.of(tree)
    return +account.calls


class Meaning:
    """The values of the trees of one flow, each computed once, and the calls so far."""

    def __init__(self) -> None:
        self.calls: Counter[int] = Counter()
        self._known: dict[int, Any] = {}

    def of(self, tree: Tree) -> Any:
        """Compute the value of a tree that is not open."""
        if id(tree) not in self._known:
            self._known[id(tree)] = getattr(self, f"_{tree.kind}")(tree)
        return self._known[id(tree)]

    def through(self, tree: Tree, value: Any) -> Any:
        """Compute what becomes of a value."""
        return getattr(self, f"_{tree.kind}")(tree, value) if tree.open else self.of(tree)

    def _call(
        self, uid: int, inputs: Iterable[Any], value: Callable[[], Any], tries: int = 1
    ) -> Any:
        lacks = lacking(inputs)
        if lacks is not None:
            return lacks
        self.calls[uid] += tries
        return value()

    def _tell(self, value: Any, uid: int) -> Any:
        return self._call(uid, [value], lambda: value_told(value, uid))

    def _join(self, values: Iterable[Any], uid: int) -> Any:
        values = list(values)
        return self._call(uid, values, lambda: value_joined(values, uid))

    def _pair(self, left: Any, right: Any, uid: int) -> Any:
        return self._call(uid, [left, right], lambda: value_paired(left, right, uid))

    def _receive(self, shape: str, value: Any, uid: int) -> Any:
        """Let a value flow into a step, spread if it was written as a tuple or a dict."""
        if isinstance(value, Missing):
            return value
        if shape == "tuple":
            return self._join(value, uid)
        if shape == "dict":
            return self._call(uid, [], lambda: value_gathered(value, uid))
        return self._tell(value, uid)

    def _all(self, trees: Iterable[Tree]) -> list[Any]:
        return [self.of(each) for each in trees]

    # Trees that stand for a value

    def _const(self, tree: Tree) -> Any:
        return tree.data

    _param = _const

    def _leaf(self, tree: Tree) -> Any:
        return self._call(tree.uids[0], [], lambda: value_made(tree.uids[0]))

    def _list(self, tree: Tree) -> Any:
        return fan_in(self._all(tree.children))

    _group = _list

    def _tuple(self, tree: Tree) -> Any:
        values = tuple(self._all(tree.children))
        return lacking(values) or values

    def _dict(self, tree: Tree) -> Any:
        values = dict(zip(tree.data, self._all(tree.children), strict=True))
        return lacking(values.values()) or values

    def _map(self, tree: Tree) -> Any:
        return fan_in([self._tell(each, tree.uids[0]) for each in self._all(tree.children)])

    def _upmap(self, tree: Tree) -> Any:
        first, *values = self._all(tree.children)
        return fan_in([self._join([first, each], tree.uids[0]) for each in values])

    def _starmap(self, tree: Tree) -> Any:
        values = self._all(tree.children)
        return fan_in([self._join(each, tree.uids[0]) for each in rows(values, tree.data)])

    def _chunks(self, tree: Tree) -> Any:
        values = portions(self._all(tree.children), 2)
        return fan_in([self._tell(fan_in(each), tree.uids[0]) for each in values])

    def _arg(self, tree: Tree) -> Any:
        return self._tell(self.of(tree.children[0]), tree.uids[0])

    def _after(self, tree: Tree) -> Any:
        return self._behind_value(self.of(tree.children[0]), tree.uids[0])

    def _behind_value(self, value: Any, uid: int) -> Any:
        return self._call(uid, [value], lambda: value_made(uid))

    def _shared(self, tree: Tree) -> Any:
        value = self.of(tree.children[0])
        return fan_in([self._tell(value, uid) for uid in tree.uids])

    def _fan(self, tree: Tree) -> Any:
        if not tree.uids:  # a fan-out into nothing asks for no value
            return filled(tree.data, lambda: None)
        value, spread = self.of(tree.children[0]), written_shape(tree.children[0])
        numbers = iter(tree.uids)

        def written(shape: Any) -> Any:
            if isinstance(shape, dict):
                return _Dict({key: written(each) for key, each in shape.items()})
            if isinstance(shape, (list, tuple)):
                return (list if isinstance(shape, list) else _Tuple)(map(written, shape))
            return self._receive(spread, value, next(numbers))

        return settled(written(tree.data))

    def _then(self, tree: Tree) -> Any:
        first, *others = tree.uids
        left = tree.children[0]
        value = self._receive(written_shape(left), self.of(left), first)
        for uid in others:
            value = self._tell(value, uid)
        return value

    _nest = _chain = _then

    def _through(self, tree: Tree) -> Any:
        return self.through(tree.children[1], self._then(tree))

    def _mapped(self, tree: Tree) -> Any:
        body, *items = tree.children
        return self._elements(body, self._all(items), tree.data)

    def _mapflow(self, tree: Tree) -> Any:
        size, how = tree.data
        value = self._then(Tree("then", tree.uids[:1], tree.children[:1]))
        return self._elements(tree.children[1], self._listing(value, tree.uids[1], size), how)

    def _chunked(self, tree: Tree) -> Any:
        value = self._then(Tree("then", tree.uids[:1], tree.children))
        return self._parts(Tree("parts", tree.uids[1:], (), tree.data), value)

    def _sum(self, tree: Tree) -> Any:
        return self._reduce(fan_in(self._all(tree.children)), tree.uids[0], tree.data)

    def _crossing(self, tree: Tree) -> Any:
        receiver, extra, decider, then, otherwise = tree.uids
        salt, ways, outside = tree.data
        one = self._then(Tree("then", (receiver,), tree.children))
        other: list[Any] = []

        def shared() -> Any:
            if not other:
                other.append(self._tell(one, extra))
            return other[0]

        took = self._decide(one, decider, 2, salt)
        arms = {1: lambda: self._pair(one, shared(), then)}
        if ways == "both":
            arms[0] = lambda: self._pair(one, shared(), otherwise)
        elif ways == "plain":
            arms[0] = lambda: self._tell(one, otherwise)
        value = took if isinstance(took, Missing) else arms.get(took, lambda: ABSENT)()
        return fan_in([value, shared()] if outside else [value])

    # What is done with a value

    def _step(self, tree: Tree, value: Any) -> Any:
        uid, *others = tree.uids
        how, number = tree.data
        if how == "wanted":
            wanted = self._decide(value, others[0], 2, number)
            if isinstance(wanted, Missing) or not wanted:
                return wanted if isinstance(wanted, Missing) else ABSENT
        if how == "fragile":
            fails = not isinstance(value, Missing) and breaks(value, uid)
            return self._call(
                uid,
                [value],
                lambda: FAILED if fails else value_told(value, uid),
                1 + number if fails else 1,
            )
        tries = 1 + number if how in ("stubborn", "asking") else 1
        return self._call(uid, [value], lambda: value_told(value, uid), tries)

    def _paired(self, tree: Tree, value: Any) -> Any:
        return self._pair(value, self.of(tree.children[0]), tree.uids[0])

    def _row(self, tree: Tree, value: Any) -> Any:
        for each in tree.children:
            value = self.through(each, value)
        return value

    def _split(self, tree: Tree, value: Any) -> Any:
        values = [self.through(each, value) for each in tree.children]
        made = {
            "list": lambda: values,
            "tuple": lambda: _Tuple(values),
            "dict": lambda: _Dict({f"k{n}": each for n, each in enumerate(values)}),
        }
        result = settled(made[tree.data]())
        return self._receive(tree.data, result, tree.uids[0]) if tree.uids else result

    def _decide(self, value: Any, uid: int, ways: int, salt: int) -> Any:
        return self._call(uid, [value], lambda: decided(value, ways, salt))

    def _choose(self, tree: Tree, value: Any) -> Any:
        *before, decider = tree.uids
        judged = value
        for uid in before:
            judged = self._tell(judged, uid)
        took = self._decide(judged, decider, 2, tree.data)
        if isinstance(took, Missing):
            return took
        arm = 0 if took else 1
        return self.through(tree.children[arm], value) if arm < len(tree.children) else ABSENT

    def _switch(self, tree: Tree, value: Any) -> Any:
        took = self._decide(value, tree.uids[0], len(tree.children), tree.data[0])
        return took if isinstance(took, Missing) else self.through(tree.children[took], value)

    def _listing(self, value: Any, uid: int, size: int) -> Any:
        return self._call(uid, [value], lambda: value_listed(value, uid, size))

    def _elements(self, body: Tree, items: Any, how: Mapping) -> Any:
        # What a body needs from outside is there whatever the elements do.
        for each in values_in(body):
            self.of(each)
        if isinstance(items, Missing):
            return items
        return elements([self.through(body, item) for item in items], how.collect)

    def _each(self, tree: Tree, value: Any) -> Any:
        size, how = tree.data
        return self._elements(tree.children[0], self._listing(value, tree.uids[0], size), how)

    def _zip(self, tree: Tree, value: Any) -> Any:
        lister, teller, pairer = tree.uids
        items = self._listing(value, lister, tree.data[0])
        other = self._tell(value, teller)
        if isinstance(items, Missing):
            return items
        return fan_in([self._pair(item, other, pairer) for item in items])

    def _pieces(self, tree: Tree, value: Any) -> Any:
        lister, joiner = tree.uids
        items = self._call(lister, [value], lambda: value_pieces(value, lister, tree.data[0]))
        if isinstance(items, Missing):
            return items
        return [self._join(item, joiner) for item in items]

    def _parts(self, tree: Tree, value: Any) -> Any:
        lister, teller = tree.uids
        size, wide = tree.data
        items = self._listing(value, lister, size)
        if isinstance(items, Missing):
            return items
        return [self._tell(part, teller) for part in portions(items, wide)]

    def _over(self, tree: Tree, value: Any) -> Any:
        items = self._all(tree.children)
        return fan_in([self._pair(value, item, tree.uids[0]) for item in items])

    def _behind(self, tree: Tree, value: Any) -> Any:
        return self._behind_value(self.through(tree.children[0], value), tree.uids[0])

    def _total(self, tree: Tree, value: Any) -> Any:
        size, wide = tree.data
        return self._reduce(self._listing(value, tree.uids[0], size), tree.uids[1], wide)

    def _reduce(self, values: Any, uid: int, wide: int) -> Any:
        if isinstance(values, Missing):
            return values
        while len(values) > wide:
            parts = portions(values, wide)
            self.calls[uid] += len(parts)
            values = [value_summed(part, uid) for part in parts]
        self.calls[uid] += 1
        return value_summed(values, uid)


def values_in(body: Tree) -> Iterable[Tree]:
    """Go through the trees in a body that stand for a value."""
    for each in body.children if body.open else ():
        if each.open:
            yield from values_in(each)
        else:
            yield each
