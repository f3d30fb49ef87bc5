"""Which steps of a flow share a figure, so that a picture stays small."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nbflow.algebra.expression import ParamRef
from nbflow.notebook.feeds import leaves_of
from nbflow.notebook.stacks import Links, Strand, alike, depths
from nbflow.notebook.traits import traits
from nbflow.notebook.wording import count, counted

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Sequence

    from nbflow.algebra.topology import Topology
    from nbflow.notebook.arms import Wires

SIDE_BY_SIDE = 8
CROWDED = 150
_CROWDED_EDGES = 600
_FEWEST_FOLDED = 3
_BANDS = 40
_WORD = re.compile(r"[^\W\d_]+")


def links(topology: Topology, wires: Wires, visible: Sequence[int], starts: Sequence[int]) -> Links:
    """Say what each step that is shown is linked to, and what it is like.

    Parameters
    ----------
    topology
        The flow.
    wires
        Its edges, as they are drawn.
    visible
        The steps that are shown.
    starts
        Those that the user asked for.
    """
    shown = set(visible)
    whole = len(shown) == len(topology.nodes)
    upstream = {
        position: wires.upstream[position]
        if whole
        else tuple(each for each in wires.upstream[position] if each in shown)
        for position in visible
    }
    kinds = {position: _nature(topology, wires, position) for position in visible}
    # What the user asked to see is like nothing else, so no stack hides it.
    kinds.update({position: position for position in starts})
    return Links(upstream, kinds)


def _nature(topology: Topology, wires: Wires, position: int) -> Hashable:
    """Say what a step is by itself: steps that differ here never share a stack."""
    node = topology.nodes[position]
    call, definition = node.call, node.call.definition
    entry, lot = wires.entries[position], topology.demands.lots[position]
    lineage = () if node.axis is None else node.axis.lineage
    return (
        definition.name,
        id(definition.fn) if definition.anonymous else 0,
        tuple((each.count, each.size, each.limit) for each in lineage),
        len(topology.order_only[position]),
        node.open,
        tuple(leaf.name for leaf in leaves_of(node) if isinstance(leaf, ParamRef)),
        call.decision is not None,
        # By name: a recorded flow has other placeholders for the same function.
        tuple(traits(call)),
        None if entry is None else entry.arm,
        None if lot is None else id(lot.cap),
    )


def groups(
    linked: Links, *, collapse: bool, kept: Collection[int]
) -> tuple[list[tuple[int, ...]], str]:
    """Decide which steps share a figure.

    Parameters
    ----------
    linked
        The steps.
    collapse
        Whether any may.
    kept
        Positions that folding a long chain must leave to be seen.

    Returns
    -------
    The groups in order, and in words what is not drawn for itself.
    """
    steps = len(linked.upstream)
    if not collapse:
        return [(position,) for position in linked.upstream], ""
    found = _stacked(alike(linked, SIDE_BY_SIDE))
    if _crowded(linked, found):
        classes = alike(linked, 1)
        found = _stacked(classes)
        if _crowded(linked, found):
            found = [group for each in classes for group in _folded(each, kept)]
        if _crowded(linked, found):
            found = _stacked(alike(_families(linked), 1))
        if _crowded(linked, found):
            found = _bands(linked)
        found.sort()
        if len(found) < steps:
            said = f"{counted(steps, 'step')} drawn as {count(len(found))}"
            return found, f"{said}; focus= shows the surroundings of one, collapse=False all"
    return sorted(found), ""


def family(name: str) -> str:
    """Give the first word of a name: what steps have in common that are numbered, or named alike.

    Examples
    --------
    >>> family("read_17"), family("load_orders"), family("load2024"), family("_x")
    ('read', 'load', 'load', '_x')
    """
    found = _WORD.match(name)
    return name if found is None else found.group()


def _families(linked: Links) -> Links:
    """Take steps for alike whose names only begin alike."""
    kinds = {
        position: (family(nature[0]), *nature[2:]) if isinstance(nature, tuple) else nature
        for position, nature in linked.kinds.items()
    }
    return Links(linked.upstream, kinds)


def _crowded(linked: Links, found: Sequence[tuple[int, ...]]) -> bool:
    if len(found) > CROWDED:
        return True
    home = {each: index for index, group in enumerate(found) for each in group}
    pairs = {(home[e], home[p]) for p, upstream in linked.upstream.items() for e in upstream}
    return len(pairs) > _CROWDED_EDGES


def _stacked(classes: Iterable[Sequence[Strand]]) -> list[tuple[int, ...]]:
    return [column for strands in classes for column in zip(*strands, strict=True)]


def _folded(strands: Sequence[Strand], kept: Collection[int]) -> list[tuple[int, ...]]:
    """Cut the middle out of a long chain, or of a stack of them."""
    columns = list(zip(*strands, strict=True))
    found: list[tuple[int, ...]] = []
    run: list[tuple[int, ...]] = []
    for index, column in enumerate([*columns, ()]):
        at_the_end = index in (0, len(columns) - 1) or not column
        if not at_the_end and not any(each in kept for each in column):
            run.append(column)
            continue
        if len(run) >= _FEWEST_FOLDED:
            run = [tuple(sorted(each for part in run for each in part))]
        found.extend(run)
        run = []
        if column:
            found.append(column)
    return found


def _bands(linked: Links) -> list[tuple[int, ...]]:
    """Draw the steps of neighbouring depths as one, for want of anything better."""
    depth = depths(linked)
    height = 1 + max(depth, default=0) // _BANDS
    bands: dict[int, list[int]] = {}
    for strand, level in zip(linked.strands, depth, strict=True):
        bands.setdefault(level // height, []).extend(strand)
    return [tuple(sorted(band)) for band in bands.values()]
