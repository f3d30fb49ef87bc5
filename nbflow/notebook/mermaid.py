"""A flow as Mermaid, which GitHub draws in a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.scene import scene
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbflow.algebra.flow import Flow
    from nbflow.notebook.figure import Figure, Scene

_TITLE = 40
_CASE = 24
_PLAIN = frozenset(" .,_=?×…")
_BRACKETS = {
    Kind.STEP: ("[", "]"),
    Kind.MAPPED: ("[[", "]]"),
    Kind.STACK: ("[[", "]]"),
    Kind.FOLD: ("[", "]"),
    Kind.BRANCH: ("{", "}"),
    Kind.PARAM: ("([", "])"),
    Kind.CONSTANT: (">", "]"),
    Kind.INPUT: ("([", "])"),
    Kind.STOP: ("((", "))"),
    Kind.ELSEWHERE: ("[", "]"),
}
_DOTTED = frozenset({Kind.INPUT, Kind.ELSEWHERE})


def mermaid(flow: Flow) -> str:
    """Write a flow as a Mermaid flowchart, collapsed as its picture is.

    Parameters
    ----------
    flow
        What to write.

    Examples
    --------
    >>> from nbflow import step
    >>> print(mermaid(step(abs) >> str))
    flowchart LR
        n0["abs"]
        n1["str"]
        i0(["x = ?"])
        i0 -.-> n0
        n0 --> n1
    <BLANKLINE>
    """
    seen = scene(flow.topology)
    kinds = {figure.key: figure.kind for figure in seen.figures}
    lines = ["flowchart LR", *_inside(seen, "", "    ")]
    for arrow in seen.arrows:
        dotted = arrow.order_only or not _DOTTED.isdisjoint((kinds[arrow.tail], kinds[arrow.head]))
        said = ", ".join(printable(case, _CASE) for case in arrow.cases)
        label = f'|"{_escaped(said)}"|' if said else ""
        lines.append(f"    {arrow.tail} {'-.->' if dotted else '-->'}{label} {arrow.head}")
    if seen.note:
        lines.append(f"    %% {seen.note}")
    return "\n".join(lines) + "\n"


def _inside(seen: Scene, key: str, indent: str) -> Iterator[str]:
    """Write the figures that are in a frame, and then the frames in it."""
    for figure in seen.figures:
        if figure.frame == key:
            yield indent + _node(figure)
    for frame in seen.frames:
        if frame.parent == key:
            yield f'{indent}subgraph {frame.key}["{_escaped(frame.title())}"]'
            yield from _inside(seen, frame.key, indent + "    ")
            yield f"{indent}end"


def _node(figure: Figure) -> str:
    opening, closing = _BRACKETS[figure.kind]
    said = printable(figure.title, _TITLE) + figure.suffix()
    said = ", ".join(part for part in (said, figure.detail) if part)
    return f'{figure.key}{opening}"{_escaped(said)}"{closing}'


def _escaped(text: str) -> str:
    """Write everything but letters and digits as a numbered entity.

    Mermaid reads Markdown, HTML and entities in labels, and has words that it
    reserves; a number means only itself.
    """
    return "".join(each if each.isalnum() or each in _PLAIN else f"#{ord(each)};" for each in text)
