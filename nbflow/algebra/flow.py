"""Flows and their operator: ``>>`` connects, lists, tuples and dicts gather.

A `Flow` is an immutable value around one expression. What ``>>`` means is written
in `nbflow.wiring`; running and drawing begin in `nbflow.actions`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from nbflow.algebra.actions import Actions
from nbflow.algebra.callables import checked_name
from nbflow.algebra.definition import Definition
from nbflow.algebra.expression import (
    MISSING,
    Call,
    Const,
    DictOf,
    Expression,
    ListOf,
    Node,
    ParamRef,
    TupleOf,
    lifted,
)
from nbflow.algebra.feeding import fed, given
from nbflow.algebra.names import Names, named, united
from nbflow.algebra.options import Options
from nbflow.algebra.rebuilding import redefined
from nbflow.algebra.topology import Topology
from nbflow.algebra.wiring import applied, check_predicates, is_first, placed, received
from nbflow.errors import (
    FlowError,
    ParamError,
    SignatureError,
    UnknownStepError,
    did_you_mean,
    quoted,
)
from nbflow.values.kinds import ATOMS
from nbflow.values.outline import outline


class Composable(Actions):
    """What steps, flows and parameters have in common: ``>>``, and what is done with a flow."""

    __slots__ = ()

    # numpy would otherwise apply >> to every element of an array on the left.
    __array_ufunc__ = None
    __array_priority__ = 1000.0

    def __rshift__(self, other: Any) -> Flow:
        return connected(self._flow(), other)

    def __rrshift__(self, other: Any) -> Flow:
        return connected(source(other), self)

    def __bool__(self) -> NoReturn:
        raise SignatureError(
            f"{self!r} has no value yet, so it is neither true nor false; run it first, and "
            f"chain comparisons apart (a >> b > c reads as a >> b and b > c)"
        )

    def __iter__(self) -> Iterator[Any]:
        raise SignatureError(
            f"{self!r} cannot be iterated: its value is not there yet; use .map() to call a step "
            f"for each element, or run it and iterate over the result"
        )


class Flow(Composable):
    """An immutable graph of placed steps; what ``>>`` returns.

    Flows are made by operators and by `chain`, `group` and the like, not by calling
    this class. Two flows are equal when they have the same steps, wired in the same
    way.

    Examples
    --------
    >>> from nbflow import step
    >>> @step
    ... def double(x):
    ...     return 2 * x
    >>> flow = 4 >> double >> str
    >>> flow.steps, flow.call()
    (['double', 'str'], '8')
    """

    __slots__ = ("_handlers", "_label", "_names", "_topology", "expression")

    expression: Expression
    _names: Names
    _label: str | None
    _handlers: tuple[Flow, ...]
    _topology: Topology | None

    def __init__(
        self,
        expression: Expression,
        names: Names | None = None,
        label: str | None = None,
        handlers: tuple[Flow, ...] = (),
    ) -> None:
        write = object.__setattr__
        write(self, "_handlers", handlers)
        write(self, "expression", expression)
        write(self, "_label", label)
        write(self, "_topology", None)
        write(self, "_names", _names_in(expression) if names is None else names)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a flow cannot be changed: {name!r} was not set; make a new flow")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a flow cannot be changed: {name!r} was not deleted")

    # As state rather than as arguments: a function in it may know the flow by name.
    def __getstate__(self) -> tuple[Any, ...]:
        return self.expression, self._label, self._handlers

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        Flow.__init__(self, state[0], None, *state[1:])

    def _flow(self) -> Flow:
        return self

    # What a flow is

    @property
    def topology(self) -> Topology:
        """The flow's nodes in topological order, with their names."""
        if self._topology is None:
            object.__setattr__(self, "_topology", Topology.of(self.expression))
        assert self._topology is not None
        return self._topology

    @property
    def steps(self) -> list[str]:
        """The names of the nodes, each after those that it needs."""
        return list(self.topology.names)

    @property
    def label(self) -> str | None:
        """The name that the flow was given, if it was given one."""
        return self._label

    @property
    def name(self) -> str:
        """The flow's own name, or that of its last step."""
        if self._label is not None:
            return self._label
        names = self.topology.names
        return names[-1] if names else "flow"

    @property
    def params(self) -> dict[str, Any]:
        """The run-time parameters and their defaults."""
        return dict(self.topology.params)

    def __len__(self) -> int:
        return len(self.topology.nodes)

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, str):
            return item in self.topology.positions
        definition = getattr(item, "definition", None)
        if isinstance(definition, Definition):
            mine = (node.call.definition for node in self.topology.nodes)
            return any(definition.same_as(each) for each in mine)
        if isinstance(item, Flow):
            wanted = {id(node.call) for node in item.topology.nodes}
            return wanted <= {id(node.call) for node in self.topology.nodes}
        return False

    def __getitem__(self, name: str) -> Flow:
        """Give the part of the flow that ends in a step."""
        try:
            node = self.topology.nodes[self.topology.positions[name]]
        except (KeyError, TypeError):
            raise UnknownStepError(
                f"the flow has no step {quoted(name)}; {did_you_mean(name, self.topology.names)}"
            ) from None
        return Flow(node, self._names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Composable):
            return NotImplemented
        return self.topology.same_as(other._flow().topology)

    def __hash__(self) -> int:
        return hash(self.topology.names)

    def __repr__(self) -> str:
        label = f"{quoted(self._label)}, " if self._label is not None else ""
        try:
            names = self.topology.names
            edges = sum(map(len, self.topology.upstream))
        except Exception as error:  # noqa: BLE001 - showing a flow never fails
            return f"Flow({label}{error})"
        straight = all(len(upstream) <= 1 for upstream in self.topology.upstream)
        if straight and edges == len(names) - 1 and len(names) <= 8 and not label:
            return f"Flow({' >> '.join(quoted(name)[1:-1] for name in names)})"
        steps = "1 step" if len(names) == 1 else f"{len(names)} steps"
        return f"Flow({label}{steps}, {edges} edge{'s' * (edges != 1)})"

    # Copies

    def named(self, name: str) -> Flow:
        """Copy under a name, which its runs and pictures bear."""
        return Flow(self.expression, self._names, checked_name(name), self._handlers)

    def options(self, **options: Any) -> Flow:
        """Copy with options set for every step in it.

        Raises
        ------
        FlowError
            If there is no such option, or its value cannot be right.
        """
        expression = redefined(self.expression, lambda old: old.replaced(options))
        return Flow(expression, None, self._label, self._handlers)

    def when(self, predicate: Callable[..., Any]) -> Flow:
        """Copy whose first steps run only if a predicate on what flows in holds.

        Examples
        --------
        >>> from nbflow import step
        >>> flow = step(str).s().when(lambda n: n > 0)
        >>> (3 >> flow).call(), (-3 >> flow).call()
        ('3', None)
        """

        def change(old: Options) -> Options:
            return old.replaced({"when": (*old.when, predicate)})

        first = {id(node) for node in self.topology.nodes if node.open or is_first(node)}
        expression = redefined(self.expression, change, lambda node: id(node) in first)
        return Flow(expression, None, self._label, self._handlers)

    def on_error(self, handler: Any) -> Flow:
        """Copy that calls something, once, if a run of it fails.

        Parameters
        ----------
        handler
            A function, step or flow of one argument: the list of failures, each with
            ``step``, ``element``, ``error`` and ``attempts``.

        Raises
        ------
        FlowError
            If it cannot be called with one argument, or needs a parameter.
        """
        placed_already = isinstance(handler, Composable)
        if not placed_already and not callable(handler):
            advice = ""
            if isinstance(handler, str):
                advice = '; to put failing elements of a map aside write .map(on_error="collect")'
            raise FlowError(
                f"the handler of on_error is {outline(handler, 60)}; it must be a function, step "
                f"or flow of one argument, the list of failures{advice}"
            )
        handling = handler._flow() if placed_already else function_flow(handler)
        # Said here rather than when it is needed most.
        _check_handler(handling)
        return Flow(self.expression, self._names, self._label, (*self._handlers, handling))

    @property
    def handlers(self) -> tuple[Flow, ...]:
        """What is called with the failures of a run."""
        return self._handlers

    def map(self, items: Any = None, **options: Any) -> Flow:
        """Map the flow as a whole: what its first steps lack is one item of each element.

        Parameters
        ----------
        items, options
            As in ``step.map()``.

        Examples
        --------
        >>> from nbflow import step
        >>> (step(abs) >> str).map([-1, 2]).call()
        ['1', '2']
        """
        from nbflow.algebra.mapping import mapped

        return mapped(self, items, options)

    def starmap(self, tuples: Any = None, **options: Any) -> Flow:
        """Map the flow as a whole, over tuples of arguments for its first steps."""
        from nbflow.algebra.mapping import mapped

        return mapped(self, tuples, options, spread=True)

    def ready(self, *inputs: Any) -> Flow:
        """Copy with every open step fed, checked to be complete.

        Raises
        ------
        SignatureError
            If a step still lacks an argument, or nobody takes the inputs.
        """
        for each in inputs:
            if isinstance(each, Composable):
                raise FlowError(
                    f"the input {each!r} is a flow, not a value; connect it with >> instead"
                )
        expression = given(self.expression, self.topology.nodes, inputs)
        same = expression is self.expression
        flow = self if same else Flow(expression, None, self._label, self._handlers)
        for node in flow.topology.nodes:
            if node.call.definition.options.when:
                check_predicates(node)
        return flow


def _check_handler(handler: Flow) -> None:
    try:
        connected(constant([]), handler).ready()
    except SignatureError as error:
        raise SignatureError(
            f"the handler of on_error is called with one argument, the list of failures; {error}"
        ) from None
    for name, default in handler.params.items():
        if default is MISSING:
            raise ParamError(
                f"the handler of on_error needs the parameter {quoted(name)}, which nobody gives "
                f"it; give the param a default"
            )


def _names_in(expression: Expression) -> Names:
    return named(node.call.definition for node in Topology.of(expression).nodes)


def source(value: Any) -> Flow:
    """Make a flow of what stands on the left of ``>>``.

    Lists, tuples and dicts gather, functions become steps, and everything else is
    a constant.

    Raises
    ------
    FlowError
        If it is a set, whose order means nothing.
    """
    if isinstance(value, (set, frozenset)):
        raise FlowError("a set has no order, so its values cannot be handed on; write a list")
    if _is_function(value):
        return function_flow(value)
    if type(value) is list:
        value = [function_flow(each) if _is_function(each) else each for each in value]
    flow = lift(value)
    if isinstance(flow.expression, Const) and type(value) is tuple:
        return Flow(TupleOf(tuple(map(Const, value))), {})
    if isinstance(flow.expression, Const) and type(value) is dict:
        return Flow(DictOf(tuple(value), tuple(map(Const, value.values()))), {})
    return flow


def _is_function(value: Any) -> bool:
    """Tell whether a value on the left of ``>>`` is a function, however it was made.

    Classes and objects that can be called, such as a fitted model, are values there.
    """
    if type(value) in ATOMS or isinstance(value, (type, Composable)) or not callable(value):
        return False
    return isinstance(value, functools.partial) or isinstance(getattr(value, "__name__", None), str)


def lift(value: Any) -> Flow:
    """Make a flow of an argument: of flows anywhere in it, or else of a constant."""
    if isinstance(value, Composable):
        return value._flow()
    found: list[Flow] = []

    def to_expression(each: Any) -> Expression | None:
        if not isinstance(each, Composable):
            return None
        found.append(each._flow())
        return found[-1].expression

    return gathered(lifted(value, to_expression), found)


def constant(value: Any) -> Flow:
    """Make a flow of a value as it is."""
    return Flow(Const(value), {})


def gathered(expression: Expression, flows: Iterable[Flow]) -> Flow:
    """Make one flow of several whose expressions were put together."""
    names: Names = {}
    handlers: tuple[Flow, ...] = ()
    for each in flows:
        names = _united(names, each._names, expression)
        handlers = _both(handlers, each._handlers)
    return Flow(expression, names, None, handlers)


def _both(left: tuple[Flow, ...], right: tuple[Flow, ...]) -> tuple[Flow, ...]:
    if not right or left is right:
        return left
    known = set(map(id, left))
    return (*left, *(each for each in right if id(each) not in known))


def function_flow(fn: Callable[..., Any]) -> Flow:
    """Make a flow of a plain function."""
    definition = Definition.of(fn)
    return Flow(placed(Call(definition)), {definition.name: definition})


def connected(left: Flow, right: Any) -> Flow:
    """Let the value of a flow run into what stands on the right of ``>>``.

    Raises
    ------
    FlowError
        If the right-hand side is no step, or a call does not fit.
    """
    kind = type(right)
    if kind is list or kind is tuple:
        flows = [_member(left, each) for each in right]
        members = tuple(each.expression for each in flows)
        return gathered(ListOf(members) if kind is list else TupleOf(members), flows)
    if kind is dict:
        flows = [_member(left, each) for each in right.values()]
        return gathered(DictOf(tuple(right), tuple(each.expression for each in flows)), flows)
    if isinstance(right, Composable):
        flow = right._flow()
    elif callable(right):
        flow = function_flow(right)
    elif isinstance(right, (set, frozenset)):
        raise FlowError("a set has no order, so its values cannot be gathered; write a list")
    else:
        raise FlowError(
            f"{quoted(right)} is a {type(right).__name__}, and a value cannot flow into it; on the "
            f"right of >> stands a step, a function, or a list, tuple or dict of them"
        )
    expression = _flowed(left, flow)
    names = _united(left._names, flow._names, expression)
    return Flow(expression, names, None, _both(left._handlers, flow._handlers))


def _member(left: Flow, right: Any) -> Flow:
    if callable(right) or isinstance(right, (Composable, list, tuple, dict, set, frozenset)):
        return connected(left, right)
    return lift(right)


def _flowed(left: Flow, right: Flow) -> Expression:
    node = right.expression
    if isinstance(node, Node) and node.loose:
        return applied(node.call, left.expression)
    if isinstance(node, Node) and node.bare_map and not is_open(right):
        return received(node, left.expression)
    if isinstance(node, ParamRef):
        raise FlowError(f"a value cannot flow into the parameter {quoted(node.name)}")
    described = "the value" if isinstance(left.expression, Const) else f"the value of {left!r}"
    return fed(node, left.expression, described)


def is_open(flow: Flow) -> bool:
    """Tell whether a step of a flow lacks an argument, or a map its items."""
    return any(
        node.open or (node.axis and any(each.items is None for each in node.axis.lineage))
        for node in flow.topology.nodes
    )


def _united(left: Names, right: Names, expression: Expression) -> Names:
    return united(left, right, lambda: _names_in(expression))
