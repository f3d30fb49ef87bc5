"""The sub-commands of ``%flow`` that look at a run whose steps have ended."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nbflow.running.run import Run

if TYPE_CHECKING:
    import pandas as pd


def _rows(run: Run, given: argparse.Namespace) -> pd.DataFrame:
    del given
    return run.rows()


COMMANDS: Mapping[str, Callable[[Run, argparse.Namespace], Any]] = MappingProxyType({"rows": _rows})
