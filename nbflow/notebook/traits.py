"""What is to be said of a step before it runs, besides its name and its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.algebra.callables import natural_name
from nbflow.notebook.wording import count, duration, printable

if TYPE_CHECKING:
    from nbflow.algebra.expression import Axis, Call

_NAME = 20
_NAMED = 2


def traits(call: Call) -> list[str]:
    """Say when a step runs, how it is undone, and how it reduces a list.

    Examples
    --------
    >>> from nbflow import step
    >>> (node,) = (3 >> step(abs, when=bool)).topology.nodes
    >>> traits(node.call)
    ['when bool']
    """
    parts = []
    names = [printable(natural_name(each), _NAME) for each in call.definition.options.when]
    if names:
        more = ", …" if len(names) > _NAMED else ""
        parts.append(f"when {', '.join(names[:_NAMED])}{more}")
    options = call.definition.options
    if options.delay is not None:
        parts.append(f"after {duration(options.delay)}")
    if options.compensate is not None:
        parts.append(f"undo: {undoer(call)}")
    if call.split_every is not None:
        parts.append(f"in parts of {count(call.split_every)}")
    return parts


def undoer(call: Call) -> str:
    """Name the function that undoes a step; nothing where there is none.

    Examples
    --------
    >>> from nbflow import step
    >>> def refund(receipt): ...
    >>> (node,) = (3 >> step(abs, compensate=refund)).topology.nodes
    >>> undoer(node.call)
    'refund'
    """
    compensate = call.definition.options.compensate
    return "" if compensate is None else printable(natural_name(compensate), _NAME)


def chunked(axis: Axis) -> list[str]:
    """Say how many items make one element of a map."""
    return [] if axis.size is None else [f"chunks of {count(axis.size)}"]
