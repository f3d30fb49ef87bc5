"""One cluster for all tests that do not break it, kernels that are warm, and a stage for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos import faults
from chaos.invariants import check
from chaos.kernel import PRELOAD, Kernel, NewKernel
from chaos.nursery import Nursery, forked_workers
from chaos.shared import shared
from chaos.stage import Stage
from distributed import Client

import nbflow
from nbflow.running import cluster as clusters


@pytest.fixture(scope="session", autouse=True)
def _armed() -> Iterator[None]:
    """Let this process look for faults, and close the shared cluster in the end."""
    faults.arm()
    yield
    clusters.close_own()


@pytest.fixture(autouse=True)
def _workers_are_forked() -> Iterator[None]:
    with forked_workers():
        yield


@pytest.fixture
def cluster(stage: Stage) -> Iterator[Client]:
    """Give the shared cluster, with both of its workers; nothing may be left on it."""
    client = shared()
    yield client
    faults.let_go(stage.folder)
    stage.open()
    try:
        stage.until_idle(client)
    except AssertionError:
        # The next test shall not suffer for it.
        clusters.close_own()
        raise


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def new_kernel(nursery: Nursery) -> Iterator[NewKernel]:
    """Give kernels."""
    with ExitStack() as stack:

        def new(*, own_cluster: bool) -> Kernel:
            return stack.enter_context(Kernel(nursery, own_cluster))

        yield new


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Give a place to play; in the end, all invariants hold of what was written down."""
    fresh = Stage(tmp_path)
    yield fresh
    faults.let_go(fresh.folder)
    fresh.open()
    if fresh.whole:
        check(fresh)


@pytest.fixture
def kernel_of_its_own(new_kernel: NewKernel, cluster: Client, stage: Stage) -> Kernel:
    """Give a kernel whose cluster dies with it."""
    return new_kernel(own_cluster=True).on(stage)


@pytest.fixture
def foreign_kernel(new_kernel: NewKernel, cluster: Client, stage: Stage) -> Kernel:
    """Give a kernel on the cluster that all tests share, which outlives it."""
    return new_kernel(own_cluster=False).on(stage, cluster.scheduler.address)


@pytest.fixture(params=["own", "foreign"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Give a kernel of each of these kinds."""
    own = request.param == "own"
    found: Kernel = request.getfixturevalue("kernel_of_its_own" if own else "foreign_kernel")
    return found


@pytest.fixture
def elsewhere() -> Iterator[Client]:
    """Give another cluster, while the current one stays what it is."""
    with _another(2) as client:
        yield client


@pytest.fixture
def fragile() -> Iterator[Client]:
    """Give a cluster to those that break it, as the current one."""
    with _another(2) as client:
        nbflow.connect(client)
        yield client


@contextmanager
def _another(n_workers: int) -> Iterator[Client]:
    options: dict[str, Any] = {"n_workers": n_workers, "threads_per_worker": 1}
    with (
        clusters.LocalCluster(
            host="127.0.0.1", dashboard_address="127.0.0.1:0", preload=PRELOAD, **options
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def row(request: pytest.FixtureRequest) -> str:
    """Tell which row of the fault matrix a test is about."""
    return str(getattr(request, "param", ""))
