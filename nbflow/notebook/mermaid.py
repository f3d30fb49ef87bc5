"""A flow as Mermaid, which GitHub draws in a README."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.scene import scene
from nbflow.notebook.style import Kind
from nbflow.notebook.wording import printable

if TYPE_CHECKING:
    from nbflow.flow import Flow

_TITLE = 40
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
    lines = ["flowchart LR"]
    for figure in seen.figures:
        opening, closing = _BRACKETS[figure.kind]
        label = _escaped(printable(figure.title, _TITLE))
        lines.append(f'    {figure.key}{opening}"{label}"{closing}')
    for arrow in seen.arrows:
        dotted = arrow.order_only or not _DOTTED.isdisjoint((kinds[arrow.tail], kinds[arrow.head]))
        lines.append(f"    {arrow.tail} {'-.->' if dotted else '-->'} {arrow.head}")
    if seen.note:
        lines.append(f"    %% {seen.note}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Write everything but letters and digits as a numbered entity.

    Mermaid reads Markdown, HTML and entities in labels, and has words that it
    reserves; a number means only itself.
    """
    return "".join(each if each.isalnum() or each in _PLAIN else f"#{ord(each)};" for each in text)
