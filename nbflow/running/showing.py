"""Shows a table to whoever watches: in the notebook, or on a terminal."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbflow.deterministic import is_deterministic

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 200
_LEFT = 'style="text-align: left"'


def show(table: pd.DataFrame, title: str) -> None:
    """Show a table with all that is in it.

    Parameters
    ----------
    table, title
        What, and what it is; the title is left out with ``NBFLOW_DETERMINISTIC=1``.
    """
    shown = Shown(table, "" if is_deterministic() else title)
    interactive = sys.modules.get("IPython")
    shell: Any = None if interactive is None else interactive.get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        sys.modules["IPython.display"].display(shown)
        return
    sys.stderr.write(f"{shown!r}\n")


@dataclass(frozen=True)
class Shown:
    """A table as it is shown: texts in their full length, and aligned to be read.

    Attributes
    ----------
    table, title
        What, and what it is.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"step": ["load"], "decision": ["run"]}).set_index("step")
    >>> Shown(table, "run r1 goes on")
    run r1 goes on:
    step  decision
    load  run
    """

    table: pd.DataFrame
    title: str

    @property
    def html(self) -> str:
        """The table as HTML; whatever a user wrote in it is escaped."""
        made = self._first.reset_index().to_html(index=False, border=0)
        for cell in ("td", "th"):
            # JupyterLab aligns to the right. No text can hold this: it is escaped.
            made = made.replace(f"<{cell}>", f"<{cell} {_LEFT}>")
        made = made.replace('<tr style="text-align: right;">', "<tr>")
        head = f"<div>{html.escape(self.title)}:</div>" if self.title else ""
        return f"{head}{made}" + (f"<p>{self._rest}</p>" if self._rest else "")

    @property
    def _first(self) -> pd.DataFrame:
        return self.table.head(_MOST_ROWS)

    @property
    def _rest(self) -> str:
        more = len(self.table) - _MOST_ROWS
        return f"… {more:,} more" if more > 0 else ""

    def __repr__(self) -> str:
        cells = self._first.reset_index().astype("str")
        rows = [list(cells.columns), *cells.to_numpy().tolist()]
        rows = [[" ".join(each.split()) for each in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{self.title}:"] if self.title else []
        for row in rows:
            padded = (f"{each:<{width}}" for each, width in zip(row, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, *([self._rest] if self._rest else [])])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.html, "text/plain": repr(self)}
