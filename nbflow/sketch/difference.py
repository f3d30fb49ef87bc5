"""What differs between a flow as it was and as it is now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nbflow.errors import FlowError, did_you_mean, quoted
from nbflow.sketch.sketch import Sketch, Wiring

_CODE = "its code changed"
_ARGUMENTS = "its arguments changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two flows.

    Attributes
    ----------
    pairs
        For each step of the new flow that the old one has too, its name there.
    changed
        Why the result of such a step may be another one.
    removed, added
        The steps that only one of the flows has.
    rewired
        How steps get something else than they did, in words.
    """

    pairs: Mapping[str, str]
    changed: Mapping[str, str]
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    rewired: Mapping[str, str] | None = None

    @property
    def same_graph(self) -> bool:
        """Whether both have the same steps, wired in the same way."""
        return not (self.removed or self.added or self.rewired)

    @property
    def text(self) -> str:
        """How the graphs differ, a line for each step; empty if they do not."""
        lines = [f"- {name}" for name in self.removed]
        lines += [f"+ {name}" for name in self.added]
        lines += [f"~ {name}: {how}" for name, how in (self.rewired or {}).items()]
        return "\n".join(lines)


def compared(old: Sketch, new: Sketch, renamed: Mapping[str, str]) -> Difference:
    """Compare a flow with what it was.

    Parameters
    ----------
    old, new
        The flows.
    renamed
        The new names of steps by their old ones.

    Raises
    ------
    FlowError
        If a name is not that of a step, or two steps would have one name.

    Examples
    --------
    >>> from nbflow import step
    >>> extract, clean = step(abs).named("extract"), step(str).named("clean")
    >>> old, new = (Sketch.of(4 >> extract >> each, {}) for each in (clean, clean.named("tidy")))
    >>> print(compared(old, new, {}).text)
    - clean
    + tidy
    >>> compared(old, new, {"clean": "tidy"}).same_graph
    True
    """
    _check(old, new, renamed)
    names = [renamed.get(name, name) for name in old.names]
    former = dict(zip(names, old.names, strict=True))
    at = {name: position for position, name in enumerate(names)}
    pairs = {name: former[name] for name in new.names if name in former}
    changed = {}
    for position, name in enumerate(new.names):
        if name not in pairs:
            continue
        reasons = []
        if new.functions[position].digest != old.functions[at[name]].digest:
            reasons.append(_CODE)
        if new.arguments[position].digest != old.arguments[at[name]].digest:
            reasons.append(_ARGUMENTS)
        if reasons:
            changed[name] = " and ".join(reasons)
    kept = set(new.names)
    removed = tuple([was for name, was in former.items() if name not in kept])
    added = tuple([name for name in new.names if name not in pairs])
    return Difference(pairs, changed, removed, added, _rewired(old, new, renamed, pairs))


def _check(old: Sketch, new: Sketch, renamed: Mapping[str, str]) -> None:
    for name, known, which in (
        *((each, old.names, "old") for each in renamed),
        *((each, new.names, "new") for each in renamed.values()),
    ):
        if name not in known:
            raise FlowError(
                f"renamed= names a step {quoted(name)}, which the {which} flow does not have; it "
                f"is a dict from old names to new ones; {did_you_mean(name, known)}"
            )
    taken: dict[str, str] = {}
    for name in old.names:
        now = renamed.get(name, name)
        other = taken.setdefault(now, name)
        if other != name:
            raise FlowError(
                f"with renamed=, two steps of the old flow would be {quoted(now)} in the new one: "
                f"{quoted(other)} and {quoted(name)}; give each a name of its own"
            )


def _rewired(
    old: Sketch, new: Sketch, renamed: Mapping[str, str], pairs: Mapping[str, str]
) -> dict[str, str]:
    def called(name: str) -> str:
        return renamed.get(name, name)

    before = dict(zip(old.names, old.wirings(called), strict=True))
    now = dict(zip(new.names, new.wirings(), strict=True))
    found = {
        name: _told(before[was], now[name])
        for name, was in pairs.items()
        if before[was] != now[name]
    }
    values = old.wiring(old.value, called), new.wiring(new.value)
    # That a step is gone, or new, says it already.
    if values[0] != values[1] and len(old.names) == len(pairs) == len(new.names):
        found["the value of the flow"] = _told(*values)
    return found


def _told(before: Wiring, now: Wiring) -> str:
    was, gets = (", ".join(map(quoted, dict.fromkeys(_steps(each)))) for each in (before, now))
    if was == gets:
        return "gets the same in another way" if gets else "gets what it gets in another way"
    return f"was after {was or 'no step'}, is after {gets or 'no step'}"


def _steps(wiring: Any) -> Iterator[str]:
    """Name the steps in a wiring."""
    stack = [wiring]
    while stack:
        each = stack.pop()
        if isinstance(each, tuple):
            if len(each) == 2 and each[0] == "step":
                yield each[1]
            else:
                stack.extend(reversed(each))
