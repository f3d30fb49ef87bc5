"""Where flows run: the cluster that the user chose, or one of our own on loopback.

A plain `LocalCluster` dies of the notebook's stop button, because the signal goes to
the whole process group, and its dashboard listens on every interface. Ours does
neither.
"""

from __future__ import annotations

import atexit
import contextlib
import socket
import threading
import time
import warnings
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, default_client
from distributed.client import _set_global_client
from distributed.comm.addressing import get_address_host_port, parse_address
from distributed.comm.registry import get_backend
from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.deploy.utils import nprocesses_nthreads
from tornado.ioloop import IOLoop

from nbflow.errors import ClusterError, quoted

CONNECT_SECONDS = 5.0
_MOST_PROCESSES = 8

# Runs at the start of each worker process: out of the notebook's process group, and
# pandas imported while the worker has nothing better to do.
_PRELOAD = "from nbflow.worker.preload import prepare; prepare()"

_LOST = "the client is {}: its cluster was lost or closed; call nbflow.connect() for a new one"

_GUARD = (
    "worker processes read the script that starts them, so in a script, run flows under "
    "if __name__ == '__main__':"
)

_own: Client | None = None
_own_options: dict[str, Any] = {}
# The clients of clusters that runs were given by name.
_named: dict[str, Client] = {}
_starting = threading.Lock()


def connect(
    address: str | Client | Cluster | None = None,
    *,
    timeout: float = CONNECT_SECONDS,
    **local_cluster_options: Any,
) -> Client:
    """Choose the cluster that flows run on, and make it Dask's current client.

    Calling it again in the same way changes nothing, so that a cell may be run again.

    Parameters
    ----------
    address
        A scheduler's address, a `Client`, or a Dask cluster object. None is what Dask's
        configuration names, as by ``DASK_SCHEDULER_ADDRESS``; else it starts a local
        cluster of worker processes, on loopback only, unless one with the same options is
        there already.
    timeout
        How many seconds to wait for a scheduler to answer.
    local_cluster_options
        Options of `distributed.LocalCluster`, such as ``n_workers=4``.

    Raises
    ------
    ClusterError
        If nothing answers at the address.

    Examples
    --------
    >>> from nbflow import connect
    >>> client = connect(n_workers=1)  # doctest: +SKIP
    """
    if address is not None and local_cluster_options:
        raise ClusterError(
            f"{quoted(address)} is a cluster already; the options "
            f"{', '.join(local_cluster_options)} are for one that nbflow starts"
        )
    if address is None and not local_cluster_options:
        address = dask.config.get("scheduler-address", None)
    client: Client
    if address is None:
        client = _own_client(local_cluster_options)
    else:
        client = _named_client(address, timeout)
    _set_global_client(client)
    dask.config.set(scheduler="dask.distributed")
    return client


def current_client(cluster: str | Client | Cluster | None = None) -> Client:
    """Give the client to run on: the one named, Dask's current one, or our own.

    Raises
    ------
    ClusterError
        If nothing answers at the address named.
    """
    if cluster is not None:
        return _named_client(cluster, CONNECT_SECONDS)
    try:
        client: Client = default_client()
    except ValueError:
        return connect()
    if _usable(client):
        return client
    if client is _own:
        return connect()
    raise ClusterError(_LOST.format(client.status))


def _named_client(cluster: str | Client | Cluster, timeout: float) -> Client:
    """Give a client of a cluster, and leave Dask's current one as it is."""
    if isinstance(cluster, Client):
        if not _usable(cluster):
            raise ClusterError(_LOST.format(cluster.status))
        if cluster.asynchronous:
            raise ClusterError(
                "the client is asynchronous; nbflow needs a plain one, and leaves the event loop "
                "free with 'await flow.arun()'"
            )
        return cluster
    address = str(getattr(cluster, "scheduler_address", cluster))
    with _starting:
        known = _named.get(address)
        if known is None or not _usable(known):
            known = _named[address] = _connected(cluster, timeout)
        return known


def _usable(client: Client) -> bool:
    return str(client.status) in ("running", "connecting", "newly-created")


def slots_of(client: Client) -> list[str]:
    """List where a cluster can run steps at once: for each thread, the address of its worker.

    Neighbours are on different workers, as far as there are any.

    Raises
    ------
    ClusterError
        If the scheduler does not answer.
    """
    try:
        threads = client.nthreads()
    except (OSError, TimeoutError, ValueError, AttributeError) as error:
        raise ClusterError(
            f"the cluster of the client does not answer: {error}; call nbflow.connect() for a new "
            f"one"
        ) from error
    slots = sorted((n, address) for address, count in threads.items() for n in range(count))
    if not slots:
        address = client.scheduler_info()["address"]
        advice = f"; start one with 'dask worker {address}'"
        if is_own(client):
            advice = ", which is being started"
        warnings.warn(
            f"the cluster has no workers, and the run waits for one{advice}", stacklevel=2
        )
    return [address for _, address in slots]


def is_own(client: Client) -> bool:
    """Tell whether a client is that of the local cluster that nbflow started, and still wants."""
    return client is _own


def own_again() -> Client:
    """Start the local cluster of nbflow anew, in the way in which it was started.

    Raises
    ------
    ClusterError
        If it does not start.
    """
    global _own  # noqa: PLW0603 - a kernel has one
    with _starting:
        lost, options = _own, _own_options
        if lost is not None and not _answers(lost):
            _own = None
    if lost is not None and _own is None:
        _put_away(lost)
    return connect(**options)


def _answers(client: Client) -> bool:
    """Tell whether the scheduler of a client answers within seconds, and has workers."""
    if not _usable(client):
        return False
    try:
        scheduler: Any = client.scheduler
        about = client.sync(scheduler.identity, callback_timeout=CONNECT_SECONDS)
    except Exception:  # noqa: BLE001 - what does not answer is of many kinds
        return False
    return bool(about["workers"])


def _put_away(client: Client) -> None:
    """Close what is left of a cluster, and do not wait for it for long."""
    for each in (client, client.cluster):
        with contextlib.suppress(Exception):
            if each is not None:
                each.close(timeout=2)


def _connected(address: str | Cluster, timeout: float) -> Client:
    try:
        if isinstance(address, str):
            # A client that fails to connect stays behind, and goes on trying.
            _knock(address, timeout)
        return Client(address, timeout=timeout, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {quoted(address)} within {timeout:g} s: {error}; start "
            f"one with 'dask scheduler', or call nbflow.connect() for a local cluster"
        ) from error


def _knock(address: str, timeout: float) -> None:
    """Wait until a scheduler listens at an address.

    Raises
    ------
    OSError
        If none does in time.
    ValueError
        If it is no address.
    """
    scheme, _ = parse_address(address)
    get_backend(scheme)
    if scheme not in ("tcp", "tls"):
        return
    host, port = get_address_host_port(address)
    deadline = time.monotonic() + timeout
    while True:
        try:
            left = max(0.1, deadline - time.monotonic())
            with socket.create_connection((host, port), timeout=left) as connection:
                # A scheduler speaks first; Dask would wait for ever for one that does not.
                if scheme == "tls" or connection.recv(1):
                    return
                raise ConnectionError("what listens there is no Dask scheduler")
        except OSError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _own_client(options: dict[str, Any]) -> Client:
    global _own, _own_options
    with _starting:
        if _own is None or not _usable(_own) or options != _own_options:
            # The new one first: with options that do not work, the old one stays.
            fresh = _started(options)
            close_own()
            _own, _own_options = fresh, options
        return _own


def _started(options: dict[str, Any]) -> Client:
    if options.get("n_workers") == 0:
        raise ClusterError(
            "a cluster with n_workers=0 runs nothing; leave it out, or give 1 or more"
        )
    chosen = {**_defaults(options), **options}
    try:
        with dask.config.set(_SETTINGS):
            cluster = LocalCluster(**chosen)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ClusterError(
            f"the local cluster did not start with {chosen}: {error}; see the options of "
            f"distributed.LocalCluster, such as n_workers and threads_per_worker; {_GUARD}"
        ) from error
    try:
        client = Client(cluster, timeout=30, set_as_default=True)
    except BaseException:
        cluster.close(timeout=5)
        raise
    loop: Any = client.loop
    loop.add_callback(_keep_up, cluster)
    return client


def _keep_up(cluster: LocalCluster) -> None:
    """Start the workers anew that a cluster has given up, now and later.

    Dask looks for a worker that has died 15 seconds later. If it happens to have died again
    just then, it is given up for ever, and with the last of them every run would wait.
    """
    if cluster.status in (Status.closing, Status.closed, Status.failed):
        return
    if len(cluster.workers) < len(cluster.worker_spec):
        cluster.scale(len(cluster.worker_spec))
    IOLoop.current().call_later(_LOOK_SECONDS, _keep_up, cluster)


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"dashboard_address": "127.0.0.1:0"}
    if options.get("processes", True):
        defaults["host"] = "127.0.0.1"
        processes, threads = nprocesses_nthreads(max(2, min(CPU_COUNT, _MOST_PROCESSES)))
        processes = max(2, processes)
        if "n_workers" not in options:
            defaults["n_workers"] = processes
        if "threads_per_worker" not in options:
            defaults["threads_per_worker"] = max(1, threads)
        defaults["preload"] = [_PRELOAD]
    return defaults


# How often it is looked after the workers of a cluster of our own.
_LOOK_SECONDS = 2.0

# When the second worker dies over a task, the run tries it in another way, see `engine`.
_SETTINGS = {"distributed.scheduler.allowed-failures": 1}


def close_own() -> None:
    """Close the cluster that nbflow started, if there is one."""
    global _own
    client, _own = _own, None
    if client is None:
        return
    cluster = client.cluster
    client.close(timeout=2)
    if cluster is not None:
        cluster.close(timeout=5)


atexit.register(close_own)
