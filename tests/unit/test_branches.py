"""Branches: which arm runs, what it gets, and what those who join after it receive."""

from __future__ import annotations

from enum import Enum

import pytest

from nbflow import branch, chain, group, param, step, switch

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def negative(n):
    return n < 0


def large(n):
    return abs(n) > 5


def lower(left, right):
    return left < right


@step
def inc(x):
    CALLS.append("inc")
    return x + 1


@step
def double(x):
    CALLS.append("double")
    return 2 * x


@step
def seen(*args, **kwargs):
    """Tell exactly what was received."""
    return (args, kwargs) if kwargs else args


@step
def upto(n):
    return list(range(n))


class Region(Enum):
    EU = "eu"
    US = "us"


NOTHING = None

ARMS = {
    "a step": (lambda: branch(negative, inc, double), {-3: -2, 3: 6}),
    "a function": (lambda: branch(negative, abs, str), {-3: 3, 3: "3"}),
    "one arm": (lambda: branch(negative, abs), {-3: 3, 3: NOTHING}),
    "a value": (lambda: branch(negative, "minus", 0), {-3: "minus", 3: 0}),
    "a parameter": (lambda: branch(negative, abs, param("p", 7)), {-3: 3, 3: 7}),
    "a chain": (lambda: branch(negative, inc >> double >> str, inc >> inc), {-3: "-4", 3: 5}),
    "a list": (lambda: branch(negative, [inc, double], []), {-3: [-2, -6], 3: []}),
    "a tuple": (lambda: branch(negative, (inc, 1)), {-3: (-2, 1), 3: NOTHING}),
    "a dict": (lambda: branch(negative, {"a": inc, "b": [double]}), {-3: {"a": -2, "b": [-6]}}),
    "a group": (lambda: branch(negative, group(inc, 5), group()), {-3: [-2, 5], 3: []}),
    "a call": (lambda: branch(negative, seen.s(1, k=2), seen), {-3: ((-3, 1), {"k": 2}), 3: (3,)}),
    "a call that waits": (lambda: branch(negative, seen.si(1), inc), {-3: (1,), 3: 4}),
    "a call complete in itself": (lambda: branch(negative, inc.s(9), 0), {-3: 10, 3: 0}),
    "a flow complete in itself": (lambda: branch(negative, 8 >> inc >> double, 0), {-3: 18}),
    "a map": (lambda: branch(negative, 0, upto >> inc.map()), {-3: 0, 3: [1, 2, 3]}),
    "a map over nothing": (lambda: branch(negative, 0, upto >> inc.map()), {0: [], -1: 0}),
    "a branch": (
        lambda: branch(negative, branch(large, "far below", "below"), branch(large, "far", "near")),
        {-9: "far below", -1: "below", 9: "far", 1: "near"},
    ),
    "a branch of one arm": (
        lambda: branch(negative, branch(large, abs), double),
        {-9: 9, -1: NOTHING, 9: 18},
    ),
    "a branch deep inside": (
        lambda: branch(negative, inc >> branch(negative, double, str) >> [seen]),
        {-3: [(-4,)], -1: [("0",)], 3: NOTHING},
    ),
    "a switch": (
        lambda: branch(negative, switch(abs, {1: "one", 2: double}, default=str), 0),
        {-1: "one", -2: -4, -3: "-3", 3: 0},
    ),
    "a decider of two steps": (
        lambda: branch(inc >> negative, double, str),
        {-1: "-1", -2: -4},
    ),
    "a decider with arguments": (lambda: branch(step(lower).s(2), inc, str), {1: 2, 3: "3"}),
}


@pytest.mark.parametrize(
    ("arms", "given", "value"),
    [(name, given, value) for name, (_, table) in ARMS.items() for given, value in table.items()],
)
def test_the_value_is_that_of_the_arm_taken(arms, given, value):
    flow, _ = ARMS[arms]
    assert (given >> flow()).call() == value
    assert flow().call(given) == value
    assert (step(lambda: given, name="given") >> flow()).call() == value
    assert chain(given, flow()).call() == value
    assert flow().map([given, given]).call() == ([value, value] if value is not NOTHING else None)


JOINS = {
    "alone": (lambda arm: arm >> seen, (6,), None),
    "a list": (lambda arm: [arm, 1] >> seen, ([6, 1],), ([1],)),
    "a list of two": (lambda arm: [arm, 5 >> branch(negative, abs), 1] >> seen, ([6, 1],), ([1],)),
    "a list of nothing else": (lambda arm: [arm] >> seen, ([6],), None),
    "a list in a list": (lambda arm: [[arm], 1] >> seen, ([[6], 1],), ([1],)),
    "a list in a tuple": (lambda arm: ([arm, 2], 1) >> seen, ([6, 2], 1), ([2], 1)),
    "a group": (lambda arm: group(arm, 1) >> [seen, len], [([6, 1],), 2], [([1],), 1]),
    "a capped group": (lambda arm: group(arm, 1, max_concurrency=1) >> seen, ([6, 1],), ([1],)),
    "a tuple": (lambda arm: (arm, 1) >> seen, (6, 1), None),
    "a dict": (lambda arm: {"a": arm, "b": 1} >> seen, ((), {"a": 6, "b": 1}), None),
    "an argument": (lambda arm: 1 >> seen.s(arm), (1, 6), None),
    "a keyword": (lambda arm: 1 >> seen.s(k=arm), ((1,), {"k": 6}), None),
    "an argument in a list": (lambda arm: 1 >> seen.s([arm, 2]), (1, [6, 2]), (1, [2])),
    "an argument in a dict": (lambda arm: seen.s({"k": arm}), ({"k": 6},), None),
    "order": (lambda arm: arm >> seen.si(1), (1,), None),
    "several": (lambda arm: arm >> [seen, inc] >> seen, ([(6,), 7],), None),
    "some of several": (lambda arm: [arm >> inc, 3 >> inc] >> seen, ([7, 4],), ([4],)),
    "a branch": (lambda arm: arm >> branch(large, str, 0) >> seen, ("6",), None),
    "a condition": (lambda arm: arm >> inc.options(when=large) >> seen, (7,), None),
    "a map": (lambda arm: arm >> upto >> inc.map() >> seen, ([1, 2, 3, 4, 5, 6],), None),
    "items of a map": (lambda arm: inc.map([arm, 1]) >> seen, ([7, 2],), ([2],)),
    "an argument of a map": (lambda arm: seen.s(arm).map([1]), [(1, 6)], None),
    "a tree": (lambda arm: [arm, 1, 2] >> step(sum).reduce(split_every=2) >> seen, (9,), (3,)),
}


@pytest.mark.parametrize("join", JOINS)
def test_what_joins_after_an_arm_receives_it_or_goes_on_without_it(join):
    write, taken, skipped = JOINS[join]
    assert write(3 >> branch(negative, abs, double)).call() == taken
    assert write(3 >> branch(negative, abs)).call() == skipped
    assert write(3 >> double.options(when=negative)).call() == skipped
    assert write(3 >> switch(lambda n: n > 0, {True: double, False: abs})).call() == taken


@pytest.mark.parametrize(
    ("left", "value"),
    [
        ((1, 2), (1, 2)),
        ((2, 1), "other"),
        ({"left": 1, "right": 2}, ((), {"left": 1, "right": 2})),
        ({"left": 2, "right": 1}, "other"),
        ((inc.s(0), 2), (1, 2)),
        ({"left": 1, "right": inc.s(1)}, ((), {"left": 1, "right": 2})),
    ],
)
def test_tuples_and_dicts_spread_over_the_decider_and_the_arm(left, value):
    assert (left >> branch(lower, seen, "other")).call() == value


@pytest.mark.parametrize(
    ("cases", "default", "table"),
    [
        ({"eu": inc, "us": double}, None, {"eu": 6, "us": 10}),
        ({"eu": inc}, double, {"eu": 6, "us": 10, None: 10}),
        ({"eu": 0.2, "us": None}, "none", {"eu": 0.2, "us": None, "mars": "none"}),
        ({None: inc, "": double}, 0, {None: 6, "": 10, 0: 0}),
        ({1: inc, 2: double}, 0, {True: 6, 2.0: 10, "1": 0}),
        ({("eu", 1): inc, ("us",): double}, 0, {("eu", 1): 6, ("us",): 10, ("eu",): 0}),
        ({int: inc, str: double}, 0, {int: 6, str: 10, bool: 0}),
        ({Region.EU: inc, Region.US: double}, 0, {Region.EU: 6, Region.US: 10, "eu": 0}),
        ({"eu": [inc, double]}, (inc,), {"eu": [6, 10], "us": (6,)}),
        ({"eu": inc >> double >> str}, inc >> inc, {"eu": "12", "us": 7}),
        ({"eu": branch(large, "far", "near")}, 0, {"eu": "near", "us": 0}),
    ],
)
def test_a_switch_takes_the_case_that_equals(cases, default, table):
    for answer, value in table.items():
        select = step(lambda x, answer=answer: answer, name="select")
        flow = switch(select, cases, default=default)
        assert (5 >> flow).call() == value
        assert flow.call(5) == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [(True, 4), (1, 4), ("no", 4), ([0], 4), (False, 6), (0, 6), ("", 6), ([], 6), (None, 6)],
)
def test_only_the_truth_of_an_answer_matters_in_a_branch(answer, value):
    assert (3 >> branch(lambda n: answer, inc, double)).call() == value


@pytest.mark.parametrize(
    ("flow", "called"),
    [
        (lambda: 3 >> branch(negative, inc, double), ["double"]),
        (lambda: -3 >> branch(negative, inc, double), ["inc"]),
        (lambda: 3 >> branch(negative, inc), []),
        (lambda: 3 >> branch(negative, inc >> inc >> inc, double), ["double"]),
        (lambda: 3 >> branch(negative, branch(large, inc, inc.s()), double), ["double"]),
        (lambda: 3 >> branch(negative, inc.s(1), double), ["double"]),
        (lambda: 3 >> branch(negative, seen.s(inc.s(1), [inc.s(2)]), double), ["double"]),
        (lambda: 3 >> branch(negative, inc.map([1, 2]), double), ["double"]),
        (lambda: 3 >> branch(negative, upto >> inc.map(), double), ["double"]),
        (lambda: 3 >> branch(negative, 7 >> inc >> double), []),
    ],
)
def test_nothing_runs_that_only_the_other_arm_needs(flow, called):
    flow().call()
    assert CALLS == called


@pytest.mark.parametrize(("given", "values"), [(3, (6, 10)), (-3, ((-3, 10), 10))])
def test_what_an_arm_shares_with_others_runs_once_whatever_is_taken(given, values):
    shared = inc.s(9)
    flow = (given >> branch(negative, seen.s(shared), double), shared) >> seen
    assert flow.call() == values
    assert CALLS.count("inc") == 1


def test_what_both_arms_share_runs_once():
    shared = inc.s(9)
    flow = branch(negative, seen.s(shared), shared >> double)
    assert [(n >> flow).call() for n in (-1, 1)] == [(-1, 10), 20]
    assert CALLS == ["inc", "inc", "double"]


def test_branches_decide_for_each_element():
    assert branch(negative, abs, double).map([-1, 2, -3]).call() == [1, 4, 3]
    assert branch(negative, abs).map([-1, 2, -3]).call() == [1, 3]
    assert (branch(negative, abs).map([-1, 2, -3]) >> sum).call() == 4
    assert (branch(negative, abs).map([1, 2]) >> seen).call() is None
    assert (branch(negative, abs).map([]) >> seen).call() == ([],)
    assert (inc >> branch(large, double, str) >> [seen]).map().call([1, 9]) == [[("2",)], [(20,)]]
    by_sign = switch(negative, {True: upto.si(2) >> inc.map(), False: [double]})
    assert by_sign.map([-1, 4]).call() == [[1, 2], [8]]


def test_a_branch_is_a_value_like_any_flow():
    flow = branch(negative, inc >> double, seen)
    assert flow.steps == ["negative", "inc", "double", "seen"]
    assert flow["double"].call(3) == 8
    assert "seen" in flow
    assert (3 >> flow).steps == flow.steps
    slower = flow.options(retry=2, fuse=False)
    assert slower != flow
    assert [slower.call(n) for n in (-3, 3)] == [flow.call(n) for n in (-3, 3)]
    assert flow.when(large).call(3) is None
    assert flow.when(large).call(-9) == -16
    assert flow.named("choice").name == "choice"


def test_building_a_branch_asks_nobody():
    asked = []
    flow = 3 >> branch(asked.append, inc, double) >> seen
    assert (asked, CALLS) == ([], [])
    assert flow.call() == (6,)
    assert asked == [3]


def test_a_branch_is_no_switch_over_true() -> None:
    kind, up = step(len, name="kind"), step(str.upper, name="up")
    assert branch(kind, up) == branch(kind, up)
    assert branch(kind, up) != switch(kind, {True: up})
