"""The row of a run in the journal, and who may drive it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nbflow.errors import RunError, quoted
from nbflow.store.owner import Owner


class Fenced(RunError):  # noqa: N818 - the word for it
    """A run was taken over by another, so that nothing more is written for its old owner."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run in short, for lists of runs, and who drives it.

    Times are in seconds since the epoch.

    Attributes
    ----------
    id, flow, status
        The run, the name of its flow, and how it stands.
    started, ended
        When it began, and when it was over; None until then.
    steps
        How many steps it has.
    key
        What names it once and for all; no two runs of a journal have the same.
    identity
        The fingerprint of flow and inputs, by which a key is compared.
    store
        Where its results are.
    due
        Not before this time; None once it has started.
    parent
        The run that it goes on from.
    epoch
        How often it was taken; what is written under an older one is refused.
    owner, expires
        Who drives it, and until when that holds if it is not renewed.
    pruned
        When its results were given up.
    checkpoint
        Whether results are kept of which their steps say nothing, as for ``submit``.

    Examples
    --------
    >>> Entry("run-1", "etl", "running", started=0.0).owner is None
    True
    """

    id: str
    flow: str
    status: str
    started: float
    ended: float | None = None
    steps: int = 0
    key: str | None = None
    identity: str = ""
    store: str | None = None
    due: float | None = None
    parent: str | None = None
    epoch: int = 0
    owner: Owner | None = None
    expires: float | None = None
    pruned: float | None = None
    checkpoint: bool | str = "auto"


def is_driven(entry: Entry, now: float, alive: bool | None) -> bool:
    """Tell whether somebody drives a run, so that nobody else may.

    Parameters
    ----------
    now
        In seconds since the epoch.
    alive
        Whether its owner lives; None if that cannot be seen.
    """
    return entry.owner is not None and alive is not False and (entry.expires or 0.0) > now


def is_live(entry: Entry, now: float, alive: bool | None) -> bool:
    """Tell whether a run may still go on, so that nothing of it may be removed.

    Parameters
    ----------
    now
        In seconds since the epoch.
    alive
        Whether its owner lives; None if that cannot be seen.
    """
    return is_driven(entry, now, alive) or (entry.owner is not None and alive is True)


def driver(entry: Entry, now: float) -> str:
    """Say who drives a run, and for how long that holds.

    Examples
    --------
    >>> owner = Owner("lab", "boot", 7, 0.0, "nonce")
    >>> driver(Entry("run-1", "etl", "running", 0.0, owner=owner, expires=30.0), now=10.0)
    'process 7 on lab, whose lease is good for another 20 seconds'
    """
    left = (entry.expires or 0.0) - now
    if left <= 0:
        return f"{entry.owner}, whose lease ran out {-left:.0f} seconds ago"
    return f"{entry.owner}, whose lease is good for another {left:.0f} seconds"


def fenced(entry: Entry, epoch: int) -> Fenced:
    """Word that a run was taken over, to one who has driven it under an older epoch."""
    by = f" by {entry.owner}" if entry.owner else ", and is driven by nobody now"
    since = "" if entry.expires is None else f" ({driver(entry, time.time())})"
    return Fenced(
        f"the run {quoted(entry.id)} was taken over{by}{since}: its epoch is {entry.epoch}, and"
        f" was {epoch} here. Nothing more is written for it from here. Look at it with"
        f" nbflow.load({quoted(entry.id)}), or take it back with resume(force=True)."
    )
