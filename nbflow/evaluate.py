"""What a flow means: its value, computed in plain Python.

`evaluate` is the whole meaning in one loop. The workers use the same functions to
resolve arguments and to call the user's code, so the meaning cannot differ.
"""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from nbflow.absence import Absent, first_absent, gathered_list
from nbflow.context import enter, leave, never
from nbflow.decision import holds
from nbflow.definition import natural_name
from nbflow.demand import Guard
from nbflow.errors import ParamError, SignatureError, TransferError, did_you_mean, quoted
from nbflow.expression import (
    ATOMS,
    MISSING,
    Axis,
    Choice,
    Const,
    DictOf,
    Expression,
    Item,
    Key,
    ListOf,
    Node,
    TupleOf,
)
from nbflow.items import elements_of, labels_of
from nbflow.regions import Region, regions
from nbflow.retry import next_wait
from nbflow.topology import Topology

ValueOf = Callable[[Any], Any]
Kwargs = tuple[tuple[str, Expression], ...]


Failed = Callable[[str, Any, BaseException, int], None]


def _unheard(*_: Any) -> None:
    pass


def evaluate(topology: Topology, params: Mapping[str, Any], failed: Failed = _unheard) -> Any:
    """Compute the value of a flow, here and now; None if it was skipped.

    Parameters
    ----------
    topology
        The flow, complete.
    params
        Values of its parameters.
    failed
        Told of a failure: the step, the element, the exception and the attempts.

    Raises
    ------
    ParamError
        If a parameter is missing or unknown.
    Exception
        Whatever a step raises, when its attempts are used up.
    """
    __tracebackhide__ = True
    evaluation = Evaluation(topology, bound_params(topology, params), failed)
    frame = Frame()
    evaluation.compute(regions(topology), frame)
    value = resolve(topology.value, evaluation.looking_in(frame))
    return None if type(value) is Absent else value


class Frame:
    """The values that are known while one element of a map is computed, or the flow.

    Attributes
    ----------
    values
        By position in the flow; of a map, the list over its elements.
    parent
        The frame around it.
    key, item
        Which map it is an element of, and what that is computed from.
    label
        How the element is called in full, such as ``[3]`` or ``[eu][0]``.
    """

    __slots__ = ("item", "key", "label", "parent", "values")

    def __init__(
        self,
        parent: Frame | None = None,
        key: Key | None = None,
        item: Any = None,
        label: str = "",
    ) -> None:
        self.values: dict[int, Any] = {}
        self.parent = parent
        self.key = key
        self.item = item
        self.label = label

    def value(self, position: int) -> Any:
        """Look a value up, here and further out."""
        frame: Frame | None = self
        while frame is not None:
            if position in frame.values:
                return frame.values[position]
            frame = frame.parent
        raise KeyError(position)

    def item_of(self, key: Key) -> Any:
        """Give the current item of a map."""
        frame: Frame | None = self
        while frame is not None:
            if frame.key is key:
                return frame.item
            frame = frame.parent
        raise KeyError(key)


class Evaluation:
    """A flow and its parameters while it is evaluated."""

    def __init__(
        self, topology: Topology, params: Mapping[str, Any], failed: Failed = _unheard
    ) -> None:
        self.topology = topology
        self.params = params
        self.failed = failed

    def looking_in(self, frame: Frame) -> ValueOf:
        """Give what looks up the leaves of expressions in a frame."""
        index, params = self.topology.index, self.params

        def value_of(leaf: Any) -> Any:
            if isinstance(leaf, Node):
                return frame.value(index[id(leaf)])
            if isinstance(leaf, Item):
                return frame.item_of(leaf.key)
            return params[leaf.name]

        return value_of

    def compute(self, region: Region, frame: Frame) -> None:
        """Compute the steps of a region in one frame."""
        __tracebackhide__ = True
        for part in region.parts:
            if isinstance(part, int):
                frame.values[part] = self.step(part, frame)
            else:
                self.over(part, frame)

    def over(self, region: Region, frame: Frame) -> None:
        """Compute the steps of a map for each of its elements."""
        __tracebackhide__ = True
        axis = region.axis
        assert axis is not None
        shut = self._shut(region, frame)
        frame.values.update(shut)
        if len(shut) == len(region.positions):
            return
        try:
            items = self._items(region, axis, frame)
        except _FAILURES:
            if not _spared(axis.parent):
                raise
            items = _failure(self.topology.names[region.positions[0]] + frame.label, axis.parent)
        if type(items) is Absent:
            frame.values.update(dict.fromkeys(region.positions, items))
            return
        columns: dict[int, list[Any]] = {each: [] for each in region.positions}
        for item, label in items:
            inner = Frame(frame, axis.key, item, f"{frame.label}[{label}]")
            self.compute(region, inner)
            for position, column in columns.items():
                column.append(inner.values[position])
        inside = axis.parent is not None and not axis.collect
        aside = axis.parent is not None and axis.parent.collect
        for position, column in columns.items():
            if not items and position in shut:
                continue
            value = gathered_list(column, inside=inside)
            if aside and type(value) is Absent and value.failed:
                value = replace(value, failed=False, collected=True)
            frame.values[position] = value

    def _shut(self, region: Region, frame: Frame) -> dict[int, Absent]:
        """Find the steps of a map that lie in an arm that is not taken."""
        found, value_of = {}, self.looking_in(frame)
        for position in region.positions:
            guard = self.topology.demands.arms[position]
            if guard is not None and guard.position not in region.positions:
                absent = barred(self.topology.names[position], guard, (), value_of)
                if absent is not None:
                    found[position] = absent
        return found

    def _items(self, region: Region, axis: Axis, frame: Frame) -> Any:
        name = self.topology.names[region.positions[0]]
        value_of = self.looking_in(frame)
        items = items_of(axis, value_of)
        if type(items) is Absent:
            return items.following()
        labels = labels_of(axis.label, items, name)
        return list(zip(items, range(len(items)) if labels is None else labels, strict=True))

    def step(self, position: int, frame: Frame) -> Any:
        """Compute one step in one frame."""
        __tracebackhide__ = True
        node, name = self.topology.nodes[position], self.topology.names[position]
        value_of = self.looking_in(frame)
        name += frame.label
        absent = barred(name, self.topology.guards[position], node.after, value_of)
        if absent is not None:
            return absent
        retry, attempt = node.call.definition.options.retry, 1
        while True:
            element = element_name(frame)
            entered = enter("call", self.topology.names[position], element, attempt, never)
            try:
                return self.attempt(node, name, value_of)
            except BaseException as error:
                wait = next_wait(retry, attempt, error)
                if wait is None:
                    self.failed(self.topology.names[position], element, error, attempt)
                    if not isinstance(error, _FAILURES) or not _spared(node.axis):
                        raise
                    return _failure(name, node.axis)
            finally:
                leave(entered)
            time.sleep(wait)
            attempt += 1

    def attempt(self, node: Node, name: str, value_of: ValueOf) -> Any:
        """Make one attempt of a step."""
        __tracebackhide__ = True
        call, options = node.call, node.call.definition.options
        given = arguments(node.args, node.kwargs, value_of)
        if isinstance(given, Absent):
            return following(given, name)
        own = len(call.args), frozenset(key for key, _ in call.kwargs)
        refused = unwanted(options.when, own, given) if options.when else None
        if refused is not None:
            return Absent(name, refused)
        fn = called(call.definition.fn, call.split_every)
        if options.timeout is None:
            value = invoke(fn, *given)
        else:
            from nbflow.deadline import within

            value = within(options.timeout, name, lambda: invoke(fn, *given))
        value = checked(name, value)
        return value if call.decision is None else call.decision.checked(value)


# What a step fails with; anything else is for whoever called, such as an interrupt.
_FAILURES = (Exception, SystemExit)


def _spared(axis: Axis | None) -> bool:
    """Tell whether a map puts failures aside, or one around it."""
    return axis is not None and any(each.collect for each in axis.lineage)


def _failure(name: str, axis: Axis | None) -> Absent:
    """Say that a step has failed inside of a map, which may put that aside."""
    collected = axis is not None and axis.collect
    return Absent(name, f"{name} failed", failed=not collected, collected=collected)


def element_name(frame: Frame) -> int | str | None:
    """Name the element that a frame is of: its number or key, or those of nested maps.

    Examples
    --------
    >>> element_name(Frame(label="[eu][0]"))
    'eu/0'
    """
    label = frame.label[1:-1].replace("][", "/")
    return int(label) if label.isdecimal() else label or None


def following(absent: Absent, name: str) -> Absent:
    """Say what an absent input means for a step: it is absent for the same cause."""
    culprit = absent.culprit if absent.failed or absent.collected else name
    return Absent(culprit, absent.following().reason, absent.failed, absent.collected)


def items_of(axis: Axis, value_of: ValueOf) -> Any:
    """List what a map goes over, or say why there is nothing.

    Raises
    ------
    FlowError
        If the value cannot be gone through.
    """
    items = axis.items
    assert items is not None
    if isinstance(items, Const):
        return items.value
    if isinstance(items, ListOf):
        return [resolve(each, value_of) for each in items.members]
    value = resolve(items, value_of)
    return value if type(value) is Absent else elements_of(value, axis.size, axis.together)


def barred(
    name: str, guard: Guard | None, after: Iterable[Expression], value_of: ValueOf
) -> Absent | None:
    """Say why a step is not to run, before its own inputs are looked at.

    Parameters
    ----------
    name
        The step.
    guard
        The decision that must have taken an arm.
    after
        What the step only waits for.
    value_of
        Gives the values of leaves.
    """
    for each in after:
        waited = resolve(each, value_of)
        if type(waited) is Absent:
            return following(waited, name)
    if guard is None:
        return None
    value = value_of(guard.decider)
    if type(value) is Absent:
        return following(value, name)
    if guard.decision.taken(value) == guard.arm:
        return None
    return Absent(name, f"{guard.decision.name} was {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def unwanted(
    predicates: tuple[Callable[..., Any], ...],
    own: tuple[int, frozenset[str]],
    given: tuple[list[Any], dict[str, Any]],
) -> str | None:
    """Say which predicate on what flows into a step does not hold.

    Parameters
    ----------
    predicates
        The step option ``when``.
    own
        How many of the positional arguments, at the end, were given to ``.s()``, and
        which of the others.
    given
        The arguments of the call. If nothing flows in, all of them are meant.
    """
    positional, keywords = given
    count, names = own
    flowed = positional[: len(positional) - count]
    others = {key: value for key, value in keywords.items() if key not in names}
    if not flowed and not others:
        flowed, others = positional, keywords
    for each in predicates:
        name = natural_name(each)
        if not holds(name, invoke(each, flowed, others)):
            return f"{name} was False"
    return None


def called(
    fn: Callable[..., Any], split_every: int | None, levels: int | None = None
) -> Callable[..., Any]:
    """Give what is called: the function, or a tree of its calls."""
    return fn if split_every is None else partial(reduced, fn, split_every, levels)


def reduced(
    fn: Callable[..., Any],
    split_every: int,
    levels: int | None,
    values: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a function on parts of a list, and on the list of what it gives, down to one.

    With a number of levels, give the list that is left after so many.

    Examples
    --------
    >>> reduced(sum, 2, None, [1, 2, 3, 4, 5])
    15
    >>> reduced(sum, 2, 1, [1, 2, 3, 4, 5])
    [3, 7, 5]
    """
    __tracebackhide__ = True
    values = elements_of(values)
    while len(values) > split_every if levels is None else levels > 0:
        parts = elements_of(values, split_every)
        values = [invoke(fn, [part, *args], kwargs) for part in parts]
        levels = None if levels is None else levels - 1
    return values if levels is not None else invoke(fn, [values, *args], kwargs)


def arguments(
    args: tuple[Expression, ...], kwargs: Kwargs, value_of: ValueOf
) -> tuple[list[Any], dict[str, Any]] | Absent:
    """Resolve the arguments of one call into values of its own.

    A step may change what it is given without changing what others see: lists, dicts
    and sets are handed over as copies all the way down, and so are the arrays and
    frames in them (pandas copies no data until it is changed).

    Returns
    -------
    The arguments, or why one of them is absent.

    Raises
    ------
    SignatureError
        If an element of a starmap is no tuple of arguments.
    """
    positional: list[Any] = []
    missing = False
    for each in args:
        value = resolve(each, value_of)
        missing = missing or type(value) is Absent
        if type(each) is Item and each.spread and type(value) is not Absent:
            if not isinstance(value, (tuple, list)):
                raise SignatureError(
                    f"starmap got {quoted(value)}, a {type(value).__name__}; each element is a "
                    f"tuple of arguments"
                )
            positional.extend(map(own_copy, value))
        else:
            positional.append(own_copy(value))
    keywords = {}
    for name, each in kwargs:
        value = resolve(each, value_of)
        missing = missing or type(value) is Absent
        keywords[name] = own_copy(value)
    if missing:
        return first_absent((*positional, *keywords.values())) or Absent("", "")
    return positional, keywords


def resolve(expression: Expression, value_of: ValueOf) -> Any:
    """Compute the value of an expression from the values of its leaves.

    A list goes on without the members that were skipped; a tuple, a dict and an
    argument need all of theirs.
    """
    if isinstance(expression, Const):
        return expression.value
    if isinstance(expression, ListOf):
        values = [resolve(each, value_of) for each in expression.members]
        return gathered_list(values, inside=True)
    if isinstance(expression, (TupleOf, DictOf)):
        values = [resolve(each, value_of) for each in expression.members]
        absent = first_absent(values)
        if absent is not None:
            return absent
        if isinstance(expression, TupleOf):
            return tuple(values)
        return dict(zip(expression.keys, values, strict=True))
    if isinstance(expression, Choice):
        return _chosen(expression, value_of)
    return value_of(expression)


def _chosen(choice: Choice, value_of: ValueOf) -> Any:
    decision, *arms = choice.members
    value = resolve(decision, value_of)
    if type(value) is Absent:
        return value
    arm = choice.decision.taken(value)
    if arm is None or arm >= len(arms):
        name = choice.decision.name
        return Absent("", f"{name} was {_shown(value)}")
    return resolve(arms[arm], value_of)


def own_copy(value: Any) -> Any:
    """Copy a value as far as its user may change it in place without noticing."""
    try:
        return _own(value)
    except RecursionError:  # a list that holds itself
        return copy.copy(value)


def _own(value: Any) -> Any:
    kind: Any = type(value)
    if kind in ATOMS:
        return value
    if kind is list:
        return [each if type(each) in ATOMS else _own(each) for each in value]
    if kind is dict:
        return {key: _own(each) for key, each in value.items()}
    if kind is tuple:
        members = tuple([_own(each) for each in value])
        same = all(new is old for new, old in zip(members, value, strict=True))
        return value if same else members
    if kind is set or kind is bytearray:
        return kind(value)
    copier = _copier(kind)
    return value if copier is None else copier(value)


def _frame_copy(value: Any) -> Any:
    return value.copy(deep=False)


def _array_copy(value: Any) -> Any:
    # Also of one that came by wire, which is read-only: it was not where it was made.
    return value.copy()


# By name, so that nothing is imported to find out what a value is not.
_COPIERS = {
    ("pandas", "DataFrame"): _frame_copy,
    ("pandas", "Series"): _frame_copy,
    ("pandas", "Index"): _frame_copy,
    ("numpy", "ndarray"): _array_copy,
    ("collections", "OrderedDict"): copy.copy,
    ("collections", "defaultdict"): copy.copy,
    ("collections", "Counter"): copy.copy,
    ("collections", "deque"): copy.copy,
}


@lru_cache(maxsize=256)
def _copier(kind: Any) -> Callable[[Any], Any] | None:
    for base in kind.__mro__:
        found = _COPIERS.get((str(base.__module__).partition(".")[0], base.__name__))
        if found is not None:
            return found
    return None


def invoke(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function, and wait for its value if it is asynchronous."""
    __tracebackhide__ = True
    result = fn(*args, **kwargs)
    if type(result) is not CoroutineType:
        return result
    # Imported when it is needed, as few steps are asynchronous.
    from nbflow.deadline import awaited

    return awaited(result)


def checked(name: str, value: Any) -> Any:
    """Give a step's result back if it is a value rather than a promise of values.

    Raises
    ------
    TransferError
        If it is a generator, another iterator that is used up by reading, or a file.
    """
    if isinstance(value, _READ_ONCE) and type(value) not in _IN_MEMORY:
        kind = "a generator"
        if isinstance(value, io.IOBase):
            kind = "an open file"
        elif not isinstance(value, (GeneratorType, AsyncGeneratorType)):
            kind = f"an iterator ({type(value).__name__})"
        raise TransferError(
            f"step {quoted(name)} returned {kind}, which can be read only once and cannot "
            f"travel; return a list of what it yields"
        )
    return value


_READ_ONCE = (
    GeneratorType,
    AsyncGeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    io.IOBase,
)
_IN_MEMORY = frozenset({io.BytesIO, io.StringIO})


def bound_params(topology: Topology, params: Mapping[str, Any]) -> dict[str, Any]:
    """Join the values given for a run with the defaults.

    Raises
    ------
    ParamError
        If a parameter is unknown or has no value.
    """
    known = topology.params
    for name in params:
        if name not in known:
            raise ParamError(
                f"the flow has no parameter {quoted(name)}; {did_you_mean(name, sorted(known))}"
            )
    bound = {**known, **params}
    missing = sorted(name for name, value in bound.items() if value is MISSING)
    if missing:
        listed = ", ".join(map(quoted, missing))
        raise ParamError(
            f"no value for the parameter {listed}; give it with params={{{missing[0]!r}: …}}, or "
            f"give the param a default"
        )
    return bound
