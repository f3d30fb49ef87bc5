"""What there is to look at in a run once its steps have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.algebra.flow import Flow
from nbflow.record.rowcounts import rows_table
from nbflow.record.state import RunState

if TYPE_CHECKING:
    import pandas as pd


class Inspection:
    """Looks at a run: where its rows went, where its time went, and what differs.

    All of it follows from what is written down, so a run that was loaded needs no
    cluster for it.

    Attributes
    ----------
    flow
        What was run.
    """

    flow: Flow

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        raise NotImplementedError

    def rows(self) -> pd.DataFrame:
        """Say where rows went: what each step got and gave, and what that means.

        Indexed by step, in topological order. Columns are ``inputs`` (what each step
        before it gave), ``rows_in``, ``rows_out``, ``change`` and ``dropped_percent``
        (against all that came in; of a join, against its first input), ``nulls``,
        ``nulls_added``, ``duplicates`` (within one element, of a mapped step),
        ``explodes`` (a join that gave more rows than any input has) and ``mark``, which
        says in words what is to be noticed. What is not known is left empty.

        Examples
        --------
        >>> run.rows()["mark"]  # doctest: +SKIP
        """
        return rows_table(self.flow.topology, self.state)
