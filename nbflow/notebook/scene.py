"""What a picture of a flow shows, before anything is said about how it looks.

A scene is small whatever the flow: alike steps become stacks, long chains are
folded, and in the last resort whole regions are. DOT and Mermaid are both written
from it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from nbflow.errors import FlowError, UnknownStepError, did_you_mean, quoted
from nbflow.expression import ParamRef
from nbflow.notebook.feeds import Feeds, leaves_of
from nbflow.notebook.figure import Arrow, Figure, Scene
from nbflow.notebook.stacks import Links, Strand, alike, depths
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import count, counted, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

    from nbflow.topology import Topology

SIDE_BY_SIDE = 8
CROWDED = 150
_CROWDED_EDGES = 600
_FEWEST_FOLDED = 3
_BANDS = 40
_NAMED = 2
_NAME = 20


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
    starts = _starts(topology, focus)
    links = _links(topology, _visible(topology, starts, hops), starts)
    groups, note = _groups(links, collapse=collapse, kept={*kept, *starts})
    figures = [_figure(topology, members) for members in groups]
    home = {each: figure.key for figure in figures for each in figure.members}
    arrows = _arrows(topology, home)
    feeds = Feeds(topology)
    for figure in figures:
        feeds.feed(figure)
    stubs, cut = _elsewhere(topology, figures, home)
    if len(home) < len(topology.nodes):
        hidden = len(topology.nodes) - len(home)
        note = f"{counted(hidden, 'step')} further away not shown" + (f"; {note}" if note else "")
    return Scene(
        (*figures, *feeds.figures.values(), *stubs),
        (*feeds.arrows, *arrows, *cut),
        frozenset(home[each] for each in starts),
        note,
    )


def _starts(topology: Topology, focus: str | Iterable[str] | None) -> list[int]:
    if focus is None:
        return []
    names = [focus] if isinstance(focus, str) else list(focus)
    for name in names:
        if name not in topology.positions:
            raise UnknownStepError(
                f"the flow has no step {quoted(name)} to focus on; "
                f"{did_you_mean(name, topology.names)}"
            )
    return [topology.positions[name] for name in names]


def _visible(topology: Topology, starts: Sequence[int], hops: int) -> Sequence[int]:
    if not starts:
        return range(len(topology.nodes))
    found = set(starts)
    for neighbours in (topology.upstream, topology.downstream):
        edge, seen = set(starts), set(starts)
        for _ in range(min(hops, len(topology.nodes))):
            edge = {near for each in edge for near in neighbours[each]} - seen
            if not edge:
                break
            seen |= edge
        found |= seen
    return sorted(found)


def _links(topology: Topology, visible: Sequence[int], starts: Sequence[int]) -> Links:
    shown = set(visible)
    whole = len(shown) == len(topology.nodes)
    upstream = {
        position: topology.upstream[position]
        if whole
        else tuple(each for each in topology.upstream[position] if each in shown)
        for position in visible
    }
    kinds = {position: _nature(topology, position) for position in visible}
    # What the user asked to see is like nothing else, so no stack hides it.
    kinds.update({position: position for position in starts})
    return Links(upstream, kinds)


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
        tuple(leaf.name for leaf in leaves_of(node) if isinstance(leaf, ParamRef)),
    )


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
            said = f"{counted(steps, 'step')} drawn as {count(len(groups))}"
            return groups, f"{said}; focus= shows the surroundings of one, collapse=False all"
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
        return Figure(
            key, Kind.MAPPED, f"{topology.names[first]} × {count(elements.count)}", members
        )
    if len(names) == 1 and not _in_line(topology, members):
        return Figure(key, Kind.STACK, f"{names.pop()} × {count(len(members))}", members)
    title = f"… {counted(len(members), 'step')} …"
    return Figure(key, Kind.FOLD, title, members, _summed(call.definition.name for call in calls))


def _summed(names: Iterable[str]) -> str:
    """Say which functions are called, the most frequent first."""
    found = Counter(names).most_common()
    parts = [
        printable(name, _NAME) + (f" × {count(times)}" if times > 1 else "")
        for name, times in found[:_NAMED]
    ]
    return ", ".join(parts) + (", …" if len(found) > _NAMED else "")


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


def checked(direction: Any, collapse: Any, focus: Any, hops: Any) -> None:
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
    names = [focus] if isinstance(focus, str) else focus
    listed = isinstance(names, (list, tuple)) and names and all(isinstance(n, str) for n in names)
    if focus is not None and not listed:
        raise FlowError(
            f"the drawing option 'focus' is {focus!r}; it must be the name of a step, or a list "
            f"of names"
        )
