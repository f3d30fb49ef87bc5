"""Which steps travel together: a flow cut into segments, each one Dask task.

A dependent Dask task costs milliseconds, a step inside a task microseconds. So
linear chains are fused (their steps could not run side by side anyway), and alike
work travels in batches. Deciding this is pure: nothing is run or sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from nbflow.algebra.regions import Region, regions
from nbflow.algebra.topology import Topology
from nbflow.planning.cutter import Cutter
from nbflow.planning.economy import economical
from nbflow.planning.grouping import grouped
from nbflow.planning.segment import Segment


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
    def of(
        cls, topology: Topology, threads: int, seconds: Mapping[int, float] | None = None
    ) -> Plan:
        """Cut a flow into segments.

        Parameters
        ----------
        topology
            The flow, complete.
        threads
            How many steps the cluster can run at once; it decides the size of batches.
        seconds
            How long steps took before, by position, as far as that is known.

        Examples
        --------
        >>> from nbflow import step
        >>> flow = [step(len).s("ab"), step(len).s("c")] >> step(sum) >> step(str)
        >>> [segment.positions for segment in Plan.of(flow.topology, 2).segments]
        [(0,), (1,), (2, 3)]
        """
        known = _known.setdefault(topology, {})
        if threads not in known:
            cutter = Cutter(topology, threads)
            for group in grouped(topology):
                cutter.place(group)
            known[threads] = cls(tuple(cutter.segments), tuple(cutter.homes))
        return known[threads]._economical(topology, threads, seconds) if seconds else known[threads]

    def _economical(self, topology: Topology, threads: int, seconds: Mapping[int, float]) -> Plan:
        segments = economical(topology, self.segments, seconds, threads)
        if len(segments) == len(self.segments):
            return self
        homes: list[tuple[int, ...]] = [() for _ in topology.nodes]
        for number, segment in enumerate(segments):
            # What computes a block of a tree is no home of its step.
            for position in () if segment.block is not None else segment.positions:
                homes[position] = (*homes[position], number)
        return Plan(tuple(segments), tuple(homes))

    @property
    def shares(self) -> bool:
        """Whether tasks run side by side by agreement, which needs a desk on the scheduler."""
        return any(each.beside for each in self.segments)

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
        later = depending(topology, again)
        homes = [() if n in later else each for n, each in enumerate(self.homes)]
        cutter = Cutter(topology, threads, list(self.segments), homes)
        once = {id(region): (region, n) for p, (region, n) in again.items() if p not in later}
        for region, numbers in once.values():
            upstream = cutter.upstream((region.positions,))
            for number in sorted(numbers):
                unit = (region.positions,)
                cutter.add(Segment(unit, upstream, region, number, number + 1))
        for group in grouped(topology):
            kept = group.within(later)
            if kept is not None:
                cutter.place(kept)
        plan = Plan(tuple(cutter.segments), tuple(cutter.homes))
        numbers_of = {p: tuple(sorted(n)) for p, (_, n) in again.items() if p not in later}
        return Redrive(plan, len(self.segments), numbers_of, frozenset(later))


# The plans of flows that may run again, by how much a cluster runs at once.
_known: WeakKeyDictionary[Topology, dict[int, Plan]] = WeakKeyDictionary()


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


def depending(topology: Topology, positions: Iterable[int]) -> set[int]:
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
