"""What a run computes: the same as plain Python, every step once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client
from tally import Tally

import nbflow
from nbflow import Flow, chain, chord, chunks, group, param, starmap, step

pytestmark = [pytest.mark.timeout(60), pytest.mark.usefixtures("client")]


@step
def double(x: Any) -> Any:
    return 2 * x


@step
def inc(x: int, by: int = 1) -> int:
    return x + by


@step
def pair(left: Any, right: Any) -> tuple[Any, Any]:
    return left, right


@step
def same(value: Any) -> Any:
    return value


@step
def nothing() -> None:
    return None


@step
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x * 10


SHAPES: dict[str, Flow] = {
    "chain": 3 >> double >> inc,
    "list": [1 >> double, 2 >> inc] >> same,
    "list of one": [1 >> double] >> same,
    "empty list": [] >> same,
    "nested lists": [1 >> double, [2 >> inc, [3 >> same]]] >> same,
    "tuple": (1 >> double, 2 >> inc) >> pair,
    "dict": {"left": 1 >> double, "right": 2 >> inc} >> pair,
    "fork": 1 >> double >> [inc, same],
    "fork in a tuple": 1 >> double >> (inc, same),
    "fork in a dict": 1 >> double >> {"a": inc, "b": same},
    "diamond": 1 >> double >> [inc, inc.s(5)] >> step(sum),
    "argument": 1 >> pair.s(2 >> double),
    "argument in a dict": 1 >> pair.s({"deep": [2 >> double, "plain"]}),
    "keyword": 1 >> inc.s(by=2 >> double),
    "order only": 1 >> double >> nothing.si() >> same,
    "none": nothing.s() >> same,
    "group": group(1 >> double, 2, 3 >> inc),
    "group to list": group(1 >> double, 2 >> inc) >> [same, step(len)],
    "chord": chord([1 >> double, 2 >> double.s()], step(sum)),
    "chain function": chain(1, double, inc),
    "map": double.map([1, 2, 3]) >> step(sum),
    "map of nothing": double.map([]) >> same,
    "map of flows": inc.map([1 >> double, 5, 2 >> double.s()]),
    "map beside upstream": 10 >> inc.map([1, 2]),
    "starmap": starmap(pow, [(2, 3), (3, 2)]),
    "chunks": chunks(sum, range(7), 3) >> same,
    "async": 1 >> later >> inc,
    "lambda": 1 >> step(lambda x: x + 1) >> step(lambda x: x * 7),
    "param": param("p", 3) >> double,
    "value is a list": [1 >> double, 2],
    "string": "abc" >> step(str.upper) >> step(list),
    "many of one kind": group(double.s(i) for i in range(30)) >> step(sum),
    "lanes": group(i >> double >> inc.s() for i in range(12)) >> step(sum),
}
SHAPES = {name: each if isinstance(each, Flow) else group(*each) for name, each in SHAPES.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_gives_the_value_of_call_fused_and_unfused(shape: str) -> None:
    flow = SHAPES[shape]
    expected = flow.call()
    for variant in (flow, flow.options(fuse=False)):
        run = variant.run()
        assert run.result() == expected
        assert type(run.result()) is type(expected)
        assert run.status == "completed"
        assert set(run.steps.status) <= {"completed"}
        assert set(run.steps.attempts) <= {1}


def test_arrays_and_frames_pass_whole() -> None:
    df = pd.DataFrame({"a": [1, 2, 3]})
    assert (df >> double).run().result().equals(df * 2)
    assert ((np.arange(3) >> double).run().result() == np.array([0, 2, 4])).all()
    assert (np.int64(4) >> double).run().result() == 8


def test_every_step_runs_exactly_once(tally: Tally) -> None:
    raw = step(tally.counting("raw", lambda: 1))
    left = step(tally.counting("left", lambda x: x + 1))
    right = step(tally.counting("right", lambda x: x + 2))
    each = step(tally.counting("each", lambda x: x))
    merge = step(tally.counting("merge", lambda xs: xs))
    flow = [raw >> left, raw >> right, raw, each.map(range(25))] >> merge
    for run in (flow.run(), flow.options(fuse=False).run()):
        run.result()
        run["merge"]
        run.value("raw")
    assert tally.counts() == {"raw": 2, "left": 2, "right": 2, "each": 50, "merge": 2}


def test_a_wide_and_a_long_flow_run(tmp_path: Path) -> None:
    flow: Flow = chain(0, *[inc] * 3_000)
    assert flow.run().result() == 3_000
    wide = group(inc.s(i) for i in range(2_000)) >> step(sum)
    run = wide.run()
    assert run.result() == sum(range(1, 2_001))
    assert len(run.steps) == 2_001


def test_a_long_chain_runs_unfused() -> None:
    flow = chain(0, *[inc] * 200).options(fuse=False)
    assert flow.run().result() == 200


def test_flows_without_steps_run() -> None:
    assert group().run().result() == []
    assert group(1, 2).run().result() == [1, 2]
    run = group(1, [2, {"a": 3}]).run()
    assert run.result() == [1, [2, {"a": 3}]]
    assert run.status == "completed"
    assert list(run.steps.columns)[0] == "status"
    assert run.wait(0)


def test_inputs_feed_every_open_step() -> None:
    flow = [double >> inc, inc.s(by=7)]
    assert group(*flow).run(3).result() == [7, 10]
    with pytest.raises(nbflow.SignatureError, match="open"):
        (double >> inc).run()
    with pytest.raises(nbflow.SignatureError, match="takes no input"):
        (1 >> double).run(3)


def test_params_reach_steps_and_mistakes_are_named() -> None:
    flow = param("start") >> inc.s(by=param("by", 5))
    run = flow.run(params={"start": 1})
    assert run.result() == 6
    assert run.params == {"start": 1, "by": 5}
    with pytest.raises(nbflow.ParamError, match="start"):
        flow.run()
    with pytest.raises(nbflow.ParamError, match="did you mean 'start'"):
        flow.run(params={"strat": 1})


@pytest.mark.parametrize("option", ["fail_fast"])
def test_options_of_later_versions_are_refused(option: str) -> None:
    with pytest.raises(nbflow.UnsupportedError, match=option):
        (1 >> double).run(**{option: "x"})


def test_unknown_options_are_refused_with_a_suggestion() -> None:
    with pytest.raises(nbflow.FlowError, match="did you mean 'params'"):
        (1 >> double).run(parms={})


def test_what_a_step_changes_its_siblings_do_not_see() -> None:
    @step
    def frame() -> pd.DataFrame:
        return pd.DataFrame({"a": [1, 2]})

    @step
    def spoil_frame(df: pd.DataFrame) -> int:
        df["a"] = 0
        df["b"] = 1
        return len(df.columns)

    @step
    def spoil_list(items: list[int]) -> int:
        items.append(99)
        return len(items)

    @step
    def spoil_array(values: Any) -> float:
        values[:] = 0
        return float(values.sum())

    raw = frame.s()
    flow = group(raw >> spoil_frame, raw >> spoil_frame.s(), raw >> same)
    for run in (flow.run(), flow.options(fuse=False).run()):
        assert run.result()[:2] == [2, 2]
        assert run.result()[2].to_dict("list") == {"a": [1, 2]}
        assert run.value("frame").to_dict("list") == {"a": [1, 2]}
    numbers = step(lambda: [1, 2]).named("numbers").s()
    assert group(numbers >> spoil_list, numbers >> spoil_list.s(), numbers).run().result() == [
        3,
        3,
        [1, 2],
    ]
    array = step(lambda: np.arange(4)).named("array").s()
    flow = group(array >> spoil_array, array >> spoil_array.s(), array)
    assert flow.run().result()[2].tolist() == [0, 1, 2, 3]


def test_an_array_may_be_changed_in_place_on_whichever_worker_it_is() -> None:
    def doubled(array: Any) -> Any:
        array *= 2
        return array

    made = step(lambda: np.arange(3.0), name="made").options(fuse=False)
    apart = [step(doubled).named(f"d{n}").options(fuse=False) for n in range(4)]
    flow = made >> apart
    for _ in range(5):
        run = flow.run()
        assert [each.tolist() for each in run.result()] == [[0.0, 2.0, 4.0]] * 4
        assert run.value("made").tolist() == [0.0, 1.0, 2.0]


def test_results_may_be_changed_in_place_in_the_notebook() -> None:
    made = step(lambda: pd.DataFrame({"x": [1.0, None]}), name="made")
    run = (made >> step(lambda df: {"array": df["x"].to_numpy().copy()}, name="held")).run()

    df = run["made"]
    df.loc[0, "x"] = 9
    df.fillna({"x": 0}, inplace=True)
    held = run.value("held")
    held["array"][0] = 7

    assert df["x"].tolist() == [9.0, 0.0]
    assert run["made"]["x"].isna().tolist() == [False, True]
    assert run.value("held")["array"][0] == 1.0


def test_a_large_constant_is_not_spoiled_by_one_of_its_readers() -> None:
    values = np.ones(100_000)

    @step
    def spoil(array: Any) -> float:
        array += 1
        return float(array.sum())

    assert group(values >> spoil.s() for _ in range(6)).run().result() == [200_000.0] * 6
    assert values.sum() == 100_000


def test_two_runs_at_once_do_not_mix(client: Client) -> None:
    runs = [(i >> double >> [inc, same] >> same).submit() for i in range(6)]
    assert [run.result(30) for run in runs] == [[2 * i + 1, 2 * i] for i in range(6)]
    assert len({run.id for run in runs}) == 6


def test_runs_can_be_awaited() -> None:
    async def main() -> tuple[Any, Any]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.001)
                ticks += 1

        beside = asyncio.create_task(tick())
        run = await (4 >> double).arun()
        beside.cancel()
        return run.result(), ticks

    value, ticks = asyncio.run(main())
    assert value == 8
    assert ticks > 0


def test_a_flow_runs_inside_a_running_loop() -> None:
    async def cell() -> Any:
        return (4 >> later >> double).run().result()

    assert asyncio.run(cell()) == 80


def test_priorities_do_not_change_the_value() -> None:
    flow = group(double.options(priority=i).s(i) for i in range(3)) >> step(sum)
    assert flow.run().result() == 6
