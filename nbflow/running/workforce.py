"""Who works for a run: how many workers there are, and the memory that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


def workforce(client: Client | None) -> tuple[int, int] | None:
    """Count the workers of a cluster, and add up the bytes of memory that they use.

    Parameters
    ----------
    client
        Connected to the cluster; None where there is none.

    Returns
    -------
    tuple or None
        None where the cluster does not answer.
    """
    if client is None or client.status != "running":
        return None
    try:
        workers = client.scheduler_info()["workers"].values()
        return len(workers), sum(int(each["metrics"]["memory"]) for each in workers)
    except Exception:  # noqa: BLE001 - it is only told of, and others say what is wrong
        return None
