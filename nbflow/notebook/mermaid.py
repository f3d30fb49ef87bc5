"""A flow as Mermaid, which GitHub draws in a README."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.notebook.appearance import seen as as_seen
from nbflow.notebook.options import OPTIONS, checked
from nbflow.notebook.scene import scene
from nbflow.notebook.style import LOOKS, Kind, Shown
from nbflow.notebook.telling import worst
from nbflow.notebook.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nbflow.algebra.flow import Flow
    from nbflow.notebook.figure import Figure, Scene
    from nbflow.record.state import RunState

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


def mermaid(
    flow: Flow,
    state: RunState | None = None,
    *,
    direction: str = "LR",
    collapse: bool = True,
    focus: str | Iterable[str] | None = None,
    hops: int = 1,
    **unknown: Any,
) -> str:
    """Write a flow, or a run of it, as a Mermaid flowchart, collapsed as its picture is.

    Parameters
    ----------
    flow
        What to write.
    state
        How a run of it is; its statuses colour the steps.
    direction, collapse, focus, hops
        As for `nbflow.notebook.draw.digraph`.

    Raises
    ------
    FlowError
        If there is no such option, or its value cannot mean anything.

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
    for name in unknown:
        raise FlowError(f"there is no drawing option {quoted(name)}; {did_you_mean(name, OPTIONS)}")
    checked(direction, collapse, focus, hops)
    seen = scene(flow.topology, collapse=collapse, focus=focus, hops=hops)
    kinds = {figure.key: figure.kind for figure in seen.figures}
    lines = [f"flowchart {direction}", *_inside(seen, "", "    ")]
    for arrow in seen.arrows:
        dotted = arrow.order_only or not _DOTTED.isdisjoint((kinds[arrow.tail], kinds[arrow.head]))
        said = ", ".join(printable(case, _CASE) for case in arrow.cases)
        label = f'|"{_escaped(said)}"|' if said else ""
        lines.append(f"    {arrow.tail} {'-.->' if dotted else '-->'}{label} {arrow.head}")
    lines += _coloured(flow, seen, state)
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


def _coloured(flow: Flow, seen: Scene, state: RunState | None) -> Iterator[str]:
    """Colour steps by how they are, each status as a class of its own."""
    if state is None:
        return
    state = as_seen(state)
    found: dict[Shown, list[str]] = {}
    for figure in seen.figures:
        names = (flow.topology.names[each] for each in figure.members)
        status = worst(state.steps[name] for name in names if name in state.steps)
        if status is not None:
            found.setdefault(status, []).append(figure.key)
    for number, (status, keys) in enumerate(found.items()):
        look = LOOKS[status]
        dashes = ",stroke-dasharray:4 2" if look.dashed else ""
        yield f"    %% {look.sign} {status.value}"
        colours = f"fill:{look.fill},stroke:{look.border},color:{look.ink}{dashes}"
        yield f"    classDef s{number} {colours}"
        yield f"    class {','.join(keys)} s{number}"


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
