"""The sub-commands of ``%flow`` that look at a run whose steps have ended."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from nbflow.running.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from nbflow.notebook.opposed import Opposed
    from nbflow.notebook.timeline import Timeline

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


COMMANDS: Mapping[str, Callable[[Run, argparse.Namespace, Find], Any]] = MappingProxyType(
    {"rows": _rows, "timeline": _timeline, "diff": _diff}
)
