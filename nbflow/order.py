"""What a worker is told and what it answers: orders and envelopes.

An order holds the calls of one segment, with the user's functions as bytes. An
envelope holds how each of them ended: outcomes are values, a failure among them,
and never an exception that Dask would see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nbflow.errors import TransferError, quoted
from nbflow.events import Status
from nbflow.expression import (
    Const,
    Elements,
    Expression,
    ListOf,
    Node,
    ParamRef,
    nodes_in,
    transformed,
)
from nbflow.plan import Plan, Segment
from nbflow.size import size_of
from nbflow.topology import Topology
from nbflow.transfer import Parcel, dumps, dumps_by_name

# Above this many bytes a constant, or an order, is sent once and apart from the graph.
LARGE = 64_000


@dataclass(frozen=True, slots=True, eq=False)
class Ref:
    """The value of another node, by its position in the flow."""

    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """A large constant, by the key under which it was sent."""

    key: str


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One node of a segment, ready to be computed.

    Attributes
    ----------
    function
        Which of the order's functions to call.
    own
        How many of `args`, at the end, are not from upstream.
    upstream
        The positions that must have succeeded; what only the items of a map need is
        not among them, for each element has its own.
    start
        The number of the first element, for a batch of a mapped step.
    """

    position: int
    name: str
    function: int
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    own: int
    upstream: tuple[int, ...]
    elements: Elements | None = None
    start: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What one Dask task is to do.

    Attributes
    ----------
    topic, run
        Where events are sent, and which run they are of.
    sender
        The process that made the order, so that a worker knows its own.
    """

    topic: str
    run: str
    sender: tuple[str, int]
    functions: tuple[bytes, ...]
    shared: tuple[str, ...]
    work: tuple[Work, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no value.

    Attributes
    ----------
    culprit
        The step or element that failed first, which is the cause of a skip.
    """

    status: Status
    culprit: str


class Envelope:
    """How the nodes of a segment ended.

    It travels packed, and is opened by whoever reads a value: a value that cannot be
    unpickled would otherwise break the connection that it came on.

    Attributes
    ----------
    starts
        For batches of mapped steps, the number of the first element.
    failures
        Why there is no value, by position.
    nbytes
        The estimated size of the values.
    """

    __slots__ = ("_packed", "_values", "failures", "nbytes", "starts")

    def __init__(
        self,
        values: dict[int, Any] | None = None,
        starts: dict[int, int] | None = None,
        failures: dict[int, Failure] | None = None,
        nbytes: int = 0,
    ) -> None:
        # The values as they came, and their positions, until somebody reads one.
        self._packed: tuple[Parcel, tuple[int, ...]] | None = None
        self._values = {} if values is None else values
        self.starts = {} if starts is None else starts
        self.failures = {} if failures is None else failures
        self.nbytes = nbytes

    @property
    def values(self) -> dict[int, Any]:
        """The results, by position; of a mapped step, a list of its batch.

        Raises
        ------
        Exception
            Whatever unpickling a value of the user raises.
        """
        packed = self._packed
        if packed is not None:
            self._values = packed[0].open()
            self._packed = None
        return self._values

    @property
    def positions(self) -> tuple[int, ...]:
        """Which results there are, without opening them."""
        packed = self._packed
        return tuple(self._values) if packed is None else packed[1]

    def __sizeof__(self) -> int:
        return 256 + self.nbytes

    def __reduce__(self) -> tuple[Any, ...]:
        # By our own pickling, so that classes of the notebook travel by value.
        packed = self._packed or (Parcel.of(self._values), tuple(self._values))
        return _packed_envelope, (*packed, self.starts, self.failures, self.nbytes)


def _packed_envelope(
    parcel: Parcel,
    positions: tuple[int, ...],
    starts: dict[int, int],
    failures: dict[int, Failure],
    nbytes: int,
) -> Envelope:
    envelope = Envelope(None, starts, failures, nbytes)
    envelope._packed = (parcel, positions)
    return envelope


class Results:
    """The envelopes that a segment was given, as one look-up by position."""

    __slots__ = ("_holders", "failures", "values")

    def __init__(self, envelopes: list[Envelope]) -> None:
        self.values: dict[int, Any] = {}
        self.failures: dict[int, Failure] = {}
        self._holders: dict[int, list[Envelope]] = {}
        for envelope in envelopes:
            for position in envelope.positions:
                self._holders.setdefault(position, []).append(envelope)
            for position, failure in envelope.failures.items():
                self.failures.setdefault(position, failure)

    def __getitem__(self, position: int) -> Any:
        # Opened when a value is read, so that the step that reads it bears what happens.
        if position not in self.values:
            holders = self._holders[position]
            if position in holders[0].starts:
                holders.sort(key=lambda each: each.starts[position])
                self.values[position] = [v for each in holders for v in each.values[position]]
            else:
                self.values[position] = holders[0].values[position]
        return self.values[position]


class Orders:
    """Writes the orders of a plan, packing each function and each large constant once."""

    def __init__(
        self,
        topology: Topology,
        plan: Plan,
        params: Mapping[str, Any],
        topic: str,
        run: str,
        sender: tuple[str, int],
    ) -> None:
        self.topology = topology
        self.plan = plan
        self.params = params
        self.topic = topic
        self.run = run
        self.sender = sender
        self.shared: dict[str, Parcel] = {}
        self._shared_keys: dict[int, str | None] = {}
        self._packed: dict[int, bytes] = {}

    def parcel(self, segment: Segment) -> tuple[Parcel, tuple[str, ...]]:
        """Pack the order of a segment; also name the large constants that it needs.

        Raises
        ------
        TransferError
            Naming the step whose function or argument cannot be pickled.
        """
        functions: dict[int, int] = {}
        needed: dict[str, None] = {}
        work = tuple(self._work(each, segment, functions, needed) for each in segment.positions)
        packed = tuple(self._packed[each] for each in functions)
        order = Order(self.topic, self.run, self.sender, packed, tuple(needed), work)
        try:
            return Parcel.of(order), tuple(needed)
        except Exception as error:
            for each in work:
                self._blame(each)
            names = ", ".join(quoted(each.name) for each in work[:3])
            raise TransferError(f"the arguments of {names} cannot be sent: {error}") from error

    def _work(
        self, position: int, segment: Segment, functions: dict[int, int], needed: dict[str, None]
    ) -> Work:
        node, name = self.topology.nodes[position], self.topology.names[position]
        fn = node.call.definition.fn
        self._pack(fn, name)

        def change(leaf: Expression) -> Any:
            return self._leaf(leaf, name, needed)

        elements = node.call.elements
        if elements is not None:
            elements = _sliced(elements, segment.start, segment.stop, change)
        return Work(
            position,
            name,
            functions.setdefault(id(fn), len(functions)),
            tuple(transformed(each, change) for each in node.args),
            tuple((key, transformed(each, change)) for key, each in node.kwargs),
            len(node.call.args),
            self.topology.upstream[position] if elements is None else self._shared_by_all(node),
            elements,
            segment.start,
        )

    def _shared_by_all(self, node: Node) -> tuple[int, ...]:
        parts = (*node.args, *(each for _, each in node.kwargs), *node.after)
        needed = (self.topology.index[id(each)] for part in parts for each in nodes_in(part))
        return tuple(dict.fromkeys(needed))

    def _leaf(self, leaf: Expression, name: str, needed: dict[str, None]) -> Any:
        if isinstance(leaf, Node):
            return Ref(self.topology.index[id(leaf)])
        if isinstance(leaf, ParamRef):
            leaf = Const(self.params[leaf.name])
        assert isinstance(leaf, Const)
        key = self._share(leaf.value, name)
        if key is None:
            return leaf
        needed[key] = None
        return Shared(key)

    def _share(self, value: Any, name: str) -> str | None:
        if id(value) not in self._shared_keys:
            key = None
            if size_of(value) > LARGE:
                key = f"constant-{self.run}{len(self.shared):04x}"
                self.shared[key] = _parcelled(value, f"an argument of step {quoted(name)}")
            self._shared_keys[id(value)] = key
        return self._shared_keys[id(value)]

    def _pack(self, fn: Callable[..., Any], name: str) -> None:
        if id(fn) in self._packed:
            return
        try:
            self._packed[id(fn)] = _packed(fn)
        except Exception as error:
            raise TransferError(
                f"the function of step {quoted(name)} cannot be sent to a worker: {error}; it "
                f"uses something that stays in this process, such as a lock, an open file or a "
                f"connection; make that inside the function"
            ) from error

    def _blame(self, work: Work) -> None:
        parts = [*enumerate(work.args, 1), *work.kwargs]
        if work.elements is not None:
            parts.append(("items", work.elements.items))
        for where, part in parts:
            what = f"argument {where!r} of step {quoted(work.name)}"
            _parcelled(part, what, shown=getattr(part, "value", part))


def _packed(fn: Callable[..., Any]) -> bytes:
    try:
        return dumps(fn)
    except Exception:
        # A module may hold a lock or a connection; workers may be able to import it.
        with suppress(Exception):
            return dumps_by_name(fn)
        raise


def _parcelled(value: Any, what: str, shown: Any = None) -> Parcel:
    try:
        return Parcel.of(value)
    except Exception as error:
        kind = type(value if shown is None else shown).__name__
        raise TransferError(
            f"{what}, a {kind}, cannot be sent to a worker: {error}; pass what it is made from, "
            f"and make it inside the step"
        ) from error


def _sliced(
    elements: Elements, start: int, stop: int, change: Callable[[Expression], Any]
) -> Elements:
    items = elements.items
    if isinstance(items, Const):
        return Elements(Const(items.value[start:stop]), stop - start, elements.spread)
    members = tuple(transformed(each, change) for each in items.members[start:stop])
    return Elements(ListOf(members), stop - start, elements.spread)
