"""How a traceback travels: as the places it leads through.

tblib, which Dask uses, gives each frame the failing line as its first; IPython then
numbers the lines of a cell wrongly and points at the wrong one.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import FrameType, TracebackType

# As many are kept of an endless recursion, half of them from either end.
_MOST = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where one frame of a traceback is.

    Attributes
    ----------
    first
        The line on which the function begins.
    line
        The line that was running.
    """

    file: str
    function: str
    first: int
    line: int


def places_of(start: TracebackType | None) -> tuple[Place, ...]:
    """List the places of a traceback, leaving out the middle of a very long one."""
    found = []
    while start is not None:
        code = start.tb_frame.f_code
        found.append(Place(code.co_filename, code.co_name, code.co_firstlineno, start.tb_lineno))
        start = start.tb_next
    if len(found) > _MOST:
        found = [*found[: _MOST // 2], *found[-_MOST // 2 :]]
    return tuple(found)


def traceback_from(places: tuple[Place, ...]) -> TracebackType | None:
    """Make a traceback that leads through the places.

    Examples
    --------
    >>> made = traceback_from((Place("etl.py", "clean", 3, 5),))
    >>> made.tb_lineno, made.tb_frame.f_code.co_name
    (5, 'clean')
    """
    made: TracebackType | None = None
    for place in reversed(places):
        frame = _frame(place)
        made = TracebackType(made, frame, frame.f_lasti, place.line)
    return made


def _frame(place: Place) -> FrameType:
    """Make a frame by running code that raises where the user's code did."""
    blank = "\n" * max(0, place.line - place.first)
    code = compile(f"{blank}raise StopIteration", place.file, "exec")
    code = code.replace(co_name=place.function, co_firstlineno=place.first)
    try:
        exec(code, {"__name__": place.function, "__file__": place.file})  # noqa: S102 - our own line
    except StopIteration as stop:
        ours = stop.__traceback__
        if ours is not None and ours.tb_next is not None:
            return ours.tb_next.tb_frame
    raise AssertionError(place)
