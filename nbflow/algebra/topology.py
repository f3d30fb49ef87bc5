"""A flow, walked once: its nodes in topological order, named and numbered.

Everything that comes after the algebra (plan, pictures, records) reads this and
no longer follows pointers. Walking is iterative: a chain of any length will do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nbflow.algebra.demand import Demands, Guard, demands_of
from nbflow.algebra.expression import (
    MISSING,
    Axis,
    Choice,
    Const,
    DictOf,
    Expression,
    Item,
    ListOf,
    Node,
    ParamRef,
    TupleOf,
    leaves,
    members_of,
    nodes_in,
    parts_of,
)
from nbflow.algebra.fingerprint import same_value
from nbflow.algebra.names import numbered
from nbflow.errors import ParamError, quoted
from nbflow.values.kinds import ATOMS


@dataclass(frozen=True, eq=False)
class Topology:
    """The nodes of a flow in the order in which they appear.

    Attributes
    ----------
    nodes
        Every node once, each after all that it needs.
    names
        The name of each node: its function's, numbered where it appears again.
    value
        The expression that the flow stands for.
    index
        The position of a node by its ``id()``; nodes that are the same call on the
        same upstream share one position.
    """

    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    value: Expression
    index: Mapping[int, int]

    @classmethod
    def of(cls, value: Expression) -> Topology:
        """Walk the expression of a flow.

        Raises
        ------
        FlowError
            If two different functions have one name.
        """
        nodes, index = _walk(value)
        names = numbered([node.call.definition for node in nodes])
        return cls(tuple(nodes), tuple(names), value, index)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The position of each node by its name."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the nodes whose values it receives, each once, in order."""
        index = self.index
        return tuple(
            [
                tuple(
                    dict.fromkeys(
                        [index[id(each)] for part in parts_of(node) for each in nodes_in(part)]
                    )
                )
                for node in self.nodes
            ]
        )

    @cached_property
    def order_only(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the nodes that it waits for without receiving anything."""
        return tuple(
            tuple(
                position
                for position in dict.fromkeys(
                    self.index[id(each)] for part in node.after for each in nodes_in(part)
                )
                if position not in data
            )
            if node.after
            else ()
            for node, data in zip(self.nodes, self.inputs, strict=True)
        )

    @cached_property
    def demands(self) -> Demands:
        """Under which conditions each node is needed."""
        return demands_of(self.nodes, self.value, self.index)

    @property
    def guards(self) -> tuple[Guard | None, ...]:
        """For each node, the decision that must have taken an arm for it to run."""
        return self.demands.guards

    @cached_property
    def upstream(self) -> tuple[tuple[int, ...], ...]:
        """For each node, all the nodes that it waits for."""
        found = []
        for data, order, guard in zip(self.inputs, self.order_only, self.guards, strict=True):
            both = data + order if order else data
            if guard is not None and guard.position not in both:
                both = (*both, guard.position)
            found.append(both)
        return tuple(found)

    @cached_property
    def downstream(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the nodes that wait for it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for position, upstream in enumerate(self.upstream):
            for each in upstream:
                found[each].append(position)
        return tuple(map(tuple, found))

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """The run-time parameters and their defaults, `MISSING` where there is none.

        Raises
        ------
        ParamError
            If one parameter has two different defaults.
        """
        found: dict[str, Any] = {}
        parts = [part for node in self.nodes for part in parts_of(node)]
        for expression in (*parts, self.value):
            for leaf in leaves(expression):
                if isinstance(leaf, ParamRef):
                    known = found.get(leaf.name, MISSING)
                    both = known is not MISSING and leaf.default is not MISSING
                    if both and not same_value(known, leaf.default):
                        raise ParamError(
                            f"the parameter {quoted(leaf.name)} has two defaults, {known!r} and "
                            f"{leaf.default!r}; give it one, or give one of them another name"
                        )
                    found[leaf.name] = leaf.default if known is MISSING else known
        return found

    def same_as(self, other: Topology) -> bool:
        """Tell whether another flow has the same steps, wired in the same way."""
        return (
            self.names == other.names
            and self._same(self.value, other.value, other)
            and all(
                mine.call.definition.same_as(its.call.definition)
                and mine.call.immutable == its.call.immutable
                and mine.call.split_every == its.call.split_every
                and self._same_inputs(mine, its, other)
                for mine, its in zip(self.nodes, other.nodes, strict=True)
            )
        )

    def _same_inputs(self, mine: Node, its: Node, other: Topology) -> bool:
        return (
            len(mine.args) == len(its.args)
            and len(mine.after) == len(its.after)
            and [name for name, _ in mine.kwargs] == [name for name, _ in its.kwargs]
            and _same_axis(mine.axis, its.axis)
            and all(
                self._same(a, b, other) for a, b in zip(parts_of(mine), parts_of(its), strict=True)
            )
            and all(self._same(a, b, other) for a, b in zip(mine.after, its.after, strict=True))
        )

    def _same(self, mine: Expression, its: Expression, other: Topology) -> bool:
        if type(mine) is not type(its):
            return False
        if isinstance(mine, Node):
            return self.index[id(mine)] == other.index[id(its)]
        if isinstance(mine, Const) and isinstance(its, Const):
            return same_value(mine.value, its.value)
        if isinstance(mine, ParamRef) and isinstance(its, ParamRef):
            return mine.name == its.name and same_value(mine.default, its.default)
        if isinstance(mine, Item) and isinstance(its, Item):
            return mine.spread == its.spread
        if isinstance(mine, DictOf) and isinstance(its, DictOf) and mine.keys != its.keys:
            return False
        if isinstance(mine, ListOf) and isinstance(its, ListOf) and _limit(mine) != _limit(its):
            return False
        if isinstance(mine, Choice) and isinstance(its, Choice):
            decisions = mine.decision, its.decision
            if decisions[0].truth is not decisions[1].truth:
                return False
            if not same_value(decisions[0].cases, decisions[1].cases):
                return False
        members, others = members_of(mine), members_of(its)
        return len(members) == len(others) and all(
            self._same(a, b, other) for a, b in zip(members, others, strict=True)
        )


def _limit(group: ListOf) -> int | None:
    return None if group.cap is None else group.cap.limit


def _same_axis(mine: Axis | None, its: Axis | None) -> bool:
    if mine is None or its is None:
        return mine is its
    return (
        mine.size == its.size
        and mine.limit == its.limit
        and mine.collect == its.collect
        and mine.together == its.together
        and (mine.items is None) == (its.items is None)
        and same_value(mine.label, its.label)
        and _same_axis(mine.parent, its.parent)
    )


def needs(node: Node) -> list[Node]:
    """List the nodes that must come before a node, in written order."""
    return [each for part in (*parts_of(node), *node.after) for each in nodes_in(part)]


def _walk(value: Expression) -> tuple[list[Node], dict[int, int]]:
    nodes: list[Node] = []
    index: dict[int, int] = {}
    placed: dict[tuple[Any, ...], int] = {}
    entered: set[int] = set()
    stack = [(node, False) for node in reversed(nodes_in(value))]
    while stack:
        node, ready = stack.pop()
        if id(node) in index:
            continue
        if ready:
            position = placed.setdefault(_application(node, index), len(nodes))
            if position == len(nodes):
                nodes.append(node)
            index[id(node)] = position
        elif id(node) not in entered:
            entered.add(id(node))
            stack.append((node, True))
            stack.extend((each, False) for each in reversed(needs(node)))
    return nodes, index


def _application(node: Node, index: Mapping[int, int]) -> tuple[Any, ...]:
    """Say which call is applied to what, so that equal applications meet in one node."""
    return (
        node.call.identity,
        node.axis and axis_identity(node.axis, index),
        tuple([_identity(each, index) for each in node.args]),
        tuple([(name, _identity(each, index)) for name, each in node.kwargs]),
        tuple([_identity(each, index) for each in node.after]),
    )


def axis_identity(axis: Axis, index: Mapping[int, int]) -> tuple[Any, ...]:
    """Say which map goes over what."""
    return tuple(
        (id(each.key), each.items and _identity(each.items, index)) for each in axis.lineage
    )


def _identity(expression: Expression, index: Mapping[int, int]) -> Any:
    if isinstance(expression, Node):
        return index[id(expression)]
    if isinstance(expression, (ListOf, TupleOf, DictOf, Choice)):
        keys: Any = type(expression)
        if isinstance(expression, DictOf):
            keys = expression.keys
        return keys, tuple(_identity(each, index) for each in expression.members)
    if isinstance(expression, ParamRef):
        default = expression.default
        return expression.name, type(default), default if type(default) in ATOMS else id(default)
    if isinstance(expression, Item):
        return id(expression.key), expression.spread
    return (id(expression),)
