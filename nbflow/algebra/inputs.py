"""What a step is given: the values of its arguments, or why it gets none and does not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nbflow.algebra.absence import Absent, first_absent, gathered_list
from nbflow.algebra.callables import natural_name
from nbflow.algebra.calling import invoke
from nbflow.algebra.copies import own_copy
from nbflow.algebra.decision import holds
from nbflow.algebra.demand import Guard
from nbflow.algebra.expression import (
    Axis,
    Choice,
    Const,
    DictOf,
    Expression,
    Item,
    ListOf,
    TupleOf,
)
from nbflow.algebra.items import elements_of
from nbflow.errors import SignatureError, quoted
from nbflow.values.outline import outline

ValueOf = Callable[[Any], Any]
Kwargs = tuple[tuple[str, Expression], ...]


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
        return Absent("", f"{name} was {outline(value, 40)}")
    return resolve(arms[arm], value_of)


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


def following(absent: Absent, name: str) -> Absent:
    """Say what an absent input means for a step: it is absent for the same cause."""
    culprit = absent.culprit if absent.failed or absent.collected else name
    reason = absent.following().reason
    return Absent(culprit, reason, absent.failed, absent.collected, absent.doubt)


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
    return Absent(name, f"{guard.decision.name} was {outline(value, 40)}")


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
