"""Time along a line of pixels: where a moment is, long pauses cut short, and readable ticks."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from nbflow.notebook.wording import duration

# Between two ticks, in seconds.
_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0),
)
_APART = 84.0
# A pause that takes more than this share of the time is cut short.
_LONG = 0.3
_CUT = 46.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time that is drawn evenly.

    Attributes
    ----------
    start, end
        From when to when, in seconds since the epoch.
    left, right
        From where to where, in pixels.
    cut
        Whether it is a pause, and shorter than the rest.
    """

    start: float
    end: float
    left: float
    right: float
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Time along a line.

    Attributes
    ----------
    pieces
        What the line is made of, from left to right.

    Examples
    --------
    >>> scale = Scale.of([(10.0, 11.0), (111.0, 112.0)], 10.0, 112.0, 0.0, 446.0)
    >>> scale.at(10.5), scale.at(111.0), [piece.cut for piece in scale.pieces]
    (100.0, 246.0, [False, True, False])
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def of(
        cls,
        busy: Sequence[tuple[float, float]],
        start: float,
        end: float,
        left: float,
        right: float,
        cut: float = _CUT,
    ) -> Scale:
        """Make the scale of a run.

        Parameters
        ----------
        busy
            When something was computed.
        start, end
            From when to when, in seconds since the epoch.
        left, right
            From where to where, in pixels.
        cut
            How long a pause is drawn that takes too long.
        """
        end = max(end, start + 1e-3)
        pauses = _pauses(busy, start, end)
        working = end - start - sum(b - a for a, b in pauses)
        cuts = [(a, b) for a, b in pauses if b - a > max(_LONG * working, 0.05)]
        cuts = sorted(sorted(cuts, key=lambda each: each[0] - each[1])[:6])
        drawn = end - start - sum(b - a for a, b in cuts)
        pixels = (right - left - cut * len(cuts)) / max(drawn, 1e-6)
        pieces: list[Piece] = []
        at, x = start, left
        for a, b in [*cuts, (end, end)]:
            if a > at or not pieces:
                pieces.append(Piece(at, a, x, x + (a - at) * pixels))
                x = pieces[-1].right
            if b > a:
                pieces.append(Piece(a, b, x, x + cut, cut=True))
                x += cut
            at = b
        return cls(tuple(pieces))

    def at(self, moment: float) -> float:
        """Give where a moment is, in pixels."""
        starts = [piece.start for piece in self.pieces]
        piece = self.pieces[max(0, bisect_right(starts, moment) - 1)]
        whole = piece.end - piece.start
        share = 0.0 if whole <= 0 else min(1.0, max(0.0, (moment - piece.start) / whole))
        return piece.left + share * (piece.right - piece.left)

    def ticks(self) -> list[tuple[float, str]]:
        """Give where ticks are, and what is written there: the time since the start."""
        start, found = self.pieces[0].start, []
        drawn = [piece for piece in self.pieces if not piece.cut and piece.end > piece.start]
        rates = [(p.right - p.left) / (p.end - p.start) for p in drawn]
        wanted = _APART / rates[0] if rates else _STEPS[-1]
        days = _STEPS[-1] * math.ceil(wanted / _STEPS[-1])
        step = next((each for each in _STEPS if each >= wanted), days)
        for piece in drawn:
            # After a long pause, seconds are counted anew: "2 h 13 min", "+2 s", "+4 s".
            anew = step < 60 <= piece.start - start and piece is not drawn[0]
            first = piece.start if anew else start
            number = int((piece.start - first) / step)
            while (moment := first + number * step) <= piece.end + 1e-9:
                if moment >= piece.start - 1e-9:
                    said = elapsed(number * step, step)
                    if anew:
                        said = f"+{said}" if number else duration(first - start)
                    found.append((self.at(min(moment, piece.end)), said))
                number += 1
        return found


def elapsed(seconds: float, step: float) -> str:
    """Write the time since the start, as exactly as ticks are apart.

    Examples
    --------
    >>> elapsed(0.0, 0.5), elapsed(1.5, 0.5), elapsed(0.02, 0.02), elapsed(90.0, 30.0)
    ('0', '1.5 s', '20 ms', '1 min 30 s')
    """
    if seconds < step / 2:
        return "0"
    if step < 0.1 and seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        digits = 0 if step >= 1 else 1 if step >= 0.1 else 2 if step >= 0.01 else 3
        return f"{seconds:.{digits}f} s"
    return duration(seconds)


def _pauses(
    busy: Sequence[tuple[float, float]], start: float, end: float
) -> list[tuple[float, float]]:
    found, at = [], start
    for a, b in sorted(busy):
        if a > at:
            found.append((at, min(a, end)))
        at = max(at, b)
    if at < end:
        found.append((at, end))
    return found
