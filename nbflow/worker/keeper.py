"""Keeps results in the store while a task computes them, as far as they are worth it."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any, Final

from nbflow.errors import StoreError
from nbflow.planning.order import Work
from nbflow.store.kept import Kept, KeptSpan
from nbflow.store.reading import atom
from nbflow.store.store import Store
from nbflow.values.kinds import PLAIN
from nbflow.values.payload import Payload, encoded
from nbflow.values.size import size_of
from nbflow.worker.checkpoint import INLINE, Budget

# Up to this size the results of the last steps are kept in any case: a run is for them.
_LAST_BYTES: Final = 1_000_000
_BUDGETS_KEPT: Final = 64
_ATOM_BYTES: Final = 1_000


class Keeper:
    """Keeps the results of one task.

    Parameters
    ----------
    store
        Where they are kept.
    budget
        What the run may spend on it in this process.
    policy
        What the run says of results of which their steps say nothing: ``"auto"``, True
        or False.
    """

    def __init__(self, store: Store, budget: Budget, policy: bool | str) -> None:
        self.store = store
        self.budget = budget
        self.policy = policy
        self.complaint = ""
        # How long it took to compute what would be lost now.
        self._at_risk = 0.0

    def may_keep(self, work: Work) -> bool:
        """Tell whether any result of a step can come to be kept."""
        wish = self.policy if work.checkpoint == "auto" else work.checkpoint
        return work.has_effect or wish is not False

    def computed(self, seconds: float) -> None:
        """Take note of time that was spent on computing."""
        self.budget.computed(seconds)
        self._at_risk += seconds

    def wants(self, wish: bool | str, value: Any, nbytes: int, *, last: bool = False) -> bool:
        """Tell whether a result is to be kept.

        Parameters
        ----------
        wish
            What its step says.
        value, nbytes
            The result, and how large it is by estimate.
        last
            Whether it is part of what the whole flow gives.
        """
        policy = self.policy if wish == "auto" else wish
        if policy == "auto":
            if last and nbytes <= _LAST_BYTES:
                return True
            is_atom = type(value) in PLAIN and nbytes <= _ATOM_BYTES
            return self.budget.allows(self._at_risk, nbytes, is_atom=is_atom)
        return bool(policy)

    def keep(self, value: Any, nbytes: int) -> Kept | None:
        """Keep a result; None if it cannot be kept, which `complaint` then explains.

        Parameters
        ----------
        value, nbytes
            The result, and how large it is by estimate.
        """
        if type(value) in PLAIN and nbytes <= _ATOM_BYTES:
            self._at_risk = 0.0
            self.budget.spent_on_atom()
            return atom(value)
        begun = time.perf_counter()
        try:
            return self.must_keep(value)
        except StoreError as error:
            self.complaint = f"nbflow: a result was not kept: {error}\n"
            return None
        finally:
            self._at_risk = 0.0
            self.budget.spent(time.perf_counter() - begun, nbytes)

    def must_keep(self, value: Any) -> Kept:
        """Keep a result.

        Raises
        ------
        StoreError
            If it cannot be kept.
        """
        if type(value) in PLAIN and size_of(value) <= _ATOM_BYTES:
            return atom(value)
        return self._written(encoded(value, limit=self.store.limit))

    def keep_elements(self, start: int, values: list[Any], wanted: list[bool]) -> list[KeptSpan]:
        """Keep neighbouring elements of a map: together, if they are small and plain.

        Parameters
        ----------
        start
            The number of the first.
        values
            One for each, None for those that have none.
        wanted
            Which of them are to be kept.
        """
        if len(values) > 1:
            begun = time.perf_counter()
            payload = _together(values, self.store.limit)
            if payload is not None:
                try:
                    return [KeptSpan(start, start + len(values), self._written(payload), start)]
                except StoreError as error:
                    self.complaint = f"nbflow: results were not kept: {error}\n"
                    return []
                finally:
                    self._at_risk = 0.0
                    self.budget.spent(time.perf_counter() - begun, payload.nbytes)
        found = []
        for number, (value, wants) in enumerate(zip(values, wanted, strict=True), start):
            kept = self.keep(value, size_of(value)) if wants else None
            if kept is not None:
                found.append(KeptSpan(number, number + 1, kept, None))
        return found

    def _written(self, payload: Payload) -> Kept:
        # A pickle is only ever read from a file that nobody else can have written.
        if payload.nbytes <= INLINE and payload.codec != "pickle":
            return Kept("", payload.codec, payload.nbytes, b"".join(payload.chunks))
        return self.store.write(payload)


def _together(values: list[Any], limit: int | None) -> Payload | None:
    """Write values as one list; None if that would take a pickle."""
    if limit is not None and size_of(values) > limit:
        return None
    payload = encoded(values)
    return None if payload.codec == "pickle" else payload


_budgets: OrderedDict[str, Budget] = OrderedDict()


def budget_of(run: str) -> Budget:
    """Give what a run may spend in this process."""
    budget = _budgets.setdefault(run, Budget())
    while len(_budgets) > _BUDGETS_KEPT:
        _budgets.popitem(last=False)
    return budget
