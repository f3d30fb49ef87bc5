"""Which steps of a flow are alike, so that one figure can stand for all of them.

Two steps are alike when they call the same function and everything around them is
alike too. That is found by refining a colouring, over whole chains rather than
steps, so that neither a long chain nor a wide group costs more than its length.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

_ROUNDS = 30
_MANY_EDGES = 400_000

Strand = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Links:
    """Steps by position, and what each is linked to.

    Attributes
    ----------
    upstream
        What each waits for. Its keys are in topological order.
    kinds
        What each is by itself; alike steps have equal kinds.
    """

    upstream: Mapping[int, tuple[int, ...]]
    kinds: Mapping[int, Hashable]

    @cached_property
    def downstream(self) -> Mapping[int, list[int]]:
        """What waits for each."""
        found: dict[int, list[int]] = {position: [] for position in self.upstream}
        for position, upstream in self.upstream.items():
            for each in upstream:
                found[each].append(position)
        return found

    @cached_property
    def strands(self) -> Sequence[Strand]:
        """The linear chains of which the graph is made, in topological order."""
        found = []
        for position in self.upstream:
            if self._continues(position):
                continue
            strand = [position]
            while len(below := self.downstream[strand[-1]]) == 1 and self._continues(below[0]):
                strand.append(below[0])
            found.append(tuple(strand))
        return found

    def _continues(self, position: int) -> bool:
        above = self.upstream[position]
        return len(above) == 1 and len(self.downstream[above[0]]) == 1


def alike(links: Links, more_than: int) -> list[list[Strand]]:
    """Gather alike strands, where there are enough of them side by side.

    Parameters
    ----------
    links
        The graph.
    more_than
        How many alike strands are left as they are.

    Returns
    -------
    list of list
        Every strand once: by itself, or with all those that are like it.

    Examples
    --------
    >>> links = Links({0: (), 1: (), 2: (0, 1)}, {0: "extract", 1: "extract", 2: "merge"})
    >>> alike(links, 1)
    [[(0,), (1,)], [(2,)]]
    """
    quotient = _Quotient(links)
    colours = quotient.refined()
    sizes = Counter(colours)
    stacked = [sizes[colour] > more_than for colour in colours]
    colours = quotient.separated(colours, stacked, more_than)
    gathered: dict[Hashable, list[Strand]] = {}
    for index, strand in enumerate(links.strands):
        key = (colours[index], -1) if stacked[index] else (colours[index], index)
        gathered.setdefault(key, []).append(strand)
    return list(gathered.values())


def depths(links: Links) -> list[int]:
    """Give the length of the longest way to each strand."""
    return _Quotient(links).depths


class _Quotient:
    """The graph whose vertices are strands."""

    def __init__(self, links: Links) -> None:
        self.strands = links.strands
        home = {each: index for index, strand in enumerate(self.strands) for each in strand}
        self.above = [[home[each] for each in links.upstream[s[0]]] for s in self.strands]
        self.below = [[home[each] for each in links.downstream[s[-1]]] for s in self.strands]
        self.depths: list[int] = []
        for above in self.above:
            self.depths.append(1 + max((self.depths[each] for each in above), default=-1))
        self._kinds = [tuple(links.kinds[each] for each in strand) for strand in self.strands]

    def refined(self) -> list[int]:
        """Colour the vertices so that those of one colour have alike surroundings.

        The depth is part of the first colouring: no vertex can then have the colour
        of one that it leads to, and the picture cannot get a cycle.
        """
        colours = _numbered(zip(self._kinds, self.depths, strict=True))
        if sum(map(len, self.above)) > _MANY_EDGES:
            return colours
        for _ in range(_ROUNDS):
            finer = _numbered(
                (
                    colours[index],
                    tuple(sorted([colours[each] for each in above])),
                    tuple(sorted([colours[each] for each in below])),
                )
                for index, (above, below) in enumerate(zip(self.above, self.below, strict=True))
            )
            if max(finer, default=0) == max(colours, default=0):
                break
            colours = finer
        return colours

    def separated(self, colours: list[int], stacked: list[bool], more_than: int) -> list[int]:
        """Split what is alike but belongs to different neighbours.

        A part that would be too small to be a stack stays with the others: the lowest
        levels of a tree of pairs are one stack each.
        """
        if sum(map(len, self.above)) > _MANY_EDGES:
            return colours
        for _ in range(_ROUNDS):
            parts: dict[int, dict[Hashable, list[int]]] = defaultdict(dict)
            for index, colour in enumerate(colours):
                if stacked[index]:
                    key = tuple(
                        tuple(sorted({colours[each] if stacked[each] else ~each for each in near}))
                        for near in (self.above[index], self.below[index])
                    )
                    parts[colour].setdefault(key, []).append(index)
            fresh = max(colours, default=0) + 1
            changed = list(colours)
            for split in parts.values():
                if len(split) > 1 and all(len(part) > more_than for part in split.values()):
                    for part in split.values():
                        for index in part:
                            changed[index] = fresh
                        fresh += 1
            if changed == colours:
                break
            colours = changed
        return colours


def _numbered(keys: Iterable[Hashable]) -> list[int]:
    known: dict[Hashable, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]
