"""Steps that are cheaper together: where they take less time than the tasks between them.

A Dask task that waits for another one costs about 6 ms, and one beside another about 1.2 ms,
whatever is in it. Of steps whose times are known from before, those that take less are
gathered in one task. Deciding this is pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nbflow.algebra.regions import contracted
from nbflow.algebra.topology import Topology
from nbflow.planning.segment import Segment

_DEPTH_SECONDS = 0.006
_WIDTH_SECONDS = 0.0012
# A segment that takes longer stays by itself: what waits for a part of it need not wait for all.
_QUICK_SECONDS = 0.05


def economical(
    topology: Topology, segments: Sequence[Segment], seconds: Mapping[int, float], threads: int
) -> list[Segment]:
    """Gather segments that are cheaper together.

    Parameters
    ----------
    topology
        The flow.
    segments
        How it was cut, each segment after those that it needs.
    seconds
        How long steps took before, by position. A step of which nothing is known stays
        where it is.
    threads
        How many steps the cluster can run at once.

    Examples
    --------
    >>> from nbflow import step
    >>> from nbflow.planning.plan import Plan
    >>> flow = [step(len).s("ab"), step(len).s("c")] >> step(sum)
    >>> segments = Plan.of(flow.topology, 2).segments
    >>> quick = economical(flow.topology, segments, {0: 0.001, 1: 0.001, 2: 0.001}, 2)
    >>> [each.positions for each in quick]
    [(0, 1, 2)]
    """
    costs = [_cost(topology, segment, seconds) for segment in segments]
    clusters = [
        cluster
        for cluster in _clusters(segments, costs)
        if len(cluster) > 1 and _pays(segments, costs, cluster, threads)
    ]
    if not clusters:
        return list(segments)
    leaders = {number: cluster[0] for cluster in clusters for number in cluster}
    return _gathered(segments, clusters, leaders)


def _cost(topology: Topology, segment: Segment, seconds: Mapping[int, float]) -> float | None:
    """Say how long a segment takes; None where that is not known, or it has to stay alone."""
    if segment.region is not None or segment.lane is not None or segment.block is not None:
        return None
    total = 0.0
    for position in segment.positions:
        options = topology.nodes[position].call.definition.options
        # Whoever waits for another attempt, a lock or a moment would keep all others waiting.
        alone = options.isolated or options.retry or options.lock or options.timeout
        if alone or options.delay or options.has_effect or options.priority:
            return None
        if topology.demands.lots[position] is not None or position not in seconds:
            return None
        total += seconds[position]
    return total if total <= _QUICK_SECONDS else None


def _clusters(segments: Sequence[Segment], costs: Sequence[float | None]) -> list[list[int]]:
    """Group quick segments so that no way between two of a group leads through others.

    A segment is on the level of what it needs, and one above what it needs that is not
    quick: so whatever lies between two quick ones puts them on different levels.
    """
    levels: list[int] = []
    found: dict[int, list[int]] = {}
    for number, segment in enumerate(segments):
        quick = costs[number] is not None
        before = [(levels[each], costs[each] is not None) for each in segment.upstream]
        level = max((n + (quick and not was_quick) for n, was_quick in before), default=0)
        levels.append(level)
        if quick:
            found.setdefault(level, []).append(number)
    return list(found.values())


def _pays(
    segments: Sequence[Segment], costs: Sequence[float | None], cluster: list[int], threads: int
) -> bool:
    """Tell whether a group takes less time in one task than in several."""
    inside = set(cluster)
    depth: dict[int, int] = {}
    longest: dict[int, float] = {}
    for number in cluster:
        before = [each for each in segments[number].upstream if each in inside]
        depth[number] = 1 + max((depth[each] for each in before), default=0)
        cost = costs[number] or 0.0
        longest[number] = cost + max((longest[each] for each in before), default=0.0)
    total = sum(costs[number] or 0.0 for number in cluster)
    apart = max(total / max(1, threads), *longest.values())
    tasks = max(_DEPTH_SECONDS * max(depth.values()), _WIDTH_SECONDS * len(cluster))
    return total <= apart + tasks


def _gathered(
    segments: Sequence[Segment], clusters: list[list[int]], leaders: Mapping[int, int]
) -> list[Segment]:
    """Give the segments with groups as one, each after those that it needs."""

    def leader(number: int) -> int:
        return leaders.get(number, number)

    made = {number: each for number, each in enumerate(segments) if number not in leaders}
    for cluster in clusters:
        positions = sorted(p for number in cluster for p in segments[number].positions)
        upstream = dict.fromkeys(n for number in cluster for n in segments[number].upstream)
        made[cluster[0]] = Segment((tuple(positions),), tuple(upstream))
    upstream_of = [segment.upstream for segment in segments]
    ordered = [group[0] for group in contracted(range(len(segments)), upstream_of, leader)]
    places = {number: place for place, number in enumerate(ordered)}
    found = []
    for number in ordered:
        needed = {places[leader(each)] for each in made[number].upstream} - {places[number]}
        found.append(_moved(made[number], sorted(needed), places))
    return found


def _moved(segment: Segment, upstream: list[int], places: Mapping[int, int]) -> Segment:
    """Give a segment where others have other numbers."""
    lane = segment.lane
    if lane is not None:
        lane = replace(lane, queue=places[lane.queue])
    return replace(segment, upstream=tuple(upstream), lane=lane)
