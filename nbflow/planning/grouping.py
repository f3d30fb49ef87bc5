"""Which steps of a flow belong together: chains, alike chains, maps, capped groups."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from nbflow.algebra.options import Options
from nbflow.algebra.regions import Region, contracted, regions
from nbflow.algebra.topology import Topology


@dataclass(frozen=True, slots=True)
class Group:
    """Alike chains, one map, or the members of a capped group."""

    chains: list[list[int]]
    region: Region | None = None
    limit: int | None = None

    def within(self, positions: Collection[int]) -> Group | None:
        """Give the part of the group that is about some of the nodes."""
        if self.region is not None:
            return self if self.region.positions[0] in positions else None
        chains = [chain for chain in self.chains if chain[0] in positions]
        return Group(chains, None, self.limit) if chains else None


def grouped(topology: Topology) -> Iterator[Group]:
    """Group the nodes; each group comes after all that it needs."""
    whole = regions(topology)
    lots = topology.demands.lots
    if not any(lots) and whole.parts == whole.positions:
        yield from _alike(topology, _chains(topology, whole.positions))
        return
    for home, positions in _units(topology, whole):
        if isinstance(home, Region):
            yield Group([], region=home)
        elif home is None:
            yield from _alike(topology, _chains(topology, positions))
        else:
            members: dict[int, list[int]] = {}
            for position in positions:
                lot = lots[position]
                assert lot is not None
                members.setdefault(lot.member, []).append(position)
            yield Group([members[each] for each in sorted(members)], limit=home.limit)


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


def _alike(topology: Topology, chains: list[list[int]]) -> Iterator[Group]:
    """Gather alike chains, side by side; keep the topological order."""
    alike: dict[Any, list[list[int]]] = {}
    for chain in chains:
        alike.setdefault(_likeness(topology, chain), []).append(chain)
    for members in alike.values():
        yield Group(members)


def _likeness(topology: Topology, chain: list[int]) -> Any:
    """Say what chains must have in common to share a batch without waiting for another."""
    if _options(topology, chain[0]).isolated:
        return chain[0]
    return (
        tuple(id(topology.nodes[position].call.definition) for position in chain),
        frozenset(topology.upstream[chain[0]]),
        topology.downstream[chain[-1]],
    )
