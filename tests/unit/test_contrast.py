"""What differs between two runs: the flow, how it went, and what it gave."""

from __future__ import annotations

import pandas as pd
import pytest
from gallery import planned

from nbflow import Retry, param, step
from nbflow.record.contrast import contrast_table, contrasts
from nbflow.record.events import Event, Status
from nbflow.sketch.sketch import Sketch
from nbflow.values.preview import preview

load, clean = step(len).named("load"), step(abs).named("clean")


def state(flow, values, seconds=1.0):
    events = [
        Event(n, Status.COMPLETED, 5.0, seconds=seconds, preview=preview(v))
        for n, v in values.items()
    ]
    return planned(flow, 0.0).apply(events)


def words(old, new, values=None, **others):
    flows = (Sketch.of(old, {}), Sketch.of(new, others))
    before, now = values or ({}, {})
    found = contrasts(state(old, before), state(new, now), flows)
    return {each.name: each.words for each in found if each.words}


def test_nothing_differs_between_a_run_and_itself():
    flow = load.s("ab") >> clean

    assert words(flow, flow, ({"load": 2}, {"load": 2})) == {}


def test_says_how_the_flow_was_changed():
    old = load.s("ab") >> clean
    other = step(lambda n: -n).named("clean")

    assert words(old, load.s("ab") >> other) == {"clean": "its code changed"}
    assert words(old, load.s("abc") >> clean) == {"load": "its arguments changed"}
    assert words(old, load.s("ab") >> clean >> step(str)) == {"str": "added"}
    assert words(load.s("ab") >> clean, load.s("ab")) == {"clean": "removed"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 5}, "timeout None → 5.0"),
        ({"fuse": False, "priority": 3}, "fuse True → False, priority 0 → 3"),
        ({"retry": 3}, "retry None → Retry"),
        ({"when": bool}, "its code changed"),
    ],
)
def test_says_which_options_were_changed(options, said):
    old = load.s("ab") >> clean

    assert words(old, load.s("ab") >> clean.options(**options)) == {"clean": said}


def test_options_that_are_objects_are_compared_by_what_they_are():
    flows = [load.s("ab") >> clean.options(retry=Retry(attempts=n)) for n in (3, 3, 4)]

    assert words(flows[0], flows[1]) == {}
    assert words(flows[0], flows[2]) == {"clean": "retry changed"}


def test_the_value_of_a_parameter_is_an_argument():
    flow = load.s(param("path", "a")) >> clean

    assert words(flow, flow, path="b") == {"load": "its arguments changed"}


def test_says_what_came_out_otherwise():
    flow = load.s("ab") >> clean
    old = pd.DataFrame({"city": ["Oslo", "Rome", "Lima"], "price": [1, 2, 3]})
    new = pd.DataFrame({"city": ["Oslo", None], "price": [1.5, 2.5], "zip": ["x", "y"]})

    said = words(flow, flow, ({"load": old, "clean": 1}, {"load": new, "clean": "one"}))

    assert said["load"] == (
        "rows 3 → 2; columns 2 → 3; nulls 0 → 1; new column zip; price is float64, was int64"
    )
    assert said["clean"] == "int → str; 1 → one" or "int → str" in said["clean"]


def test_says_how_it_ended_otherwise_and_that_it_took_far_longer():
    flow = load.s("ab") >> clean
    failed = planned(flow, 0.0).apply([Event("load", Status.FAILED, 5.0, seconds=1.0)])
    slow = state(flow, {"load": 2}, seconds=3.4)

    table = contrast_table(contrasts(failed, slow))

    assert table.loc["load", "differs"] == "failed → completed; took ×3.4 as long"
    assert table.loc["load", "ratio"] == 3.4
    assert list(contrast_table(contrasts(slow, slow))["differs"]) == ["", ""]


def test_columns_that_are_not_kept_are_not_said_to_be_lost():
    flow = load.s("ab") >> clean
    wide = pd.DataFrame({f"c{n}": [1] for n in range(30)})
    other = pd.DataFrame({f"d{n}": [1] for n in range(30)})

    assert words(flow, flow, ({"load": wide}, {"load": other})) == {}
