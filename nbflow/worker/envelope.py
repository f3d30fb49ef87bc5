"""What a worker answers: how the steps of a segment ended, and their values.

Outcomes are values, a failure among them, and never an exception that Dask would see.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from nbflow.algebra.absence import Absent, gathered_list
from nbflow.errors import RunError
from nbflow.planning.segment import Block
from nbflow.record.recollection import Shelf
from nbflow.store.kept import Kept
from nbflow.values.transfer import Parcel
from nbflow.values.tree import subtrees

Span: TypeAlias = tuple[int, int]


class Envelope:
    """How the nodes of a segment ended.

    It travels packed, and is opened by whoever reads a value: a value that cannot be
    unpickled would otherwise break the connection that it came on.

    Attributes
    ----------
    spans
        Where the values are those of elements: which, in the order of the values.
    absent
        Why there is no value, by position.
    holes
        The positions with elements that have no value.
    nbytes
        The estimated size of the values.
    total
        Where the values are those of elements: how many there are everywhere.
    """

    __slots__ = ("_packed", "_values", "absent", "holes", "nbytes", "spans", "total")

    def __init__(
        self,
        values: dict[int, Any] | None = None,
        spans: tuple[Span, ...] | None = None,
        absent: dict[int, Absent] | None = None,
        holes: frozenset[int] = frozenset(),
        nbytes: int = 0,
        total: int | None = None,
    ) -> None:
        # The values as they came, and their positions, until somebody reads one.
        self._packed: tuple[Parcel, tuple[int, ...]] | None = None
        self._values = {} if values is None else values
        self.spans = spans
        self.absent = {} if absent is None else absent
        self.holes = holes
        self.nbytes = nbytes
        self.total = total

    @property
    def values(self) -> dict[int, Any]:
        """The results, by position; of a mapped step, a list of its elements here.

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
        about = self.spans, self.absent, self.holes, self.nbytes, self.total
        return _packed_envelope, (*packed, *about)

    def part(self, positions: tuple[int, ...]) -> Envelope:
        """Give what is about some of the nodes."""
        return Envelope(
            {each: self.values[each] for each in positions if each in self.values},
            self.spans,
            {each: self.absent[each] for each in positions if each in self.absent},
            self.holes,
            total=self.total,
        )

    def under(self, position: int, split_every: int, block: Block) -> Envelope:
        """Give those elements of a step on which a block of a tree stands.

        If one is absent here, for whatever block, that is what is given: then the step
        is not to run, and no block of it either.
        """
        total = self.total if block.total is None else block.total
        if total is None or position not in self.positions:
            return self.part((position,))
        everything = self.values[position]
        if position in self.holes:
            value = gathered_list(everything)
            if type(value) is Absent:
                return Envelope(absent={position: value})
        part = subtrees(total, split_every, block.number, block.count)
        spans, values, before = [], [], 0
        for start, stop in self.spans or ():
            low, high = max(start, part.start), min(stop, part.stop)
            if low < high:
                spans.append((low, high))
                values += everything[before + low - start : before + high - start]
            before += stop - start
        share = self.nbytes * len(values) // max(1, before)
        return Envelope({position: values}, tuple(spans), nbytes=share, total=total)

    def element(self, position: int, number: int) -> Envelope:
        """Give what is about one element, which may be nothing."""
        before = 0
        for start, stop in self.spans or ():
            if start <= number < stop and position in self.values:
                value = self.values[position][before + number - start]
                return Envelope({position: [value]}, ((number, number + 1),), None, self.holes)
            before += stop - start
        return Envelope({}, ())


def _packed_envelope(
    parcel: Parcel,
    positions: tuple[int, ...],
    spans: tuple[Span, ...] | None,
    absent: dict[int, Absent],
    holes: frozenset[int],
    nbytes: int,
    total: int | None,
) -> Envelope:
    envelope = Envelope(None, spans, absent, holes, nbytes, total)
    envelope._packed = (parcel, positions)
    return envelope


def _closed(_: Kept) -> Any:
    raise RunError("a result is in a file, but there is no store to read it from")


class Results:
    """The envelopes that a segment was given, as one look-up by position."""

    __slots__ = ("_holders", "_known", "_shelf", "absent", "complete")

    def __init__(self, envelopes: list[Envelope], shelf: Shelf | None = None) -> None:
        self._shelf = shelf or Shelf(_closed)
        self._known: dict[int, Any] = {}
        self.absent: dict[int, Absent] = {}
        self._holders: dict[int, list[Envelope]] = {}
        # Whether everything has a value, so that nobody need ask.
        self.complete = True
        for envelope in envelopes:
            self.complete = self.complete and not envelope.absent and not envelope.holes
            for position in envelope.positions:
                self._holders.setdefault(position, []).append(envelope)
            for position, absent in envelope.absent.items():
                self.absent.setdefault(position, absent)

    def __getitem__(self, position: int) -> Any:
        """Give the value of a node, or why it is absent."""
        # Opened when a value is read, so that the step that reads it bears what happens.
        if position not in self._known:
            absent = self.absent.get(position)
            self._known[position] = self._read(position) if absent is None else absent
        return self._known[position]

    def _read(self, position: int) -> Any:
        holders = self._holders[position]
        if holders[0].spans is None:
            return self._shelf.opened(holders[0].values[position])
        values = self.elements(position)
        holes = any(position in each.holes for each in holders)
        return gathered_list(values) if holes else values

    def total(self, position: int) -> int | None:
        """Say how many elements a mapped step has, as far as those know who computed them."""
        return next((each.total for each in self._holders.get(position, ())), None)

    def numbered(self, position: int) -> dict[int, Any]:
        """Give the elements of a mapped step that are here, by number."""
        found: dict[int, Any] = {}
        for each in self._holders.get(position, ()):
            values = iter(each.values[position])
            for start, stop in each.spans or ():
                found.update(zip(range(start, stop), values))  # noqa: B905 - there are more
        return {number: self._shelf.opened(each) for number, each in found.items()}

    def elements(self, position: int) -> list[Any]:
        """Give the elements of a mapped step in order, also those that are absent."""
        pieces: list[tuple[int, list[Any]]] = []
        for each in self._holders[position]:
            values, before = each.values[position], 0
            for start, stop in each.spans or ():
                pieces.append((start, values[before : before + stop - start]))
                before += stop - start
        if len(pieces) == 1:
            return self._shelf.all_opened(pieces[0][1])
        # Of an element that was computed again, the later value counts.
        latest: dict[int, Any] = {}
        for start, values in pieces:
            latest.update(enumerate(values, start))
        return self._shelf.all_opened([latest[number] for number in sorted(latest)])
