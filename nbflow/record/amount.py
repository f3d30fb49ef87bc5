"""How much a step gave: rows, nulls and repeated rows, as far as they are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

from nbflow.record.stepstate import StepState
from nbflow.values.preview import Preview


@dataclass(frozen=True, slots=True)
class Amount:
    """How much a step gave.

    Attributes
    ----------
    rows
        How many rows; of a list of single values, how many values.
    form
        ``table``, or ``values`` where each row is a single value of a list.
    nulls, duplicates
        How many; None where unknown. Of a mapped step, rows are duplicates within one
        element.
    by_column
        How many nulls there are in each column, as far as columns are shown.
    """

    rows: int
    form: str = "table"
    nulls: int | None = None
    duplicates: int | None = None
    by_column: Mapping[str, int] = field(default_factory=dict)


def amount_of(step: StepState) -> Amount | None:
    """Tell how much a step gave; None for what has no rows, and where that is not known.

    Examples
    --------
    >>> from nbflow.record.events import Status
    >>> from nbflow.values.preview import preview
    >>> amount_of(StepState("load", Status.COMPLETED, preview=preview([3, 4]))).rows
    2
    """
    if not step.mapped:
        return None if step.preview is None else _of_preview(step.preview)
    looks = chain.from_iterable(part.previews.values() for part in step.elements)
    first = next(iter(looks), None)
    if step.rows is None:
        values = sum(part.scalars for part in step.elements)
        succeeded = sum(status.succeeded for part in step.elements for status in part.statuses)
        return Amount(values, "values") if values and values == succeeded else None
    # Where no element ended well, nothing is known to have been a table.
    form = "" if first is None else _form(first)
    return Amount(
        step.rows,
        form or "table",
        _sum(part.null_count for part in step.elements if part.rows != 0 or part.null_count),
        _sum(part.duplicates for part in step.elements if part.rows != 0 or part.duplicates),
    )


def _of_preview(look: Preview) -> Amount | None:
    form = _form(look)
    if look.rows is None or not form:
        return None
    columns = dict(zip(look.names, look.nulls, strict=False))
    return Amount(look.rows, form, look.null_count, look.duplicates, columns)


def _form(look: Preview) -> str:
    """Tell what the rows of a value are; nothing if it is a single row of its own."""
    if look.rows is None:
        return ""
    if look.dtypes or look.type_name == "DataFrame":
        return "table"
    if look.type_name in ("list", "tuple", "range"):
        return "values" if look.names in (("value",), ()) else "table"
    # A dict of scalars, or a record: a summary, and no table that has lost its rows.
    return "table" if look.rows != 1 else ""


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(each for each in known if each is not None)
