"""Steps that were quick the last time travel together, and come apart when they are not."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pytest
from distributed import Client

import nbflow
from nbflow import Flow, param, step
from nbflow.record.events import Status

pytestmark = [pytest.mark.timeout(90), pytest.mark.usefixtures("client")]


@step
def start(x: int) -> int:
    return x


@step
def mix(xs: list[int], n: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return sum(xs) + n


def mesh(source: Any, seconds: Any = 0.0) -> Flow:
    """Make layers of steps, of which each needs all of the layer before."""
    layer: Any = [start.s(source)]
    for _ in range(3):
        layer = [mix.s(layer, n, seconds) for n in range(3)]
    return layer >> step(sum)


def tasks(run: nbflow.Run) -> int:
    assert run.wait(60)
    assert run.status == "completed"
    assert run._drive is not None
    assert run._drive.execution is not None
    return len(run._drive.execution.plan.segments)


def until_together(flow: Any, wanted: int = 1) -> int:
    """Run a flow until its steps travel together.

    The first times may be slow, and a run is learned from just after its end.
    """
    for _ in range(10):
        count = tasks(flow().submit())
        if count == wanted:
            return count
    return count


def test_quick_steps_travel_together_the_next_time_also_of_a_flow_that_is_made_anew() -> None:
    assert tasks(mesh(1).submit()) > 5
    assert until_together(lambda: mesh(1)) == 1
    run = mesh(1).run()
    assert run.result() == mesh(1).call()
    assert set(run.steps["status"]) == {"completed"}
    assert run.state.steps["mix_9"].status is Status.COMPLETED


def test_other_values_are_another_flow() -> None:
    assert until_together(lambda: mesh(2)) == 1
    assert tasks(mesh(3).submit()) > 5
    frames = [start.s(pd.DataFrame({"a": [n]})) for n in range(3)] >> step(len)
    before = tasks(frames.submit())
    again = [start.s(pd.DataFrame({"a": [n]})) for n in range(3)] >> step(len)
    assert tasks(again.submit()) == before


def test_other_parameters_may_take_longer() -> None:
    flow = mesh(4, param("seconds", 0.0))
    assert until_together(lambda: flow) == 1
    assert tasks(flow.submit(params={"seconds": 0.001})) > 5
    assert tasks(flow.submit(params={"seconds": 0.06})) > 5


def test_what_has_become_slow_is_cut_the_next_time(tmp_path: Any, client: Client) -> None:
    mark = tmp_path / "slow"

    @step
    def wait(n: int) -> int:
        time.sleep(0.1 if mark.exists() else 0.0)
        return n

    flow = [wait.s(n) >> start for n in range(3)] >> step(sum)
    many = tasks(flow.submit())
    assert until_together(lambda: flow) == 1
    mark.touch()
    assert tasks(flow.submit()) == 1
    assert until_together(lambda: flow, many) == many
