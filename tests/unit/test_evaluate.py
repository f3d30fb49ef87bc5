"""`flow.call`: inputs, parameters, asynchronous steps, and values that are one's own."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import threading

import numpy as np
import pandas as pd
import pytest

from nbflow import (
    FlowError,
    ParamError,
    SignatureError,
    TransferError,
    chain,
    group,
    param,
    starmap,
    step,
)

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


@step
def double(x):
    CALLS.append("double")
    return 2 * x


@step
def inc(x, by=1):
    CALLS.append("inc")
    return x + by


@step
def pair(left, right):
    return left, right


@step
def whole(x):
    return x


# Inputs


def test_inputs_feed_every_open_step():
    assert (double >> inc).call(3) == 7
    assert ([double, inc, whole] >> whole).call(3) == [6, 4, 3]
    assert pair.call(1, 2) == (1, 2)
    assert ((pair >> whole) >> str).call(1, 2) == "(1, 2)"
    assert ([pair, pair.s()] >> whole).call(1, 2) == [(1, 2), (1, 2)]


def test_inputs_feed_open_steps_only():
    flow = [double, inc.s(10), 5 >> double, whole.si(7), whole.map([8])] >> whole
    assert flow.call(3) == [6, 11, 10, 7, [8]]


def test_a_step_with_some_of_its_arguments_is_open_for_the_rest():
    assert pair.s(2).call(1) == (1, 2)
    assert pair.s(right=2).call(1) == (1, 2)
    assert (pair.s(9) >> whole).call(1) == (1, 9)
    assert pair.map([1, 2]).call(0) == [(0, 1), (0, 2)]
    assert pair.s(double.s(4)).call(1) == (1, 8)


def test_an_input_is_handed_over_as_it_is():
    for value in ([1], (1, 2), {"a": 1}, None, "x", [], pd.DataFrame({"a": [1]})):
        got = whole.call(value)
        assert type(got) is type(value)
        assert repr(got) == repr(value)


def test_a_keyword_that_is_required_cannot_come_as_an_input():
    @step
    def keyword(x, *, how):
        return x, how

    assert keyword.s(how=1).call(0) == (0, 1)
    with pytest.raises(SignatureError, match="'keyword'.*'how'"):
        keyword.call(1)


def test_inputs_that_nobody_takes_name_the_steps():
    for flow in (5 >> double, inc.s(1) >> double, group(), whole.si(1), inc.s(1)):
        with pytest.raises(SignatureError, match="takes no input, and got 1"):
            flow.call(3)
    with pytest.raises(SignatureError, match="'inc'"):
        (inc.s(1) >> double).call(3)
    with pytest.raises(SignatureError, match="'double'.*takes 1 positional.*gets 2"):
        double.call(1, 2)


def test_an_open_flow_without_input_names_step_and_parameter():
    for flow in (double >> inc, group(inc.s(1), double), [whole, double >> inc] >> whole):
        with pytest.raises(SignatureError, match="open: step '(double|whole)' lacks 'x'"):
            flow.call()
    with pytest.raises(SignatureError, match="lacks 'left', 'right'"):
        pair.call()
    with pytest.raises(SignatureError, match="lacks 'right'"):
        pair.s(1).call()
    assert CALLS == []


def test_a_flow_is_no_input():
    with pytest.raises(FlowError, match="connect it with >>"):
        double.call(inc.s(1))
    with pytest.raises(FlowError, match="connect it with >>"):
        double.call(inc)


def test_a_flow_may_be_called_again_and_again():
    flow = double >> inc
    assert [flow.call(n) for n in range(3)] == [1, 3, 5]
    assert flow.steps == ["double", "inc"]
    assert CALLS == ["double", "inc"] * 3


def test_every_step_runs_once_after_what_it_needs():
    order = []

    def noting(name):
        return step(lambda *_: order.append(name), name=name)

    a, b, c, d = map(noting, "abcd")
    (a >> b >> [c, d.si()] >> whole).call()
    assert sorted(order) == ["a", "b", "c", "d"]
    assert order.index("a") < order.index("b") < min(order.index("c"), order.index("d"))


def test_an_immutable_call_waits_and_receives_nothing():
    order = []

    @step
    def first():
        order.append("first")
        return "ignored"

    @step
    def second(*args):
        order.append(args)
        return args

    flow = [whole.s(1), first] >> second.si("own")
    assert flow.call() == ("own",)
    assert order == ["first", ("own",)]
    assert flow.topology.order_only == ((), (), (0, 1))


def test_a_users_exception_comes_through_as_it_is():
    class Mine(Exception):
        def __init__(self, left, right):
            super().__init__(left)

    error = Mine(1, 2)

    @step
    def fail(x):
        raise error

    with pytest.raises(Mine) as caught:
        (1 >> double >> fail >> double).call()
    assert caught.value is error
    assert CALLS == ["double"]


# Parameters


def test_params_are_given_by_name():
    flow = param("n", 2) >> inc.s(by=param("by", 1)) >> double
    assert flow.params == {"n": 2, "by": 1}
    assert flow.call() == 6
    assert flow.call(params={"n": 5}) == 12
    assert flow.call(params={"n": 5, "by": 0}) == 10
    assert flow.call() == 6


def test_a_param_is_usable_wherever_a_value_is():
    p = param("p", [1, 2])
    assert ([p, {"k": (p, 1)}] >> whole).call() == [[1, 2], {"k": ([1, 2], 1)}]
    assert ((p, 3) >> pair).call() == ([1, 2], 3)
    assert whole.map([p, 1]).call() == [[1, 2], 1]
    assert starmap(pair, [(p, 1)]).call() == [([1, 2], 1)]
    assert whole.s(x=p).call() == [1, 2]
    assert group(p, p).call() == [[1, 2], [1, 2]]
    assert chain(p, sum).call() == 3
    assert whole.si(p).call(params={"p": None}) is None
    assert (p >> [whole, len]).call() == [[1, 2], 2]


@pytest.mark.parametrize("value", [None, False, 0, "", [], float("nan"), pd.DataFrame()])
def test_an_empty_value_is_a_value(value):
    flow = param("p") >> whole
    assert repr(flow.call(params={"p": value})) == repr(value)
    assert repr((param("p", value) >> whole).call()) == repr(value)


def test_a_missing_param_and_a_surplus_one():
    flow = group(param("path"), param("limit"), param("n", 1)) >> whole
    with pytest.raises(ParamError, match="'limit', 'path'.*params="):
        flow.call()
    with pytest.raises(ParamError, match="'path'"):
        flow.call(params={"limit": 1})
    with pytest.raises(ParamError, match="no parameter 'pth'; did you mean 'path'"):
        flow.call(params={"pth": 1})
    with pytest.raises(ParamError, match="no parameter 'x'; there are none"):
        inc.s(1).call(params={"x": 1})
    with pytest.raises(ParamError):
        flow.call(params={5: 1, "path": 1, "limit": 1})


def test_a_param_with_two_defaults_is_an_error_however_it_is_used():
    for write in (
        lambda: group(param("n", 1), param("n", 2)) >> whole,
        lambda: whole.s([param("n", 1), param("n", 2)]),
        lambda: [param("n", 1) >> whole, param("n", 2) >> whole] >> whole,
        lambda: [param("n", 1) >> whole, param("n", True) >> whole] >> whole,
        lambda: group(param("n", [1]), param("n", [2])) >> whole,
        lambda: group(param("n", pd.Series([1])), param("n", pd.Series([2]))) >> whole,
    ):
        with pytest.raises(ParamError, match="'n' has two defaults"):
            write().call()
    one = group(param("n", 1), param("n"), param("n", 1)) >> whole
    assert one.call() == [1, 1, 1]
    assert one.call(params={"n": 3}) == [3, 3, 3]
    frames = group(param("n", pd.Series([1])), param("n", pd.Series([1])))
    assert len(frames.call()) == 2


def test_nothing_flows_into_a_param():
    with pytest.raises(FlowError, match="parameter 'p'"):
        inc.s(1) >> param("p", 1)
    with pytest.raises(FlowError, match="parameter 'p'"):
        inc.s(1) >> [param("p", 1)]


def test_what_a_param_tells():
    assert (param("p", 1).name, param("p", 1).default) == ("p", 1)
    assert (repr(param("p")), repr(param("p", "x"))) == ("param('p')", "param('p', 'x')")
    with pytest.raises(AttributeError, match="no default"):
        _ = param("p").default


# Asynchronous steps


@step
async def later(x):
    await asyncio.sleep(0.001)
    return x + 1


class Caller:
    async def __call__(self, x):
        await asyncio.sleep(0)
        return x * 10

    async def method(self, x):
        return x * 100


def test_async_steps_alone_and_mixed():
    assert (1 >> later >> double >> later).call() == 5
    assert later.map([1, 2]).call() == [2, 3]
    assert group(later.s(1), later.s(2)).call() == [2, 3]
    assert (1 >> step(Caller())).call() == 10
    assert (1 >> step(Caller().method)).call() == 100
    assert (1 >> step(lambda x: later(x))).call() == 2


def test_async_steps_inside_a_running_loop():
    async def cell():
        caught = asyncio.get_running_loop()
        value = (1 >> later >> double >> later).call()
        assert asyncio.get_running_loop() is caught
        return value, await asyncio.sleep(0, "alive")

    assert asyncio.run(cell()) == (5, "alive")
    assert threading.active_count() < 50


def test_an_async_failure_is_the_users_own_in_both_places():
    @step
    async def fail(x):
        await asyncio.sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        (1 >> fail).call()

    async def cell():
        with pytest.raises(KeyError, match="mine"):
            (1 >> fail).call()
        return "alive"

    assert asyncio.run(cell()) == "alive"


def test_context_variables_are_seen_by_async_steps():
    variable = contextvars.ContextVar("variable", default="unset")

    @step
    async def read():
        return variable.get()

    async def cell():
        variable.set("inside")
        return read.call()

    assert asyncio.run(cell()) == "inside"
    assert contextvars.copy_context().run(lambda: variable.set("out") and read.call()) == "out"


# Results that are no values


async def numbers_later():
    yield 1


def numbers():
    yield 1


class Emits:
    def __call__(self):
        yield 1


@pytest.mark.parametrize(
    "fn", [lambda: numbers(), lambda: numbers_later(), lambda: (n for n in "ab"), Emits()]
)
def test_a_result_that_is_a_generator_names_the_step(fn):
    for flow in (
        step(fn, name="emit").s(),
        step(fn, name="emit") >> whole,
        step(lambda x: fn(), name="emit").map([1]),
    ):
        with pytest.raises(TransferError, match=r"step 'emit\b.* returned an? .*generator.*list"):
            flow.call()


def test_an_async_step_that_returns_a_generator():
    @step
    async def emit():
        return numbers()

    with pytest.raises(TransferError, match="'emit'"):
        emit.call()


# A step may change what it is given; nobody else sees it


@step
def spoil(value):
    if isinstance(value, (list, collections.deque)):
        for each in value:
            if isinstance(each, (list, dict, pd.DataFrame, np.ndarray)):
                spoil(each)
        value.append("spoilt")
    elif isinstance(value, dict):
        for each in value.values():
            if isinstance(each, (list, dict, pd.DataFrame, np.ndarray)):
                spoil(each)
        value["spoilt"] = 1
    elif isinstance(value, set):
        value.add("spoilt")
    elif isinstance(value, bytearray):
        value.append(0)
    elif isinstance(value, pd.DataFrame):
        value["spoilt"] = 1
        value.loc[:, value.columns[0]] = -1
        value.index.name = "spoilt"
        value.columns.name = "spoilt"
        value.attrs["spoilt"] = 1
        del value[value.columns[0]]
    elif isinstance(value, pd.Series):
        value.iloc[0] = -1
        value.name = "spoilt"
        value.index.name = "spoilt"
    elif isinstance(value, pd.Index):
        value.name = "spoilt"
    elif isinstance(value, np.ndarray):
        value[...] = -1
    elif isinstance(value, tuple):
        for each in value:
            spoil(each)
    return None


VALUES = {
    "list": lambda: [3, 1],
    "nested list": lambda: [[1], [[2]], {"k": [3]}],
    "dict": lambda: {"a": 1},
    "nested dict": lambda: {"a": [1], "b": {"c": {}}},
    "set": lambda: {1, 2},
    "bytearray": lambda: bytearray(b"ab"),
    "tuple of lists": lambda: ([1], {"a": 2}),
    "DataFrame": lambda: pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    "Series": lambda: pd.Series([1, 2], name="s"),
    "Index": lambda: pd.Index([1, 2]),
    "array": lambda: np.arange(4),
    "masked array": lambda: np.ma.masked_array([1, 2], mask=[False, True]),
    "record array": lambda: np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)])["a"],
    "frames in a list": lambda: [pd.DataFrame({"a": [1]}), np.arange(2)],
    "frames in a dict": lambda: {"eu": pd.DataFrame({"a": [1]})},
    "OrderedDict": lambda: collections.OrderedDict(a=1),
    "defaultdict": lambda: collections.defaultdict(list, a=1),
    "Counter": lambda: collections.Counter("aab"),
    "deque": lambda: collections.deque([1, 2]),
}


def shown(value):
    extra = ""
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, pd.DataFrame):
            extra += repr((each.index.name, each.columns.name, each.attrs))
    return repr(value) + extra


@pytest.mark.parametrize("kind", VALUES)
def test_a_mutated_input_is_seen_by_nobody_else(kind):
    make = VALUES[kind]
    wanted = shown(make())
    made = step(make, name="make")
    constant, given = make(), make()
    look = step(lambda value: shown(value), name="look")

    assert (made >> [spoil, look, spoil.s(), look.s()]).call()[1::2] == [wanted, wanted]
    assert group(made, spoil.s(made), look.s(made)).call()[2] == wanted
    assert shown(group(made, spoil.s(made)).call()[0]) == wanted
    # A constant is part of the flow, which never changes.
    flow = whole.s(constant) >> [spoil, look]
    direct = group(spoil.s(constant), spoil.s([constant]), look.s(constant))
    for _ in range(2):
        assert flow.call()[1] == wanted
        assert direct.call()[2] == wanted
    mapped = spoil.map([constant, constant])
    mapped.call()
    # So are inputs and parameters the user's own.
    (group(spoil, spoil.s())).call(given)
    (param("p") >> spoil).call(params={"p": given})
    (param("p", given) >> spoil).call()
    assert shown(constant) == shown(given) == wanted


@pytest.mark.parametrize("kind", VALUES)
def test_gathered_and_mapped_values_are_ones_own_too(kind):
    make = VALUES[kind]
    wanted = shown(make())
    look_first = step(lambda values: shown(values[0]), name="look_first")
    made = step(make, name="make")
    assert ([made, 1] >> whole >> [spoil, look_first]).call()[1] == wanted
    assert (group(made, 1) >> [spoil, look_first]).call()[1] == wanted
    every = step(lambda _: make(), name="every").map([0, 1])
    assert (every >> [spoil, look_first]).call()[1] == wanted
    assert shown(group(every, every >> spoil).call()[0][0]) == wanted


def test_a_list_that_holds_itself_passes():
    ring: list = [1]
    ring.append(ring)
    assert (ring >> step(len)).call() == 2
    assert whole.s(ring).call()[1] is ring


def test_values_that_cannot_be_changed_are_not_copied():
    for value in ((1, "a", (2.5, None)), "text", 5, frozenset([1]), object(), pd.Timestamp(0)):
        assert whole.s(value).call() is value


def test_arrays_can_be_changed_in_place_even_if_they_came_read_only():
    frozen = np.arange(3)
    frozen.flags.writeable = False
    handed = whole.s(frozen).call()
    handed += 1
    assert frozen.tolist() == [0, 1, 2]
