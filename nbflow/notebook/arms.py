"""Which edges a picture has: those of the flow, led through the diamonds of its branches.

What flows into a branch reaches the deciding step and the first steps of every arm.
Drawn so, a branch would be a tangle. A picture has one edge from the deciding step to
where each arm begins, and none that says the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbflow.algebra.expression import (
    Axis,
    Choice,
    Const,
    Expression,
    Item,
    ListOf,
    Node,
    ParamRef,
    leaves,
    members_of,
    nodes_in,
)
from nbflow.notebook.wording import count, described

if TYPE_CHECKING:
    from nbflow.algebra.decision import Decision
    from nbflow.algebra.demand import Guard
    from nbflow.algebra.topology import Topology

NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class IdleArm:
    """An arm that has no step of its own.

    Attributes
    ----------
    decider
        The position of the deciding step.
    arm
        The number of the arm.
    case
        Which value takes it.
    title
        What it hands on, in words.
    given
        Whether that is the value of a step or parameter which is there whatever is decided.
    consumers
        The positions of the steps that get it, each with whether it only waits for it.
    """

    decider: int
    arm: int
    case: str
    title: str
    given: bool = False
    consumers: tuple[tuple[int, bool], ...] = ()


@dataclass(frozen=True, eq=False)
class Wires:
    """The edges of a picture, by position.

    Attributes
    ----------
    data, order_only
        For each step, where the edges come from that lead to it.
    entries
        For each step, the decision whose arm begins there.
    cases
        For which values of a decision an edge is the way on.
    idle
        The arms that have no step of their own.
    """

    data: Sequence[Sequence[int]]
    order_only: Sequence[Sequence[int]]
    entries: Sequence[Guard | None]
    cases: Mapping[tuple[int, int], tuple[str, ...]]
    idle: Sequence[IdleArm]

    @cached_property
    def drawn(self) -> tuple[tuple[int, ...], ...]:
        """For each step, all the steps that an edge leads from."""
        found = []
        for data, order, entry in zip(self.data, self.order_only, self.entries, strict=True):
            both = (*data, *order) if order else tuple(data)
            if entry is not None and entry.position not in both:
                both = (entry.position, *both)
            found.append(both)
        for decider, consumer in self.cases:
            if decider not in found[consumer]:
                found[consumer] = (*found[consumer], decider)
        return tuple(found)

    @cached_property
    def upstream(self) -> tuple[tuple[int, ...], ...]:
        """For each step, all that it comes after: also by way of an arm without steps."""
        found = list(self.drawn)
        for arm in self.idle:
            for consumer, _ in arm.consumers:
                if arm.decider not in found[consumer]:
                    found[consumer] = (*found[consumer], arm.decider)
        return tuple(found)

    @cached_property
    def downstream(self) -> tuple[tuple[int, ...], ...]:
        """For each step, all that comes after it."""
        found: list[list[int]] = [[] for _ in self.upstream]
        for position, upstream in enumerate(self.upstream):
            for each in upstream:
                found[each].append(position)
        return tuple(map(tuple, found))


def wires(topology: Topology) -> Wires:
    """Decide which edges a picture of a flow has.

    Examples
    --------
    >>> from nbflow import branch
    >>> found = wires((3 >> branch(callable, abs, str) >> print).topology)
    >>> found.upstream, found.cases
    (((), (0,), (0,), (1, 2)), {(0, 1): ('True',), (0, 2): ('False',)})
    """
    return _Tracing(topology).wires()


@dataclass
class _Tracing:
    """The edges that were found so far."""

    topology: Topology
    cases: dict[tuple[int, int], tuple[str, ...]] = field(default_factory=dict)
    idle: dict[tuple[int, int], IdleArm] = field(default_factory=dict)
    _onward: dict[int, tuple[list[Expression], list[IdleArm]]] = field(default_factory=dict)

    def wires(self) -> Wires:
        nodes = self.topology.nodes
        data, order = [], []
        for position, node in enumerate(nodes):
            flowing = self._tails(position, _parts(node), order_only=False)
            waiting = self._tails(position, node.after, order_only=True) if node.after else ()
            data.append(flowing)
            order.append(tuple(each for each in waiting if each not in flowing))
        self._tails(None, (self.topology.value,), order_only=False)
        entries = [
            self._entry(guard, (*data[position], *order[position]))
            for position, guard in enumerate(self.topology.guards)
        ]
        through = [
            each if guard is None else _less(each, data[guard.position])
            for each, guard in zip(data, entries, strict=True)
        ]
        for position, guard in enumerate(entries):
            if guard is not None:
                self._lead(guard.position, position, case_of(guard.decision, guard.arm))
        idle = []
        for arm in self.idle.values():
            once = self._unrepeated(arm, entries)
            for consumer, _ in once.consumers if arm.given else ():
                self._lead(arm.decider, consumer, arm.case)
            if not (arm.given and once.consumers):
                idle.append(once)
        return Wires(through, order, entries, self.cases, idle)

    def _tails(
        self, consumer: int | None, parts: Iterable[Expression], *, order_only: bool
    ) -> tuple[int, ...]:
        found: dict[int, None] = {}
        stack = list(parts)[::-1]
        while stack:
            each = stack.pop()
            if isinstance(each, Node):
                found[self.topology.index[id(each)]] = None
            elif isinstance(each, Choice):
                onward, idle = self._arms(each)
                for arm in idle:
                    self._note(arm, consumer, order_only=order_only)
                stack.extend(reversed(onward))
            else:
                stack.extend(reversed(members_of(each)))
        return tuple(found)

    def _arms(self, choice: Choice) -> tuple[list[Expression], list[IdleArm]]:
        """Part the arms of a branch into those with something to compute, and the others."""
        known = self._onward.get(id(choice))
        if known is not None:
            return known
        decider, *arms = choice.members
        position = self.topology.index[id(decider)]
        onward, idle = [], []
        for number, arm in enumerate(arms):
            if self._begins(arm, position, number):
                onward.append(arm)
                continue
            case, given = case_of(choice.decision, number), not constant(arm)
            idle.append(IdleArm(position, number, case, self._title(arm), given))
            if given:
                onward.append(arm)
        if choice.decision.truth and len(arms) == 1:
            idle.append(IdleArm(position, 1, str(not choice.decision.cases[0]), NOTHING))
        return self._onward.setdefault(id(choice), (onward, idle))

    def _begins(self, arm: Expression, decider: int, number: int) -> bool:
        index = self.topology.index
        return any(self._inside(index[id(each)], decider, number) for each in nodes_in(arm))

    def _inside(self, position: int, decider: int, arm: int) -> bool:
        """Tell whether a step runs only if an arm is taken."""
        arms = self.topology.demands.arms
        guard = arms[position]
        while guard is not None:
            if (guard.position, guard.arm) == (decider, arm):
                return True
            guard = arms[guard.position]
        return False

    def _note(self, arm: IdleArm, consumer: int | None, *, order_only: bool) -> None:
        key = arm.decider, arm.arm
        known = self.idle.setdefault(key, arm)
        if consumer is not None and arm.title != NOTHING:
            both = dict(known.consumers)
            both[consumer] = order_only and both.get(consumer, True)
            self.idle[key] = replace(known, consumers=tuple(both.items()))

    def _lead(self, decider: int, consumer: int, case: str) -> None:
        known = self.cases.get((decider, consumer), ())
        if case not in known:
            self.cases[decider, consumer] = (*known, case)

    def _entry(self, guard: Guard | None, above: Iterable[int]) -> Guard | None:
        """Give the decision to draw an edge from: none where one comes from inside the arm."""
        if guard is None:
            return None
        within = any(self._inside(each, guard.position, guard.arm) for each in above)
        return None if within else guard

    def _unrepeated(self, idle: IdleArm, entries: Sequence[Guard | None]) -> IdleArm:
        """Leave out the arms of another branch that get the same as its deciding step."""
        getting = dict(idle.consumers)
        kept = []
        for consumer, order_only in idle.consumers:
            entry = entries[consumer]
            if entry is None or entry.position not in getting:
                kept.append((consumer, order_only))
        return replace(idle, consumers=tuple(kept))

    def _title(self, arm: Expression) -> str:
        if isinstance(arm, Const):
            return described(arm.value)
        if isinstance(arm, Item):
            return "the item"
        if isinstance(arm, ParamRef):
            return arm.name
        if isinstance(arm, Node):
            return self.topology.names[self.topology.index[id(arm)]]
        kind = "list" if isinstance(arm, ListOf) else "values"
        return f"{kind} of {count(len(members_of(arm)))}"


def constant(arm: Expression) -> bool:
    """Tell whether nothing has to be computed or given for an arm."""
    return all(isinstance(leaf, (Const, Item)) for leaf in leaves(arm))


def case_of(decision: Decision, arm: int) -> str:
    """Name a case without asking the value for its text: that is the user's own code.

    Examples
    --------
    >>> from nbflow.algebra.decision import Decision
    >>> kinds = Decision("kind", ("csv", 3, int), default=True)
    >>> [case_of(kinds, arm) for arm in range(4)]
    ['csv', '3', 'int', 'default']
    """
    if arm >= len(decision.cases):
        return "default"
    case: Any = decision.cases[arm]
    if type(case) is str:
        return case or "''"
    if isinstance(case, Enum):
        return str(case._name_)
    return type.__dict__["__name__"].__get__(case) if isinstance(case, type) else described(case)


def _less(tails: Sequence[int], others: Sequence[int]) -> tuple[int, ...]:
    return tuple(each for each in tails if each not in others)


def _parts(node: Node) -> list[Expression]:
    """Give what flows into a node; what a map goes over flows into its first steps alone."""
    parts = [*node.args, *(part for _, part in node.kwargs)]
    if node.axis is None:
        return parts
    taken = [leaf for part in parts for leaf in leaves(part)]
    for axis in reversed(node.axis.lineage):
        if axis.items is not None and not _gets(taken, axis):
            parts.append(axis.items)
            taken.extend(nodes_in(axis.items))
    return parts


def _gets(taken: Sequence[Expression], axis: Axis) -> bool:
    """Tell whether something from inside a map leads to a step, but not an item itself."""
    if any(isinstance(leaf, Item) and leaf.key is axis.key for leaf in taken):
        return False
    return any(
        isinstance(leaf, Node)
        and leaf.axis is not None
        and any(each.key is axis.key for each in leaf.axis.lineage)
        for leaf in taken
    )
