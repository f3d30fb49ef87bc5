"""What a user holds: the table of steps, frames, previews, logs, errors, live status."""

from __future__ import annotations

import logging
import sys
import threading
import time
import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster

import nbflow
from nbflow import chain, group, step

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("client")]


@step
def fine(x: Any = 1) -> Any:
    return x


@step
def bad() -> None:
    raise ValueError("bad")


@step
def wait_for(path: str, x: int = 1) -> int:
    # A step that must not end before the test has looked.
    while not Path(path).exists():
        time.sleep(0.005)
    return x


def until(run: Any, condition: Any) -> None:
    """Wait for what events tell; nothing here depends on how long it takes."""
    execution = run._record
    with execution.changed:
        assert execution.changed.wait_for(lambda: condition(run.state), 20)


# Waiting


def test_submit_returns_at_once_and_result_waits(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = wait_for.s(str(gate), 5).submit()
    assert run.status == "running"
    assert run.wait(0.01) is False
    with pytest.raises(nbflow.RunTimeoutError, match=run.id) as caught:
        run.result(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert "goes on" in str(caught.value)
    gate.touch()
    assert run.result(timeout=20) == 5
    assert run.wait() is True
    assert run.status == "completed"


def test_a_result_is_there_before_the_run_has_ended(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = group(fine.s(3), wait_for.s(str(gate))).submit()
    assert run.value("fine") == 3
    assert run["fine"].to_dict("list") == {"value": [3]}
    assert run.status == "running"
    gate.touch()
    assert run.result(20) == [3, 1]


@pytest.mark.parametrize("fuse", [True, False])
def test_status_is_live_within_a_segment(fuse: bool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    flow = (fine.s(str(gate)) >> wait_for >> fine.named("last")).options(fuse=fuse)
    run = flow.submit()
    until(run, lambda state: state.steps["wait_for"].status == "running")
    assert run.steps.status.to_dict() == {
        "fine": "completed",
        "wait_for": "running",
        "last": "pending",
    }
    assert run.steps.worker["wait_for"].startswith("tcp://127.0.0.1:")
    assert run.steps.attempts.to_dict() == {"fine": 1, "wait_for": 1, "last": 0}
    assert run.steps.seconds.isna().to_dict() == {"fine": False, "wait_for": True, "last": True}
    assert "running" in repr(run)
    gate.touch()
    assert run.result(20) == 1
    told = [(event.step, str(event.status)) for event in run.events if event.step != "fine"]
    assert told[0] == ("wait_for", "running")


def test_elements_are_counted_while_the_map_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    paths = [str(tmp_path)] * 7 + [str(gate)]
    run = wait_for.map(paths).submit()
    until(run, lambda state: state.steps["wait_for"].done >= 1)
    assert run.steps.status["wait_for"] == "running"
    gate.touch()
    assert run.result(20) == [1] * 8
    assert run.state.steps["wait_for"].done == 8


def test_a_step_that_never_lets_go_of_the_interpreter_is_shown_in_the_end() -> None:
    @step
    def sum_up() -> int:
        return sum(range(3_000_000))

    assert (fine >> sum_up.si() >> fine.named("last")).run().result() == sum(range(3_000_000))


# The table of steps


def test_the_table_of_steps_has_types_whatever_happened() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    run = group(df >> fine, bad >> fine.s() >> fine.s()).run(raise_on_error=False)
    steps = run.steps
    assert list(steps.columns) == [
        "status",
        "attempts",
        "started",
        "seconds",
        "rows",
        "columns",
        "bytes",
        "worker",
        "reason",
    ]
    assert steps.index.name == "step"
    assert list(steps.index) == ["fine", "bad", "fine_2", "fine_3"]
    kinds = {name: str(kind) for name, kind in steps.dtypes.items()}
    assert kinds["started"].startswith("datetime64[")
    assert kinds["started"].endswith(", UTC]")
    assert kinds["attempts"] == "int64"
    assert kinds["seconds"] == "float64"
    assert {kinds[name] for name in ("rows", "columns", "bytes")} == {"Int64"}
    assert {kinds[name] for name in ("status", "worker", "reason")} == {"str"}
    assert steps.loc["fine", ["rows", "columns"]].tolist() == [2, 2]
    assert steps.attempts.tolist() == [1, 1, 0, 0]
    assert steps.reason.tolist() == ["", "ValueError: bad", "bad failed", "bad failed"]
    now = pd.Timestamp.now(tz="UTC")
    assert (now - steps.started["fine"]).total_seconds() < 60
    assert pd.isna(steps.started["fine_2"])
    empty = group().run().steps
    assert {name: str(kind) for name, kind in empty.dtypes.items()}["seconds"] == "float64"


def test_times_are_plausible() -> None:
    @step
    def slow() -> None:
        time.sleep(0.2)

    before = time.time()
    run = (slow >> fine.si()).run()
    steps = run.steps
    assert 0.2 <= steps.seconds["slow"] < 10
    assert steps.started["slow"].timestamp() >= before - 1
    assert steps.started["fine"] >= steps.started["slow"]


def test_unknown_steps_get_a_suggestion() -> None:
    run = fine.run()
    for ask in (run.value, run.__getitem__, run.preview, run.error, run.log):
        with pytest.raises(nbflow.UnknownStepError, match="did you mean 'fine'"):
            ask("fien")
    with pytest.raises(KeyError):
        run["nothing of the kind"]
    with pytest.raises(nbflow.UnknownStepError):
        run[3]


def test_a_step_can_be_asked_for_by_itself_and_by_its_place() -> None:
    left, right = fine.s("left"), fine.s("right")
    run = ([left, right] >> step(len)).run()
    assert run.value(left) == "left"
    assert run.value(right) == "right"
    assert run.value("fine_2") == "right"
    assert run.value(step(len)) == 2
    with pytest.raises(nbflow.UnknownStepError, match=r"'fine', 'fine_2'"):
        run.value(fine)
    opened = step(str).named("opened") >> fine
    assert opened.run(7).value(opened) == "7"


def test_names_of_every_kind_run() -> None:
    names = [
        "<script>alert(1)</script>",
        "two\nlines",
        "quotes \"'`",
        "\u202egnp.exe",
        "x" * 3_000,
        "é💥",
        "a/b\\c",
        "parse[0]",
        "../x",
        "%s {0}",
    ]
    flow = group(fine.named(name).s(name) for name in names)
    for run in (flow.run(), flow.options(fuse=False).run()):
        assert run.result() == names
        assert [run.value(name) for name in names] == names
        assert list(run.steps.index) == names


# Frames and previews

Row = namedtuple("Row", "a b")

FRAMES: dict[str, tuple[Any, dict[str, list[Any]]]] = {
    "frame": (pd.DataFrame({"a": [1, 2]}), {"a": [1, 2]}),
    "series": (pd.Series([1, 2], name="a"), {"a": [1, 2]}),
    "array": (np.array([1, 2]), {"value": [1, 2]}),
    "arrow": (pa.table({"a": [1, 2]}), {"a": [1, 2]}),
    "polars": (pl.DataFrame({"a": [1, 2]}), {"a": [1, 2]}),
    "scalars": ({"a": 1, "b": "x"}, {"a": [1], "b": ["x"]}),
    "columns": ({"a": [1, 2], "b": [3, 4]}, {"a": [1, 2], "b": [3, 4]}),
    "records": ([{"a": 1}, {"a": 2}], {"a": [1, 2]}),
    "named tuples": ([Row(1, 2), Row(3, 4)], {"a": [1, 3], "b": [2, 4]}),
    "number": (3, {"value": [3]}),
    "list": ([1, 2], {"value": [1, 2]}),
    "no rows": (pd.DataFrame({"a": []}), {"a": []}),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_any_result_is_a_frame(kind: str) -> None:
    value, expected = FRAMES[kind]
    run = fine.s(value).run()
    assert run["fine"].to_dict("list") == expected
    assert run.preview("fine").to_dict("list") == expected


def test_other_results_are_described() -> None:
    run = fine.s({1, 2}).run()
    assert list(run["fine"].columns) == ["type", "repr", "bytes"]
    none = fine.s(None).run()
    assert none.value("fine") is None
    assert len(none["fine"]) == 1


def test_frames_with_difficult_columns_come_back_as_they_were() -> None:
    df = pd.DataFrame([[1, "a", None], [2.5, b"x", np.nan]], columns=["a", "a", "c"])
    df.attrs["origin"] = "here"
    back = fine.s(df).run()["fine"]
    pd.testing.assert_frame_equal(back, df)
    assert back.attrs == {"origin": "here"}
    times = pd.to_datetime([0, 1], utc=True)
    categories = pd.DataFrame({"c": pd.Categorical(["x", "y"]), "t": times})
    pd.testing.assert_frame_equal(fine.s(categories).run()["fine"], categories)


class Rude:
    def __repr__(self) -> str:
        raise SystemExit(1)

    def __len__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __sizeof__(self) -> int:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_a_rude_result_is_a_result() -> None:
    run = (step(lambda: Rude()).named("rude") >> fine).run()
    assert type(run.result()) is Rude
    assert run.steps.status["rude"] == "completed"
    assert len(run.preview("rude")) == 1


def test_previews_are_bounded_and_need_no_transfer() -> None:
    run = step(lambda: pd.DataFrame({"a": range(1_000_000)})).named("big").run()
    assert len(run.preview("big")) <= 20
    assert run.steps.rows["big"] == 1_000_000


def test_values_of_steps_without_one_are_errors() -> None:
    run = (bad >> fine).run(raise_on_error=False)
    for name, status in (("bad", "failed"), ("fine", "skipped")):
        with pytest.raises(nbflow.RunError, match=f"'{name}' has no value: it is {status}"):
            run.value(name)
        with pytest.raises(nbflow.RunError):
            run[name]
    assert run.preview("fine").empty or len(run.preview("fine")) == 1


# What steps say


def test_what_a_step_says_is_kept() -> None:
    @step
    def talk() -> int:
        print("printed", 1)
        print("to stderr", file=sys.stderr)
        sys.stdout.writelines(["a\n", "b\n"])
        logger = logging.getLogger("user.module")
        logger.info("informed %s", 1)
        logger.warning("warned")
        logger.debug("not this")
        for _ in range(2):
            warnings.warn("careful", UserWarning, stacklevel=1)
        print(sys.stdout.encoding, sys.stdout.isatty())
        return 1

    for _ in range(2):
        log = talk.run().log("talk")
        assert "printed 1\n" in log
        assert "to stderr\n" in log
        assert "a\nb\n" in log
        assert "INFO user.module: informed 1\n" in log
        assert "WARNING user.module: warned\n" in log
        assert "not this" not in log
        assert log.count("UserWarning: careful") == 2
        assert "utf-8 False" in log


def test_a_failing_step_keeps_what_it_said() -> None:
    @step
    def talk() -> None:
        print("before")
        raise ValueError

    run = (fine >> talk.si()).run(raise_on_error=False)
    assert run.log("talk") == "before\n"
    assert run.log("fine") == ""


def test_fused_steps_keep_their_words_apart() -> None:
    def talker(name: str) -> Any:
        return step(lambda *_: print(f"I am {name}")).named(name)

    run = chain(talker("a"), talker("b"), talker("c")).run()
    assert [run.log(name) for name in "abc"] == ["I am a\n", "I am b\n", "I am c\n"]


def test_a_flood_of_words_is_bounded_and_says_so() -> None:
    @step
    def flood() -> None:
        for number in range(20_000):
            print(f"line {number:06} {'x' * 40}")

    log = flood.run().log("flood")
    assert len(log) < 200_000
    assert "dropped" in log.splitlines()[0]
    assert log.splitlines()[-1].startswith("line 019999")


def test_a_log_call_that_cannot_be_formatted_fails_nothing() -> None:
    @step
    def talk() -> int:
        logging.getLogger("x").warning("%d", "no number")
        return 1

    assert talk.run().result() == 1


def test_steps_on_threads_of_one_worker_keep_their_words_apart(client: Client) -> None:
    def talk(me: str) -> str:
        meeting = _meeting()
        meeting.wait(20)
        for number in range(200):
            print(f"{me} {number}")
            logging.getLogger("x").warning("%s logs", me)
        meeting.wait(20)
        return me

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        nbflow.connect(cluster),
    ):
        talk_step = step(talk).options(fuse=False)
        run = group(talk_step.s("one"), talk_step.s("two")).run()
        for name, me, other in (("talk", "one", "two"), ("talk_2", "two", "one")):
            lines = run.log(name).splitlines()
            assert len([line for line in lines if line.startswith(f"{me} ")]) == 200
            assert not [line for line in lines if other in line]
    nbflow.connect(client)


def _meeting() -> Any:
    # One object for the process of the worker, whatever copy of the function runs.
    return sys.modules.setdefault("meeting of two", threading.Barrier(2))  # type: ignore[arg-type]


def test_events_tell_the_story() -> None:
    run = (fine >> bad.si() >> fine.s()).run(raise_on_error=False)
    told = [(event.step, str(event.status)) for event in run.events if event.status.final]
    assert told == [("fine", "completed"), ("bad", "failed"), ("fine_2", "skipped")]
    assert run.events is not run.events


def test_a_run_has_a_name_and_an_id() -> None:
    one, two = fine.run(), (1 >> fine).named("nightly").run()
    assert one.name == "fine"
    assert two.name == "nightly"
    assert one.id != two.id
    assert "nightly" in repr(two)
    assert nbflow.last_run() is two
