"""What a flow is made of: placed calls, and the shapes that hold their values.

An expression stands for a value that is not there yet. It is a `Node` (the value
of a placed call), a `Const`, a `Param`, or a container of expressions. Expressions
are immutable and point upstream only, so a cycle cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from nbflow.errors import FlowError, quoted

if TYPE_CHECKING:
    from nbflow.definition import Definition


class Missing:
    """The default of a parameter that has none."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "no default"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING = Missing()


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
class ListOf:
    """A list of expressions."""

    members: tuple[Expression, ...]


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
class Elements:
    """What a mapped call is mapped over.

    Attributes
    ----------
    items
        One expression for each element, or a `Const` that holds them all.
    count
        How many there are.
    spread
        Whether an item is a tuple of arguments rather than one argument.
    """

    items: Const | ListOf
    count: int
    spread: bool = False


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
    elements
        What it is mapped over.
    origin
        The call that this one was rebuilt from, because a flow among its arguments
        was; still the same call as far as identity goes.
    """

    definition: Definition
    args: tuple[Expression, ...] = ()
    kwargs: tuple[tuple[str, Expression], ...] = ()
    immutable: bool = False
    elements: Elements | None = None
    origin: Call | None = None

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
        Nodes that it only waits for.
    open
        Whether a required argument is still missing.
    """

    call: Call
    args: tuple[Expression, ...]
    kwargs: tuple[tuple[str, Expression], ...]
    after: tuple[Node, ...] = ()
    open: bool = False

    @property
    def loose(self) -> bool:
        """Whether nothing has flowed into it yet: its arguments are those of its call."""
        mine = self.args is self.call.args and self.kwargs is self.call.kwargs
        return mine and not self.after


Expression: TypeAlias = Node | Const | ParamRef | ListOf | TupleOf | DictOf


def members_of(expression: Expression | Elements) -> tuple[Expression, ...]:
    """Give the direct parts of a container, and nothing for anything else."""
    if isinstance(expression, (ListOf, TupleOf, DictOf)):
        return expression.members
    if isinstance(expression, Elements):
        return (expression.items,)
    return ()


def parts_of(node: Node) -> Iterator[Expression]:
    """Go through the arguments of a node in the order in which they were written."""
    yield from node.args
    for _, expression in node.kwargs:
        yield expression
    if node.call.elements is not None:
        yield node.call.elements.items


def leaves(expression: Expression) -> Iterator[Expression]:
    """Go through the nodes, constants and parameters of an expression, in order."""
    stack = [expression]
    while stack:
        each = stack.pop()
        if isinstance(each, (ListOf, TupleOf, DictOf)):
            stack.extend(reversed(each.members))
        else:
            yield each


def nodes_in(expression: Expression) -> Iterator[Node]:
    """Go through the nodes that an expression needs directly, in order."""
    for leaf in leaves(expression):
        if isinstance(leaf, Node):
            yield leaf


def transformed(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Rebuild an expression with its leaves changed, sharing what stays the same."""
    if not isinstance(expression, (ListOf, TupleOf, DictOf)):
        return change(expression)
    members = tuple(transformed(each, change) for each in expression.members)
    if all(new is old for new, old in zip(members, expression.members, strict=True)):
        return expression
    if isinstance(expression, DictOf):
        return DictOf(expression.keys, members)
    return type(expression)(members)


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


# Most of a long list is of these: they hold nothing and cannot be changed in place.
ATOMS = frozenset({int, float, str, bool, bytes, complex, type(None)})


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
