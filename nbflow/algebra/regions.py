"""A flow in the order in which it is computed, mapped steps nested in their maps."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeAlias

from nbflow.algebra.expression import Axis
from nbflow.algebra.topology import Topology, axis_identity

Part: TypeAlias = "int | Region"


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Steps that are computed together, once for each element of a map.

    Attributes
    ----------
    axis
        The map; None for the flow itself.
    parts
        Steps by position, and the maps among them, each after all that it needs.
    positions
        All the steps, those of inner maps included.
    """

    axis: Axis | None
    parts: tuple[Part, ...]
    positions: tuple[int, ...]


def regions(topology: Topology) -> Region:
    """Nest the steps of a flow in their maps.

    Examples
    --------
    >>> from nbflow import step
    >>> flow = step(len).map(["a", "bc"]) >> step(sum)
    >>> [type(part).__name__ for part in regions(flow.topology).parts]
    ['Region', 'int']
    """
    return _region(topology, None, tuple(range(len(topology.nodes))), 0)


def part_of(topology: Topology, positions: tuple[int, ...]) -> tuple[Part, ...]:
    """Nest some of the steps of a flow in their maps."""
    return _region(topology, None, positions, 0).parts


def _region(
    topology: Topology, axis: Axis | None, positions: tuple[int, ...], depth: int
) -> Region:
    lineages = {each: _lineage(topology, each) for each in positions}
    if all(len(lineage) == depth for lineage in lineages.values()):
        return Region(axis, positions, positions)

    def home(position: int) -> Hashable:
        lineage = lineages[position]
        return position if len(lineage) == depth else axis_identity(lineage[depth], topology.index)

    parts: list[Part] = []
    for group in contracted(positions, topology.upstream, home):
        lineage = lineages[group[0]]
        if len(lineage) == depth:
            parts.append(group[0])
        else:
            parts.append(_region(topology, lineage[depth], group, depth + 1))
    return Region(axis, tuple(parts), positions)


def _lineage(topology: Topology, position: int) -> tuple[Axis, ...]:
    axis = topology.nodes[position].axis
    return () if axis is None else axis.lineage


def contracted(
    positions: Sequence[int],
    upstream: Sequence[Sequence[int]],
    home: Callable[[int], Hashable],
) -> list[tuple[int, ...]]:
    """Order groups of steps so that each comes after all the groups that it needs.

    Parameters
    ----------
    positions
        The steps, in topological order.
    upstream
        What each step of the flow waits for.
    home
        Gives the group of a step.
    """
    members: dict[Hashable, list[int]] = {}
    homes: Mapping[int, Hashable] = {each: home(each) for each in positions}
    for position in positions:
        members.setdefault(homes[position], []).append(position)
    waits: dict[Hashable, set[Hashable]] = {group: set() for group in members}
    for position in positions:
        mine = homes[position]
        waits[mine] |= {homes[each] for each in upstream[position] if each in homes} - {mine}
    needed_by: dict[Hashable, list[Hashable]] = {group: [] for group in members}
    for group, needs in waits.items():
        for need in needs:
            needed_by[need].append(group)
    ready = [(members[group][0], group) for group, needs in waits.items() if not needs]
    ready.sort(key=lambda each: each[0])
    found: list[tuple[int, ...]] = []
    order = {group: index for index, group in enumerate(members)}
    heap = [(first, order[group], group) for first, group in ready]
    while heap:
        _, _, group = heappop(heap)
        found.append(tuple(members[group]))
        for other in needed_by[group]:
            waits[other].discard(group)
            if not waits[other]:
                heappush(heap, (members[other][0], order[other], other))
    return found
