"""What differs between a flow as it was and as it is now."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import written_flows

from nbflow import Flow, FlowError, branch, group, param, step
from nbflow.sketch.difference import Difference, compared
from nbflow.sketch.sketch import Sketch


@step
def extract(path="eu"):
    return path


@step
def clean(df, drop=()):
    return df


@step
def merge(frames):
    return frames


def difference(old: Flow, new: Flow, params: tuple[dict, dict] = ({}, {}), **renamed) -> Difference:
    first, second = (Sketch.of(flow, given) for flow, given in zip((old, new), params, strict=True))
    # As it is read in a later process.
    return compared(Sketch.opened(first.packed()), second, renamed)


def etl(clean=clean, path="eu", merge=merge) -> Flow:
    return [extract.s(path) >> clean, extract.s("us")] >> merge


def test_a_flow_that_was_written_again_is_the_same():
    found = difference(etl(), etl())
    assert found.same_graph
    assert found.text == ""
    assert found.changed == {}
    assert found.pairs == {name: name for name in ("extract", "clean", "extract_2", "merge")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=written_flows(depth=3))
def test_any_flow_is_the_same_as_itself(written):
    flow = written.flow.ready()
    found = difference(flow, flow)
    assert found.same_graph
    assert not found.changed
    assert list(found.pairs) == flow.steps


def test_edited_code_is_told_from_other_arguments():
    edited = step(lambda df: [df]).named("clean")
    assert difference(etl(), etl(edited)).changed == {"clean": "its code changed"}
    assert difference(etl(), etl(path="asia")).changed == {"extract": "its arguments changed"}
    assert difference(etl(), etl(clean.s(drop=["a"]))).changed == {"clean": "its arguments changed"}
    first, second = (extract.map([1, 2], key=["a", each]) for each in "bc")
    assert difference(first, second).changed == {"extract": "its arguments changed"}
    both = step(lambda df, drop: [df]).named("clean").s(1)
    assert difference(etl(clean.s(2)), etl(both)).changed == {
        "clean": "its code changed and its arguments changed"
    }
    wanted = clean.options(when=lambda df: True)
    assert difference(etl(), etl(wanted)).changed == {"clean": "its code changed"}
    # How a step is run does not change what it gives.
    found = difference(etl(), etl(clean.options(retry=3, timeout=9, priority=1)))
    assert found.changed == {}
    assert found.same_graph


def test_another_value_of_a_parameter_is_another_argument():
    def flow():
        return [param("path", "eu") >> extract, extract.s("us")] >> merge

    assert difference(flow(), flow(), ({}, {"path": "eu"})).changed == {}
    found = difference(flow(), flow(), ({}, {"path": "asia"}))
    assert found.changed == {"extract": "its arguments changed"}
    assert found.same_graph


def test_the_cases_of_a_decision_are_arguments_of_what_decides():
    def flow(second):
        from nbflow import switch

        return "a" >> switch(str.upper, {"A": clean, second: clean.s(1)}, default=merge)

    found = difference(flow("B"), flow("C"))
    assert found.changed == {"upper": "its arguments changed"}
    assert found.same_graph


def test_steps_that_are_gone_new_or_rewired_are_listed():
    found = difference(etl(), [extract.s("eu"), extract.s("us") >> clean.named("tidy")] >> merge)
    assert not found.same_graph
    assert (found.removed, found.added) == (("clean",), ("tidy",))
    assert found.text.splitlines() == [
        "- clean",
        "+ tidy",
        "~ merge: was after 'clean', 'extract_2', is after 'extract', 'tidy'",
    ]
    assert found.changed == {}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            lambda: extract >> clean,
            lambda: group(extract, clean.s(1)),
            "~ clean: was after 'extract'",
        ),
        (lambda: extract >> merge, lambda: [extract] >> merge, "~ merge: gets the same in another"),
        (
            lambda: extract >> clean,
            lambda: extract >> clean.si(1),
            "~ clean: gets the same in anot",
        ),
        (
            lambda: extract >> clean,
            lambda: extract >> clean.map(),
            "~ clean: gets the same in anoth",
        ),
        (
            lambda: extract >> clean.s(1),
            lambda: extract >> clean.s(drop=1),
            "~ clean: gets the same",
        ),
        (
            lambda: extract.map([1]),
            lambda: extract.s([1]),
            "~ extract: gets what it gets in another",
        ),
        (
            lambda: extract.map([1, 2]),
            lambda: extract.map([1, 2], on_error="collect"),
            "~ extract: gets what it gets in another way",
        ),
        (
            lambda: merge.s(clean.s(extract)),
            lambda: [merge.s(clean.s(extract))],
            "~ the value of the flow: gets the same in another way",
        ),
        (
            lambda: 1 >> branch(callable, clean, extract),
            lambda: 1 >> branch(callable, clean) >> extract,
            "~ extract: ",
        ),
    ],
)
def test_what_is_wired_in_another_way_is_another_graph(old, new, said):
    first, second = (group(each()) if isinstance(each(), list) else each() for each in (old, new))
    assert first.steps == second.steps
    found = difference(first, second)
    assert not found.same_graph
    assert said in found.text
    assert not (found.removed or found.added)
    assert difference(second, second).same_graph


def test_how_much_runs_at_once_is_not_a_matter_of_the_graph():
    old = group(*(extract.s(n) for n in range(3)), max_concurrency=2) >> merge.map(chunk_size=2)
    new = group(*(extract.s(n) for n in range(3))) >> merge.map(max_concurrency=4, chunk_size=2)
    assert difference(old, new).same_graph
    assert difference(old, new).changed == {}


def test_renamed_steps_are_what_they_were():
    tidy, joined = clean.named("tidy"), merge.named("joined")
    found = difference(etl(), etl(tidy, merge=joined), clean="tidy", merge="joined")
    assert found.same_graph
    assert found.changed == {}
    assert found.pairs["tidy"] == "clean"
    assert found.pairs["joined"] == "merge"
    assert not difference(etl(), etl(tidy, merge=joined), clean="tidy").same_graph
    # Also if the function bears another name, and not only its step.
    source = "def {}(df, drop=()):\n    return df\n"
    spaces = [{"__name__": "__main__"} for _ in range(2)]
    for space, name in zip(spaces, ("clean", "tidy"), strict=True):
        exec(source.format(name), space)
    old, new = etl(step(spaces[0]["clean"])), etl(step(spaces[1]["tidy"]))
    assert difference(old, new, clean="tidy").changed == {}


def test_names_can_be_exchanged():
    def flow(first, second):
        return extract >> step(lambda x: 1).named(first) >> step(lambda x: 2).named(second)

    found = difference(flow("a", "b"), flow("b", "a"), a="b", b="a")
    assert found.same_graph
    assert found.changed == {}
    assert not difference(flow("a", "b"), flow("b", "a")).same_graph


def test_names_that_mean_nothing_are_refused():
    new = etl(clean.named("tidy"))
    with pytest.raises(FlowError, match=r"'claen', which the old flow .* did you mean 'clean'\?"):
        difference(etl(), new, claen="tidy")
    with pytest.raises(FlowError, match=r"'tidyy', which the new flow .* did you mean 'tidy'\?"):
        difference(etl(), new, clean="tidyy")
    with pytest.raises(FlowError, match="two steps of the old flow would be 'tidy'.*'cl.*'merge'"):
        difference(etl(), new, clean="tidy", merge="tidy")
    with pytest.raises(FlowError, match="would be 'merge' .*: 'clean' and 'merge'"):
        difference(etl(), new, clean="merge")
