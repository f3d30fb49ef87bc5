"""One cluster of two worker processes for the whole session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from tally import Tally

import nbflow


@pytest.fixture(scope="session")
def cluster_client() -> Iterator[Client]:
    client = nbflow.connect(n_workers=2, threads_per_worker=1)
    yield client
    client.close()
    if client.cluster is not None:
        client.cluster.close()


@pytest.fixture
def client(cluster_client: Client) -> Client:
    """Make the shared cluster the current one, whatever the test before has connected to."""
    return nbflow.connect(cluster_client)


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    return Tally(tmp_path / "tally")
