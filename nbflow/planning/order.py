"""What a worker is told: orders.

An order holds the calls of one segment, with the user's functions as bytes. What
comes back is an `nbflow.worker.envelope.Envelope`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nbflow.algebra.decision import Decision
from nbflow.algebra.demand import Guard
from nbflow.algebra.expression import (
    Axis,
)
from nbflow.planning.segment import Block, Lane
from nbflow.record.recollection import Recollection
from nbflow.store.evidence import Evidence
from nbflow.values.frozen import by_values


@by_values
@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """The value of another node, by its position in the flow."""

    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """A large constant, by the key under which it was sent."""

    key: str


@by_values
@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One node of a segment, ready to be computed.

    Attributes
    ----------
    function
        Which of the order's functions to call.
    own
        How many of the positional arguments, at the end, and which of the others are
        not from upstream.
    guard
        The decision that must have taken an arm.
    decision
        What its value decides.
    split_every, levels
        How many values at most it takes at a time, where it reduces a list; and how
        many levels of the tree are computed, where that is not all of them.
    collect
        Whether a failure is put aside.
    last, checkpoint, has_effect
        Whether the result is a part of what the flow gives; whether it is kept; and
        whether it must not be repeated unknown to the user.
    undo, element, label
        Whether the step is undone, and which element of it: its number and its name.
    before
        How many attempts were made before the run was resumed, and how many of them
        count for its policy.
    done
        Which elements are known to have been done, though their results are lost; None
        for a step without.
    delay, due
        How many seconds it waits before its first attempt; and when that is over, in
        seconds since the epoch, for elements that were waiting when the run stopped; None
        for a step without.
    """

    position: int
    name: str
    function: int
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    after: tuple[Any, ...]
    own: tuple[int, frozenset[str]]
    guard: Guard | None = None
    decision: Decision | None = None
    split_every: int | None = None
    collect: bool = False
    levels: int | None = None
    last: bool = False
    checkpoint: bool | str = "auto"
    has_effect: bool = False
    undo: bool = False
    element: int | None = None
    label: int | str | None = None
    before: tuple[int, int] = (0, 0)
    done: frozenset[int | None] = frozenset()
    delay: float | None = None
    due: Mapping[int | None, float] | None = None

    def made(self, attempt: int) -> int:
        """Say how many attempts were made in all, given how many count for the policy."""
        return self.before[0] - self.before[1] + max(1, attempt)


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """Steps that are computed for each element of a map.

    Attributes
    ----------
    axis
        The map; its items are those of the segment.
    parts
        The steps, and the maps among them.
    collect
        Whether a failure is put aside by the map around it.
    """

    axis: Axis
    parts: tuple[Work | Loop, ...]
    collect: bool = False

    @property
    def works(self) -> tuple[Work, ...]:
        """All the steps, those of inner maps included."""
        found: list[Work] = []
        for part in self.parts:
            found.extend((part,) if isinstance(part, Work) else part.works)
        return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class Keeping:
    """Where the tasks of a run keep what must not be lost.

    Attributes
    ----------
    evidence
        Where claims and receipts are, and results beside them.
    store_id
        What tells the store from another one at the same place of another machine.
    epoch
        Which time the run is driven.
    checkpoint
        What the run says of results of which their steps say nothing.
    results
        Whether what the flow gives is kept in any case.
    careful
        Whether some step has an effect: then nothing that was kept is computed anew,
        however quick it was, as it might give something else.
    """

    evidence: Evidence
    store_id: str
    epoch: int
    checkpoint: bool | str
    results: bool = False
    careful: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What one Dask task is to do.

    Attributes
    ----------
    topic, run
        Where events are sent, and which run they are of.
    run_id
        What the run is called.
    sender
        The process that made the order, so that a worker knows its own.
    functions
        Functions and their options, packed.
    units
        Steps that follow one another, in groups that do not depend on one another.
    loop, start, stop
        The map whose elements are computed instead, and which of them.
    lane
        Which lane of those that share the work.
    block
        Which part of the tree of the one step is computed.
    keeping
        Where results are kept, and what is known from before; None if nothing is kept.
    number
        Which segment of the plan it is; None if it is none.
    memory
        What is known of steps, by position.
    """

    topic: str
    run: str
    run_id: str
    sender: tuple[str, int]
    functions: tuple[bytes, ...]
    shared: tuple[str, ...]
    units: tuple[tuple[Work | Loop, ...], ...]
    loop: Loop | None = None
    start: int = 0
    stop: int = 0
    lane: Lane | None = None
    block: Block | None = None
    keeping: Keeping | None = None
    number: int | None = None
    memory: Mapping[int, Recollection] = field(default_factory=dict)

    @property
    def works(self) -> tuple[Work, ...]:
        """All the steps."""
        if self.loop is not None:
            return self.loop.works
        parts = [part for unit in self.units for part in unit]
        return tuple(
            work for part in parts for work in ((part,) if isinstance(part, Work) else part.works)
        )
