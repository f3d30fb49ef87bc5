"""What there is to look at in a run once its steps have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nbflow.algebra.flow import Flow
from nbflow.errors import FlowError, TransferError
from nbflow.record.archive import Archive
from nbflow.record.contrast import contrast_table, contrasts
from nbflow.record.events import Event
from nbflow.record.rowcounts import rows_table
from nbflow.record.state import RunState
from nbflow.sketch.sketch import Sketch

if TYPE_CHECKING:
    import pandas as pd

    from nbflow.notebook.interactive import InteractiveTable
    from nbflow.notebook.timeline import Timeline


class Inspection:
    """Looks at a run: where its rows went, where its time went, and what differs.

    All of it follows from what is written down, so a run that was loaded needs no
    cluster for it.

    Attributes
    ----------
    flow, params
        What was run, and with which values of its parameters.
    """

    flow: Flow
    params: dict[str, Any]
    _archive: Archive | None
    # Of a run that was loaded.
    _sketch: Sketch | None

    @property
    def state(self) -> RunState:
        """The fold over all events so far."""
        raise NotImplementedError

    @property
    def events(self) -> list[Event]:
        """Everything that has happened so far."""
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

    def timeline(self) -> Timeline:
        """Draw when each step ran, on which worker, and what waited for what.

        Shown by a notebook as the last line of a cell; ``.save("timeline.svg")`` writes it
        into a file. Bold is the critical path: the steps on which the end of the run
        waited.

        Examples
        --------
        >>> run.timeline().save("timeline.svg")  # doctest: +SKIP
        """
        from nbflow.notebook.timeline import timeline

        return timeline(self.flow.topology, self.state, self.events)

    def table(self, step: Any) -> InteractiveTable:
        """Give a result as a table to sort, search and page through, in the browser alone.

        It needs the optional package itables, and no connection to anywhere.

        Parameters
        ----------
        step
            A step, or an element of one, as for ``run[step]``.

        Raises
        ------
        MissingExtraError
            If itables is not installed.

        Examples
        --------
        >>> run.table("clean")  # doctest: +SKIP
        """
        from nbflow.notebook.interactive import interactive

        return interactive(str(step), lambda: self[step])

    def __getitem__(self, step: Any) -> pd.DataFrame:
        """Give the result of a step as a DataFrame."""
        raise NotImplementedError

    def diff(self, other: Any) -> pd.DataFrame:
        """Say what differs from another run, which is taken to be the earlier one.

        Indexed by step. ``differs`` says in words what is another in a step: its code, its
        arguments, its options, what it gets, how it ended, how many rows, columns and
        nulls it gave and of which types, and how long it took if that is far off. It is
        empty where nothing differs. The other columns are the numbers of both runs, and
        the ``ratio`` of their seconds.

        Parameters
        ----------
        other
            A run, or the id of one.

        Raises
        ------
        RunNotFoundError
            If there is no run of that id.
        FlowError
            If it is neither.

        Examples
        --------
        >>> nbflow.last_run().diff("20261121-200000-1a2b3c4d")  # doctest: +SKIP
        """
        before = other
        if isinstance(other, str):
            from nbflow.running.history import load

            before = load(other, None if self._archive is None else self._archive.url)
        if not isinstance(before, Inspection):
            raise FlowError(
                f"a run is compared with {other!r}; expected is another run, or the id of one as "
                f"nbflow.runs() lists it"
            )
        sketches = before._written_down(), self._written_down()
        known = None if sketches[0] is None or sketches[1] is None else (sketches[0], sketches[1])
        return contrast_table(contrasts(before.state, self.state, known))

    def _written_down(self) -> Sketch | None:
        """Give the flow as a record; None if a part of it cannot be one."""
        if self._sketch is not None:
            return self._sketch
        try:
            return Sketch.of(self.flow, self.params)
        except TransferError:
            return None
