"""Where rows went, told from what was counted when the steps ended."""

from __future__ import annotations

import pickle

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from gallery import planned

from nbflow import Flow, step
from nbflow.record.events import ElementRecords, Event, Status
from nbflow.record.minutes import opened, packed
from nbflow.record.rowcounts import rowcounts, rows_table
from nbflow.values.preview import Preview, preview

left, right, out = (step(lambda *given: given).named(name) for name in ("left", "right", "out"))


def frame(rows: int, nulls: int = 0, name: str = "n") -> pd.DataFrame:
    """Make a frame whose rows all differ, its first cells null."""
    second = [None] * nulls + ["x"] * (rows - nulls)
    return pd.DataFrame({name: range(rows), "price": pd.array(second, dtype="str")})


def table(flow: Flow, values: dict[str, object]) -> pd.DataFrame:
    events = [Event(n, Status.COMPLETED, 1.0, preview=preview(v)) for n, v in values.items()]
    return rows_table(flow.topology, planned(flow).apply(opened(packed(events))))


def mark(given: object, gave: object) -> str:
    return str(table(left.s() >> out, {"left": given, "out": gave}).loc["out", "mark"])


@pytest.mark.parametrize(
    ("given", "gave", "said"),
    [
        (frame(100), frame(100), ""),
        (frame(100), frame(88), "loses 12 %"),
        (frame(1000), frame(999), "loses 1 row"),
        (frame(1000), frame(997), "loses 3 rows"),
        (frame(10_000), frame(1), "loses 99.9 %"),
        (frame(10), frame(0), "loses all rows"),
        (frame(10), frame(34), "multiplies ×3.4"),
        (frame(100), frame(101), "adds 1 row"),
        (frame(1), frame(2_500), "multiplies ×2,500"),
        (frame(0), frame(3), ""),
        (frame(10), frame(10, nulls=4), "adds 4 nulls (price)"),
        (frame(10, nulls=4), frame(6), "loses 40 %"),
        (frame(2), pd.concat([frame(2), frame(2)]), "multiplies ×2.0; adds 2 duplicates"),
        ([1, 2, 3, 4], [1, 2], "loses 50 %"),
        # What is made of another kind has not lost or multiplied anything.
        (frame(100), [1, 2, 3], ""),
        (["a.csv", "b.csv"], frame(900), ""),
        (frame(100), {"rows": 100, "mean": 1.5}, ""),
        (frame(100), 3, ""),
        (frame(100), object(), ""),
        (frame(5), [], "loses all rows"),
        (pl.DataFrame({"n": [1, 2]}), pa.table({"n": [1]}), "loses 50 %"),
    ],
)
def test_says_in_words_where_rows_are_lost_or_multiplied(given, gave, said):
    assert mark(given, gave) == said


def test_a_join_is_counted_against_its_first_input():
    flow = (left.s(), right.s()) >> out

    lost = table(flow, {"left": frame(1000), "right": frame(10), "out": frame(500)}).loc["out"]
    more = table(flow, {"left": frame(1000), "right": frame(10), "out": frame(3400)}).loc["out"]

    assert (lost["inputs"], lost["rows_in"], lost["change"]) == ("left 1,000, right 10", 1010, -500)
    assert (lost["mark"], lost["explodes"], lost["dropped_percent"]) == (
        "loses 50 % of left",
        False,
        50.0,
    )
    assert more["mark"] == "multiplies ×3.4 of left, more rows than any input"
    assert more["explodes"]


def test_what_is_put_one_below_the_other_is_no_join():
    apart = table(
        (left.s(), right.s()) >> out, {"left": frame(30), "right": frame(20), "out": frame(50)}
    ).loc["out"]
    listed = table(
        [left.s(), right.s()] >> out, {"left": frame(30), "right": frame(20), "out": frame(40)}
    ).loc["out"]

    assert (apart["change"], apart["explodes"], apart["mark"]) == (0, False, "")
    assert (listed["change"], listed["mark"]) == (-10, "loses 20 %")


def mapped(name: str, looks: list[Preview], start: int = 0) -> Event:
    known = [look.rows for look in looks]
    records = ElementRecords(
        start,
        (Status.COMPLETED,) * len(looks),
        (0.1,) * len(looks),
        previews=dict(enumerate(looks, start)),
        rows=None if None in known else sum(known),
        null_count=sum(look.null_count or 0 for look in looks),
        duplicates=sum(look.duplicates or 0 for look in looks),
        scalars=sum(look.is_scalar for look in looks),
    )
    return Event(name, Status.COMPLETED, 1.0, elements=records, total=4)


def test_the_elements_of_a_map_are_summed_up():
    flow = left.s() >> right.map() >> step(lambda df: df).named("out").map()
    looks = [preview(frame(10, nulls=1))] * 2
    events = [
        Event("left", Status.COMPLETED, 1.0, preview=preview(list("abcd"))),
        *(mapped("right", looks, start) for start in (0, 2)),
        *(mapped("out", [preview(frame(9))] * 2, start) for start in (0, 2)),
    ]

    found = rows_table(flow.topology, planned(flow).apply(events))

    assert list(found["rows_out"]) == [4, 40, 36]
    assert list(found["inputs"]) == ["", "left 4", "right 40"]
    assert list(found["nulls"]) == [pd.NA, 4, 0] or found["nulls"].isna()[0]
    assert list(found["mark"]) == ["", "", "loses 10 %"]


def test_a_map_that_gives_single_values_gives_as_many_rows():
    flow = left.s() >> right.map()
    looks = [preview(number) for number in (1, 2)]
    events = [
        Event("left", Status.COMPLETED, 1.0, preview=preview(list("abcd"))),
        *(mapped("right", looks, start) for start in (0, 2)),
    ]

    assert list(rows_table(flow.topology, planned(flow).apply(events))["rows_out"]) == [4, 4]


def test_what_did_not_run_gave_nothing():
    flow = left.s() >> out
    state = planned(flow).apply([Event("left", Status.COMPLETED, 1.0, preview=preview(frame(3)))])

    assert rowcounts(flow.topology, state)["out"].out is None
    assert rows_table(flow.topology, state).loc["out", "rows_in"] == 3


def test_a_constant_is_no_upstream():
    flow = frame(3) >> out

    assert table(flow, {"out": frame(3)}).loc["out", "inputs"] == ""


@pytest.mark.parametrize(
    ("value", "nulls", "duplicates"),
    [
        (pd.DataFrame({"a": [1, 1, None]}), 1, 1),
        (pd.DataFrame({"a": [None, None]}, dtype="float64"), 2, 1),
        (pd.DataFrame({"a": [[1], [1]]}), 0, None),
        (pd.DataFrame(), 0, 0),
        (pd.DataFrame({"a": range(200_000)}), 0, None),
        (pa.table({"a": ["x", "x", None]}), 1, 1),
        (pl.DataFrame({"a": [1, 1]}), 0, 1),
        ([1, None], None, None),
        (3, None, None),
    ],
)
def test_a_preview_counts_nulls_and_repeated_rows_where_that_is_cheap(value, nulls, duplicates):
    assert (preview(value).null_count, preview(value).duplicates) == (nulls, duplicates)


def test_counts_the_nulls_of_columns_that_are_not_shown():
    wide = pd.DataFrame({f"c{n}": [None, 1.0] for n in range(40)})

    assert preview(wide).null_count == 40
    assert len(preview(wide).nulls) == 20


def test_records_of_an_earlier_version_can_be_read():
    for record, known in ((preview(frame(3)), 10), (ElementRecords(0, (), ()), 17)):
        bare = object.__new__(type(record))
        bare.__setstate__(record.__getstate__()[:known])

        again = pickle.loads(pickle.dumps(bare))

        assert again.duplicates is None
        assert type(again).__slots__[:known] == type(record).__slots__[:known]
