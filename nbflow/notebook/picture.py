"""The picture of a flow: what a notebook shows for it, in all its forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic
from nbflow.errors import NbflowError
from nbflow.notebook import render
from nbflow.notebook.draw import digraph
from nbflow.notebook.html import Markup, element, image
from nbflow.notebook.text import headline, tree
from nbflow.notebook.wording import counted, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbflow.algebra.flow import Flow
    from nbflow.record.state import RunState

_ALT = 400
# To this share of its size a picture may shrink; more would be illegible, and it scrolls.
_LEAST = 0.75
_MOST_LINES = 200
_FRAME = "overflow: auto; max-height: 680px; margin: 4px 0"
_TEXT = "font-family: monospace; line-height: 1.35; margin: 4px 0"
_WIDTH = re.compile(r'<svg width="(\d+)')


@dataclass(frozen=True)
class Picture:
    """A drawn flow, shown by a notebook as the last line of a cell.

    Attributes
    ----------
    dot
        The drawing as DOT, empty if it could not be drawn.
    text
        The same as text.
    alt
        What it shows, in one line.

    Examples
    --------
    >>> from nbflow import step
    >>> picture(4 >> step(abs))
    abs: 1 step
    abs
    """

    dot: str
    text: str
    alt: str = ""

    @cached_property
    def svg(self) -> str | None:
        """The drawing as SVG, or None where nothing can render it."""
        return render.svg(self.dot) if self.dot else None

    @cached_property
    def png(self) -> bytes | None:
        """The drawing as PNG, or None where nothing can render it."""
        return render.png(self.dot) if self.dot else None

    @cached_property
    def html(self) -> str:
        """The drawing as an image with the text beneath, or the text alone."""
        if self.svg is None:
            return str(self.image())
        title, _, steps = self.text.partition("\n")
        if steps.count("\n") > _MOST_LINES:
            lines = steps.split("\n")
            more = counted(len(lines) - _MOST_LINES, "more line")
            steps = "\n".join([*lines[:_MOST_LINES], f"… {more}"])
        folded = element(
            "details",
            element("summary", title, style="opacity: 0.7"),
            element("pre", steps, style=_TEXT),
        )
        return str(element("div", self.image(), folded))

    def image(self) -> Markup:
        """Give the drawing as part of a larger page, or the text where nothing can render it."""
        svg = self.svg
        if svg is None:
            return element("pre", self.text, style=_TEXT)
        found = _WIDTH.match(svg)
        least = int(_LEAST * int(found.group(1))) if found is not None else 0
        fit = f"margin: 0; max-width: max(100%, {least}px)"
        return element("div", image(svg, self.alt, fit), style=_FRAME)

    def mimebundle(self) -> dict[str, str]:
        """Give the forms that a notebook saves."""
        return {"text/html": self.html, "text/plain": self.text}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return self.mimebundle()

    def __repr__(self) -> str:
        return self.text


def picture(flow: Flow, state: RunState | None = None, **options: Any) -> Picture:
    """Draw a flow, or a run of it.

    Parameters
    ----------
    flow
        What to draw.
    state
        How a run of it is.
    options
        ``direction="LR"``, ``collapse=True``, ``focus=None`` and the others of
        `nbflow.notebook.draw.digraph`.

    Raises
    ------
    NbflowError
        If an option cannot mean anything. Nothing else is raised: what cannot be
        drawn is shown as text.

    Examples
    --------
    >>> from nbflow import step
    >>> picture(4 >> step(abs), direction="TB").dot.splitlines()[0]
    'digraph flow {'
    """
    deterministic = options.pop("deterministic", is_deterministic())
    try:
        text = tree(flow, state, deterministic=deterministic)
        alt = _alt(flow, state, deterministic)
    except Exception:  # noqa: BLE001 - showing a flow never fails
        text = alt = repr(flow)
    try:
        graph = digraph(flow, state=state, deterministic=deterministic, **options)
        return Picture(str(graph.source), text, alt)
    except NbflowError:
        if options:
            raise
    except Exception:  # noqa: BLE001, S110 - showing a flow never fails
        pass
    return Picture("", text, alt)


def _alt(flow: Flow, state: RunState | None, deterministic: bool) -> str:
    names: Iterable[str] = flow.topology.names[:12]
    said = headline(flow, state, deterministic=deterministic)
    more = ", …" if len(flow.topology.names) > 12 else ""
    listed = ", ".join(printable(name, 32) for name in names)
    return f"{said}. Steps: {listed}{more}"[:_ALT]
