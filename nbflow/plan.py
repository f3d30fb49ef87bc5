"""Which steps travel together: a flow cut into segments, each one Dask task.

A dependent Dask task costs milliseconds, a step inside a task microseconds. So
linear chains are fused (their steps could not run side by side anyway), and alike
work travels in batches. Deciding this is pure: nothing is run or sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nbflow.expression import Const, Node, nodes_in
from nbflow.topology import Topology


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that travel as one Dask task.

    Attributes
    ----------
    positions
        The nodes, each after all that it needs.
    upstream
        The segments that must come before.
    start, stop
        Which elements, where the one node is a mapped step.
    """

    positions: tuple[int, ...]
    upstream: tuple[int, ...]
    start: int = 0
    stop: int = 0


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
        homes: list[tuple[int, ...]] = [() for _ in topology.nodes]
        segments: list[Segment] = []
        for group in _batched(topology, _chains(topology), threads):
            for segment in group.placed(topology, homes, threads):
                for position in segment.positions:
                    homes[position] = (*homes[position], len(segments))
                segments.append(segment)
        return cls(tuple(segments), tuple(homes))


@dataclass(frozen=True, slots=True)
class _Batch:
    """Positions that become one segment, or one mapped step that becomes several."""

    positions: tuple[int, ...]

    def placed(
        self, topology: Topology, homes: list[tuple[int, ...]], threads: int
    ) -> Iterator[Segment]:
        node = topology.nodes[self.positions[0]]
        if node.call.elements is None:
            yield Segment(self.positions, self._upstream(topology, homes))
            return
        alone = node.call.definition.options.isolated
        start = 0
        for size in sizes(node.call.elements.count, threads, alone=alone) or [0]:
            upstream = _element_homes(topology, self.positions[0], homes, start, start + size)
            yield Segment(self.positions, upstream, start, start + size)
            start += size

    def _upstream(self, topology: Topology, homes: list[tuple[int, ...]]) -> tuple[int, ...]:
        inside = set(self.positions)
        found = dict.fromkeys(
            home
            for position in self.positions
            for each in topology.upstream[position]
            if each not in inside
            for home in homes[each]
        )
        return tuple(found)


def sizes(count: int, threads: int, *, alone: bool = False) -> list[int]:
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
    alone
        Whether each must travel alone.

    Examples
    --------
    >>> sizes(20, 2)
    [5, 4, 3, 2, 2, 1, 1, 1, 1]
    """
    if alone:
        return [1] * count
    found = []
    while count:
        size = -(-count // (2 * threads))
        found.append(size)
        count -= size
    return found


def _chains(topology: Topology) -> list[list[int]]:
    """Gather nodes that follow one another without a fork or a join between them."""
    chains: list[list[int]] = []
    chain_of: dict[int, list[int]] = {}
    for position, upstream in enumerate(topology.upstream):
        node = topology.nodes[position]
        if len(upstream) == 1 and _follows(topology, upstream[0], node):
            chain = chain_of[upstream[0]]
        else:
            chain = []
            chains.append(chain)
        chain.append(position)
        chain_of[position] = chain
    return chains


def _follows(topology: Topology, before: int, node: Node) -> bool:
    previous = topology.nodes[before]
    mine, its = node.call.definition.options, previous.call.definition.options
    return (
        len(topology.downstream[before]) == 1
        and node.call.elements is None
        and previous.call.elements is None
        and not mine.isolated
        and not its.isolated
        and mine.priority == its.priority
    )


def _batched(topology: Topology, chains: list[list[int]], threads: int) -> Iterator[_Batch]:
    """Gather alike chains, side by side, into batches; keep the topological order."""
    alike: dict[Any, list[list[int]]] = {}
    for chain in chains:
        alike.setdefault(_likeness(topology, chain), []).append(chain)
    for members in alike.values():
        start = 0
        for size in sizes(len(members), threads):
            lanes = members[start : start + size]
            yield _Batch(tuple(position for lane in lanes for position in lane))
            start += size


def _likeness(topology: Topology, chain: list[int]) -> Any:
    """Say what chains must have in common to share a batch without waiting for another."""
    nodes = [topology.nodes[position] for position in chain]
    if nodes[0].call.elements is not None or nodes[0].call.definition.options.isolated:
        return chain[0]
    return (
        tuple(id(node.call.definition) for node in nodes),
        frozenset(topology.upstream[chain[0]]),
        topology.downstream[chain[-1]],
    )


def _element_homes(
    topology: Topology, position: int, homes: list[tuple[int, ...]], start: int, stop: int
) -> tuple[int, ...]:
    node = topology.nodes[position]
    elements = node.call.elements
    assert elements is not None
    # Of what the items need, a batch waits only for what its own items need.
    items = () if isinstance(elements.items, Const) else elements.items.members[start:stop]
    parts = (*node.args, *(part for _, part in node.kwargs), *items, *node.after)
    own = (topology.index[id(each)] for part in parts for each in nodes_in(part))
    return tuple(dict.fromkeys(home for each in own for home in homes[each]))
