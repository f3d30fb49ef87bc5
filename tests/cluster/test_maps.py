"""Mapped steps: one element for each item, whatever batches they travel in."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
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


# Reduced


@step
def upto(n: int) -> list[int]:
    return list(range(n))


@step
def join(parts: list[Any]) -> Any:
    return [parts]


@step
def no_seven(values: list[int]) -> int:
    if 70 in values:
        raise ValueError("no seven")
    return sum(values)


def is_even(n: int) -> bool:
    return n % 2 == 0


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("split_every", [2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 8, 9, 17, 40, 100])
def test_a_map_is_reduced_by_the_same_tree_wherever_it_runs(
    n: int, split_every: int, fuse: bool
) -> None:
    for mapped in (parse.map(range(n)), n >> upto >> parse.map()):
        flow = (mapped >> join.reduce(split_every=split_every) >> after).options(fuse=fuse)
        run = flow.run()
        assert run.result() == flow.call()
        assert set(run.steps.status) == {"completed"}
        assert run.steps.attempts.max() == 1


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_a_call_that_fails_in_a_tree_fails_the_step(given: bool, fuse: bool) -> None:
    mapped = parse.map(range(100)) if given else 100 >> upto >> parse.map()
    flow = (mapped >> no_seven.reduce(split_every=4) >> after).options(fuse=fuse)
    run = flow.run(raise_on_error=False)
    assert run.steps.status[["no_seven", "after"]].tolist() == ["failed", "skipped"]
    assert run.steps.reason["after"] == "no_seven failed"
    with pytest.raises(ValueError, match="no seven"):
        run.result()


@pytest.mark.parametrize("given", [True, False])
def test_where_an_element_failed_no_part_of_the_tree_is_called(given: bool, tmp_path: Path) -> None:
    def merge(values: list[Any]) -> Any:
        (tmp_path / "called").touch()
        return values[0]

    items = [*range(10, 100), 7]
    mapped = picky.map(items) if given else step(lambda: items, name="items") >> picky.map()
    run = (mapped >> step(merge).reduce(split_every=2)).run(raise_on_error=False)
    assert run.steps.reason["merge"] == "picky[90] failed"
    assert not (tmp_path / "called").exists()


def test_a_tree_over_what_failed_or_was_skipped_is_skipped() -> None:
    run = (picky.map(range(100)) >> no_seven.reduce(split_every=4)).run(raise_on_error=False)
    assert run.steps.reason["no_seven"] == "picky[3] failed"
    skipped = 5 >> after.s().when(is_even) >> upto >> parse.map() >> no_seven.reduce(split_every=4)
    run = skipped.run()
    assert run.result() is None
    assert run.steps.reason["no_seven"] == "parse was skipped"


def test_a_tree_goes_on_without_what_was_put_aside() -> None:
    flow = picky.map(range(100), on_error="collect") >> join.reduce(split_every=4)
    assert flow.run().result() == flow.call()


def meet(value: Any, folder: str) -> Any:
    """Go on when two processes have come here."""
    Path(folder, str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(Path(folder).iterdir())) < 2:
        assert time.monotonic() < end, "nobody else came"
        time.sleep(0.01)
    return value


def test_blocks_of_a_tree_run_side_by_side(tmp_path: Path) -> None:
    merge = step(partial(meet, folder=str(tmp_path)), name="merge").reduce(split_every=2)
    assert (40 >> upto >> parse.map() >> merge).run().status == "completed"


def test_lanes_run_side_by_side(tmp_path: Path) -> None:
    run = (20 >> upto >> step(meet, name="meet").s(str(tmp_path)).map()).run()
    assert run.result() == list(range(20))
