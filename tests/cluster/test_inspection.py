"""What is told of a run after its end, by real workers, and again from its record."""

from __future__ import annotations

import pandas as pd
import pytest
from distributed import Client
from pandas.testing import assert_frame_equal

from nbflow import step
from nbflow.record.archive import Archive
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
