"""Segments as tasks of Dask: sent, and sent again where workers were lost over them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

import dask
from dask.task_spec import Task, TaskRef
from distributed import Client, Future, KilledWorker
from distributed.client import _wait

from nbflow.algebra.options import Options
from nbflow.algebra.topology import Topology
from nbflow.errors import quoted
from nbflow.planning.orders import LARGE, Orders
from nbflow.planning.plan import Plan
from nbflow.planning.segment import Block, Segment
from nbflow.values.transfer import Parcel, local_modules_by_value
from nbflow.worker.envelope import Envelope
from nbflow.worker.worker import run_segment, try_segment

T = TypeVar("T")

# What travels with the graph passes through the scheduler, and Dask warns above 10 MB.
_GRAPH_BYTES = 4_000_000

# So often are segments sent again. Dask itself lets several workers die over one of them.
_MOST_LOSSES = 10


class Dispatch:
    """The segments of one run on their way to Dask.

    Parameters
    ----------
    topology, plan
        The flow, and how it is cut.
    client
        A client of the cluster.
    slots
        Where the cluster can run steps at once: for each thread, the address of its worker.
    nonce
        What tells tasks of this run from those of others.

    Attributes
    ----------
    futures
        What the segments give, by number, those of a run before this one included.
    """

    def __init__(
        self, topology: Topology, plan: Plan, client: Client, slots: Sequence[str], nonce: str
    ) -> None:
        self.topology = topology
        self.plan = plan
        self.client = client
        self.futures: dict[int, Future[Any]] = {}
        self._slots = slots
        self._nonce = nonce
        # What is sent again if the cluster loses it; and how often that has happened.
        self._orders: dict[int, tuple[Parcel, tuple[str, ...]]] = {}
        self._constants: dict[str, Parcel] = {}
        self._kept: list[Future[Any]] = []
        self._keys: dict[int, str] = {}
        self._losses = 0
        # Segments over which workers have died, and the steps in them that had ended.
        self._suspects: dict[int, frozenset[str]] = {}

    def take_over(self, futures: Mapping[int, Future[Any]]) -> None:
        """Take over what segments of another run have given."""
        self.futures.update(futures)
        self._keys.update({number: str(each.key) for number, each in futures.items()})

    def pack(self, orders: Orders, numbers: Iterable[int]) -> None:
        """Pack what segments are to do.

        Raises
        ------
        TransferError
            If a function or an argument cannot be sent.
        """
        with local_modules_by_value():
            self._orders = {n: orders.parcel(n) for n in numbers}
        self._constants = orders.shared

    @property
    def packed(self) -> list[int]:
        """The segments that are packed, in case they have to be sent again."""
        return list(self._orders)

    def unpack(self) -> None:
        """Keep nothing in case it has to be sent again."""
        self._orders, self._constants = {}, {}

    def wait(self) -> None:
        """Wait until Dask has done what was sent, or given it up."""
        with suppress(CancelledError):
            # Not `distributed.wait`: it waits on the loop of whatever client is current.
            self.client.sync(_wait, [self.futures[n] for n in self._orders])

    def send_again(self, numbers: list[int]) -> None:
        """Give segments to the scheduler that it has lost, under other names."""
        self._losses += 1
        self.send(numbers)

    def _key(self, number: int) -> str:
        """Name the Dask task of a segment, so that a dashboard groups them by step."""
        name = self.topology.names[self.plan.segments[number].positions[-1]]
        plain = "".join(each if each.isascii() and each.isalnum() else "_" for each in name[:40])
        return f"{plain}-{self._nonce}{self._losses or ''}{number:06x}"

    def send(self, numbers: list[int]) -> None:
        """Give segments to the scheduler, with the constants that they need."""
        self._keys.update((number, self._key(number)) for number in numbers)
        large: dict[str, Parcel] = {}
        graph: dict[str, Task] = {}
        inline = 0
        for number in numbers:
            key = self._keys[number]
            parcel, shared = self._orders[number]
            first: Any = parcel
            if parcel.nbytes > LARGE or inline + parcel.nbytes > _GRAPH_BYTES:
                large[f"order-{key}"] = parcel
                first = TaskRef(f"order-{key}")
            else:
                inline += parcel.nbytes
            constants = {f"{each}{self._losses or ''}": self._constants[each] for each in shared}
            large.update(constants)
            inputs = [*constants, *self._inputs(number, graph)]
            fn: Callable[..., Envelope] = run_segment
            if number in self._suspects:
                fn = partial(try_segment, self._suspects[number])
            graph[key] = Task(key, fn, first, *map(TaskRef, inputs))
        if large:
            self._kept = list(self.client.scatter(large, hash=False).values())
        with dask.annotate(**self._annotations(numbers)):  # type: ignore[attr-defined]
            keys = [self._keys[number] for number in numbers]
            futures = self.client.get(graph, keys, sync=False)
        self.futures.update(zip(numbers, futures, strict=True))

    def _inputs(self, number: int, graph: dict[str, Task]) -> Iterator[str]:
        """Name what a segment gets from others, adding tasks that take a part of it."""
        segment = self.plan.segments[number]
        for each in segment.upstream:
            key, block = self._keys[each], segment.block
            if block is not None and block.source in self.plan.segments[each].positions:
                part = f"part-{key}-{self._keys[number]}"
                split_every = self.topology.nodes[segment.positions[0]].call.split_every
                assert split_every is not None
                found = TaskRef(key), block.source, split_every, block
                graph[part] = Task(part, pick_block, *found)
                key = part
            yield key

    def _annotations(self, numbers: list[int]) -> dict[str, Callable[[str], Any]]:
        """Give Dask the options of segments, each as a look-up by key."""
        options = {self._keys[n]: self._options(self.plan.segments[n]) for n in numbers}
        found: dict[str, Callable[[str], Any]] = {}
        if any(each.priority for each in options.values()):
            found["priority"] = _by_key({k: each.priority for k, each in options.items()}, 0)
        if any(each.resources for each in options.values()):
            wanted = {key: dict(each.resources or {}) for key, each in options.items()}
            found["resources"] = _by_key(wanted, {})
        # Dask would put all of them where their input is, and move one away only when another
        # worker is idle and this one has much to do. But not those that want resources: for
        # what only wishes for a worker, it takes one that has none.
        beside = [self._keys[n] for n in numbers if self.plan.segments[n].beside]
        free = [key for key in beside if not options[key].resources]
        places = {key: [place] for key, place in zip(free, cycle(self._slots), strict=False)}
        if places:
            found["workers"] = _by_key(places, [])
            found["allow_other_workers"] = _by_key(dict.fromkeys(places, True), False)
        return found

    def _options(self, segment: Segment) -> Options:
        """Give the options of a segment: those of its first step, and all resources."""
        options = [self.topology.nodes[n].call.definition.options for n in segment.positions]
        resources: dict[str, float] = {}
        for each in options:
            for name, amount in (each.resources or {}).items():
                resources[name] = max(amount, resources.get(name, 0))
        return replace(options[0], resources=resources or None)

    def warn_of_resources(self) -> None:
        """Say so if a step asks for what no worker has; one that has it may still come."""
        wanted = {
            definition.name: definition.options.resources
            for definition in (node.call.definition for node in self.topology.nodes)
            if definition.options.resources
        }
        if not wanted:
            return
        workers = self.client.scheduler_info(n_workers=-1)["workers"].values()
        offered = [worker["resources"] for worker in workers]
        for name, resources in wanted.items():
            if not any(
                all(each.get(what, 0) >= amount for what, amount in resources.items())
                for each in offered
            ):
                warnings.warn(
                    f"no worker has the resources {dict(resources)} of step {quoted(name)}; the "
                    f"run waits for one that has",
                    stacklevel=2,
                )

    def to_send_again(self, generation: int, cleared: Callable[[int], frozenset[str]]) -> list[int]:
        """List the segments that Dask has given up, and that may end well all the same.

        Dask computes tasks again, but does not send data again, and of tasks over which
        workers died it does not say which of them was to blame. After a restart of the
        cluster by its user, on the other hand, nothing may begin anew.

        Parameters
        ----------
        generation
            That of the client when the run began.
        cleared
            Names the steps of a segment that had ended before its worker died.
        """
        client = self.client
        living = client.status == "running" and client.generation == generation
        if not living or self._losses >= _MOST_LOSSES:
            return []
        futures = {number: self.futures[number] for number in self._orders}
        if any(each.status == "cancelled" for each in self._kept):
            return [number for number, each in futures.items() if each.status == "cancelled"]
        failed = {n: each.exception() for n, each in futures.items() if each.status == "error"}
        killers = {n: e for n, e in failed.items() if isinstance(e, KilledWorker)}
        # Whatever depends on a lost task has the same error.
        for number, error in killers.items():
            if str(error.task) == self._keys[number]:
                self._suspects[number] = cleared(number)
        return list(killers)


def _by_key(values: Mapping[str, T], other: T) -> Callable[[str], T]:
    # A function of its own, so that the scheduler needs no module of ours to read it.
    return lambda key: values.get(key, other)


def pick_block(envelope: Envelope, position: int, split_every: int, block: Block) -> Envelope:
    """Take out of an envelope what a block of a tree stands on, on the worker that holds it."""
    return envelope.under(position, split_every, block)
