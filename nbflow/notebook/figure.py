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
    """The figures and edges of a picture, and what it leaves out in words."""

    figures: tuple[Figure, ...]
    arrows: tuple[Arrow, ...]
    note: str = ""
