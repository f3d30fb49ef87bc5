"""Compose ETL steps in a notebook, see the graph, run it on Dask, look at every result.

>>> from nbflow import step
>>> @step
... def extract():
...     return [3, 1, 2]
>>> flow = extract >> sorted
>>> flow.call()
[1, 2, 3]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nbflow.algebra.compose import branch, chain, chord, chunks, group, starmap, switch
from nbflow.algebra.context import context
from nbflow.algebra.flow import Flow
from nbflow.algebra.retry import Retry, TryAgain
from nbflow.algebra.step import Step, param, step
from nbflow.errors import (
    ClusterError,
    CycleError,
    FlowError,
    IdempotencyError,
    NbflowError,
    ParamError,
    RunCancelledError,
    RunError,
    RunNotFoundError,
    RunTimeoutError,
    SignatureError,
    StoreError,
    TransferError,
    UnknownStepError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from nbflow.running.cluster import connect
    from nbflow.running.history import load, runs
    from nbflow.running.pruning import prune
    from nbflow.running.run import Run, last_run

__all__ = [  # noqa: RUF022 - grouped as a table of contents
    # Define
    "step",
    "param",
    "Step",
    "Flow",
    # Compose
    "chain",
    "group",
    "chord",
    "chunks",
    "starmap",
    "branch",
    "switch",
    # Fail
    "Retry",
    "TryAgain",
    "context",
    # Run
    "connect",
    "last_run",
    "runs",
    "load",
    "prune",
    "Run",
    # Errors
    "NbflowError",
    "FlowError",
    "SignatureError",
    "CycleError",
    "UnknownStepError",
    "ParamError",
    "UnsupportedError",
    "TransferError",
    "ClusterError",
    "RunError",
    "RunTimeoutError",
    "RunCancelledError",
    "StoreError",
    "RunNotFoundError",
    "IdempotencyError",
]

# What needs dask is loaded when it is first asked for.
_LAZY = {
    "connect": "nbflow.running.cluster",
    "last_run": "nbflow.running.run",
    "load": "nbflow.running.history",
    "prune": "nbflow.running.pruning",
    "runs": "nbflow.running.history",
    "Run": "nbflow.running.run",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nbflow")
    if name in _LAZY:
        value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
        return value
    raise AttributeError(f"module 'nbflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def load_ipython_extension(shell: Any) -> None:
    """Give the shell the magic ``%flow``, under ``%load_ext nbflow``."""
    from nbflow.notebook.magic import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take ``%flow`` from the shell again."""
    from nbflow.notebook.magic import unload

    unload(shell)
