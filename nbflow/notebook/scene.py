"""What a picture of a flow shows, before anything is said about how it looks.

A scene is small whatever the flow: alike steps become stacks, long chains are
folded, and in the last resort whole regions are. DOT and Mermaid are both written
from it.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbflow.errors import FlowError, UnknownStepError, did_you_mean, quoted
from nbflow.expression import Const, Expression, Node, ParamRef, leaves, parts_of
from nbflow.notebook.stacks import Links, Strand, alike, depths
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import count, counted, dimensions

if TYPE_CHECKING:
    from nbflow.topology import Topology

SIDE_BY_SIDE = 8
CROWDED = 150
_CROWDED_EDGES = 600
_FEWEST_FOLDED = 3
_BANDS = 40
_MANY_FEEDS = 24


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing in a picture.

    Attributes
    ----------
    key
        What edges call it: a letter and a position, the same in every process.
    kind
        What it stands for.
    title
        What is written on it, as the user wrote it.
    members
        The positions of the steps that it stands for.
    """

    key: str
    kind: Kind
    title: str
    members: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge between two figures."""

    tail: str
    head: str
    order_only: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """The figures and edges of a picture, and what it leaves out in words."""

    figures: tuple[Figure, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""


def scene(
    topology: Topology,
    *,
    collapse: bool = True,
    focus: str | Iterable[str] | None = None,
    hops: int = 1,
    kept: Collection[int] = (),
) -> Scene:
    """Decide what a picture of a flow shows.

    Parameters
    ----------
    topology
        The flow.
    collapse
        Whether alike steps side by side may become one stack.
    focus
        Show only these steps and those near them.
    hops
        How near.
    kept
        Positions that folding a long chain must leave to be seen.

    Raises
    ------
    UnknownStepError
        If there is no step of a name in ``focus``.

    Examples
    --------
    >>> from nbflow import step
    >>> seen = scene((4 >> step(abs) >> str).topology)
    >>> [figure.title for figure in seen.figures]
    ['abs', 'str', '4']
    """
    visible = _visible(topology, focus, hops)
    links = _links(topology, visible)
    groups, note = _groups(links, collapse=collapse, kept=kept)
    figures = [_figure(topology, members) for members in groups]
    home = {each: figure.key for figure in figures for each in figure.members}
    arrows = _arrows(topology, home)
    feeds = _Feeds(topology)
    for figure in figures:
        feeds.feed(figure)
    stubs, cut = _elsewhere(topology, figures, home)
    if len(home) < len(topology.nodes):
        hidden = len(topology.nodes) - len(home)
        note = f"{counted(hidden, 'step')} further away not shown" + (f"; {note}" if note else "")
    return Scene(
        (*figures, *feeds.figures.values(), *stubs), (*feeds.arrows, *arrows, *cut), note
    )


def _visible(topology: Topology, focus: str | Iterable[str] | None, hops: int) -> list[int]:
    everything = range(len(topology.nodes))
    if focus is None:
        return list(everything)
    names = [focus] if isinstance(focus, str) else list(focus)
    starts = []
    for name in names:
        if name not in topology.positions:
            raise UnknownStepError(
                f"the flow has no step {quoted(name)} to focus on; "
                f"{did_you_mean(name, topology.names)}"
            )
        starts.append(topology.positions[name])
    found = set(starts)
    for neighbours in (topology.upstream, topology.downstream):
        edge = set(starts)
        for _ in range(min(hops, len(topology.nodes))):
            edge = {near for each in edge for near in neighbours[each]}
            if edge <= found and not edge - found:
                edge = edge or set()
            if not edge:
                break
            found |= edge
    return sorted(found)


def _links(topology: Topology, visible: Sequence[int]) -> Links:
    shown = set(visible)
    whole = len(shown) == len(topology.nodes)
    upstream = {
        position: topology.upstream[position]
        if whole
        else tuple(each for each in topology.upstream[position] if each in shown)
        for position in visible
    }
    return Links(upstream, {position: _nature(topology, position) for position in visible})


def _nature(topology: Topology, position: int) -> Hashable:
    """Say what a step is by itself: steps that differ here never share a stack."""
    node = topology.nodes[position]
    definition = node.call.definition
    return (
        definition.name,
        id(definition.fn) if definition.anonymous else 0,
        node.call.elements is not None,
        len(topology.order_only[position]),
        node.open,
        tuple(leaf.name for leaf in _leaves(node) if isinstance(leaf, ParamRef)),
    )


def _leaves(node: Node) -> Iterable[Expression]:
    for part in parts_of(node):
        yield from leaves(part)


# Grouping


def _groups(
    links: Links, *, collapse: bool, kept: Collection[int]
) -> tuple[list[tuple[int, ...]], str]:
    steps = len(links.upstream)
    if not collapse:
        return [(position,) for position in links.upstream], ""
    groups = _stacked(alike(links, SIDE_BY_SIDE))
    if _crowded(links, groups):
        classes = alike(links, 1)
        groups = _stacked(classes)
        if _crowded(links, groups):
            groups = [group for each in classes for group in _folded(each, kept)]
        if _crowded(links, groups):
            groups = _bands(links)
        groups.sort()
        if len(groups) < steps:
            return groups, f"{counted(steps, 'step')}, drawn as {count(len(groups))}"
    return sorted(groups), ""


def _crowded(links: Links, groups: Sequence[tuple[int, ...]]) -> bool:
    if len(groups) > CROWDED:
        return True
    home = {each: index for index, group in enumerate(groups) for each in group}
    pairs = {(home[e], home[p]) for p, upstream in links.upstream.items() for e in upstream}
    return len(pairs) > _CROWDED_EDGES


def _stacked(classes: Iterable[Sequence[Strand]]) -> list[tuple[int, ...]]:
    return [column for strands in classes for column in zip(*strands, strict=True)]


def _folded(strands: Sequence[Strand], kept: Collection[int]) -> list[tuple[int, ...]]:
    """Cut the middle out of a long chain, or of a stack of them."""
    columns = list(zip(*strands, strict=True))
    groups: list[tuple[int, ...]] = []
    run: list[tuple[int, ...]] = []
    for index, column in enumerate([*columns, ()]):
        at_the_end = index in (0, len(columns) - 1) or not column
        if not at_the_end and not any(each in kept for each in column):
            run.append(column)
            continue
        if len(run) >= _FEWEST_FOLDED:
            run = [tuple(sorted(each for part in run for each in part))]
        groups.extend(run)
        run = []
        if column:
            groups.append(column)
    return groups


def _bands(links: Links) -> list[tuple[int, ...]]:
    """Draw the steps of neighbouring depths as one, for want of anything better."""
    depth = depths(links)
    height = 1 + max(depth, default=0) // _BANDS
    bands: dict[int, list[int]] = {}
    for strand, level in zip(links.strands, depth, strict=True):
        bands.setdefault(level // height, []).extend(strand)
    return [tuple(sorted(band)) for band in bands.values()]


# Figures


def _figure(topology: Topology, members: tuple[int, ...]) -> Figure:
    first = members[0]
    calls = [topology.nodes[each].call for each in members]
    names = {call.definition.name for call in calls}
    key = f"n{first}"
    if len(members) == 1:
        elements = calls[0].elements
        if elements is None:
            return Figure(key, Kind.STEP, topology.names[first], members)
        return Figure(key, Kind.MAPPED, f"{topology.names[first]} × {count(elements.count)}", members)
    if len(names) == 1 and not _in_line(topology, members):
        return Figure(key, Kind.STACK, f"{names.pop()} × {count(len(members))}", members)
    return Figure(key, Kind.FOLD, f"… {counted(len(members), 'step')} …", members)


def _in_line(topology: Topology, members: tuple[int, ...]) -> bool:
    inside = set(members)
    return any(each in inside for member in members for each in topology.upstream[member])


def _arrows(topology: Topology, home: Mapping[int, str]) -> list[Arrow]:
    found: dict[tuple[str, str], bool] = {}
    for position, head in home.items():
        for source, order_only in (
            (topology.inputs[position], False),
            (topology.order_only[position], True),
        ):
            for each in source:
                tail = home.get(each)
                if tail is not None and tail != head:
                    found[tail, head] = found.get((tail, head), True) and order_only
    return [Arrow(tail, head, order_only) for (tail, head), order_only in found.items()]


def _elsewhere(
    topology: Topology, figures: Iterable[Figure], home: Mapping[int, str]
) -> tuple[list[Figure], list[Arrow]]:
    """Stand something in for the neighbours that a focused picture leaves out."""
    stubs: list[Figure] = []
    arrows: list[Arrow] = []
    if len(home) == len(topology.nodes):
        return stubs, arrows
    for figure in figures:
        for neighbours, above in ((topology.upstream, True), (topology.downstream, False)):
            hidden = {
                near for each in figure.members for near in neighbours[each] if near not in home
            }
            if hidden:
                stub = Figure(f"e{len(stubs)}", Kind.ELSEWHERE, f"… {count(len(hidden))} more")
                stubs.append(stub)
                ends = (stub.key, figure.key) if above else (figure.key, stub.key)
                arrows.append(Arrow(*ends))
    return stubs, arrows


@dataclass
class _Feeds:
    """What flows into steps from outside: parameters, constants, missing inputs."""

    topology: Topology
    figures: dict[Hashable, Figure] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)

    def feed(self, figure: Figure) -> None:
        """Add what flows into a figure."""
        nodes = [self.topology.nodes[each] for each in figure.members]
        params = dict.fromkeys(
            leaf.name for node in nodes for leaf in _leaves(node) if isinstance(leaf, ParamRef)
        )
        if len(params) > _MANY_FEEDS:
            self._join(figure, Kind.PARAM, tuple(params), f"{count(len(params))} parameters")
        else:
            for name in params:
                self._join(figure, Kind.PARAM, name, name)
        missing = dict.fromkeys(name for node in nodes if node.open for name in _missing(node))
        for name in list(missing)[:_MANY_FEEDS]:
            self._join(figure, Kind.INPUT, name, name)
        self._feed_constants(figure, nodes)

    def _feed_constants(self, figure: Figure, nodes: Sequence[Node]) -> None:
        found = {id(each): each.value for node in nodes for each in _flowed_in(node)}
        if not found:
            return
        if len(found) == 1 or len(found) > _MANY_FEEDS or len(nodes) > 1:
            values = list(found.values())
            title = described(values[0]) if len(values) == 1 else counted(len(values), "value")
            self._join(figure, Kind.CONSTANT, tuple(found), title)
            return
        for key, value in found.items():
            self._join(figure, Kind.CONSTANT, (key,), described(value))

    def _join(self, figure: Figure, kind: Kind, identity: Hashable, title: str) -> None:
        known = self.figures.get((kind, identity))
        if known is None:
            if len(self.figures) >= CROWDED:
                return
            known = Figure(f"{kind[0]}{len(self.figures)}", kind, title)
            self.figures[kind, identity] = known
        self.arrows.append(Arrow(known.key, figure.key))


def _flowed_in(node: Node) -> Iterable[Const]:
    """Go through the constants that came over ``>>``; those of ``.s()`` are not drawn."""
    own = len(node.args) - len(node.call.args)
    named = len(node.kwargs) - len(node.call.kwargs)
    parts = [*node.args[:own], *(part for _, part in node.kwargs[:named])]
    for part in parts:
        for leaf in leaves(part):
            if isinstance(leaf, Const):
                yield leaf


def _missing(node: Node) -> tuple[str, ...]:
    given = len(node.args) + (node.call.elements is not None)
    names = node.call.definition.arity.missing(given, [name for name, _ in node.kwargs])
    return names or ("input",)


_SHAPED = ("pandas", "numpy", "polars", "pyarrow")
_SPELLED = (bool, int, float, type(None))


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
        shown = repr(value) if kind is not int or value.bit_length() < 64 else "int"
        return shown
    if kind in (list, tuple, dict):
        return f"{kind.__name__} of {count(len(value))}"
    if kind.__module__.split(".")[0] in _SHAPED:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(type(each) is int for each in shape):
            rows, columns = (*shape, None, None)[:2]
            return f"{kind.__name__} {dimensions(rows, columns)}".rstrip()
    return kind.__name__


def checked(direction: Any, collapse: Any, hops: Any) -> None:
    """Refuse drawing options that cannot mean anything.

    Raises
    ------
    FlowError
        Naming the option and what it may be.
    """
    if direction not in ("LR", "TB"):
        raise FlowError(
            f"the drawing option 'direction' is {direction!r}; it must be 'LR' (from left to "
            f"right) or 'TB' (from top to bottom)"
        )
    if not isinstance(collapse, bool):
        raise FlowError(f"the drawing option 'collapse' is {collapse!r}; it must be True or False")
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise FlowError(
            f"the drawing option 'hops' is {hops!r}; it must be a whole number of at least 0"
        )
