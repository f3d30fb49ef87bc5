"""What a run has found: the results of its steps, from where they are kept or from the workers."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nbflow.algebra.absence import Absent, gathered_list
from nbflow.algebra.topology import Topology
from nbflow.errors import RunError, StoreError, quoted
from nbflow.record.archive import Archive
from nbflow.record.recollection import Shelf, is_kept, recollected
from nbflow.record.state import RunState
from nbflow.running.engine import Execution
from nbflow.store.kept import Kept
from nbflow.store.reading import value_kept


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of one run.

    Attributes
    ----------
    topology, state
        The flow, and how its run is.
    execution
        What has computed them, if that was in this process.
    archive
        Where they are kept, if they are.
    """

    topology: Topology
    state: RunState
    execution: Execution | None
    archive: Archive | None

    def values(self, positions: list[int]) -> dict[int, Any]:
        """Fetch the results of nodes: from where they are kept, or from the workers.

        Dask would compute again what was lost with a worker; what is kept need not be.

        Raises
        ------
        RunError
            If one is no longer there, or was not kept.
        StoreError
            If one is missing or damaged, and nowhere else.
        """
        execution = self.execution
        if execution is None:
            return {position: self._kept(position) for position in positions}
        names = self.topology.names
        found: dict[int, Any] = {}
        for position in positions:
            if is_kept(self.state.steps[names[position]]):
                with suppress(StoreError):
                    found[position] = self._kept(position)
        others = [each for each in positions if each not in found]
        return found | execution.values(others) if others else found

    def element(self, position: int, number: int) -> Any:
        """Fetch one element of a mapped step.

        Raises
        ------
        RunError
            If it has no value, or it was not kept.
        StoreError
            If it is missing or damaged.
        """
        execution = self.execution
        known = recollected(self.state.steps[self.topology.names[position]], gone=False)
        if execution is None or (known is not None and known.element(number) is not None):
            return self._kept_element(position, number)
        return execution.element(position, number)

    def _kept(self, position: int) -> Any:
        """Read a result from where it is kept.

        Raises
        ------
        RunError
            If it was not kept.
        StoreError
            If it is missing or damaged.
        """
        name = self.topology.names[position]
        state = self.state.steps[name]
        known = recollected(state)
        if known is None:
            return Absent(name, state.reason or f"{name} is {state.status}")
        shelf = self._shelf
        try:
            if not state.mapped:
                return shelf.opened(known.value)
            total = state.total or 0
            return gathered_list(shelf.all_opened([known.element(n) for n in range(total)]))
        except RunError as error:
            raise RunError(f"step {quoted(name)}: {error}") from error

    def _kept_element(self, position: int, number: int) -> Any:
        known = recollected(self.state.steps[self.topology.names[position]])
        value = None if known is None else known.element(number)
        if value is None or type(value) is Absent:
            raise RunError(f"there is no element {number}")
        return self._shelf.opened(value)

    @property
    def _shelf(self) -> Shelf:
        return Shelf(self._read)

    def _read(self, kept: Kept) -> Any:
        """Give a value that is kept, or say that it was given up."""
        if self.archive is None:
            return value_kept(None, kept)
        try:
            return value_kept(self.archive.store, kept)
        except StoreError as error:
            pruned = self.archive.journal.entry(self.state.run_id).pruned
            if pruned is None:
                raise
            at = time.strftime("%Y-%m-%d at %H:%M", time.localtime(pruned))
            raise StoreError(
                f"there is no value any more: the results of run {quoted(self.state.run_id)} were "
                f"pruned on {at}; run the flow again. The record of the run is still there, as are "
                f".steps and .preview()"
            ) from error
