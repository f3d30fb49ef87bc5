"""How a picture is laid out: in which rows, how far apart, and what is said along its arrows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nbflow.notebook.style import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nbflow.notebook.figure import Arrow, Figure, Scene

# In points. A picture that is not wider fits a notebook while it stays legible.
_FITS, _ROW = 1180.0, 980.0
_SIGN, _PADDING, _GAP = 5.0, 26.0, 30.0
_EDGE_SIGN = 4.6
_APART, _MORE_APART, _MOST_APART = 0.42, 0.035, 1.1
_NEAR = 5
_PARTING = 3
_FEEDS = frozenset({Kind.PARAM, Kind.CONSTANT, Kind.INPUT, Kind.ELSEWHERE})


def breaks(
    seen: Scene, lines: Mapping[str, Sequence[str]], said: Mapping[Arrow, str]
) -> frozenset[Arrow]:
    """Find the arrows that lead from the end of a row to the beginning of the next.

    A picture that is too wide is broken like a text, but only where a single arrow leads
    on: there, nothing else has to come along.

    Parameters
    ----------
    seen
        What is drawn.
    lines
        What is written on each figure, by its key.
    said
        What is written along arrows.

    Examples
    --------
    >>> from nbflow import step
    >>> from nbflow.notebook.scene import scene
    >>> flow = 4 >> step(abs)
    >>> for _ in range(19):
    ...     flow = flow >> step(abs)
    >>> seen = scene(flow.topology)
    >>> found = breaks(seen, {each.key: [each.title] for each in seen.figures}, {})
    >>> [(arrow.tail, arrow.head) for arrow in found]
    [('n9', 'n10')]
    """
    beside = _beside(seen)
    arrows = [each for each in seen.arrows if each.tail not in beside]
    figures = {each.key: each for each in seen.figures if each.key not in beside}
    ranks = _ranks(figures, arrows)
    columns = [_PADDING] * (1 + max(ranks.values(), default=0))
    for key, rank in ranks.items():
        written = max(map(_signs, lines.get(key, ())), default=0)
        outlines = 8 * (figures[key].outlines - 1)
        columns[rank] = max(columns[rank], _PADDING + _SIGN * written + outlines)
    gaps = [_GAP] * len(columns)
    for arrow in arrows:
        rank = ranks[arrow.head]
        gaps[rank] = max(
            gaps[rank], _GAP + _EDGE_SIGN * len(said.get(arrow, "").partition("\n")[0])
        )
    widths = [column + gap for column, gap in zip(columns, gaps, strict=True)]
    return frozenset(_chosen(widths, _ways(seen, ranks)))


def apart(seen: Scene) -> float:
    """Say how far columns are apart, in inches: more where many arrows come together."""
    ends = Counter(each.head for each in seen.arrows) + Counter(each.tail for each in seen.arrows)
    most = max(ends.values(), default=0)
    return round(min(_MOST_APART, _APART + _MORE_APART * max(0, most - _NEAR)), 2)


def in_order(seen: Scene) -> list[Figure]:
    """Put what flows into a figure before it, so that both keep their place among the others."""
    before: dict[str, list[Figure]] = {}
    figures = {each.key: each for each in seen.figures}
    for arrow in seen.arrows:
        if figures[arrow.tail].kind in _FEEDS:
            before.setdefault(arrow.head, []).append(figures[arrow.tail])
    found: dict[str, Figure] = {}
    for each in seen.figures:
        for near in (*before.get(each.key, ()), each):
            found.setdefault(near.key, near)
    return list(found.values())


def telling(seen: Scene) -> Iterator[str]:
    """Find the figures along whose arrows it is said how much flows there.

    Where several arrows part and come together again, the same words on each of them would
    hide where they lead. It is said on the figure then.
    """
    leading = [each for each in seen.arrows if not each.order_only]
    after: dict[str, list[str]] = {}
    for each in leading:
        after.setdefault(each.tail, []).append(each.head)
    before = Counter(each.head for each in leading)
    for key, heads in after.items():
        if len(heads) == 1 or (len(heads) <= _PARTING and all(before[h] == 1 for h in heads)):
            yield key


def _signs(line: str) -> float:
    """Count the characters of a line; those of East Asia are twice as wide."""
    return sum(1 if ord(each) < 0x1100 else 2 for each in line)


def _beside(seen: Scene) -> frozenset[str]:
    """Find what flows into one figure only: it stands beside that, in whatever row."""
    uses = Counter(each.tail for each in seen.arrows)
    reached = {each.head for each in seen.arrows}
    return frozenset(
        each.key
        for each in seen.figures
        if each.kind in _FEEDS and uses[each.key] == 1 and each.key not in reached
    )


def _ranks(figures: Mapping[str, Figure], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Give the column of each figure: the length of the longest way to it."""
    below: dict[str, list[str]] = {key: [] for key in figures}
    waits = Counter(each.head for each in arrows)
    for arrow in arrows:
        below[arrow.tail].append(arrow.head)
    ranks = {key: 0 for key in figures if not waits[key]}
    ready = list(ranks)
    for key in ready:
        for each in below[key]:
            ranks[each] = max(ranks.get(each, 0), ranks[key] + 1)
            waits[each] -= 1
            if not waits[each]:
                ready.append(each)
    # What few lead to stands right before what comes after it.
    leading = Counter(each.head for each in arrows)
    for key in reversed(ready):
        after = [ranks[each] for each in below[key]]
        if after and leading[key] <= len(after):
            ranks[key] = min(after) - 1
    return ranks


def _ways(seen: Scene, ranks: Mapping[str, int]) -> dict[int, Arrow]:
    """Find the columns that a single arrow leads to from all columns before."""
    framed = {each.key for each in seen.figures if each.frame}
    crossing: Counter[int] = Counter()
    last: dict[int, Arrow] = {}
    for arrow in seen.arrows:
        if arrow.tail not in ranks or arrow.head not in ranks:
            continue
        for rank in range(ranks[arrow.tail] + 1, ranks[arrow.head] + 1):
            crossing[rank] += 1
            last[rank] = arrow
    return {
        rank: last[rank]
        for rank, number in crossing.items()
        if number == 1 and not framed & {last[rank].tail, last[rank].head}
    }


def _chosen(columns: Sequence[float], ways: Mapping[int, Arrow]) -> list[Arrow]:
    """Choose where rows end, so that they are about equally long."""
    whole = sum(columns)
    if whole <= _FITS:
        return []
    row = whole / -(-whole // _ROW)
    found, used = [], 0.0
    for rank, width in enumerate(columns):
        if used and used + width / 2 > row and rank in ways:
            found.append(ways[rank])
            used = 0.0
        used += width
    return found
