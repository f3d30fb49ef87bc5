"""What a status, a step and an edge look like.

The hues are those of Okabe and Ito, which colour-blind people can tell apart; each
status has a sign and a word besides, so that nothing is said by colour alone.
Everything is an attribute: a picture brings no style sheet that could leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from nbflow.record.events import Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Kind(StrEnum):
    """What something in a picture stands for."""

    STEP = "step"
    MAPPED = "mapped"
    STACK = "stack"
    FOLD = "fold"
    BRANCH = "branch"
    PARAM = "param"
    CONSTANT = "constant"
    INPUT = "input"
    STOP = "stop"
    ELSEWHERE = "elsewhere"


class Mark(StrEnum):
    """What a step is shown as where its status does not say it."""

    DOUBT = "in doubt"
    NOT_UNDONE = "not undone"
    PARTLY = "partly undone"
    UNDOING = "undoing"

    def __repr__(self) -> str:
        return repr(self.value)


Shown: TypeAlias = Status | Mark


@dataclass(frozen=True, slots=True)
class Look:
    """How a status is shown.

    Attributes
    ----------
    sign
        One character that the fonts of all systems have, and none as an emoji.
    fill, border, ink
        The colours of the area, its outline and the text on it.
    dashed
        Whether the outline is broken: for what did not run.
    """

    sign: str
    fill: str
    border: str
    ink: str
    dashed: bool = False


# The ink has a contrast of at least 7 : 1 on its fill.
LOOKS: Mapping[Shown, Look] = MappingProxyType(
    {
        Status.PENDING: Look("○", "#f4f5f7", "#8590a0", "#414a57"),
        Status.RUNNING: Look("◐", "#dceefb", "#0072b2", "#07395c"),
        Status.RETRYING: Look("↻", "#fff0cc", "#c98a00", "#553900"),
        Status.COMPLETED: Look("✓", "#dff3eb", "#009e73", "#0b4233"),
        Status.REUSED: Look("≡", "#eef6f3", "#5fb399", "#22493d"),
        Status.FAILED: Look("✗", "#fde3d5", "#d55e00", "#6b2400"),
        Status.SKIPPED: Look("–", "#f4f5f7", "#8590a0", "#414a57", dashed=True),
        Status.CANCELLED: Look("⊘", "#f6e7f0", "#b5628f", "#5b2344", dashed=True),
        Status.COMPENSATED: Look("↶", "#f6e7f0", "#b5628f", "#5b2344"),
        Status.INTERRUPTED: Look("!", "#fff0cc", "#c98a00", "#553900", dashed=True),
        Mark.DOUBT: Look("?", "#faf0a0", "#998500", "#453c00"),
        Mark.NOT_UNDONE: Look("✗", "#fde3d5", "#d55e00", "#6b2400", dashed=True),
        Mark.PARTLY: Look("↶", "#f6e7f0", "#b5628f", "#5b2344", dashed=True),
        Mark.UNDOING: Look("↶", "#f6e7f0", "#b5628f", "#5b2344", dashed=True),
    }
)

PLAIN = Look("", "#eef3fa", "#5b7fae", "#1c2f4a")
DECIDING = Look("", "#f3effb", "#8468b8", "#32214f")

# The worst first: a stack looks like the worst of its members.
SEVERITY: tuple[Shown, ...] = (
    Mark.DOUBT,
    Mark.NOT_UNDONE,
    Status.FAILED,
    Status.INTERRUPTED,
    Status.CANCELLED,
    Mark.PARTLY,
    Mark.UNDOING,
    Status.RETRYING,
    Status.RUNNING,
    Status.PENDING,
    Status.SKIPPED,
    Status.COMPENSATED,
    Status.COMPLETED,
    Status.REUSED,
)

# What a person must look at: it is shown first, and with a bold outline.
PROBLEMS: frozenset[Shown] = frozenset({Mark.DOUBT, Mark.NOT_UNDONE, Status.FAILED})

# The renderer knows the widths of this face and no list of faces; browsers put Arial
# or Liberation Sans in its place, which are equally wide.
FONT = "Helvetica"

# On white and on the near-black of dark themes this has a contrast of at least 4 : 1;
# everything that stands outside a filled node is drawn in it, on no ground of its own.
GREY = "#757f8e"

GRAPH: Mapping[str, str] = MappingProxyType(
    {
        "bgcolor": "transparent",
        "fontname": FONT,
        "fontsize": "9",
        "fontcolor": GREY,
        "labelloc": "b",
        "labeljust": "l",
        "nodesep": "0.22",
        "ranksep": "0.42",
        "pad": "0.16",
    }
)

NODE: Mapping[str, str] = MappingProxyType(
    {
        "shape": "box",
        "style": "rounded,filled",
        "fontname": FONT,
        "fontsize": "10.5",
        "height": "0.42",
        "margin": "0.17,0.07",
        "penwidth": "1.1",
    }
)

EDGE: Mapping[str, str] = MappingProxyType(
    {
        "color": GREY,
        "fontcolor": GREY,
        "fontname": FONT,
        "fontsize": "9",
        "penwidth": "1",
        "arrowsize": "0.6",
    }
)

ORDER_ONLY: Mapping[str, str] = MappingProxyType({"style": "dashed", "arrowhead": "vee"})
# What is not gone along, and what is; the label says it too, by its weight.
FADED: Mapping[str, str] = MappingProxyType({"style": "dashed"})
TAKEN: Mapping[str, str] = MappingProxyType(
    {"color": LOOKS[Status.COMPLETED].border, "penwidth": "2.2", "fontname": f"{FONT}-Bold"}
)

# The outline of what failed, so that it is found at once.
BOLD = "2.6"
FOCUSED = "2"

# The first of several lines is set in bold, which the renderer does not know.
_BOLDER, _BOLDER_ELSEWHERE = 0.0032, 0.006


def margin(lines: Sequence[str]) -> str:
    """Give the margin that a figure needs for the bold name above what is said of it.

    Examples
    --------
    >>> margin(["load", "completed"]), margin(["a_name_of_twenty_signs", "ok"])
    ('0.17,0.07', '0.24,0.07')
    """
    name, *rest = lines
    more = sum(_BOLDER if each.isascii() else _BOLDER_ELSEWHERE for each in name)
    if any(len(each) > 1.2 * len(name) for each in rest):
        more = 0.0
    return f"{0.17 + more:.2f},0.07"


# How high a diamond is, by its lines of text: flatter ones get very wide.
DIAMONDS = ("0.56", "0.82", "1.05")

# Around figures that belong together: there, and no more than that.
FRAME: Mapping[str, str] = MappingProxyType(
    {
        "style": "rounded",
        "color": "#a3acb9",
        "fontcolor": GREY,
        "fontname": FONT,
        "fontsize": "9",
        "labelloc": "t",
        "labeljust": "l",
        "penwidth": "0.8",
        "margin": "9",
    }
)
# A limit is no map.
CAPPED: Mapping[str, str] = MappingProxyType({"style": "rounded,dashed"})

# The way back, on which what was done is undone.
BACK: Mapping[str, str] = MappingProxyType(
    {
        "color": LOOKS[Status.COMPENSATED].border,
        "fontcolor": LOOKS[Status.COMPENSATED].border,
        "style": "dashed",
        "constraint": "false",
    }
)
STUCK: Mapping[str, str] = MappingProxyType(
    {"color": LOOKS[Status.FAILED].border, "fontcolor": LOOKS[Status.FAILED].border}
)

FEED: Mapping[str, str] = MappingProxyType({"color": GREY, "arrowsize": "0.5"})

# What sets a kind of node apart from a plain step.
SHAPES: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        Kind.STEP: MappingProxyType({}),
        Kind.MAPPED: MappingProxyType({}),
        Kind.STACK: MappingProxyType({}),
        Kind.FOLD: MappingProxyType({"style": "rounded,filled,dashed", "peripheries": "1"}),
        Kind.BRANCH: MappingProxyType(
            {"shape": "diamond", "style": "filled", "margin": "0.05,0.02"}
        ),
        Kind.PARAM: MappingProxyType(
            {
                "shape": "ellipse",
                "style": "filled",
                "fillcolor": "#fff8e6",
                "color": "#c9a44c",
                "fontcolor": "#5c4300",
                "fontsize": "9",
                "height": "0.3",
                "margin": "0.08,0.03",
            }
        ),
        Kind.CONSTANT: MappingProxyType(
            {
                "shape": "plaintext",
                "style": "",
                "fontcolor": GREY,
                "fontsize": "9",
                "width": "0.2",
                "height": "0.2",
                "margin": "0.04,0.02",
            }
        ),
        Kind.INPUT: MappingProxyType(
            {
                "style": "rounded,dotted",
                "color": GREY,
                "fontcolor": GREY,
                "fontsize": "9.5",
                "height": "0.32",
                "margin": "0.12,0.04",
            }
        ),
        Kind.STOP: MappingProxyType(
            {
                "shape": "point",
                "style": "filled",
                "color": GREY,
                "fillcolor": GREY,
                "width": "0.07",
                "height": "0.07",
            }
        ),
        Kind.ELSEWHERE: MappingProxyType(
            {
                "shape": "plaintext",
                "style": "",
                "fontcolor": GREY,
                "fontsize": "9",
                "width": "0.2",
                "height": "0.2",
                "margin": "0.04,0.02",
            }
        ),
    }
)
