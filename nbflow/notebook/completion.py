"""What the Tab key offers after ``%flow``: sub-commands, flows, steps and options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from IPython import get_ipython
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from nbflow.algebra.flow import Composable, Flow
from nbflow.errors import NbflowError
from nbflow.notebook import records
from nbflow.notebook.commands import COMMANDS, MAGIC_NAMES
from nbflow.notebook.line import names_of
from nbflow.running.drive import Drive
from nbflow.running.history import load
from nbflow.running.run import Run, last_run

# Which runs a command may be about, by status.
_WANTED = {
    "resume": ("interrupted", "failed", "cancelled"),
    "resolve": ("interrupted",),
    "undo": ("completed", "failed", "interrupted", "cancelled"),
}
_FLAGS = frozenset({"--force", "--no-wait", "--no-raise", "--no-collapse"})


@context_matcher(identifier="nbflow")  # type: ignore[untyped-decorator]
def flow_matcher(context: CompletionContext) -> dict[str, Any]:
    """Complete a line that begins with the magic, and leave every other line alone."""
    line = context.text_until_cursor.lstrip()
    target, assigned, rest = line.partition("= %")
    if assigned and target.strip().isidentifier():
        line = f"%{rest}"
    if not line.startswith(tuple(f"%{name} " for name in MAGIC_NAMES)):
        return {"completions": [], "suppress": False}
    word = "" if line.endswith(" ") else line.split()[-1]
    found = [
        each for each in offered(line.split(), word, get_ipython().user_ns) if each.startswith(word)
    ]
    return {
        "completions": [SimpleCompletion(text=each, type="flow") for each in found],
        "suppress": True,
        "ordered": True,
        "matched_fragment": word,
    }


def offered(words: list[str], word: str, names: Mapping[str, Any]) -> list[str]:
    """List what may stand at the end of a line.

    Parameters
    ----------
    words
        The line, split at blanks.
    word
        The word that is being typed, empty after a blank.
    names
        The user's names.
    """
    before = words[:-1] if word else words
    if len(before) == 1:
        return [*(name for name, _, _ in COMMANDS), "--help"]
    adders = {name: add for name, _, add in COMMANDS}
    if before[1] not in adders:
        return []
    sub = argparse.ArgumentParser(add_help=False)
    adders[before[1]](sub)
    options = [each for action in sub._actions for each in action.option_strings]
    return [*_values(before, names), *(each for each in options if each.startswith("--")), "--help"]


def _values(before: list[str], names: Mapping[str, Any]) -> Sequence[str]:
    command, previous = before[1], before[-1]
    chosen = names.get(before[2]) if len(before) > 2 else None
    if previous in ("--param", "-p"):
        return (
            [f"{name}=" for name in chosen._flow().params] if isinstance(chosen, Composable) else []
        )
    if previous == "--focus":
        return chosen._flow().steps if isinstance(chosen, Composable) else []
    if previous == "--checkpoint":
        return ["auto", "on", "off"]
    if previous == "--flow":
        return names_of(names, Flow)
    if previous == "--run":
        return names_of(names, Run)
    if previous.startswith("--") and previous not in _FLAGS:
        return []
    if command in ("result", "replay"):
        return _steps_of_last_run()
    if command == "resolve" and len(before) == 3:
        return _in_doubt(before, names)
    if len(before) != 2:
        return []
    if command in ("run", "show"):
        return names_of(names, Flow)
    return _runs(command, before, names)


def _runs(command: str, before: list[str], names: Mapping[str, Any]) -> Sequence[str]:
    """List the names and ids of runs that a command may be about."""
    mine = names_of(names, Run)
    if command in ("steps", "status", "redrive"):
        return mine
    if command == "cancel":
        going = [name for name in mine if not names[name].status.final]
        ids = [name for name, each in Drive.living.items() if not each.state.status.final]
        return [*going, *sorted(ids)]
    if command == "load":
        return records.ids(_store(before))
    wanted = _WANTED.get(command, ())
    fit = [name for name in mine if names[name].status in wanted]
    return [*fit, *records.ids(_store(before), wanted)] if wanted else []


def _store(before: list[str]) -> str | None:
    return next((value for option, value in pairwise(before) if option == "--store"), None)


def _in_doubt(before: list[str], names: Mapping[str, Any]) -> Sequence[str]:
    """List the steps and elements of a run that are in doubt."""
    found = names.get(before[2])
    try:
        run = found if isinstance(found, Run) else load(before[2])
    except (NbflowError, OSError):
        return []
    return [
        name if number is None else f"{name}[{number}]"
        for name, step in run.state.steps.items()
        for number in step.doubts
    ]


def _steps_of_last_run() -> list[str]:
    try:
        return list(last_run().state.steps)
    except NbflowError:
        return []
