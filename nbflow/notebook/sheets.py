"""Tables as HTML, and the head of a value that is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.wording import dimensions, paragraph, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbflow.values.preview import Preview

MUTED = "opacity: 0.7"
# JupyterLab aligns everything to the right, plain pages to the left.
LEFT, RIGHT = "text-align: left", "text-align: right; white-space: nowrap"
MONO = "font-family: monospace; line-height: 1.35; margin: 4px 0"
LINE = f"{MONO}; overflow: auto; max-height: 320px"
_TABLE = "margin: 8px 0; border-collapse: collapse; font-size: 12px"
_ROWS, _COLUMNS = 10, 12
_CELL, _TEXT = 60, 4_000


def muted(*children: str) -> Markup:
    """Write what matters less."""
    return element("span", *children, style=MUTED)


def framed(head: Markup, rows: Iterable[Markup]) -> Markup:
    """Make a table of a head and rows."""
    # The padding is for pages that bring no style for tables.
    inside = (element("thead", head), element("tbody", *rows))
    return element("table", *inside, cellpadding="4", cellspacing="0", style=_TABLE)


def preview(seen: Preview) -> Markup:
    """Show the head of a table, or the text of what is none.

    Examples
    --------
    >>> from nbflow.values.preview import preview as look
    >>> "<td" in preview(look([{"city": "Oslo"}]))
    True
    """
    if not seen.names:
        return element("pre", paragraph(seen.text or seen.type_name, _TEXT), style=LINE)
    names = seen.names[:_COLUMNS]
    head = [element("th", "")] if seen.index else []
    for position, name in enumerate(names):
        kind = seen.dtypes[position] if position < len(seen.dtypes) else ""
        below = (element("br"), muted(printable(kind, _CELL))) if kind else ()
        side = LEFT if any(isinstance(row[position], str) for row in seen.cells) else RIGHT
        head.append(element("th", printable(name, _CELL), *below, style=side))
    rows = [
        element("tr", *_label(seen, number), *map(_cell, row[:_COLUMNS]))
        for number, row in enumerate(seen.cells[:_ROWS])
    ]
    body = framed(element("tr", *head), rows)
    scrolled = element("div", body, style="overflow: auto; margin: 4px 0")
    whole = dimensions(seen.rows, seen.columns)
    left = (seen.rows or 0) > len(rows) or (seen.columns or 0) > len(names)
    if not left:
        return scrolled
    said = f"the first {len(rows)} × {len(names)} of {whole}"
    return joined((scrolled, element("p", said, style=f"{MUTED}; margin: 2px 0")))


def _label(seen: Preview, number: int) -> list[Markup]:
    if not seen.index:
        return []
    label = seen.index[number] if number < len(seen.index) else ""
    return [element("th", printable(label, _CELL))]


def _cell(value: str | int | float | bool | None) -> Markup:
    if value is None:
        return element("td", muted("NaN"), style=RIGHT)
    if isinstance(value, str):
        return element("td", printable(value, _CELL), style=LEFT)
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return element("td", shown, style=RIGHT)
