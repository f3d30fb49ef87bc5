"""Who needs a step: the conditions under which it runs at all.

What only an arm of a branch needs runs only if that arm is taken, and what only one
member of a capped group needs counts as that member. Both follow from who asks for
the value of a step, so nothing about them is stored in the steps themselves, and a
step that is also used elsewhere simply runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nbflow.algebra.decision import Decision
from nbflow.algebra.expression import (
    Cap,
    Choice,
    DictOf,
    Expression,
    ListOf,
    Node,
    TupleOf,
    members_of,
    parts_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A decision that must have taken an arm.

    Attributes
    ----------
    position
        The step that decides.
    decider
        Its value.
    decision
        Which value takes which arm.
    arm
        The number of the arm.
    """

    position: int
    decider: Expression
    decision: Decision
    arm: int


@dataclass(frozen=True, slots=True, eq=False)
class Lot:
    """One member of a group of which only some may run at once."""

    cap: Cap
    member: int


@dataclass(frozen=True, slots=True, eq=False)
class Demands:
    """For each node, what guards it, and which member of a capped group it belongs to.

    A node whose one input is guarded in the same way has no guard of its own.
    """

    guards: tuple[Guard | None, ...]
    lots: tuple[Lot | None, ...]
    arms: tuple[Guard | None, ...]


def demands_of(nodes: Sequence[Node], value: Expression, index: Mapping[int, int]) -> Demands:
    """Follow demand from the value of a flow back to its first steps."""
    if not any(map(_conditional, _expressions(nodes, value))):
        nothing = (None,) * len(nodes)
        return Demands(nothing, nothing, nothing)
    walk = _Walk(nodes, index)
    walk.follow(value, (), None)
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        chain, lot = walk.chains.get(position, ()), walk.lots.get(position)
        for part in (*parts_of(node), *node.after):
            walk.follow(part, chain, lot, inside=node.axis is not None)
    arms = [walk.chains.get(position, ()) for position in range(len(nodes))]
    innermost = [chain[-1] if chain else None for chain in arms]
    guards = [
        None if guard is None or _inherits(node, guard, innermost, index) else guard
        for node, guard in zip(nodes, innermost, strict=True)
    ]
    lots = tuple(walk.lots.get(position) for position in range(len(nodes)))
    return Demands(tuple(guards), lots, tuple(innermost))


Chain = tuple[Guard, ...]


class _Walk:
    """The guards and lots found so far, by position."""

    def __init__(self, nodes: Sequence[Node], index: Mapping[int, int]) -> None:
        self.nodes = nodes
        self.index = index
        self.chains: dict[int, Chain] = {}
        self.lots: dict[int, Lot | None] = {}
        self._guards: dict[tuple[int, int], Guard] = {}
        self._lots: dict[tuple[int, int], Lot] = {}

    def follow(
        self, expression: Expression, chain: Chain, lot: Lot | None, *, inside: bool = False
    ) -> None:
        stack: list[tuple[Expression, Chain, Lot | None]] = [(expression, chain, lot)]
        while stack:
            each, chain, lot = stack.pop()
            if isinstance(each, Node):
                self._note(self.index[id(each)], chain, lot)
            elif isinstance(each, Choice):
                decision, *arms = each.members
                stack.append((decision, chain, lot))
                for number, arm in enumerate(arms):
                    stack.append((arm, (*chain, self._guard(each, number)), lot))
            elif isinstance(each, ListOf) and each.cap and lot is None and not inside:
                for number, member in enumerate(each.members):
                    stack.append((member, chain, self._lot(each.cap, number)))
            else:
                stack.extend((member, chain, lot) for member in members_of(each))

    def _note(self, position: int, chain: Chain, lot: Lot | None) -> None:
        # What is decided for each element says nothing of a step outside of the map.
        if chain:
            chain = tuple(each for each in chain if self._decides(each, position))
        known = self.chains.get(position)
        self.chains[position] = chain if known is None else _common(known, chain)
        self.lots[position] = lot if self.lots.get(position, lot) is lot else None

    def _decides(self, guard: Guard, position: int) -> bool:
        return _beside(self.nodes[guard.position], self.nodes[position])

    def _guard(self, choice: Choice, arm: int) -> Guard:
        # By the step that decides: a rebuilt flow may hold several copies of the choice.
        decider = choice.members[0]
        position = self.index[id(decider)]
        guard = Guard(position, decider, choice.decision, arm)
        return self._guards.setdefault((position, arm), guard)

    def _lot(self, cap: Cap, member: int) -> Lot:
        return self._lots.setdefault((id(cap), member), Lot(cap, member))


def _common(left: Chain, right: Chain) -> Chain:
    return tuple(each for each in left if each in right)


def _beside(node: Node, other: Node) -> bool:
    """Tell whether a node has one value for each computation of another, not several."""
    if node.axis is None:
        return True
    around = () if other.axis is None else other.axis.lineage
    return {each.key for each in node.axis.lineage} <= {each.key for each in around}


def _inherits(
    node: Node, guard: Guard, innermost: Sequence[Guard | None], index: Mapping[int, int]
) -> bool:
    """Tell whether a node is skipped anyway when its arm is not taken.

    A map is not enough: over nothing, it gives an empty list in any case.
    """
    required = [*node.args, *(part for _, part in node.kwargs), *node.after]
    return any(
        isinstance(each, Node) and innermost[index[id(each)]] is guard and _beside(each, node)
        for each in required
    )


def _conditional(expression: Expression) -> bool:
    stack = [expression]
    while stack:
        each = stack.pop()
        if isinstance(each, Choice) or (isinstance(each, ListOf) and each.cap):
            return True
        if isinstance(each, (ListOf, TupleOf, DictOf)):
            stack.extend(each.members)
    return False


def _expressions(nodes: Sequence[Node], value: Expression) -> list[Expression]:
    return [value, *(part for node in nodes for part in (*parts_of(node), *node.after))]
