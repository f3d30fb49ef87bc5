"""Why there is no value: an outcome like any other, which travels where the value would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Absent:
    """What stands where a step or an element gave no value.

    Attributes
    ----------
    culprit
        The step or element that it began with; empty for an arm that does not exist.
    reason
        Why, in words, for the one that is absent here.
    failed
        Whether something failed, which whoever needs the value must share. Otherwise it
        was not wanted, and a list goes on without it.
    collected
        Whether it failed where failures are put aside.
    doubt
        Whether nobody knows yet if there is a value: then nothing is told of whoever
        needs it.
    """

    culprit: str
    reason: str
    failed: bool = False
    collected: bool = False
    doubt: bool = False

    def following(self) -> Absent:
        """Give what this means for a step that needs the value."""
        if not self.culprit:
            return self
        if self.doubt:
            return Absent(self.culprit, f"{self.culprit} is in doubt", failed=True, doubt=True)
        how = "failed" if self.failed or self.collected else "was skipped"
        reason = f"{self.culprit} {how}"
        return Absent(self.culprit, reason, self.failed, self.collected)


def first_absent(values: Any) -> Absent | None:
    """Find what is absent among values that are all needed: a failure before the rest.

    What failed and was put aside comes before what was only not wanted.

    Examples
    --------
    >>> first_absent([1, Absent("clean", "", failed=True)]).culprit
    'clean'
    """
    found: Absent | None = None
    for value in values:
        if type(value) is Absent and (found is None or _weight(value) > _weight(found)):
            found = value
    return found


def _weight(absent: Absent) -> int:
    if absent.doubt:
        return 3
    return 2 if absent.failed else int(absent.collected)


def gathered_list(values: list[Any], *, inside: bool = False) -> Any:
    """Give the list of the values that are there; what a list fan-in receives.

    It is absent if a value failed, or if no value is there and each was skipped.

    Parameters
    ----------
    values
        The members, or the elements of a map.
    inside
        Whether the list is part of one element of a map around it: what was put aside
        then takes the list along, for an element is computed from all of its parts.

    Examples
    --------
    >>> gathered_list([1, Absent("clean", "empty")])
    [1]
    """
    absent = first_absent(values)
    if absent is None:
        return values
    if absent.failed or (inside and absent.collected):
        return absent
    kept = [value for value in values if type(value) is not Absent]
    if kept or any(type(value) is Absent and value.collected for value in values):
        return kept
    return absent
