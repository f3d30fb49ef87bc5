"""Mapped steps: one element for each item, whatever batches they travel in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from tally import Tally

import nbflow
from nbflow import group, starmap, step

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("client")]


@step
def parse(x: Any) -> Any:
    return 10 * x


@step
def picky(x: int) -> int:
    if x in (3, 7):
        raise ValueError(f"no {x}")
    return 10 * x


@step
def after(x: Any) -> Any:
    return x


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize(
    "items", [[1, 2, 3], (1, 2, 3), range(1, 4), [4], [], list("abc"), [None, None]]
)
def test_a_map_goes_over_anything_listed(items: Any, fuse: bool) -> None:
    same = step(lambda x: [x]).named("same").options(fuse=fuse)
    run = (same.map(items) >> after).run()
    assert run.value("same") == [[each] for each in items]
    assert run.result() == run.value("same")
    assert run.steps.status["same"] == "completed"


def test_a_map_goes_over_a_generator_once() -> None:
    flow = parse.map(i for i in range(20))
    assert flow.run().result() == [10 * i for i in range(20)]
    assert flow.run().result() == flow.call()


def test_a_map_over_a_frame_gets_slices_of_rows() -> None:
    df = pd.DataFrame({"a": range(100), "b": list("xy") * 50})
    total = step(lambda part: part["a"].sum()).named("total")
    run = (total.map(df) >> step(sum)).run()
    assert run.result() == 4950
    whole = step(lambda part: part).named("whole").map(df).run()
    assert pd.concat(whole.result()).equals(df)


def test_a_map_over_an_empty_frame_keeps_its_columns() -> None:
    columns = step(lambda part: list(part.columns)).named("columns")
    flow = columns.map(pd.DataFrame({"a": []}))
    assert flow.run().result() == flow.call()


@pytest.mark.parametrize("fuse", [True, False])
def test_elements_fail_alone(fuse: bool, tally: Tally) -> None:
    beside = step(tally.counting("beside", lambda x: x))
    flow = group(picky.map(range(12)) >> after, 5 >> beside).options(fuse=fuse)
    run = flow.run(raise_on_error=False)
    assert run.steps.status.to_dict() == {
        "picky": "failed",
        "after": "skipped",
        "beside": "completed",
    }
    assert run.steps.reason["after"] in ("picky[3] failed", "picky[7] failed")
    assert isinstance(run.error("picky[3]"), ValueError)
    assert str(run.error("picky[7]")) == "no 7"
    assert run.error("picky[2]") is None
    assert [run.value(f"picky[{i}]") for i in range(12) if i not in (3, 7)] == [
        10 * i for i in range(12) if i not in (3, 7)
    ]
    assert run["picky[2]"].to_dict("list") == {"value": [20]}
    with pytest.raises(nbflow.RunError, match=r"picky\[3\]") as caught:
        run.value("picky[3]")
    assert str(caught.value.__cause__) == "no 3"
    with pytest.raises(nbflow.RunError, match="'picky' has no value"):
        run.value("picky")
    with pytest.raises(ValueError, match="no [37]") as raised:
        run.result()
    assert "'picky[3]'" in raised.value.__notes__[0] or "'picky[7]'" in raised.value.__notes__[0]


@pytest.mark.parametrize("fuse", [True, False])
def test_an_element_is_skipped_only_for_its_own_item(fuse: bool) -> None:
    @step
    def extract(x: int) -> int:
        if x == 1:
            raise ValueError("no file")
        return x

    flow = parse.map([extract.s(i) for i in range(6)]).options(fuse=fuse)
    run = (flow >> after).run(raise_on_error=False)
    steps = run.steps
    assert steps.status["parse"] == "skipped"
    assert steps.reason["parse"] == "extract_2 failed"
    assert steps.status["after"] == "skipped"
    assert steps.reason["after"] == "extract_2 failed"
    assert [run.value(f"parse[{i}]") for i in (0, 2, 3, 4, 5)] == [0, 20, 30, 40, 50]
    with pytest.raises(nbflow.RunError, match="extract_2 failed"):
        run.value("parse[1]")


@pytest.mark.parametrize("fuse", [True, False])
def test_all_elements_are_skipped_if_what_they_share_failed(fuse: bool) -> None:
    @step
    def bad() -> int:
        raise ValueError("bad")

    add = step(lambda left, x: left + x).named("add")
    run = (bad >> add.map(range(10))).options(fuse=fuse).run(raise_on_error=False)
    assert run.steps.status.to_dict() == {"bad": "failed", "add": "skipped"}
    assert run.steps.reason["add"] == "bad failed"
    with pytest.raises(nbflow.RunError, match="skipped"):
        run.value("add[0]")


def test_elements_are_steps_by_name() -> None:
    run = parse.map([1, 2, 3]).run()
    assert run.value("parse[0]") == 10
    for wrong in ("parse[3]", "parse[-1]", "parse[x]", "parse[]", "prase", "parse[0][0]"):
        with pytest.raises(nbflow.UnknownStepError, match="parse"):
            run.value(wrong)
    plain = (1 >> parse).run()
    with pytest.raises(nbflow.UnknownStepError):
        plain.value("parse[0]")


def test_a_map_as_a_frame_has_the_element_as_outer_index() -> None:
    run = step(lambda x: {"x": x, "y": x * x}).named("square").map([2, 3]).run()
    frame = run["square"]
    assert frame.loc[1].to_dict("records") == [{"x": 3, "y": 9}]
    assert list(frame.columns) == ["x", "y"]
    assert run["square[0]"].to_dict("records") == [{"x": 2, "y": 4}]
    looked = run.preview("square")
    assert looked.loc[0].to_dict("records") == [{"x": 2, "y": 4}]
    assert run.preview("square[1]").to_dict("records") == [{"x": 3, "y": 9}]


def test_what_elements_say_is_kept_apart() -> None:
    @step
    def talk(x: int) -> int:
        print(f"I am {x}")
        return x

    run = talk.map(range(20)).run()
    assert run.log("talk[7]") == "I am 7\n"
    assert run.log("talk").splitlines()[19] == "[19] I am 19"


def test_a_hundred_thousand_elements() -> None:
    run = parse.map(range(100_000)).run()
    assert run.value("parse[99999]") == 999_990
    assert sum(run.result()) == 10 * sum(range(100_000))
    assert run.state.steps["parse"].done == 100_000
    assert len(run["parse"]) == 100_000


def test_every_element_runs_once(tally: Tally) -> None:
    each = step(tally.counting("each", lambda x: x))
    pair = step(tally.counting("pair", lambda a, b: a + b))
    group(each.map(range(333)), starmap(pair, [(1, 2)] * 44)).run()
    assert tally.counts() == {"each": 333, "pair": 44}


def test_elements_change_their_items_in_private() -> None:
    shared = [1]

    @step
    def grow(items: list[int], x: int) -> int:
        items.append(x)
        return len(items)

    made = step(lambda: [1]).named("made").s()
    assert (made >> grow.map(range(5))).run().result() == [2] * 5
    assert grow.s(x=1).map([shared, shared, shared]).run().result() == [2, 2, 2]
    assert shared == [1]


def test_totals_are_summed_over_elements() -> None:
    run = step(lambda n: pd.DataFrame({"a": range(n)})).named("rows").map([1, 2, 30]).run()
    assert run.steps.rows["rows"] == 33
    assert run.steps["columns"]["rows"] == 1
    assert run.steps.attempts["rows"] == 1
