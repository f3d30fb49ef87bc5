"""Looking at runs with the magic, and cells that become steps, in a real shell."""

from __future__ import annotations

import builtins
import sys

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbflow
from nbflow.notebook.completion import offered

pytestmark = pytest.mark.timeout(120)

DEFINITIONS = """
import pandas as pd
from nbflow import step, param

@step
def load(n):
    for line in range(300):
        print("line", line)
    return pd.DataFrame({"n": range(n)})

@step
def head(df, most=3):
    return df.head(most)

@step
def invert(n):
    print("inverting", n)
    inverse = 1 / (n - 2)
    return inverse

etl = load.s(param("n", 10)) >> head
bad = [1, 2, 3] >> invert.map()
"""


@pytest.fixture(scope="module")
def shell(cluster):
    nbflow.connect(cluster)
    shell = InteractiveShell.instance()
    before = dict(shell.user_ns)
    shell.run_line_magic("load_ext", "nbflow")
    shell.run_cell(DEFINITIONS).raise_error()
    yield shell
    shell.run_line_magic("unload_ext", "nbflow")
    # The shell is that of all tests of this process.
    for name in set(shell.user_ns) - set(before):
        del shell.user_ns[name]


def flow(shell, line):
    return shell.run_line_magic("flow", line)


def said(shell, line):
    with capture_output(display=False) as out:
        flow(shell, line)
    return out.stdout


def test_rows_and_timeline(shell, tmp_path):
    run = flow(shell, "run etl")

    assert flow(shell, "rows").loc["head", "mark"] == "loses 70 %"
    assert flow(shell, f"rows --run {run.id}").equals(run.rows())
    assert flow(shell, f"timeline --save {tmp_path}/t.svg").svg == (tmp_path / "t.svg").read_text()


def test_diff(shell):
    first = flow(shell, "run etl")
    flow(shell, "run etl --param n=2")

    found = flow(shell, f"diff {first.id}")

    assert "2 steps of 2 differ" in repr(found)
    assert "rows 10 → 2" in repr(found)
    assert "<table" in found._repr_html_()
    assert "0 steps of 2 differ" in repr(flow(shell, f"diff {first.id} {first.id}"))


def test_log_shows_the_end_and_says_so(shell):
    flow(shell, "run etl")

    lines = said(shell, "log load").splitlines()
    assert lines[0] == "… 100 lines before these; --lines 300 shows all …"
    assert (lines[1], lines[-1]) == ("line 100", "line 299")
    assert len(said(shell, "log load --lines 300").splitlines()) == 300
    assert said(shell, "log head") == "head said nothing\n"


def test_log_of_an_element(shell):
    flow(shell, "run bad --no-raise")

    assert said(shell, "log invert --element 2") == "inverting 3\n"
    assert said(shell, "log invert[0]") == "inverting 1\n"
    with pytest.raises(UsageError, match="no step 'nothing'"):
        flow(shell, "log nothing")


def test_debug_goes_into_the_step_with_its_inputs(shell, monkeypatch):
    flow(shell, "run bad --no-raise")
    commands = iter(["p n - 2", "up", "q"])
    monkeypatch.setattr(builtins, "input", lambda *_: next(commands))
    # In a terminal IPython asks in its own way; in a notebook, as here.
    monkeypatch.setattr(shell.InteractiveTB, "debugger_cls", Scripted(commands))
    shell.InteractiveTB.pdb = None

    text = said(shell, "debug")

    assert "invert[1] is computed once more, here" in text
    assert "ZeroDivisionError" in text
    assert "inverse" in text
    assert "\n0\n" in text
    assert sys.last_type is ZeroDivisionError
    shell.InteractiveTB.pdb = None


class Scripted:
    """Makes debuggers that are told what to do."""

    def __init__(self, commands):
        self.commands = commands

    def __call__(self):
        from IPython.core.debugger import Pdb

        made = Pdb(stdout=sys.stdout)
        made.use_rawinput = True
        return made


def test_debug_says_if_there_is_nothing_to_debug(shell):
    flow(shell, "run etl")

    with pytest.raises(UsageError, match="no step of run .* has failed, it is completed"):
        flow(shell, "debug")
    assert "did not fail this time; it gave" in said(shell, "debug head")


def test_table_is_interactive_or_says_what_is_missing(shell, monkeypatch):
    run = flow(shell, "run etl")

    table = flow(shell, "table head")
    assert "<table" in table.html
    assert "https://cdn" not in table.html
    assert repr(table) == repr(run["head"])

    monkeypatch.setitem(sys.modules, "itables", None)
    with pytest.raises(UsageError, match=r"needs the package 'itables'.*nbflow\[tables\]"):
        flow(shell, "table head")
    with pytest.raises(ImportError):
        run.table("head")


def test_names_and_options_complete(shell):
    flow(shell, "run etl")
    names = shell.user_ns

    assert {"rows", "timeline", "diff", "log", "debug", "table"} <= set(
        offered(["%flow"], "", names)
    )
    assert "load" in offered(["%flow", "log"], "", names)
    assert "load" in offered(["%flow", "debug"], "", names)
    assert "--save" in offered(["%flow", "timeline", "--s"], "--s", names)
    assert nbflow.last_run().id in offered(["%flow", "diff"], "", names)
    assert {"retry=", "timeout="} <= set(
        offered(["%%flow", "step", "clean", "--options"], "", names)
    )


@pytest.mark.parametrize(
    "command", ["rows", "timeline", "diff", "log", "debug", "table", "step", "status"]
)
def test_every_command_has_help(shell, command):
    assert f"usage: %flow {command}" in said(shell, f"{command} --help")


# Cells that become steps


def cell(shell, text):
    result = shell.run_cell(text, store_history=True)
    if result.error_before_exec is not None:
        raise result.error_before_exec
    if result.error_in_exec is not None:
        raise result.error_in_exec
    return result.result


@pytest.fixture
def quiet(shell):
    with capture_output(display=False):
        yield shell


def test_a_notebook_becomes_a_flow_cell_by_cell(quiet):
    cell(quiet, "rate = 2\ndef double(x):\n    return x * rate")
    cell(quiet, "%%flow step raw\npd.DataFrame({'n': range(4)})")
    cell(quiet, "%%flow step clean --options retry=2\nclean = raw[raw['n'] > 0]\nprint(len(clean))")
    made = cell(quiet, "%%flow step total\nint(double(clean['n']).sum())")

    assert made.steps == ["raw", "clean", "total"]
    assert quiet.user_ns["total"] is made
    assert made["clean"].expression.call.definition.options.retry.attempts == 3
    run = flow(quiet, "run total")
    assert run.result() == 12
    assert run.log("clean") == "3\n"


def test_running_a_cell_again_is_safe(quiet):
    cell(quiet, "%%flow step frame\n[1, 2, 3]")
    text = "%%flow step frame2\nframe2 = [each + 1 for each in frame]"
    assert cell(quiet, text).call() == cell(quiet, text).call() == [2, 3, 4]

    cell(quiet, "df = frame")
    again = "%%flow step df\ndf = [each + 1 for each in df]"
    assert cell(quiet, again).call() == [2, 3, 4]
    assert cell(quiet, again).call() == [2, 3, 4]
    assert cell(quiet, "df").steps == ["frame", "df"]

    # Only another cell of the same name is another step.
    with pytest.raises(UsageError, match="'df'"):
        cell(quiet, "%%flow step df\ndf = df[:1]")


def test_a_value_that_the_cell_changes_is_that_of_the_moment(quiet):
    cell(quiet, "count = 10")
    text = "%%flow step counted\ncount = count + 1\ncount"

    made = cell(quiet, text)
    cell(quiet, "count = 99")

    assert made.call() == made.call() == 11


def test_inputs_may_be_named(quiet):
    cell(quiet, "weights = [1, 2, 3]\n")

    made = cell(quiet, "%%flow step weighed --inputs weights\nsum(weights)")
    cell(quiet, "weights = [9]")

    assert made.call() == 6
    with pytest.raises(UsageError, match="--inputs names 'nothing', which the cell does not read"):
        cell(quiet, "%%flow step weighed --inputs nothing\nsum(weights)")


def test_a_step_that_is_called_is_a_function_and_else_an_input(quiet):
    cell(quiet, "@step\ndef three():\n    return 3\n@step\ndef triple(x):\n    return 3 * x")

    made = cell(quiet, "%%flow step nine\ntriple(three)")

    assert made.steps == ["three", "nine"]
    assert made.call() == 9


def test_a_failing_cell_shows_its_own_lines(quiet, capsys):
    cell(quiet, "%%flow step zero\n0")
    made = cell(quiet, "%%flow step failing\nx = zero + 1\n\ny = x / (x - 1)\ny")

    with pytest.raises(ZeroDivisionError) as caught:
        made.run()

    trace = caught.tb
    while trace.tb_next is not None:
        trace = trace.tb_next
    assert trace.tb_lineno == 4
    quiet.showtraceback((caught.type, caught.value, caught.tb))
    shown = nbflow.last_run().state.steps["failing"].error.traceback
    assert "y = x / (x - 1)" in shown


def test_a_cell_may_await(quiet):
    made = cell(quiet, "%%flow step waited\nimport asyncio\nawait asyncio.sleep(0)\n7")

    assert made.call() == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%%flow step broken\nnothing_there + 1", "'nothing_there' is not defined"),
        ("%%flow step broken\n%time 3\n4", "line 2: '%time 3' is for the notebook"),
        ("%%flow step broken\n!ls\n4", "line 2: '!ls' is for the notebook"),
        ("%%flow step broken\nx = (\n", "line 2"),
        ("%%flow step broken\nx = 3", "gives no value"),
        ("%%flow step broken\nfrom math import *\n3", r"cannot import \*"),
        ("%%flow step 3x\n3", "'3x' is no name for a step"),
        ("%%flow step\n3", "required: name"),
        ("%%flow step broken --options retry\n3", "'retry' is not NAME=VALUE"),
        ("%%flow step broken --options rety=3\n3", "no step option 'rety'; did you mean 'retry'"),
        ("%%flow step broken\nrun_there['x']", "'run_there' is a run, which stays"),
        ("%%flow run etl\n3", "run takes no cell"),
        ("%flow step broken", "two percent signs"),
    ],
)
def test_mistakes_are_one_line(quiet, text, said):
    quiet.user_ns["run_there"] = flow(quiet, "run etl")

    with pytest.raises(UsageError, match=said) as caught:
        cell(quiet, text)

    assert "\n" not in str(caught.value)
    assert "broken" not in quiet.user_ns
