"""What is drawn around figures: maps of several steps, and groups that share a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.algebra.topology import axis_identity
from nbflow.notebook.figure import Frame

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from nbflow.algebra.expression import Axis, Cap
    from nbflow.algebra.topology import Topology


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One of the things around a step, from the outside in: a limit or a map.

    Attributes
    ----------
    identity
        What tells it from others.
    cap, axis
        What it is.
    depth
        How many maps it is inside of, its own included.
    """

    identity: Hashable
    cap: Cap | None = None
    axis: Axis | None = None
    depth: int = 0


def _levels(
    topology: Topology, position: int, known: dict[int, tuple[Any, ...]]
) -> tuple[Level, ...]:
    """Give what is around a step."""
    lot, axis = topology.demands.lots[position], topology.nodes[position].axis
    found = [] if lot is None else [Level(id(lot.cap), cap=lot.cap)]
    if axis is not None:
        # What a map goes over may be a long list.
        identity = known.get(id(axis)) or axis_identity(axis, topology.index)
        known[id(axis)] = identity
        found += [
            Level(identity[:depth], axis=each, depth=depth)
            for depth, each in enumerate(axis.lineage, 1)
        ]
    return tuple(found)


@dataclass(frozen=True)
class Frames:
    """The frames of a picture.

    Attributes
    ----------
    drawn
        The frames, outer ones first.
    home
        For each group of steps, the key of the frame that it is in.
    bare
        For each group of steps, what is around its first step that no frame shows.
    """

    drawn: tuple[Frame, ...]
    home: Sequence[str]
    bare: Sequence[tuple[Level, ...]]


def frames(topology: Topology, groups: Sequence[tuple[int, ...]]) -> Frames:
    """Decide what is drawn around groups of steps.

    A frame around a single figure would only repeat what can be said on it.
    """
    axes: dict[int, tuple[Any, ...]] = {}
    every = [[_levels(topology, each, axes) for each in members] for members in groups]
    paths = list(map(_common, every))
    sizes: dict[Any, int] = {}
    for path in paths:
        for end in range(1, len(path) + 1):
            key = _identity(path[:end])
            sizes[key] = sizes.get(key, 0) + 1
    known: dict[Any, Frame] = {}
    home, bare = [], []
    for members, around, path in zip(groups, every, paths, strict=True):
        parent, alone = "", 0
        for end, level in enumerate(path, 1):
            key = _identity(path[:end])
            if sizes[key] == 1:
                break
            alone = end
            if key not in known:
                known[key] = _frame(f"g{len(known)}", parent, members[0], level)
            parent = known[key].key
        home.append(parent)
        bare.append(around[0][alone:])
    return Frames(tuple(known.values()), home, bare)


def _frame(key: str, parent: str, member: int, level: Level) -> Frame:
    if level.axis is None:
        limit = None if level.cap is None else level.cap.limit
        return Frame(key, parent, member, mapped=False, limit=limit, depth=level.depth)
    axis = level.axis
    return Frame(key, parent, member, True, axis.count, axis.size, axis.limit, level.depth)


def _identity(path: Sequence[Level]) -> tuple[Hashable, ...]:
    return tuple(level.identity for level in path)


def _common(paths: Sequence[tuple[Level, ...]]) -> tuple[Level, ...]:
    shared = paths[0]
    for path in paths[1:]:
        count = 0
        for mine, its in zip(shared, path, strict=False):
            if mine.identity != its.identity:
                break
            count += 1
        shared = shared[:count]
        if not shared:
            break
    return shared
