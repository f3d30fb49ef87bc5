"""Cuts a flow into segments, group by group."""

from __future__ import annotations

from dataclasses import dataclass, field

from nbflow.algebra.expression import (
    Choice,
    Expression,
    ListOf,
    Node,
    members_of,
    nodes_in,
    parts_of,
)
from nbflow.algebra.regions import Region
from nbflow.algebra.topology import Topology
from nbflow.planning.grouping import Group
from nbflow.planning.segment import Block, Lane, Segment

# As many tasks as this at most compute blocks of one tree; each hears from the whole map.
_MOST_BLOCKS = 8


@dataclass(slots=True)
class Cutter:
    """The segments so far, and the maps among them by step."""

    topology: Topology
    threads: int
    segments: list[Segment] = field(default_factory=list)
    homes: list[tuple[int, ...]] = field(default_factory=list)
    maps: dict[int, Region] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.homes:
            self.homes = [() for _ in self.topology.nodes]

    def place(self, group: Group) -> None:
        """Add the segments of a group, whose upstream has been placed."""
        if group.region is not None:
            self.maps.update(dict.fromkeys(group.region.positions, group.region))
            self._place_region(group.region)
        elif group.limit is not None:
            self._place_lot(group.chains, group.limit)
        else:
            whole = [chain for chain in group.chains if not self._place_tree(chain)]
            start = 0
            for size in sizes(len(whole), self.threads):
                units = tuple(map(tuple, whole[start : start + size]))
                self.add(Segment(units, self.upstream(units)))
                start += size

    def _place_tree(self, chain: list[int]) -> bool:
        """Add a step that reduces a map in blocks, and what follows it, if it can be so."""
        source = self._source(chain[0])
        if source is None:
            return False
        axis = self.topology.nodes[source].axis
        assert axis is not None
        split_every = self.topology.nodes[chain[0]].call.split_every
        assert split_every is not None
        count = min(self.threads, _MOST_BLOCKS)
        if axis.count is not None:
            count = min(count, axis.count // (2 * split_every))
        if count < 2:
            return False
        first, upstream = len(self.segments), self.upstream(((chain[0],),))
        for number in range(count):
            # All of the map, not only its own elements: a block runs if the step may run.
            block = Block(number, count, source, axis.count)
            self.segments.append(Segment(((chain[0],),), upstream, block=block))
        # Not from the map: all that it gave comes through the blocks.
        rest = [each for each in self.upstream((tuple(chain),)) if each not in self.homes[source]]
        self.add(Segment((tuple(chain),), (*range(first, first + count), *rest)))
        return True

    def _source(self, position: int) -> int | None:
        """Find the map that a step reduces and that can be cut: none of its elements is left out.

        Of a list from which something may be missing, nobody knows beforehand which
        elements are neighbours.
        """
        node = self.topology.nodes[position]
        options = node.call.definition.options
        bound = options.when or options.timeout or options.lock
        first = node.args[0] if node.args else None
        if node.call.split_every is None or node.axis or bound or not isinstance(first, Node):
            return None
        source = self.topology.index[id(first)]
        region = self.maps.get(source)
        if region is None or first.axis is None or len(first.axis.lineage) > 1:
            return None
        others = (*node.args[1:], *(part for _, part in node.kwargs), *node.after)
        needed = (self.topology.index[id(each)] for part in others for each in nodes_in(part))
        # Else a block would need all that it is to be spared.
        apart = not any(each in region.positions for each in needed)
        return source if apart and self._complete(region) else None

    def _complete(self, region: Region) -> bool:
        """Tell whether a map has a value for every element, unless it has none at all."""
        arms = self.topology.demands.arms
        for position in region.positions:
            node, arm = self.topology.nodes[position], arms[position]
            assert node.axis is not None
            parts = parts_of(node)
            if (
                any(axis.collect or isinstance(axis.items, ListOf) for axis in node.axis.lineage)
                or node.call.definition.options.when
                or any(map(_chooses, parts))
                or (arm is not None and arm.position in region.positions)
            ):
                return False
        return True

    def _place_region(self, region: Region) -> None:
        axis = region.axis
        assert axis is not None
        options = [self.topology.nodes[each].call.definition.options for each in region.positions]
        alone = any(each.isolated for each in options)
        unit = (region.positions,)
        if axis.limit is None and axis.count is not None and not callable(axis.label):
            self._place_batches(region, axis.count, alone=alone)
            return
        lanes = min(axis.limit or self.threads, axis.count or self.threads)
        lanes = axis.limit if axis.limit and axis.count is None else max(1, lanes)
        upstream = self.upstream(unit)
        queue = len(self.segments)
        for number in range(lanes):
            lane = Lane(queue, number, lanes, capped=axis.limit is not None or alone)
            self.add(Segment(unit, upstream, region, lane=lane))

    def _place_batches(self, region: Region, count: int, *, alone: bool) -> None:
        assert region.axis is not None
        start = 0
        together = 1 if alone else region.axis.together
        for size in sizes(count, self.threads, together=together) or [0]:
            upstream = self._upstream_of_batch(region, start, start + size)
            self.add(Segment((region.positions,), upstream, region, start, start + size))
            start += size

    def _place_lot(self, members: list[list[int]], limit: int) -> None:
        units = tuple(map(tuple, members))
        upstream, queue = self.upstream(units), len(self.segments)
        count = min(limit, len(units))
        for number in range(count):
            self.add(Segment(units, upstream, lane=Lane(queue, number, count, capped=True)))

    def add(self, segment: Segment) -> None:
        """Add a segment, the home of its steps."""
        for position in segment.positions:
            self.homes[position] = (*self.homes[position], len(self.segments))
        self.segments.append(segment)

    def upstream(self, units: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        """List the segments that must come before steps."""
        inside = {position for unit in units for position in unit}
        found = dict.fromkeys(
            home
            for unit in units
            for position in unit
            for each in self.topology.upstream[position]
            if each not in inside
            for home in self.homes[each]
        )
        return tuple(found)

    def _upstream_of_batch(self, region: Region, start: int, stop: int) -> tuple[int, ...]:
        assert region.axis is not None
        items = region.axis.items
        if not isinstance(items, ListOf):
            return self.upstream((region.positions,))
        # Of what the items need, a batch waits only for what its own items need.
        inside, found = set(region.positions), dict[int, None]()
        for position in region.positions:
            node = self.topology.nodes[position]
            parts = [part for part in (*parts_of(node), *node.after) if part is not items]
            guard = self.topology.guards[position]
            needed = [self.topology.index[id(each)] for part in parts for each in nodes_in(part)]
            needed += [] if guard is None else [guard.position]
            found.update(dict.fromkeys(each for each in needed if each not in inside))
        for member in items.members[start:stop]:
            found.update(dict.fromkeys(self.topology.index[id(each)] for each in nodes_in(member)))
        return tuple(dict.fromkeys(home for each in found for home in self.homes[each]))


def _chooses(expression: Expression) -> bool:
    return isinstance(expression, Choice) or any(map(_chooses, members_of(expression)))


def sizes(count: int, threads: int, *, together: int | None = None) -> list[int]:
    """Size the batches of alike work by guided self-scheduling.

    Each batch is a share of what is left, so the first are large, which saves
    messages, and the last are single, which keeps the end balanced. After
    Polychronopoulos and Kuck, IEEE Transactions on Computers C-36 (1987), with half
    their share, since the first elements may be the slow ones.

    Parameters
    ----------
    count
        How many pieces of work there are.
    threads
        How many run at once.
    together
        How many travel together, if that is not for this function to choose.

    Examples
    --------
    >>> sizes(20, 2)
    [5, 4, 3, 2, 2, 1, 1, 1, 1]
    """
    found = []
    while count:
        size = min(count, together) if together else -(-count // (2 * threads))
        found.append(size)
        count -= size
    return found
