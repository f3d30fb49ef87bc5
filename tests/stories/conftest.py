"""One cluster for all stories that do not ask for their own, and a nursery of processes on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from distributed import Client
from stories.nursery import Nursery

import nbflow
from nbflow.running import cluster as clusters


@pytest.fixture(scope="session")
def cluster() -> Iterator[Client]:
    yield nbflow.connect(n_workers=2, threads_per_worker=1)
    clusters.close_own()


@pytest.fixture
def client(cluster: Client) -> Client:
    """Make the shared cluster the current one, with both of its workers."""
    cluster.wait_for_workers(2, timeout=60)
    return nbflow.connect(cluster)


@pytest.fixture(scope="session")
def nursery(cluster: Client) -> Iterator[Nursery]:
    """Give what forks processes; of themselves they use the shared cluster."""
    nursery = Nursery({**os.environ, "DASK_SCHEDULER_ADDRESS": cluster.scheduler.address})
    yield nursery
    nursery.close()
