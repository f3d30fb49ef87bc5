"""Why a map computes none of its elements, found out once and not for each of them."""

from __future__ import annotations

from typing import Any

from nbflow.algebra.absence import Absent
from nbflow.algebra.expression import Item, leaves
from nbflow.algebra.inputs import ValueOf, barred, following, items_of, resolve
from nbflow.algebra.items import labels_of
from nbflow.planning.order import Loop, Ref, Work

Barriers = dict[int, Absent]


def opened(
    loop: Loop, value_of: ValueOf, within: str = "", *, complete: bool = False
) -> tuple[list[Any], list[str] | None, Barriers]:
    """Say what a map goes over, or why steps of it give no list.

    Steps in an arm that is not taken are skipped whatever the items are; those may not
    even be what a map goes over. Over nothing, other steps give an empty list.

    Parameters
    ----------
    loop
        The map.
    value_of
        Gives the values of leaves.
    within
        Which element the map is inside of.
    complete
        Whether it is known that nothing is absent.

    Returns
    -------
    The items, their labels, and the steps that no element runs: all of them if one
    element could run none, or else only those of a map over nothing.

    Raises
    ------
    FlowError
        If the value cannot be gone through, or names of elements are not unique.
    """
    works = loop.works
    shut = _barriers(loop, value_of, within, inputs=False)
    if len(shut) == len(works):
        return [], None, shut
    items = items_of(loop.axis, value_of)
    if type(items) is Absent:
        return [], None, {each.position: following(items, each.name + within) for each in works}
    if items:
        shut = {} if complete else _barriers(loop, value_of, within, inputs=True)
        if len(shut) == len(works):
            return [], None, shut
        shut = {}
    return items, labels_of(loop.axis.label, items, works[0].name), shut


def _barriers(loop: Loop, value_of: ValueOf, within: str, *, inputs: bool) -> Barriers:
    works = loop.works
    inside = {work.position for work in works}
    found: Barriers = {}
    for work in works:
        name = work.name + within
        guard = work.guard if work.guard and work.guard.position not in inside else None
        absent = barred(name, guard, (), value_of) if guard else None
        if absent is None and inputs:
            absent = _missing(work, name, inside, value_of)
        if absent is None:
            absent = _inherited(work, name, found)
        if absent is not None:
            found[work.position] = absent
    return found


def _missing(work: Work, name: str, inside: set[int], value_of: ValueOf) -> Absent | None:
    for part in (*work.args, *(each for _, each in work.kwargs), *work.after):
        found = list(leaves(part))
        own = any(isinstance(leaf, Item) for leaf in found)
        near = any(isinstance(leaf, Ref) and leaf.position in inside for leaf in found)
        if not own and not near:
            value = resolve(part, value_of)
            if type(value) is Absent:
                return following(value, name)
    return None


def _inherited(work: Work, name: str, found: Barriers) -> Absent | None:
    for part in (*work.args, *(each for _, each in work.kwargs), *work.after):
        if isinstance(part, Ref) and part.position in found:
            return following(found[part.position], name)
    return None
