"""Notebooks of users with flows in them pass strict nbval, as they were saved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CELLS = [
    "import random\nfrom nbflow import step\n%load_ext nbflow",
    """@step
def load(n):
    print("reading", random.random())
    return [{"n": n, "noise": random.random()}] * n

@step
def check(rows):
    if len(rows) > 3:
        raise ValueError(f"too many: {len(rows)}")
    return len(rows)

flow = load.s(3) >> check
flow""",
    "run = flow.run()",
    "run",
    "%flow run flow",
    "(load.s(5) >> check).run(raise_on_error=False)",
]

# Other plugins of pytest take long to be loaded, and do nothing here.
LEAN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture(scope="module")
def executed(tmp_path_factory, on_cluster):
    """A notebook that was executed as programs do it, times and all."""
    environment = {**on_cluster, "NBFLOW_STORE": str(tmp_path_factory.mktemp("store"))}
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [nbformat.v4.new_code_cell(each) for each in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
    NotebookClient(notebook, timeout=120).execute(env=environment)
    return notebook


@pytest.fixture
def saved(executed, tmp_path):
    """The notebook on disk, with nothing beside it."""
    nbformat.write(executed, tmp_path / "work.ipynb")
    return tmp_path / "work.ipynb"


def outcome(path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Compare a notebook with what its cells give now."""
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    plugins = ["-p", "nbval.plugin", "-p", "nbflow.testing", "-p", "no:cacheprovider"]
    environment = {**environment, **LEAN}
    environment.pop("NBFLOW_STORE", None)
    return subprocess.run(
        [*command, *plugins, "-c", os.devnull, "-q", path.name],
        env=environment,
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(240)
def test_a_notebook_passes_as_it_was_saved(saved, on_cluster):
    # On a cluster that it starts, and on another one.
    for environment in (dict(os.environ), on_cluster):
        done = outcome(saved, environment)
        assert done.returncode == 0, done.stdout[-4000:]
    # Nothing was written down beside it.
    assert not (saved.parent / ".nbflow").exists()


@pytest.mark.timeout(240)
def test_a_run_that_ends_otherwise_is_found(saved, on_cluster):
    notebook = nbformat.read(saved, 4)
    notebook.cells[1].source = notebook.cells[1].source.replace("> 3", "> 2")
    nbformat.write(notebook, saved)

    done = outcome(saved, on_cluster)

    assert done.returncode == 1
    assert "1 failed" in done.stdout or "failed" in done.stdout


def test_fixtures_give_a_store_and_a_cluster(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["nbflow.testing"]\n')
    (tmp_path / "test_flow.py").write_text(
        "import nbflow\n"
        "from nbflow import step\n\n\n"
        "def test_flow(nbflow_store, nbflow_cluster):\n"
        "    run = (4 >> step(str)).run()\n"
        "    assert run.result() == '4'\n"
        "    assert list(nbflow.runs(nbflow_store).id) == [run.id]\n"
        "    assert len(nbflow_cluster.scheduler_info()['workers']) == 2\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env={**os.environ, **LEAN},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
