"""Random flows with the value that they must have, for hypothesis.

A flow is first drawn as a tree of plain data, of which `meanings` says what it must
give and how often each step must be called. `Builder` writes it with nbflow. Each
placed step carries a number of its own, which its value repeats, and appends a line to
a file of that number at every attempt, so that calls are counted across processes too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from meanings import (
    Mapping,
    Tree,
    breaks,
    decided,
    expected_calls,
    filled,
    meaning,
    rows,
    value_gathered,
    value_joined,
    value_listed,
    value_made,
    value_paired,
    value_pieces,
    value_summed,
    value_told,
    written_shape,
)

from nbflow import (
    Flow,
    Retry,
    TryAgain,
    branch,
    chain,
    chunks,
    context,
    group,
    param,
    starmap,
    step,
    switch,
)


def _record(uid: int, folder: str | None) -> None:
    if folder is not None:
        with open(os.path.join(folder, str(uid)), "a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")


def recorded_calls(folder: str | Path) -> Counter[int]:
    """Read how often each placed step was called."""
    files = Path(folder).iterdir()
    return Counter({int(file.name): file.read_text().count("\n") for file in files})


# The steps that flows are made of


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


@step
def paired(left, right, *, uid, folder=None):
    """Take two values."""
    _record(uid, folder)
    return value_paired(left, right, uid)


@step
def listed(value, uid, *, size, folder=None):
    """Make a list of a value, of a length that is known only now."""
    _record(uid, folder)
    return value_listed(value, uid, size)


@step
def pieces(value, uid, *, size, folder=None):
    """Make a list of tuples of arguments."""
    _record(uid, folder)
    return value_pieces(value, uid, size)


@step
def summed(values, uid, folder):
    """Take a list, which may be of its own values."""
    _record(uid, folder)
    return value_summed(values, uid)


@step
def decides(value, uid, *, ways, salt, folder=None):
    """Choose one of several ways."""
    _record(uid, folder)
    return decided(value, ways, salt)


class Broken(Exception):
    """Raised by steps that fail."""


@step(retry=Retry(attempts=4, on=Broken, wait=0))
def stubborn(value, uid, *, fails, folder=None):
    """Fail at first."""
    _record(uid, folder)
    if context().attempt <= fails:
        raise Broken(uid)
    return value_told(value, uid)


@step
def asking(value, uid, *, fails, folder=None):
    """Ask for another attempt at first."""
    _record(uid, folder)
    if context().attempt <= fails:
        raise TryAgain(0)
    return value_told(value, uid)


@step
def fragile(value, uid, *, folder=None):
    """Fail for some values, at every attempt."""
    _record(uid, folder)
    if breaks(value, uid):
        raise Broken(uid)
    return value_told(value, uid)


@step
def _only(values):
    return values[0]


def wants(value, *, uid, salt, folder=None):
    """Tell whether a step is to run; the predicate of its option ``when``."""
    _record(uid, folder)
    return decided(value, 2, salt)


def number_of(item):
    """Name an item of a list that `listed` made."""
    return f"n{item[2]}"


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
# How long a list is that a step makes, and which way a step chooses; below 0, its input decides.
_SIZES = st.integers(-1, 3)
_SALTS = st.integers(-9, 3)


@st.composite
def trees(draw: Any, depth: int = 4, width: int = 3) -> Tree:
    """Draw a description whose root is a step, or what is done with its value."""
    drawing = _Drawing(draw)
    grown = drawing.grow(depth, width)
    if draw(st.booleans()):
        return Tree("then", drawing.uids(1), (grown,))
    return Tree("through", drawing.uids(1), (grown, drawing.body(3)))


_TIPS = ["const", "leaf", "leaf", "param"]
_KINDS = [
    *("const", "leaf", "param", "list", "tuple", "dict", "group", "map", "upmap", "starmap"),
    *("chunks", "then", "then", "fan", "nest", "arg", "after", "chain", "shared"),
    *("through", "through", "through", "mapped", "mapflow", "chunked", "sum", "crossing"),
]
_SIMPLE = ["step", "step", "step", "paired", "zip", "pieces", "parts", "over", "total"]
_NESTED = ["choose", "choose", "row", "row", "split", "switch", "each", "behind"]
# How many steps each kind places, beside those that depend on what else was drawn.
_PLACED = {
    **{"then": 1, "arg": 1, "after": 1, "nest": 3, "shared": 2, "through": 1, "mapflow": 2},
    **{"chunked": 3, "crossing": 5, "leaf": 1, "param": 1, "map": 1, "chunks": 1, "starmap": 1},
    **{"upmap": 1, "sum": 1, "step": 1, "paired": 1, "zip": 3, "pieces": 2, "parts": 2},
    **{"over": 1, "total": 2, "switch": 1, "each": 1, "behind": 1},
}


class _Drawing:
    """The description that is being drawn."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.numbers = count(1)

    def uids(self, size: int) -> tuple[int, ...]:
        return tuple(next(self.numbers) for _ in range(size))

    def grow(self, depth: int, width: int = 2) -> Tree:
        """Draw a tree that stands for a value."""
        kind = self.draw(st.sampled_from(_TIPS if depth == 0 else _KINDS))
        children, data = self._parts(kind, depth - 1, width)
        placed = _PLACED.get(kind, 0)
        if kind == "fan":
            placed = _places(data)
        elif kind == "chain":
            placed = self.draw(st.integers(1, 3))
        if kind == "after" and not _has_step(children[0]):
            children = (Tree("then", self.uids(1), children),)
        return Tree(kind, self.uids(placed), children, data)

    def _parts(self, kind: str, depth: int, width: int) -> tuple[tuple[Tree, ...], Any]:
        draw = self.draw
        if kind in ("const", "param"):
            return (), draw(_CONSTANTS)
        if kind == "leaf":
            return (), None
        if kind == "dict":
            keys = tuple(draw(_KEYS))
            return self._several(depth, len(keys)), keys
        if kind in ("list", "tuple", "group", "map", "chunks", "sum"):
            cap = draw(st.none() | st.integers(1, 3)) if kind == "group" else None
            children = self._several(depth, draw(st.integers(0, width)))
            return children, draw(st.integers(2, 3)) if kind == "sum" else cap
        if kind == "starmap":
            wide, long = draw(st.integers(0, 2)), draw(st.integers(0, width))
            return self._several(depth, wide * long), wide if long else 0
        if kind == "upmap":
            return self._several(depth, 1 + draw(st.integers(0, width))), None
        if kind == "mapped":
            items = self._several(depth, draw(st.integers(0, width)))
            how = self._mapping(given=True)
            return (self._mapped(2, how), *items), how
        child = self.grow(depth)
        if kind == "through":
            return (child, self.body(2)), None
        if kind == "mapflow":
            how = self._mapping()
            return (child, self._mapped(2, how)), (draw(_SIZES), how)
        data = {
            "fan": lambda: draw(_shapes()),
            "chunked": lambda: (draw(_SIZES), draw(st.integers(1, 3))),
            "crossing": lambda: (
                draw(_SALTS),
                draw(st.sampled_from(["one", "plain", "both"])),
                draw(st.booleans()),
            ),
        }
        return (child,), data[kind]() if kind in data else None

    def _several(self, depth: int, size: int) -> tuple[Tree, ...]:
        return tuple(self.grow(depth) for _ in range(size))

    def _mapping(self, *, given: bool = False) -> Mapping:
        draw = self.draw
        few = st.none() | st.integers(1, 3)
        return Mapping(
            draw(st.sampled_from([None, "names" if given else "function"])),
            draw(few),
            draw(few),
            draw(st.booleans()),
        )

    def body(self, depth: int, *, fragile: bool = False) -> Tree:
        """Draw an open tree: what is done with a value.

        Parameters
        ----------
        depth
            How deep the nesting goes.
        fragile
            Whether there may be steps that fail, which somebody puts aside.
        """
        draw = self.draw
        kind = draw(st.sampled_from([*_NESTED, *_SIMPLE] if depth > 0 else _SIMPLE))
        inner = partial(self.body, depth - 1, fragile=fragile)
        if kind == "step":
            return self._step(fragile=fragile)
        if kind == "row":
            return Tree(kind, (), (self._whole(inner()), inner()))
        if kind == "split":
            return self._split(inner)
        if kind in ("choose", "switch"):
            return self._choice(kind, depth, inner)
        if kind == "behind":
            return Tree(kind, self.uids(1), (inner(),))
        if kind == "paired":
            return Tree(kind, self.uids(1), (self.grow(min(depth, 1)),))
        if kind == "over":
            items = self._several(min(depth, 1), draw(st.integers(1, 2)))
            return Tree(kind, self.uids(1), items)
        size = draw(_SIZES)
        if kind == "each":
            how = self._mapping()
            part = self._mapped(depth - 1, how, fragile=fragile)
            return Tree(kind, self.uids(1), (part,), (size, how))
        wide = draw(st.integers(1, 3)) + (kind == "total")
        return Tree(kind, self.uids(_PLACED[kind]), (), (size, wide))

    def _mapped(self, depth: int, how: Mapping, *, fragile: bool = False) -> Tree:
        """Draw the body of a map; where failures are put aside, something may fail."""
        if not how.collect:
            return self.body(depth, fragile=fragile)
        number, shape = self.draw(st.integers(0, 1)), self.draw(st.sampled_from(["list", "tuple"]))
        breaking = Tree("step", self.uids(1), (), ("fragile", number))
        body = self.body(depth, fragile=True)
        if self.draw(st.booleans()):
            return Tree("split", self.uids(1), (breaking, body), shape)
        return Tree("row", (), (breaking, body))

    def _step(self, *, fragile: bool) -> Tree:
        kinds = ["wanted", "plain", "stubborn", "asking"]
        how = self.draw(st.sampled_from(["fragile", "fragile", *kinds] if fragile else kinds))
        number = 0
        if how in ("stubborn", "asking"):
            number = self.draw(st.integers(0, 3))
        elif how == "fragile":
            number = self.draw(st.integers(0, 1))
        elif how == "wanted":
            number = self.draw(_SALTS)
        return Tree("step", self.uids(1 + (how == "wanted")), (), (how, number))

    def _whole(self, body: Tree) -> Tree:
        """Let a body give one value, which does not spread."""
        if written_shape(body) in ("list", "tuple", "dict"):
            return Tree("choose", self.uids(1), (body,), self.draw(_SALTS))
        return body

    def _split(self, inner: Callable[[], Tree]) -> Tree:
        shape = self.draw(st.sampled_from(["list", "tuple", "dict"]))
        members = [inner() for _ in range(self.draw(st.integers(1, 2)))]
        if self.draw(st.booleans()):
            members.append(Tree("const", data=self.draw(_CONSTANTS)))
        return Tree("split", self.uids(int(self.draw(st.booleans()))), tuple(members), shape)

    def _choice(self, kind: str, depth: int, inner: Callable[[], Tree]) -> Tree:
        draw = self.draw

        def arm() -> Tree:
            if draw(st.integers(0, 4)):
                return inner()
            grown = self.grow(min(depth - 1, 1))
            # No arm at all is written as None; and what has room would take what flows in.
            nothing = grown.kind == "const" and grown.data is None
            return Tree("const", data=0) if nothing or _has_room(grown) else grown

        arms = tuple(arm() for _ in range(draw(st.integers(1, 2 if kind == "choose" else 3))))
        salt = draw(_SALTS)
        if kind == "choose":
            return Tree(kind, self.uids(draw(st.integers(1, 2))), arms, salt)
        return Tree(kind, self.uids(1), arms, (salt, draw(st.booleans())))


def _has_room(tree: Tree) -> bool:
    if tree.kind == "starmap" or (tree.kind == "tuple" and not tree.children):
        return True
    return tree.data == () or any(map(_has_room, tree.children))


def _has_step(tree: Tree) -> bool:
    if tree.kind in ("list", "tuple", "dict", "group"):
        return any(map(_has_step, tree.children))
    return bool(tree.uids) and tree.kind != "param" or tree.kind == "mapped"


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
            return self._placed(made, tree.uids[0])
        if kind == "param":
            return param(f"p{tree.uids[0]}", tree.data)
        if kind == "list":
            return parts
        if kind == "tuple":
            return tuple(parts)
        if kind == "dict":
            return dict(zip(tree.data, parts, strict=True))
        if tree.open:
            return self._done(tree, parts)
        if kind == "group":
            members = parts if len(parts) != 1 else [iter(parts)]
            return group(*members, max_concurrency=tree.data)
        if kind in ("map", "upmap", "starmap", "chunks", "mapped", "mapflow", "chunked", "sum"):
            return self._map(tree, parts)
        if kind == "arg":
            return told.s(parts[0], tree.uids[0], folder=self.folder)
        if kind == "shared":
            one = chain(parts[0])
            both = [told.s(one, tree.uids[0], folder=self.folder), self._told(one, tree.uids[1])]
            return group(both)
        if kind == "crossing":
            return self._crossing(tree, parts[0])
        return self._flow(tree, parts)

    def _placed(self, which: Any, uid: int, **options: Any) -> Flow:
        """Place a step that lacks nothing but what flows in."""
        return which.s(uid, folder=self.folder, **options)

    def _told(self, upstream: Flow, uid: int) -> Flow:
        # Hands a tuple or dict over whole, as an argument does.
        return told.s(upstream, uid=uid, folder=self.folder)

    def _map(self, tree: Tree, parts: list[Any]) -> Any:
        kind, (uid, *others) = tree.kind, tree.uids or (0,)
        if kind == "map":
            return self._placed(told, uid).map(parts)
        if kind == "chunks":
            return chunks(self._placed(told, uid), iter(parts), 2)
        if kind == "mapped":
            body, *items = parts
            return chain(body).map(items, **options_of(tree.data, len(items)))
        if kind == "mapflow":
            items = self._received(tree, parts[0]) >> self._listed(others[0], tree.data[0])
            return chain(parts[1]).map(items, **options_of(tree.data[1]))
        if kind == "chunked":
            items = self._received(tree, parts[0]) >> self._listed(others[0], tree.data[0])
            return chunks(self._placed(told, others[1]), items, tree.data[1])
        if kind == "sum":
            return (parts, uid, self.folder) >> summed.reduce(split_every=tree.data)
        call = joined.s(uid=uid, folder=self.folder)
        if kind == "starmap":
            return starmap(call, rows(parts, tree.data))
        # The argument form of "upstream first", for a value of any shape.
        upstream = group([parts[0]]) >> _only
        return upstream >> call.map(parts[1:])

    def _listed(self, uid: int, size: int) -> Flow:
        return self._placed(listed, uid, size=size)

    def _received(self, tree: Tree, left: Any) -> Flow:
        """Let what a tree is made of flow into one step, whatever its shape."""
        return left >> self._receiver(written_shape(tree.children[0]), tree.uids[0])

    def _crossing(self, tree: Tree, left: Any) -> Any:
        _, extra, decider, then, otherwise = tree.uids
        salt, ways, outside = tree.data
        one = self._received(tree, left)
        shared = self._told(one, extra)
        arm = paired.s(shared, uid=then, folder=self.folder)
        others = {
            "one": lambda: None,
            "plain": lambda: self._placed(told, otherwise),
            "both": lambda: paired.s(shared, uid=otherwise, folder=self.folder),
        }
        taken = one >> branch(self._decides(decider, 2, salt), arm, others[ways]())
        return group([taken, shared] if outside else [taken])

    def _decides(self, uid: int, ways: int, salt: int) -> Flow:
        return self._placed(decides, uid, ways=ways, salt=salt)

    def _flow(self, tree: Tree, parts: list[Any]) -> Any:
        left, (first, *others) = parts[0], tree.uids or (0,)
        spread = written_shape(tree.children[0])
        if tree.kind == "through":
            return self._received(tree, left) >> parts[1]
        if tree.kind == "fan":
            numbers = iter(tree.uids)
            return chain(left) >> filled(tree.data, lambda: self._receiver(spread, next(numbers)))
        if tree.kind == "after":
            return left >> made.si(first, folder=self.folder)
        rest = [self._placed(told, uid) for uid in others]
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
        return self._placed(told, uid)

    # What is done with a value

    def _done(self, tree: Tree, parts: list[Any]) -> Any:
        kind = tree.kind
        if kind == "step":
            return self._step(tree)
        if kind == "row":
            return chain(*parts)
        if kind == "split":
            return self._split(tree, parts)
        if kind == "choose":
            *before, decider = tree.uids
            judge = self._decides(decider, 2, tree.data)
            for uid in reversed(before):
                judge = self._placed(told, uid) >> judge
            return branch(judge, *parts)
        if kind == "switch":
            return self._switch(tree, parts)
        if kind == "behind":
            return chain(parts[0]) >> made.si(tree.uids[0], folder=self.folder)
        if kind == "paired":
            return paired.s(parts[0], uid=tree.uids[0], folder=self.folder)
        if kind == "over":
            return paired.s(uid=tree.uids[0], folder=self.folder).map(parts)
        return self._listing(tree, parts)

    def _step(self, tree: Tree) -> Flow:
        uid, *others = tree.uids
        how, number = tree.data
        if how == "stubborn" or how == "asking":
            which = stubborn if how == "stubborn" else asking
            return self._placed(which, uid, fails=number)
        if how == "fragile":
            which = fragile.options(retry=Retry(attempts=1 + number, wait=0))
            return self._placed(which, uid)
        if how == "wanted":
            predicate = partial(wants, uid=others[0], salt=number, folder=self.folder)
            if uid % 2:
                return self._placed(told, uid).when(predicate)
            return self._placed(told.options(when=predicate), uid)
        return self._placed(told, uid)

    def _split(self, tree: Tree, parts: list[Any]) -> Any:
        made_of = {
            "list": lambda: parts,
            "tuple": lambda: tuple(parts),
            "dict": lambda: {f"k{n}": each for n, each in enumerate(parts)},
        }
        shape = made_of[tree.data]()
        if not tree.uids:
            return shape
        return chain(shape) >> self._receiver(tree.data, tree.uids[0])

    def _switch(self, tree: Tree, parts: list[Any]) -> Flow:
        salt, default = tree.data
        selector = self._decides(tree.uids[0], len(parts), salt)
        if not default:
            return switch(selector, dict(enumerate(parts)))
        *first, last = parts
        # Of no cases at all there would be nothing to choose.
        return switch(selector, dict(enumerate(first)) or {"never": None}, default=last)

    def _listing(self, tree: Tree, parts: list[Any]) -> Flow:
        (uid, *others), (size, how) = tree.uids, tree.data
        if tree.kind == "each":
            return self._listed(uid, size) >> chain(parts[0]).map(**options_of(how))
        if tree.kind == "zip":
            both = (self._listed(uid, size), self._placed(told, others[0]))
            return chain(both) >> paired.s(uid=others[1], folder=self.folder).map()
        if tree.kind == "pieces":
            call = joined.s(uid=others[0], folder=self.folder)
            return self._placed(pieces, uid, size=size) >> call.starmap()
        if tree.kind == "parts":
            return self._listed(uid, size) >> chunks(self._placed(told, others[0]), None, how)
        listing = (self._listed(uid, size), others[0], self.folder)
        return chain(listing) >> summed.reduce(split_every=how)


def options_of(how: Mapping, given: int | None = None) -> dict[str, Any]:
    """Give the options of a map, over so many items if that is known."""
    options: dict[str, Any] = {
        "chunk_size": how.chunk_size,
        "max_concurrency": how.max_concurrency,
        "on_error": "collect" if how.collect else None,
    }
    if how.key is not None:
        options["key"] = number_of if given is None else [f"n{n}" for n in range(given)]
    return options


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
