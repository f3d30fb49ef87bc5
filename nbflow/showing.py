"""Shows a table to whoever watches: in the notebook, or on a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def show(table: pd.DataFrame, title: str) -> None:
    """Show a table.

    Parameters
    ----------
    table, title
        What, and what it is.
    """
    interactive = sys.modules.get("IPython")
    shell: Any = None if interactive is None else interactive.get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        sys.modules["IPython.display"].display(table)
        return
    import pandas as pd

    with pd.option_context("display.width", 120, "display.max_colwidth", 70):
        sys.stderr.write(f"{title}:\n{table}\n")
