"""The steps of a run as HTML: one table, and what there is to know of each step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.events import ElementRecords, ErrorRecord, Status
from nbflow.state import RunState, StepState
from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.style import LOOKS
from nbflow.notebook.wording import (
    count,
    counted,
    dimensions,
    duration,
    paragraph,
    printable,
    size,
    without_addresses,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nbflow.preview import Preview

MOST_ROWS = 120
MANY_STEPS = 60
_FIRST_STEPS = 12
_FAILURES_SIZE, _DETAILS_SIZE = 50_000, 130_000
_ROWS, _COLUMNS = 10, 12
_CELL, _NAME, _REASON = 60, 64, 200
_LOG, _TRACEBACK = 4_000, 8_000

_MUTED = "opacity: 0.7"
# JupyterLab aligns everything to the right, plain pages to the left.
_LEFT, _RIGHT = "text-align: left", "text-align: right; white-space: nowrap"
_MONO = "font-family: monospace; line-height: 1.35; margin: 4px 0"
_LINE = f"{_MONO}; overflow: auto; max-height: 320px"
_GAP = "margin: 6px 0"
_TABLE = "margin: 8px 0; border-collapse: collapse; font-size: 12px"
_ERROR = f"{_MONO}; padding-left: 10px; border-left: 3px solid #d55e00"


def chip(status: Status, said: str = "") -> Markup:
    """Show a status by its sign and word, on its colour."""
    look = LOOKS[status]
    style = (
        f"background-color: {look.fill}; color: {look.ink}; border: 1px solid {look.border}; "
        "border-radius: 9px; padding: 0 7px; white-space: nowrap"
    )
    return element("span", f"{look.sign} {said or status.value}", style=style)


def muted(*children: str) -> Markup:
    """Write what matters less."""
    return element("span", *children, style=_MUTED)


def in_order(state: RunState) -> list[StepState]:
    """Give the steps of a run, those that failed first."""
    steps = list(state.steps.values())
    return sorted(steps, key=lambda step: step.status is not Status.FAILED)


# The table


def table(state: RunState, *, deterministic: bool = False) -> Markup:
    """Show the steps of a run as a table, the failed ones first.

    Parameters
    ----------
    state
        The run.
    deterministic
        Whether to leave out what differs from run to run, such as times.

    Examples
    --------
    >>> state = RunState.planned("r1", "etl", {"load": None}, 0.0)
    >>> "○ pending" in table(state)
    True
    """
    steps = in_order(state)
    columns = [each for each in _columns(deterministic) if each.shown(steps)]
    head = element("tr", *(element("th", each.title, style=each.style) for each in columns))
    rows = [
        element("tr", *(element("td", each.cell(step), style=each.style) for each in columns))
        for step in steps[:MOST_ROWS]
    ]
    shown = _framed(head, rows)
    more = len(steps) - MOST_ROWS
    if more <= 0:
        return shown
    return joined((shown, element("p", f"… {counted(more, 'more step')}; run.steps has all")))


def _framed(head: Markup, rows: Iterable[Markup]) -> Markup:
    # The padding is for pages that bring no style for tables.
    inside = (element("thead", head), element("tbody", *rows))
    return element("table", *inside, cellpadding="4", cellspacing="0", style=_TABLE)


class _Column:
    """One column of the table of steps, left out where it has nothing to say."""

    def __init__(
        self, title: str, cell: Callable[[StepState], str], style: str = _LEFT, least: str = ""
    ) -> None:
        self.title = title
        self.cell = cell
        self.style = style
        self._least = least

    def shown(self, steps: Iterable[StepState]) -> bool:
        return any(self.cell(step) not in ("", self._least) for step in steps)


def _columns(deterministic: bool) -> list[_Column]:
    columns = [
        _Column("step", lambda step: element("b", _title(step))),
        _Column("status", lambda step: chip(step.status)),
        _Column("attempts", lambda s: str(s.attempts or ""), _RIGHT, least="1"),
        _Column("time", lambda step: duration(step.seconds), _RIGHT),
        _Column("rows", lambda s: "" if s.rows is None else count(s.rows), _RIGHT),
        _Column("columns", lambda s: "" if s.columns is None else count(s.columns), _RIGHT),
        _Column("size", lambda step: size(step.bytes), _RIGHT),
        _Column("worker", lambda step: printable(step.worker, _NAME)),
        _Column("reason", lambda step: _reason(step, deterministic)),
    ]
    if deterministic:
        return [each for each in columns if each.title not in ("time", "size", "worker")]
    return columns


def _title(step: StepState) -> str:
    name = printable(step.name, _NAME)
    return name if step.total is None else f"{name} × {count(step.total)}"


def _reason(step: StepState, deterministic: bool) -> str:
    if step.error is None:
        return printable(step.reason, _REASON)
    failed = f"{count(step.failed)} of {count(step.total or 0)} failed, first: "
    said = f"{step.error.type_name}: {_message(step.error, deterministic)}"
    return (failed if step.total is not None else "") + printable(said, _REASON)


def _message(error: ErrorRecord, deterministic: bool) -> str:
    return without_addresses(error.message) if deterministic else error.message


# Each step


def failures(state: RunState, *, deterministic: bool = False) -> Markup:
    """Show why steps failed, one after the other, and open."""
    steps = [step for step in state.steps.values() if step.status is Status.FAILED]
    return _bounded(steps, steps, _FAILURES_SIZE, deterministic=deterministic)


def details(state: RunState, *, deterministic: bool = False) -> Markup:
    """Show what there is to know of each step that did not fail, folded away.

    Of a large run only the first steps are shown, and the whole has a bounded size.
    """
    every = [step for step in state.steps.values() if step.status is not Status.FAILED]
    steps = [step for step in every if _has_more(step)]
    first = steps[:_FIRST_STEPS] if len(state.steps) > MANY_STEPS else steps
    return _bounded(first, steps, _DETAILS_SIZE, deterministic=deterministic)


def _bounded(
    wanted: Sequence[StepState], every: Sequence[StepState], room: int, *, deterministic: bool
) -> Markup:
    shown: list[Markup] = []
    for step in wanted:
        block = _step(step, deterministic)
        room -= len(block)
        if room < 0:
            break
        shown.append(block)
    left = len(every) - len(shown)
    if left:
        said = f"… {counted(left, 'more step')} without details here; run[name] has them"
        shown.append(element("p", said, style=_MUTED))
    return joined(shown)


def _has_more(step: StepState) -> bool:
    return bool(step.preview or step.log or step.error or step.elements)


def _step(step: StepState, deterministic: bool) -> Markup:
    failed = step.status is Status.FAILED
    label = chip(step.status) + " " if failed else ""
    summary = element(
        "summary", Markup(label), element("b", _title(step)), " ", muted(_contents(step))
    )
    parts = [*_errors(step, deterministic)]
    if step.preview is not None:
        parts.append(preview(step.preview))
    parts += _elements(step.elements)
    if step.log:
        log = without_addresses(step.log) if deterministic else step.log
        parts.append(element("pre", paragraph(log, _LOG), style=_LINE))
    return element("details", summary, *parts, style=_GAP, open="open" if failed else "")


def _contents(step: StepState) -> str:
    parts = []
    if step.error is not None:
        parts.append(printable(step.error.type_name, _NAME))
    if step.preview is not None:
        shape = dimensions(step.preview.rows, step.preview.columns)
        parts.append(f"{printable(step.preview.type_name, _NAME)} {shape}".rstrip())
    if step.total is not None:
        parts.append(counted(step.total, "element"))
        parts.append(dimensions(step.rows, step.columns))
    if step.log:
        parts.append(counted(len(step.log.splitlines()), "line") + " of log")
    return " · ".join(part for part in parts if part)


def _errors(step: StepState, deterministic: bool) -> Iterator[Markup]:
    if step.error is None:
        return
    said = f"{step.error.type_name}: {paragraph(_message(step.error, deterministic), _LOG)}"
    if deterministic or not step.error.traceback:
        # A traceback names files of this one kernel.
        yield element("pre", said, style=_ERROR)
    else:
        yield element("pre", paragraph(step.error.traceback, _TRACEBACK), style=_ERROR)


def _elements(records: Sequence[ElementRecords]) -> Iterator[Markup]:
    """Show the first element of a mapped step that has a preview."""
    for each in sorted(records, key=lambda record: record.start):
        for position, seen in sorted(each.previews.items()):
            yield element("p", f"element {position}:", style=_MUTED)
            yield preview(seen)
            return


def preview(seen: Preview) -> Markup:
    """Show the head of a table, or the text of what is none.

    Examples
    --------
    >>> from nbflow.preview import preview as look
    >>> "<td" in preview(look([{"city": "Oslo"}]))
    True
    """
    if not seen.names:
        return element("pre", paragraph(seen.text or seen.type_name, _LOG), style=_LINE)
    names = seen.names[:_COLUMNS]
    head = [element("th", "")] if seen.index else []
    for position, name in enumerate(names):
        kind = seen.dtypes[position] if position < len(seen.dtypes) else ""
        below = (element("br"), muted(printable(kind, _CELL))) if kind else ()
        side = _LEFT if any(isinstance(row[position], str) for row in seen.cells) else _RIGHT
        head.append(element("th", printable(name, _CELL), *below, style=side))
    rows = [
        element("tr", *_label(seen, number), *map(_cell, row[:_COLUMNS]))
        for number, row in enumerate(seen.cells[:_ROWS])
    ]
    body = _framed(element("tr", *head), rows)
    scrolled = element("div", body, style="overflow: auto; margin: 4px 0")
    whole = dimensions(seen.rows, seen.columns)
    left = (seen.rows or 0) > len(rows) or (seen.columns or 0) > len(names)
    if not left:
        return scrolled
    said = f"the first {len(rows)} × {len(names)} of {whole}"
    return joined((scrolled, element("p", said, style=f"{_MUTED}; margin: 2px 0")))


def _label(seen: Preview, number: int) -> list[Markup]:
    if not seen.index:
        return []
    label = seen.index[number] if number < len(seen.index) else ""
    return [element("th", printable(label, _CELL))]


def _cell(value: str | int | float | bool | None) -> Markup:
    if value is None:
        return element("td", muted("NaN"), style=_RIGHT)
    if isinstance(value, str):
        return element("td", printable(value, _CELL), style=_LEFT)
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return element("td", shown, style=_RIGHT)
