"""What a flow is made of: placed calls, and the shapes that hold their values.

An expression stands for a value that is not there yet. It is a `Node` (the value
of a placed call), a `Const`, a `Param`, or a container of expressions. Expressions
are immutable and point upstream only, so a cycle cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nbflow.algebra.decision import Decision
from nbflow.errors import FlowError, quoted
from nbflow.values.frozen import by_values
from nbflow.values.kinds import ATOMS

if TYPE_CHECKING:
    from nbflow.algebra.definition import Definition


class Missing:
    """The default of a parameter that has none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "no default"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = Missing()


@by_values
@dataclass(frozen=True, slots=True, eq=False)
class Const:
    """A value that was there when the flow was written."""

    value: Any


@dataclass(frozen=True, slots=True)
class ParamRef:
    """A named parameter, whose value is given when the flow runs."""

    name: str
    default: Any = MISSING


@dataclass(frozen=True, slots=True, eq=False)
class Cap:
    """How many members of one group may run at once."""

    limit: int


@dataclass(frozen=True, slots=True, eq=False)
class ListOf:
    """A list of expressions, of which perhaps only some may be computed at once."""

    members: tuple[Expression, ...]
    cap: Cap | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TupleOf:
    """A tuple of expressions; it spreads over positional arguments."""

    members: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DictOf:
    """A dict whose values are expressions; it spreads over keyword arguments."""

    keys: tuple[Any, ...]
    members: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of several arms, by the value of a step: what a branch hands on.

    Attributes
    ----------
    decision
        Which value takes which arm.
    members
        The step that decides, and then the arms.
    """

    decision: Decision
    members: tuple[Expression, ...]


class Key:
    """What tells one map from all others, through every copy of it."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """What the current element of a map is computed from.

    Attributes
    ----------
    key
        Whose element.
    spread
        Whether it is a tuple of arguments rather than one.
    width
        How many arguments it spreads to, where that is known.
    """

    key: Key
    spread: bool = False
    width: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """What steps are mapped over: they are computed once for each item.

    Attributes
    ----------
    key
        What it is known by.
    items
        A `Const` list, a `ListOf` expressions, or any other expression, whose value is
        listed when the flow runs; None until something flows in.
    size
        How many items make one element; None for one. Of a frame, how many rows.
    label
        Gives the name of an element from its item, or the names in order.
    limit
        How many elements may run at once.
    together
        How many elements travel as one Dask task.
    collect
        Whether a failing element is put aside instead of failing the step.
    parent
        The map that this one is inside of.
    """

    key: Key
    items: Expression | None
    size: int | None = None
    label: Any = None
    limit: int | None = None
    together: int | None = None
    collect: bool = False
    parent: Axis | None = None

    @property
    def count(self) -> int | None:
        """How many elements there are, where that is known before the run."""
        if isinstance(self.items, Const):
            return len(self.items.value)
        return len(self.items.members) if isinstance(self.items, ListOf) else None

    @property
    def lineage(self) -> tuple[Axis, ...]:
        """The maps around it and itself, from the outside in."""
        return (self,) if self.parent is None else (*self.parent.lineage, self)


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call as the user described it, not yet joined to anything upstream.

    Its identity matters: the same call applied to the same upstream is the same
    node, and another ``.s()`` is another call.

    Attributes
    ----------
    definition
        The function.
    args, kwargs
        What ``.s()`` was given.
    immutable
        Whether it receives nothing from upstream.
    origin
        The call that this one was rebuilt from, because a flow among its arguments
        was; still the same call as far as identity goes.
    decision
        What its value decides, for the predicate of a branch.
    split_every
        How many values at most it takes at a time, where it reduces a list to one.
    """

    definition: Definition
    args: tuple[Expression, ...] = ()
    kwargs: tuple[tuple[str, Expression], ...] = ()
    immutable: bool = False
    origin: Call | None = None
    decision: Decision | None = None
    split_every: int | None = None

    @property
    def identity(self) -> int:
        """Whose call it is."""
        return id(self if self.origin is None else self.origin)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A call in its place: with all that flows into it.

    Attributes
    ----------
    call
        What the user described.
    args, kwargs
        The arguments in full, those from upstream included.
    after
        What it only waits for.
    open
        Whether a required argument is still missing.
    axis
        What it is mapped over.
    """

    call: Call
    args: tuple[Expression, ...]
    kwargs: tuple[tuple[str, Expression], ...]
    after: tuple[Expression, ...] = ()
    open: bool = False
    axis: Axis | None = None

    @property
    def loose(self) -> bool:
        """Whether nothing has flowed into it yet: its arguments are those of its call."""
        mine = self.args is self.call.args and self.kwargs is self.call.kwargs
        return mine and not self.after and self.axis is None

    @property
    def bare_map(self) -> bool:
        """Whether it is one mapped call into which nothing flowed but its items."""
        if self.axis is None or self.axis.items is None or not self.args or self.after:
            return False
        one = len(self.args) == len(self.call.args) + 1 and isinstance(self.args[0], Item)
        return one and self.kwargs is self.call.kwargs


Expression: TypeAlias = Node | Const | ParamRef | Item | ListOf | TupleOf | DictOf | Choice
_CONTAINERS = (ListOf, TupleOf, DictOf, Choice)


def members_of(expression: Expression) -> tuple[Expression, ...]:
    """Give the direct parts of a container, and nothing for anything else."""
    return expression.members if isinstance(expression, _CONTAINERS) else ()


def parts_of(node: Node) -> Iterator[Expression]:
    """Go through what a node is computed from, in the order in which it was written."""
    yield from node.args
    for _, expression in node.kwargs:
        yield expression
    if node.axis is not None:
        for axis in node.axis.lineage:
            if axis.items is not None:
                yield axis.items


def leaves(expression: Expression) -> Sequence[Expression]:
    """List the nodes, constants, items and parameters of an expression, in order."""
    if not isinstance(expression, _CONTAINERS):
        return (expression,)
    found: list[Expression] = []
    stack: list[Expression] = [expression]
    while stack:
        each = stack.pop()
        if isinstance(each, _CONTAINERS):
            stack.extend(reversed(each.members))
        else:
            found.append(each)
    return found


def nodes_in(expression: Expression) -> Sequence[Node]:
    """List the nodes that an expression needs directly, in order."""
    if isinstance(expression, Node):
        return (expression,)
    return [leaf for leaf in leaves(expression) if isinstance(leaf, Node)]


def transformed(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Rebuild an expression with its leaves changed, sharing what stays the same."""
    if not isinstance(expression, _CONTAINERS):
        return change(expression)
    members = tuple(transformed(each, change) for each in expression.members)
    if all(new is old for new, old in zip(members, expression.members, strict=True)):
        return expression
    if isinstance(expression, DictOf):
        return DictOf(expression.keys, members)
    if isinstance(expression, Choice):
        return Choice(expression.decision, members)
    if isinstance(expression, ListOf):
        return ListOf(members, expression.cap)
    return TupleOf(members)


def lifted(value: Any, to_expression: Callable[[Any], Expression | None]) -> Expression:
    """Turn an argument into an expression.

    Lists, tuples and dicts that hold a flow anywhere become containers of
    expressions; everything else stays the one constant that it is.

    Parameters
    ----------
    value
        What the user wrote.
    to_expression
        Gives the expression of a flow, a step or a parameter, and None for others.

    Raises
    ------
    FlowError
        If a set holds flows, or flows are nested too deep to be found.
    """
    try:
        return _lifted(value, to_expression) or Const(value)
    except RecursionError:
        if _holds_flow(value, to_expression):
            raise FlowError(
                f"a {type(value).__name__} holds flows and is nested too deep, or in itself; "
                f"put a step in between that makes a part of it"
            ) from None
        return Const(value)


def _holds_flow(value: Any, to_expression: Callable[[Any], Expression | None]) -> bool:
    seen: set[int] = set()
    stack = [value]
    while stack:
        each = stack.pop()
        if to_expression(each) is not None:
            return True
        if type(each) in (list, tuple, dict) and id(each) not in seen:
            seen.add(id(each))
            stack.extend(each.values() if isinstance(each, dict) else each)
    return False


def _lifted(value: Any, to_expression: Callable[[Any], Expression | None]) -> Expression | None:
    kind = type(value)
    if kind in ATOMS:
        return None
    direct = to_expression(value)
    if direct is not None:
        return direct
    if kind is list or kind is tuple:
        found = [_lifted(each, to_expression) for each in value]
        if not any(found):
            return None
        members = tuple(new or Const(old) for new, old in zip(found, value, strict=True))
        return ListOf(members) if kind is list else TupleOf(members)
    if kind is dict:
        found = [_lifted(each, to_expression) for each in value.values()]
        if not any(found):
            return None
        pairs = zip(found, value.values(), strict=True)
        return DictOf(tuple(value), tuple(new or Const(old) for new, old in pairs))
    if kind is set or kind is frozenset:
        for each in value:
            if to_expression(each) is not None:
                raise FlowError(
                    f"a set of flows has no order, so {quoted(kind.__name__)} cannot say which "
                    f"value comes first; write a list"
                )
    return None
