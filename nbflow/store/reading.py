"""Gives values that were kept, wherever they are; and writes those that are hardly anything."""

from __future__ import annotations

import json
from typing import Any, Final

from nbflow.errors import StoreError
from nbflow.store.kept import Kept
from nbflow.store.store import Store
from nbflow.values.payload import decoded

_ATOM: Final = "atom"


def atom(value: Any) -> Kept:
    """Write a number or a short text as JSON, and nothing around it."""
    data = json.dumps(value).encode()
    return Kept("", _ATOM, len(data), data)


def value_kept(store: Store | None, kept: Kept) -> Any:
    """Give a value that was kept.

    Raises
    ------
    StoreError
        If it is missing or damaged.
    """
    if kept.data is not None:
        return json.loads(kept.data) if kept.codec == _ATOM else decoded(kept.data)
    if store is None:
        raise StoreError("a result is in a file, but the run has no store; give the store it had")
    return store.load(kept.hash)
