"""Steps that travel together as one Dask task."""

from __future__ import annotations

from dataclasses import dataclass

from nbflow.algebra.regions import Region


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
class Block:
    """A part of the tree by which a step reduces the list that a map gives.

    Attributes
    ----------
    number, count
        Which part this is, of how many.
    source
        The mapped step, by position.
    total
        How long the list is, where that is known.
    """

    number: int
    count: int
    source: int
    total: int | None


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
    block
        Which part of the tree of its one step it computes; or None for the step itself,
        the last part of the tree included.
    """

    units: tuple[tuple[int, ...], ...]
    upstream: tuple[int, ...]
    region: Region | None = None
    start: int = 0
    stop: int = 0
    lane: Lane | None = None
    block: Block | None = None

    @property
    def positions(self) -> tuple[int, ...]:
        """All the nodes."""
        return tuple(position for unit in self.units for position in unit)

    @property
    def beside(self) -> bool:
        """Whether it is one of several that are there to run side by side."""
        return self.lane is not None or self.block is not None
