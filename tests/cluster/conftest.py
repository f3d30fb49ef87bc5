"""One cluster of two worker processes for the whole session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import Client

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


class Tally:
    """Counts calls across processes: each leaves a line in a file of its name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = str(folder)

    def add(self, name: str) -> None:
        import os

        file = os.open(f"{self.folder}/{name}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(file, b"x")
        os.close(file)

    def counts(self) -> dict[str, int]:
        return {each.name: each.stat().st_size for each in sorted(Path(self.folder).iterdir())}

    def counting(self, name: str, fn: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object) -> object:
            self.add(name)
            return fn(*args)

        counted.__name__ = name
        return counted
