"""The tree by which a long list is reduced, and how it is cut into blocks.

On each level, calls get `split_every` neighbours, until so few values are left that one
call gets them all. A block is a range of the list that is a whole number of subtrees, so
that blocks may be computed apart and the tree is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Subtrees:
    """Neighbouring subtrees of one height.

    Attributes
    ----------
    start, stop
        Which elements of the list they stand on.
    levels
        How high they are.
    first
        The number of the first of them.
    """

    start: int
    stop: int
    levels: int
    first: int


def subtrees(total: int, split_every: int, number: int, count: int) -> Subtrees:
    """Cut a tree into blocks, and give one of them.

    Parameters
    ----------
    total
        How many elements the list has.
    split_every
        How many values a call gets at most.
    number, count
        Which block, of how many.

    Examples
    --------
    >>> [(each.start, each.stop) for each in (subtrees(20, 2, n, 2) for n in range(2))]
    [(0, 12), (12, 20)]
    """
    width, levels = min(
        _heights(total, split_every), key=lambda height: _cost(total, height[0], count)
    )
    each = ceil(ceil(total / width) / count)
    start = min(total, number * each * width)
    return Subtrees(start, min(total, start + each * width), levels, number * each)


def _heights(total: int, split_every: int) -> list[tuple[int, int]]:
    """List how many elements a subtree may stand on, and how high it is then."""
    found = [(1, 0)]
    while found[-1][0] * split_every < total:
        width, levels = found[-1]
        found.append((width * split_every, levels + 1))
    return found


def _cost(total: int, width: int, count: int) -> int:
    """Count the elements that the largest block reads, and those that are left for the end."""
    left = ceil(total / width)
    return left + (ceil(left / count) * width if width > 1 else 0)
