"""What is told of a run after its end, by real workers, and again from its record."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from distributed import Client
from pandas.testing import assert_frame_equal

from nbflow import Retry, context, step
from nbflow.errors import FlowError, RunNotFoundError
from nbflow.notebook.lanes import lanes_of
from nbflow.record.archive import Archive
from nbflow.record.spans import spans_of
from nbflow.running.history import loaded

pytestmark = pytest.mark.timeout(120)


@step
def orders(n):
    return pd.DataFrame({"id": range(n), "city": [number % 10 for number in range(n)]})


@step
def cities(n):
    return pd.DataFrame({"city": [number % 5 for number in range(n)], "name": "Oslo"})


@step
def join(left, right):
    return left.merge(right, on="city", how="left")


@step
def keep(df):
    return df[df["name"].notna()]


@step
def parts(df):
    return [0, 1, 2]


@step
def part(number):
    return pd.DataFrame({"n": [number] * 10})


@step
def head(df):
    return df.head(4)


def again(run, store):
    """Give a run from its record alone, as another process would."""
    return loaded(run.id, Archive.of(store))


def test_rows_are_counted_on_the_workers_and_written_down(client: Client, tmp_path):
    joined = (orders.s(100), cities.s(10)) >> join
    flow = [joined >> keep, joined >> parts >> part.map() >> head.map()] >> step(len)

    run = flow.run(store=str(tmp_path))

    found = run.rows()
    assert list(found["rows_out"].astype(object).fillna(-1)) == [100, 10, 150, 100, 3, 30, 12, -1]
    assert found.loc["join", "explodes"]
    assert found.loc["join", "nulls_added"] == 50
    assert found.loc["join", "mark"].startswith("multiplies ×1.5 of orders, more rows than any")
    assert found.loc["keep", "mark"] == "loses 33 %"
    assert found.loc["head", "mark"] == "loses 60 %"
    assert found.loc["head", "duplicates"] == 9
    assert_frame_equal(again(run, str(tmp_path)).rows(), found)


@step(retry=Retry(attempts=2, wait=0.05, jitter=False))
def flaky(df):
    time.sleep(0.06)
    if context().attempt == 1:
        raise OSError("not yet")
    return df


@step
def slow(number):
    time.sleep(0.06)
    return number


def test_the_timeline_shows_every_attempt_and_element(client: Client, tmp_path):
    flow = [orders.s(3) >> flaky, range(6) >> slow.map()] >> step(len)

    run = flow.named("timed").run(store=str(tmp_path))

    found = spans_of(run.flow.topology, run.state, run.events, time.time())
    tries = [(each.attempt, str(each.status)) for each in found if each.step == "flaky"]
    assert tries == [(1, "retrying"), (2, "completed")]
    parts = [each for each in found if each.step == "slow"]
    assert sum(each.count for each in parts) == 6
    # No thread computes two of them at once.
    lanes = lanes_of(found)
    assert len(lanes) <= 2 * max(1, *client.nthreads().values())
    assert run.timeline().svg.startswith("<svg")
    assert again(run, str(tmp_path)).timeline().svg == run.timeline().svg


def test_two_runs_are_compared_also_from_their_records(client: Client, tmp_path):
    store = str(tmp_path)
    first = (orders.s(100) >> head).run(store=store)
    second = (orders.s(200) >> head.options(timeout=60) >> step(len)).run(store=store)

    found = second.diff(first)

    assert found["differs"].to_dict() == {
        "orders": "its arguments changed; rows 100 → 200",
        "head": "timeout None → 60.0",
        "len": "added",
    }
    written = again(second, store).diff(first.id)
    assert_frame_equal(written, found)
    with pytest.raises(FlowError, match="compared with 3; expected is another run"):
        second.diff(3)
    with pytest.raises(RunNotFoundError):
        second.diff("20200101-000000-00000000")
