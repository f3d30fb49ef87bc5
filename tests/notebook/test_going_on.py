"""The magic for runs that are written down: listed, loaded, resumed, resolved and undone."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import nbflow
from nbflow.notebook.report import report
from nbflow.notebook.text import tree
from nbflow.record.archive import Archive
from nbflow.record.events import Event, Status
from nbflow.running.drive import Drive
from nbflow.running.history import loaded
from nbflow.running.showing import Shown

pytestmark = pytest.mark.timeout(120)

DEFINITIONS = """
import os
import signal
from pathlib import Path
import pandas as pd
import nbflow
from nbflow import step

def write(folder, name):
    with Path(folder, name).open("a") as file:
        file.write("x")

def refund(receipt):
    write(receipt["folder"], "refunded")

@step(checkpoint=True)
def validate(folder):
    write(folder, "validated")
    return folder

@step(compensate=refund)
def charge(folder):
    write(folder, "charged")
    if Path(folder, "die").exists():
        Path(folder, "die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"folder": folder, "receipt": 17}

@step
def notify(receipt):
    if Path(receipt["folder"], "down").exists():
        raise ConnectionError("no answer")
    return receipt["receipt"]

@step
def double(n):
    return 2 * n

@step
def fails(folder):
    if Path(folder, "down").exists():
        raise ConnectionError("no answer")
    return 3

@step(compensate=refund)
def pay(country, folder):
    if country == "new york" and Path(folder, "die").exists():
        Path(folder, "die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"folder": folder, "receipt": country}
"""


@pytest.fixture(scope="module")
def shell(cluster):
    nbflow.connect(cluster)
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "nbflow")
    shell.run_cell(DEFINITIONS).raise_error()
    yield shell
    shell.run_line_magic("unload_ext", "nbflow")


@pytest.fixture
def place(shell, tmp_path, monkeypatch):
    """A folder of its own, with a store in it that is the default one."""
    monkeypatch.setenv("NBFLOW_STORE", str(tmp_path / "store"))
    shell.user_ns["place"] = str(tmp_path)
    shell.run_cell(
        "orders = place >> validate >> charge >> notify\n"
        "pure = place >> validate >> fails >> double\n"
    ).raise_error()
    return tmp_path


def flow(shell, line):
    return shell.run_line_magic("flow", line)


def quietly(shell, line):
    with capture_output() as captured:
        return flow(shell, line), captured


def stopped(shell, place):
    """Make a run that failed in the middle."""
    (place / "down").touch()
    run = flow(shell, "run pure --no-raise --checkpoint on")
    (place / "down").unlink()
    assert run.status == "failed"
    return run


def doubtful(shell, place):
    """Make a run of which a step is in doubt, as its worker was killed."""
    (place / "die").touch()
    run, _ = quietly(shell, "run orders --no-raise")
    assert run.status == "interrupted"
    return run


def counted(place, name):
    return (place / name).stat().st_size


# Written down


def test_runs_lists_what_is_written_down_the_newest_first(shell, place):
    first = flow(shell, "run orders --key one")
    second = flow(shell, "run orders")

    table = flow(shell, "runs")

    assert list(table.index) == [second.id, first.id]
    assert list(table["key"]) == ["", "one"]
    assert list(table["status"]) == ["completed", "completed"]
    assert table.loc[first.id, "started"].strftime("%Y%m%d-%H%M%S") == first.id[:15]


def test_runs_of_another_place(shell, place):
    run = flow(shell, f"run orders --store {place}/other")

    assert list(flow(shell, f"runs --store {place}/other").index) == [run.id]
    assert list(flow(shell, "runs").index) == []
    assert not (place / "store").exists()


def test_runs_of_a_deterministic_notebook_tell_nothing_that_changes(shell, place, monkeypatch):
    flow(shell, "run orders")
    monkeypatch.setenv("NBFLOW_DETERMINISTIC", "1")

    table = flow(shell, "runs")
    assert list(table.columns) == ["flow", "status", "steps", "key"]


def test_the_same_key_is_the_same_run(shell, place):
    first = flow(shell, "run orders --key daily")
    again = flow(shell, "run orders --key daily")

    assert again.id == first.id
    assert counted(place, "charged") == 1


# What waits for its time


def test_a_run_that_waits_says_everywhere_when_it_begins(shell, place):
    run = shell.user_ns["later"] = shell.user_ns["orders"].submit(after=185)
    try:
        begins = r"begins \d\d:\d\d:\d\d, in 3 min"
        table, (_, said) = flow(shell, "runs"), quietly(shell, "status later")
        loaded_ = nbflow.load(run.id)
        again = report(loaded_.flow, loaded_.state)

        assert re.search(rf"pending, 3 steps, {begins}\)$", repr(run))
        assert re.fullmatch(begins, said.stdout.splitlines()[1])
        assert re.fullmatch(begins, again.text.splitlines()[1])
        assert re.search(begins, run._repr_mimebundle_()["text/html"])
        assert re.fullmatch(begins, f"begins {table.loc[run.id, 'begins']}")
        assert table.loc[run.id, "started"] != table.loc[run.id, "started"]  # not yet
    finally:
        run.cancel()
    assert "begins" not in flow(shell, "runs").columns


def test_a_run_that_waits_tells_nothing_that_changes_where_that_is_asked_for(
    shell, place, monkeypatch
):
    run = shell.user_ns["later"] = shell.user_ns["orders"].submit(after=185)
    monkeypatch.setenv("NBFLOW_DETERMINISTIC", "1")
    try:
        _, said = quietly(shell, "status later")

        assert repr(run) == "Run('notify', pending, 3 steps)"
        assert said.stdout.splitlines()[1] == "begins later"
        assert list(flow(shell, "runs").columns) == ["flow", "status", "steps", "key"]
    finally:
        run.cancel()


def test_a_step_that_waits_says_when_it_begins_in_the_table_of_steps(shell, place):
    shell.run_cell("slow = (place >> validate.options(delay=300) >> fails).submit()").raise_error()
    run = shell.user_ns["slow"]
    with run._record.changed:
        run._record.changed.wait_for(lambda: run.state.steps["validate"].retry_at, 30)
    table = flow(shell, "steps slow")
    run.cancel()

    assert re.fullmatch(r"begins \d\d:\d\d:\d\d, in [45] min", table.loc["validate", "reason"])


def test_load_gives_the_run_back(shell, place):
    run_id = flow(shell, "run orders").id
    Drive.living.pop(run_id)

    run = flow(shell, f"load {run_id}")

    assert run.id == run_id
    assert run.result() == 17


def test_what_names_a_run_is_its_id_too(shell, place):
    run_id = flow(shell, "run orders").id
    Drive.living.pop(run_id)
    table = flow(shell, f"steps {run_id}")

    assert list(table.index) == ["validate", "charge", "notify"]
    # The clock on the wall, as in the id.
    assert table["started"].dt.strftime("%Y%m%d").tolist() == [run_id[:8]] * 3
    assert flow(shell, f"result notify --run {run_id}")["value"].tolist() == [17]


# Going on


def test_resume_shows_its_plan_and_computes_only_what_is_missing(shell, place, capsys):
    run = stopped(shell, place)

    again = flow(shell, f"resume {run.id}")

    assert again.result() == 6
    assert list(again.steps["status"]) == ["reused", "completed", "completed"]
    assert counted(place, "validated") == 1
    plan = capsys.readouterr().err
    assert "validate  reuse" in plan
    assert "it had failed" in plan


@pytest.mark.parametrize("named", ["mine", ""])
def test_resume_of_a_named_run_and_of_the_last_one(shell, place, named):
    shell.user_ns["mine"] = stopped(shell, place)

    assert flow(shell, f"resume {named}").result() == 6


def test_resume_takes_the_flow_as_it_is_now(shell, place):
    run = stopped(shell, place)
    shell.run_cell("@step\ndef double(n):\n    return 200 * n").raise_error()
    shell.run_cell("changed = place >> validate >> fails >> double").raise_error()

    assert flow(shell, f"resume {run.id} --flow changed").result() == 600
    shell.run_cell(DEFINITIONS).raise_error()


def renamed(shell):
    """Define the flow once more, with other names for two of its steps."""
    shell.run_cell(
        "renamed = place >> validate.named('check') >> fails >> double.named('twice')"
    ).raise_error()


def test_resume_is_told_what_steps_are_called_now(shell, place):
    run = stopped(shell, place)
    renamed(shell)

    again = flow(
        shell, f"resume {run.id} --flow renamed --renamed validate=check --renamed double=twice"
    )

    assert again.result() == 6
    assert list(again.steps.index) == ["check", "fails", "twice"]
    assert again.steps.loc["check", "status"] == "reused"
    assert counted(place, "validated") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--renamed", "expected one argument"),
        ("--renamed validate", "'validate' is not OLD=NEW"),
        ("--renamed =check", "'=check' is not OLD=NEW"),
        ("--renamed validate=check", "give that by --flow"),
        ("--flow renamed --renamed validte=check", "the run has no step 'validte'"),
        ("--flow renamed --renamed validte=check", "did you mean 'validate'?"),
        ("--flow renamed --renamed validate=chek", "the flow has no step 'chek'"),
        ("--flow renamed --renamed validate=check --renamed double=check", "2 times"),
        ("--flow renamed --renamed double=check --renamed double=twice", "2 times"),
    ],
)
def test_a_renaming_that_cannot_be_meant_is_a_usage_error_in_one_line(shell, place, given, said):
    run = stopped(shell, place)
    renamed(shell)

    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        flow(shell, f"resume {run.id} {given}")

    assert "\n" not in str(caught.value)
    assert run.status == "failed"


def test_tab_offers_the_steps_that_a_flow_has_no_more_and_those_that_are_new(shell, place):
    run = stopped(shell, place)
    renamed(shell)
    line = f"%flow resume {run.id}"

    assert completions(shell, f"{line} --ren") == {"--renamed"}
    # Without a flow, it may be any.
    assert completions(shell, f"{line} --renamed ") >= {"validate=", "fails=", "double="}
    line += " --flow renamed --renamed "
    assert "fails=" not in completions(shell, line)
    assert completions(shell, f"{line}val") == {"validate="}
    assert completions(shell, f"{line}validate=") == {"validate=check", "validate=twice"}
    assert completions(shell, f"{line}validate=check --renamed double=") == {"double=twice"}
    assert completions(shell, "%flow resume --flow renamed --renamed val") == {"validate="}
    assert "--help" in completions(shell, "%flow resume 20260101-000000-0000 --renamed ")


def test_resume_keeps_results_as_was_said_for_the_run_unless_it_is_said_anew(shell, place):
    run = stopped(shell, place)

    assert flow(shell, f"resume {run.id}").state.steps["double"].kept is not None


def test_resume_without_waiting(shell, place):
    run = flow(shell, f"resume {stopped(shell, place).id} --no-wait")
    assert run.result(timeout=60) == 6


def test_what_is_in_doubt_is_resolved_and_the_run_goes_on(shell, place):
    run = doubtful(shell, place)
    assert completions(shell, f"%flow resolve {run.id} ") >= {"charge"}
    assert "validate" not in completions(shell, f"%flow resolve {run.id} ")

    _, said = quietly(
        shell, f'resolve {run.id} charge --completed {{"folder": place, "receipt": 99}}'
    )
    assert said.stdout == (f"charge counts as completed; go on with %flow resume {run.id}\n")
    again, _ = quietly(shell, f"resume {run.id}")

    assert again.result() == 99
    assert counted(place, "charged") == 1


@pytest.mark.parametrize(
    ("verdict", "status", "charges"), [("--retry", "completed", 2), ("--failed", "failed", 1)]
)
def test_a_verdict_may_be_that_it_was_not_done(shell, place, verdict, status, charges):
    run = doubtful(shell, place)
    quietly(shell, f"resolve {run.id} charge {verdict} --store {place}/store")
    with contextlib.suppress(nbflow.NbflowError):
        quietly(shell, f"resume {run.id} --no-raise")

    assert nbflow.last_run().status == status
    assert counted(place, "charged") == charges


def test_an_element_in_doubt_is_resolved_by_its_key(shell, place):
    (place / "die").touch()
    shell.run_cell(
        "trips = pay.s(place).map(['new york', 'oslo'], key=str) >> step(len)"
    ).raise_error()
    run, _ = quietly(shell, "run trips --no-raise")
    assert run.status == "interrupted"

    # The other one may have been begun by the same worker.
    assert "'pay[new york]'" in completions(shell, f"%flow resolve {run.id} ")
    for called, _ in run.state.steps["pay"].in_doubt:
        _, said = quietly(shell, f"resolve {run.id} '{called}' --retry")
    assert said.stdout.startswith(f"{called} will be tried again; go on with")
    again, _ = quietly(shell, f"resume {run.id}")

    assert again.result() == 2


def test_what_is_still_in_doubt_is_named_by_its_key(shell, place):
    run = doubtful(shell, place)
    [(_, why)] = run.state.steps["charge"].in_doubt
    told = Event("charge", Status.RUNNING, 1.0, doubts={1: why}, labels={1: "eu"})
    run._record.fold([told])

    assert "charge[eu]" in completions(shell, f"%flow resolve {run.id} ")


def test_a_slip_of_the_pen_is_no_result(shell, place):
    run = doubtful(shell, place)

    with pytest.raises(UsageError, match="'recipt' has no value .NameError") as caught:
        flow(shell, f"resolve {run.id} charge --completed recipt")

    assert "\n" not in str(caught.value)
    assert nbflow.load(run.id).state.steps["charge"].doubts


def test_a_finished_run_is_undone(shell, place):
    run = flow(shell, "run orders")

    undone = flow(shell, f"undo {run.id}")

    assert undone.status == "compensated"
    assert counted(place, "refunded") == 1
    with pytest.raises(UsageError, match="undone already"):
        flow(shell, f"undo {run.id}")


def test_an_undoing_that_fails_is_shown_and_said(shell, place):
    run = flow(shell, "run orders")
    (place / "refunded").mkdir()

    with capture_output() as captured, pytest.raises(UsageError, match="undoing charge failed"):
        flow(shell, f"undo {run.id}")
    assert "not undone" in captured.outputs[0].data["text/plain"]

    (place / "refunded").rmdir()
    assert flow(shell, f"undo {run.id}").status == "compensated"


def test_a_failed_order_is_rolled_back_and_raises_what_failed(shell, place):
    (place / "down").touch()
    with capture_output() as captured, pytest.raises(ConnectionError, match="no answer"):
        flow(shell, "run orders")

    assert "undone, in this order: charge by refund" in captured.outputs[0].data["text/plain"]


# Mistakes


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("load", "required"),
        ("load 20260101-000000-0000", "there is no run"),
        ("resume 20260101-000000-0000", "there is no run"),
        ("resume nothing", "'nothing' is not defined"),
        ("resume {good.id}", "nothing left to do"),
        ("resume {good.id} --flow nothing", "'nothing' is not defined"),
        ("resume {good.id} --flow pure", "not that of run"),
        ("resume {good.id} --checkpoint sometimes", "invalid choice"),
        ("resolve {good.id} charge", "one of the arguments"),
        ("resolve {good.id} charge --retry --failed", "not allowed with"),
        ("resolve {good.id} charge --retry", "is not in doubt"),
        ("resolve {good.id} chrage --retry", "did you mean 'charge'"),
        ("run orders --key ' '", "the key is"),
        ("run orders --key k --store", "expected one argument"),
        ("run pure --key taken", "is that of run"),
    ],
)
def test_mistakes_are_usage_errors_in_one_line(shell, place, line, said):
    shell.user_ns["good"] = flow(shell, "run orders --key taken")

    with pytest.raises(UsageError, match=".") as caught:
        flow(shell, line)

    assert said in str(caught.value)
    if "not that of run" not in said:  # what differs between two flows takes several lines
        assert "\n" not in str(caught.value)


def test_values_in_braces_stand_for_names_as_in_any_magic(shell, place):
    shell.user_ns["chosen"] = "orders"
    assert flow(shell, "run {chosen}").name == "orders"
    assert flow(shell, "run $chosen").name == "orders"


def test_help_lists_the_commands(shell):
    _, said = quietly(shell, "--help")
    for name in ("runs", "load", "resume", "resolve", "undo"):
        assert re.search(rf"^ +{name} ", said.stdout, re.MULTILINE)
    _, said = quietly(shell, "run --help")
    assert all(each in said.stdout for each in ("--store", "--key", "--checkpoint"))


# The Tab key


def completions(shell, text):
    with contextlib.suppress(DeprecationWarning):
        return {each.text for each in shell.Completer.completions(text, len(text))}


def test_tab_offers_ids_from_this_process_and_from_the_journal(shell, place):
    failed = stopped(shell, place).id
    good = flow(shell, "run orders").id
    for each in (failed, good):
        Drive.living.pop(each, None)

    assert completions(shell, "%flow load ") >= {failed, good}
    assert completions(shell, f"%flow load {good[:-1]}") == {good}
    assert failed in completions(shell, "%flow resume ")
    assert good not in completions(shell, "%flow resume ")
    assert good in completions(shell, "%flow undo ")
    assert failed in completions(shell, "again = %flow resume ")


def test_tab_offers_options_and_their_values(shell, place):
    assert completions(shell, "%flow run orders --") >= {"--store", "--key", "--checkpoint"}
    assert completions(shell, "%flow run orders --checkpoint ") >= {"auto", "on", "off"}
    assert completions(shell, "%flow resolve x y --c") == {"--completed"}
    assert "orders" in completions(shell, "%flow resume x --flow ")
    assert completions(shell, "%flow runs --") >= {"--store"}


def test_tab_survives_a_journal_that_cannot_be_read(shell, place):
    (place / "store").mkdir()
    (place / "store" / "journal.sqlite").write_text("this is no journal, " * 100)

    assert "--help" in completions(shell, "%flow load ")


# As it was


def test_a_loaded_run_is_drawn_as_the_live_one_was(shell, place):
    for name in ("down", "die", ""):
        if name:
            (place / name).touch()
        live, _ = quietly(shell, "run orders --no-raise")
        written = loaded(live.id, Archive.of(None))
        seen, again = report(live.flow, live.state), report(written.flow, written.state)
        assert again.html == seen.html
        assert again.text == seen.text
        assert tree(written.flow) == tree(live.flow)
        if name:
            Path(place, name).unlink(missing_ok=True)


# What a resume shows


def test_a_plan_is_shown_in_its_full_length_and_only_as_text():
    import pandas as pd

    long = "it was begun " * 30 + "<b>bold</b>"
    rows = [("<script>", "run", long)] + [(f"step {n}", "reuse", "done") for n in range(300)]
    table = pd.DataFrame(rows, columns=["step", "decision", "reason"]).set_index("step")
    shown = Shown(table, "run <r1> goes on")

    assert "&lt;b&gt;bold&lt;/b&gt;" in shown.html
    assert "it was begun " * 30 in shown.html
    assert not re.search("<script|<b>|<r1>", shown.html)
    assert "… 101 more" in shown.html
    assert long in repr(shown)
    assert len(repr(shown).splitlines()) == 203
