"""A run in as many lines as a terminal has, while it goes on: what is worth looking at first.

A flow that fits is shown as its tree. Of a larger one those steps are shown that a person
must look at, then those that run, those that have ended last, and those that come next; the
others are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from nbflow.notebook.appearance import seen, shown
from nbflow.notebook.columns import fitted, padded, wide
from nbflow.notebook.outlook import outlook
from nbflow.notebook.style import LOOKS, PROBLEMS, SEVERITY, Shown
from nbflow.notebook.telling import error
from nbflow.notebook.text import branches, described, headline
from nbflow.notebook.wording import count, counted, duration, printable
from nbflow.record.events import Status

if TYPE_CHECKING:
    from nbflow.algebra.flow import Flow
    from nbflow.record.state import RunState
    from nbflow.record.stepstate import StepState

_NAME, _ERROR = 48, 200
_MOST_PROBLEMS = 5
_BAR, _LEAST_BAR = 32, 8
# Of what is no problem, and of problems, in a summary; and how wide it is.
_FEW, _MANY, _WIDE = 12, 40, 400
_GOING: Final = frozenset({Status.RUNNING, Status.RETRYING})
# What is looked at first, where not all can be shown: problems, what goes on, what has ended
# last, and what comes next.
_GOES, _ENDED, _WAITS = len(SEVERITY), len(SEVERITY) + 1, len(SEVERITY) + 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a board.

    Attributes
    ----------
    text
        What it says.
    status
        What its sign is coloured by; None for a line without one.
    sign
        Where the sign stands, in characters.
    filled
        How many characters of a bar, from the first, are done.
    """

    text: str
    status: Shown | None = None
    sign: int = 0
    filled: int = 0


class Board:
    """What is shown of one run, line by line.

    Parameters
    ----------
    flow
        What runs.
    expected
        How many seconds it took when it ran before; None if that is not known.

    Examples
    --------
    >>> from nbflow import step
    >>> from nbflow.record.state import RunState, Shape
    >>> state = RunState.planned("r1", "etl", {"abs": Shape()}, 0.0)
    >>> for line in Board(4 >> step(abs)).lines(state, 2.0, 80, 24):
    ...     print(line.text)
    ◐ etl: running, run r1
    abs  ○ pending
    ──────────────────────────────── 0/1 step, 0 %, 2.0 s
    """

    def __init__(self, flow: Flow, expected: float | None = None) -> None:
        self.flow = flow
        self.expected = expected
        self._order = {name: at for at, name in enumerate(flow.topology.names)}
        self._known: Mapping[str, StepState] = {}
        self._shown: dict[str, Shown] = {}
        self._ranks: dict[str, tuple[int, float, int]] = {}

    def lines(self, state: RunState, now: float, columns: int, height: int) -> list[Line]:
        """Give what is shown of the run, in at most so many lines and columns.

        Parameters
        ----------
        state
            How the run is.
        now
            In seconds since the epoch.
        columns, height
            How much room there is.
        """
        state = seen(state)
        head = [_head(self.flow, state)]
        said = outlook(state, deterministic=False)
        head += [Line(said)] if said else []
        foot = [] if state.status.final else [self._progress(state, now, columns)]
        room = max(0, height - len(head) - len(foot))
        body = self._tree(state, now, room, columns)
        if body is None:
            body = self._list(state, now, room, columns)
        lines = [*head, *body, *foot][-height:] if height > 0 else []
        return [replace(line, text=fitted(line.text, columns)) for line in lines]

    def summary(self, state: RunState) -> list[Line]:
        """Give what is worth looking at in a run that has ended, and is too large for more.

        Parameters
        ----------
        state
            How the run is.
        """
        wrong = sum(_rank(step) < _GOES for step in seen(state).steps.values())
        return self.lines(state, 0.0, _WIDE, _FEW + min(wrong, _MANY))

    def _tree(self, state: RunState, now: float, room: int, columns: int) -> list[Line] | None:
        """Show the whole flow, and above it what is wrong; None if there is no room."""
        if len(state.steps) > room:
            return None
        drawn = branches(self.flow.topology, state)
        width = min(max((wide(head) for head, _ in drawn), default=0), _NAME, columns // 2)
        lines = []
        for head, name in drawn:
            step = state.steps.get(name)
            lines.append(Line(head) if step is None else _line(head, width, step, now))
        return [*_problems(state, min(_MOST_PROBLEMS, room - len(lines))), *lines]

    def _list(self, state: RunState, now: float, room: int, columns: int) -> list[Line]:
        """Show what is worth looking at first, and count the rest."""
        self._rank(state)
        chosen = nsmallest(max(0, room - 1), self._ranks.items(), key=itemgetter(1))
        names = [name for name, _ in chosen]
        heads = [printable(name, _NAME) for name in names]
        width = min(max(map(wide, heads), default=0), columns // 2)
        lines = [
            _line(head, width, state.steps[name], now)
            for head, name in zip(heads, names, strict=True)
        ]
        rest = Counter(self._shown.values()) - Counter(self._shown[name] for name in names)
        return [*lines, _left_out(rest)][:room]

    def _rank(self, state: RunState) -> None:
        """Say how much each step is worth looking at; most have not changed since."""
        known = self._known
        for name, step in state.steps.items():
            if known.get(name) is not step:
                self._shown[name] = shown(step)
                rank, at = _rank(step), self._order.get(name, 0)
                ended = -(step.ended or 0.0) if rank == _ENDED else 0.0
                self._ranks[name] = (rank, ended, at)
        self._known = state.steps

    def _progress(self, state: RunState, now: float, columns: int) -> Line:
        ended, done = 0, 0.0
        for step in state.steps.values():
            if step.status.final and step.status is not Status.INTERRUPTED:
                ended += 1
                done += 1
            elif step.total:
                done += min(1.0, step.done / step.total)
        total = len(state.steps)
        share = min(1.0, done / total) if total else 1.0
        elapsed = state.seconds(now)
        # Not done before it is.
        percent = min(int(100 * share), 99 if ended < total else 100)
        parts = [f"{count(ended)}/{counted(total, 'step')}", f"{percent} %", duration(elapsed)]
        if self.expected:
            left = self.expected - elapsed
            took = duration(self.expected)
            parts.append(f"about {duration(left)} left" if left > 0 else f"{took} last time")
        said = ", ".join(parts)
        bar = min(_BAR, columns - wide(said) - 1)
        if bar < _LEAST_BAR:
            return Line(said)
        filled = int(bar * share)
        return Line(f"{'━' * filled}{'─' * (bar - filled)} {said}", filled=filled)


def _head(flow: Flow, state: RunState) -> Line:
    status = state.status
    if status.final:
        return Line(headline(flow, state), status)
    name, run = printable(state.name, _NAME), printable(state.run_id, _NAME)
    return Line(f"{LOOKS[status].sign} {name}: {status.value}, run {run}", status)


def _line(head: str, width: int, step: StepState, now: float) -> Line:
    status = shown(step)
    said = described(step)
    if status in _GOING and step.started is not None and step.seconds is None:
        said += f", {duration(max(0.0, now - step.started))}"
    before = padded(fitted(head, width), width) + "  "
    return Line(before + said, status, len(before))


def _problems(state: RunState, room: int) -> Iterator[Line]:
    """Say what is wrong, the worst first: in the tree there is less room for it."""
    steps = (each for each in state.steps.values() if _rank(each) < _GOES)
    for step in sorted(steps, key=_rank)[: max(0, room)]:
        said = error(step, deterministic=False, limit=_ERROR)
        if said:
            status, name = shown(step), printable(step.name, _NAME)
            yield Line(f"{LOOKS[status].sign} {name}: {said}", status)


def _rank(step: StepState) -> int:
    status = shown(step)
    if status in PROBLEMS:
        return SEVERITY.index(status)
    if step.error is not None:
        return SEVERITY.index(Status.FAILED)
    if status in _GOING or not (step.status.final or status is Status.PENDING):
        return _GOES
    return _ENDED if step.status.final else _WAITS


def _left_out(rest: Counter[Shown]) -> Line:
    parts = [f"{count(rest[each])} {each.value}" for each in reversed(SEVERITY) if rest[each]]
    return Line(f"… {counted(rest.total(), 'more step')}: {', '.join(parts)}")
