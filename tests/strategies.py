"""Random flows with the value that they must have, for hypothesis.

A flow is first drawn as a tree of plain data. `build` writes it with nbflow,
`meaning` computes its value by plain recursion and knows nothing of nbflow, and
`expected_calls` says how often each step must be called. Each placed step carries
a number of its own, which its value repeats, and appends a line to a file of that
number, so that calls are counted across processes too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nbflow import Flow, chain, chunks, group, param, starmap, step


def _record(uid: int, folder: str | None) -> None:
    if folder is not None:
        with open(os.path.join(folder, str(uid)), "a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")


def recorded_calls(folder: str | Path) -> Counter[int]:
    """Read how often each placed step was called."""
    files = Path(folder).iterdir()
    return Counter({int(file.name): file.read_text().count("\n") for file in files})


# The functions that flows are made of. A value tells which call made it.


def value_made(uid: int) -> Any:
    return ("made", uid)


def value_told(value: Any, uid: int) -> Any:
    return ("told", uid, value)


def value_joined(values: Any, uid: int) -> Any:
    return ("joined", uid, list(values))


def value_gathered(values: dict[str, Any], uid: int) -> Any:
    return ("gathered", uid, dict(values))


@step
def made(uid, *, folder=None):
    """Make a value of nothing."""
    _record(uid, folder)
    return value_made(uid)


@step
def told(value, uid, *, folder=None):
    """Take one value."""
    _record(uid, folder)
    return value_told(value, uid)


@step
def joined(*values, uid, folder=None):
    """Take values by position."""
    _record(uid, folder)
    return value_joined(values, uid)


@step
def gathered(*, uid, folder=None, **values):
    """Take values by keyword."""
    _record(uid, folder)
    return value_gathered(values, uid)


@dataclass(frozen=True)
class Tree:
    """One node of a description.

    Attributes
    ----------
    kind
        ``const leaf list tuple dict then fan nest map upmap starmap chunks arg
        after param chain group shared``.
    uids
        The numbers of the steps that it places.
    children
        What it is made of.
    data
        A constant, the keys of a dict, or the shape of a fan-out.
    """

    kind: str
    uids: tuple[int, ...] = ()
    children: tuple[Tree, ...] = ()
    data: Any = None


# Drawing


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, width=16)
    | st.text("ab<'\"\n", max_size=3)
)
_CONSTANTS = _SCALARS | st.lists(_SCALARS | st.lists(_SCALARS, max_size=2), max_size=3)
_KEYS = st.lists(st.sampled_from(["left", "right", "third"]), unique=True, max_size=3)


@st.composite
def trees(draw: Any, depth: int = 4, width: int = 3) -> Tree:
    """Draw a description whose root is a step."""
    numbers = count(1)
    grown = _grow(draw, numbers, depth, width)
    return Tree("then", (next(numbers),), (grown,))


def _grow(draw: Any, numbers: Any, depth: int, width: int) -> Tree:
    kind = draw(st.sampled_from(_TIPS if depth == 0 else _KINDS))
    if kind == "const":
        return Tree(kind, data=draw(_CONSTANTS))
    if kind == "leaf":
        return Tree(kind, (next(numbers),))
    if kind == "param":
        return Tree(kind, data=draw(_CONSTANTS), uids=(next(numbers),))
    if kind == "dict":
        keys = tuple(draw(_KEYS))
        return Tree(kind, (), _several(draw, numbers, depth, len(keys)), keys)
    if kind in ("list", "tuple", "group", "map", "chunks"):
        size = draw(st.integers(0, width))
        children = _several(draw, numbers, depth, size)
        return Tree(kind, _uids(numbers, int(kind in ("map", "chunks"))), children)
    if kind == "starmap":
        wide, long = draw(st.integers(0, 2)), draw(st.integers(0, width))
        children = _several(draw, numbers, depth, wide * long)
        return Tree(kind, _uids(numbers, 1), children, wide if long else 0)
    if kind == "upmap":
        children = _several(draw, numbers, depth, 1 + draw(st.integers(0, width)))
        return Tree(kind, _uids(numbers, 1), children)
    child = (_grow(draw, numbers, depth - 1, width),)
    if kind == "fan":
        shape = draw(_shapes())
        return Tree(kind, _uids(numbers, _places(shape)), child, shape)
    sizes = {"then": 1, "arg": 1, "after": 1, "nest": 3, "chain": draw(st.integers(1, 3))}
    return Tree(kind, _uids(numbers, sizes.get(kind, 2)), child)


_TIPS = ["const", "leaf", "leaf", "param"]
_KINDS = [
    *("const", "leaf", "param", "list", "tuple", "dict", "group", "map", "upmap", "starmap"),
    *("chunks", "then", "then", "fan", "nest", "arg", "after", "chain", "shared"),
]


def _several(draw: Any, numbers: Any, depth: int, size: int) -> tuple[Tree, ...]:
    return tuple(_grow(draw, numbers, depth - 1, 2) for _ in range(size))


def _uids(numbers: Any, size: int) -> tuple[int, ...]:
    return tuple(next(numbers) for _ in range(size))


def _shapes() -> Any:
    """Nestings of placeholders, such as ``[0, (0, {"left": 0})]``."""
    inner = st.recursive(
        st.just(0),
        lambda each: (
            st.lists(each, max_size=2)
            | st.tuples(each, each)
            | st.dictionaries(st.sampled_from(["left", "right"]), each, max_size=2)
        ),
        max_leaves=4,
    )
    return st.lists(inner, max_size=3) | st.tuples(inner) | st.fixed_dictionaries({"k": inner})


def _places(shape: Any) -> int:
    if shape == 0:
        return 1
    return sum(map(_places, shape.values() if isinstance(shape, dict) else shape))


def filled(shape: Any, make: Callable[[], Any]) -> Any:
    """Put something new in every place of a shape, in order."""
    if isinstance(shape, dict):
        return {key: filled(each, make) for key, each in shape.items()}
    if isinstance(shape, (list, tuple)):
        return type(shape)([filled(each, make) for each in shape])
    return make()


# Meaning


def meaning(tree: Tree) -> Any:
    """Compute what a flow must give, by plain recursion and without nbflow."""
    kind, uids = tree.kind, tree.uids
    if kind in ("const", "param"):
        return tree.data
    if kind in ("leaf", "after"):
        return value_made(uids[0])
    values = [meaning(each) for each in tree.children]
    if kind in ("list", "group"):
        return values
    if kind == "tuple":
        return tuple(values)
    if kind == "dict":
        return dict(zip(tree.data, values, strict=True))
    if kind == "map":
        return [value_told(each, uids[0]) for each in values]
    if kind == "upmap":
        return [value_joined([values[0], each], uids[0]) for each in values[1:]]
    if kind == "starmap":
        return [value_joined(each, uids[0]) for each in rows(values, tree.data)]
    if kind == "chunks":
        return [value_told(values[at : at + 2], uids[0]) for at in range(0, len(values), 2)]
    if kind == "arg":
        return value_told(values[0], uids[0])
    return _flowing(tree, values[0])


def _flowing(tree: Tree, value: Any) -> Any:
    spread = written_shape(tree.children[0])
    first, *others = tree.uids or (0,)
    if tree.kind == "fan":
        numbers = iter(tree.uids)
        return filled(tree.data, lambda: _received(spread, value, next(numbers)))
    if tree.kind == "shared":
        return [value_told(value, first), value_told(value, others[0])]
    result = _received(spread, value, first)
    for uid in others:
        result = value_told(result, uid)
    return result


def written_shape(tree: Tree) -> str:
    """Say what stands on the left of ``>>``: a fan-out into a tuple is a tuple."""
    return type(tree.data).__name__ if tree.kind == "fan" else tree.kind


def _received(spread: str, value: Any, uid: int) -> Any:
    if spread == "tuple":
        return value_joined(value, uid)
    return value_gathered(value, uid) if spread == "dict" else value_told(value, uid)


def rows(values: list[Any], wide: int) -> list[tuple[Any, ...]]:
    """Cut a list into tuples."""
    return [tuple(values[at : at + wide]) for at in range(0, len(values), wide)] if wide else []


def expected_calls(tree: Tree) -> Counter[int]:
    """Say how often each placed step must be called."""
    calls: Counter[int] = Counter()
    sizes = {"map": len(tree.children), "upmap": len(tree.children) - 1}
    sizes["chunks"] = -(-len(tree.children) // 2)
    if tree.kind == "starmap":
        sizes["starmap"] = len(rows(list(tree.children), tree.data))
    if tree.kind != "param":
        calls.update({uid: sizes.get(tree.kind, 1) for uid in tree.uids})
    for child in tree.children:
        # A fan-out into nothing asks for no value.
        if not (tree.kind == "fan" and not tree.uids):
            calls.update(expected_calls(child))
    return +calls


# Building


@dataclass
class Builder:
    """Writes descriptions as flows, and remembers each operand as it was.

    Attributes
    ----------
    folder
        Where calls are recorded.
    operands
        Each flow with what it looked like when it was made.
    """

    folder: str | None = None
    operands: list[tuple[Flow, list[str], str, int]] = field(default_factory=list)

    def build(self, tree: Tree) -> Any:
        """Write a description as a user would."""
        made_of = [self.build(each) for each in tree.children]
        written = self._write(tree, made_of)
        if isinstance(written, Flow):
            self.operands.append((written, written.steps, repr(written), hash(written)))
        return written

    def _write(self, tree: Tree, parts: list[Any]) -> Any:
        kind = tree.kind
        if kind == "const":
            return tree.data
        if kind == "leaf":
            return made.s(tree.uids[0], folder=self.folder)
        if kind == "param":
            return param(f"p{tree.uids[0]}", tree.data)
        if kind == "list":
            return parts
        if kind == "tuple":
            return tuple(parts)
        if kind == "dict":
            return dict(zip(tree.data, parts, strict=True))
        if kind == "group":
            return group(*parts) if len(parts) != 1 else group(iter(parts))
        if kind in ("map", "upmap", "starmap", "chunks"):
            return self._map(tree, parts)
        if kind == "arg":
            return told.s(parts[0], tree.uids[0], folder=self.folder)
        if kind == "shared":
            one = chain(parts[0])
            both = [told.s(one, tree.uids[0], folder=self.folder), self._told(one, tree.uids[1])]
            return group(both)
        return self._flow(tree, parts[0])

    def _told(self, upstream: Flow, uid: int) -> Flow:
        # Hands a tuple or dict over whole, as an argument does.
        return told.s(upstream, uid=uid, folder=self.folder)

    def _map(self, tree: Tree, parts: list[Any]) -> Any:
        uid = tree.uids[0]
        if tree.kind == "map":
            return told.s(uid, folder=self.folder).map(parts)
        if tree.kind == "chunks":
            return chunks(told.s(uid, folder=self.folder), iter(parts), 2)
        call = joined.s(uid=uid, folder=self.folder)
        if tree.kind == "starmap":
            return starmap(call, rows(parts, tree.data))
        # The argument form of "upstream first", for a value of any shape.
        upstream = group([parts[0]]) >> _only
        return upstream >> call.map(parts[1:])

    def _flow(self, tree: Tree, left: Any) -> Any:
        spread, (first, *others) = written_shape(tree.children[0]), tree.uids or (0,)
        if tree.kind == "fan":
            numbers = iter(tree.uids)
            return chain(left) >> filled(tree.data, lambda: self._receiver(spread, next(numbers)))
        if tree.kind == "after":
            return left >> made.si(first, folder=self.folder)
        rest = [told.s(uid, folder=self.folder) for uid in others]
        receiver = self._receiver(spread, first)
        if tree.kind == "chain":
            return chain(left, receiver, *rest)
        for each in rest:  # "nest" hangs one flow on another: a >> (b >> c)
            receiver = receiver >> each
        return left >> receiver

    def _receiver(self, spread: str, uid: int) -> Flow:
        if spread == "tuple":
            return joined.s(uid=uid, folder=self.folder)
        if spread == "dict":
            return gathered.s(uid=uid, folder=self.folder)
        return told.s(uid, folder=self.folder)


@step
def _only(values):
    return values[0]


@dataclass(frozen=True)
class Written:
    """A flow with all that must be true of it.

    Attributes
    ----------
    flow
        What nbflow made of the description.
    value
        What it must give.
    calls
        How often each placed step must be called.
    operands
        Each flow on the way: itself, and its steps, repr and hash as they were.
    tree
        The description.
    """

    flow: Flow
    value: Any
    calls: Counter[int]
    operands: list[tuple[Flow, list[str], str, int]] = field(repr=False)
    tree: Tree = field(repr=False)


def written(tree: Tree, folder: str | Path | None = None) -> Written:
    """Build a description; calls are recorded in the folder, if one is given."""
    builder = Builder(None if folder is None else str(folder))
    flow = builder.build(tree)
    return Written(flow, meaning(tree), expected_calls(tree), builder.operands, tree)


def written_flows(folder: str | Path | None = None, depth: int = 4) -> st.SearchStrategy[Written]:
    """Draw flows with the values that they must have.

    Parameters
    ----------
    folder
        Where calls are recorded. All examples of a test share it; to count those of
        one example, draw from `trees` and give `written` a folder for each.
    depth
        How deep the nesting goes.
    """
    return trees(depth=depth).map(lambda tree: written(tree, folder))
