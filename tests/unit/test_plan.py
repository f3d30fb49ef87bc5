"""How a flow is cut into segments."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import trees, written

from nbflow import Flow, chain, group, step
from nbflow.algebra.calling import reduced
from nbflow.algebra.expression import ListOf, nodes_in
from nbflow.algebra.topology import Topology
from nbflow.planning.cutter import sizes
from nbflow.planning.plan import Plan
from nbflow.planning.segment import Segment
from nbflow.values.tree import subtrees


@step
def one(x: int = 0) -> int:
    return x


@step
def two(x: int) -> int:
    return x


def plan(flow: Any, threads: int = 2) -> Plan:
    return Plan.of(flow._flow().topology, threads)


def cut(flow: Any, threads: int = 2) -> list[list[str]]:
    names = flow._flow().topology.names
    return [[names[each] for each in segment.positions] for segment in plan(flow, threads).segments]


def test_a_chain_is_one_segment() -> None:
    assert cut(chain(1, one, two, one, two)) == [["one", "two", "one_2", "two_2"]]


def test_a_chain_is_cut_at_forks_and_joins() -> None:
    raw = one.s(1) >> two
    assert cut([raw >> one.s(), raw >> two.s()] >> step(len)) == [
        ["one", "two"],
        ["one_2"],
        ["two_2"],
        ["len"],
    ]


def test_a_step_used_twice_by_one_other_is_still_a_chain() -> None:
    raw = one.s(1)
    assert cut([raw, raw] >> step(len)) == [["one", "len"]]


def test_order_only_edges_chain_too() -> None:
    assert cut(one.s(1) >> two.si(3)) == [["one", "two"]]


@pytest.mark.parametrize("options", [{"fuse": False}, {"resources": {"GPU": 1}}])
def test_an_isolated_step_travels_alone(options: dict[str, Any]) -> None:
    alone = two.options(**options)
    assert cut(chain(1, one, alone, one.s())) == [["one"], ["two"], ["one_2"]]
    assert cut(group(alone.s(i) for i in range(3))) == [["two"], ["two_2"], ["two_3"]]
    mapped = plan(alone.map(range(4))).segments
    assert [(each.start, each.stop) for each in mapped] == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_priorities_are_not_mixed() -> None:
    assert cut(one.s(1) >> two.options(priority=3)) == [["one"], ["two"]]


def test_alike_members_travel_in_batches_that_get_smaller() -> None:
    segments = plan(group(one.s(i) for i in range(20))).segments
    assert [len(each.positions) for each in segments] == [5, 4, 3, 2, 2, 1, 1, 1, 1]


def test_lanes_travel_whole() -> None:
    names = cut(group(one.s(i) >> two for i in range(8)), threads=1)
    assert names[0] == ["one", "two", "one_2", "two_2", "one_3", "two_3", "one_4", "two_4"]


def test_different_members_do_not_wait_for_one_another() -> None:
    assert cut(group(one.s(1), two.s(1), step(abs).s(1))) == [["one"], ["two"], ["abs"]]
    raw = one.s(1)
    # Alike, but not ready at the same time.
    assert ["two", "two_2"] not in cut(group(raw >> two, one.s(2) >> one.s() >> two))


def test_a_map_is_split_and_waits_only_for_what_its_items_need() -> None:
    sources = [one.s(i).named("x") for i in range(4)]
    topology = step(abs).map([1 >> step(str.upper).named(f"u{i}") for i in range(4)]).topology
    found = Plan.of(topology, 1)
    batches = [each for each in found.segments if topology.names[each.positions[0]] == "abs"]
    assert [(each.start, each.stop, each.upstream) for each in batches] == [
        (0, 2, (0, 1)),
        (2, 3, (2,)),
        (3, 4, (3,)),
    ]
    assert len(sources) == 4


def test_a_map_of_nothing_has_one_segment() -> None:
    [segment] = plan(one.map([])).segments
    assert (segment.start, segment.stop) == (0, 0)


def test_a_flow_without_steps_has_no_segments() -> None:
    assert plan(group()).segments == ()


@given(st.integers(0, 5_000), st.integers(1, 64))
def test_batches_cover_all_and_never_grow(count: int, threads: int) -> None:
    found = sizes(count, threads)
    assert sum(found) == count
    assert found == sorted(found, reverse=True)
    assert all(found)
    assert not found or found[-1] == 1
    # Few messages, whatever the number of elements.
    assert len(found) <= 2 * threads * (1 + (count + 1).bit_length())
    assert sizes(count, threads, together=1) == [1] * count


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    tree=trees(),
    threads=st.integers(1, 8),
    known=st.lists(st.sampled_from([None, 0.0001, 0.004, 0.03, 2.0]), min_size=1, max_size=7),
)
def test_any_plan_computes_every_node_once_and_in_order(
    tree: Any, threads: int, known: list[float | None]
) -> None:
    flow: Flow = written(tree).flow
    for variant, times in ((flow, [None]), (flow.options(fuse=False), known), (flow, known)):
        topology = variant.topology
        seconds = {n: each for n, each in zip(range(len(topology.nodes)), cycle(times)) if each}
        found = Plan.of(topology, threads, seconds)
        placed: Counter[int] = Counter()
        for number, segment in enumerate(found.segments):
            assert all(each < number for each in segment.upstream)
            reachable = {n for each in segment.upstream for n in found.segments[each].positions}
            for unit in segment.units:
                assert all(
                    unit.index(each) < unit.index(position)
                    for position in unit
                    for each in topology.upstream[position]
                    if each in unit
                )
            for position in segment.positions:
                assert number in found.homes[position]
                before = set(segment.positions)
                assert set(needed(topology, segment, position)) <= reachable | before
                # Lanes share what they compute; of the others, each computes its own.
                if segment.lane is None or segment.lane.number == 0:
                    placed[position] += segment.stop - segment.start if segment.region else 1
        for position, node in enumerate(topology.nodes):
            axis = node.axis
            shared = [found.segments[home].lane for home in found.homes[position]]
            if axis is not None and not any(shared):
                assert placed[position] == axis.lineage[0].count
            assert found.homes[position]


def needed(topology: Topology, segment: Segment, position: int) -> tuple[int, ...]:
    """Give what a step waits for; of the items of a map, only those of the batch."""
    axis = topology.nodes[position].axis
    if axis is None or not isinstance(axis.lineage[0].items, ListOf):
        return topology.upstream[position]
    members = axis.lineage[0].items.members[segment.start : segment.stop]
    return tuple(topology.index[id(each)] for member in members for each in nodes_in(member))


def test_a_map_over_what_comes_later_has_a_lane_for_each_thread() -> None:
    lanes = [each.lane for each in plan(one.s(1) >> two.map(), threads=3).segments[1:]]
    assert [(lane.number, lane.count, lane.capped) for lane in lanes] == [
        (0, 3, False),
        (1, 3, False),
        (2, 3, False),
    ]


def test_a_capped_group_has_as_many_lanes_as_may_run_at_once() -> None:
    segments = plan(group((one.s(i) >> two for i in range(5)), max_concurrency=2)).segments
    assert [(each.lane.number, each.lane.count, each.lane.capped) for each in segments] == [
        (0, 2, True),
        (1, 2, True),
    ]
    assert [len(each.units) for each in segments] == [5, 5]


def test_elements_computed_again_are_added_to_a_plan() -> None:
    flow = one.map([1, 2, 3], on_error="collect") >> step(len) >> two
    before = plan(flow)
    redrive = before.redriven(flow.topology, {0: [1]}, 2)
    fresh = redrive.plan.segments[redrive.first :]
    assert [(each.positions, each.start, each.stop) for each in fresh] == [
        ((0,), 1, 2),
        ((1, 2), 0, 0),
    ]
    assert redrive.plan.segments[: redrive.first] == before.segments
    assert fresh[1].upstream == redrive.plan.homes[0]
    assert redrive.later == {1, 2}


# Steps whose times are known


def gathered(flow: Any, seconds: dict[str, float], threads: int = 2) -> list[set[str]]:
    topology = flow._flow().topology
    known = {topology.positions[name]: each for name, each in seconds.items()}
    found = Plan.of(topology, threads, known).segments
    return [{topology.names[each] for each in segment.positions} for segment in found]


def test_quick_steps_travel_together() -> None:
    flow = [one.s(1) >> two, one.s(2)] >> step(len)
    assert len(cut(flow)) == 3
    quick = dict.fromkeys(("one", "two", "one_2", "len"), 0.001)
    assert gathered(flow, quick) == [{"one", "two", "one_2", "len"}]


def test_what_is_slow_or_unknown_keeps_its_own_task() -> None:
    flow = [one.s(1) >> two, one.s(2)] >> step(len)
    quick = {"one": 0.001, "two": 0.001, "len": 0.001}
    slow = {**quick, "one_2": 10.0}
    for known in (quick, slow):
        assert gathered(flow, known) == [{"one", "two"}, {"one_2"}, {"len"}]


def test_quick_steps_on_both_sides_of_a_slow_one_stay_apart() -> None:
    source = one.s(0)
    flow = [source >> two, source >> one.s(), source >> step(abs)] >> step(len)
    quick = dict.fromkeys(("one", "two", "len", "one_2"), 0.001)
    assert gathered(flow, {**quick, "abs": 5.0}) == [{"one", "two", "one_2"}, {"abs"}, {"len"}]


def test_wide_work_is_shared_rather_than_gathered() -> None:
    flow = group(one.named(f"n{n}").s(n) for n in range(8))
    assert len(gathered(flow, {f"n{n}": 0.04 for n in range(8)})) == len(cut(flow)) > 1
    assert len(gathered(flow, {f"n{n}": 0.0004 for n in range(8)})) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"fuse": False},
        {"retry": 2},
        {"timeout": 5},
        {"lock": "door"},
        {"delay": 1},
        {"effect": True},
        {"priority": 3},
        {"isolation": "process"},
    ],
)
def test_what_may_wait_or_must_be_alone_is_not_gathered(options: dict[str, Any]) -> None:
    flow = [one.s(1), two.options(**options).s(2)] >> step(len)
    assert {"two"} in gathered(flow, {"one": 0.001, "two": 0.001, "len": 0.001})


def test_members_of_a_capped_group_are_not_gathered() -> None:
    flow = group([one.s(1), two.s(2)], max_concurrency=1) >> step(len)
    assert len(gathered(flow, {"one": 0.001, "two": 0.001, "len": 0.001})) == len(cut(flow))


# Trees


def blocks(flow: Any, threads: int = 2) -> list[int]:
    cuts = plan(flow, threads).segments
    return [each.block.total for each in cuts if each.block is not None]


def test_a_wide_map_is_reduced_in_blocks() -> None:
    assert blocks(one.map(range(100)) >> step(sum).reduce()) == [100, 100]
    assert blocks(one.s(3) >> step(range) >> one.map() >> step(sum).reduce()) == [None, None]


@pytest.mark.parametrize(
    "flow",
    [
        one.map(range(20)) >> step(sum).reduce(),
        one.map(range(100), on_error="collect") >> step(sum).reduce(),
        one.options(when=bool).map(range(100)) >> step(sum).reduce(),
        one.map([one.s(n) for n in range(100)]) >> step(sum).reduce(),
        one.map(range(100)) >> step(sum, when=bool).reduce(),
        one.map(range(100)) >> step(sum, timeout=60).reduce(),
        one.map(range(100)) >> step(sum),
        one.s(1) >> step(sum).reduce(),
    ],
)
def test_what_is_reduced_in_one_place(flow: Any) -> None:
    assert blocks(flow) == []


@given(
    total=st.integers(0, 300),
    split_every=st.integers(2, 9),
    count=st.integers(1, 9),
)
def test_blocks_make_the_same_tree(total: int, split_every: int, count: int) -> None:
    def call(parts: Any) -> Any:
        return [parts]

    left: list[Any] = []
    for number in range(count):
        part = subtrees(total, split_every, number, count)
        assert part.first == len(left) or part.start == part.stop
        left += reduced(call, split_every, part.levels, list(range(part.start, part.stop)))
    whole = reduced(call, split_every, None, list(range(total)))
    assert reduced(call, split_every, None, left) == whole
