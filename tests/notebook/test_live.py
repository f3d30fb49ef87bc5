"""What the live panel is told, and when a run is shown at all."""

from __future__ import annotations

import time

import pytest
from jupyter_client.manager import start_new_kernel

from nbflow import group, step
from nbflow.errors import FlowError
from nbflow.notebook.about import about
from nbflow.notebook.canvas import Canvas
from nbflow.notebook.glance import Glance
from nbflow.notebook.watching import chosen
from nbflow.record.events import ElementRecords, ErrorRecord, Event, Status
from nbflow.record.state import RunState, Shape
from nbflow.running.drive import shapes
from nbflow.values.preview import preview

HOSTILE = "<img src=x onerror=alert(1)>"


@step
def load(n):
    """Read it."""
    return [n]


@step
def clean(rows):
    return rows


@step
def merge(parts):
    return parts


ETL = [load.s(1) >> clean, load.s(2)] >> merge


def begun(flow):
    return RunState.planned("r1", "etl", shapes(flow.topology), 100.0)


def completed(name, value, at=105.0):
    return Event(name, Status.COMPLETED, at, 1, "w", 2.0, preview=preview(value))


def rows(n, width=2):
    return [dict.fromkeys("abcdefgh"[:width], 1)] * n


def test_a_first_look_tells_of_every_figure():
    glance = Glance(ETL, begun(ETL))

    delta = glance.look(begun(ETL), 101.0)

    assert {face[1] for face in delta["faces"].values()} == {"○ pending"}
    assert sorted(delta["steps"]) == ["clean", "load", "load_2", "merge"]
    assert delta["head"]["ended"] == 0
    assert delta["head"]["total"] == 4


def test_what_was_interrupted_or_is_in_doubt_has_not_ended():
    state = begun(ETL).apply(
        [
            completed("load", rows(3)),
            Event("load_2", Status.RUNNING, 101.0, doubts={None: "its worker died"}),
            Event("clean", Status.RUNNING, 101.0),
            Event("", Status.INTERRUPTED, 102.0, reason="the kernel died"),
        ]
    )

    assert Glance(ETL, state).look(state, 103.0)["head"]["ended"] == 1


def test_a_later_look_tells_of_what_has_changed_and_of_nothing_else():
    state = begun(ETL)
    glance = Glance(ETL, state)
    glance.look(state, 101.0)

    state = state.apply([Event("load", Status.RUNNING, 101.0)])
    delta = glance.look(state, 103.5)

    [face] = delta["faces"].values()
    assert face[:3] == ["load", "◐ running", "running"]
    assert face[5] == 2.5
    assert list(delta["steps"]) == ["load"]
    assert set(glance.look(state, 104.0)) == {"head"}


def test_whoever_comes_later_is_told_the_whole():
    state = begun(ETL)
    glance = Glance(ETL, state)
    glance.look(state, 101.0)
    state = state.apply([completed("load", rows(3))])
    glance.look(state, 106.0)

    assert len(glance.whole["faces"]) == 4
    assert glance.whole["steps"]["load"][0] == "completed"
    assert "<table" in glance.whole["sheets"]["load"]


def test_edges_say_how_much_flows_and_what_became_of_it():
    state = begun(ETL).apply(
        [completed("load", rows(1_500)), completed("clean", rows(296, width=4))]
    )

    delta = Glance(ETL, state).look(state, 106.0)

    canvas = Canvas(ETL)
    key = {names[0]: key for key, names in canvas.members.items()}
    flows = delta["flows"]
    assert flows[f"{key['load']}->{key['clean']}"] == ["1,500 × 2", ""]
    assert flows[f"{key['clean']}->{key['merge']}"] == ["296 × 4", "−1,204 × +2"]  # noqa: RUF001


def test_what_a_click_shows_is_told_before_it():
    state = begun(ETL).apply([completed("load", rows(3))])

    glance = Glance(ETL, state)
    delta = glance.look(state, 106.0)

    assert list(delta["sheets"]) == ["load"]
    told = glance.whole
    assert "Read it." in told["abouts"][told["about"]["load"]]
    # Two calls of one function are shown once.
    assert told["about"]["load"] == told["about"]["load_2"]


def test_what_failed_comes_first_and_says_why():
    error = ErrorRecord("ValueError", HOSTILE, "Traceback")
    state = begun(ETL).apply(
        [completed("load", rows(3)), Event("clean", Status.FAILED, 106.0, error=error)]
    )

    delta = Glance(ETL, state).look(state, 107.0)

    assert delta["problems"] == [["clean", "failed", f"ValueError: {HOSTILE}"]]
    assert HOSTILE not in delta["sheets"]["clean"]
    assert "&lt;img" in delta["sheets"]["clean"]


def test_a_fan_out_counts():
    flow = range(100) >> clean.map()
    state = begun(flow).apply(
        [
            Event("clean", Status.RUNNING, 101.0),
            Event(
                "clean",
                Status.RUNNING,
                102.0,
                elements=ElementRecords(0, (Status.COMPLETED,) * 37, (0.1,) * 37),
            ),
        ]
    )

    [face] = Glance(flow, state).look(state, 103.0)["faces"].values()

    assert face[0] == "clean × 100"
    assert face[1] == "◐ 37/100"


def test_a_large_flow_is_a_small_picture():
    flow = group(*[load.s(n) >> clean for n in range(1_000)])
    state = begun(flow)
    glance = Glance(flow, state)

    begun_at = time.perf_counter()
    delta = glance.look(state, 101.0)
    # Generous; it takes some milliseconds.
    assert time.perf_counter() - begun_at < 5.0

    assert len(delta["faces"]) <= 150
    assert len(delta["steps"]) == 2_000
    assert len(glance.whole["svg"]) < 300_000


def test_hostile_names_are_text_everywhere():
    flow = 1 >> step(lambda x: x).named(HOSTILE)
    state = begun(flow).apply([completed(HOSTILE, [{HOSTILE: HOSTILE}])])

    glance = Glance(flow, state)
    delta = glance.look(state, 106.0)

    html = glance.whole["svg"] + "".join(delta["sheets"].values())
    assert "<img" not in html + "".join(glance.whole["abouts"].values())


def test_secrets_are_shown_to_nobody():
    def fetch(path, api_token=None, password="hush-default"):  # noqa: S107
        return path

    flow = "x" >> step(fetch).s(api_token="hush")

    shown = about(flow.topology.nodes[0])

    assert "api_token=•••" in shown
    assert "hush" not in shown.partition("<pre")[0]


def test_a_function_that_nobody_can_look_into_is_shown_all_the_same():
    assert "source is not known" in about((4 >> step(abs)).topology.nodes[0])


def test_expected_time_and_workers_are_told():
    state = RunState.planned("r1", "etl", {name: Shape() for name in ETL.topology.names}, 100.0)
    glance = Glance(ETL, state, expected=60.0)
    glance.workers = "2 workers, 300 MB"

    head = glance.look(state, 110.0)["head"]

    assert (head["elapsed"], head["expected"], head["workers"]) == (10.0, 60.0, "2 workers, 300 MB")


def test_a_choice_that_is_none_is_refused():
    with pytest.raises(FlowError, match="display is 'lively'; it must be"):
        chosen("lively")
    with pytest.raises(FlowError, match="display is 'lively'"):
        ETL.run(display="lively")


@pytest.mark.parametrize("choice", ["auto", "live", "static", None])
def test_nothing_is_shown_outside_of_notebooks(choice, capsys):
    assert chosen(choice) is None


LONG = """
import time
import nbflow
from nbflow import step

@step
def add(x):
    time.sleep(PAUSE)
    return x + 1

flow = 0 >> add
for _ in range(149):
    flow = flow >> add
_ = flow.run()
"""


@pytest.mark.parametrize("pause", [0, 0.004], ids=["at once", "followed"])
def test_the_report_of_many_steps_may_come_while_the_next_cell_runs(pause, on_cluster):
    # As it is where a page shows what the kernel gives.
    manager, client = start_new_kernel(env={**on_cluster, "JPY_SESSION_NAME": "long.ipynb"})
    shown = {}
    try:
        client.execute(LONG.replace("PAUSE", str(pause)))
        while not any("<img" in each and "completed" in each for each in shown.values()):
            said = client.get_iopub_msg(timeout=60)
            assert said["msg_type"] != "error", said["content"]["traceback"]
            if said["msg_type"] in ("display_data", "update_display_data"):
                place = said["content"].get("transient", {}).get("display_id")
                assert said["msg_type"] == "display_data" or place in shown
                shown[place] = said["content"]["data"]["text/html"]
                brought_by = said["msg_type"]
        assert pause or brought_by == "update_display_data"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_the_report_of_many_steps_is_there_at_once_where_no_page_shows_it(on_cluster):
    env = {**on_cluster, "NBFLOW_DISPLAY": "live"}
    manager, client = start_new_kernel(env=env)
    shown = []
    try:
        client.execute_interactive(LONG.replace("PAUSE", "0"), timeout=60, output_hook=shown.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    pages = [each["content"]["data"]["text/html"] for each in shown if "data" in each["content"]]
    assert "<img" in pages[-1]
    assert "completed" in pages[-1]
