"""A flow as a record that any later process can read.

A `Sketch` holds the graph as plain numbers and strings, and what is the user's own as
bytes apart from it. The graph can be drawn and compared where the user's modules are
not, and reading it runs no code. To run the flow again, the bytes are read too.
"""

from __future__ import annotations

import io
import marshal
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, NoReturn, TypeAlias

from nbflow.algebra.expression import Const, ListOf, Node, ParamRef, leaves, parts_of
from nbflow.algebra.flow import Flow
from nbflow.algebra.topology import Topology
from nbflow.errors import StoreError
from nbflow.sketch.codes import Code, Codes
from nbflow.sketch.rows import Held, Reader, Row, Writer
from nbflow.sketch.sealed import Sealed
from nbflow.values.transfer import PROTOCOL, local_modules_by_value

# What a node gets, by the names of steps: nested tuples of strings and numbers.
Wiring: TypeAlias = tuple[Any, ...]

_MAGIC: Final = b"nbflow-sketch 1\n"
_SIZE: Final = 16


@dataclass(frozen=True, eq=False)
class Sketch:
    """A flow and the values of its parameters, as they were.

    Attributes
    ----------
    name
        What the flow was called.
    names
        Its steps, in topological order.
    functions, arguments
        For each step, what it does, and what it does it with: its constants and the
        values of its parameters.
    given
        What the values of the parameters are.
    python
        The minor version of Python that functions were written by.
    rows, nodes
        The graph, and which of its rows are the steps.
    sealed
        What is the user's own.
    params
        The values of the parameters, by name.
    fed
        The inputs that its open first steps were given.

    Examples
    --------
    >>> from nbflow import step
    >>> sketch = Sketch.of(4 >> step(lambda x: 2 * x).named("double"), {})
    >>> later = Sketch.opened(sketch.packed())
    >>> later.picture(), later.flow().call(), later.identity == sketch.identity
    (Flow(double), 8, True)
    """

    name: str
    names: tuple[str, ...]
    functions: tuple[Code, ...]
    arguments: tuple[Code, ...]
    given: Code
    python: tuple[int, int]
    rows: tuple[Row, ...]
    nodes: tuple[int, ...]
    sealed: tuple[Sealed, ...]
    params: tuple[tuple[str, Held], ...]
    fed: tuple[Held, ...] = ()

    @classmethod
    def of(cls, flow: Flow, params: Mapping[str, Any], inputs: Sequence[Any] = ()) -> Sketch:
        """Write down a flow.

        Parameters
        ----------
        flow
            A flow that is ready to run.
        params
            The values of its parameters; those that it has defaults for may be left out.
        inputs
            What its open first steps were given, to give it again to the same flow.

        Raises
        ------
        TransferError
            If a function or a value cannot be pickled, naming the step.
        """
        topology = flow.topology
        writer = Writer()
        with local_modules_by_value():
            writer.flow(flow)
            held = [
                (name, writer.held(value, lambda: f"the parameter {name!r}"))  # noqa: B023
                for name, value in params.items()
            ]
            fed = [writer.held(value, lambda: "an input") for value in inputs]
        codes = Codes()
        values = {**topology.params, **params}
        return cls(
            flow.name,
            topology.names,
            tuple(_functions(topology, codes)),
            tuple(_arguments(topology, values, codes)),
            codes.of(sorted(params.items(), key=lambda each: each[0]), "a parameter"),
            sys.version_info[:2],
            tuple(writer.rows),
            tuple(writer.nodes),
            tuple(writer.sealed),
            tuple(held),
            tuple(fed),
        )

    def packed(self) -> bytes:
        """Write it as bytes."""
        fields = (
            self.name,
            self.names,
            tuple(map(tuple, self.functions)),
            tuple(map(tuple, self.arguments)),
            tuple(self.given),
            self.python,
            self.rows,
            self.nodes,
            tuple(map(tuple, self.sealed)),
            self.params,
            self.fed,
        )
        data = pickle.dumps(fields, PROTOCOL)
        return _MAGIC + _hash(data) + data

    @classmethod
    def opened(cls, data: bytes) -> Sketch:
        """Read what `packed` wrote, running no code and importing nothing.

        Raises
        ------
        StoreError
            If the bytes are none of a sketch, or are damaged.
        """
        try:
            name, names, functions, arguments, given, *rest = _fields(data)
            python, rows, nodes, sealed, params, *fed = rest
            return cls(
                name,
                names,
                tuple([Code(*each) for each in functions]),
                tuple([Code(*each) for each in arguments]),
                Code(*given),
                python,
                rows,
                nodes,
                tuple([Sealed(*each) for each in sealed]),
                params,
                *fed,
            )
        except Exception as error:
            raise StoreError(
                f"{len(data):,} bytes cannot be read as the record of a flow: {error}. Expected is "
                f"what this version of nbflow, or an older one, has written. Run the flow again"
            ) from error

    @cached_property
    def codes(self) -> tuple[Code, ...]:
        """For each step, what its result depends on besides the results of others."""
        return tuple(map(_both, self.functions, self.arguments))

    @property
    def identity(self) -> str:
        """The same for the same flow with the same parameters, in any process."""
        digests = [each.digest for each in (*self.codes, self.given)]
        whole = (self.names, list(self.wirings()), self.wiring(self.value), digests)
        return blake2b(marshal.dumps(whole, 2), digest_size=_SIZE).hexdigest()

    def picture(self) -> Flow:
        """Give a flow to look at: placeholders stand for its functions and constants.

        Nothing of the user's is read. Each step has its name and its place.
        """
        return Reader(
            lambda number: self.sealed[number].unread(),
            lambda number: self.sealed[number].case or self.sealed[number].unread(),
        ).flow(self.rows)

    def flow(self) -> Flow:
        """Give the flow, ready to run; this reads the functions and values of the user's.

        Raises
        ------
        StoreError
            If one of them cannot be read here, naming its step.
        """
        return Reader(self._opening()).flow(self.rows)

    def values(self) -> dict[str, Any]:
        """Give the values of the parameters.

        Raises
        ------
        StoreError
            If one of them cannot be read here.
        """
        reader = Reader(self._opening())
        return {name: reader.held(value) for name, value in self.params}

    @property
    def seals_values(self) -> bool:
        """Whether reading the parameters or the inputs could run code."""
        values = (*(value for _, value in self.params), *self.fed)
        return any(isinstance(value, int) for value in values)

    def inputs(self) -> list[Any]:
        """Give the inputs of the flow.

        Raises
        ------
        StoreError
            If one of them cannot be read here.
        """
        reader = Reader(self._opening())
        return [reader.held(value) for value in self.fed]

    def _opening(self) -> Callable[[int], Any]:
        known: dict[int, Any] = {}

        def opened(number: int) -> Any:
            if number not in known:
                self._check_python()
                known[number] = self.sealed[number].open()
            return known[number]

        return opened

    def _check_python(self) -> None:
        if self.python != sys.version_info[:2]:
            was, now = ("{}.{}".format(*each[:2]) for each in (self.python, sys.version_info))
            raise StoreError(
                f"the functions of {self.name!r} were written by Python {was}, and this is Python "
                f"{now}, which may not read them. Give the flow itself: run.resume(flow)"
            )

    # The graph, by names

    @property
    def value(self) -> int:
        """The row of the expression that the flow stands for."""
        value: int = self.rows[-1][1]
        return value

    def wiring(self, number: int, named: Callable[[str], str] = str) -> Wiring:
        """Say what the expression of a row is.

        Parameters
        ----------
        number
            The row.
        named
            Gives the names that steps are to have.
        """
        return _Wires(self, named).of(number)

    def wirings(self, named: Callable[[str], str] = str) -> Iterator[Wiring]:
        """Say for each step what flows into it, and how.

        Constants only count as such: `arguments` tells which they are. How many may run
        at once, or travel together, does not count.

        Parameters
        ----------
        named
            Gives the names that steps are to have.
        """
        wires = _Wires(self, named)
        return map(wires.of_node, self.nodes)


class _Wires:
    """What the rows of a sketch mean, by the names of steps."""

    def __init__(self, sketch: Sketch, named: Callable[[str], str]) -> None:
        self.rows = sketch.rows
        self.sealed = sketch.sealed
        self.names = dict(zip(sketch.nodes, map(named, sketch.names), strict=True))
        self.maps: dict[int, int] = {}

    def of_node(self, number: int) -> Wiring:
        _, call, args, kwargs, after, is_open, axis = self.rows[number]
        _, _, own, named, immutable, _, decision, split_every = self.rows[call]
        args, kwargs = own if args is None else args, named if kwargs is None else kwargs
        return (
            tuple(map(self.of, args)),
            tuple([(key, self.of(each)) for key, each in kwargs]),
            tuple(map(self.of, after)),
            tuple(self._axes(axis)),
            (immutable, is_open, split_every, decision is not None),
        )

    def of(self, number: int) -> Wiring:
        kind, *parts = self.rows[number]
        match kind:
            case "node":
                return "step", self.names[number]
            case "param":
                return "param", parts[0]
            case "item":
                return "item", self._map(parts[0]), parts[1]
            case "list" | "tuple":
                return kind, *map(self.of, parts[0])
            case "dict":
                return kind, *map(self._key, parts[0]), *map(self.of, parts[1])
            case "choice":
                _, _, cases, truth, default = self.rows[parts[0]]
                return kind, len(cases), truth, default, *map(self.of, parts[1])
        return ("value",)

    def _axes(self, number: int | None) -> Iterator[Wiring]:
        while number is not None:
            _, key, items, size, _, _, _, collect, number = self.rows[number]
            yield self._map(key), None if items is None else self.of(items), size, collect

    def _map(self, key: int) -> int:
        """Give the number of a map, in the order in which they are met."""
        return self.maps.setdefault(key, len(self.maps))

    def _key(self, key: Held) -> Wiring:
        value = self.sealed[key].kind if isinstance(key, int) else key[0]
        return type(value).__name__, repr(value)


def _functions(topology: Topology, codes: Codes) -> Iterator[Code]:
    known: dict[int, Code] = {}
    for node, name in zip(topology.nodes, topology.names, strict=True):
        definition = node.call.definition
        if id(definition) not in known:
            both = [definition.fn, definition.options.when]
            known[id(definition)] = codes.of(both, name)
        yield known[id(definition)]


_NOTHING: Final = Codes().of(())


def _arguments(topology: Topology, values: Mapping[str, Any], codes: Codes) -> Iterator[Code]:
    for node, name in zip(topology.nodes, topology.names, strict=True):
        found = list(_constants(node, values))
        yield codes.of(tuple(found), f"an argument of {name}") if found else _NOTHING


def _constants(node: Node, values: Mapping[str, Any]) -> Iterator[Any]:
    for part in parts_of(node):
        for leaf in (part,) if type(part) is Const else leaves(part):
            if type(leaf) is Const:
                yield leaf.value
            elif type(leaf) is ParamRef:
                yield values[leaf.name]
    if node.axis is not None:
        for axis in node.axis.lineage:
            yield axis.label
            if axis.together is not None and not isinstance(axis.items, (Const, ListOf)):
                # Of a frame, it says how many rows a call gets.
                yield axis.together
    if node.call.decision is not None:
        yield node.call.decision.cases


def _both(function: Code, arguments: Code) -> Code:
    digest = blake2b(f"{function.digest} {arguments.digest}".encode(), digest_size=_SIZE)
    unknown = (*function.unknown, *arguments.unknown)
    return Code(digest.hexdigest(), tuple(dict.fromkeys(unknown)))


def _fields(data: bytes) -> Any:
    start = len(_MAGIC) + _SIZE
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("they do not begin as it does")
    if _hash(data[start:]) != data[len(_MAGIC) : start]:
        raise ValueError("some of them were changed or lost")
    return _Plain(data[start:]).load()


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=_SIZE).digest()


class _Plain(pickle.Unpickler):
    """Reads what Python itself brings, and nothing that runs code."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "complex"):
            return complex
        return _refuse(module, name)


def _refuse(module: str, name: str) -> NoReturn:
    raise ValueError(f"they ask for {module}.{name}, which no record of a flow does")
