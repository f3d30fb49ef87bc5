"""Where a result is kept, so that it is still there when the process that made it is not."""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """Where a value is found again, and what it is there.

    Attributes
    ----------
    hash
        The hash of its bytes, which names its file in the store.
    codec
        How it is written.
    nbytes
        How many bytes it is written as.
    data
        The bytes themselves, if they are so few that they are in no file.
    """

    hash: str
    codec: str
    nbytes: int
    data: bytes | None = None

    def __repr__(self) -> str:
        where = "in the record" if self.data is not None else self.hash[:12]
        return f"Kept({where}, {self.codec}, {self.nbytes:,} bytes)"


class KeptSpan(NamedTuple):
    """Where neighbouring elements of a map are kept.

    Attributes
    ----------
    start, stop
        Which elements.
    kept
        Where they are.
    first
        The element that is the first of the list that is there; None where it is no
        list, but the one element as it is.
    """

    start: int
    stop: int
    kept: Kept
    first: int | None

    def within(self, start: int, stop: int) -> KeptSpan:
        """Give the part that is about some neighbouring elements."""
        return self._replace(start=max(start, self.start), stop=min(stop, self.stop))
