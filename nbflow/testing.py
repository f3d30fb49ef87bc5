"""Tests of notebooks that have flows in them: a plugin for pytest, and what nbval is to ignore.

``pytest -p nbflow.testing --nbval notebooks`` runs notebooks and compares what they show with
what they hold. Of a run, its name, its status and the number of its steps are compared, and
not what differs from run to run; the pictures of flows are compared byte by byte. Nothing is
written down beside the notebooks.

In a ``conftest.py`` at the root, ``pytest_plugins = ["nbflow.testing"]`` does the same, and
gives tests the fixtures `nbflow_store` and `nbflow_cluster`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import nbflow
from nbflow.notebook.watching import VARIABLE as DISPLAY
from nbflow.record.archive import VARIABLE as STORE

# What nbval is to ignore; for ``--nbval-sanitize-with`` where the plugin is not used.
SANITIZE: Final = Path(__file__).with_name("testing.cfg")


def pytest_configure(config: pytest.Config) -> None:
    """Let kernels show reports and no panels, elsewhere than beside the notebooks."""
    os.environ.setdefault(DISPLAY, "static")
    if STORE not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="nbflow-testing-")
        os.environ[STORE] = folder.name
        config.add_cleanup(lambda: _forget(folder))
    options: Any = config.option
    if getattr(options, "nbval_sanitize_with", "") is None:
        options.nbval_sanitize_with = str(SANITIZE)


def _forget(folder: tempfile.TemporaryDirectory[str]) -> None:
    os.environ.pop(STORE, None)
    folder.cleanup()


@pytest.fixture
def nbflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a store that no other test has, in which runs are written down."""
    monkeypatch.setenv(STORE, str(tmp_path / "nbflow"))
    return str(tmp_path / "nbflow")


@pytest.fixture(scope="session")
def nbflow_cluster() -> Iterator[Any]:
    """Give a local cluster of two workers, on which flows run."""
    from nbflow.running.cluster import close_own

    yield nbflow.connect(n_workers=2, threads_per_worker=1)
    close_own()
