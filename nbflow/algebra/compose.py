"""Composition by functions: chain, group, chord, chunks, starmap, branch and switch.

They give the same values as the operators, and take what Python's own operators
cannot, such as a list that flows into a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from nbflow.algebra.decision import Decision
from nbflow.algebra.expression import Cap, Choice, DictOf, ListOf, Node, TupleOf
from nbflow.algebra.feeding import opened
from nbflow.algebra.flow import Composable, Flow, connected, function_flow, gathered, source
from nbflow.algebra.items import bounded
from nbflow.algebra.mapping import checked_count, mapped
from nbflow.algebra.wiring import placed
from nbflow.errors import FlowError
from nbflow.values.outline import outline

_WHOLE = (str, bytes, bytearray, Mapping, Composable)


def chain(*parts: Any) -> Flow:
    """Connect parts one after the other, as ``a >> b >> c`` does.

    Examples
    --------
    >>> chain([1, 2], sum, str).call()
    '3'
    """
    if not parts:
        raise FlowError("chain() got no parts; give it at least one")
    flow = source(parts[0])
    for part in parts[1:]:
        flow = connected(flow, part)
    return flow


def group(*members: Any, max_concurrency: int | None = None) -> Flow:
    """Gather flows side by side; the value is the list of their values.

    Parameters
    ----------
    members
        Flows, or one iterable of them: a list, a tuple, a range, a generator.
    max_concurrency
        How many members may run at once: never more, and as soon as one ends, the next
        one starts. What only one member needs is part of that member.

    Raises
    ------
    FlowError
        If the limit is not a whole number of at least 1.

    Examples
    --------
    >>> (-3 >> group(abs, str)).call()
    [3, '-3']
    >>> (group(1, 2) >> [sum, max]).call()
    [3, 2]
    """
    limit = None if max_concurrency is None else checked_count("max_concurrency", max_concurrency)
    flows = [_member(each) for each in _members(members)]
    cap = None if limit is None else Cap(limit)
    return gathered(ListOf(tuple(each.expression for each in flows), cap), flows)


def chord(header: Any, body: Any) -> Flow:
    """Gather a header and hand the list of its values to a body.

    A header that is one flow, such as a `group`, is handed on as it is.

    Examples
    --------
    >>> from nbflow import step
    >>> chord((step(abs).s(n) for n in (-1, 2)), sum).call()
    3
    """
    flow = header._flow() if isinstance(header, Composable) else group(*_members((header,)))
    return connected(flow, body)


def chunks(step: Any, items: Any, size: int, **options: Any) -> Flow:
    """Call a step once for each batch of items; each call gets a list.

    Parameters
    ----------
    step
        A step, a function or an open flow of one list.
    items
        What to split: anything that a map goes over, or a flow that gives it. A
        generator is read at once. Of a frame, each call gets a slice of rows.
    size
        How many items a batch has; the last may have fewer.
    options
        Those of ``.map()``.

    Examples
    --------
    >>> chunks(sum, range(5), 2).call()
    [1, 5, 4]
    """
    return mapped(_body(step), items, options, size=checked_count("the size of a chunk", size))


def starmap(step: Any, tuples: Any = None, **options: Any) -> Flow:
    """Call a step once for each tuple of arguments.

    Examples
    --------
    >>> starmap(pow, [(2, 3), (3, 2)]).call()
    [8, 9]
    """
    return mapped(_body(step), tuples, options, spread=True)


def branch(predicate: Any, then: Any, otherwise: Any = None) -> Flow:
    """Take one of two ways, by what a predicate says of the value that flows in.

    The value goes to the predicate and to the arm that is taken, whose value is handed
    on. The other arm is skipped. Without ``otherwise``, what follows is skipped too.

    Parameters
    ----------
    predicate
        A function or step that gives true or false.
    then, otherwise
        What runs if it is true, and if it is false: a step, a function, a flow, or a
        list, tuple or dict of them.

    Examples
    --------
    >>> flow = branch(lambda n: n < 0, abs, str)
    >>> (-3 >> flow).call(), (3 >> flow).call()
    (3, '3')
    """
    _check_decides("the predicate of a branch", predicate)
    if then is None:
        raise FlowError(
            "the arm of a branch that is taken if its predicate holds is None; give a step or a "
            "flow, or turn the predicate round"
        )
    arms = [then] if otherwise is None else [then, otherwise]
    return _choice(predicate, (True, False)[: len(arms)], arms, truth=True, default=False)


def switch(selector: Any, cases: Mapping[Any, Any], default: Any = None) -> Flow:
    """Take one of several ways, by the value that a selector gives.

    Parameters
    ----------
    selector
        A function or step of the value that flows in.
    cases
        What runs for each value of the selector.
    default
        What runs for any other. Without it, any other value is an error.

    Raises
    ------
    FlowError
        If there are no cases.

    Examples
    --------
    >>> flow = switch(type, {int: str, str: len})
    >>> ("abc" >> flow).call(), (12 >> flow).call()
    (3, '12')
    """
    _check_decides("the selector of a switch", selector)
    if not isinstance(cases, Mapping) or not cases:
        raise FlowError(
            f"the cases of a switch are {outline(cases, 60)}; they must be a dict from a value of "
            f"the selector to what runs then, with one case at least"
        )
    for case in cases:
        if isinstance(case, float) and case != case:  # noqa: PLR0124 - so is NaN known
            raise FlowError(
                "a case of a switch is NaN, which equals nothing and so is never taken; let the "
                "selector give a word for it, such as 'missing'"
            )
    arms = [*cases.values(), *([] if default is None else [default])]
    return _choice(selector, tuple(cases), arms, truth=False, default=default is not None)


def _check_decides(what: str, decider: Any) -> None:
    if not callable(decider) and not isinstance(decider, Composable):
        raise FlowError(
            f"{what} is {outline(decider, 60)}; it must be a function or a step of the value that "
            f"flows in"
        )


def _choice(
    decider: Any, cases: tuple[Any, ...], arms: list[Any], *, truth: bool, default: bool
) -> Flow:
    flow = decider._flow() if isinstance(decider, Composable) else function_flow(decider)
    node = flow.expression
    if not isinstance(node, Node) or node.axis is not None:
        raise FlowError(
            f"{outline(decider)} does not end in one step, so it cannot decide; give a function or "
            f"a step that gives one value"
        )
    decision = Decision(node.call.definition.name, cases, truth, default)
    call = replace(node.call, decision=decision, origin=None)
    if node.loose:
        node = replace(placed(call), open=not node.call.immutable)
    else:
        node = replace(node, call=call)
    flows = [_arm(each) for each in arms]
    members = (node, *(each.expression for each in flows))
    return gathered(Choice(decision, members), [flow, *flows])


def _arm(value: Any) -> Flow:
    """Let each member of an arm take what flows in, as on the right of ``>>``."""
    kind = type(value)
    if kind is dict:
        flows = [_arm(each) for each in value.values()]
        return gathered(DictOf(tuple(value), tuple(each.expression for each in flows)), flows)
    if kind is list or kind is tuple:
        flows = [_arm(each) for each in value]
        members = tuple(each.expression for each in flows)
        return gathered(ListOf(members) if kind is list else TupleOf(members), flows)
    flow = _member(value)
    return gathered(opened(flow.expression), [flow])


def _members(members: tuple[Any, ...]) -> Iterator[Any]:
    if len(members) != 1:
        return iter(members)
    only = members[0]
    if isinstance(only, (set, frozenset)):
        raise FlowError("a set has no order, so its flows cannot be numbered; give a list")
    if isinstance(only, _WHOLE) or callable(only) or hasattr(only, "__array__"):
        return iter(members)
    if not isinstance(only, Iterable):
        return iter(members)
    return iter(only) if hasattr(only, "__len__") else iter(bounded(only))


def _member(value: Any) -> Flow:
    # As on the right of >>, where a class or any other callable is a step.
    if callable(value) and not isinstance(value, Composable):
        return function_flow(value)
    return source(value)


def _body(step: Any) -> Flow:
    return step._flow() if isinstance(step, Composable) else function_flow(step)
