"""What the Tab key offers after ``%flow``: sub-commands, flows, steps and options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from shlex import quote
from typing import Any

from IPython import get_ipython
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from nbflow.algebra.flow import Composable, Flow
from nbflow.algebra.options import Options
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
    # Both signs of a magic that takes a cell mean the same here.
    line = line.removeprefix("%") if line.startswith("%%") else line
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
    renaming = before[-1] == "--renamed"
    values = _renamings(before, word, names) if renaming else _values(before, names)
    return [*values, *(each for each in options if each.startswith("--")), "--help"]


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
    if previous.startswith("--") and previous not in (*_FLAGS, "--inputs", "--options"):
        return []
    if previous == "--inputs":
        return names_of(names, Composable)
    if "--options" in before:
        return [f"{each.name}=" for each in fields(Options)]
    if command in ("result", "replay", "log", "debug", "table"):
        return _steps_of_last_run() if len(before) == 2 else []
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
    if command == "diff":
        return [*mine, *records.ids(_store(before))]
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


def _run_of(before: list[str], names: Mapping[str, Any]) -> Run | None:
    """Find the run that a line is about: the last one if it names none."""
    try:
        if len(before) < 3 or before[2].startswith("-"):
            return last_run()
        found = names.get(before[2])
        return found if isinstance(found, Run) else load(before[2], _store(before))
    except (NbflowError, OSError):
        return None


def _in_doubt(before: list[str], names: Mapping[str, Any]) -> Sequence[str]:
    """List the steps and elements of a run that are in doubt."""
    run = _run_of(before, names)
    steps = [] if run is None else run.state.steps.values()
    return [quote(called) if " " in called else called for s in steps for called, _ in s.in_doubt]


def _renamings(before: list[str], word: str, names: Mapping[str, Any]) -> Sequence[str]:
    """List the steps that a run has and its flow has no more, and for each those that are new."""
    run = _run_of(before, names)
    given = names.get(next((name for option, name in pairwise(before) if option == "--flow"), ""))
    was = [] if run is None else list(run.state.steps)
    now = given._flow().steps if isinstance(given, Composable) else []
    said = {value for option, value in pairwise(before) if option == "--renamed"}
    taken = {side for each in said for side in each.split("=", 1)}
    old = [each for each in was if each not in now and each not in taken] if now else was
    if "=" not in word:
        return [f"{each}=" for each in old]
    new = [each for each in now if each not in was and each not in taken]
    return [f"{word.split('=', 1)[0]}={each}" for each in new]


def _steps_of_last_run() -> list[str]:
    try:
        return list(last_run().state.steps)
    except NbflowError:
        return []
