"""A flow or a run as indented text: the twin of the picture, and what stands in for it.

A line follows from the line above it, unless it says after which steps it comes.
Only branches are indented, so a long chain stays at the margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nbflow.algebra.expression import Node, ParamRef, leaves, parts_of
from nbflow.notebook.appearance import counts, seen, shown
from nbflow.notebook.arms import Wires, wires
from nbflow.notebook.figure import at_once, numbered
from nbflow.notebook.outlook import outlook
from nbflow.notebook.style import LOOKS, PROBLEMS, Mark
from nbflow.notebook.telling import (
    begin,
    doubt,
    elements,
    error,
    put_aside,
    reason,
    retrying,
    tried,
    undo_error,
    word,
)
from nbflow.notebook.traits import chunked, traits
from nbflow.notebook.undoing import undone
from nbflow.notebook.wording import count, counted, dimensions, duration, listed, printable
from nbflow.record.events import Status
from nbflow.record.state import RunState
from nbflow.record.stepstate import StepState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbflow.algebra.flow import Flow
    from nbflow.algebra.topology import Topology

_NAME = 48
_CASE = 24
_REASON = 160
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class _Line:
    level: int
    branches: bool
    label: str
    position: int


def tree(
    flow: Flow,
    state: RunState | None = None,
    *,
    limit: int = 300,
    deterministic: bool = False,
) -> str:
    """Write a flow, or a run of it, as an indented tree.

    Parameters
    ----------
    flow
        What to write.
    state
        How a run of it is.
    limit
        How many steps are written at most.
    deterministic
        Whether to leave out what differs from run to run, such as times.

    Examples
    --------
    >>> from nbflow import step
    >>> print(tree(group_of_two() >> step(max)))  # doctest: +SKIP
    max: 3 steps
    ├─ eu
    └─ us
    max ← eu, us
    """
    topology = flow.topology
    state = None if state is None else seen(state)
    lines = _lines(topology, wires(topology), state)
    shown = lines[:limit]
    heads = _drawn(shown)
    if state is not None:
        heads = _aligned(heads, [_told(state, topology, line, deterministic) for line in shown])
    title = headline(flow, state, deterministic=deterministic)
    rest = [topology.names[line.position] for line in lines[limit:]]
    unknown = StepState("")
    steps = [unknown if state is None else state.steps.get(name, unknown) for name in rest]
    below = [] if state is None else _undone(flow, state)
    return "\n".join([title, *_outlook(state, deterministic), *heads, *_left_out(steps), *below])


def branches(topology: Topology, state: RunState) -> list[tuple[str, str]]:
    """Give the lines of the tree without what is said of each step, and the step of each.

    Parameters
    ----------
    topology
        The flow.
    state
        How a run of it is.
    """
    lines = _lines(topology, wires(topology), state)
    names = (topology.names[line.position] for line in lines)
    return list(zip(_drawn(lines), names, strict=True))


def headline(flow: Flow, state: RunState | None, *, deterministic: bool = False) -> str:
    """Write in one line what is shown: name, size, and how a run went."""
    if state is not None:
        return _run_headline(flow.name, state, deterministic=deterministic)
    nodes, names = flow.topology.nodes, flow.topology.names
    opened = [name for node, name in zip(nodes, names, strict=True) if node.open]
    lacking = f", open at {listed(opened)}" if opened else ""
    return f"{printable(flow.name, _NAME)}: {counted(len(nodes), 'step')}{lacking}"


def _run_headline(name: str, state: RunState, *, deterministic: bool) -> str:
    said = f"{LOOKS[state.status].sign} {printable(name, _NAME)}: {state.status.value}"
    parts = [said, counted(len(state.steps), "step")]
    if not deterministic:
        if state.ended is not None:
            parts.append(duration(state.seconds(state.ended)))
        parts.append(f"run {printable(state.run_id, _NAME)}")
    return ", ".join(part for part in parts if part) + f" ({_counts(state)})"


def listing(state: RunState, *, limit: int = 300, deterministic: bool = False) -> str:
    """Write the steps of a run whose flow is not known, one on each line."""
    state = seen(state)
    steps = list(state.steps.values())
    heads = [printable(step.name, _NAME) for step in steps[:limit]]
    told = [described(step, deterministic=deterministic) for step in steps[:limit]]
    title = _run_headline(state.name, state, deterministic=deterministic)
    lines = [*_outlook(state, deterministic), *_aligned(heads, told), *_left_out(steps[limit:])]
    return "\n".join([title, *lines, *_undone(None, state)])


def _outlook(state: RunState | None, deterministic: bool) -> list[str]:
    said = "" if state is None else outlook(state, deterministic=deterministic)
    return [said] if said else []


def _undone(flow: Flow | None, state: RunState) -> list[str]:
    """Say what was undone, in that order: what arrows back say in a picture."""
    entries = undone(flow, state)
    done = [
        printable(each.label, _NAME) + (f" by {each.by}" if each.by else "")
        for each in entries
        if each.done
    ]
    if not done:
        return []
    return [f"undone, in this order: {listed(done, 2 * _NAME)}"]


def _counts(state: RunState) -> str:
    found = reversed(counts(state.steps.values()).items())
    return ", ".join(f"{count(number)} {status.value}" for status, number in found) or "empty"


def _lines(topology: Topology, edges: Wires, state: RunState | None) -> list[_Line]:
    lines: list[_Line] = []
    levels: list[int] = []
    latest: dict[int, int] = {}
    sources = sum(not upstream for upstream in edges.upstream)
    idle: dict[int, list[str]] = {}
    for arm in edges.idle:
        idle.setdefault(arm.decider, []).append(_way(arm.case, arm.title))
    capped = _capped(topology)
    for position, upstream in enumerate(edges.upstream):
        level, branches = _placed(topology, edges, levels, position, alone=sources == 1)
        levels.append(level)
        # A branch hangs on the last line further left, any other line on the one above.
        above = latest.get(level - 1) if branches else position - 1
        back = not branches and len(upstream) == 1 and level < levels[upstream[0]]
        follows = list(upstream) == [above] and level <= _DEEPEST and not back
        latest[level] = position
        known = None if state is None else state.steps.get(topology.names[position])
        notes = [
            *idle.get(position, ()),
            *_notes(topology.nodes[position]),
            *capped.get(position, ()),
        ]
        label = _name(topology, edges, position, None if known is None else known.total)
        label += f" ({', '.join(notes)})" if notes else ""
        label += _sources(topology, edges, position, follows=follows)
        lines.append(_Line(min(level, _DEEPEST), branches, label, position))
    return lines


def _placed(
    topology: Topology, edges: Wires, levels: Sequence[int], position: int, *, alone: bool
) -> tuple[int, bool]:
    """Say how far a step is indented, and whether it begins a branch."""
    upstream = edges.upstream[position]
    if not upstream:
        return (0, False) if alone else (1, True)
    if len(upstream) > 1:
        outer = (levels[each] - max(1, _left(topology, each, position)) for each in upstream)
        return max(0, min(outer)), False
    level = levels[upstream[0]]
    if len(edges.downstream[upstream[0]]) > 1 or edges.entries[position] is not None:
        return level + 1, True
    # What follows an arm that is the only one stands below the decision again.
    return max(0, level - _left(topology, upstream[0], position)), False


def _left(topology: Topology, tail: int, head: int) -> int:
    """Count the arms that end between two steps."""
    arms, inside = topology.demands.arms, set()
    guard = arms[head]
    while guard is not None:
        inside.add((guard.position, guard.arm))
        guard = arms[guard.position]
    count, guard = 0, arms[tail]
    while guard is not None and (guard.position, guard.arm) not in inside:
        count += 1
        guard = arms[guard.position]
    return count


def _way(case: str, name: str) -> str:
    return f"{printable(case, _CASE)}: {printable(name, _NAME)}"


def _name(topology: Topology, edges: Wires, position: int, total: int | None) -> str:
    """Write a step with the case that leads to it and the number of its elements."""
    node, entry = topology.nodes[position], edges.entries[position]
    label = printable(topology.names[position], _NAME)
    if node.call.decision is not None:
        label = f"◇ {label}"
    if node.axis is not None:
        counts = [axis.count for axis in node.axis.lineage]
        if counts[0] is None:
            counts[0] = total
        label += "".join(f" × {numbered(each)}" for each in counts)
    if entry is not None:
        cases = edges.cases.get((entry.position, position), ())
        return f"{printable(' or '.join(cases), _CASE)}: {label}"
    return label


def _notes(node: Node) -> list[str]:
    notes = traits(node.call)
    for axis in () if node.axis is None else node.axis.lineage:
        notes += chunked(axis)
        if axis.limit is not None:
            notes.append(at_once(axis.limit))
    params = dict.fromkeys(_params(node))
    return [*notes, f"param {listed(list(params))}"] if params else notes


def _capped(topology: Topology) -> dict[int, list[str]]:
    """Say at the first step of a group how many of its members may run at once."""
    first: dict[int, int] = {}
    members: dict[int, set[int]] = {}
    for position, lot in enumerate(topology.demands.lots):
        if lot is not None:
            first.setdefault(id(lot.cap), position)
            members.setdefault(id(lot.cap), set()).add(lot.member)
    found: dict[int, list[str]] = {}
    for identity, position in first.items():
        lot = topology.demands.lots[position]
        assert lot is not None
        said = f"at most {count(lot.cap.limit)} of {count(len(members[identity]))} at once"
        found[position] = [said]
    return found


def _params(node: Node) -> list[str]:
    parts = parts_of(node)
    return [leaf.name for part in parts for leaf in leaves(part) if isinstance(leaf, ParamRef)]


def _sources(topology: Topology, edges: Wires, position: int, *, follows: bool) -> str:
    """Name the steps that a step gets something from, unless they are seen."""
    names, waited = topology.names, edges.order_only[position]
    above = edges.drawn[position] or edges.upstream[position]
    flowing = [names[each] for each in above if each not in waited]
    said = f" ← {listed(flowing)}" if flowing and not follows else ""
    if waited:
        said += f", after {listed([names[each] for each in waited])}"
    return said


def _drawn(lines: Sequence[_Line]) -> list[str]:
    """Draw the branches, from the last line up: a branch is closed by what is below it."""
    drawn: list[str] = []
    below = [False] * (_DEEPEST + 2)
    for line in reversed(lines):
        for level in range(line.level + 1, len(below)):
            below[level] = False
        rails = "".join("│  " if below[level] else "   " for level in range(1, line.level))
        if line.level:
            if line.branches:
                rails += "├─ " if below[line.level] else "└─ "
                below[line.level] = True
            else:
                rails += "│  " if below[line.level] else "   "
        drawn.append(rails + line.label)
    return drawn[::-1]


def _aligned(heads: Sequence[str], told: Sequence[str]) -> list[str]:
    width = min(max(map(len, heads), default=0), _NAME)
    pairs = zip(heads, told, strict=True)
    return [f"{head:<{width}}  {said}".rstrip() for head, said in pairs]


def _told(state: RunState, topology: Topology, line: _Line, deterministic: bool) -> str:
    step = state.steps.get(topology.names[line.position])
    return "" if step is None else described(step, deterministic=deterministic)


def described(step: StepState, *, deterministic: bool = False) -> str:
    """Say in one line how a step of a run is.

    Examples
    --------
    >>> described(StepState("clean", Status.COMPLETED, 2, seconds=0.5, rows=12, columns=3))
    '✓ completed, 500 ms, 2 attempts, 12 × 3'
    """
    status = shown(step)
    sign, parts = LOOKS[status].sign, [status.value]
    begins = begin(step, deterministic=deterministic)
    if status is Status.RETRYING:
        parts = retrying(step, deterministic=deterministic)
    elif isinstance(status, Mark) or status is Status.COMPENSATED:
        parts = [word(step)]
    elif begins:
        parts.append(begins)
    elif step.mapped and step.status is not Status.SKIPPED and (step.done or not step.status.final):
        parts.append(f"{elements(step)} elements")
        parts += put_aside(step)
    if not deterministic:
        parts.append(duration(step.seconds))
    if status is not Status.RETRYING:
        parts.append(tried(step))
    parts.append(dimensions(step.rows, step.columns))
    parts.append(doubt(step, deterministic=deterministic, limit=_REASON))
    parts.append(undo_error(step, deterministic=deterministic, limit=_REASON))
    parts.append("" if begins else reason(step, deterministic=deterministic, limit=_REASON))
    parts.append(error(step, deterministic=deterministic, limit=_REASON))
    return f"{sign} " + ", ".join(part for part in parts if part)


def _left_out(steps: Sequence[StepState]) -> list[str]:
    if not steps:
        return []
    said = f"… {counted(len(steps), 'more step')}"
    for problem in (each for each in counts(steps) if each in PROBLEMS):
        names = [step.name for step in steps if shown(step) is problem]
        said += f", of which {count(len(names))} {problem.value}: {listed(names)}"
    return [said]
