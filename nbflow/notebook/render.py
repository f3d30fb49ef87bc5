"""DOT to SVG and PNG, by the first renderer that is there.

The binary that comes with the ``graphviz-pure`` package draws the same bytes on
every platform. It is called directly: `graphviz` looks only for a program named
``dot``, and shows in red what that says on stderr.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import lru_cache
from importlib import metadata

_TIMEOUT = 20.0
_PREAMBLE = re.compile(r"<\?xml[^>]*>\s*|<!DOCTYPE[^>]*>\s*|<!--.*?-->\s*", re.DOTALL)

# The fonts that the packaged renderer brings for PNG have these signs, and not all of ours.
# Where a sign is missing, one that looks alike stands for it; words say the same.
_ITS_SIGNS = re.compile(
    "[\n\r\t -~\xa0-\u017f\u0192\u0384-\u03ce\u0400-\u045f\u0490\u0491\u2013-\u2015\u2017-\u201e"
    "\u2020-\u2022\u2026\u2030\u2032\u2033\u2039\u203a\u20ac\u2116\u2122\u2190-\u2195\u2206\u220f\u2211"
    "\u2212\u221a\u221e\u222b\u2248\u2260\u2261\u2264\u2265\u25a0\u25a1\u25b2\u25ba\u25bc\u25c4\u25ca"
    "\u25cb\u25cf]*"
)
_ALIKE = str.maketrans("✓✗◐↻⊘↶◇", "√×●↕Ø←◊")
_DOTS_PER_INCH = 192

_NODE = re.compile(r'<g id="node\d+" class="node">.*?</g>\s*(?=<g |</g>\s*</svg>)', re.DOTALL)
_LINK = re.compile(r'<a xlink:title="([^"]*)">')
_FONT_SIZE = re.compile(r' font-size="[\d.]+"')


def svg(source: str) -> str | None:
    """Render DOT as SVG, or give None where nothing can.

    Parameters
    ----------
    source
        The DOT.

    Examples
    --------
    >>> drawn = svg("digraph { a -> b }")
    >>> drawn is None or drawn.startswith("<svg ")
    True
    """
    drawn = _rendered(source, "svg")
    if drawn is None:
        return None
    # What the renderer says about itself would make pictures of two versions differ.
    text = _PREAMBLE.sub("", drawn.decode("utf-8", "replace")).strip()
    # Not every browser shows the title of a link that leads nowhere.
    text = _LINK.sub(r"<title>\1</title>", text).replace("</a>\n", "")
    return _NODE.sub(_typeset, text.replace(' xml:space="preserve"', "")) + "\n"


def _typeset(node: re.Match[str]) -> str:
    """Set the name of a node apart from what is said below it.

    A plain label has one size and weight. What is smaller stays inside the outline,
    and the margin has room for the bold name.
    """
    head, *lines = node.group().split("<text ")
    if len(lines) < 2:
        return node.group()
    rest = [_FONT_SIZE.sub(' font-size="9.00"', line, count=1) for line in lines[1:]]
    return "<text ".join([head, f'font-weight="bold" {lines[0]}', *rest])


def png(source: str) -> bytes | None:
    """Render DOT as PNG, or give None where nothing can, or not with all of its signs."""
    packaged, alike = _packaged(), source.translate(_ALIKE)
    for program in renderers():
        if program != packaged:
            drawn = _tried(program, source, "png")
        elif _ITS_SIGNS.fullmatch(alike):
            drawn = _tried(program, alike, "png")
        else:
            continue
        if drawn is not None:
            return drawn
    return None


def renderers() -> list[str]:
    """List the programs that may be asked, in order.

    ``NBFLOW_RENDERER`` names the only one: a program, or ``none``.
    """
    chosen = os.environ.get("NBFLOW_RENDERER")
    if chosen:
        return [] if chosen == "none" else [chosen]
    found = (_packaged(), shutil.which("dot"))
    return [each for each in found if each]


def _packaged() -> str | None:
    """Find the binary of graphviz-pure; the PATH of a kernel often lacks its folder."""
    try:
        files = metadata.distribution("graphviz-pure").files or ()
    except metadata.PackageNotFoundError:
        return None
    for each in files:
        if each.name in ("graphviz-pure", "graphviz-pure.exe"):
            path = os.path.realpath(os.fspath(each.locate()))
            if os.access(path, os.X_OK):
                return path
    return None


def _rendered(source: str, kind: str) -> bytes | None:
    drawn = (_tried(program, source, kind) for program in renderers())
    return next((each for each in drawn if each is not None), None)


def _tried(program: str, source: str, kind: str) -> bytes | None:
    try:
        return _called(program, source, kind)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


@lru_cache(maxsize=64)
def _called(program: str, source: str, kind: str) -> bytes:
    # Only what succeeded is remembered. Warnings on stderr are about font metrics.
    done = subprocess.run(  # noqa: S603 - what it draws is data, on stdin
        [program, "-Kdot", f"-T{kind}", *([f"-Gdpi={_DOTS_PER_INCH}"] if kind == "png" else [])],
        input=source.encode("utf-8", "replace"),
        capture_output=True,
        timeout=_TIMEOUT,
        check=True,
    )
    if not done.stdout:
        raise ValueError("the renderer gave nothing")
    return done.stdout
