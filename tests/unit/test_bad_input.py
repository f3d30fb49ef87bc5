"""What cannot mean anything is refused at once, with a name and an advice."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pandas as pd
import pytest

import nbflow
from nbflow import (
    CycleError,
    FlowError,
    IdempotencyError,
    NbflowError,
    ParamError,
    Retry,
    RunCancelledError,
    RunError,
    RunNotFoundError,
    RunTimeoutError,
    SignatureError,
    StoreError,
    TransferError,
    TryAgain,
    UnknownStepError,
    UnsupportedError,
    branch,
    chord,
    chunks,
    group,
    param,
    starmap,
    step,
    switch,
)
from nbflow.errors import did_you_mean, quoted

CALLS: list[str] = []


@step
def raw():
    CALLS.append("raw")
    return 1


@step
def inc(x):
    return x + 1


@step
def pair(left, right):
    return left, right


@step
def listing():
    return [1, 2]


@step
def same(x):
    return x


def boom(*_):
    raise KeyError("the user's own")


def none_taken():
    return True


def two_taken(left, right):
    return True


def a_keyword(x, *, key):
    return True


def refused(write, error, *words):
    """Tell that something raises, with these words in one bounded line."""
    with pytest.raises(error) as caught:
        write()
    message = str(caught.value)
    assert [each for each in words if each not in message] == [], message
    assert "\n" not in message
    assert len(message) < 400
    return caught.value


@pytest.mark.parametrize(
    "value",
    [5, "inc", None, 1.5, b"x", object(), np.arange(2), np.float64(1), pd.DataFrame(), True, ...],
)
def test_a_value_on_the_right_is_refused(value):
    for left in (raw, raw >> inc, param("p", 1)):
        with pytest.raises(FlowError, match="a value cannot flow into it.*a step, a function"):
            left >> value
    with pytest.raises((FlowError, TypeError)):
        5 >> (raw >> value)


def test_a_set_anywhere():
    for write in (
        lambda: {raw} >> inc,
        lambda: {1, 2} >> inc,
        lambda: raw >> {inc},
        lambda: raw >> [{inc}],
        lambda: group({raw, inc}),
        lambda: inc.s({raw}),
        lambda: inc.s([{"k": frozenset([raw])}]),
        lambda: inc.map({1}),
        lambda: nbflow.chain({raw}, inc),
        lambda: nbflow.chord({raw}, inc),
    ):
        with pytest.raises(FlowError, match="order.*list"):
            write()


def test_truth_is_refused_where_python_asks_for_it():
    flow = raw >> inc
    for ask in (
        lambda: bool(flow),
        lambda: not flow,
        lambda: flow and inc,
        lambda: inc or flow,
        lambda: 1 if flow else 2,
        lambda: any([flow]),
        lambda: [each for each in [1] if flow],
    ):
        with pytest.raises(SignatureError, match="neither true nor false"):
            ask()


def test_comparison_binds_tighter_than_one_thinks():
    # inc > 5 is asked of Python, which knows no order of steps.
    with pytest.raises(TypeError):
        raw >> inc > 5


@pytest.mark.parametrize("ask", [list, tuple, set, sum, sorted, max, dict, lambda f: [*f]])
def test_a_flow_cannot_be_gone_through(ask):
    for each in (raw, raw >> inc, group(raw, inc.s(1)), param("p", 1)):
        with pytest.raises(SignatureError, match="cannot be iterated"):
            ask(each)


def test_a_flow_cannot_be_unpacked_by_mistake():
    with pytest.raises(SignatureError, match="cannot be iterated"):
        left, right = group(raw, raw)
    with pytest.raises(SignatureError, match="cannot be iterated"):
        inc.s(*group(raw))
    with pytest.raises(TypeError):
        1 in raw  # noqa: B015


def test_a_call_of_a_flow_or_with_a_flow():
    with pytest.raises(TypeError):
        (raw >> inc)(1)


def test_nesting_too_deep_to_be_found():
    def nested(value, depth=5_000):
        return functools.reduce(lambda inner, _: [inner], range(depth), value)

    with pytest.raises(FlowError, match="nested too deep"):
        nested(raw) >> inc
    with pytest.raises(FlowError, match="nested too deep"):
        inc.s(nested(raw))
    ring: list = [raw]
    ring.append(ring)
    with pytest.raises(FlowError, match="nested too deep, or in itself"):
        ring >> inc
    deep = nested(1)
    assert (deep >> step(type)).call() is list


def test_moderate_nesting_is_fine():
    deep = functools.reduce(lambda inner, _: [inner], range(100), raw)
    value = (deep >> step(lambda x: x)).call()
    for _ in range(100):
        (value,) = value
    assert value == 1


# Options of steps

NO_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    True,
    "5",
    [5],
    b"5",
    10**400,
    pd.DataFrame({"a": [1]}),
]


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1, -0.5, 0.0, False])
def test_a_timeout_that_is_no_number_of_seconds(value):
    for write in (
        lambda: step(inc.fn, timeout=value),
        lambda: inc.options(timeout=value),
        lambda: inc.s(1).options(timeout=value),
    ):
        refused(write, FlowError, "'timeout' is ", "must be a positive and finite number of sec")


@pytest.mark.parametrize(
    "value",
    [*NO_NUMBERS[:-2], -1, 2.0, (3,), OSError, Retry, pd.DataFrame({"a": [1]}), lambda: 3],
)
def test_a_retry_that_is_neither_a_number_nor_a_policy(value):
    for write in (
        lambda: step(inc.fn, retry=value),
        lambda: inc.options(retry=value),
        lambda: (raw >> inc).options(retry=value),
    ):
        refused(write, FlowError, "'retry' is ", "how many more times to try", "Retry(attempts=4")


@pytest.mark.parametrize("name", ["attempts", "wait", "backoff", "max_wait"])
@pytest.mark.parametrize("value", [*NO_NUMBERS[:-2], -1, -0.5, None, pd.DataFrame({"a": [1]})])
def test_a_policy_of_what_are_no_numbers(name, value):
    refused(lambda: Retry(**{name: value}), FlowError, f"'{name}' of a Retry is ", "it must be")


def test_no_attempt_at_all():
    refused(lambda: Retry(attempts=0), FlowError, "'attempts' of a Retry is 0", "1 or more")


@pytest.mark.parametrize("delay", [*NO_NUMBERS, -1, -0.5])
def test_another_attempt_at_no_time(delay):
    refused(lambda: TryAgain(delay), FlowError, "the delay of TryAgain is ", "0 or more, or None")

    @step
    def asks():
        raise TryAgain(delay)

    refused(asks.s().call, FlowError, "the delay of TryAgain is ")


@pytest.mark.parametrize("value", ["", "  ", "\n", "a\0b", "\ud800", 5, True, ["a"], b"a"])
def test_a_lock_without_a_name(value):
    refused(lambda: inc.options(lock=value), FlowError, "'lock' is ", "must be a name", "warehouse")


@pytest.mark.parametrize(
    "value",
    ["thread", "Process", "", True, False, 1, ["process"], np.array([1, 2]), pd.DataFrame()],
)
def test_an_isolation_of_no_known_kind(value):
    refused(lambda: inc.options(isolation=value), FlowError, "'isolation' is ", "'process' or None")


@pytest.mark.parametrize("amount", [0, -1, math.nan, math.inf, True, "1", None, 10**400])
def test_resources_that_no_worker_can_have(amount):
    refused(
        lambda: inc.options(resources={"GPU": amount}),
        FlowError,
        "'resources' is {'GPU': ",
        "positive numbers",
    )


# Conditions


@pytest.mark.parametrize(
    "predicate",
    [5, "big", True, [bool], {}, inc >> inc, param("p", 1), pd.DataFrame(), (bool, 5)],
)
def test_a_condition_that_cannot_be_asked(predicate):
    for write in (
        lambda: step(inc.fn, when=predicate),
        lambda: inc.options(when=predicate),
        lambda: (inc >> inc).when(predicate),
    ):
        refused(write, FlowError, "'when' is ", "must be a function", "True or False")


def test_a_condition_that_yields_would_always_hold():
    def asked(x):
        yield x > 3

    refused(lambda: inc.options(when=asked), FlowError, "'when' is ", "must be a function")


@pytest.mark.parametrize(
    ("predicate", "problem"),
    [
        (none_taken, "'none_taken' of step 'inc' takes no positional argument, and gets 1"),
        (two_taken, "'two_taken' of step 'inc' lacks 'right'"),
        (a_keyword, "'a_keyword' of step 'inc' lacks 'key'"),
    ],
)
def test_a_condition_that_does_not_fit_what_flows_in(predicate, problem):
    guarded = inc.options(when=predicate)
    for write in (
        (raw >> guarded).call,
        (raw >> inc.s().when(predicate)).call,
        guarded.s(5).call,
        guarded.map([1]).call,
        lambda: guarded.s().call(5),
    ):
        CALLS.clear()
        refused(write, SignatureError, problem, "called with what flows into the step")
        assert CALLS == []


def test_a_condition_is_asked_with_all_that_flows_in():
    guarded = pair.options(when=two_taken)
    assert ((raw, 2) >> guarded).call() == (1, 2)
    assert ({"left": raw, "right": 2} >> guarded).call() == (1, 2)
    assert guarded.starmap([(1, 2)]).call() == [(1, 2)]
    assert starmap(guarded, listing >> step(lambda x: [(1, 2)]).s()).call() == [(1, 2)]
    assert step(lambda: 1, when=none_taken).call() == 1
    refused((raw >> guarded.s(2)).call, SignatureError, "'two_taken'", "lacks 'right'")
    refused(
        ({"left": raw, "wrong": 2} >> step(lambda **k: k, when=two_taken)).call,
        SignatureError,
        "has no parameter 'wrong'",
    )


@pytest.mark.parametrize(
    "flow",
    [
        lambda: raw >> branch(boom, inc, inc),
        lambda: raw >> branch(step(boom), inc),
        lambda: raw >> switch(boom, {1: inc}, default=inc),
        lambda: raw >> inc.options(when=boom),
        lambda: (raw >> inc).when(boom) >> inc,
        lambda: inc.options(when=boom).map([1, 2]),
        lambda: inc.map([1, 2], key=boom),
        lambda: listing >> inc.map(key=boom),
    ],
)
def test_what_a_function_of_the_user_raises_is_theirs(flow):
    with pytest.raises(KeyError) as caught:
        flow().call()
    assert caught.value.args == ("the user's own",)
    assert caught.traceback[-1].name == "boom"


def test_a_key_that_raises_says_for_which_item():
    with pytest.raises(KeyError) as caught:
        inc.map(["tea"], key=boom).call()
    assert caught.value.__notes__ == ["raised by the key= of the map of 'inc', of 'tea'"]


class Undecided:
    def __bool__(self):
        raise OSError("ask me later")

    def __eq__(self, other):
        raise OSError("not comparable")

    __hash__ = None


@pytest.mark.parametrize("answer", [pd.DataFrame({"a": [1, 2]}), np.arange(2), Undecided()])
def test_an_answer_that_is_neither_true_nor_false(answer):
    judge = step(lambda x: answer, name="judge")
    kind = type(answer).__name__
    for flow in (raw >> branch(judge, inc, 0), raw >> inc.options(when=judge)):
        refused(flow.call, FlowError, "'judge' returned a", kind, "return a bool, such as")
    refused((raw >> switch(judge, {1: inc})).call, FlowError, "'judge' returned a", kind)


# Branches


@pytest.mark.parametrize("decider", [5, "big", None, True, [len], {}, pd.DataFrame(), np.arange(2)])
def test_nobody_decides(decider):
    advice = "it must be a function or a step of the value that flows in"
    refused(lambda: branch(decider, inc), FlowError, "the predicate of a branch is ", advice)
    refused(lambda: switch(decider, {1: inc}), FlowError, "the selector of a switch is ", advice)


@pytest.mark.parametrize(
    "decider", [group(inc, inc), inc.map([1]), param("p"), branch(bool, inc, inc)]
)
def test_several_values_decide_nothing(decider):
    for write in (lambda: branch(decider, inc), lambda: switch(decider, {1: inc})):
        refused(write, FlowError, "does not end in one step, so it cannot decide")


def test_a_generator_decides_nothing():
    def judge(x):
        yield x

    refused(lambda: branch(judge, inc), FlowError, "'judge' is a generator function")
    lazy = raw >> branch(lambda x: (y for y in [x]), inc)
    refused(lazy.call, TransferError, "returned a generator")


@pytest.mark.parametrize("cases", [{}, [], None, 5, "ab", [("a", inc)], {1, 2}, inc])
def test_a_switch_without_cases(cases):
    refused(
        lambda: switch(same, cases),
        FlowError,
        "the cases of a switch are ",
        "must be a dict",
        "one case at least",
    )


def test_a_case_that_cannot_be_a_key_is_pythons_own_error():
    with pytest.raises(TypeError, match="unhashable|cannot use 'list'"):
        switch(same, {[1]: inc})


@pytest.mark.parametrize("case", [math.nan, np.float64("nan")])
def test_a_case_that_nothing_equals(case):
    refused(lambda: switch(same, {1: inc, case: inc}), FlowError, "NaN", "never taken", "'missing'")


@pytest.mark.parametrize(
    ("value", "shown"),
    [("mars", "'mars'"), (None, "None"), ([1], "[1]"), ({"eu": 1}, "{'eu': 1}"), (b"eu", "b'eu'")],
)
def test_a_value_that_is_no_case(value, shown):
    region = step(lambda x: value, name="region")
    flow = raw >> switch(region, {"eu": inc, 2: inc})
    refused(
        flow.call,
        FlowError,
        f"the selector 'region' returned {shown}, which is none of the cases 'eu', 2",
        "add the case, or a default=",
    )
    assert (raw >> switch(region, {"eu": inc}, default=inc)).call() == 2


def test_of_many_cases_some_are_listed():
    message = str(
        refused((raw >> switch(lambda x: -1, dict.fromkeys(range(99), inc))).call, FlowError)
    )
    assert "0, 1, 2, 3, 4, 5, 6, 7, …; add the case" in message


def test_no_arm_where_there_must_be_one():
    refused(lambda: branch(bool, None, inc), FlowError, "is None", "turn the predicate round")
    with pytest.raises(TypeError, match="then"):
        branch(bool)
    for write in (lambda: branch(bool, {inc}), lambda: switch(same, {1: [{inc}]})):
        refused(write, FlowError, "a set has no order", "list")


@pytest.mark.parametrize(
    ("arm", "problem"),
    [
        (pair, "'pair' lacks 'right'"),
        (pair >> inc, "'pair' lacks 'right'"),
        ([inc, pair], "'pair' lacks 'right'"),
        ({"a": (pair,)}, "'pair' lacks 'right'"),
        (step(a_keyword), "'a_keyword' lacks 'key'"),
        (step(lambda left, middle, right: 0, name="three").s(1), "'three' lacks 'right'"),
    ],
)
def test_an_arm_that_does_not_fit_what_flows_in(arm, problem):
    for write in (
        lambda: raw >> branch(bool, arm),
        lambda: raw >> branch(bool, 0, arm),
        lambda: raw >> switch(same, {1: inc, 2: arm}),
        lambda: raw >> switch(same, {1: inc}, default=arm),
    ):
        refused(write, SignatureError, problem)


def test_a_decider_that_does_not_fit_what_flows_in():
    for decider, problem in ((two_taken, "lacks 'right'"), (a_keyword, "lacks 'key'")):
        refused(lambda decider=decider: raw >> branch(decider, inc), SignatureError, problem)
    refused(lambda: raw >> branch(none_taken, inc), SignatureError, "'none_taken' takes no pos")
    refused(lambda: branch(two_taken, inc).call(1), SignatureError, "lacks 'right'")


# Numbers of elements

NO_COUNTS = [0, -1, True, False, 1.5, 2.0, "2", math.nan, math.inf, [1], pd.DataFrame({"a": [1]})]


@pytest.mark.parametrize("value", NO_COUNTS)
def test_a_number_that_counts_nothing(value):
    for name, write in (
        ("max_concurrency", lambda: group(raw, max_concurrency=value)),
        ("max_concurrency", lambda: inc.map([1], max_concurrency=value)),
        ("max_concurrency", lambda: inc.map(max_concurrency=value)),
        ("max_concurrency", lambda: (inc >> inc).map([1], max_concurrency=value)),
        ("max_concurrency", lambda: pair.starmap([(1, 2)], max_concurrency=value)),
        ("chunk_size", lambda: inc.map([1], chunk_size=value)),
        ("chunk_size", lambda: inc.map(pd.DataFrame({"a": [1]}), chunk_size=value)),
        ("chunk_size", lambda: chunks(inc, [1], 1, chunk_size=value)),
        ("the size of a chunk", lambda: chunks(inc, [1], value)),
        ("split_every", lambda: step(sum).reduce(split_every=value)),
    ):
        refused(write, FlowError, f"{name} is ", "it must be a whole number of at least ")


def test_a_tree_needs_two_branches():
    for value in (1, None):
        refused(
            lambda value=value: step(sum).reduce(value), FlowError, "whole number of at least 2"
        )


# Maps


@pytest.mark.parametrize(
    ("items", "advice"),
    [
        (5, "'5', of type int"),
        (1.5, "of type float"),
        ("abc", "of type str; for one element put it into a list, for its lines write .splitlines"),
        (b"abc", "of type bytes; for one element put it into a list"),
        ({"a": 1}, "of type dict; write list(the_dict.items()) for pairs"),
        (None, "of type NoneType"),
        (np.array(3), "of type ndarray"),
        (object(), "of type object"),
    ],
)
def test_a_map_over_what_is_no_list(items, advice):
    given = step(lambda: items, name="given")
    writes = [
        (given >> inc.map()).call,
        (given >> pair.starmap()).call,
        (given >> chunks(same, None, 2)).call,
        (given >> (inc >> inc).map()).call,
        (given >> step(sum).reduce()).call,
        lambda: inc.map().call(items),
    ]
    if items is not None:
        writes.append(lambda: inc.map(items))
    if not isinstance(items, dict):
        writes.append(lambda: items >> inc.map())
    for write in writes:
        refused(write, FlowError, "a map goes over a list", "cannot go over ", advice)


def test_a_map_over_a_dict_or_a_set_of_flows():
    refused(lambda: {"a": raw} >> inc.map(), SignatureError, "a dict on the left of a map")
    refused(lambda: () >> inc.map(), SignatureError, "empty tuple on the left of a map")
    given = step(lambda: {1, 2}, name="given")
    refused((given >> inc.map()).call, FlowError, "a set has no order", "give a list")


class Endless:
    def __iter__(self):
        return itertools.count()


@pytest.mark.parametrize("endless", [itertools.count, Endless])
def test_what_has_no_end_is_not_read_for_ever(endless):
    for write in (
        lambda: inc.map(endless()),
        lambda: pair.starmap(endless()),
        lambda: chunks(same, endless(), 10),
        lambda: group(endless()),
        lambda: chord(endless(), same),
        lambda: inc.map().call(endless()),
        (step(endless) >> inc.map()).call,
    ):
        refused(write, FlowError, endless.__name__, "more than 1,000,000 elements", "islice")


@pytest.mark.parametrize("items", [[1], ["ab"], [{"a": 1}], [None], [np.arange(2)], [(1, 2), 3]])
def test_a_starmap_over_what_are_no_tuples(items):
    refused(
        lambda: pair.starmap(items),
        SignatureError,
        "starmap of 'pair' got ",
        "a tuple of arguments",
    )
    given = step(lambda: items, name="given")
    refused((given >> pair.starmap()).call, SignatureError, "a tuple of arguments")


def test_a_starmap_over_tuples_that_do_not_fit():
    refused(lambda: pair.starmap([(1, 2), (1,)]), SignatureError, "tuples of [1, 2] arguments")
    refused(lambda: pair.starmap([(1, 2, 3)]), SignatureError, "takes 2 positional", "gets 3")
    refused(pair.starmap([(1,)]).call, SignatureError, "'pair' lacks 'right'")


# Options of maps


@pytest.mark.parametrize(
    "key",
    [5, True, "ab", b"ab", {"a": 1}, {"a", "b"}, {}, raw >> inc, param("p", "a"), 1.5],
)
def test_a_key_that_names_nothing(key):
    for write in (
        lambda: inc.map([1, 2], key=key),
        lambda: inc.map(key=key),
        lambda: pair.starmap([(1, 2)], key=key),
        lambda: chunks(inc, [1], 1, key=key),
    ):
        refused(write, FlowError, "the key of the map of '", "a function of the item, or a list")


@pytest.mark.parametrize(
    "name", ["", "  ", "\t", "a\0b", "\ud800", None, True, b"a", object(), len, "a".upper]
)
def test_a_key_that_cannot_be_read(name):
    words = "of the map of 'inc' is ", "it must be a text to be read, a number or a date"
    refused(lambda: inc.map([1, 2], key=["fine", name]), FlowError, "the key of element 1", *words)
    refused(lambda: inc.map(key=[name]), FlowError, "the key of element 0", *words)
    for flow in (
        inc.map([7], key=lambda x: name),
        [7] >> inc.map(key=lambda x: name),
        step(lambda: [7], name="late") >> inc.map(key=lambda x: name),
    ):
        refused(flow.call, FlowError, "the key of the item 7 ", *words)


def test_two_elements_with_one_key():
    words = "two elements of the map of 'inc' have the key 'a', numbers 0 and 2", "of its own"
    refused(lambda: inc.map([1, 2, 3], key=["a", "b", "a"]), FlowError, *words)
    refused(lambda: inc.map(key=["a", "b", "a"]), FlowError, *words)
    refused(inc.map([1, 2, 3], key=lambda x: "ab"[x % 2 - 1]).call, FlowError, *words)
    late = step(lambda: ["a", "b", "a"], name="late") >> inc.map(key=str)
    refused(late.call, FlowError, *words)
    refused(lambda: inc.map([1, 2], key=[1, "1"]), FlowError, "have the key '1'")


def test_more_or_fewer_keys_than_elements():
    refused(lambda: inc.map([1, 2], key=["a"]), FlowError, "'inc' has 1 keys for 2 elements")
    refused(lambda: inc.map([], key=["a"]), FlowError, "more than 0 keys for 0 elements")
    for keys in ("abc", itertools.count(1)):
        keys = iter(keys)
        refused(lambda: inc.map([1, 2], key=keys), FlowError, "more than 2 keys for 2 elements")
    refused((listing >> inc.map(key=["a"])).call, FlowError, "'inc' has 1 keys for 2 elements")
    refused(lambda: ([1, 2] >> inc.map(key=["a"])).call(), FlowError, "has 1 keys for 2 elements")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (none_taken, "takes no positional argument, and gets 1"),
        (two_taken, "lacks 'right'"),
        (a_keyword, "lacks 'key'"),
    ],
)
def test_a_key_function_of_the_wrong_arity(key, problem):
    for write in (lambda: inc.map([1], key=key), lambda: inc.map(key=key)):
        refused(
            write, SignatureError, "the key function of the map of 'inc'", problem, "with one item"
        )


@pytest.mark.parametrize(
    "value", ["ignore", "", 1, True, False, len, [], np.array(["collect"] * 2)]
)
def test_a_map_treats_failures_in_no_other_way(value):
    error = refused(
        lambda: inc.map([1], on_error=value),
        FlowError,
        "on_error of the map of 'inc' is ",
        "must be 'collect' or 'raise'",
    )
    assert ("flow.on_error(…)" in str(error)) is callable(value)


@pytest.mark.parametrize(
    ("option", "advice"),
    [
        ("max_concurency", "did you mean 'max_concurrency'?"),
        ("keys", "did you mean 'key'?"),
        ("retry", "it is an option of the step: write .options(retry=…) before .map()"),
        ("timeout", "it is an option of the step"),
        ("size", "there are 'chunk_size'"),
        ("spread", "there are 'chunk_size'"),
    ],
)
def test_an_option_that_no_map_has(option, advice):
    for write in (
        lambda: inc.map([1], **{option: 1}),
        lambda: inc.s().map(**{option: 1}),
        lambda: inc.starmap([(1,)], **{option: 1}),
        lambda: (inc >> inc).map([1], **{option: 1}),
    ):
        refused(write, FlowError, "the map of 'inc", f"has no option '{option}'", advice)


# Handlers


@pytest.mark.parametrize("handler", [5, None, "collect", [print], {"a": print}, (print,), True])
def test_a_handler_that_cannot_be_called(handler):
    error = refused(
        lambda: (raw >> inc).on_error(handler),
        FlowError,
        "the handler of on_error is ",
        "a function, step or flow of one argument, the list of failures",
    )
    assert ('.map(on_error="collect")' in str(error)) is isinstance(handler, str)


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (none_taken, "'none_taken' takes no positional argument"),
        (two_taken, "'two_taken' lacks 'right'"),
        (a_keyword, "'a_keyword' lacks 'key'"),
        (step(none_taken), "'none_taken' takes no positional argument"),
        (pair, "'pair' lacks 'right'"),
        (pair >> inc, "'pair' lacks 'right'"),
        (pair.s(1, 2), "'pair' takes 2 positional"),
        (group(inc, pair), "'pair' lacks 'right'"),
        (raw >> inc, "'raw' takes no positional argument"),
    ],
)
def test_a_handler_of_the_wrong_arity(handler, problem):
    refused(
        lambda: (raw >> inc).on_error(handler),
        SignatureError,
        "the handler of on_error is called with one argument, the list of failures",
        problem,
    )


def test_a_handler_has_no_parameters_of_the_run():
    told = pair.s(param("address"))
    refused(lambda: raw.s().on_error(told), ParamError, "needs the parameter 'address'", "default")
    with_default = pair.s(param("address", "me"))
    assert raw.s().on_error(with_default).call() == 1


class Nasty:
    def __repr__(self):
        return "<script>\n" * 1000

    __str__ = __repr__


def test_messages_are_one_bounded_line():
    for write in (
        lambda: raw >> Nasty(),
        lambda: step(Nasty()),
        lambda: inc.map(Nasty()),
        lambda: raw.s()["x\n" * 999],
        lambda: nbflow.starmap(inc, [Nasty()]),
        lambda: inc.s(1).call(params={"y\n" * 999: 1}),
        lambda: step(inc.fn, **{"z\n" * 999: 1}),
        lambda: inc.options(timeout=Nasty()),
        lambda: inc.options(retry=Nasty()),
        lambda: inc.options(lock=Nasty()),
        lambda: inc.options(tags=Nasty()),
        lambda: Retry(on=Nasty()),
        lambda: TryAgain(Nasty()),
        lambda: group(raw, max_concurrency=Nasty()),
        lambda: inc.map([1], key=Nasty()),
        lambda: inc.map([1], on_error=Nasty()),
        lambda: inc.map([1], **{"x\n" * 999: 1}),
        lambda: inc.s(1).on_error(Nasty()),
        lambda: branch(Nasty(), inc),
        lambda: switch(same, Nasty()),
        (raw >> switch(lambda x: Nasty(), {"y\n" * 999: inc})).call,
        (step(Nasty) >> inc.map()).call,
    ):
        with pytest.raises(NbflowError) as caught:
            write()
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 400


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (FlowError, ValueError),
        (SignatureError, TypeError),
        (CycleError, ValueError),
        (UnknownStepError, KeyError),
        (ParamError, ValueError),
        (UnsupportedError, NotImplementedError),
        (RunError, RuntimeError),
        (RunTimeoutError, TimeoutError),
        (RunCancelledError, RuntimeError),
        (StoreError, RuntimeError),
        (RunNotFoundError, KeyError),
        (IdempotencyError, ValueError),
    ],
)
def test_every_error_is_also_the_matching_builtin(error, builtin):
    assert issubclass(error, NbflowError)
    assert issubclass(error, builtin)
    assert str(error("what happened")) == "what happened"
    assert error.__doc__


def test_quoted_is_one_bounded_line():
    assert quoted("a'b") == '"a\'b"'
    assert quoted("a\nb\0") == r"'a\nb\x00'"
    assert len(quoted("x" * 3000)) == 60
    assert quoted("x" * 3000).endswith("…'")
    assert quoted(None) == "'None'"


def test_did_you_mean():
    assert did_you_mean("claen", ["clean", "load"]) == "did you mean 'clean'?"
    assert did_you_mean("x", []) == "there are none"
    assert did_you_mean("zzz", [f"name {n}" for n in range(10)]).endswith("'name 7' and 2 more")
    assert did_you_mean(5, ["clean"]) == "there are 'clean'"
