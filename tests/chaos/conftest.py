"""One cluster for all tests that do not break it, kernels that are warm, and a stage for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from chaos.invariants import check
from chaos.kernel import PRELOAD, Kernel
from chaos.stage import Stage
from distributed import Client

import nbflow
from chaos import faults

CLUSTER: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "preload": PRELOAD}


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Client]:
    faults.arm()
    yield nbflow.connect(**CLUSTER)
    nbflow.cluster.close_own()


@pytest.fixture
def cluster(shared_cluster: Client, stage: Stage) -> Iterator[Client]:
    """Give the shared cluster, with both of its workers; nothing may be left on it."""
    client = nbflow.connect(**CLUSTER)
    try:
        client.wait_for_workers(2, timeout=8)
    except TimeoutError:
        # Now and then a nanny of Dask starts no new worker.
        nbflow.cluster.close_own()
        client = nbflow.connect(**CLUSTER)
    yield client
    faults.let_go(stage.folder)
    stage.open()
    try:
        stage.until_idle(client)
    except AssertionError:
        # The next test shall not suffer for it.
        nbflow.cluster.close_own()
        raise


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




@pytest.fixture(params=["own", "foreign"])
def kernel(
    request: pytest.FixtureRequest, cluster: Client, new_kernel: Callable[[], Kernel], stage: Stage
) -> Kernel:
    """Give a kernel on a cluster of its own, and one on a cluster that outlives it."""
    address = cluster.scheduler.address if request.param == "foreign" else None
    return new_kernel().connected(stage, address)


@pytest.fixture
def kernel_of_its_own(new_kernel: Callable[[], Kernel], stage: Stage) -> Kernel:
    """Give a kernel whose cluster dies with it."""
    return new_kernel().connected(stage)


@pytest.fixture
def foreign_kernel(cluster: Client, new_kernel: Callable[[], Kernel], stage: Stage) -> Kernel:
    """Give a kernel on the cluster that all tests share."""
    return new_kernel().connected(stage, cluster.scheduler.address)


@pytest.fixture
def elsewhere() -> Iterator[Client]:
    """Give another cluster, of one worker, while the current one stays what it is."""
    with _another(1) as client:
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
        nbflow.cluster.LocalCluster(
            host="127.0.0.1", dashboard_address="127.0.0.1:0", preload=PRELOAD, **options
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def row(request: pytest.FixtureRequest) -> str:
    """Tell which row of the fault matrix a test is about."""
    return str(getattr(request, "param", ""))
