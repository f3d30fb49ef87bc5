"""How nodes are named: by their function, numbered, and one function to a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from nbflow.algebra.definition import Definition
from nbflow.algebra.fingerprint import same_function
from nbflow.errors import FlowError, quoted

Names: TypeAlias = dict[str, Definition]


def numbered(definitions: Sequence[Definition]) -> Iterator[str]:
    """Name placed calls in order of appearance: ``clean``, ``clean_2``.

    A number never takes the name of another function.

    Raises
    ------
    FlowError
        If two different functions have one name.
    """
    taken, seen = set(named(definitions)), Counter[str]()
    for definition in definitions:
        name = base = definition.name
        seen[base] += 1
        while seen[base] > 1 and name in taken:
            name = f"{base}_{seen[base]}"
            seen[base] += name in taken
        taken.add(name)
        yield name


def named(definitions: Iterable[Definition]) -> Names:
    """Make the table of names.

    Raises
    ------
    FlowError
        If two different functions have one name.
    """
    table: Names = {}
    for definition in definitions:
        known = table.setdefault(definition.name, definition)
        if known is not definition:
            check_one_function(known, definition)
    return table


def united(left: Names, right: Names, exact: Callable[[], Names]) -> Names:
    """Merge two tables of names, so that a clash is an error at the ``>>``.

    The tables are shared along a lineage of flows and only ever grow; one may know
    names of a sister flow. A clash is therefore looked at closely before it is
    believed. Merging the smaller into the larger keeps building linear.

    Parameters
    ----------
    left, right
        The tables; the larger is added to.
    exact
        Makes the table of exactly the flow that is built, and raises on a clash.
    """
    large, small = (left, right) if len(left) >= len(right) else (right, left)
    for name, definition in small.items():
        known = large.setdefault(name, definition)
        if known is not definition and known.fn is not definition.fn:
            try:
                check_one_function(known, definition)
            except FlowError:
                return exact()
    return large


def check_one_function(known: Definition, definition: Definition) -> None:
    """Refuse two different functions under one name.

    Raises
    ------
    FlowError
        Saying where each is defined.
    """
    if known.fn is definition.fn or known.anonymous:
        return
    if not same_function(known.fn, definition.fn):
        raise FlowError(
            f"two different functions are named {quoted(definition.name)}: one defined "
            f"{known.place}, the other {definition.place}; rename one with "
            f".named({definition.name + '_2'!r}), or re-run the cell that builds this flow"
        )
