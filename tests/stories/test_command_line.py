"""The command line, typed as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(120)

MODULE = """
import os
import signal
import time
from pathlib import Path

import pandas as pd
from nbflow import param, step

from helper import LABELS

# Workers may be elsewhere.
FOLDER = Path(__file__).parent

@step
def numbers(n):
    return pd.DataFrame({"n": range(n)})

@step
def label(df):
    return df.assign(label=LABELS[0])

@step
def fail(df):
    raise ValueError("no luck")

def refund(receipt):
    (FOLDER / "refunds").open("a").write("x")

@step(compensate=refund)
def charge(df):
    (FOLDER / "charges").open("a").write("x")
    if (FOLDER / "die").exists():
        (FOLDER / "die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return 17

@step
def ready(df):
    if (FOLDER / "down").exists():
        raise ConnectionError("no answer")
    return df

good = numbers.s(param("n", 3)) >> label
later = numbers.s(3).options(checkpoint=True) >> ready >> label
now = numbers.s(3).options(checkpoint=True) >> ready >> label.named("tag")
order = numbers.s(3) >> charge
orders = charge.map(["eu", "us"], key=str)
bad = numbers.s(2) >> fail >> label

def tell(failures):
    time.sleep(1)  # as long as the command takes to print
    (FOLDER / "told").touch()

heard = bad.on_error(tell)
"""


def written(folder):
    """Write the module of these tests, and the one beside it."""
    (folder / "helper.py").write_text("LABELS = ['brought along']\n")
    (folder / "work.py").write_text(MODULE)
    return folder


def store_in(folder):
    return {"NBFLOW_STORE": str(folder / ".nbflow")}


def outcome(process):
    out, errors = process.communicate()
    return subprocess.CompletedProcess((), process.returncode, out, errors)


@pytest.fixture
def folder(tmp_path):
    return written(tmp_path)


@pytest.fixture
def nbflow(folder, nursery):
    """Do what a line says, in a process of its own, on the shared cluster."""

    def done(*arguments):
        return outcome(nursery.command(*arguments, folder=folder, environment=store_in(folder)))

    return done


@pytest.fixture
def typed(folder):
    """Do what a line says as a shell does, so that a cluster is started and ended for it."""

    def done(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "nbflow", *arguments],
            cwd=folder,
            env={**os.environ, **store_in(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    return done


def test_run_prints_steps_and_result(typed):
    done = typed("run", "work.py:good", "--param", "n=4")

    assert done.returncode == 0, done.stderr
    assert "numbers" in done.stdout
    assert "completed in" in done.stdout
    assert done.stdout.count("brought along") == 4


def test_failed_run_exits_with_1_and_shows_the_users_exception(nbflow, folder):
    done = nbflow("run", "work.py:bad")

    assert done.returncode == 1
    assert "skipped" in done.stdout
    assert "ValueError: no luck" in done.stderr


def test_the_command_ends_when_handlers_of_a_failure_have_ended(nbflow, folder):
    assert nbflow("run", "work.py:heard").returncode == 1
    assert (folder / "told").exists()


def test_run_writes_a_report_of_its_own(nbflow, folder):
    done = nbflow("run", "work.py:good", "--report", "report.html")

    assert done.returncode == 0, done.stderr
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "numbers" in page


MISTAKES = [
    (["run", "work.py:god"], "did you mean 'good'"),
    (["run", "nowhere.py:flow"], "no module or notebook"),
    (["run", "work.py"], "7 flows"),
    (["run", "work.py:good", "--param", "m=1"], "no parameter 'm'"),
    (["run", "work.py:good", "--param", "n"], "not NAME=VALUE"),
    (["run", "work.py:good", "--cluster", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
    (["rum"], "invalid choice"),
    (["load", "20260101-000000-0000"], "there is no run"),
    (["resume", "20260101-000000-0000"], "there is no run"),
    (["resume"], "required"),
    (["resume", "20260101-000000-0000", "--renamed", "label"], "'label' is not OLD=NEW"),
    (["resolve", "20260101-000000-0000", "charge"], "one of the arguments"),
    (["run", "work.py:good", "--key", " "], "the key is"),
    (["run", "work.py:good", "--checkpoint", "often"], "invalid choice"),
]


@pytest.fixture(scope="module", autouse=True)
def mistaken(nursery, tmp_path_factory):
    """Begin all that is a mistake: one of them waits for seconds, while other tests are made."""
    folders = [written(tmp_path_factory.mktemp("mistaken")) for _ in MISTAKES]
    processes = [
        nursery.command(*arguments, folder=folder, environment=store_in(folder))
        for folder, (arguments, _) in zip(folders, MISTAKES, strict=True)
    ]
    yield processes
    for each in processes:
        each.close()


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: " ".join(MISTAKES[n][0]))
def test_mistakes_are_one_line_and_exit_with_2(mistaken, number):
    done = outcome(mistaken[number])

    assert done.returncode == 2
    assert MISTAKES[number][1] in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_mistake_is_one_line_however_the_command_is_started(typed):
    done = typed("run", "work.py:god")

    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'good'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def newest(nbflow):
    """Give the id of the run that was begun last, as the command line lists it."""
    return nbflow("runs").stdout.splitlines()[1].split()[0]


def test_runs_lists_what_is_written_down_beside_the_flow(nbflow, folder):
    assert nbflow("runs").stdout == "no run is written down here\n"
    nbflow("run", "work.py:good", "--key", "daily", "--checkpoint", "off")

    done = nbflow("runs")

    assert done.returncode == 0, done.stderr
    heads, line = done.stdout.splitlines()
    assert heads.split() == ["id", "flow", "status", "started", "seconds", "steps", "key"]
    assert line.split()[1:3] == ["good", "completed"]
    assert line.split()[-1] == "daily"


def test_the_same_key_is_not_run_twice(nbflow, folder):
    for _ in range(2):
        done = nbflow("run", "work.py:order", "--key", "daily")
        assert done.returncode == 0, done.stderr

    assert (folder / "charges").read_text() == "x"


def test_a_run_that_failed_is_loaded_and_resumed(nbflow, folder):
    (folder / "down").touch()
    store = ("--store", str(folder / "place"))
    failed = nbflow("run", "work.py:later", *store)
    assert failed.returncode == 1
    (run_id,) = [each for each in nbflow("runs", *store).stdout.split() if "-" in each][:1]

    seen = nbflow("load", run_id, *store, "--report", "report.html")
    assert seen.returncode == 0, seen.stderr
    assert "✗ later: failed" in seen.stdout
    assert "ConnectionError: no answer" in seen.stdout
    assert (folder / "report.html").exists()

    (folder / "down").unlink()
    done = nbflow("resume", run_id, *store)
    assert done.returncode == 0, done.stderr
    assert "numbers  reuse" in done.stderr
    assert "reused" in done.stdout
    assert "brought along" in done.stdout


def test_a_run_is_resumed_with_other_names_of_steps(nbflow, folder):
    (folder / "down").touch()
    assert nbflow("run", "work.py:later").returncode == 1
    run_id = newest(nbflow)
    (folder / "down").unlink()

    refused = nbflow("resume", run_id, "--renamed", "label=tag")
    assert (refused.returncode, "give that by --flow" in refused.stderr) == (2, True)
    flow = ("--flow", "work.py:now")
    refused = nbflow("resume", run_id, *flow, "--renamed", "lable=tag")
    assert (refused.returncode, "did you mean 'label'?" in refused.stderr) == (2, True)
    assert len(refused.stderr.strip().splitlines()) == 1

    done = nbflow("resume", run_id, *flow, "--renamed", "label=tag")
    assert done.returncode == 0, done.stderr
    assert "numbers  reuse" in done.stderr
    assert "tag" in done.stdout


def test_an_element_in_doubt_is_said_as_it_is_typed(nbflow, folder):
    (folder / "die").touch()
    stopped = nbflow("run", "work.py:orders")
    run_id = newest(nbflow)
    assert f"nbflow resolve {run_id} 'charge[" in stopped.stdout
    assert "charge[0]" not in stopped.stdout


def test_what_is_in_doubt_is_said_resolved_and_undone(typed, nbflow, folder):
    (folder / "die").touch()
    stopped = typed("run", "work.py:order")
    assert stopped.returncode == 1
    assert "in doubt" in stopped.stdout
    assert "Traceback" not in stopped.stderr
    run_id = newest(nbflow)
    assert f"nbflow resolve {run_id} charge --completed VALUE" in stopped.stdout

    assert nbflow("resolve", run_id, "charge", "--completed", "nonsense").returncode == 2
    assert nbflow("resolve", run_id, "charge", "--completed", "99").returncode == 0
    done = nbflow("resume", run_id)
    assert done.returncode == 0, done.stderr
    assert "99" in done.stdout
    assert (folder / "charges").read_text() == "x"

    undone = nbflow("undo", run_id)
    assert undone.returncode == 0, undone.stderr
    assert "undone, in this order: charge by refund" in undone.stdout
    assert (folder / "refunds").read_text() == "x"
    assert nbflow("undo", run_id).returncode == 2


def test_show_prints_a_tree_and_writes_pictures(nbflow, folder):
    done = nbflow("show", "work.py:good")
    assert done.returncode == 0, done.stderr
    assert "label" in done.stdout

    done = nbflow("show", "work.py:good", "--output", "flow.svg")
    assert done.returncode == 0, done.stderr
    assert (folder / "flow.svg").read_text(encoding="utf-8").startswith("<svg")


def test_notebook_cells_run_up_to_the_last_that_gives_the_flow_its_value(typed, folder):
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
    (folder / "work.ipynb").write_text(json.dumps(notebook))

    done = typed("run", "work.ipynb:flow")

    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


def test_runs_a_flow_of_cells_that_are_steps(nbflow, folder):
    cells = [
        "%load_ext nbflow",
        "%%flow step two\n2",
        "%%flow step answer\nanswer = two * 21",
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
    (folder / "cells.ipynb").write_text(json.dumps(notebook))

    done = nbflow("run", "cells.ipynb:answer")

    assert done.returncode == 0, done.stderr
    assert "42" in done.stdout


def test_help_names_the_commands(typed):
    done = typed("--help")

    assert done.returncode == 0
    assert "run a flow" in done.stdout
