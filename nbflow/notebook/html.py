"""HTML out of parts: the one place where text is escaped for elements and attributes.

Styles are attributes of the element, and only such elements are used as JupyterLab
leaves in a notebook that is not trusted.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;", "`": "&#x60;"}
)
_VOID = frozenset({"img", "br"})


class Markup(str):
    """HTML that is complete, and not to be escaped again."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Escape text for the inside of an element, or of a quoted attribute.

    Examples
    --------
    >>> escaped('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return text if isinstance(text, Markup) else Markup(text.translate(_ESCAPES))


def element(name: str, *children: str, **attributes: str) -> Markup:
    """Make an element; children and attributes are escaped unless they are markup.

    Parameters
    ----------
    name
        Which element.
    children
        What is inside it.
    attributes
        Its attributes; an empty one is left out.

    Examples
    --------
    >>> element("p", "1 < 2", element("br"), style="color: red")
    '<p style="color: red">1 &lt; 2<br></p>'
    """
    shown = "".join(f' {key}="{escaped(value)}"' for key, value in attributes.items() if value)
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """Put parts one after the other, escaped."""
    return Markup("".join(map(escaped, parts)))


def image(svg: str, alt: str, style: str) -> Markup:
    """Show an SVG as an image, which a notebook that is not trusted shows too."""
    encoded = base64.b64encode(svg.encode("utf-8", "replace")).decode("ascii")
    return element("img", src=f"data:image/svg+xml;base64,{encoded}", alt=alt, style=style)


def page(title: str, body: str) -> str:
    """Make a page of its own of a picture or a report.

    Parameters
    ----------
    title
        What the page is called, as plain text.
    body
        The HTML of the picture or report.

    Examples
    --------
    >>> "<title>a &lt; b</title>" in page("a < b", "<p>text</p>")
    True
    """
    head = f'<meta charset="utf-8"><title>{escaped(title)}</title>'
    look = "font: 14px/1.4 sans-serif; margin: 24px; color: #222; background: #fff"
    shown = f'<head>{head}</head><body style="{look}">{body}</body>'
    return f'<!DOCTYPE html>\n<html lang="en">{shown}</html>\n'
