"""Writes the orders of a plan: each function and each large constant is packed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    Const,
    Expression,
    ListOf,
    Node,
    ParamRef,
    nodes_in,
    transformed,
)
from nbflow.algebra.regions import Part, Region, part_of
from nbflow.algebra.topology import Topology
from nbflow.errors import TransferError, quoted
from nbflow.planning.order import Keeping, Loop, Order, Ref, Shared, Work
from nbflow.planning.plan import Plan
from nbflow.record.recollection import Recollection
from nbflow.values.kinds import ATOMS
from nbflow.values.size import size_of
from nbflow.values.transfer import Parcel, dumps_as_can_be

# Above this many bytes a constant, or an order, is sent once and apart from the graph.
LARGE = 64_000


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What is known of a run from before it stopped.

    Attributes
    ----------
    memory
        What is known of steps, by position.
    attempts
        How many attempts were made, and how many of them count for the policy.
    due
        When steps, or elements of them, may begin that were waiting, as `Work` has it.
    done
        Which effects were done, though their results are lost, as `Work` has it.
    """

    memory: Mapping[int, Recollection] = field(default_factory=dict)
    attempts: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    due: Mapping[int, Mapping[int | None, float]] = field(default_factory=dict)
    done: Mapping[int, frozenset[int | None]] = field(default_factory=dict)


def _decisive(topology: Topology) -> frozenset[int]:
    """Find the steps whose value decides what else is done: arms taken, and elements."""
    found = {n for n, node in enumerate(topology.nodes) if node.call.decision is not None}
    for node in topology.nodes:
        for axis in () if node.axis is None else node.axis.lineage:
            if axis.items is not None and not isinstance(axis.items, (Const, ListOf)):
                found.update(topology.index[id(each)] for each in nodes_in(axis.items))
    return frozenset(found)


class Orders:
    """Writes the orders of a plan, packing each function and each large constant once."""

    def __init__(
        self,
        topology: Topology,
        plan: Plan,
        params: Mapping[str, Any],
        topic: str,
        run: str,
        run_id: str,
        sender: tuple[str, int],
        keeping: Keeping | None = None,
        past: Past | None = None,
    ) -> None:
        self.topology = topology
        self.plan = plan
        self.params = params
        self.topic = topic
        self.run = run
        self.run_id = run_id
        self.sender = sender
        self.keeping = keeping
        self.past = past or Past()
        self.last = {topology.index[id(node)] for node in nodes_in(topology.value)}
        self.decisive = _decisive(topology)
        if keeping is not None and keeping.results:
            self.decisive |= self.last
        self.shared: dict[str, Parcel] = {}
        self._shared_keys: dict[int, str | None] = {}
        self._packed: dict[int, bytes] = {}

    def parcel(self, number: int) -> tuple[Parcel, tuple[str, ...]]:
        """Pack the order of a segment; also name the large constants that it needs.

        Raises
        ------
        TransferError
            Naming the step whose function or argument cannot be pickled.
        """
        writer = _Writer(self, number)
        order = writer.order()
        try:
            return Parcel.of(order, plain=writer.plain), tuple(writer.needed)
        except Exception as error:
            for each in order.works:
                _blame(each, order)
            names = ", ".join(quoted(each.name) for each in order.works[:3])
            raise TransferError(f"the arguments of {names} cannot be sent: {error}") from error

    def leaf(self, leaf: Expression, name: str, needed: dict[str, None]) -> Any:
        """Give what stands for a leaf in an order."""
        if isinstance(leaf, Node):
            return Ref(self.topology.index[id(leaf)])
        if isinstance(leaf, ParamRef):
            leaf = Const(self.params[leaf.name])
        if not isinstance(leaf, Const):
            return leaf
        key = self._share(leaf.value, name)
        if key is None:
            return leaf
        needed[key] = None
        return Shared(key)

    def _share(self, value: Any, name: str) -> str | None:
        if id(value) not in self._shared_keys:
            key = None
            if size_of(value) > LARGE:
                key = f"constant-{self.run}{len(self.shared):04x}"
                self.shared[key] = _parcelled(value, f"an argument of step {quoted(name)}")
            self._shared_keys[id(value)] = key
        return self._shared_keys[id(value)]

    def packed(self, definition: Definition, name: str) -> bytes:
        """Pack a function with its options.

        Raises
        ------
        TransferError
            If it cannot be pickled.
        """
        if id(definition) not in self._packed:
            # How it is undone is not needed to do it.
            wanted = definition.options
            if wanted.compensate is not None:
                wanted = replace(wanted, compensate=None, effect=True)
            options = None if wanted.plain else wanted
            try:
                self._packed[id(definition)] = dumps_as_can_be((definition.fn, options))
            except Exception as error:
                raise TransferError(
                    f"the function of step {quoted(name)} cannot be sent to a worker: {error}; it "
                    f"uses something that stays in this process, such as a lock, an open file or a "
                    f"connection; make that inside the function"
                ) from error
        return self._packed[id(definition)]


class _Writer:
    """Writes one order."""

    def __init__(self, orders: Orders, number: int) -> None:
        self.orders = orders
        self.topology = orders.topology
        self.number = number
        self.segment = orders.plan.segments[number]
        self.needed: dict[str, None] = {}
        # Whether there is nothing of the user's in it but functions as bytes, and atoms.
        self.plain = self.segment.region is None
        self._functions: dict[bytes, int] = {}
        above = [orders.plan.segments[each] for each in self.segment.upstream]
        # What blocks have left of a list comes as elements of the step itself.
        self._blocks = {n for each in above if each.block is not None for n in each.positions}

    def order(self) -> Order:
        segment, orders = self.segment, self.orders
        loop, units = None, tuple[tuple[Work | Loop, ...], ...]()
        if segment.region is not None:
            loop = self._loop(segment.region, outermost=True)
        else:
            units = tuple(tuple(map(self._part, self._parts(unit))) for unit in segment.units)
        return Order(
            orders.topic,
            orders.run,
            orders.run_id,
            orders.sender,
            tuple(self._functions),
            tuple(self.needed),
            units,
            loop,
            segment.start,
            segment.stop,
            segment.lane,
            segment.block,
            orders.keeping,
            self.number,
            self._memory(),
        )

    def _memory(self) -> dict[int, Recollection]:
        segment, memory = self.segment, self.orders.past.memory
        self.plain = self.plain and not memory
        found = {each: memory[each] for each in segment.positions if each in memory}
        if segment.region is not None and segment.lane is None:
            found = {n: each.within(segment.start, segment.stop) for n, each in found.items()}
        return found

    def _parts(self, unit: tuple[int, ...]) -> tuple[Part, ...]:
        """Nest the mapped steps among those of a member of a capped group."""
        if all(self.topology.nodes[each].axis is None for each in unit):
            return unit
        return part_of(self.topology, unit)

    def _part(self, part: Part) -> Work | Loop:
        return self._work(part) if isinstance(part, int) else self._loop(part)

    def _loop(self, region: Region, *, outermost: bool = False) -> Loop:
        axis = region.axis
        assert axis is not None
        assert axis.items is not None
        name = self.topology.names[region.positions[0]]
        items, label = axis.items, axis.label
        cut = outermost and self.segment.lane is None
        start, stop = self.segment.start, self.segment.stop
        if cut and isinstance(label, tuple):
            label = label[start:stop]
        if cut and isinstance(items, Const):
            # Not shared: nobody else has this slice.
            items = Const(items.value[start:stop])
        else:
            if cut and isinstance(items, ListOf):
                items = ListOf(items.members[start:stop])
            items = transformed(items, lambda leaf: self.orders.leaf(leaf, name, self.needed))
        collect = axis.parent is not None and axis.parent.collect
        # Of the maps around it, only the innermost is asked for its items.
        axis = replace(axis, items=items, label=label, parent=None)
        return Loop(axis, tuple(map(self._part, region.parts)), collect)

    def _work(self, position: int) -> Work:
        node, name = self.topology.nodes[position], self.topology.names[position]
        call, guard = node.call, self.topology.guards[position]
        packed = self.orders.packed(call.definition, name)

        def changed(parts: tuple[Expression, ...]) -> tuple[Any, ...]:
            return tuple([transformed(each, change) for each in parts]) if parts else ()

        def change(leaf: Expression) -> Any:
            found = self.orders.leaf(leaf, name, self.needed)
            if type(found) is Const and type(found.value) not in ATOMS:
                self.plain = False
            return found

        if guard is not None or call.decision is not None or node.axis is not None:
            self.plain = False
        if guard is not None:
            decision = replace(guard.decision, name=self.topology.names[guard.position])
            decider: Any = Ref(guard.position)
            guard = replace(guard, decider=decider, decision=decision)
        args = changed(node.args)
        if position in self._blocks:
            args = (Ref(position), *args[1:])
        options, past = call.definition.options, self.orders.past
        return Work(
            position,
            name,
            self._functions.setdefault(packed, len(self._functions)),
            args,
            tuple([(key, transformed(each, change)) for key, each in node.kwargs]),
            changed(node.after),
            (len(call.args), frozenset([key for key, _ in call.kwargs]) if call.kwargs else _NONE),
            guard,
            call.decision,
            call.split_every,
            node.axis is not None and node.axis.collect,
            last=position in self.orders.last,
            has_effect=options.has_effect,
            checkpoint=position in self.orders.decisive or options.checkpoint,
            before=past.attempts.get(position, (0, 0)),
            done=past.done.get(position, _NONE),
            delay=options.delay,
            due=past.due.get(position),
        )


_NONE: frozenset[Any] = frozenset()


def _blame(work: Work, order: Order) -> None:
    parts: list[tuple[Any, Any]] = [*enumerate(work.args, 1), *work.kwargs]
    if order.loop is not None:
        parts.append(("items", order.loop.axis.items))
    for where, part in parts:
        what = f"argument {where!r} of step {quoted(work.name)}"
        _parcelled(part, what, shown=getattr(part, "value", part))


def _parcelled(value: Any, what: str, shown: Any = None) -> Parcel:
    try:
        return Parcel.of(value)
    except Exception as error:
        kind = type(value if shown is None else shown).__name__
        raise TransferError(
            f"{what}, a {kind}, cannot be sent to a worker: {error}; pass what it is made from, "
            f"and make it inside the step"
        ) from error
