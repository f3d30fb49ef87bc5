"""Makes the figures of the gallery, by running the code beside them.

``python docs/figures.py`` writes those into ``docs/images`` that are others now. What differs from
run to run is left out, so that they are the same bytes everywhere. The figure in the README is the
one that the main notebook shows of its run.
"""

from __future__ import annotations

import ast
import base64
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

import nbflow
from nbflow.notebook.html import Markup
from nbflow.notebook.picture import Picture, picture
from nbflow.notebook.style import GREY
from nbflow.notebook.svg import drawing, line, text, wide
from nbflow.notebook.timeline import Timeline, timeline
from nbflow.record.events import Event, Status
from nbflow.record.stepstate import StepState

DOCS = Path(__file__).parent
FLIGHTS = "images/flights.svg"
PART = re.compile(
    r"^```python\n(.*?)^```$|^!\[([^\]]*)\]\((images/\w+\.svg)\)$", re.MULTILINE | re.DOTALL
)
_SIZE, _LINE, _BETWEEN = 12.0, 24.0, 26.0
_TOOK, _PAUSE, _BEGIN = 0.5, 0.2, 1_000.0
_PLACES = ("tcp://127.0.0.1:4711", "tcp://127.0.0.1:4712")


def figures(page: str) -> Iterator[tuple[str, str]]:
    """Run the code of a page, and give the path of each figure with its SVG.

    Parameters
    ----------
    page
        The page as Markdown. A figure shows the last expression of the code above it.
    """
    names: dict[str, Any] = {"__name__": "page"}
    with _reproducible():
        value = None
        for code, alt, path in PART.findall(page):
            if code:
                value = _valued(code, names)
            else:
                yield path, _drawn(value, alt)


def flights() -> str:
    """Give the picture of the run that the main notebook holds."""
    notebook = (DOCS.parent / "notebooks" / "03_flights_etl.ipynb").read_text(encoding="utf-8")
    return base64.b64decode(
        re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", notebook)[-1]
    ).decode()


@contextmanager
def _reproducible() -> Iterator[None]:
    before = os.environ.get("NBFLOW_DETERMINISTIC")
    os.environ["NBFLOW_DETERMINISTIC"] = "1"
    try:
        yield
    finally:
        del os.environ["NBFLOW_DETERMINISTIC"]
        if before is not None:
            os.environ["NBFLOW_DETERMINISTIC"] = before


def _valued(code: str, names: dict[str, Any]) -> Any:
    """Run code as a cell of a notebook, and give its value."""
    tree = ast.parse(code, "gallery.md")
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "gallery.md", "exec"), names)  # noqa: S102 - it is our own page
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "gallery.md", "eval"), names)  # noqa: S307


def _drawn(value: Any, alt: str) -> str:
    """Give what a notebook shows for a value as SVG."""
    if isinstance(value, nbflow.Flow):
        value = picture(value)
    elif isinstance(value, nbflow.Run):
        value.wait()
        value = picture(value.flow, value.state)
    if isinstance(value, Picture):
        assert value.svg is not None
        return value.svg
    if isinstance(value, Timeline):
        return _timed(nbflow.last_run())
    return _tabled(value, alt) + "\n"


# A table


def _tabled(table: pd.DataFrame, alt: str) -> str:
    """Draw a table, as GitHub shows no others that look like those of a notebook."""
    shown = [["", *map(str, table.columns)]]
    shown += [[str(name), *map(_cell, row)] for name, *row in table.itertuples()]
    numbers = [False, *(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)]
    parts: list[Markup] = []
    x, foot = 4.0, 8 + _LINE * len(shown)
    for column, is_number in enumerate(numbers):
        room = max(wide(row[column], _SIZE) * (1.1 if not column else 1.04) for row in shown)
        for position, row in enumerate(shown):
            look = {"font_weight": "bold"} if 0 in (position, column) else {}
            look |= {"text_anchor": "end"} if is_number else {}
            at = x + room if is_number else x
            parts.append(text(at, 17 + _LINE * position, row[column], _SIZE, fill=GREY, **look))
        x += room + _BETWEEN
    for position in range(1, len(shown) + 1):
        y = 1 + _LINE * position
        parts.append(line(0, y, x - _BETWEEN + 4, y, stroke=GREY, stroke_opacity=0.4))
    return drawing(x - _BETWEEN + 4, foot, alt, parts)


def _cell(value: Any) -> str:
    return "" if pd.isna(value) else str(value)


# A timeline


def _timed(run: nbflow.Run) -> str:
    """Draw the timeline that a run would have if each attempt took the same time."""
    topology, free = run.flow.topology, dict.fromkeys(_PLACES, _BEGIN)
    ends: dict[str, float] = {}
    events: list[Event] = []
    for name, before in zip(topology.names, topology.upstream, strict=True):
        step = run.state.steps[name]
        if not step.attempts:
            continue
        ready = max((ends[topology.names[each]] for each in before), default=_BEGIN)
        place = min(free, key=lambda each: (max(free[each], ready), each))
        events += _attempts(step, max(free[place], ready), place)
        free[place] = ends[name] = events[-1].at
    state = replace(run.state, started=_BEGIN, ended=max(ends.values()))
    del os.environ["NBFLOW_DETERMINISTIC"]
    try:
        return timeline(topology, state, events).svg + "\n"
    finally:
        os.environ["NBFLOW_DETERMINISTIC"] = "1"


def _attempts(step: StepState, at: float, place: str) -> Iterator[Event]:
    for attempt in range(1, step.attempts + 1):
        at += _TOOK
        last = attempt == step.attempts
        status = step.status if last else Status.RETRYING
        until = None if last else at + _PAUSE
        yield Event(
            step.name, status, at, attempt=attempt, worker=place, seconds=_TOOK, retry_at=until
        )
        at += _PAUSE


def main() -> None:
    """Write the figures that are others now."""
    with TemporaryDirectory() as store:
        os.environ["NBFLOW_STORE"] = store
        made = dict(figures((DOCS / "gallery.md").read_text(encoding="utf-8")))
        for path, svg in {**made, FLIGHTS: flights()}.items():
            file = DOCS / path
            if not file.exists() or file.read_text(encoding="utf-8") != svg:
                file.write_text(svg, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
