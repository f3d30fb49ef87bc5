"""A flow as rows of numbers and strings, and back.

A row is a tuple: what it is, and what it is made of, by the numbers of earlier rows. So
a flow of any depth is written and read without recursion, and what was one object
before is one object again. What is the user's own is apart, as `nbflow.sealed.Sealed`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final, TypeAlias

from nbflow.algebra.callables import natural_name
from nbflow.algebra.decision import Decision
from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    MISSING,
    Axis,
    Call,
    Cap,
    Choice,
    Const,
    DictOf,
    Expression,
    Item,
    Key,
    ListOf,
    Node,
    ParamRef,
    TupleOf,
)
from nbflow.algebra.fingerprint import same_function
from nbflow.algebra.flow import Flow
from nbflow.algebra.options import Options
from nbflow.algebra.signature import Arity
from nbflow.algebra.topology import Topology
from nbflow.errors import quoted
from nbflow.sketch.sealed import Sealed
from nbflow.values.kinds import ATOMS

Row: TypeAlias = tuple[Any, ...]
# A value: itself in a tuple, if it can be written as it is, or the number of a sealed one.
Held: TypeAlias = tuple[Any] | int

_ARITY: Final = attrgetter(*(each.name for each in fields(Arity)))
_OPTIONS: Final = [(each.name, each.default) for each in fields(Options) if each.name != "when"]


class Writer:
    """Writes flows.

    Attributes
    ----------
    rows
        What was written.
    sealed
        The functions and values of the user's, each once.
    nodes
        The rows of the nodes of the flow that was written last, in topological order.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.sealed: list[Sealed] = []
        self.nodes: list[int] = []
        self._seals: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._topology: Topology

    def flow(self, flow: Flow) -> int:
        """Write a flow and those that handle its failures, and give the number of its row.

        Raises
        ------
        TransferError
            If a function or a value cannot be pickled, naming the step.
        """
        handlers = tuple([self.flow(each) for each in flow.handlers])
        topology = self._topology = flow.topology
        # What two flows share is written twice: their topologies differ.
        self._known, self.nodes = {}, []
        for node, name in zip(topology.nodes, topology.names, strict=True):
            self.nodes.append(self._node(node, name))
        value = self._expression(topology.value, "the value", flow.name)
        return self._add("flow", value, flow.label, handlers)

    def held(self, value: Any, what: Callable[[], str]) -> Held:
        """Write a value of the user's.

        Parameters
        ----------
        what
            Says what it is to the flow.
        """
        kind = type(value)
        if kind in ATOMS or (kind is tuple and ATOMS.issuperset(map(type, value))):
            return (value,)
        number = self._seals.setdefault(id(value), len(self.sealed))
        if number == len(self.sealed):
            self.sealed.append(Sealed.of(value, what()))
        return number

    def _add(self, *row: Any) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def _node(self, node: Node, name: str) -> int:
        call = node.call
        args = tuple(
            [self._expression(each, number, name) for number, each in enumerate(node.args, 1)]
        )
        kwargs: Row = ()
        if node.kwargs:
            kwargs = tuple([(key, self._expression(each, key, name)) for key, each in node.kwargs])
        after: Row = ()
        if node.after:
            after = tuple([self._expression(each, "after", name) for each in node.after])
        axis = None if node.axis is None else self._axis(node.axis, name)
        number = self._known.get(id(call))
        if number is None:
            # The arguments of a call that was rebuilt since are those of its node.
            own = args[len(args) - len(call.args) :]
            named = {key for key, _ in call.kwargs} if kwargs else ()
            pairs = tuple([each for each in kwargs if each[0] in named])
            number = self._known[id(call)] = self._call(call, own, pairs, name)
        # Whether they are the very arguments of the call says what flowed in.
        return self._add(
            "node",
            number,
            None if node.args is call.args else args,
            None if node.kwargs is call.kwargs else kwargs,
            after,
            node.open,
            axis,
        )

    def _call(self, call: Call, args: Row, kwargs: Row, name: str) -> int:
        definition = self._known.get(id(call.definition))
        if definition is None:
            definition = self._definition(call.definition, name)
            self._known[id(call.definition)] = definition
        decision = None if call.decision is None else self._decision(call.decision, name)
        return self._add(
            "call",
            definition,
            args,
            kwargs,
            call.immutable,
            # Which calls are copies of one another; the number itself says nothing.
            self._known.setdefault(-call.identity, len(self.rows)),
            decision,
            call.split_every,
        )

    def _definition(self, definition: Definition, name: str) -> int:
        options = definition.options
        step = f"step {quoted(name)}"
        fn = self.held(definition.fn, lambda: f"the function of {step}")
        when = tuple(
            [
                self.held(each, lambda: f"the predicate {quoted(natural_name(each))} of {step}")  # noqa: B023
                for each in options.when
            ]
        )
        pairs = []
        for key, default in _OPTIONS:
            value = getattr(options, key)
            if value is not default:
                said = f"the option {key!r} of {step}"
                pairs.append((key, self.held(value, lambda: said)))  # noqa: B023
        arity = _ARITY(definition.arity)
        return self._add("definition", definition.name, fn, when, tuple(pairs), arity)

    def _decision(self, decision: Decision, name: str) -> int:
        number = self._known.get(id(decision))
        if number is None:
            cases = tuple(
                [
                    self.held(case, lambda: f"a case of the decision of step {quoted(name)}")
                    for case in decision.cases
                ]
            )
            number = self._known[id(decision)] = self._add(
                "decision", decision.name, cases, decision.truth, decision.default
            )
        return number

    def _axis(self, axis: Axis, name: str) -> int:
        number = self._known.get(id(axis))
        if number is None:
            number = self._known[id(axis)] = self._add(
                "axis",
                self._key(axis.key),
                None if axis.items is None else self._expression(axis.items, "items", name),
                axis.size,
                self.held(axis.label, lambda: f"the key of the map of step {quoted(name)}"),
                axis.limit,
                axis.together,
                axis.collect,
                None if axis.parent is None else self._axis(axis.parent, name),
            )
        return number

    def _key(self, key: Key) -> int:
        number = self._known.get(id(key))
        if number is None:
            number = self._known[id(key)] = self._add("key")
        return number

    def _cap(self, cap: Cap) -> int:
        number = self._known.get(id(cap))
        if number is None:
            number = self._known[id(cap)] = self._add("cap", cap.limit)
        return number

    def _expression(self, each: Expression, where: int | str, name: str) -> int:
        if type(each) is Node:
            return self.nodes[self._topology.index[id(each)]]
        number = self._known.get(id(each))
        if number is None:
            number = self._known[id(each)] = self._add(*self._leaf(each, where, name))
        return number

    def _leaf(self, each: Expression, where: int | str, name: str) -> Row:
        match each:
            case Const():
                return "const", self.held(each.value, lambda: _argument(where, name))
            case ParamRef():
                given = each.default is not MISSING
                said = f"the default of the parameter {quoted(each.name)}"
                return "param", each.name, self.held(each.default, lambda: said) if given else None
            case Item():
                return "item", self._key(each.key), each.spread, each.width
            case ListOf():
                cap = None if each.cap is None else self._cap(each.cap)
                return "list", self._members(each, where, name), cap
            case TupleOf():
                return "tuple", self._members(each, where, name)
            case DictOf():
                keys = tuple([self.held(key, lambda: _argument(where, name)) for key in each.keys])
                return "dict", keys, self._members(each, where, name)
            case Choice():
                decision = self._decision(each.decision, name)
                return "choice", decision, self._members(each, where, name)
        raise AssertionError(each)

    def _members(self, each: Any, where: int | str, name: str) -> Row:
        return tuple([self._expression(member, where, name) for member in each.members])


def _argument(where: int | str, name: str) -> str:
    return f"argument {where!r} of step {quoted(name)}"


class Reader:
    """Reads what a writer wrote.

    Parameters
    ----------
    sealed
        Gives the function or value of a number.
    case
        Gives it where it is a case of a decision.
    """

    def __init__(
        self, sealed: Callable[[int], Any], case: Callable[[int], Any] | None = None
    ) -> None:
        self._sealed = sealed
        self._case = sealed if case is None else case
        self._made: list[Any] = []
        self._first: dict[Any, Any] = {}

    def flow(self, rows: Sequence[Row]) -> Flow:
        """Read the flow that was written last.

        Raises
        ------
        StoreError
            If a function or a value cannot be read.
        """
        for kind, *parts in rows:
            self._made.append(_READ[kind](self, *parts))
        flow: Flow = self._made[-1]
        return flow

    def held(self, value: Held) -> Any:
        """Read a value."""
        return self._sealed(value) if isinstance(value, int) else value[0]

    def _all(self, numbers: Any) -> tuple[Any, ...]:
        return tuple([self._made[each] for each in numbers])

    def _pairs(self, pairs: Any) -> tuple[tuple[str, Any], ...]:
        return tuple([(key, self._made[each]) for key, each in pairs])

    def _maybe(self, number: int | None) -> Any:
        return None if number is None else self._made[number]

    def _flow(self, value: int, label: str | None, handlers: Row) -> Flow:
        return Flow(self._made[value], None, label, self._all(handlers))

    def _node(
        self, number: int, args: Any, kwargs: Any, after: Row, is_open: bool, axis: int | None
    ) -> Node:
        call: Call = self._made[number]
        return Node(
            call,
            call.args if args is None else self._all(args),
            call.kwargs if kwargs is None else self._pairs(kwargs),
            self._all(after),
            is_open,
            self._maybe(axis),
        )

    def _call(
        self,
        definition: int,
        args: Row,
        kwargs: Row,
        immutable: bool,
        identity: int,
        decision: int | None,
        split_every: int | None,
    ) -> Call:
        origin = self._first.get(identity)
        call = Call(
            self._made[definition],
            self._all(args),
            self._pairs(kwargs),
            immutable,
            origin,
            self._maybe(decision),
            split_every,
        )
        self._first.setdefault(identity, call)
        return call

    def _definition(self, name: str, fn: Held, when: Row, options: Row, arity: Row) -> Definition:
        chosen = {key: self.held(each) for key, each in options}
        made = Definition(
            self.held(fn),
            name,
            Options(when=tuple(map(self.held, when)), **chosen),
            Arity(*arity),
        )
        first = self._first.setdefault(name, made)
        if made.anonymous or first is made or same_function(first.fn, made.fn):
            return made
        # They were the same by an object that both held, and now each holds its own.
        return Definition(first.fn, name, made.options, made.arity)

    def _decision(self, name: str, cases: Row, truth: bool, default: bool) -> Decision:
        made = [self._case(each) if isinstance(each, int) else each[0] for each in cases]
        return Decision(name, tuple(made), truth, default)

    def _axis(
        self,
        key: int,
        items: int | None,
        size: int | None,
        label: Held,
        limit: int | None,
        together: int | None,
        collect: bool,
        parent: int | None,
    ) -> Axis:
        over, around = self._maybe(items), self._maybe(parent)
        named = self.held(label)
        return Axis(self._made[key], over, size, named, limit, together, collect, around)

    def _param(self, name: str, default: Held | None) -> ParamRef:
        return ParamRef(name, MISSING if default is None else self.held(default))


_READ: Final[dict[str, Callable[..., Any]]] = {
    "flow": Reader._flow,
    "node": Reader._node,
    "call": Reader._call,
    "definition": Reader._definition,
    "decision": Reader._decision,
    "axis": Reader._axis,
    "key": lambda _: Key(),
    "cap": lambda _, limit: Cap(limit),
    "const": lambda reader, value: Const(reader.held(value)),
    "param": Reader._param,
    "item": lambda reader, key, spread, width: Item(reader._made[key], spread, width),
    "list": lambda reader, members, cap: ListOf(reader._all(members), reader._maybe(cap)),
    "tuple": lambda reader, members: TupleOf(reader._all(members)),
    "dict": lambda reader, keys, members: DictOf(
        tuple(map(reader.held, keys)), reader._all(members)
    ),
    "choice": lambda reader, decision, members: Choice(
        reader._made[decision], reader._all(members)
    ),
}
