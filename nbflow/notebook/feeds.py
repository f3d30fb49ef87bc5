"""What flows into a flow from outside: parameters, constants and missing inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from nbflow.algebra.expression import (
    Choice,
    Const,
    Expression,
    Item,
    Node,
    ParamRef,
    leaves,
    members_of,
    parts_of,
)
from nbflow.notebook.arms import NOTHING, IdleArm, constant
from nbflow.notebook.figure import Arrow, Figure
from nbflow.notebook.secrecy import HIDDEN, secret_constants
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import count, counted, described

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from nbflow.algebra.demand import Guard
    from nbflow.algebra.topology import Topology

L = TypeVar("L", Const, ParamRef)

# Of one figure; above that they are drawn as one.
_MANY = 24
_MOST = 150


@dataclass
class Feeds:
    """The figures of what flows into steps, and their edges.

    Attributes
    ----------
    topology
        The flow.
    entries
        For each step, the decision whose arm begins there.
    figures
        One for each parameter, constant and missing input that was met.
    arrows
        From there to the steps.
    """

    topology: Topology
    entries: Sequence[Guard | None]
    figures: dict[Hashable, Figure] = field(default_factory=dict)
    arrows: list[Arrow] = field(default_factory=list)
    _drawn: set[Arrow] = field(default_factory=set)

    def feed(self, figure: Figure) -> None:
        """Add what flows into a figure."""
        params = dict.fromkeys(n for each in figure.members for n in self._params(each))
        if len(params) > _MANY:
            self._join(figure, Kind.PARAM, tuple(params), f"{count(len(params))} parameters")
        else:
            for name in params:
                self._join(figure, Kind.PARAM, name, name)
        missing = dict.fromkeys(name for each in figure.members for name in self._missing(each))
        for name in list(missing)[:_MANY]:
            self._join(figure, Kind.INPUT, name, f"{name} = ?")
        self._feed_constants(figure)

    def idle(self, arm: IdleArm, home: Mapping[int, Figure]) -> None:
        """Add what an arm without steps hands on."""
        tail = home.get(arm.decider)
        if tail is None:
            return
        kind = Kind.STOP if arm.title == NOTHING else Kind.CONSTANT
        figure = self._known(kind, (tail.key, arm.arm, arm.title), arm.title, tail.frame)
        if figure is None:
            return
        arrows = [Arrow(tail.key, figure.key, cases=(arm.case,), idle=True)]
        for consumer, order_only in arm.consumers:
            if consumer in home:
                arrows.append(Arrow(figure.key, home[consumer].key, order_only))
        self.arrows += [each for each in arrows if each not in self._drawn]
        self._drawn.update(arrows)

    def _params(self, position: int) -> Iterator[str]:
        above = self._above(position)
        known = {leaf.name for leaf in above if isinstance(leaf, ParamRef)}
        flowing = {each.name for each in _flowed_in(self.topology.nodes[position], ParamRef)}
        for leaf in leaves_of(self.topology.nodes[position]):
            if isinstance(leaf, ParamRef) and not (leaf.name in known and leaf.name in flowing):
                yield leaf.name

    def _missing(self, position: int) -> tuple[str, ...]:
        node, entry = self.topology.nodes[position], self.entries[position]
        names = _missing(node) if node.open else ()
        if node.axis is not None and _unfilled(node):
            return ("items", *names)
        # What will flow in flows through the diamond.
        through = entry is not None and self.topology.nodes[entry.position].open
        return names[1:] if through else names

    def _above(self, position: int) -> list[Expression]:
        """Give what flows into the decision before a step, and so is drawn there."""
        entry = self.entries[position]
        if entry is None:
            return []
        decider = self.topology.nodes[entry.position]
        return [*_flowed_in(decider, Const), *_flowed_in(decider, ParamRef)]

    def _feed_constants(self, figure: Figure) -> None:
        found: dict[int, str] = {}
        for each in figure.members:
            above = {id(leaf) for leaf in self._above(each)}
            node = self.topology.nodes[each]
            flowing = [const for const in _flowed_in(node, Const) if id(const) not in above]
            secrets = secret_constants(node) if flowing else frozenset()
            for const in flowing:
                found[id(const)] = HIDDEN if id(const) in secrets else described(const.value)
        if not found:
            return
        if len(found) == 1 or len(found) > _MANY or len(figure.members) > 1:
            titles = list(found.values())
            title = titles[0] if len(titles) == 1 else counted(len(titles), "value")
            self._join(figure, Kind.CONSTANT, tuple(found), title)
            return
        for key, title in found.items():
            self._join(figure, Kind.CONSTANT, (key,), title)

    def _join(self, figure: Figure, kind: Kind, identity: Hashable, title: str) -> None:
        known = self._known(kind, identity, title)
        if known is not None:
            self.arrows.append(Arrow(known.key, figure.key))

    def _known(self, kind: Kind, identity: Hashable, title: str, frame: str = "") -> Figure | None:
        known = self.figures.get((kind, identity))
        if known is None and len(self.figures) < _MOST:
            known = Figure(f"{kind[0]}{len(self.figures)}", kind, title, frame=frame)
            self.figures[kind, identity] = known
        return known


def leaves_of(node: Node) -> Iterator[Expression]:
    """Go through the nodes, constants and parameters among the arguments of a step."""
    for part in parts_of(node):
        yield from leaves(part)


def _flowed_in(node: Node, kind: type[L]) -> Iterator[L]:
    """Go through what came over ``>>``; the constants of ``.s()`` are not drawn."""
    own: int = len(node.args) - len(node.call.args)
    named: int = len(node.kwargs) - len(node.call.kwargs)
    flowed = [*node.args[:own], *(part for _, part in node.kwargs[:named])]
    stack: list[Expression] = flowed[::-1]
    while stack:
        each = stack.pop()
        if isinstance(each, Choice):
            # An arm that is a constant hangs on the diamond.
            stack.extend(arm for arm in each.members[:0:-1] if not constant(arm))
        elif isinstance(each, kind):
            yield each
        else:
            stack.extend(reversed(members_of(each)))


def _missing(node: Node) -> tuple[str, ...]:
    spread = [each.width or 1 for each in node.args if isinstance(each, Item) and each.spread]
    given = len(node.args) + sum(spread) - len(spread)
    names = node.call.definition.arity.missing(given, [name for name, _ in node.kwargs])
    return names or ("input",)


def _unfilled(node: Node) -> bool:
    """Tell whether a step takes an item of a map that goes over nothing yet."""
    assert node.axis is not None
    keys = [axis.key for axis in node.axis.lineage if axis.items is None]
    return any(isinstance(leaf, Item) and leaf.key in keys for leaf in leaves_of(node))
