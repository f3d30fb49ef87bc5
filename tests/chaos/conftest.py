"""One cluster for all tests that do not break it, kernels that are warm, and a stage for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chaos.invariants import check
from chaos.kernel import PRELOAD, Kernel
from chaos.stage import Stage
from distributed import Client

import nbflow
from chaos import faults


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Client]:
    faults.arm()
    client = nbflow.connect(n_workers=2, threads_per_worker=1, preload=PRELOAD)
    yield client
    nbflow.cluster.close_own()


@pytest.fixture
def cluster(shared_cluster: Client) -> Client:
    """Give the shared cluster, with both of its workers."""
    client = nbflow.connect(n_workers=2, threads_per_worker=1, preload=PRELOAD)
    client.wait_for_workers(2, timeout=30)
    return client


@pytest.fixture(scope="session")
def _spare_kernels() -> Iterator[list[Kernel]]:
    spares: list[Kernel] = []
    yield spares
    for each in spares:
        each.kill()


@pytest.fixture
def new_kernel(_spare_kernels: list[Kernel]) -> Iterator[Callable[[], Kernel]]:
    """Give kernels; the next one is started while this one is at work."""
    with ExitStack() as stack:

        def new() -> Kernel:
            kernel = _spare_kernels.pop() if _spare_kernels else Kernel()
            stack.enter_context(kernel)
            _spare_kernels.append(Kernel())
            return kernel

        yield new


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a place to play; in the end, all invariants hold of what was written down."""
    fresh = Stage(tmp_path)
    yield fresh
    faults.let_go(fresh.folder)
    fresh.open()
    if fresh.whole:
        check(fresh.store)


