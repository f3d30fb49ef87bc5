"""A drawn picture as PDF: its shapes as lines and areas, its text as text.

The fonts are those that every reader of PDF has by itself, so none is needed here. They have
the letters of western Europe and, among them, the signs of our statuses.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from xml.etree import ElementTree as ET

_SVG: Final = "{http://www.w3.org/2000/svg}"
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_STEP: Final = re.compile(r"([MCLZz])([^MCLZz]*)")
_NAMED: Final[Mapping[str, str]] = MappingProxyType({"black": "#000000", "white": "#ffffff"})
# How wide the letters from the space on are, in thousandths of the size of the font.
_REGULAR: Final = (
    "278 278 355 556 556 889 667 222 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 "
    "556 556 556 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 "
    "722 778 667 778 722 667 611 722 667 944 667 667 611 278 278 278 469 556 222 556 556 500 556 "
    "556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 722 500 500 500 334 "
    "260 334 584"
)
_BOLD: Final = (
    "278 333 474 556 556 889 722 278 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 "
    "556 556 556 333 333 584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 "
    "722 778 667 778 722 667 611 722 667 944 667 667 611 333 278 333 584 556 278 556 611 556 611 "
    "556 333 611 611 278 278 556 278 889 611 611 611 611 389 556 333 611 556 778 556 556 500 389 "
    "280 389 584"
)
_WIDTHS: Final = {"F1": _REGULAR.split(), "F2": _BOLD.split()}
_OTHERS: Final[Mapping[str, int]] = MappingProxyType({"·": 278, "…": 1000, "×": 584})
_ANY_WIDTH: Final = 556
# Signs that stand in other fonts: in which, at which place, and how wide. Where a sign is in
# none, one that looks alike stands for it; what it means is said in words too.
_SIGNS: Final[Mapping[str, tuple[str, int, int]]] = MappingProxyType(
    {
        "✓": ("F3", 0x33, 755),
        "✗": ("F3", 0x37, 571),
        "○": ("F3", 0x6D, 873),
        "◐": ("F3", 0x77, 438),
        "↻": ("F3", 0xF2, 760),
        "≡": ("F4", 0xBA, 549),
        "⊘": ("F4", 0xC6, 823),
        "↶": ("F4", 0xBF, 658),
        "◇": ("F4", 0xE0, 494),
        "←": ("F4", 0xAC, 987),
        "→": ("F4", 0xAE, 987),
        "\N{MINUS SIGN}": ("F4", 0x2D, 549),
    }
)
_FONTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "F1": "/BaseFont /Helvetica /Encoding /WinAnsiEncoding",
        "F2": "/BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding",
        "F3": "/BaseFont /ZapfDingbats",
        "F4": "/BaseFont /Symbol",
    }
)
_MOST_POINTS: Final = 14_400.0


def unwritable(svg: str) -> str:
    """Give the signs of a picture that its PDF could not write.

    Parameters
    ----------
    svg
        The picture.
    """
    root = ET.fromstring(svg)  # noqa: S314 - it is our own
    said = "".join(each.text or "" for each in root.iter(f"{_SVG}text"))
    return "".join(dict.fromkeys(each for each in said if not _is_known(each)))


def pdf(svg: str) -> bytes:
    """Write a picture that was drawn by `nbflow.notebook.render.svg` as PDF.

    Parameters
    ----------
    svg
        The picture.

    Examples
    --------
    >>> from nbflow.notebook.render import svg
    >>> pdf(svg("digraph { a -> b }"))[:8]
    b'%PDF-1.4'
    """
    root = ET.fromstring(svg)  # noqa: S314 - it is our own
    width, height = (float(_numbers(root.get(each, ""))[0]) for each in ("width", "height"))
    graph = root.find(f"{_SVG}g")
    assert graph is not None
    left, top = _numbers(graph.get("transform", "").rpartition("translate")[2])
    page = _Page(left, height - top)
    drawn = "\n".join(page.drawn(graph)).encode("latin-1")
    # No side of a page may be longer than this, but its unit may be larger than a point.
    unit = max(1.0, width / _MOST_POINTS, height / _MOST_POINTS)
    scaled = f"{_n(1 / unit)} 0 0 {_n(1 / unit)} 0 0 cm\n".encode() if unit > 1 else b""
    box = f"/MediaBox [0 0 {_n(width / unit)} {_n(height / unit)}]"
    box += f" /UserUnit {_n(unit)}" if unit > 1 else ""
    return _file(box, scaled + drawn)


@dataclass(frozen=True, slots=True)
class _Page:
    """Where the picture stands on the page, of which the foot is zero."""

    left: float
    top: float

    def drawn(self, parent: ET.Element) -> Iterator[str]:
        for each in parent:
            kind = each.tag.removeprefix(_SVG)
            if kind in ("g", "a"):
                yield from self.drawn(each)
            elif kind == "text":
                yield from self._text(each)
            elif kind in ("path", "polygon", "polyline", "ellipse"):
                yield from self._shape(each, kind)

    def _shape(self, shape: ET.Element, kind: str) -> Iterator[str]:
        fill, stroke = _colour(shape.get("fill")), _colour(shape.get("stroke"))
        if not fill and not stroke:
            return
        yield "q"
        if fill:
            yield f"{fill} rg"
        if stroke:
            dashes = " ".join(map(_n, _numbers(shape.get("stroke-dasharray", ""))))
            yield f"{stroke} RG {_n(float(shape.get('stroke-width', 1)))} w [{dashes}] 0 d"
        yield from getattr(self, f"_{kind}")(shape)
        yield "B" if fill and stroke else "f" if fill else "S"
        yield "Q"

    def _path(self, shape: ET.Element) -> Iterator[str]:
        for what, given in _STEP.findall(shape.get("d", "")):
            points = self._points(given)
            if what == "M":
                yield f"{points[0]} m"
                yield from (f"{each} l" for each in points[1:])
            elif what == "C":
                for n in range(0, len(points) - 2, 3):
                    yield f"{' '.join(points[n : n + 3])} c"
            elif what == "L":
                yield from (f"{each} l" for each in points)
            else:
                yield "h"

    def _polygon(self, shape: ET.Element) -> Iterator[str]:
        yield from self._polyline(shape)
        yield "h"

    def _polyline(self, shape: ET.Element) -> Iterator[str]:
        first, *rest = self._points(shape.get("points", ""))
        yield f"{first} m"
        yield from (f"{each} l" for each in rest)

    def _ellipse(self, shape: ET.Element) -> Iterator[str]:
        x, y, a, b = (float(shape.get(each, 0)) for each in ("cx", "cy", "rx", "ry"))
        # A quarter of a circle is that near to this curve.
        c, d = a * 0.5523, b * 0.5523
        at = self._at
        yield f"{at(x + a, y)} m"
        yield f"{at(x + a, y + d)} {at(x + c, y + b)} {at(x, y + b)} c"
        yield f"{at(x - c, y + b)} {at(x - a, y + d)} {at(x - a, y)} c"
        yield f"{at(x - a, y - d)} {at(x - c, y - b)} {at(x, y - b)} c"
        yield f"{at(x + c, y - b)} {at(x + a, y - d)} {at(x + a, y)} c h"

    def _text(self, shape: ET.Element) -> Iterator[str]:
        bold = "bold" in f"{shape.get('font-weight')} {shape.get('font-family')}".lower()
        size = float(shape.get("font-size", 14))
        pieces = list(_pieces(shape.text or "", "F2" if bold else "F1"))
        long = sum(width for _, _, width in pieces) * size / 1000
        share = {"middle": 0.5, "end": 1.0}.get(shape.get("text-anchor", ""), 0.0)
        at = self._at(float(shape.get("x", 0)) - share * long, float(shape.get("y", 0)))
        yield f"BT {_colour(shape.get('fill', 'black'))} rg {at} Td"
        for font, said, _ in pieces:
            yield f"/{font} {_n(size)} Tf <{said.hex()}> Tj"
        yield "ET"

    def _points(self, given: str) -> list[str]:
        numbers = _numbers(given)
        return [self._at(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]

    def _at(self, x: float, y: float) -> str:
        return f"{_n(self.left + x)} {_n(self.top - y)}"


def _pieces(text: str, font: str) -> Iterator[tuple[str, bytes, int]]:
    """Cut a text where the font changes; give each piece with its width."""
    begun, width = b"", 0
    for sign in text:
        if sign not in _SIGNS:
            begun += sign.encode("cp1252", "replace")
            width += _width(sign, font)
            continue
        if begun:
            yield font, begun, width
            begun, width = b"", 0
        other, place, wide = _SIGNS[sign]
        yield other, bytes([place]), wide
    if begun:
        yield font, begun, width


def _width(sign: str, font: str) -> int:
    # A letter is as wide as it is without its accent.
    plain = ord(unicodedata.normalize("NFD", sign)[0])
    if 32 <= plain < 127:
        return int(_WIDTHS[font][plain - 32])
    return _OTHERS.get(sign, _ANY_WIDTH)


def _is_known(sign: str) -> bool:
    try:
        sign.encode("cp1252")
    except UnicodeEncodeError:
        return sign in _SIGNS
    return True


def _colour(said: str | None) -> str:
    """Write a colour as three shares; nothing where there is none."""
    said = _NAMED.get(said or "", said or "")
    if not said.startswith("#"):
        return ""
    return " ".join(_n(int(said[n : n + 2], 16) / 255) for n in (1, 3, 5))


def _numbers(text: str) -> list[float]:
    return [float(each) for each in _NUMBER.findall(text)]


def _n(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _file(box: str, drawn: bytes) -> bytes:
    """Put the parts of a file together, with the table that says where each begins."""
    packed = zlib.compress(drawn, 9)
    kind = "/Type /Font /Subtype /Type1"
    fonts = " ".join(f"/{name} << {kind} {each} >>" for name, each in _FONTS.items())
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R {box} /Contents 4 0 R "
        f"/Resources << /Font << {fonts} >> >> >>".encode(),
        f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode()
        + packed
        + b"\nendstream",
    ]
    whole, begins = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, part in enumerate(parts, 1):
        begins.append(len(whole))
        whole += f"{number} 0 obj\n".encode() + part + b"\nendobj\n"
    table = "".join(f"{each:010} 00000 n \n" for each in begins)
    trailer = f"trailer\n<< /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(whole)}\n%%EOF\n"
    return whole + f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()
