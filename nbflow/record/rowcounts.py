"""Where rows go: how many each step of a run got and gave, and what that says of it.

Counted on the workers when the steps ended, so that nothing is read again: a run that
was loaded tells the same as one that has just ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbflow.algebra.expression import Axis, Expression, Item, Node, leaves
from nbflow.algebra.topology import Topology
from nbflow.record.amount import Amount, amount_of
from nbflow.record.state import RunState

if TYPE_CHECKING:
    import pandas as pd

# Growth below this is told in rows: a factor of 1.0 would say nothing.
_FACTOR = 1.05
_NAMED_COLUMNS = 2


@dataclass(frozen=True, slots=True)
class Rowcount:
    """What a step did to the rows that it got.

    Attributes
    ----------
    inputs
        What came in, by argument: the steps of each, with what they gave.
    out
        What went out; None where it is no table, or not known.
    """

    inputs: tuple[tuple[tuple[str, Amount], ...], ...]
    out: Amount | None

    @property
    def each(self) -> list[tuple[str, Amount]]:
        """The steps before it that gave rows."""
        return list(dict(pair for part in self.inputs for pair in part).items())

    @property
    def total(self) -> int | None:
        """How many rows came in."""
        return sum(amount.rows for _, amount in self.each) if self.inputs else None

    @property
    def base(self) -> tuple[str, int] | None:
        """Against what the rows that go out are counted.

        That is all that came in; but of a step that joins tables, which has them as
        arguments of their own, the largest if it gave more than that, or else the first.
        """
        if not self.inputs or self.out is None:
            return None
        sums = [sum(amount.rows for _, amount in part) for part in self.inputs]
        if len(sums) == 1 or self.out.rows == sum(sums):
            return "", sum(sums)
        chosen = sums.index(max(sums)) if self.explodes else 0
        return self.inputs[chosen][0][0], sums[chosen]

    @property
    def change(self) -> int | None:
        """How many rows more went out, or fewer."""
        if self.base is None or self.out is None or not self._comparable:
            return None
        return self.out.rows - self.base[1]

    @property
    def dropped(self) -> float | None:
        """Which share of the rows did not come out, in percent."""
        if self.base is None or self.out is None or not self.base[1] or not self._comparable:
            return None
        return max(0.0, 100 * (self.base[1] - self.out.rows) / self.base[1])

    @property
    def explodes(self) -> bool:
        """Whether it joined tables, and gave more rows than any of them has."""
        if len(self.inputs) < 2 or self.out is None:
            return False
        sums = [sum(amount.rows for _, amount in part) for part in self.inputs]
        # As many as all of them together are what was put one below the other.
        return self.out.rows > max(sums) and self.out.rows != sum(sums)

    @property
    def nulls_added(self) -> int | None:
        """How many nulls more went out, or fewer."""
        known = [amount.nulls for _, amount in self.each]
        if self.out is None or self.out.nulls is None or not known or None in known:
            return None
        return self.out.nulls - sum(each for each in known if each is not None)

    @property
    def mark(self) -> str:
        """What is to be noticed, in words; empty if nothing is."""
        if self.out is None:
            return ""
        said = [*self._of_rows(self.out), *self._of_nulls(self.out), *self._of_repeats(self.out)]
        return "; ".join(said)

    @property
    def _comparable(self) -> bool:
        """Whether what went out is of the same form: values read no rows from a table."""
        assert self.out is not None
        forms = {amount.form for _, amount in self.each if amount.rows}
        return not self.out.rows or forms <= {self.out.form}

    def _of_rows(self, out: Amount) -> Iterator[str]:
        if self.base is None or not self._comparable or self.base[1] in (0, out.rows):
            return
        name, rows = self.base
        of = f" of {name}" if name else ""
        if out.rows == 0:
            yield "loses all rows"
        elif out.rows < rows:
            percent, fewer = 100 * (rows - out.rows) / rows, _counted(rows - out.rows, "row")
            lost = f"{_rounded(percent)} %" if percent >= 0.5 else fewer
            yield f"loses {lost}{of}"
        elif out.rows >= _FACTOR * rows:
            more = ", more rows than any input" if self.explodes else ""
            yield f"multiplies ×{_rounded(out.rows / rows)}{of}{more}"
        else:
            yield f"adds {_counted(out.rows - rows, 'row')}{of}"

    def _of_nulls(self, out: Amount) -> Iterator[str]:
        added = self.nulls_added
        if added is None or added <= 0:
            return
        before: dict[str, int] = {}
        for _, amount in self.each:
            for name, number in amount.by_column.items():
                before[name] = before.get(name, 0) + number
        more = {name: n - before.get(name, 0) for name, n in out.by_column.items()}
        worst = sorted((n for n in more if more[n] > 0), key=lambda name: -more[name])
        names = ", ".join(worst[:_NAMED_COLUMNS]) + ", …" * (len(worst) > _NAMED_COLUMNS)
        yield f"adds {_counted(added, 'null')}" + (f" ({names})" if names else "")

    def _of_repeats(self, out: Amount) -> Iterator[str]:
        known = [amount.duplicates for _, amount in self.each]
        if out.duplicates is None or not known or None in known:
            return
        added = out.duplicates - sum(each for each in known if each is not None)
        if added > 0:
            yield f"adds {_counted(added, 'duplicate')}"


def _rounded(number: float) -> str:
    """Write a share or a factor so that nothing seems to be all, and little is not hidden."""
    if number >= 1_000:
        return f"{number:,.0f}"
    if 10 <= number <= 99 or number >= 100:
        return f"{number:.0f}"
    # Of 99.96 % lost, there is something left.
    return f"{int(number * 10) / 10:.1f}" if number > 99 else f"{number:.1f}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def rowcounts(topology: Topology, state: RunState) -> dict[str, Rowcount]:
    """Count for each step of a run what came in and what went out.

    Parameters
    ----------
    topology
        The flow.
    state
        How the run is.

    Examples
    --------
    >>> from nbflow import step
    >>> from nbflow.record.events import Event, Status
    >>> from nbflow.record.state import PLAIN
    >>> from nbflow.values.preview import preview
    >>> flow = step(list).s("abcd") >> step(sorted)
    >>> events = [Event("list", Status.COMPLETED, 1.0, preview=preview(list("abcd"))),
    ...           Event("sorted", Status.COMPLETED, 2.0, preview=preview(["a"]))]
    >>> state = RunState.planned("r1", "etl", dict.fromkeys(flow.steps, PLAIN), 0.0)
    >>> rowcounts(flow.topology, state.apply(events))["sorted"].mark
    'loses 75 %'
    """
    amounts = {name: amount_of(step) for name, step in state.steps.items()}
    found = {}
    for name, node in zip(topology.names, topology.nodes, strict=True):
        parts = []
        for part in (*node.args, *(each for _, each in node.kwargs)):
            names = [topology.names[topology.index[id(each)]] for each in _sources(part, node)]
            pairs = [(each, amounts.get(each)) for each in dict.fromkeys(names)]
            known = tuple((each, amount) for each, amount in pairs if amount is not None)
            if known:
                parts.append(known)
        found[name] = Rowcount(tuple(parts), amounts.get(name))
    return found


def _sources(part: Expression, node: Node) -> Iterator[Node]:
    """Give the nodes whose values an argument is made of, those a map goes over included."""
    for leaf in leaves(part):
        if isinstance(leaf, Node):
            yield leaf
        elif isinstance(leaf, Item) and node.axis is not None:
            for items in _items(node.axis, leaf):
                yield from (each for each in leaves(items) if isinstance(each, Node))


def _items(axis: Axis, item: Item) -> Sequence[Expression]:
    return [e.items for e in axis.lineage if e.key is item.key and e.items is not None]


def rows_table(topology: Topology, state: RunState) -> pd.DataFrame:
    """Make the table that says where rows went.

    Parameters
    ----------
    topology, state
        As for `rowcounts`.
    """
    import pandas as pd

    counted = rowcounts(topology, state)
    found = list(counted.values())
    outs = [each.out for each in found]
    inputs = [", ".join(f"{n} {amount.rows:,}" for n, amount in each.each) for each in found]

    def whole(values: list[int | None]) -> pd.api.extensions.ExtensionArray:
        return pd.array(values, dtype="Int64")

    return pd.DataFrame(
        {
            "inputs": pd.array(inputs, dtype="str"),
            "rows_in": whole([each.total for each in found]),
            "rows_out": whole([None if each is None else each.rows for each in outs]),
            "change": whole([each.change for each in found]),
            "dropped_percent": pd.Series([e.dropped for e in found], dtype="float64").array,
            "nulls": whole([None if each is None else each.nulls for each in outs]),
            "nulls_added": whole([each.nulls_added for each in found]),
            "duplicates": whole([None if each is None else each.duplicates for each in outs]),
            "explodes": pd.array([each.explodes for each in found], dtype="bool"),
            "mark": pd.array([each.mark for each in found], dtype="str"),
        },
        index=pd.Index(list(counted), name="step"),
    )
