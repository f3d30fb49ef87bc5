"""Maps over what is known only later: their elements, their keys, and what joins after them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbflow import Retry, chunks, context, group, param, starmap, step

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


@step
def inc(x):
    CALLS.append(x)
    return x + 1


@step
def double(x):
    return 2 * x


@step
def upto(n):
    return list(range(n))


@step
def seen(*args, **kwargs):
    """Tell exactly what was received."""
    return (args, kwargs) if kwargs else args


@step
def total(values):
    return sum(values)


@step
def inverse(x):
    CALLS.append(x)
    return 12 // x


FLOWS = {
    "a step": (lambda: upto >> inc.map(), [[], [1], [1, 2], [1, 2, 3]]),
    "a placed call": (lambda: upto >> inc.s().map(), [[], [1], [1, 2], [1, 2, 3]]),
    "a chain": (lambda: upto >> (inc >> double).map(), [[], [2], [2, 4], [2, 4, 6]]),
    "two maps": (lambda: upto >> inc.map() >> double.map(), [[], [2], [2, 4], [2, 4, 6]]),
    "a map and its sum": (lambda: upto >> inc.map() >> total, [0, 1, 3, 6]),
    "a fan out in each": (
        lambda: upto >> (inc >> [double, str]).map(),
        [[], [[2, "1"]], [[2, "1"], [4, "2"]]],
    ),
    "a fan in in each": (lambda: upto >> ([inc, double] >> total).map(), [[], [1], [1, 4]]),
    "a tuple in each": (lambda: upto >> ((inc, 5) >> seen).map(), [[], [(1, 5)], [(1, 5), (2, 5)]]),
    "a dict in each": (lambda: upto >> ({"k": inc} >> seen).map(), [[], [((), {"k": 1})]]),
    "a group in each": (lambda: upto >> group(inc, double).map(), [[], [[1, 0]], [[1, 0], [2, 2]]]),
    "a map in each": (lambda: upto >> (upto >> inc.map()).map(), [[], [[]], [[], [1]]]),
    "the sum of a map in each": (lambda: upto >> (upto >> inc.map() >> total).map(), [[], [0]]),
    "maps three deep": (
        lambda: upto >> (upto >> (upto >> inc.map() >> total).map() >> total).map() >> total,
        [0, 0, 0, 1, 5],
    ),
    "arguments of the call": (lambda: upto >> seen.s(8, k=9).map(), [[], [((0, 8), {"k": 9})]]),
    "an argument that is a step": (lambda: upto >> seen.s(double.s(4)).map(), [[], [(0, 8)]]),
    "tuples": (
        lambda: upto >> step(lambda ns: [(n, n + 1) for n in ns], name="pairs") >> seen.starmap(),
        [[], [(0, 1)], [(0, 1), (1, 2)]],
    ),
    "batches": (
        lambda: upto >> chunks(seen, None, 2),
        [[], [([0],)], [([0, 1],)], [([0, 1],), ([2],)]],
    ),
    "batches of a flow": (lambda: upto >> chunks(total >> double, None, 2), [[], [0], [2], [2, 4]]),
    "a tree": (lambda: upto >> total.reduce(split_every=2), [0, 0, 1, 3, 6, 10]),
    "a tree over a map": (
        lambda: upto >> inc.map() >> total.reduce(split_every=3),
        [0, 1, 3, 6, 10],
    ),
    "a tree in each": (
        lambda: upto >> (upto >> total.reduce(split_every=2)).map(),
        [[], [0], [0, 0]],
    ),
    "several joins": (lambda: upto >> inc.map() >> [total, len], [[0, 0], [1, 1], [3, 2]]),
}


@pytest.mark.parametrize(
    ("name", "n", "value"),
    [(name, n, value) for name, (_, values) in FLOWS.items() for n, value in enumerate(values)],
)
def test_a_map_over_what_comes_later(name, n, value):
    write, _ = FLOWS[name]
    assert (n >> write()).call() == value
    assert write().call(n) == value
    assert (step(lambda: n, name="n") >> write()).call() == value
    assert (write().map([n, n])).call() == [value, value]


@pytest.mark.parametrize(
    "value",
    [
        [],
        [1],
        [1, 2, 3],
        (1, 2),
        range(3),
        np.arange(3),
        pd.Series([4, 5], index=["b", "a"]),
        pd.Index([4, 5]),
        {"a": 1}.keys(),
        {"a": 1}.items(),
        [None, 0, ""],
        [[], [1]],
        [{"a": 1}],
    ],
)
def test_anything_with_an_order_is_gone_through(value):
    listed = list(value)
    later = step(lambda: value, name="later")
    for flow in (later >> seen.map(), seen.map(later), later >> seen.s().map() >> list):
        assert flow.call() == [(each,) for each in listed]
    assert seen.map().call(value) == [(each,) for each in listed]


@pytest.mark.parametrize(("items", "sums"), [([3, 4], [3, 4]), ([], [])])
def test_items_may_be_a_parameter(items, sums):
    flow = param("items", [7]) >> (inc >> double).map() >> step(list)
    assert flow.call() == [16]
    assert flow.call(params={"items": items}) == [2 * (each + 1) for each in sums]


@pytest.mark.parametrize(
    ("write", "values"),
    [
        (lambda: (upto.s(2), 9) >> seen.map(), [(0, 9), (1, 9)]),
        (lambda: (upto.s(2), 9) >> seen.s(8).map(), [(0, 9, 8), (1, 9, 8)]),
        (lambda: ([5, 6], upto.s(1)) >> seen.map(), [(5, [0]), (6, [0])]),
        (lambda: 9 >> seen.map(upto.s(2)), [(9, 0), (9, 1)]),
        (lambda: 9 >> seen.map([5]), [(9, 5)]),
        (lambda: upto.s(2) >> (seen.map([5, 6])), [([0, 1], 5), ([0, 1], 6)]),
        (lambda: upto.s(2) >> seen.si(4) >> seen.s().map(), [(4,)]),
    ],
)
def test_what_each_element_gets_beside_its_item(write, values):
    assert write().call() == values


def test_brackets_around_a_map_do_not_matter():
    assert (3 >> (upto >> inc.map())).call() == ((3 >> upto) >> inc.map()).call() == [1, 2, 3]
    assert (3 >> (upto >> (inc.map() >> total))).call() == 6
    assert (3 >> inc.map(upto)).call() == [1, 2, 3]
    assert (2 >> (upto >> (upto >> inc.map()).map())).call() == [[], [1]]
    assert (2 >> inc.map(upto)) == (2 >> upto >> inc.map())


def test_each_element_is_computed_once_and_in_order():
    flow = 5 >> upto >> inc.map() >> [total, len, list]
    assert flow.call() == [15, 5, [1, 2, 3, 4, 5]]
    assert CALLS == [0, 1, 2, 3, 4]


def test_over_nothing_nothing_is_called():
    later = step(list, name="later").s()
    for flow in (later >> inc.map(), later >> inc.starmap(), later >> chunks(inc, None, 3)):
        assert (flow >> seen).call() == ([],)
        assert (flow >> len).call() == 0
    assert CALLS == []


def test_an_element_changes_its_item_in_private():
    @step
    def grow(items):
        items.append(0)
        return len(items)

    shared = [1]
    later = step(lambda: [shared, shared], name="later")
    assert (later >> (grow >> inc).map()).call() == [3, 3]
    assert shared == [1]


# Frames


@pytest.mark.parametrize("rows", [0, 1, 5, 16, 17, 100])
def test_a_frame_that_comes_later_is_cut_as_one_that_is_given(rows):
    frame = pd.DataFrame({"a": range(rows), "b": "x"}, index=range(rows, 0, -1))
    load, whole = step(lambda: frame, name="load"), step(lambda part: part, name="whole")
    for options in ({}, {"chunk_size": 1}, {"chunk_size": 7}, {"chunk_size": 1000}):
        given = whole.map(frame, **options).call()
        for flow in (load >> whole.map(**options), whole.map(load, **options)):
            parts = flow.call()
            assert [len(each) for each in parts] == [len(each) for each in given]
            assert all(part.equals(same) for part, same in zip(parts, given, strict=True))
            assert (pd.concat(parts) if parts else frame).equals(frame)
        assert list(map(len, whole.map(**options).call(frame))) == list(map(len, given))


@pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (99, [5])])
def test_batches_of_rows(size, lengths):
    frame = pd.DataFrame({"a": range(5)})
    load = step(lambda: frame, name="load")
    for flow in (
        chunks(len, frame, size),
        load >> chunks(len, None, size),
        chunks(len, load, size),
    ):
        assert flow.call() == lengths
    assert chunks(len, None, size).call(frame) == lengths


# Batches, tuples and trees


@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("items", [[], [7], [1, 2, 3, 4]])
def test_batches_are_the_same_whenever_the_items_come(items, size):
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    later = step(lambda: items, name="later")
    whole = step(lambda batch: batch, name="whole")
    for flow in (
        chunks(whole, items, size),
        chunks(whole, iter(items), size),
        chunks(whole, [step(abs).s(each) for each in items], size),
        chunks(whole, later, size),
        later >> chunks(whole, None, size),
        items >> chunks(whole, None, size),
    ):
        assert flow.call() == batches
    assert chunks(whole, None, size).call(items) == batches


@pytest.mark.parametrize("tuples", [[], [(1,)], [(1, 2), (3, 4)], [[1, 2]], [(1, 2), (3,), ()]])
def test_tuples_that_come_later_spread(tuples):
    later = step(lambda: tuples, name="later")
    for flow in (starmap(seen, later), later >> seen.starmap(), later >> (seen >> list).starmap()):
        assert list(map(tuple, flow.call())) == list(map(tuple, tuples))


@pytest.mark.parametrize(
    ("n", "every", "sizes"),
    [
        (0, 2, [0]),
        (1, 2, [1]),
        (2, 2, [2]),
        (3, 2, [2, 1, 2]),
        (4, 2, [2, 2, 2]),
        (9, 3, [3, 3, 3, 3]),
        (10, 3, [3, 3, 3, 1, 3, 1, 2]),
        (8, 8, [8]),
        (9, 8, [8, 1, 2]),
    ],
)
def test_a_tree_never_gets_more_at_once_than_it_is_wide(n, every, sizes):
    @step
    def counted(values):
        CALLS.append(len(values))
        return sum(values)

    assert (n >> upto >> counted.reduce(split_every=every)).call() == sum(range(n))
    assert CALLS == sizes


def test_a_tree_keeps_the_order():
    joined = step("".join, name="joined")
    assert (list("abcdefghij") >> joined.reduce(split_every=3)).call() == "abcdefghij"
    frames = [pd.DataFrame({"a": [n]}) for n in range(5)]
    merged = (frames >> step(pd.concat).reduce(split_every=2)).call()
    assert merged["a"].tolist() == [0, 1, 2, 3, 4]


def test_a_tree_takes_further_arguments_to_every_call():
    @step
    def largest(values, count):
        return sorted(values)[-count:]

    flat = step(lambda values, by: sum(values) + by, name="flat")
    assert (([1, 2, 3], 10) >> flat.reduce(split_every=2)).call() == 36
    assert (([3, 1, 2], 2) >> largest.reduce(split_every=8)).call() == [2, 3]


# Keys and where an element knows itself to be


@step
def whereabouts(x):
    here = context()
    return here.step, here.element, here.attempt


@pytest.mark.parametrize(
    ("options", "elements"),
    [
        ({}, [0, 1]),
        ({"key": str.upper}, ["A", "B"]),
        ({"key": ["x", "y"]}, ["x", "y"]),
        ({"key": lambda x: ("eu", x)}, ["('eu', 'a')", "('eu', 'b')"]),
        ({"key": [pd.Timestamp(2013, 1, 1).date(), 2.5]}, ["2013-01-01", "2.5"]),
    ],
)
def test_an_element_is_called_by_its_key(options, elements):
    later = step(lambda: ["a", "b"], name="later")
    for flow in (
        whereabouts.map(["a", "b"], **options),
        later >> whereabouts.map(**options),
        later >> (seen >> (lambda args: args[0]) >> whereabouts).map(**options),
    ):
        assert flow.call() == [("whereabouts", each, 1) for each in elements]


def test_a_numeric_key_is_as_good_as_a_number():
    [(_, element, _)] = whereabouts.map(["a"], key=[2013]).call()
    assert element == 2013


def test_elements_of_maps_in_maps_are_called_by_both_keys():
    flow = upto >> (upto >> whereabouts.map()).map(key=lambda n: f"n{n}")
    assert [[each[1] for each in row] for row in flow.call(3)] == [
        [],
        ["n1/0"],
        ["n2/0", "n2/1"],
    ]


# Failures put aside


FAILING = {
    "some": ([1, 0, 3], [12, 4]),
    "all": ([0, 0], []),
    "none": ([1, 2], [12, 6]),
    "nothing there": ([], []),
}


@pytest.mark.parametrize("items", FAILING)
def test_what_fails_is_put_aside_and_the_rest_goes_on(items):
    given, kept = FAILING[items]
    later = step(lambda: given, name="later")
    pairs = [(each,) for each in given]
    for flow in (
        inverse.map(given, on_error="collect"),
        later >> inverse.map(on_error="collect"),
        inverse.starmap(pairs, on_error="collect"),
        later >> (inverse >> inc >> (lambda x: x - 1)).map(on_error="collect"),
        later >> (double >> (lambda x: x // 2) >> inverse).map(on_error="collect"),
        chunks(lambda xs: 12 // xs[0], given, 1, on_error="collect"),
    ):
        assert flow.call() == kept
        assert (flow >> seen).call() == (kept,)
        assert (flow >> [total, len]).call() == [sum(kept), len(kept)]


@pytest.mark.parametrize("items", ["some", "all"])
@pytest.mark.parametrize("options", [{}, {"on_error": "raise"}, {"on_error": None}])
def test_without_that_the_first_failure_is_raised(items, options):
    given, _ = FAILING[items]
    with pytest.raises(ZeroDivisionError):
        (step(lambda: given, name="later") >> inverse.map(**options) >> seen).call()
    assert CALLS == given[: given.index(0) + 1]


def test_a_failing_element_of_an_inner_map_is_aside_where_it_is_collected():
    rows = [[1, 0], [2], [0]]
    inner = inverse.map(on_error="collect") >> seen
    assert inner.map(rows).call() == [([12],), ([6],), ([],)]
    outer = (inverse.map() >> seen).map(rows, on_error="collect")
    assert outer.call() == [([6],)]
    both = (inverse.map(on_error="collect") >> total >> inverse).map(rows, on_error="collect")
    assert both.call() == [1, 2]


def test_an_element_is_put_aside_only_when_its_attempts_are_used_up():
    @step(retry=Retry(attempts=2, wait=0))
    def second_time(x):
        CALLS.append(x)
        if context().attempt < x:
            raise OSError(x)
        return x

    assert second_time.map([1, 2, 3], on_error="collect").call() == [1, 2]
    assert CALLS == [1, 2, 2, 3, 3]


def test_handlers_hear_of_failures_that_are_raised_and_not_of_those_put_aside():
    told = []
    collected = inverse.map([1, 0], on_error="collect").on_error(told.append)
    assert (collected.call(), told) == ([12], [])
    with pytest.raises(ZeroDivisionError):
        inverse.map([1, 0], key=["a", "b"]).on_error(told.append).call()
    [[failure]] = told
    assert (failure.step, failure.element, failure.attempts) == ("inverse", "b", 1)


def test_an_interrupt_is_never_put_aside():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step(interrupted).map([1], on_error="collect").call()


def test_elements_that_were_skipped_are_missing_and_not_aside():
    big = double.options(when=lambda x: x > 1)
    assert (big.map([1, 2, 3]) >> seen).call() == ([4, 6],)
    assert (big.map([0, 1]) >> seen).call() is None
    assert (big.map([0, 1], on_error="collect") >> seen).call() is None
    assert inc.map([2 >> big, 1 >> big, 7], key=str).call() == [5, 8]
