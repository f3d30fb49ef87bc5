"""What a picture of a flow shows, before anything is said about how it looks.

A scene is small whatever the flow: alike steps become stacks, long chains are
folded, and in the last resort whole regions are. DOT and Mermaid are both written
from it.
"""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING

from nbflow.errors import UnknownStepError, did_you_mean, quoted
from nbflow.notebook.arms import Wires, wires
from nbflow.notebook.feeds import Feeds
from nbflow.notebook.figure import Arrow, Figure, Scene, at_once, numbered
from nbflow.notebook.frames import Level, frames
from nbflow.notebook.grouping import family, groups, links
from nbflow.notebook.style import Kind
from nbflow.notebook.traits import chunked, traits
from nbflow.notebook.wording import count, counted, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from nbflow.algebra.topology import Topology

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
    starts, edges = _starts(topology, focus), wires(topology)
    linked = links(topology, edges, _visible(edges, starts, hops), starts)
    found, note = groups(linked, collapse=collapse, kept={*kept, *starts})
    around = frames(topology, found)
    figures = [
        _figure(topology, edges, members, bare, frame)
        for members, bare, frame in zip(found, around.bare, around.home, strict=True)
    ]
    home = {each: figure for figure in figures for each in figure.members}
    arrows = _arrows(edges, home)
    feeds = Feeds(topology, edges.entries)
    for figure in figures:
        feeds.feed(figure)
    for arm in edges.idle:
        feeds.idle(arm, home)
    stubs, cut = _elsewhere(edges, figures, home)
    if len(home) < len(topology.nodes):
        hidden = len(topology.nodes) - len(home)
        note = f"{counted(hidden, 'step')} further away not shown" + (f"; {note}" if note else "")
    return Scene(
        (*figures, *feeds.figures.values(), *stubs),
        (*feeds.arrows, *arrows, *cut),
        frozenset(home[each].key for each in starts),
        note,
        around.drawn,
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


def _visible(edges: Wires, starts: Sequence[int], hops: int) -> Sequence[int]:
    if not starts:
        return range(len(edges.upstream))
    found = set(starts)
    for neighbours in (edges.upstream, edges.downstream):
        edge, seen = set(starts), set(starts)
        for _ in range(min(hops, len(edges.upstream))):
            edge = {near for each in edge for near in neighbours[each]} - seen
            if not edge:
                break
            seen |= edge
        found |= seen
    return sorted(found)


# Figures


def _figure(
    topology: Topology, edges: Wires, members: tuple[int, ...], bare: tuple[Level, ...], frame: str
) -> Figure:
    first = members[0]
    calls = [topology.nodes[each].call for each in members]
    names = {call.definition.name for call in calls}
    key = f"n{first}"
    decides = calls[0].decision is not None
    axis = topology.nodes[first].axis
    times = tuple(level.axis.count for level in bare if level.axis is not None)
    detail = _detail(topology, first, bare)
    if len(members) == 1:
        depth = 0 if axis is None else len(axis.lineage)
        kind = Kind.BRANCH if decides else Kind.MAPPED if times else Kind.STEP
        return Figure(key, kind, topology.names[first], members, detail, times, depth, frame)
    shared = next(iter(names)) if len(names) == 1 else _beginning(names)
    if shared and not _in_line(edges, members):
        title = f"{shared} × {count(len(members))}"
        kind = Kind.BRANCH if decides else Kind.STACK
        each = f"each{''.join(f' × {numbered(number)}' for number in times)}" if times else ""
        told = ", ".join(part for part in (each, detail) if part)
        return Figure(key, kind, title, members, told, frame=frame)
    title = f"… {counted(len(members), 'step')} …"
    summed = _summed(call.definition.name for call in calls)
    return Figure(key, Kind.FOLD, title, members, summed, frame=frame)


def _detail(topology: Topology, position: int, bare: Iterable[Level]) -> str:
    """Say what is not seen from the shape of a step."""
    parts = traits(topology.nodes[position].call)
    for level in bare:
        if level.axis is not None:
            parts += chunked(level.axis)
        limit = level.cap or level.axis
        if limit is not None and limit.limit is not None:
            parts.append(at_once(limit.limit))
    return ", ".join(parts)


def _summed(names: Iterable[str]) -> str:
    """Say which functions are called, the most frequent first."""
    found = Counter(names).most_common()
    if len(found) > _NAMED and found[0][1] == 1:
        families = Counter(family(name) for name, _ in found)
        found = [(f"{word}…", times) for word, times in families.most_common()]
    parts = [
        printable(name, _NAME) + (f" × {count(times)}" if times > 1 else "")
        for name, times in found[:_NAMED]
    ]
    return ", ".join(parts) + (", …" if len(found) > _NAMED else "")


def _beginning(names: Collection[str]) -> str:
    """Say how the names of steps begin that are all named alike; nothing where they are not."""
    if len({family(name) for name in names}) > 1:
        return ""
    # What the first and the last of them in order have in common, all have.
    first, last = min(names), max(names)
    same = takewhile(lambda signs: signs[0] == signs[1], zip(first, last, strict=False))
    return "".join(sign for sign, _ in same) + "…"


def _in_line(edges: Wires, members: tuple[int, ...]) -> bool:
    inside = set(members)
    return any(each in inside for member in members for each in edges.upstream[member])


def _arrows(edges: Wires, home: Mapping[int, Figure]) -> list[Arrow]:
    found: dict[tuple[str, str], bool] = {}
    cases: dict[tuple[str, str], dict[str, None]] = {}
    idle: set[tuple[str, str]] = set()
    for position, figure in home.items():
        waited = edges.order_only[position]
        for each in edges.drawn[position]:
            tail = home.get(each)
            if tail is None or tail is figure:
                continue
            ends = tail.key, figure.key
            found[ends] = found.get(ends, True) and each in waited
            if tail.kind is Kind.BRANCH and (each, position) in edges.cases:
                cases.setdefault(ends, {}).update(dict.fromkeys(edges.cases[each, position]))
                entry = edges.entries[position]
                if entry is None or entry.position != each:
                    idle.add(ends)
    return [
        Arrow(*ends, order_only, tuple(cases.get(ends, ())), ends in idle)
        for ends, order_only in found.items()
    ]


def _elsewhere(
    edges: Wires, figures: Iterable[Figure], home: Mapping[int, Figure]
) -> tuple[list[Figure], list[Arrow]]:
    """Stand something in for the neighbours that a focused picture leaves out."""
    stubs: list[Figure] = []
    arrows: list[Arrow] = []
    if len(home) == len(edges.upstream):
        return stubs, arrows
    for figure in figures:
        for neighbours, above in ((edges.upstream, True), (edges.downstream, False)):
            hidden = {
                near for each in figure.members for near in neighbours[each] if near not in home
            }
            if hidden:
                stub = Figure(f"e{len(stubs)}", Kind.ELSEWHERE, f"… {count(len(hidden))} more")
                stubs.append(stub)
                ends = (stub.key, figure.key) if above else (figure.key, stub.key)
                arrows.append(Arrow(*ends))
    return stubs, arrows
