"""Turns that a whole run takes: it is resumed, redriven, resolved, rolled back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run goes on after it has stopped.

    Attributes
    ----------
    reused
        The steps whose results are as they were, and those of their elements that are.
    again
        The steps that are computed again, and which of their elements; None for all.
    renamed
        What steps are called from now on, by the names that they had.
    flow
        The flow from now on, as an `nbflow.sketch.Sketch` writes it; None if it is as it
        was.
    """

    reused: frozenset[str]
    again: Mapping[str, tuple[Span, ...] | None] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    flow: bytes | None = None


@dataclass(frozen=True, slots=True)
class Redriven:
    """A run begins as another one has ended, but for what was put aside there.

    Attributes
    ----------
    dead
        The elements that are computed again, by step.
    later
        The steps that are computed again as a whole.
    """

    dead: Mapping[str, tuple[int, ...]]
    later: frozenset[str]


@dataclass(frozen=True, slots=True)
class RollingBack:
    """What a run has done is undone.

    Attributes
    ----------
    entries
        The step, and the number of the element where it is mapped, in the order in
        which they are undone.
    cause
        What the run becomes when all of it is undone, in the words of a status.
    """

    entries: tuple[tuple[str, int | None], ...]
    cause: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """A person has said what became of a step that was in doubt.

    Attributes
    ----------
    verdict
        ``completed``, ``retry`` or ``failed``.
    element
        Which element, where the step is mapped.
    """

    verdict: str
    element: int | None = None


Turn: TypeAlias = Resumed | Redriven | RollingBack | Resolved
