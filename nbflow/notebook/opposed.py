"""What differs between two runs, as a notebook shows it: the steps that differ, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic
from nbflow.notebook.html import Markup, element
from nbflow.notebook.sheets import LEFT, MUTED, RIGHT, framed
from nbflow.notebook.steptable import chip
from nbflow.notebook.wording import counted, duration, printable
from nbflow.record.events import Status

if TYPE_CHECKING:
    import pandas as pd

    from nbflow.record.state import RunState

_NAME, _WORDS = 40, 300


@dataclass(frozen=True)
class Opposed:
    """Two runs side by side.

    Attributes
    ----------
    table
        What differs, as `nbflow.Run.diff` gives it.
    before, now
        How the runs are.
    """

    table: pd.DataFrame
    before: RunState
    now: RunState

    @property
    def text(self) -> str:
        """The whole as text."""
        lines = [self._headline()]
        differing = self._differing()
        width = max((len(printable(name, _NAME)) for name in differing.index), default=0)
        for name, said in differing["differs"].items():
            lines.append(f"{printable(str(name), _NAME).ljust(width)}  {printable(said, _WORDS)}")
        return "\n".join(lines)

    def _differing(self) -> pd.DataFrame:
        return self.table[self.table["differs"] != ""]

    def _headline(self) -> str:
        found, whole = len(self._differing()), len(self.table)
        says = [f"{counted(found, 'step')} of {whole:,} differ{'s' * (found == 1)}"]
        if not is_deterministic():
            says = [f"{_named(self.before)} → {_named(self.now)}", *says]
        return ": ".join(says)

    def _repr_html_(self) -> str:
        titles = [("step", LEFT), ("differs", LEFT), ("status", LEFT), ("rows", RIGHT)]
        titles += [] if is_deterministic() else [("time", RIGHT)]
        head = element("tr", *(element("th", title, style=side) for title, side in titles))
        rows = [self._row(str(name), each) for name, each in self._differing().iterrows()]
        parts = [element("div", self._headline(), style=f"{MUTED}; margin: 2px 0 6px 0")]
        return str(element("div", *parts, *([framed(head, rows)] if rows else [])))

    def _row(self, name: str, each: Any) -> Markup:
        statuses = dict.fromkeys(s for s in (each["status_before"], each["status"]) if s)
        chips = " → ".join(chip(Status(each)) for each in statuses)
        rows = _pair(each["rows_before"], each["rows"])
        cells = [
            element("td", element("b", printable(name, _NAME)), style=LEFT),
            element("td", printable(each["differs"], _WORDS), style=LEFT),
            element("td", Markup(chips), style=LEFT),
            element("td", rows, style=RIGHT),
        ]
        if not is_deterministic():
            times = [duration(each[key]) for key in ("seconds_before", "seconds")]
            cells.append(element("td", " → ".join(t or "–" for t in times), style=RIGHT))
        return element("tr", *cells)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": self.text}

    def __repr__(self) -> str:
        return self.text


def _pair(before: Any, now: Any) -> str:
    import pandas as pd

    known = ["–" if each is pd.NA else f"{each:,}" for each in (before, now)]
    return " → ".join(dict.fromkeys(known)) if known != ["–", "–"] else ""


def _named(state: RunState) -> str:
    took = "" if state.ended is None else f", {duration(state.seconds(state.ended))}"
    return f"{printable(state.run_id, _NAME)} ({state.status.value}{took})"
