"""What a flow means: its value, computed in plain Python.

`evaluate` is the whole meaning in one loop. The workers use the same functions to
resolve arguments and to call the user's code (`nbflow.inputs`, `nbflow.calling`), so the
meaning cannot differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from nbflow.algebra.absence import Absent, gathered_list
from nbflow.algebra.calling import called, checked, invoke
from nbflow.algebra.context import enter, leave, never
from nbflow.algebra.expression import MISSING, Axis, Item, Key, Node
from nbflow.algebra.inputs import ValueOf, arguments, barred, following, items_of, resolve, unwanted
from nbflow.algebra.items import labels_of
from nbflow.algebra.regions import Region, regions
from nbflow.algebra.retry import next_wait
from nbflow.algebra.topology import Topology
from nbflow.errors import ParamError, did_you_mean, quoted

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
            from nbflow.algebra.deadline import within

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
