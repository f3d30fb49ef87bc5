"""Giving up the results of old runs, and removing the files that no run needs.

The record of a run stays: its status, its steps, previews and pictures. What a run needs
is taken back in the journal first, and only then files go. So whatever is killed in
between leaves files that nobody needs, and the next call removes them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nbflow.algebra.retry import finite_number
from nbflow.errors import RunError, StoreError, quoted
from nbflow.journal.entry import Entry, is_live
from nbflow.journal.journal import Journal
from nbflow.record.archive import Archive, is_url
from nbflow.record.events import Event, Status
from nbflow.record.minutes import opened
from nbflow.record.tenancy import others
from nbflow.running.harvest import events_of
from nbflow.running.history import status_of
from nbflow.store.evidence import Evidence
from nbflow.store.owner import Owner

if TYPE_CHECKING:
    import pandas as pd

# A result is in the store before the journal knows that a run needs it. That takes less
# than a second, and longer only while a worker is cut off from its scheduler.
GRACE_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Family:
    """Runs that were redriven from one another: a later one needs the results of all before.

    Attributes
    ----------
    entries
        The runs, the first one first.
    needs
        For each run, what results it needs, and how many bytes each has.
    last
        When anything last happened in one of them, in seconds since the epoch.
    live, ended
        Whether one of them may still go on by itself, and whether all have ended, so
        that none waits for somebody to resume it.
    """

    entries: tuple[Entry, ...]
    needs: Mapping[str, Mapping[str, int]]
    last: float
    live: bool = False
    ended: bool = True

    @property
    def hashes(self) -> dict[str, int]:
        """All results that its runs need, and how many bytes each has."""
        return {hashed: n for needs in self.needs.values() for hashed, n in needs.items()}


def prune(
    keep_days: float | None = None, max_bytes: float | None = None, store: Any = None
) -> pd.DataFrame:
    """Give up the results of old runs, and remove the files that no run needs any more.

    The record stays, and with it small results that are part of it; a pruned run can be
    run again, or resumed, which computes again what is missing. Never given up are the
    results of a run that goes on, or waits for its time; those of one that was
    interrupted only by `keep_days`. A file is removed when it was unused for an hour, as
    a run may be about to need it.

    Columns are ``run``, ``flow``, ``ended`` (a UTC time) and ``bytes``: what was given
    up with the run, and no other run needs.

    Parameters
    ----------
    keep_days
        Give up the results of runs in which nothing has happened for so many days.
    max_bytes
        Give up those of the oldest runs that have ended, until the others take at most
        so many bytes together.
    store
        As for ``flow.submit()``. Behind a URL, results of the journal of this place only.

    Raises
    ------
    StoreError
        If a number is none, something cannot be read or written, or other journals have
        results behind the URL, too.

    Examples
    --------
    >>> import tempfile
    >>> prune(keep_days=30, store=tempfile.mkdtemp()).empty
    True
    """
    days = _checked("keep_days", keep_days, "days")
    most = _checked("max_bytes", max_bytes, "bytes")
    archive = Archive.of(store)
    if not archive.journal.entries():
        return _table([])
    _check_alone(archive)
    gone = _give_up(archive, days, most)
    _remove_evidence(archive)
    _remove_files(archive)
    return _table(gone)


def given_up(
    families: Iterable[Family], now: float, keep_days: float | None, max_bytes: float | None
) -> list[Family]:
    """Choose the runs whose results are given up, the oldest first.

    Parameters
    ----------
    families
        All runs.
    now
        In seconds since the epoch.
    keep_days, max_bytes
        As for `prune`.
    """
    kept = sorted(families, key=lambda family: family.last)
    gone = []
    if keep_days is not None:
        limit = now - keep_days * _DAY_SECONDS
        gone = [family for family in kept if not family.live and family.last < limit]
        kept = [family for family in kept if family.live or family.last >= limit]
    if max_bytes is not None:
        users: dict[str, int] = {}
        for family in kept:
            for hashed in family.hashes:
                users[hashed] = users.get(hashed, 0) + 1
        total = sum({h: n for family in kept for h, n in family.hashes.items()}.values())
        for family in kept:
            if total <= max_bytes:
                break
            if family.live or not family.ended:
                continue
            gone.append(family)
            for hashed, nbytes in family.hashes.items():
                users[hashed] -= 1
                total -= nbytes if not users[hashed] else 0
    return [family for family in gone if family.hashes]


def freed(gone: Sequence[Family], families: Iterable[Family]) -> list[tuple[Entry, int]]:
    """Say for each run whose results are given up how many bytes no run needs any more.

    What several of them needed counts for the last one.

    Parameters
    ----------
    gone
        The runs that are given up.
    families
        All runs.
    """
    known = {id(family) for family in gone}
    needed = {h for family in families if id(family) not in known for h in family.hashes}
    found = []
    for family in reversed(gone):
        for entry in reversed(family.entries):
            mine = {h: n for h, n in family.needs[entry.id].items() if h not in needed}
            needed |= mine.keys()
            if family.needs[entry.id]:
                found.append((entry, sum(mine.values())))
    return found[::-1]


# What is given up


def _give_up(
    archive: Archive, days: float | None, most: float | None
) -> list[tuple[Entry, int, float]]:
    while True:
        now = time.time()
        families = _families(archive, now)
        gone = given_up(families, now, days, most)
        ids = [entry.id for family in gone for entry in family.entries]
        try:
            archive.journal.prune(ids, now)
        except RunError:
            # Somebody has just begun to go on with one of them.
            continue
        last = {entry.id: _last(entry) for family in gone for entry in family.entries}
        return [(entry, nbytes, last[entry.id]) for entry, nbytes in freed(gone, families)]


def _families(archive: Archive, now: float) -> list[Family]:
    """Read what there is in a journal of the results in one store."""
    entries = archive.journal.entries()
    by_id = {entry.id: entry for entry in entries}
    members: dict[str, list[Entry]] = {}
    for entry in reversed(entries):
        first = entry
        while first.parent in by_id:
            first = by_id[first.parent]
        members.setdefault(first.id, []).append(entry)
    return [
        _family(archive.journal, each, now) for each in members.values() if _is_in(each[0], archive)
    ]


def _family(journal: Journal, entries: Sequence[Entry], now: float) -> Family:
    statuses = [status_of(entry, now) for entry in entries]
    return Family(
        tuple(entries),
        {entry.id: _needs(journal, entry) for entry in entries},
        max(_last(entry) for entry in entries),
        any(_goes_on(entry, now) for entry in entries),
        all(status.final and status is not Status.INTERRUPTED for status in statuses),
    )


def _goes_on(entry: Entry, now: float) -> bool:
    alive = None if entry.owner is None else entry.owner.is_alive()
    return entry.status == Status.PENDING or is_live(entry, now, alive)


def _last(entry: Entry) -> float:
    """Say when anything last happened in a run, as far as its row tells."""
    return entry.ended if entry.ended is not None else max(entry.started, entry.expires or 0.0)


def _is_in(entry: Entry, archive: Archive) -> bool:
    """Tell whether the results of a run are in a store."""
    if archive.store.is_local:
        # That of the journal's own folder, however it was written.
        return entry.store is None or not is_url(entry.store)
    return entry.store is not None and entry.store.rstrip("/") == archive.store.url.rstrip("/")


def _needs(journal: Journal, entry: Entry) -> dict[str, int]:
    """Say what results a run needs, and how many bytes each has."""
    found = journal.hashes_of(entry.id)
    if entry.pruned is not None and (entry.ended is None or entry.ended > entry.pruned):
        # It went on since, and may have found results that had not been removed yet.
        for _, _, batch in journal.batches(entry.id):
            found |= _kept(opened(batch))
    return found


def _kept(events: Iterable[Event]) -> dict[str, int]:
    return {kept.hash: kept.nbytes for event in events for kept in event.files}


# What is removed


def _remove_evidence(archive: Archive) -> None:
    """Remove what workers have left of runs that have ended, and that was not removed then."""
    journal, now = archive.journal, time.time()
    entries = {entry.id: entry for entry in journal.entries()}
    for name in _with_evidence(archive):
        entry = entries.get(name)
        if entry is None or not _has_ended(entry, now):
            continue
        try:
            # By a name of its own: nobody can go on with the run meanwhile, not even here.
            taken = journal.take(name, Owner.for_now())
        except RunError:
            continue
        try:
            if _has_ended(taken, now):
                Evidence(archive.store, name).remove()
        finally:
            journal.release(name, taken.epoch)


def _has_ended(entry: Entry, now: float) -> bool:
    status = status_of(entry, now)
    return status.final and status is not Status.INTERRUPTED


def _with_evidence(archive: Archive) -> list[str]:
    with archive.store._telling("list what runs have left"):
        return sorted(archive.store.files.names("runs"))


def _remove_files(archive: Archive) -> None:
    """Remove results that no run needs, and what is left of those that were never finished."""
    store = archive.store
    needed = _needed(archive)
    for hashed in sorted(set(store.hashes()) - needed):
        # There, nobody can note that a file was wanted again. A run would.
        if not store.is_local and _any_goes_on(archive):
            return
        store.delete(hashed, unused_for=GRACE_SECONDS)
    store.collect()


def _needed(archive: Archive) -> set[str]:
    """List the results that runs need, or that may turn out to be theirs."""
    journal = archive.journal
    # Of all stores: to know a result by its hash is enough to leave it.
    needed = set(journal.hashes())
    entries = {entry.id: entry for entry in journal.entries()}
    for each in entries.values():
        if each.pruned is not None:
            needed |= _needs(journal, each).keys()
    for name in _with_evidence(archive):
        entry = entries.get(name)
        if entry is not None and (entry.pruned is None or _needs(journal, entry)):
            for receipt in Evidence(archive.store, name).receipts():
                needed |= _kept(events_of(receipt)).keys()
    return needed


def _any_goes_on(archive: Archive) -> bool:
    now = time.time()
    return any(
        entry.status != Status.PENDING and _goes_on(entry, now)
        for entry in archive.journal.entries()
    )


# In words


def _check_alone(archive: Archive) -> None:
    found = others(archive)
    if not found:
        return
    path, place = next(iter(found.items()))
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise StoreError(
        f"nothing is removed from the store {quoted(archive.store.url)}, as other journals have "
        f"results in it, too: {place}{more}. Expected is a store for each journal. Take one of its "
        f"own; or, if that journal is gone, delete the file {quoted(path, 100)} in the store"
    )


def _checked(name: str, value: Any, unit: str) -> float | None:
    if value is None:
        return None
    number = value if value is math.inf else finite_number(value)
    if number is None or number < 0:
        raise StoreError(f"{name} is {value!r}; expected is a number of {unit}, 0 or more, or None")
    return float(number)


def _table(gone: Sequence[tuple[Entry, int, float]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "run": pd.array([entry.id for entry, _, _ in gone], dtype="str"),
            "flow": pd.array([entry.flow for entry, _, _ in gone], dtype="str"),
            "ended": pd.to_datetime([last for _, _, last in gone], unit="s", utc=True),
            "bytes": pd.array([nbytes for _, nbytes, _ in gone], dtype="Int64"),
        }
    )
