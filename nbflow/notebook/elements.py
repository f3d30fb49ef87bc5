"""The elements of a mapped step as HTML: those that failed, and what one gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.html import Markup, element
from nbflow.notebook.sheets import LEFT, MUTED, RIGHT, framed, preview
from nbflow.notebook.wording import count, counted, printable, without_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nbflow.record.events import ElementRecords
    from nbflow.record.stepstate import StepState

_MOST = 20
_NAME, _INPUT, _ERROR = 40, 80, 160


def elements(step: StepState, *, deterministic: bool) -> Iterator[Markup]:
    """Show the elements of a mapped step that failed, and the first that has a preview.

    Parameters
    ----------
    step
        The step.
    deterministic
        Whether to leave out what differs from run to run.
    """
    records = sorted(step.elements, key=lambda each: each.start)
    failed = [(each, number) for each in records for number in sorted(each.errors)]
    if failed:
        inputs = any(each.letters for each, _ in failed)
        titles = ["element", *(["input"] if inputs else []), "error", "attempts"]
        head = element("tr", *(element("th", title, style=LEFT) for title in titles))
        rows = [_row(each, number, inputs, deterministic) for each, number in failed[:_MOST]]
        yield framed(head, rows)
        if len(failed) > _MOST:
            yield element("p", f"… {counted(len(failed) - _MOST, 'more element')}", style=MUTED)
    for each in records:
        for position, seen in sorted(each.previews.items()):
            yield element("p", f"element {name_of(each, position)}:", style=MUTED)
            yield preview(seen)
            return


def name_of(records: ElementRecords, position: int) -> str:
    """Name an element as the user did, or by its number."""
    return printable(str(records.labels.get(position, position)), _NAME)


def _row(records: ElementRecords, position: int, inputs: bool, deterministic: bool) -> Markup:
    error, letter = records.errors[position], records.letters.get(position)
    said = f"{error.type_name}: {error.message}"
    given = "" if letter is None else letter.shown
    if deterministic:
        said, given = without_addresses(said), without_addresses(given)
    cells = [
        element("td", element("b", name_of(records, position)), style=LEFT),
        *([element("td", printable(given, _INPUT), style=LEFT)] if inputs else []),
        element("td", printable(said, _ERROR), style=LEFT),
        element("td", count(records.attempts.get(position, 1)), style=RIGHT),
    ]
    return element("tr", *cells)
