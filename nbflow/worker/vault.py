"""What one task keeps in the store, and what it finds there of those that began it before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

from distributed import get_worker

from nbflow.errors import StoreError, quoted
from nbflow.planning.order import Keeping, Order
from nbflow.record.events import Event
from nbflow.record.minutes import opened
from nbflow.record.recollection import Recollection, Shelf, recollected
from nbflow.record.stepstate import StepState
from nbflow.store.kept import Kept
from nbflow.store.reading import value_kept
from nbflow.store.store import Store
from nbflow.worker.effect import Effects
from nbflow.worker.keeper import Keeper, budget_of

# The stores that this process has seen to be the ones that were meant.
_seen: set[tuple[str, str]] = set()


class Vault:
    """The store as one start of a task sees it.

    Attributes
    ----------
    order
        What the task is to do, with all that is known from before.
    left
        What has happened in those that began the task before.
    keeper
        Keeps results; None if nothing is kept.
    shelf
        Gives values that are held.
    flush
        Tells of all that has happened so far.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.left: list[Event] = []
        self.keeper: Keeper | None = None
        self.flush: Callable[[], None] = _nothing
        self._stack = ExitStack()
        self._effects: Effects | None = None
        self._number = 0
        self._store: Store | None = None
        self._refusal = ""
        self.shelf = Shelf(self._value)
        if order.keeping is not None:
            self._open(order.keeping)

    def _open(self, keeping: Keeping) -> None:
        store = keeping.evidence.store
        self._store = store
        # Here, for other threads of the worker do not know which one it is.
        fresh = Effects(keeping.evidence, keeping.epoch, get_worker().address)
        self._effects = self._stack.enter_context(fresh)
        try:
            _check(store, keeping.store_id)
            self.left = self._found(keeping)
        except StoreError as error:
            self._refusal = str(error)
            return
        self.keeper = Keeper(store, budget_of(self.order.run), keeping.checkpoint)
        if self.left:
            self.order = replace(self.order, memory=self._with(self.left))

    def _found(self, keeping: Keeping) -> list[Event]:
        if self.order.number is None:
            return []
        left = keeping.evidence.left(keeping.epoch, self.order.number)
        return [event for each in left for event in opened(each)]

    def _with(self, left: list[Event]) -> Mapping[int, Recollection]:
        """Give the memory of the order, and what those before have left."""
        mapped = set() if self.order.loop is None else {w.name for w in self.order.loop.works}
        memory = dict(self.order.memory)
        for work in self.order.works:
            mine = [event for event in left if event.step == work.name]
            is_mapped = work.name in mapped or any(each.elements is not None for each in mine)
            state = StepState.fresh(work.name, mapped=is_mapped, planned=None)
            for event in mine:
                state = state.apply(event)
            found = recollected(state, gone=False)
            if found is not None:
                known = memory.get(work.position)
                memory[work.position] = found if known is None else known.with_more(found)
        return memory

    def __enter__(self) -> Vault:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self._stack.close()

    def effects(self, name: str) -> Effects:
        """Give what sees to it that effects are not repeated.

        Parameters
        ----------
        name
            The step that has one.

        Raises
        ------
        StoreError
            If the store cannot be reached from here.
        """
        if self.keeper is None or self._effects is None:
            why = self._refusal or "the run has no store"
            raise StoreError(
                f"step {quoted(name)} has an effect, and is not begun where nothing can be written "
                f"down of it: {why}"
            )
        return self._effects

    def leave(self, packed: bytes) -> None:
        """Leave events where the next one to begin this task finds them."""
        keeping = self.order.keeping
        number = self.order.number
        if keeping is None or self._effects is None or self.keeper is None or number is None:
            return
        self._number += 1
        token = self._effects.token
        # What is not left is computed once more, if it comes to that.
        with suppress(StoreError):
            keeping.evidence.leave(keeping.epoch, number, token, self._number, packed)

    def _value(self, kept: Kept) -> Any:
        return value_kept(self._store, kept)


def _nothing() -> None:
    pass


def _check(store: Store, store_id: str) -> None:
    """See to it that the store is the one that the notebook means.

    Raises
    ------
    StoreError
        If it is another one, or cannot be read.
    """
    place = store.url, store_id
    if place in _seen:
        return
    if not store.has_id(store_id):
        raise StoreError(
            f"the worker does not see the store {quoted(store.url)} of the notebook: what is there "
            f"on this machine is another one; give one that all see, by store= or NBFLOW_STORE"
        )
    _seen.add(place)
