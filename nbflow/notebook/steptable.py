"""The steps of a run as HTML: one table, and what there is to know of each step."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nbflow.notebook.appearance import shown as appearance
from nbflow.notebook.elements import elements
from nbflow.notebook.figure import numbered
from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.rolledback import told as told_of_undoing
from nbflow.notebook.sheets import LEFT, LINE, MONO, MUTED, RIGHT, framed, muted, preview
from nbflow.notebook.style import LOOKS, PROBLEMS, SEVERITY, Mark, Shown
from nbflow.notebook.telling import (
    begin,
    doubt,
    error,
    put_aside,
    reason,
    retrying,
    undo_error,
    word,
)
from nbflow.notebook.wording import (
    count,
    counted,
    dimensions,
    duration,
    paragraph,
    printable,
    size,
    timeless,
    without_addresses,
)
from nbflow.record.events import ErrorRecord, Status
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from nbflow.notebook.undoing import Undone

MOST_ROWS = 120
MANY_STEPS = 60
_FIRST_STEPS = 12
_FAILURES_SIZE, _DETAILS_SIZE = 50_000, 130_000
_NAME, _REASON = 64, 200
_LOG, _TRACEBACK = 4_000, 8_000
_DOUBTS = 20

_GAP = "margin: 6px 0"
_ERROR = f"{MONO}; padding-left: 10px; border-left: 3px solid #d55e00"


def chip(status: Shown, said: str = "") -> Markup:
    """Show a status by its sign and word, on its colour."""
    look = LOOKS[status]
    style = (
        f"background-color: {look.fill}; color: {look.ink}; border: 1px solid {look.border}; "
        "border-radius: 9px; padding: 0 7px; white-space: nowrap"
    )
    return element("span", f"{look.sign} {said or status.value}", style=style)


def in_order(state: RunState) -> list[StepState]:
    """Give the steps of a run, those first that a person must look at, the worst foremost."""
    return sorted(state.steps.values(), key=lambda step: _rank(appearance(step)))


def _rank(status: Shown) -> int:
    return SEVERITY.index(status) if status in PROBLEMS else len(SEVERITY)


# The table


def table(state: RunState, *, deterministic: bool = False) -> Markup:
    """Show the steps of a run as a table, problems first.

    Parameters
    ----------
    state
        The run.
    deterministic
        Whether to leave out what differs from run to run, such as times.

    Examples
    --------
    >>> from nbflow.record.state import Shape
    >>> state = RunState.planned("r1", "etl", {"load": Shape()}, 0.0)
    >>> "○ pending" in table(state)
    True
    """
    steps = in_order(state)
    columns = [each for each in _columns(deterministic) if each.shown(steps[:MOST_ROWS])]
    head = element("tr", *(element("th", each.title, style=each.style) for each in columns))
    rows = [
        element("tr", *(element("td", each.cell(step), style=each.style) for each in columns))
        for step in steps[:MOST_ROWS]
    ]
    shown = framed(head, rows)
    more = len(steps) - MOST_ROWS
    if more <= 0:
        return shown
    return joined((shown, element("p", f"… {counted(more, 'more step')}; run.steps has all")))


class _Column:
    """One column of the table of steps, left out where it has nothing to say."""

    def __init__(
        self, title: str, cell: Callable[[StepState], str], style: str = LEFT, least: str = ""
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
        _Column("status", lambda step: chip(appearance(step))),
        _Column("attempts", lambda s: str(s.attempts or ""), RIGHT, least="1"),
        _Column("time", lambda step: duration(step.seconds), RIGHT),
        _Column("rows", lambda s: "" if s.rows is None else count(s.rows), RIGHT),
        _Column("columns", lambda s: "" if s.columns is None else count(s.columns), RIGHT),
        _Column("size", lambda step: size(step.bytes), RIGHT),
        _Column("worker", lambda step: printable(step.worker, _NAME)),
        _Column("reason", lambda step: _reason(step, deterministic)),
    ]
    if deterministic:
        return [each for each in columns if each.title not in ("time", "size", "worker")]
    return columns


def _title(step: StepState) -> str:
    name = printable(step.name, _NAME)
    return f"{name} × {numbered(step.total)}" if step.mapped else name


def _reason(step: StepState, deterministic: bool) -> str:
    parts = []
    if step.status is Status.RETRYING:
        parts += retrying(step, deterministic=deterministic)[1:]
    begins = begin(step, deterministic=deterministic)
    parts += [begins] if begins else []
    said = word(step)
    parts += [said] if said != appearance(step).value else []
    if step.mapped and step.done > 0 and step.done != step.total:
        parts.append(f"{count(step.done)} of {numbered(step.total)} ended")
    parts += filter(None, [doubt(step, deterministic=deterministic, limit=_REASON)])
    failed = undo_error(step, deterministic=deterministic, limit=_REASON)
    parts += [f"undoing it failed: {failed}"] if failed else []
    if step.mapped and step.error is not None:
        parts.append(f"{count(step.failed)} of {numbered(step.total)} failed")
    parts += put_aside(replace(step, failed=0))
    first = "first: " if step.mapped and step.error is not None else ""
    said = error(step, deterministic=deterministic, limit=_REASON)
    said = said or ("" if begins else reason(step, deterministic=deterministic, limit=_REASON))
    return ", ".join([*parts, *([first + said] if said else [])])


def _message(error: ErrorRecord, deterministic: bool) -> str:
    return without_addresses(error.message) if deterministic else error.message


# Each step


def failures(
    state: RunState, *, undone: Sequence[Undone] = (), deterministic: bool = False
) -> Markup:
    """Show why steps failed or are in doubt, one after the other, and open."""
    steps = [step for step in in_order(state) if _is_problem(step)]
    return _Details(undone, deterministic).bounded(steps, steps, _FAILURES_SIZE)


def details(
    state: RunState, *, undone: Sequence[Undone] = (), deterministic: bool = False
) -> Markup:
    """Show what there is to know of each step that did not fail, folded away.

    Of a large run only the first steps are shown, and the whole has a bounded size.

    Parameters
    ----------
    state
        The run.
    undone
        What was undone in it.
    deterministic
        Whether to leave out what differs from run to run.
    """
    every = [step for step in state.steps.values() if not _is_problem(step)]
    steps = [step for step in every if _has_more(step)]
    first = steps[:_FIRST_STEPS] if len(state.steps) > MANY_STEPS else steps
    return _Details(undone, deterministic).bounded(first, steps, _DETAILS_SIZE)


def _is_problem(step: StepState) -> bool:
    # A map is compensated when its good elements are, and its errors still count.
    return appearance(step) in PROBLEMS or step.error is not None


class _Details:
    """What is told of steps, apart from the table."""

    def __init__(self, undone: Sequence[Undone], deterministic: bool) -> None:
        self.deterministic = deterministic
        self.undone: dict[str, list[Undone]] = {}
        for each in undone:
            self.undone.setdefault(each.step, []).append(each)

    def bounded(self, wanted: Sequence[StepState], every: Sequence[StepState], room: int) -> Markup:
        """Show as many of the steps as there is room for, and say how many are left."""
        shown: list[Markup] = []
        for step in wanted:
            block = self._step(step)
            room -= len(block)
            if room < 0:
                break
            shown.append(block)
        left = len(every) - len(shown)
        if left:
            said = f"… {counted(left, 'more step')} without details here; run[name] has them"
            shown.append(element("p", said, style=MUTED))
        return joined(shown)

    def _step(self, step: StepState) -> Markup:
        problem = _is_problem(step)
        label = chip(appearance(step)) + " " if problem else ""
        contents = muted(_contents(step, self.deterministic))
        summary = element("summary", Markup(label), element("b", _title(step)), " ", contents)
        parts = self.inside(step)
        return element("details", summary, *parts, style=_GAP, open="open" if problem else "")

    def inside(self, step: StepState) -> list[Markup]:
        """Show what there is to know of a step: what stands in the way first."""
        parts = [*_doubts(step, self.deterministic), *_errors(step, self.deterministic)]
        undoing = told_of_undoing(self.undone.get(step.name, ()), deterministic=self.deterministic)
        if appearance(step) is Mark.NOT_UNDONE:
            parts += undoing
        if step.preview is not None:
            parts.append(preview(step.preview))
        parts += elements(step, deterministic=self.deterministic)
        if step.log:
            log = without_addresses(step.log) if self.deterministic else step.log
            parts.append(element("pre", paragraph(log, _LOG), style=LINE))
        parts += undoing
        return parts


def sheet(step: StepState) -> Markup:
    """Show one step by itself: a line in short, then all there is to know of it.

    Examples
    --------
    >>> "completed" in sheet(StepState("load", Status.COMPLETED))
    True
    """
    columns = [each for each in _columns(deterministic=False)[2:] if each.cell(step)]
    said = " · ".join(f"{each.title} {each.cell(step)}" for each in columns)
    head = element("div", chip(appearance(step)), " ", muted(said))
    return joined([head, *_Details((), False).inside(step)])


def _has_more(step: StepState) -> bool:
    told = any(each.log for each in step.undone.values())
    return bool(step.preview or step.log or step.error or step.elements or told)


def _contents(step: StepState, deterministic: bool) -> str:
    parts = []
    if step.error is not None:
        parts.append(printable(step.error.type_name, _NAME))
    if step.preview is not None:
        shape = dimensions(step.preview.rows, step.preview.columns)
        parts.append(f"{printable(step.preview.type_name, _NAME)} {shape}".rstrip())
    if step.mapped:
        parts.append("… elements" if step.total is None else counted(step.total, "element"))
        parts.append(dimensions(step.rows, step.columns))
    if step.log:
        parts.append(counted(len(step.log.splitlines()), "line") + " of log")
    # Whether a result is kept may depend on how long it took.
    kept = 0 if deterministic else _kept(step)
    if kept:
        parts.append(f"kept, {size(kept)}")
    return " · ".join(part for part in parts if part)


def _kept(step: StepState) -> int:
    """Add up how large the kept results of a step are."""
    parts = {each.kept for part in step.elements for each in part.kept}
    return sum(each.nbytes for each in {*parts, *([step.kept] if step.kept else [])})


def _doubts(step: StepState, deterministic: bool) -> Iterator[Markup]:
    """Say what is in doubt, and how to settle it."""
    if not step.doubts:
        return
    look = f"{LINE}; padding-left: 10px; border-left: 3px solid {LOOKS[Mark.DOUBT].border}"
    lines = []
    for called, why in step.in_doubt[:_DOUBTS]:
        said = timeless(why) if deterministic else why
        lines.append(f"{printable(called, _NAME)}: {printable(said, _LOG)}")
    more = len(step.doubts) - len(lines)
    lines += [f"… {counted(more, 'more element')}"] if more > 0 else []
    yield element("pre", "\n".join(lines), style=look)


def _errors(step: StepState, deterministic: bool) -> Iterator[Markup]:
    if step.error is None:
        return
    said = f"{step.error.type_name}: {paragraph(_message(step.error, deterministic), _LOG)}"
    if deterministic or not step.error.traceback:
        # A traceback names files of this one kernel.
        yield element("pre", said, style=_ERROR)
    else:
        yield element("pre", paragraph(step.error.traceback, _TRACEBACK), style=_ERROR)
