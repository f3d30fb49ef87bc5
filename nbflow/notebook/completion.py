"""What the Tab key offers after ``%flow``: sub-commands, flows, steps and options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from IPython import get_ipython
from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from nbflow.drive import Drive
from nbflow.errors import NbflowError
from nbflow.flow import Composable, Flow
from nbflow.notebook.commands import COMMANDS, MAGIC_NAMES
from nbflow.run import Run, last_run


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


def _values(before: list[str], names: Mapping[str, Any]) -> list[str]:
    command, previous = before[1], before[-1]
    chosen = names.get(before[2]) if len(before) > 2 else None
    if previous in ("--param", "-p"):
        return (
            [f"{name}=" for name in chosen._flow().params] if isinstance(chosen, Composable) else []
        )
    if previous == "--focus":
        return chosen._flow().steps if isinstance(chosen, Composable) else []
    if command == "cancel":
        going = [name for name in _of_kind(names, Run) if not names[name].status.final]
        ids = [name for name, each in Drive.living.items() if not each.state.status.final]
        return [*going, *sorted(ids)] if len(before) == 2 else []
    if command in ("steps", "status", "redrive") or previous == "--run":
        return _of_kind(names, Run)
    if command in ("result", "replay"):
        return _steps_of_last_run()
    return _of_kind(names, Flow) if command in ("run", "show") and len(before) == 2 else []


def _of_kind(names: Mapping[str, Any], kind: type) -> list[str]:
    return sorted(
        name for name, each in names.items() if isinstance(each, kind) and not name.startswith("_")
    )


def _steps_of_last_run() -> list[str]:
    try:
        return list(last_run().state.steps)
    except NbflowError:
        return []
