"""The command line, typed as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(120)

MODULE = """
import time
from pathlib import Path

import pandas as pd
from nbflow import param, step

from helper import LABELS

@step
def numbers(n):
    return pd.DataFrame({"n": range(n)})

@step
def label(df):
    return df.assign(label=LABELS[0])

@step
def fail(df):
    raise ValueError("no luck")

good = numbers.s(param("n", 3)) >> label
bad = numbers.s(2) >> fail >> label

def tell(failures):
    time.sleep(1)  # as long as the command takes to print
    Path("told").touch()

heard = bad.on_error(tell)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "helper.py").write_text("LABELS = ['brought along']\n")
    (tmp_path / "work.py").write_text(MODULE)
    return tmp_path


def nbflow(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "nbflow", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_run_prints_steps_and_result(folder):
    done = nbflow(folder, "run", "work.py:good", "--param", "n=4")

    assert done.returncode == 0, done.stderr
    assert "numbers" in done.stdout
    assert "completed in" in done.stdout
    assert done.stdout.count("brought along") == 4


def test_failed_run_exits_with_1_and_shows_the_users_exception(folder):
    done = nbflow(folder, "run", "work.py:bad")

    assert done.returncode == 1
    assert "skipped" in done.stdout
    assert "ValueError: no luck" in done.stderr


def test_the_command_ends_when_handlers_of_a_failure_have_ended(folder):
    assert nbflow(folder, "run", "work.py:heard").returncode == 1
    assert (folder / "told").exists()


def test_run_writes_a_report_of_its_own(folder):
    done = nbflow(folder, "run", "work.py:good", "--report", "report.html")

    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "numbers" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "work.py:god"], "did you mean 'good'"),
        (["run", "nowhere.py:flow"], "no module or notebook"),
        (["run", "work.py"], "3 flows"),
        (["run", "work.py:good", "--param", "m=1"], "no parameter 'm'"),
        (["run", "work.py:good", "--param", "n"], "not NAME=VALUE"),
        (["run", "work.py:good", "--cluster", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
        (["rum"], "invalid choice"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(folder, arguments, said):
    done = nbflow(folder, *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_show_prints_a_tree_and_writes_pictures(folder):
    done = nbflow(folder, "show", "work.py:good")
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout

    done = nbflow(folder, "show", "work.py:good", "--output", "flow.svg")
    assert done.returncode == 0, done.stderr
    assert (folder / "flow.svg").read_text(encoding="utf-8").startswith("<svg")


def test_notebook_cells_run_up_to_the_last_that_gives_the_flow_its_value(folder):
    cells = [
        "from nbflow import step\n@step\ndef two():\n    return 2",
        "flow = two.s()",
        "flow = flow >> (lambda x: x * 21)",
        "raise RuntimeError('beyond the flow')",
    ]
    notebook = {
        "cells": [
            {"cell_type": "code", "source": each, "metadata": {}, "outputs": []} for each in cells
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    import json

    (folder / "work.ipynb").write_text(json.dumps(notebook))

    done = nbflow(folder, "run", "work.ipynb:flow")

    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


def test_help_names_the_commands(folder):
    done = nbflow(folder, "--help")

    assert done.returncode == 0
    assert "run a flow" in done.stdout
