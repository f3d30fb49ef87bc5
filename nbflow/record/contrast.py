"""What differs between two runs: their steps, how these went, and what they gave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbflow.record.amount import amount_of
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState
from nbflow.sketch.difference import compared
from nbflow.sketch.settings import options_changed
from nbflow.sketch.sketch import Sketch
from nbflow.values.preview import Preview

if TYPE_CHECKING:
    import pandas as pd

# Times differ from run to run; this much is told of.
_RATIO, _SECONDS = 1.5, 0.1
_NAMED = 4


@dataclass(frozen=True, slots=True)
class Contrast:
    """What differs in one step.

    Attributes
    ----------
    name
        What it is called now, or was.
    before, now
        How it went; None where the run has no such step.
    flow
        What differs in the flow, in words.
    """

    name: str
    before: StepState | None
    now: StepState | None
    flow: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times as long it took."""
        both = [each.seconds if each is not None else None for each in (self.before, self.now)]
        was, took = both
        return None if not was or took is None else took / was

    @property
    def words(self) -> str:
        """All that differs, in words; empty if nothing does."""
        if self.before is None or self.now is None:
            return "added" if self.before is None else "removed"
        parts = [self.flow, *_results(self.before, self.now), self._time(self.before, self.now)]
        return "; ".join(part for part in parts if part)

    def _time(self, before: StepState, now: StepState) -> str:
        ratio = self.ratio
        if not ratio or abs((now.seconds or 0.0) - (before.seconds or 0.0)) < _SECONDS:
            return ""
        if ratio >= _RATIO:
            return f"took ×{ratio:.1f} as long"
        return f"×{1 / ratio:.1f} as fast" if ratio <= 1 / _RATIO else ""


def _results(before: StepState, now: StepState) -> Iterator[str]:
    # That a result was reused is no difference in it.
    if before.status != now.status and not (before.status.succeeded and now.status.succeeded):
        yield f"{before.status} → {now.status}"
    if not (before.status.succeeded and now.status.succeeded):
        return
    was, gave = amount_of(before), amount_of(now)
    for noun, a, b in (
        ("rows", was and was.rows, gave and gave.rows),
        ("columns", before.columns, now.columns),
        ("nulls", was and was.nulls, gave and gave.nulls),
        ("elements", before.total, now.total),
    ):
        if a is not None and b is not None and a != b:
            yield f"{noun} {a:,} → {b:,}"
    looks = _look(before), _look(now)
    if looks[0] is not None and looks[1] is not None:
        yield from _types(looks[0], looks[1])


def _look(step: StepState) -> Preview | None:
    if not step.mapped:
        return step.preview
    known = {n: look for part in step.elements for n, look in part.previews.items()}
    return known[min(known)] if known else None


def _types(before: Preview, now: Preview) -> Iterator[str]:
    """Say which columns have come, gone, or changed their type."""
    if before.type_name != now.type_name:
        yield f"{before.type_name} → {now.type_name}"
    if before.is_scalar and now.is_scalar and before.text != now.text:
        yield f"{before.text} → {now.text}"
    were, are = (dict.fromkeys(each.names) for each in (before, now))
    # Beyond those kept, columns are not known.
    whole = (before.columns, now.columns) == (len(were), len(are))
    gone = [name for name in were if name not in are] if whole else []
    new = [name for name in are if name not in were] if whole else []
    kinds = (dict(zip(each.names, each.dtypes, strict=False)) for each in (before, now))
    old, latest = kinds
    changed = [
        f"{name} is {latest[name]}, was {old[name]}"
        for name in latest
        if name in old and old[name] != latest[name]
    ]
    for word, names in (("lost column", gone), ("new column", new)):
        if names:
            yield f"{word}{'s' * (len(names) > 1)} {_listed(names)}"
    if changed:
        yield _listed(changed)


def _listed(names: list[str]) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def contrasts(
    before: RunState,
    now: RunState,
    flows: tuple[Sketch, Sketch] | None = None,
) -> list[Contrast]:
    """List the steps of two runs, and what differs in each: first those of the later one.

    Parameters
    ----------
    before, now
        How the runs are.
    flows
        What was run, the earlier one first; None where it is not known.

    Examples
    --------
    >>> from nbflow.record.events import Event, Status
    >>> from nbflow.record.state import PLAIN
    >>> from nbflow.values.preview import preview
    >>> runs = [RunState.planned("r", "etl", {"load": PLAIN}, 0.0).apply(
    ...     [Event("load", Status.COMPLETED, 1.0, preview=preview(list(range(rows))))])
    ...     for rows in (3, 5)]
    >>> [each.words for each in contrasts(*runs)]
    ['rows 3 → 5']
    """
    words = {} if flows is None else _flow_words(*flows)
    found = [
        Contrast(name, before.steps.get(name), step, words.get(name, ""))
        for name, step in now.steps.items()
    ]
    gone = [name for name in before.steps if name not in now.steps]
    return [*found, *(Contrast(name, before.steps[name], None) for name in gone)]


def _flow_words(old: Sketch, new: Sketch) -> Mapping[str, str]:
    difference = compared(old, new, {})
    options = options_changed(old, new, difference.pairs)
    rewired = difference.rewired or {}
    found = {}
    for name in difference.pairs:
        parts = [difference.changed.get(name, ""), rewired.get(name, ""), options.get(name, "")]
        if any(parts):
            found[name] = "; ".join(part for part in parts if part)
    return found


def contrast_table(found: list[Contrast]) -> pd.DataFrame:
    """Make the table that says what differs, step by step."""
    import pandas as pd

    pairs = [(each.before, each.now) for each in found]
    amounts = [[None if s is None else amount_of(s) for s in pair] for pair in pairs]
    columns: dict[str, object] = {
        "differs": pd.array([each.words for each in found], dtype="str"),
    }
    for side, end in enumerate(("_before", "")):
        steps, given = [pair[side] for pair in pairs], [pair[side] for pair in amounts]
        known = [None if step is None else step for step in steps]
        columns[f"status{end}"] = pd.array([str(s.status) if s else "" for s in known], dtype="str")
        times = [s.seconds if s else None for s in known]
        columns[f"seconds{end}"] = pd.Series(times, dtype="float64").array
        columns[f"rows{end}"] = pd.array([a.rows if a else None for a in given], dtype="Int64")
        wide = [s.columns if s else None for s in known]
        columns[f"columns{end}"] = pd.array(wide, dtype="Int64")
        columns[f"nulls{end}"] = pd.array([a.nulls if a else None for a in given], dtype="Int64")
    columns["ratio"] = pd.Series([each.ratio for each in found], dtype="float64").array
    order = ["differs", *(f"status{e}" for e in ("_before", "")), "seconds_before", "seconds"]
    order += ["ratio", "rows_before", "rows", "columns_before", "columns"]
    table = pd.DataFrame(columns, index=pd.Index([each.name for each in found], name="step"))
    return table[[*order, "nulls_before", "nulls"]]
