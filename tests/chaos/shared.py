"""The cluster that tests share, of which nothing may be left broken."""

from __future__ import annotations

from typing import Any

from chaos.kernel import PRELOAD
from distributed import Client

import nbflow
from nbflow.running import cluster as clusters

_OPTIONS: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "preload": PRELOAD}


def shared() -> Client:
    """Give the cluster with both of its workers, as the current one."""
    client = nbflow.connect(**_OPTIONS)
    try:
        client.wait_for_workers(2, timeout=5)
    except TimeoutError:
        # Now and then a nanny of Dask starts no new worker.
        clusters.close_own()
        client = nbflow.connect(**_OPTIONS)
    return client
