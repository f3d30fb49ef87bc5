"""SVG out of parts, for pictures that Graphviz does not lay out.

Everything is an attribute of its element: such a picture brings no style sheet, no script
and no font, and is shown as an image, which can load nothing.
"""

from __future__ import annotations

from nbflow.notebook.html import Markup, element, escaped, joined
from nbflow.notebook.wording import printable

FACE = "Helvetica, Arial, sans-serif"
# How wide a character is on average, as a share of the size of the font.
_WIDTH = 0.49


def rectangle(
    x: float, y: float, width: float, height: float, said: str = "", **look: str | float
) -> Markup:
    """Make a rectangle, which may say something where the mouse rests on it.

    Examples
    --------
    >>> rectangle(0, 1.25, 10, 4, fill="#fff")
    '<rect x="0" y="1.2" width="10" height="4" fill="#fff"></rect>'
    """
    inside = [element("title", printable(said))] if said else []
    return _shape("rect", *inside, x=x, y=y, width=width, height=height, **look)


def line(x1: float, y1: float, x2: float, y2: float, **look: str | float) -> Markup:
    """Make a line."""
    return _shape("line", x1=x1, y1=y1, x2=x2, y2=y2, **look)


def path(points: list[tuple[float, float]], **look: str | float) -> Markup:
    """Make a line through points."""
    return _shape("polyline", points=" ".join(f"{_n(x)},{_n(y)}" for x, y in points), **look)


def text(x: float, y: float, said: str, size: float, **look: str | float) -> Markup:
    """Write text; what cannot be printed is made visible."""
    attributes = {"font-size": _n(size), **{k.replace("_", "-"): str(v) for k, v in look.items()}}
    return element("text", printable(said), x=_n(x), y=_n(y), **attributes)


def wide(said: str, size: float) -> float:
    """Estimate how wide a text is.

    Examples
    --------
    >>> wide("extract", 10)
    34.3
    """
    # East Asian characters, and whatever else is beyond, are as wide as high.
    units = sum(_WIDTH if ord(each) < 0x1100 else 1.0 for each in said)
    return round(units * size, 1)


def drawing(width: float, height: float, title: str, parts: list[Markup]) -> str:
    """Put a drawing together.

    Parameters
    ----------
    width, height
        How large it is, in pixels.
    title
        What it shows, for those who cannot see it.
    parts
        Its elements.
    """
    box = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    name = 'xmlns="http://www.w3.org/2000/svg" role="img"'
    head = element("title", escaped(printable(title)))
    return f'<svg {name} {box} font-family="{FACE}">{head}{joined(parts)}</svg>'


def _shape(kind: str, *inside: Markup, **attributes: str | float) -> Markup:
    return element(
        kind, *inside, **{key.replace("_", "-"): _n(each) for key, each in attributes.items()}
    )


def _n(value: str | float) -> str:
    """Write a number as short as a tenth of a pixel allows."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
