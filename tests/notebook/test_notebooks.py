"""The notebooks of the project pass strict nbval: every output is the same, byte by byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
FIRST, *OTHERS = sorted(NOTEBOOKS.glob("*.ipynb"))


def compared(notebooks, environment):
    """Run notebooks as the command line of nbval does, and compare what they give."""
    command = [sys.executable, "-m", "pytest", "-p", "nbval.plugin", "--nbval"]
    options = ["--nbval-current-env", "-p", "no:cacheprovider", "--rootdir", str(NOTEBOOKS)]
    return subprocess.run(
        [*command, *options, "-c", os.devnull, "-q", *map(str, notebooks)],
        # Other plugins of pytest take long to be loaded, and do nothing here.
        env={
            **environment,
            "NBFLOW_DISPLAY": "static",
            "NBFLOW_DETERMINISTIC": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(240)
def test_the_first_notebook_gives_its_stored_outputs_again_on_a_cluster_that_it_starts():
    done = compared([FIRST], os.environ)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture
def cluster_beside_the_notebooks(cluster):
    """Let workers be where the kernel is, as those that it starts would."""
    before = Path.cwd()
    cluster.run(os.chdir, str(NOTEBOOKS))
    yield
    cluster.run(os.chdir, str(before))


@pytest.mark.timeout(240)
def test_notebooks_give_their_stored_outputs_again(on_cluster, cluster_beside_the_notebooks):
    done = compared(OTHERS, on_cluster)
    assert done.returncode == 0, done.stdout[-6000:]
