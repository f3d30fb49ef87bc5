"""The things in a picture of a flow, before anything is said about how they look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbflow.notebook.style import Kind


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
        What more is to be said where it stands for different steps.
    """

    key: str
    kind: Kind
    title: str
    members: tuple[int, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge between two figures."""

    tail: str
    head: str
    order_only: bool = False


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
    """

    figures: tuple[Figure, ...]
    arrows: tuple[Arrow, ...]
    focus: frozenset[str] = frozenset()
    note: str = ""
