"""The things in a picture of a flow, before anything is said about how they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbflow.notebook.wording import count

if TYPE_CHECKING:
    from nbflow.notebook.style import Kind

# For a number that only the run will tell.
UNKNOWN = "…"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing in a picture.

    Attributes
    ----------
    key
        What edges call it: a letter and a position, the same in every process.
    kind
        What it stands for.
    title
        What is written on it, as the user wrote it.
    members
        The positions of the steps that it stands for.
    detail
        What more is to be said of it, such as how many of its calls may run at once.
    times
        Over how many elements it is mapped, from the outside in, as far as no frame
        around it says so; None where only the run will tell.
    depth
        How many maps it is inside of, its own included.
    frame
        The key of the frame that it is in.
    """

    key: str
    kind: Kind
    title: str
    members: tuple[int, ...] = ()
    detail: str = ""
    times: tuple[int | None, ...] = ()
    depth: int = 0
    frame: str = ""

    @property
    def outlines(self) -> int:
        """How many outlines tell that it stands for several calls."""
        if len(self.members) > 1:
            return 3
        return 2 if self.times else 1

    def suffix(self, total: int | None = None) -> str:
        """Say for how many elements it is computed.

        Parameters
        ----------
        total
            How many the outermost map has, where the run has told.

        Examples
        --------
        >>> from nbflow.notebook.style import Kind
        >>> parse = Figure("n0", Kind.MAPPED, "parse", (0,), times=(None,), depth=1)
        >>> parse.suffix(), parse.suffix(37)
        (' × …', ' × 37')
        """
        if self.times[:1] == (None,) and len(self.times) == self.depth:
            return "".join(f" × {numbered(each)}" for each in (total, *self.times[1:]))
        return "".join(f" × {numbered(each)}" for each in self.times)


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge between two figures.

    Attributes
    ----------
    tail, head
        The keys of the figures.
    order_only
        Whether nothing flows along it.
    cases
        For which values of a decision it is the way on; empty for any other edge.
    idle
        Whether the way on has no step of its own, so that no step tells if it was taken.
    """

    tail: str
    head: str
    order_only: bool = False
    cases: tuple[str, ...] = ()
    idle: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds figures that are computed together for each element, or share a limit.

    Attributes
    ----------
    key, parent
        What it is called, and the frame around it.
    member
        The position of a step in it.
    mapped
        Whether it stands for a map.
    count
        How many elements there are, None where only the run will tell.
    size
        How many items make one element.
    limit
        How many elements or members may run at once.
    depth
        How many maps it is inside of, its own included.
    """

    key: str
    parent: str
    member: int
    mapped: bool
    count: int | None = None
    size: int | None = None
    limit: int | None = None
    depth: int = 0

    def title(self, total: int | None = None) -> str:
        """Say what it means.

        Parameters
        ----------
        total
            How many elements there are, where the run has told.

        Examples
        --------
        >>> frame = Frame("c0", "", 0, mapped=True, limit=2, depth=1)
        >>> frame.title(), frame.title(37)
        ('for each element, at most 2 at once', 'for each of 37, at most 2 at once')
        """
        parts = []
        if self.mapped:
            known = total if self.count is None and self.depth == 1 else self.count
            parts.append(_each(known, self.size))
        if self.limit is not None:
            parts.append(at_once(self.limit))
        return ", ".join(parts)


def _each(known: int | None, size: int | None) -> str:
    if size is None:
        return "for each element" if known is None else f"for each of {count(known)}"
    return (
        f"for each {chunk(size)}"
        if known is None
        else f"for each of {count(known)} {chunk(size, 's')}"
    )


def chunk(size: int, plural: str = "") -> str:
    """Say how many items make one element."""
    return f"chunk{plural} of {count(size)}"


def at_once(limit: int) -> str:
    """Say how many may run at once."""
    return f"at most {count(limit)} at once"


def numbered(number: int | None) -> str:
    """Write a number that perhaps only the run will tell."""
    return UNKNOWN if number is None else count(number)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture.

    Attributes
    ----------
    figures, arrows
        What it shows.
    focus
        The keys of the figures that were asked for, where not everything is shown.
    note
        What it leaves out, in words.
    frames
        What surrounds figures, outer frames first.
    """

    figures: tuple[Figure, ...]
    arrows: tuple[Arrow, ...]
    focus: frozenset[str] = frozenset()
    note: str = ""
    frames: tuple[Frame, ...] = ()
