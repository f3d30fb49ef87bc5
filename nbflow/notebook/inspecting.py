"""The sub-commands of ``%flow`` that look at a run whose steps have ended."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from nbflow.notebook.debugging import post_mortem
from nbflow.notebook.wording import counted, paragraph, printable
from nbflow.running.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from nbflow.notebook.interactive import InteractiveTable
    from nbflow.notebook.opposed import Opposed
    from nbflow.notebook.timeline import Timeline

_LONGEST = 200_000

# Gives the run of a name or an id.
Find: TypeAlias = Callable[[str], Run]


def _rows(run: Run, given: argparse.Namespace, find: Find) -> pd.DataFrame:
    del given, find
    return run.rows()


def _timeline(run: Run, given: argparse.Namespace, find: Find) -> Timeline:
    del find
    drawn = run.timeline()
    if given.save is not None:
        drawn.save(given.save)
    return drawn


def _diff(run: Run, given: argparse.Namespace, find: Find) -> Opposed:
    from nbflow.notebook.opposed import Opposed

    before = find(given.before)
    return Opposed(run.diff(before), before.state, run.state)


def _log(run: Run, given: argparse.Namespace, find: Find) -> None:
    del find
    step = given.step if given.element is None else f"{given.step}[{given.element}]"
    lines = run.log(step).splitlines()
    left = len(lines) - given.lines
    if left > 0:
        print(f"… {counted(left, 'line')} before these; --lines {len(lines)} shows all …")
    print(
        paragraph("\n".join(lines[max(0, left) :]), _LONGEST) or f"{printable(step)} said nothing"
    )


def _debug(run: Run, given: argparse.Namespace, find: Find) -> None:
    del find
    post_mortem(run, given.step)


def _table(run: Run, given: argparse.Namespace, find: Find) -> InteractiveTable:
    del find
    return run.table(given.step)


COMMANDS: Mapping[str, Callable[[Run, argparse.Namespace, Find], Any]] = MappingProxyType(
    {
        "rows": _rows,
        "timeline": _timeline,
        "diff": _diff,
        "log": _log,
        "debug": _debug,
        "table": _table,
    }
)
