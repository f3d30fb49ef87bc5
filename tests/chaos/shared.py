"""The cluster that tests share, of which nothing may be left broken."""

from __future__ import annotations

import time
from typing import Any

from chaos.kernel import PRELOAD
from distributed import Client
from distributed.core import Status

import nbflow
from nbflow.running import cluster as clusters

_OPTIONS: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "preload": PRELOAD}
_PATIENCE = 30.0
_AT_WORK = (Status.init, Status.starting, Status.running)


def shared() -> Client:
    """Give the cluster with both of its workers, as the current one."""
    client = nbflow.connect(**_OPTIONS)
    if not _has_both(client):
        # Dask gives up a worker that dies in the moment in which it is started.
        clusters.close_own()
        client = nbflow.connect(**_OPTIONS)
        assert _has_both(client)
    return client


def addresses(client: Client) -> set[str]:
    """Name the workers that a scheduler knows."""
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _has_both(client: Client) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while len(addresses(client)) < 2:
        at_work = [each.status in _AT_WORK for each in client.cluster.workers.values()]
        if time.monotonic() > deadline or sum(at_work) < 2:
            return False
        time.sleep(0.01)
    return True
