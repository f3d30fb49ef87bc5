"""The rollback of a run as HTML: what was undone, in its order, and how each undoing went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbflow.notebook.html import Markup, element, joined
from nbflow.notebook.sheets import LEFT, LINE, MUTED, RIGHT, framed
from nbflow.notebook.style import LOOKS, Look
from nbflow.notebook.telling import worded
from nbflow.notebook.wording import counted, duration, paragraph, printable, without_addresses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nbflow.notebook.undoing import Undone

_MOST = 30
_NAME, _ERROR, _LOG = 64, 200, 4_000


def rolled_back(entries: Sequence[Undone], *, deterministic: bool) -> Markup:
    """Show what is undone in a run as a table; nothing where nothing is.

    Parameters
    ----------
    entries
        What is undone, in that order.
    deterministic
        Whether to leave out what differs from run to run.
    """
    if not entries:
        return Markup("")
    errors = any(each.undoing.error is not None for each in entries)
    titles = ["", "undone", "by", "status", "attempts", *([] if deterministic else ["time"])]
    titles += ["error"] if errors else []
    head = element("tr", *(element("th", title, style=LEFT) for title in titles))
    rows = [
        element("tr", *_cells(number, each, errors, deterministic))
        for number, each in enumerate(entries[:_MOST], 1)
    ]
    shown = framed(head, rows)
    more = len(entries) - _MOST
    if more <= 0:
        return shown
    return joined((shown, element("p", f"… {counted(more, 'more')} to undo", style=MUTED)))


def _cells(number: int, each: Undone, errors: bool, deterministic: bool) -> Iterator[Markup]:
    undoing = each.undoing
    yield element("td", str(number), style=RIGHT)
    yield element("td", element("b", printable(each.label, _NAME)), style=LEFT)
    yield element("td", each.by, style=LEFT)
    yield element("td", state_of(each), style=LEFT)
    yield element("td", str(undoing.attempts or ""), style=RIGHT)
    if not deterministic:
        yield element("td", duration(undoing.seconds), style=RIGHT)
    if errors:
        error = undoing.error
        yield element("td", "" if error is None else worded(error, deterministic, _ERROR))


def state_of(each: Undone) -> Markup:
    """Say how an undoing is."""
    look: Look = LOOKS[each.undoing.status]
    return element("span", f"{look.sign} {each.undoing.status.value}", style="white-space: nowrap")


def told(entries: Sequence[Undone], *, deterministic: bool) -> Iterator[Markup]:
    """Show what the undoing of one step printed, and the traceback where it failed.

    Parameters
    ----------
    entries
        The undoings of the step.
    deterministic
        Whether to leave out what differs from run to run.
    """
    for each in entries[:_MOST]:
        error, log = each.undoing.error, each.undoing.log
        by = f" by {each.by}" if each.by else ""
        if error is None and not log:
            continue
        yield element("p", f"undoing {printable(each.label, _NAME)}{by}:", style=MUTED)
        if log:
            log = without_addresses(log) if deterministic else log
            yield element("pre", paragraph(log, _LOG), style=LINE)
        if error is not None:
            said = error.traceback if error.traceback and not deterministic else ""
            said = said or worded(error, deterministic, _LOG)
            yield element("pre", paragraph(said, _LOG), style=LINE)
