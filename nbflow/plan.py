"""Which steps travel together: a flow cut into segments, each one Dask task.

A dependent Dask task costs milliseconds, a step inside a task microseconds. So
linear chains are fused (their steps could not run side by side anyway), and alike
work travels in batches. Deciding this is pure: nothing is run or sent.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbflow.definition import Options
from nbflow.expression import ListOf, nodes_in, parts_of
from nbflow.regions import Region, contracted, regions
from nbflow.topology import Topology


@dataclass(frozen=True, slots=True)
class Lane:
    """One of several tasks that share work, each taking more when it is done.

    Attributes
    ----------
    queue
        Which work they share, by number.
    number, count
        Which lane this is, of how many.
    capped
        Whether more lanes than these must not run; then work is taken piece by piece.
    """

    queue: int
    number: int
    count: int
    capped: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that travel as one Dask task.

    Attributes
    ----------
    units
        The nodes, in groups that do not depend on one another; each node after all
        that it needs.
    upstream
        The segments that must come before.
    region
        The map whose elements are computed, where it is one.
    start, stop
        Which of its elements.
    lane
        Which of the lanes that share the units, or the elements, among them.
    """

    units: tuple[tuple[int, ...], ...]
    upstream: tuple[int, ...]
    region: Region | None = None
    start: int = 0
    stop: int = 0
    lane: Lane | None = None

    @property
    def positions(self) -> tuple[int, ...]:
        """All the nodes."""
        return tuple(position for unit in self.units for position in unit)


@dataclass(frozen=True, slots=True)
class Plan:
    """The segments of a flow, each after those that it needs.

    Attributes
    ----------
    segments
        What travels.
    homes
        For each node, the segments that compute it: one, or the batches of a map.
    """

    segments: tuple[Segment, ...]
    homes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, topology: Topology, threads: int) -> Plan:
        """Cut a flow into segments.

        Parameters
        ----------
        topology
            The flow, complete.
        threads
            How many steps the cluster can run at once; it decides the size of batches.

        Examples
        --------
        >>> from nbflow import step
        >>> flow = [step(len).s("ab"), step(len).s("c")] >> step(sum) >> step(str)
        >>> [segment.positions for segment in Plan.of(flow.topology, 2).segments]
        [(0,), (1,), (2, 3)]
        """
        cutter = _Cutter(topology, threads)
        for group in _grouped(topology):
            cutter.place(group)
        return cls(tuple(cutter.segments), tuple(cutter.homes))

    @property
    def shares(self) -> bool:
        """Whether lanes share work, for which they need a desk on the scheduler."""
        return any(each.lane is not None for each in self.segments)

    def redriven(
        self, topology: Topology, dead: Mapping[int, Sequence[int]], threads: int
    ) -> Redrive:
        """Add what computes some elements again, and then all that depends on them.

        Parameters
        ----------
        topology
            The flow that this is the plan of.
        dead
            The numbers of the elements, by the position of a mapped step.
        threads
            How many steps the cluster can run at once.
        """
        again: dict[int, tuple[Region, set[int]]] = {}
        for part in regions(topology).parts:
            if isinstance(part, Region):
                numbers = {n for each in part.positions for n in dead.get(each, ())}
                again.update(dict.fromkeys(part.positions, (part, numbers)) if numbers else {})
        later = _depending(topology, again)
        homes = [() if n in later else each for n, each in enumerate(self.homes)]
        cutter = _Cutter(topology, threads, list(self.segments), homes)
        once = {id(region): (region, n) for p, (region, n) in again.items() if p not in later}
        for region, numbers in once.values():
            upstream = cutter.upstream((region.positions,))
            for number in sorted(numbers):
                unit = (region.positions,)
                cutter.add(Segment(unit, upstream, region, number, number + 1))
        for group in _grouped(topology):
            kept = group.within(later)
            if kept is not None:
                cutter.place(kept)
        plan = Plan(tuple(cutter.segments), tuple(cutter.homes))
        numbers_of = {p: tuple(sorted(n)) for p, (_, n) in again.items() if p not in later}
        return Redrive(plan, len(self.segments), numbers_of, frozenset(later))


@dataclass(frozen=True, slots=True)
class Redrive:
    """A plan that goes on from another one.

    Attributes
    ----------
    plan
        The old segments, and after them those that are to be computed.
    first
        The number of the first of these.
    again
        The elements that are computed again, by the position of their step.
    later
        The steps that are computed again as a whole.
    """

    plan: Plan
    first: int
    again: Mapping[int, tuple[int, ...]]
    later: frozenset[int]


def _depending(topology: Topology, positions: Iterable[int]) -> set[int]:
    """Find all steps that depend on the elements of some maps as a whole."""
    start = set(positions)
    inside = {each: topology.nodes[each].axis for each in start}
    found: set[int] = set()
    for position, upstream in enumerate(topology.upstream):
        axis = topology.nodes[position].axis
        for each in upstream:
            other = inside.get(each)
            same = axis is not None and other is not None
            if same and axis.lineage[0].key is other.lineage[0].key:  # type: ignore[union-attr]
                continue
            if each in start or each in found:
                found.add(position)
    return found


@dataclass(slots=True)
class _Cutter:
    """The segments so far."""

    topology: Topology
    threads: int
    segments: list[Segment] = field(default_factory=list)
    homes: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.homes:
            self.homes = [() for _ in self.topology.nodes]

    def place(self, group: _Group) -> None:
        if group.region is not None:
            self._place_region(group.region)
        elif group.limit is not None:
            self._place_lot(group.chains, group.limit)
        else:
            start = 0
            for size in sizes(len(group.chains), self.threads):
                units = tuple(map(tuple, group.chains[start : start + size]))
                self.add(Segment(units, self.upstream(units)))
                start += size

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
        for position in segment.positions:
            self.homes[position] = (*self.homes[position], len(self.segments))
        self.segments.append(segment)

    def upstream(self, units: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
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


# Which nodes belong together


@dataclass(frozen=True, slots=True)
class _Group:
    """Alike chains, one map, or the members of a capped group."""

    chains: list[list[int]]
    region: Region | None = None
    limit: int | None = None

    def within(self, positions: Collection[int]) -> _Group | None:
        """Give the part of the group that is about some of the nodes."""
        if self.region is not None:
            return self if self.region.positions[0] in positions else None
        chains = [chain for chain in self.chains if chain[0] in positions]
        return _Group(chains, None, self.limit) if chains else None


def _grouped(topology: Topology) -> Iterator[_Group]:
    """Group the nodes; each group comes after all that it needs."""
    whole = regions(topology)
    lots = topology.demands.lots
    if not any(lots) and whole.parts == whole.positions:
        yield from _alike(topology, _chains(topology, whole.positions))
        return
    for home, positions in _units(topology, whole):
        if isinstance(home, Region):
            yield _Group([], region=home)
        elif home is None:
            yield from _alike(topology, _chains(topology, positions))
        else:
            members: dict[int, list[int]] = {}
            for position in positions:
                lot = lots[position]
                assert lot is not None
                members.setdefault(lot.member, []).append(position)
            yield _Group([members[each] for each in sorted(members)], limit=home.limit)


def _units(topology: Topology, whole: Region) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Give maps and capped groups one by one, and what lies between them together."""
    lots = topology.demands.lots
    owner: dict[int, Any] = {}
    for part in whole.parts:
        inner = (part,) if isinstance(part, int) else part.positions
        for position in inner:
            lot = lots[position]
            # A cap that lies inside of a map counts for each element by itself.
            owner[position] = part if isinstance(part, Region) and lot is None else lot and lot.cap

    def home(position: int) -> Hashable:
        mine = owner[position]
        return position if mine is None else (type(mine).__name__, id(mine))

    between: list[int] = []
    for group in contracted(range(len(topology.nodes)), topology.upstream, home):
        mine = owner[group[0]]
        if mine is None:
            between.extend(group)
            continue
        if between:
            yield None, tuple(between)
            between = []
        yield mine, group
    if between:
        yield None, tuple(between)


def _chains(topology: Topology, positions: tuple[int, ...]) -> list[list[int]]:
    """Gather nodes that follow one another without a fork or a join between them."""
    chains: list[list[int]] = []
    chain_of: dict[int, list[int]] = {}
    for position in positions:
        upstream = topology.upstream[position]
        chain = chain_of.get(upstream[0]) if len(upstream) == 1 else None
        if chain is None or not _follows(topology, upstream[0], position):
            chain = []
            chains.append(chain)
        chain.append(position)
        chain_of[position] = chain
    return chains


def _follows(topology: Topology, before: int, position: int) -> bool:
    mine, its = _options(topology, position), _options(topology, before)
    return (
        len(topology.downstream[before]) == 1
        and not mine.isolated
        and not its.isolated
        and mine.priority == its.priority
    )


def _options(topology: Topology, position: int) -> Options:
    return topology.nodes[position].call.definition.options


def _alike(topology: Topology, chains: list[list[int]]) -> Iterator[_Group]:
    """Gather alike chains, side by side; keep the topological order."""
    alike: dict[Any, list[list[int]]] = {}
    for chain in chains:
        alike.setdefault(_likeness(topology, chain), []).append(chain)
    for members in alike.values():
        yield _Group(members)


def _likeness(topology: Topology, chain: list[int]) -> Any:
    """Say what chains must have in common to share a batch without waiting for another."""
    if _options(topology, chain[0]).isolated:
        return chain[0]
    return (
        tuple(id(topology.nodes[position].call.definition) for position in chain),
        frozenset(topology.upstream[chain[0]]),
        topology.downstream[chain[-1]],
    )
