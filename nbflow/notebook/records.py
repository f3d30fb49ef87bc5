"""The runs that are written down, as a person looks at them: listed, and found by their ids."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nbflow.algebra.moment import begins
from nbflow.deterministic import is_deterministic
from nbflow.errors import NbflowError
from nbflow.record.archive import Archive
from nbflow.record.events import Status
from nbflow.running.drive import Drive
from nbflow.running.history import runs, status_of
from nbflow.running.run import is_run_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

_MOST_OFFERED = 100


def table(store: Any = None) -> pd.DataFrame:
    """Make the table of all runs, the newest first, for people to read.

    Parameters
    ----------
    store
        As for ``flow.submit()``.

    Raises
    ------
    StoreError
        If the journal cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> list(table(tempfile.mkdtemp()).columns)
    ['flow', 'status', 'started', 'seconds', 'steps', 'key']
    """
    found = runs(store).set_index("id")
    if is_deterministic():
        return found.reset_index(drop=True)[["flow", "status", "steps", "key"]].fillna({"key": ""})
    waits = found["status"] == Status.PENDING
    table = found.assign(
        # What waits for its time has only been accepted.
        started=on_the_wall(found["started"]).mask(waits),
        seconds=found["seconds"].round(3),
        key=found["key"].fillna(""),
    )
    if waits.any():
        table.insert(2, "begins", _begins(store, table))
    # There it takes no line of its own.
    return table.rename_axis(index=None, columns="id")


def on_the_wall(times: pd.Series[Any]) -> pd.Series[Any]:
    """Give moments as the clock on the wall has them, which is what ids of runs begin with too."""
    import pandas as pd

    local = [
        each if pd.isna(each) else datetime.fromtimestamp(int(each.timestamp()))  # noqa: DTZ006
        for each in times
    ]
    return pd.Series(local, index=times.index, dtype="datetime64[s]")


def _begins(store: Any, table: pd.DataFrame) -> list[str]:
    """Say of each run that waits when it begins; nothing of the others."""
    now = time.time()
    said = {
        each.id: begins(each.due, now).removeprefix("begins ")
        for each in Archive.of(store).journal.entries()
        if each.due is not None and each.status == Status.PENDING
    }
    return [said.get(str(each), "") for each in table.index]


def is_id(text: str) -> bool:
    """Tell whether a text is the id of a run, and no expression.

    Examples
    --------
    >>> is_id("20261121-203007-1a2b3c4d"), is_id("20261121-3")
    (True, False)
    """
    return is_run_id(text) or text in Drive.living


def ids(store: Any = None, statuses: Collection[str] = ()) -> Sequence[str]:
    """List the ids of runs, those of this process first, and then the newest.

    Parameters
    ----------
    store
        As for ``flow.submit()``.
    statuses
        Which runs are wanted, by status; all if left out.
    """
    living = {name: str(drive.record.status) for name, drive in Drive.living.items()}
    written = {entry: status for entry, status in _written(store) if entry not in living}
    every = {**dict(sorted(living.items(), reverse=True)), **written}
    return [each for each, status in every.items() if not statuses or status in statuses][
        :_MOST_OFFERED
    ]


def _written(store: Any) -> Sequence[tuple[str, str]]:
    try:
        entries = Archive.of(store).journal.entries()
    except (NbflowError, OSError):
        return []
    return [(each.id, str(status_of(each, time.time()))) for each in entries]
