"""The functional forms give the same values as the operators."""

from __future__ import annotations

import functools
from collections import OrderedDict, deque

import numpy as np
import pandas as pd
import pytest

from nbflow import FlowError, SignatureError, chain, chord, chunks, group, param, starmap, step

CALLS: list[object] = []


@pytest.fixture(autouse=True)
def no_calls():
    CALLS.clear()


@step
def raw():
    CALLS.append("raw")
    return 1


@step
def inc(x):
    return x + 1


@step
def whole(x):
    CALLS.append(x)
    return x


@step
def pair(left, right=0):
    return left, right


class Model:
    def __call__(self, x):
        return ("model", x)


# chain


def test_chain_is_the_operator():
    assert chain(raw, inc, [inc, whole]) == raw >> inc >> [inc, whole]
    assert chain(5, inc).call() == 6
    assert chain([raw, 1], whole, len).call() == 2
    assert chain((1, 2), pair).call() == (1, 2)
    assert chain({"right": 2}, pair.s(1)).call() == (1, 2)
    assert chain(raw).call() == 1
    assert chain(inc, inc).call(1) == 3
    assert chain([], whole).call() == []


def test_chain_takes_functions_as_its_first_part():
    assert chain(str.upper, len).call("abc") == 3
    assert chain(np.sum, int).call([1, 2]) == 3
    assert chain(np.sqrt, int).call(9.0) == 3
    assert chain(functools.partial(pow, 2), str).call(3) == "8"
    assert chain(functools.lru_cache(abs), str).call(-3) == "3"
    assert chain([].append, str).call(1) == "None"


def test_an_object_that_can_be_called_is_a_value_on_the_left_and_a_step_on_the_right():
    model = Model()
    assert (model >> whole).call() is model
    assert (4 >> step(inc.fn) >> model).call() == ("model", 5)
    assert (int >> whole).call() is int


def test_chain_of_nothing():
    with pytest.raises(FlowError, match="at least one"):
        chain()


# group


@pytest.mark.parametrize(
    "write",
    [
        lambda: group(raw, 5, [inc.s(1)]),
        lambda: group([raw, 5, [inc.s(1)]]),
        lambda: group((raw, 5, [inc.s(1)])),
        lambda: group(each for each in (raw, 5, [inc.s(1)])),
        lambda: group(iter([raw, 5, [inc.s(1)]])),
        lambda: group(deque([raw, 5, [inc.s(1)]])),
        lambda: group(dict(a=raw, b=5, c=[inc.s(1)]).values()),
        lambda: group(map(lambda each: each, [raw, 5, [inc.s(1)]])),
    ],
)
def test_group_takes_members_or_one_iterable(write):
    assert write().call() == [1, 5, [2]]
    assert (write() >> whole).call() == [1, 5, [2]]
    assert (write() >> [whole, len]).call() == [[1, 5, [2]], 3]


def test_group_is_never_collapsed_or_dropped():
    assert group().call() == []
    assert group([]).call() == []
    assert group(raw).call() == [1]
    assert group([raw]).call() == [1]
    assert group([[raw]]).call() == [[1]]
    assert group(group()).call() == [[]]
    assert (group(iter(())) >> len).call() == 0


def test_one_member_that_is_a_value_is_not_taken_apart():
    frame, array = pd.DataFrame({"a": [1, 2]}), np.arange(3)
    assert group(frame).call()[0].equals(frame)
    assert group(array).call()[0].tolist() == [0, 1, 2]
    assert group("abc").call() == ["abc"]
    assert group(b"abc").call() == [b"abc"]
    assert group({"a": raw}).call() == [{"a": 1}]
    assert group(5).call() == [5]
    assert group(None).call() == [None]
    assert group(range(3)).call() == [0, 1, 2]
    assert group(param("p", 2)).call() == [2]


def test_any_callable_in_a_group_is_a_step_as_it_is_in_a_list_on_the_right():
    for member in (abs, str, lambda x: x * 2, Model(), functools.partial(pow, 2)):
        assert (-3 >> group(member)).call() == chain(-3, [member]).call() == [member(-3)]
    assert ("a" >> group([str.upper, len])).call() == ["A", 1]


def test_group_feeds_its_open_members():
    flow = group(inc, whole.s(5), inc >> inc)
    assert flow.call(1) == [2, 5, 3]
    assert (1 >> flow).call() == [2, 5, 3]
    assert (raw >> flow).call() == [2, 5, 3]


def test_two_bare_lists_need_a_group():
    with pytest.raises(TypeError):
        [raw] >> [inc]
    assert (group(raw, 2) >> [whole, whole]).call() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("limit", [1, 2, 9, np.int64(2), None])
def test_a_cap_changes_neither_the_value_nor_the_members(limit):
    members = [raw.s(), inc.s(4), [raw]]
    capped = group(*members, max_concurrency=limit)
    assert capped.call() == [1, 5, [1]]
    assert (capped >> [whole, len]).call() == [[1, 5, [1]], 3]
    assert (capped.steps, repr(capped)) == (group(*members).steps, repr(group(*members)))
    assert group(max_concurrency=limit).call() == []


def test_a_cap_is_part_of_what_a_group_is():
    capped = group(raw, max_concurrency=2)
    assert capped == group(raw, max_concurrency=2)
    assert hash(capped) == hash(group(raw, max_concurrency=2))
    assert capped != group(raw, max_concurrency=3)
    assert capped != group(raw)
    assert capped.options(fuse=False).expression.cap == capped.expression.cap


# chord


def test_chord_hands_the_list_to_the_body():
    assert chord([raw, 2], sum).call() == 3
    assert chord([raw], whole).call() == [1]
    assert chord([], whole).call() == []
    assert chord((each for each in (raw, 4)), whole).call() == [1, 4]
    assert chord(group(raw, 2), sum).call() == 3
    assert chord([raw, 2], [sum, len]).call() == [3, 2]


def test_chord_takes_any_flow_as_it_is():
    assert chord(raw, whole).call() == chord(raw >> inc, whole.s()).call() - 1 == 1
    assert chord(raw, whole) == raw >> whole


# chunks


@pytest.mark.parametrize(
    ("items", "size", "lists"),
    [
        (range(5), 2, [[0, 1], [2, 3], [4]]),
        ([1, 2], 2, [[1, 2]]),
        ([1, 2], 9, [[1, 2]]),
        ([], 3, []),
        ((x for x in "abc"), 2, [["a", "b"], ["c"]]),
        ((1, [2]), 1, [[1], [[2]]]),
        ({"a": 1, "b": 2}.items(), 2, [[("a", 1), ("b", 2)]]),
    ],
)
def test_chunks_gives_each_call_a_list(items, size, lists):
    flow = chunks(whole, items, size)
    assert CALLS == []
    assert flow.call() == lists
    assert CALLS == lists
    assert flow.call() == lists
    assert (flow >> len).call() == len(lists)
    assert len(flow) == 1


def test_chunks_of_flows_and_arrays_and_frames():
    assert chunks(whole, [raw, raw, 3], 2).call() == [[1, 1], [3]]
    assert chunks(sum, np.arange(4), 2).call() == [1, 5]
    frame = pd.DataFrame({"a": range(10)})
    assert chunks(len, frame, 4).call() == [4, 4, 2]
    assert pd.concat(chunks(whole, frame, 3).call()).equals(frame)
    assert chunks(len, frame.iloc[:0], 4).call() == []


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", None, True])
def test_the_size_of_a_chunk(size):
    with pytest.raises(FlowError, match="at least 1"):
        chunks(whole, [1], size)


# map and starmap


@pytest.mark.parametrize(
    ("items", "values"),
    [
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        ((x for x in (1, 2)), [1, 2]),
        (zip("ab", [1, 2], strict=True), [("a", 1), ("b", 2)]),
        ([], []),
        ([[]], [[]]),
        ([None, ""], [None, ""]),
        ([(1, 2)], [(1, 2)]),
        ([{"a": 1}], [{"a": 1}]),
        (np.arange(2), [0, 1]),
        (pd.Series([3, 4]), [3, 4]),
        (OrderedDict(a=1).keys(), ["a"]),
    ],
)
def test_map_makes_one_call_for_each_item(items, values):
    flow = whole.map(items)
    assert flow.call() == values
    assert CALLS == values
    assert flow.call() == values


def test_map_reads_its_items_at_once():
    items = [1, 2]
    flow = whole.map(items)
    items.append(3)
    assert flow.call() == [1, 2]


def test_map_of_flows_params_and_containers():
    flow = whole.map([raw, param("p", 7), [raw, {"k": (raw,)}], 3])
    assert flow.call() == [1, 7, [1, {"k": (1,)}], 3]
    assert flow.steps == ["raw", "whole"]
    assert CALLS.count("raw") == 1


def test_map_over_a_frame_gives_slices_of_rows():
    for rows in (0, 1, 5, 16, 17, 100):
        frame = pd.DataFrame({"a": range(rows), "b": "x"})
        slices = whole.map(frame).call()
        assert all(isinstance(each, pd.DataFrame) and len(each) for each in slices)
        assert len(slices) <= 16
        assert (pd.concat(slices) if slices else frame).equals(frame)


@pytest.mark.parametrize(
    "items", ["abc", b"abc", {"a": 1}, 5, None.__class__, np.array(3), object(), 1.5, True]
)
def test_what_cannot_be_gone_through(items):
    for write in (whole.map, lambda items: starmap(pair, items), lambda i: chunks(whole, i, 2)):
        with pytest.raises(FlowError, match="a map goes over"):
            write(items)


def test_starmap_spreads_tuples():
    assert starmap(pair, [(1, 2), (3, 4)]).call() == [(1, 2), (3, 4)]
    assert pair.starmap([(1, 2)]) == starmap(pair, [(1, 2)])
    assert starmap(pair, zip("ab", [1, 2], strict=True)).call() == [("a", 1), ("b", 2)]
    assert starmap(pair, ((n, n) for n in range(2))).call() == [(0, 0), (1, 1)]
    assert starmap(pair, [[1, 2]]).call() == [(1, 2)]
    assert starmap(pair, [(1,), (2,)]).call() == [(1, 0), (2, 0)]
    assert starmap(pow, [(2, 3)]).call() == [8]


def test_starmap_of_flows():
    assert starmap(pair, [(raw, 2), (3, raw >> inc)]).call() == [(1, 2), (3, 2)]
    assert starmap(pair, [[raw, 2]]).call() == [(1, 2)]
    assert starmap(pair, [(param("p", 1), [raw])]).call() == [(1, [1])]


def test_starmap_of_nothing_gives_nothing():
    for fn in (pow, pair, lambda a, b, *, c=1: 0, lambda *a: 0, lambda: 0):
        assert starmap(fn, []).call() == []
        assert (starmap(fn, iter(())) >> whole).call() == []


@pytest.mark.parametrize("items", [[1], ["ab"], [{"a": 1}], [raw], [raw >> inc], [param("p")]])
def test_starmap_takes_tuples_only(items):
    with pytest.raises(FlowError, match="tuple of arguments"):
        starmap(pair, items)


def test_a_long_flow_in_a_wrong_place_is_still_a_short_message():
    long = functools.reduce(lambda flow, _: flow >> inc, range(3000), raw.s())
    with pytest.raises(FlowError) as caught:
        starmap(pair, [long])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("write", "values"),
    [
        (lambda: chunks(whole >> len, [1, 2, 3], 2), [2, 1]),
        (lambda: chunks(whole >> [len, sum], [1, 2, 3], 2), [[2, 3], [1, 3]]),
        (lambda: chunks(whole >> {"n": len}, [1, 2, 3], 2), [{"n": 2}, {"n": 1}]),
        (lambda: starmap(pair >> list, [(1, 2), (3, 4)]), [[1, 2], [3, 4]]),
        (lambda: starmap(pair >> (len, whole), [(1, 2)]), [(2, (1, 2))]),
        (lambda: starmap(group(inc, whole), [(1,), (4,)]), [[2, 1], [5, 4]]),
    ],
)
def test_a_whole_flow_is_mapped_as_one_step_is(write, values):
    assert write().call() == values
    assert (write() >> whole).call() == values


def test_what_takes_no_item_cannot_be_mapped():
    for write in (
        lambda: chunks(raw >> inc, [1], 1),
        lambda: chunks(5 >> pair, [1], 1),
        lambda: starmap(group(raw.s()), [(1,)]),
        lambda: chunks(whole.map([1]), [1], 1),
        lambda: chunks(whole.si(3), [1], 1),
        lambda: starmap(param("p"), [(1,)]),
    ):
        with pytest.raises(SignatureError, match="no step of the flow|positional"):
            write()
    for value in (5, "name", None):
        with pytest.raises(FlowError, match="not a function"):
            starmap(value, [(1,)])


def test_mapping_a_placed_call_keeps_its_arguments():
    assert chunks(pair.s(9), [1, 2], 1).call() == [([1], 9), ([2], 9)]
    assert starmap(pair.s(right=raw), [(1,)]).call() == [(1, 1)]


def test_a_mapped_step_is_one_node_and_fans_in_as_a_list():
    flow = whole.map(range(100)) >> [sum, len]
    assert flow.steps == ["whole", "sum", "len"]
    assert flow.call() == [4950, 100]
