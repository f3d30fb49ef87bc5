"""Flows are immutable values: identity, equality, what they tell, and their depth."""

from __future__ import annotations

import copy
import functools

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from nbflow import (
    Flow,
    FlowError,
    SignatureError,
    branch,
    chain,
    group,
    param,
    step,
    switch,
)
from nbflow.algebra.topology import Topology

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


@step
def raw():
    CALLS.append("raw")
    return 1


@step
def inc(x, by=1):
    CALLS.append("inc")
    return x + by


@step
def double(x):
    CALLS.append("double")
    return 2 * x


@step
def pair(left, right):
    return left, right


@step
def whole(x):
    return x


# Identity: the same value is the same node


def test_a_value_used_twice_runs_once():
    one = raw.s()
    flow = [one >> inc, one >> double] >> whole
    assert flow.steps == ["raw", "inc", "double", "whole"]
    assert flow.call() == [2, 2]
    assert CALLS.count("raw") == 1


@pytest.mark.parametrize(
    "write",
    [
        lambda: raw >> [inc, double],
        lambda: group(raw, raw),
        lambda: [raw, [raw, (raw, {"k": raw})]] >> whole,
        lambda: pair.s(raw, right=raw),
        lambda: raw >> pair.s(raw),
        lambda: [raw >> inc, raw >> inc] >> whole,
        lambda: whole.s([raw, {"a": raw}]),
        lambda: raw >> [inc >> double, double >> inc],
        lambda: raw >> whole.si(raw),
        lambda: whole.map([raw, raw]),
        lambda: group(raw >> inc, raw >> double) >> whole,
        lambda: chain(raw, [inc, [inc]]),
    ],
)
def test_the_bare_step_is_one_value(write):
    flow = write()
    flow.call()
    assert CALLS.count("raw") == 1
    assert [name for name in flow.steps if name.startswith("raw")] == ["raw"]


def test_the_same_application_is_the_same_node():
    assert group(raw >> inc, raw >> inc).steps == ["raw", "inc"]
    call = inc.s(by=5)
    assert group(raw >> call, raw >> call).steps == ["raw", "inc"]
    assert (raw >> [call, call, [call]]).steps == ["raw", "inc"]


def test_every_placed_call_is_a_new_node():
    assert group(raw.s(), raw.s()).steps == ["raw", "raw_2"]
    assert group(raw >> inc.s(), raw >> inc.s()).steps == ["raw", "inc", "inc_2"]
    assert group(raw, raw.s()).steps == ["raw", "raw_2"]
    assert group(whole.s(1), whole.s(1)).call() == [1, 1]
    assert len(group(whole.s(1), whole.s(1))) == 2


def test_every_application_to_another_upstream_is_a_new_node():
    assert group(raw >> double, whole.s(1) >> double).steps == [
        "raw",
        "double",
        "whole",
        "double_2",
    ]
    assert (raw >> double >> double).steps == ["raw", "double", "double_2"]
    assert group(1 >> double, 1 >> double).steps == ["double", "double_2"]


def test_a_step_after_itself_is_a_new_node_not_a_cycle():
    flow = inc >> double >> inc
    assert flow.steps == ["inc", "double", "inc_2"]
    assert flow.call(1) == 5


def test_a_flow_used_in_two_places_of_a_larger_one_stays_one():
    lower = double >> inc
    flow = raw >> [lower >> whole, lower >> double]
    assert flow.steps == ["raw", "double", "inc", "whole", "double_2"]
    assert flow.call() == [3, 6]
    mapped = whole.map([double])
    flow = raw >> group(mapped >> whole.s(), mapped >> whole.s())
    assert flow.steps.count("double") == 1
    assert len(flow) == 5
    # Each member is rebuilt on its own here, and they must still meet.
    flow = raw >> [mapped >> whole, mapped >> inc.s(by=[7])]
    assert flow.steps == ["raw", "double", "whole", "whole_2", "inc"]
    assert flow.call() == [[2], [2, 7]]


def test_copies_with_options_are_flows_of_their_own():
    flow = raw >> inc
    other = flow.options(fuse=False)
    assert other.steps == flow.steps
    assert all(not node.call.definition.options.fuse for node in other.topology.nodes)
    assert all(node.call.definition.options.fuse for node in flow.topology.nodes)
    assert (other.call(), flow.call()) == (2, 2)
    assert other != flow
    assert flow.options(fuse=False) == other
    assert flow.options() == flow
    shared = [raw >> inc, raw >> double] >> whole
    assert shared.options(priority=1).steps == shared.steps
    assert shared.options(tags="x")["double"].call() == 2


def test_options_do_not_change_what_a_placed_call_takes():
    plain = inc.s(by=raw)
    assert (7 >> plain).call() == (7 >> plain.options(priority=1)).call() == 8
    mapped = pair.s(raw).map([5])
    assert mapped.call() == mapped.options(priority=1).call() == [(5, 1)]
    spread = {"right": raw} >> pair.s(3)
    assert spread.call() == spread.options(priority=1).call() == (3, 1)


# Associativity


@pytest.mark.parametrize(
    "parts",
    [
        (raw, inc, double),
        (5, inc, double),
        (raw, inc.s(by=3), double.s()),
        (raw, whole.si(9), double),
        ([raw, 2], whole, len),
        ((raw, 2), pair, whole),
        ({"left": raw, "right": 3}, pair, whole),
        ({"by": 4}, inc.s(1), double),
        (raw, lambda x: x + 1, double),
        (param("p", 3), inc, double),
        ((), raw, inc),
        ({}, raw, inc),
        (raw, inc.s(by=raw), double),
        (raw, pair.map([1, 2]), whole),
        (np.arange(3), np.sum, int),
    ],
)
def test_brackets_do_not_matter(parts):
    a, b, c = parts
    left, right = chain(chain(a, b), c), chain(a, chain(b, c))
    assert left == right
    assert hash(left) == hash(right)
    assert left.steps == right.steps
    assert left.call() == right.call()


def test_brackets_around_the_operator():
    assert raw >> (inc >> double) == (raw >> inc) >> double
    assert raw >> (inc >> (double >> whole)) == raw >> inc >> double >> whole
    assert (raw >> (inc >> [double, whole])) == (raw >> inc >> [double, whole])
    assert raw >> (whole.si(1) >> inc) == (raw >> whole.si(1)) >> inc


def test_what_already_flowed_in_is_never_lost():
    placed = {"right": raw} >> pair.s(9)
    assert placed.call() == (9, 1)
    with pytest.raises(SignatureError):
        5 >> placed
    with pytest.raises(SignatureError):
        double >> (raw >> inc)
    for refuse in (
        lambda: (5 >> pair).map([1]),
        lambda: (5 >> inc).map([1]),
        lambda: (raw >> inc).map([1]),
    ):
        with pytest.raises(SignatureError):
            refuse()


def test_a_map_keeps_the_arguments_of_its_call():
    assert pair.s(raw).map([3, 4]).call() == [(3, 1), (4, 1)]
    assert inc.s(by=raw).map([3, 4]).call() == [4, 5]
    assert CALLS.count("raw") == 2


# Equality


EQUAL = [
    lambda: raw >> inc >> double,
    lambda: raw >> [inc, double],
    lambda: [raw, [1, (raw, {"k": 2})]] >> whole,
    lambda: inc.s(2, by=3),
    lambda: whole.s(pd.DataFrame({"a": [1, None]})),
    lambda: whole.s(np.array([1.0, np.nan])),
    lambda: whole.s(float("nan")),
    lambda: whole.map([1, raw]),
    lambda: pair.starmap([(1, 2), (3, 4)]),
    lambda: param("p", 1) >> whole,
    lambda: param("p", pd.DataFrame({"a": [1]})) >> whole,
    lambda: param("p", [float("nan")]) >> whole,
    lambda: raw >> whole.si(2),
    lambda: group(),
    lambda: raw >> inc.options(priority=2),
    lambda: 1 >> step(lambda x: x + 1, name="l"),
    lambda: param("only"),
    lambda: branch(bool, inc, double),
    lambda: 5 >> branch(bool, inc, double),
    lambda: branch(bool, inc >> double, 0),
    lambda: switch(type, {int: inc, str: whole}, default=double),
    lambda: raw >> inc.options(retry=2),
    lambda: raw >> inc.options(timeout=2),
    lambda: raw >> inc.options(lock="l"),
    lambda: raw >> inc.options(isolation="process"),
    lambda: raw >> inc.s().when(bool),
    lambda: raw >> whole.map(),
    lambda: raw >> (inc >> double).map(),
    lambda: whole.map([1, raw], on_error="collect"),
    lambda: whole.map([1, raw], max_concurrency=2),
    lambda: whole.map([1, raw], key=["a", "b"]),
    lambda: whole.map([1, raw], key=lambda x: f"k{x}"),
    lambda: raw >> step(sum).reduce(split_every=3),
    lambda: group(raw, 1, max_concurrency=3),
]


@pytest.mark.parametrize("write", EQUAL)
def test_the_same_text_gives_an_equal_flow(write):
    assert write() == write()
    assert not write() != write()
    assert hash(write()) == hash(write())
    assert len({write(), write()}) == 1


def test_different_flows_differ():
    flows = [
        *(write() for write in EQUAL),
        raw >> inc,
        branch(bool, double, inc),
        branch(bool, inc),
        branch(callable, inc, double),
        branch(bool, inc >> double, 1),
        switch(type, {int: inc, float: whole}, default=double),
        switch(type, {int: inc, str: whole, float: double}),
        raw >> inc.options(retry=3),
        raw >> inc.s().when(callable),
        raw >> whole.map(key=str),
        whole.map([1, raw], max_concurrency=3),
        whole.map([1, raw], key=["a", "c"]),
        raw >> step(sum).reduce(split_every=4),
        raw >> step(sum),
        group(raw, 1, max_concurrency=4),
        group(raw, 1),
        raw >> inc.s(by=2),
        raw >> (inc, double),
        raw >> {"a": inc, "b": double},
        raw >> {"a": inc, "c": double},
        [raw] >> whole,
        [[raw]] >> whole,
        raw >> whole,
        whole.s(1),
        whole.s(True),
        whole.s(1.0),
        whole.s([1]),
        whole.s(x=1),
        whole.si(1),
        whole.map([1]),
        whole.map([1, 1]),
        param("p", 2) >> whole,
        param("q", 1) >> whole,
        param("p") >> whole,
        pair.starmap([(1, 2)]),
        pair.s(2).map([1]),
        pair.s(1).map([2]),
        1 >> pair.map([2]),
        group(raw, raw.s()),
        group(raw, raw),
        group(inc.s(1), inc.s(2)),
        group(inc.s(2), inc.s(1)),
    ]
    for number, left in enumerate(flows):
        for other, right in enumerate(flows):
            assert (left == right) is (number == other), (number, other)


def test_wiring_is_part_of_equality():
    a, b = whole.s(1), whole.s(2)
    assert pair.s(a, b) == pair.s(whole.s(1), whole.s(2))
    assert pair.s(a, b) != pair.s(b, a)
    assert group(a, b, a) != group(a, b, b)


def test_a_map_between_upstream_and_arguments():
    assert (1 >> step(max).s(2).map([3])) != ((1, 2) >> step(max).map([3]))


def test_equality_with_other_things():
    assert raw.s() != 5
    assert raw.s() == raw
    assert (raw.s() == None) is False  # noqa: E711
    assert raw.s() in [1, "a", raw]
    assert param("p", 1) == param("p", 1)
    assert param("p", 1) != param("p", 2)
    assert hash(param("p", 1)) == hash(param("p", 1))


# Immutability


def test_a_flow_cannot_be_changed():
    flow = raw >> inc
    for name in ("expression", "name", "steps", "_names", "topology", "anything"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(flow, name, 1)
    with pytest.raises(AttributeError, match="cannot be changed"):
        del flow.expression
    flow.steps.append("x")
    flow.params["x"] = 1
    assert (flow.steps, flow.params) == (["raw", "inc"], {})


def test_no_expression_changes_its_operands():
    operands = {
        "raw": raw.s(),
        "chain": raw >> inc,
        "open": inc >> double,
        "fan": raw >> [inc, double],
        "map": inc.map([raw, 2]),
        "tuple": (raw, double.s(2)) >> pair,
        "named": (raw >> inc).named("n"),
    }
    before = {key: (copy.copy(f), f.steps, repr(f), hash(f), len(f)) for key, f in operands.items()}
    for left in operands.values():
        for right in operands.values():
            for write in (
                lambda left=left, right=right: left >> right,
                lambda left=left: left >> [whole, {"a": (whole,)}],
                lambda left=left, right=right: [left, right] >> whole,
                lambda left=left, right=right: (left, right) >> pair,
                lambda left=left, right=right: pair.s(left, right=right),
                lambda left=left: left.named("other"),
                lambda left=left: left.options(fuse=False, retry=2, timeout=5, lock="l"),
                lambda left=left: left.when(bool),
                lambda left=left: left.on_error(print),
                lambda left=left: left.map([1], key=str, on_error="collect"),
                lambda left=left, right=right: branch(bool, left, right),
                lambda left=left, right=right: switch(left, {1: right}, default=left),
                lambda left=left, right=right: group(left, right, max_concurrency=1),
                lambda left=left: left.call(3),
                lambda left=left: left["inc"],
                lambda left=left: whole.map([left]),
                lambda left=left: cloudpickle.dumps(left),
                lambda left=left: left >> 5,
            ):
                try:
                    write()
                except (FlowError, KeyError):
                    pass
            for key, flow in operands.items():
                was, *rest = before[key]
                assert flow == was
                assert [flow.steps, repr(flow), hash(flow), len(flow)] == rest


def test_re_running_a_cell_is_safe():
    flow = raw >> inc
    for _ in range(3):
        rerun = flow >> double
    assert rerun.steps == ["raw", "inc", "double"]
    assert flow.steps == ["raw", "inc"]


# What a flow tells


def test_steps_len_in_and_parts():
    flow = [raw >> inc, whole.s(4)] >> whole
    assert flow.steps == ["raw", "inc", "whole", "whole_2"]
    assert len(flow) == 4
    assert "inc" in flow
    assert inc in flow
    assert "nothing" not in flow
    assert double not in flow
    assert 5 not in flow
    assert flow["inc"] in flow
    assert (raw >> double) not in flow
    assert flow["inc"].call() == 2
    assert flow["whole_2"].call() == [2, 4]
    assert flow["inc"].steps == ["raw", "inc"]


def test_steps_come_after_what_they_need():
    a, b, c = whole.s(1).named("A"), whole.s(2), whole.s(3)
    flow = [c >> double, pair.s(b, a), a] >> whole
    position = {name: number for number, name in enumerate(flow.steps)}
    for number, upstream in enumerate(flow.topology.upstream):
        assert all(each < number for each in upstream)
    assert len(position) == len(flow) == 6


def test_name_and_repr():
    flow = raw >> inc
    assert (flow.name, flow.named("etl").name, group().name) == ("inc", "etl", "flow")
    assert repr(flow) == "Flow(raw >> inc)"
    assert repr(flow.named("etl")) == "Flow('etl', 2 steps, 1 edge)"
    assert repr([raw, double.s(1)] >> whole) == "Flow(3 steps, 2 edges)"
    assert flow.named("etl").call() == 2
    assert flow.named("etl").options(fuse=False).name == "etl"
    assert flow.named("etl")["raw"].name == "raw"


def test_a_flow_has_no_truth_and_no_elements():
    for flow in (raw >> inc, group(), param("p", 1), inc):
        with pytest.raises(SignatureError, match="run it first"):
            bool(flow)
        with pytest.raises(SignatureError, match=r"\.map\(\)"):
            iter(flow)
        with pytest.raises(SignatureError, match=r"\.map\(\)"):
            [*flow]


# Copies that run on a condition, tell of failures, or are mapped as a whole


def big(x):
    return x > 3


@pytest.mark.parametrize(
    ("flow", "given", "value"),
    [
        (lambda: (inc >> double).when(big), 5, 12),
        (lambda: (inc >> double).when(big), 3, None),
        (lambda: double >> inc.s().when(big), 2, 5),
        (lambda: double >> inc.s().when(big), 1, None),
        (lambda: group(inc, double).when(big), 5, [6, 10]),
        (lambda: group(inc, double).when(big), 1, None),
        (lambda: group(inc.s().when(big), double), 1, [2]),
        (lambda: inc.s().when(big).when(lambda x: x < 9), 7, 8),
        (lambda: inc.s().when(big).when(lambda x: x < 9), 9, None),
        (lambda: inc.s(by=10).when(big), 5, 15),
        (lambda: (inc >> double).map().when(big), [1, 5], [12]),
    ],
)
def test_a_flow_runs_only_when_a_predicate_holds_for_what_flows_in(flow, given, value):
    assert flow().call(given) == value
    assert (given >> flow()).call() == value


def test_a_condition_makes_another_flow_and_leaves_the_old_one():
    flow = inc >> double
    guarded = flow.when(big)
    assert guarded == (inc >> double).when(big)
    assert hash(guarded) == hash((inc >> double).when(big))
    assert guarded != flow
    assert guarded != flow.when(bool)
    assert (repr(guarded), guarded.steps) == (repr(flow), flow.steps)
    assert (flow.call(1), guarded.call(1)) == (4, None)
    assert cloudpickle.loads(cloudpickle.dumps(guarded)) == guarded


def test_a_failing_flow_tells_its_handlers_once_and_a_good_one_never():
    told = []
    flow = (double >> (lambda x: 10 // x) >> inc).on_error(told.append)
    assert (flow.call(5), told) == (2, [])
    with pytest.raises(ZeroDivisionError):
        flow.call(0)
    [[failure]] = told
    assert (failure.step, failure.element, failure.attempts) == ("lambda", None, 1)
    assert isinstance(failure.error, ZeroDivisionError)


def test_every_handler_of_every_part_is_told_in_order():
    told = []
    first, second = (lambda f: told.append("first")), (lambda f: told.append("second"))
    part, fail = inc.s(1).on_error(first), step(lambda x: 1 // 0)
    for flow in (
        (part >> fail).on_error(second),
        ([part, 1] >> whole >> fail).on_error(second),
        whole.s(part) >> fail >> whole.s().on_error(second),
        (part >> inc).options(priority=1).named("n").on_error(second) >> fail,
        {"x": part} >> fail >> [inc, double.s().on_error(second)],
        5 >> branch(bool, part >> fail).on_error(second),
    ):
        told.clear()
        with pytest.raises(ZeroDivisionError):
            flow.call()
        assert told == ["first", "second"]


def test_a_handler_is_no_step_of_the_flow():
    flow = raw >> inc
    watched = flow.on_error(print)
    assert watched == flow
    assert hash(watched) == hash(flow)
    assert (watched.steps, repr(watched), len(watched)) == (flow.steps, repr(flow), len(flow))
    assert flow.handlers == ()
    assert len(watched.handlers) == 1
    assert len(cloudpickle.loads(cloudpickle.dumps(watched)).handlers) == 1


def test_a_handler_may_be_a_step_or_a_flow():
    told = []
    for handler in (step(told.append, name="tell"), step(len) >> told.append):
        with pytest.raises(ZeroDivisionError):
            step(lambda: 1 // 0).s().on_error(handler).call()
    assert told[1] == 1
    assert [each.step for each in told[0]] == ["lambda"]


def test_a_flow_is_mapped_as_a_whole():
    flow = inc >> double
    mapped = flow.map([1, 2])
    assert mapped.call() == [4, 6]
    assert mapped == (inc >> double).map([1, 2])
    assert mapped != flow.map([1, 3])
    assert mapped.steps == flow.steps
    assert (flow.call(1), repr(flow)) == (4, "Flow(inc >> double)")
    assert (pair >> whole).starmap([(1, 2)]).call() == [(1, 2)]


# Pickling


@pytest.mark.parametrize("write", EQUAL)
def test_a_pickled_flow_is_equal(write):
    flow = write().named("n") if isinstance(write(), Flow) else write() >> whole
    for other in (
        cloudpickle.loads(cloudpickle.dumps(flow)),
        copy.copy(flow),
        copy.deepcopy(flow),
    ):
        assert other == flow
        assert hash(other) == hash(flow)
        assert (other.name, other.steps, repr(other)) == (flow.name, flow.steps, repr(flow))
    # It goes on composing as before.
    again = cloudpickle.loads(cloudpickle.dumps(flow))
    assert (again >> whole) == (flow >> whole)


def test_a_pickled_call_still_takes_what_flows_in():
    call = cloudpickle.loads(cloudpickle.dumps(inc.s(by=raw)))
    assert (7 >> call).call() == 8


def test_a_function_that_knows_its_flow_can_be_pickled():
    space: dict[str, object] = {"step": step, "__name__": "__main__"}
    exec(
        "@step\ndef describe(x):\n    return len(etl) + x\netl = 5 >> describe >> describe\n",
        space,
    )
    assert cloudpickle.loads(cloudpickle.dumps(space["etl"])).call() == 9


# Whole values on the left


@pytest.mark.parametrize(
    "value",
    [
        np.arange(4),
        np.arange(4).reshape(2, 2),
        np.array(3),
        np.array(["a", None], dtype=object),
        np.float64(1.5),
        np.int64(3),
        np.bool_(True),
        np.datetime64("2020-01-01"),
        np.array([], dtype=int),
        pd.Series([1, 2]),
        pd.Series(["a", "b"], name="s"),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame(),
        pd.Index([1, 2]),
        pd.Timestamp("2020-01-01"),
        pd.NA,
        1,
        1.5,
        True,
        "text",
        b"bytes",
        None,
        range(3),
        1 + 2j,
        ...,
    ],
)
def test_a_plain_value_is_one_constant(value):
    for write in (
        lambda: value >> whole,
        lambda: value >> (whole >> whole),
        lambda: value >> whole.s(),
        lambda: whole.s(value),
    ):
        flow = write()
        assert isinstance(flow, Flow)
        got = flow.call()
        assert type(got) is type(value)
        assert repr(got) == repr(value)
    first = ([value, raw] >> whole).call()[0]
    assert repr(first) == repr(value)


# Depth and size


@pytest.mark.parametrize("length", [3_000, 10_000])
def test_a_long_chain_touches_no_recursion_limit(length):
    def make():
        return functools.reduce(lambda flow, each: flow >> each, [whole] * length, raw.s())

    flow, same = make(), make()
    assert len(flow) == length + 1
    assert flow.steps[-1] == f"whole_{length}"
    assert repr(flow) == f"Flow({length + 1} steps, {length} edges)"
    assert flow == same
    assert hash(flow) == hash(same)
    assert flow.call() == 1
    assert chain(raw, *[whole] * length).call() == 1
    assert (5 >> chain(*[whole] * length)).call() == 5
    assert chain(*[whole] * length).call(6) == 6
    assert flow.options(fuse=False).call() == 1
    assert flow["whole_7"].steps[-1] == "whole_7"
    assert ("clean" in flow, whole in flow) == (False, True)
    assert (flow >> [whole, whole.s()]).call() == [1, 1]


def test_a_wide_group_is_as_good():
    flow = group(whole.s(number) for number in range(2_000)) >> sum
    assert len(flow) == 2_001
    assert flow.call() == sum(range(2_000))
    assert flow == group(*(whole.s(number) for number in range(2_000))) >> sum
    assert repr(flow) == "Flow(2001 steps, 2000 edges)"
    fan = raw >> [inc.s(by=number) for number in range(2_000)] >> sum
    assert fan.call() == sum(range(1, 2_001))
    assert len(fan) == 2_002


def test_a_diamond_of_diamonds_is_walked_once():
    flow = raw.s()
    for _ in range(200):
        flow = [flow >> whole.s(), flow >> whole.s()] >> step(max)
    assert len(flow) == 601
    assert flow.call() == 1
    assert CALLS == ["raw"]
    assert flow == flow.options()


def test_a_large_constant_is_read_once():
    value = list(range(200_000))
    assert (value >> whole >> len).call() == 200_000


def test_building_walks_nothing(monkeypatch):
    """Building is linear: each >> looks at its own two sides, never at all behind them."""
    walks = []
    real = Topology.of.__func__
    monkeypatch.setattr(
        Topology, "of", classmethod(lambda cls, value: walks.append(value) or real(cls, value))
    )
    flow = raw.s()
    for number in range(500):
        flow = flow >> inc.s(by=number) >> double
        flow = [flow, whole.s(1)] >> whole
    assert len(walks) == 0
    group(whole.s(number) for number in range(500)) >> whole
    assert len(walks) == 0


def test_building_keeps_one_table_of_names(monkeypatch):
    flow = raw.s()
    for _ in range(100):
        flow = flow >> inc
    names = flow._names
    for _ in range(100):
        flow = flow >> double
    assert flow._names is names
