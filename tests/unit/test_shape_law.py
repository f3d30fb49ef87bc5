"""The shape you write is the shape you get: row by row, and at random."""

from __future__ import annotations

import tempfile

import pytest
import strategies
from hypothesis import HealthCheck, given, settings

from nbflow import FlowError, SignatureError, group, param, step

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


def source_step(name):
    def run():
        CALLS.append(name)
        return f"r{name}"

    return step(run, name=name)


x, y, z = map(source_step, "xyz")


@step
def m(value, *more, **named):
    """Tell exactly what was received."""
    CALLS.append("m")
    return (value, *more, named) if more or named else value


@step
def everything(*args, **kwargs):
    return args, kwargs


ROWS = {
    "list": (lambda: [x, y] >> m, ["rx", "ry"]),
    "list of one": (lambda: [x] >> m, ["rx"]),
    "list of none": (lambda: [] >> m, []),
    "nested": (lambda: [x, [y, z]] >> m, ["rx", ["ry", "rz"]]),
    "nested of one": (lambda: [[x]] >> m, [["rx"]]),
    "nested of none": (lambda: [x, [], [[]]] >> m, ["rx", [], [[]]]),
    "only nested empties": (lambda: [[], []] >> m, [[], []]),
    "twice the same": (lambda: [x, x] >> m, ["rx", "rx"]),
    "with constants": (lambda: [x, 1, "a", None] >> m, ["rx", 1, "a", None]),
    "tuple in a list": (lambda: [(x, y), z] >> m, [("rx", "ry"), "rz"]),
    "dict in a list": (lambda: [{"a": x, 1: y}] >> m, [{"a": "rx", 1: "ry"}]),
    "list of constants": (lambda: [1, [2]] >> m, [1, [2]]),
    "tuple in a list of constants": (lambda: [(1, 2)] >> m, [(1, 2)]),
    "tuple": (lambda: (x, y) >> everything, (("rx", "ry"), {})),
    "tuple of one": (lambda: (x,) >> everything, (("rx",), {})),
    "tuple of none": (lambda: () >> everything, ((), {})),
    "tuple of constants": (lambda: (1, 2) >> everything, ((1, 2), {})),
    "tuple of a list": (lambda: ([x, y],) >> everything, ((["rx", "ry"],), {})),
    "tuple of tuples": (lambda: ((x, y), z) >> everything, ((("rx", "ry"), "rz"), {})),
    "tuple before .s()": (lambda: (x, y) >> everything.s(3, k=4), (("rx", "ry", 3), {"k": 4})),
    "dict": (lambda: {"left": x, "right": y} >> everything, ((), {"left": "rx", "right": "ry"})),
    "dict of none": (lambda: {} >> everything, ((), {})),
    "dict of constants": (lambda: {"a": 1} >> everything, ((), {"a": 1})),
    "dict of lists": (lambda: {"a": [x, [y]]} >> everything, ((), {"a": ["rx", ["ry"]]})),
    "dict beside .s()": (lambda: {"a": x} >> everything.s(3, k=4), ((3,), {"a": "rx", "k": 4})),
    "value": (lambda: x >> everything.s(1, k=2), (("rx", 1), {"k": 2})),
    "fan out to a list": (lambda: x >> [m, m.s(2)], ["rx", ("rx", 2, {})]),
    "fan out to one": (lambda: x >> [m], ["rx"]),
    "fan out to a tuple": (lambda: x >> (m, m.s()), ("rx", "rx")),
    "fan out to a dict": (lambda: x >> {"a": m, "b": [m]}, {"a": "rx", "b": ["rx"]}),
    "fan out to nested": (
        lambda: x >> [m, [m, (m, {"k": m})]],
        ["rx", ["rx", ("rx", {"k": "rx"})]],
    ),
    "fan out to empties": (lambda: x >> [[], (), {}, m], [[], (), {}, "rx"]),
    "fan out, fan in": (lambda: x >> [m, m] >> m, ["rx", "rx"]),
    "fan out to a tuple that spreads": (lambda: x >> (m, m) >> everything, (("rx", "rx"), {})),
    "fan out to a dict that spreads": (lambda: x >> {"a": m} >> everything, ((), {"a": "rx"})),
    "group to a list": (lambda: group(x, y) >> [m, m], [["rx", "ry"], ["rx", "ry"]]),
    "group of one": (lambda: group(x) >> m, ["rx"]),
    "group of none": (lambda: group() >> m, []),
    "plain callable": (lambda: x >> str.upper, "RX"),
    "class": (lambda: "12" >> step(int), 12),
    "argument": (lambda: x >> m.s(y), ("rx", "ry", {})),
    "keyword argument": (lambda: x >> m.s(k=y), ("rx", {"k": "ry"})),
    "argument in containers": (
        lambda: everything.s([x, [y]], {"k": (z, 1)}, last={"a": [x]}),
        ((["rx", ["ry"]], {"k": ("rz", 1)}), {"last": {"a": ["rx"]}}),
    ),
    "tuple as argument is whole": (lambda: everything.s((x, y)), ((("rx", "ry"),), {})),
    "dict as argument is whole": (lambda: everything.s({"a": x}), (({"a": "rx"},), {})),
    "param": (lambda: [param("p", 5), x] >> m, [5, "rx"]),
    "map": (lambda: m.map([x, 2, [y]]), ["rx", 2, ["ry"]]),
    "map of one": (lambda: m.map([x]), ["rx"]),
    "map of none": (lambda: m.map([]) >> m, []),
    "upstream of a map": (lambda: x >> m.s(3).map([1, 2]), [("rx", 1, 3, {}), ("rx", 2, 3, {})]),
    "group in group": (lambda: group(group(x), group()), [["rx"], []]),
    "immutable": (lambda: x >> everything.si(1), ((1,), {})),
}


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_table(row):
    write, value = ROWS[row]
    flow = write()
    assert CALLS == []
    got = flow.call()
    assert got == value
    assert repr(got) == repr(value)
    assert len(set(CALLS) & set("xyz")) == sum(CALLS.count(each) for each in "xyz")


def test_a_value_at_run_time_is_never_spread():
    @step
    def pair():
        return (1, 2)

    @step
    def table():
        return {"a": 1}

    assert (pair >> everything).call() == (((1, 2),), {})
    assert (table >> everything).call() == (({"a": 1},), {})
    assert ([pair, table] >> everything).call() == (([(1, 2), {"a": 1}],), {})


def test_lists_on_both_sides_are_pythons_own_error():
    with pytest.raises(TypeError, match="unsupported operand"):
        [x, y] >> [m]


def test_none_and_falsy_values_flow_like_any_other():
    for value in (None, 0, "", [], False, 0.0, float("inf")):
        assert (value >> m).call() == value
        assert ([value] >> m).call() == [value]
        assert (x >> everything.si(value)).call() == ((value,), {})


def test_a_set_has_no_order():
    for each in ({1}, {x}, frozenset([1]), set()):
        with pytest.raises(FlowError, match="order"):
            each >> m
        with pytest.raises(FlowError, match="order"):
            x >> each
        with pytest.raises(FlowError, match="order"):
            group(each)
        with pytest.raises(FlowError, match="order"):
            m.map(each)
    with pytest.raises(FlowError, match="order"):
        m.s({x})
    with pytest.raises(FlowError, match="order"):
        [[frozenset([x])]] >> m
    assert m.s({1}).call() == {1}


def test_dict_keys_that_are_no_names():
    with pytest.raises(SignatureError, match="no name"):
        {1: x} >> everything
    assert everything.s({1: x}).call() == (({1: "rx"},), {})


def test_a_member_is_a_step_or_a_constant():
    assert (x >> [m, 5, None]).call() == ["rx", 5, None]


def check(tree):
    with tempfile.TemporaryDirectory() as folder:
        written = strategies.written(tree, folder)
        assert strategies.recorded_calls(folder) == {}
        assert written.flow.call() == written.value
        assert repr(written.flow.call()) == repr(written.value)
        twice = {uid: 2 * times for uid, times in written.calls.items()}
        assert strategies.recorded_calls(folder) == twice
        # No operand was changed by being used, and the same text gives an equal flow.
        for flow, steps, shown, hashed in written.operands:
            assert (flow.steps, repr(flow), hash(flow)) == (steps, shown, hashed)
        again = strategies.written(tree, folder)
        assert again.flow == written.flow
        assert hash(again.flow) == hash(written.flow)
        for (old, *_), (new, *_) in zip(written.operands, again.operands, strict=True):
            assert old == new


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(tree=strategies.trees())
def test_any_nesting_means_what_plain_recursion_means(tree):
    check(tree)
