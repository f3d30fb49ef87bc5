"""The magic, in a real shell."""

from __future__ import annotations

import re
import time

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbflow
from nbflow.notebook.completion import offered

pytestmark = pytest.mark.timeout(120)

DEFINITIONS = """
import pandas as pd
from pathlib import Path
import time
from nbflow import Retry, context, param, step

@step
def numbers(n):
    print("counting")
    return pd.DataFrame({"n": range(n)})

@step
def total(df):
    return int(df["n"].sum())

@step
def fail(df):
    raise LookupError("nothing here")

@step
def patient(folder):
    Path(folder, "running").touch()
    while not context().cancelled:
        time.sleep(0.01)

@step(retry=Retry(attempts=2, wait=60, jitter=False))
def flaky():
    raise OSError("not yet")

@step
def needs(x, folder):
    if x == 2 and not Path(folder, "mended").exists():
        raise ValueError(f"bad {x}")
    return x

etl = numbers.s(param("n", 4)) >> total
tail = total >> str
broken = numbers.s(2) >> fail >> total
frame = pd.DataFrame({"n": [1, 2]})
"""


@pytest.fixture(scope="module")
def shell(cluster):
    nbflow.connect(cluster)
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "nbflow")
    shell.run_cell(DEFINITIONS).raise_error()
    yield shell
    shell.run_line_magic("unload_ext", "nbflow")


def flow(shell, line):
    return shell.run_line_magic("flow", line)


def test_run_gives_the_run(shell):
    run = flow(shell, "run etl --param n=3")

    assert run.result() == 3
    assert run.name == "etl"
    assert nbflow.last_run() is run


def test_run_can_be_assigned_in_a_cell(shell):
    shell.run_cell("kept = %flow run etl").raise_error()

    assert shell.user_ns["kept"].result() == 6


def test_run_takes_inputs_by_name(shell):
    assert flow(shell, "run tail frame").result() == "3"


def test_tracebacks_name_cells_as_the_notebook_does(shell):
    run = flow(shell, "run broken --no-raise")

    told = run.state.steps["fail"].error.traceback
    assert re.search(r"^  Cell In\[\d+\], line \d+, in fail\n    raise LookupError", told, re.M)


def test_run_works_inside_a_function(shell):
    shell.run_cell(
        "def inside():\n    local = numbers.s(2) >> total\n"
        "    return get_ipython().run_line_magic('flow', 'run local')\n"
        "value = inside().result()"
    ).raise_error()

    assert shell.user_ns["value"] == 1


def test_nbflow_is_the_same_magic(shell):
    assert shell.run_line_magic("nbflow", "run etl").result() == 6


def test_failed_run_is_shown_and_raises_the_users_exception(shell):
    with capture_output() as captured, pytest.raises(LookupError, match="nothing here"):
        flow(shell, "run broken")

    assert len(captured.outputs) == 1
    assert "failed" in captured.outputs[0].data["text/plain"]


def test_failed_run_is_returned_where_that_is_asked_for(shell):
    assert flow(shell, "run broken --no-raise").status == "failed"


def test_run_returns_at_once_where_that_is_asked_for(shell):
    assert flow(shell, "run etl --no-wait").result(timeout=60) == 6


def test_show_draws_a_flow(shell):
    picture = flow(shell, "show etl --direction LR")

    assert "numbers" in picture.text
    assert "rankdir=LR" in picture.dot.replace('"', "").replace(" ", "")


def test_steps_and_result_are_of_the_last_run(shell):
    flow(shell, "run etl")

    assert list(flow(shell, "steps").index) == ["numbers", "total"]
    assert flow(shell, "result numbers")["n"].tolist() == [0, 1, 2, 3]
    assert flow(shell, "result")["value"].tolist() == [6]


def test_steps_of_a_named_run(shell):
    shell.run_cell("named = %flow run etl")
    flow(shell, "run tail frame")

    for named in ("named", shell.user_ns["named"].id):
        assert list(flow(shell, f"steps {named}").index) == ["numbers", "total"]
        assert flow(shell, f"result total --run {named}")["value"].tolist() == [6]


@pytest.fixture
def going(shell, tmp_path):
    """A run in the middle of a step that ends when it is asked to."""
    shell.user_ns["folder"] = str(tmp_path)
    shell.run_cell("going = (patient.s(folder) >> fail).named('going').submit()").raise_error()
    while not (tmp_path / "running").exists():
        time.sleep(0.01)
    run = shell.user_ns["going"]
    yield run
    run.cancel()
    run.wait(30)


@pytest.mark.parametrize("named", ["", "going", "id"])
def test_cancel_stops_a_run(shell, going, named):
    text = going.id if named == "id" else named
    with capture_output() as captured:
        assert flow(shell, f"cancel {text}") is None
    assert captured.stdout == "going was told to stop; what has finished can still be read\n"

    assert going.wait(30)
    assert (going.status, going.steps.status["fail"]) == ("cancelled", "cancelled")
    with pytest.raises(UsageError, match="is cancelled, so there is nothing to cancel") as caught:
        flow(shell, f"cancel {text}")
    assert "\n" not in str(caught.value)


def test_run_that_nobody_has_a_name_for_is_cancelled_by_its_id(shell, going):
    run_id = going.id
    del shell.user_ns["going"]
    flow(shell, "run etl")

    with capture_output():
        flow(shell, f"cancel {run_id}")

    assert going.wait(30)
    assert going.status == "cancelled"


def test_cancel_without_any_run_is_a_usage_error(shell, monkeypatch):
    monkeypatch.setattr("nbflow.running.run._last", None)

    with pytest.raises(UsageError, match="no flow was run in this process yet"):
        flow(shell, "cancel")


def test_waiting_for_another_attempt_is_seen(shell):
    run = flow(shell, "run flaky --no-wait")
    with run._record.changed:
        run._record.changed.wait_for(
            lambda: run.state.steps["flaky"].status == "retrying" or run.state.status.final
        )
    table = flow(shell, "steps")
    with capture_output() as captured:
        assert flow(shell, "status") is None
    run.cancel()

    assert list(table.loc["flaky", ["status", "attempts"]]) == ["retrying", 1]
    assert table.loc["flaky", "reason"].startswith("OSError: not yet, next at ")
    assert "↻ retrying after attempt 1, next at " in captured.stdout


def test_what_was_put_aside_is_driven_again_and_replayed(shell, tmp_path):
    shell.user_ns["folder"] = str(tmp_path)
    shell.run_cell("some = [1, 2, 3] >> needs.s(folder).map(on_error='collect') >> step(sum)")
    assert flow(shell, "run some").result() == 4
    with pytest.raises(ValueError, match="bad 2"):
        flow(shell, "replay needs[1]")
    (tmp_path / "mended").touch()

    assert flow(shell, "replay needs[1]") == 2
    assert flow(shell, "redrive").result() == 6
    with pytest.raises(UsageError, match="nothing to redrive"):
        flow(shell, "redrive")


def test_run_returns_when_the_handlers_of_a_failure_have_been_called(shell):
    shell.run_cell("told = []\nheard = broken.on_error(told.append)").raise_error()
    flow(shell, "run heard --no-raise")

    [[failure]] = shell.user_ns["told"]
    assert failure.step == "fail"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("rum etl", "invalid choice"),
        ("run", "required"),
        ("run elt", "did you mean 'etl'"),
        ("run frame", "is a DataFrame, not a flow"),
        ("run etl --param n", "not NAME=VALUE"),
        ("run etl --param m=1", "no parameter 'm'"),
        ("run etl frame", "takes no input"),
        ("run tail", "'df'"),
        ("run etl --cluster tcp://127.0.0.1:9", "no Dask scheduler answers"),
        ("result nubmers", "did you mean 'numbers'"),
        ("show etl --direction XX", "invalid choice"),
        ("run 'etl", "quotes"),
        ("steps etl", "not a run"),
        ("run etl --unknown", "unrecognized"),
        ("cancel", "is completed, so there is nothing to cancel"),
        ("cancel nothing", "'nothing' is not defined"),
        ("cancel etl", "not a run"),
        ("cancel 20260101-000000-0000", "there is no run"),
        ("redrive", "nothing to redrive"),
        ("replay", "required"),
        ("replay nubmers", "did you mean 'numbers'"),
        ("status nothing", "'nothing' is not defined"),
    ],
)
def test_mistakes_are_usage_errors_in_one_line(shell, line, said, monkeypatch):
    monkeypatch.setattr("nbflow.running.cluster.CONNECT_SECONDS", 0.2)
    shell.run_line_magic("flow", "run etl")

    with pytest.raises(UsageError, match=".") as caught:
        flow(shell, line)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_is_printed(shell):
    for line in ("--help", "run --help", "cancel --help", ""):
        with capture_output() as captured:
            assert flow(shell, line) is None
        assert "usage: %flow" in captured.stdout


def completions(shell, text):
    return {each.text for each in shell.Completer.completions(text, len(text))}


def test_tab_completes_commands_flows_options_and_parameters(shell):
    assert {"run", "show", "steps", "result", "connect", "--help"} <= completions(shell, "%flow ")
    assert {"status", "cancel", "redrive", "replay"} <= completions(shell, "%flow ")
    assert completions(shell, "%flow ru") == {"run", "runs"}
    assert "etl" in completions(shell, "%flow run ")
    assert "frame" not in completions(shell, "%flow run ")
    assert completions(shell, "%flow run et") == {"etl"}
    assert completions(shell, "run = %flow run et") == {"etl"}
    assert "--param" in completions(shell, "%flow run etl --")
    assert completions(shell, "%flow run etl --param ") >= {"n="}
    assert "--direction" in completions(shell, "%nbflow show etl --d")


def test_tab_completes_steps_of_the_last_run(shell):
    flow(shell, "run etl")

    assert {"numbers", "total"} <= completions(shell, "%flow result ")


def test_tab_completes_what_can_be_cancelled(shell, going):
    shell.run_cell("over = %flow run etl")

    assert completions(shell, "%flow cancel ") >= {"going", going.id, "--help"}
    assert "over" not in completions(shell, "%flow cancel ")
    assert "over" in completions(shell, "%flow status ")
    assert {"numbers", "total"} <= completions(shell, "%flow replay ")


def test_tab_leaves_other_lines_alone(shell):
    assert "etl" in completions(shell, "et")
    assert offered(["%flow", "nothing"], "", {}) == []


def test_loading_twice_completes_once(shell):
    shell.run_line_magic("reload_ext", "nbflow")

    found = [each.text for each in shell.Completer.completions("%flow rep", 9)]
    assert found == ["replay"]


def test_magic_of_another_extension_is_left_alone(capsys):
    shell = InteractiveShell()
    theirs = lambda line: "theirs"
    shell.register_magic_function(theirs, "line", "flow")

    nbflow.load_ipython_extension(shell)

    assert shell.run_line_magic("flow", "") == "theirs"
    assert "%nbflow" in capsys.readouterr().out
    assert shell.find_line_magic("nbflow") is not None
