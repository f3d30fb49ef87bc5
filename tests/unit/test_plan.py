"""How a flow is cut into segments."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import trees, written

from nbflow import Flow, chain, group, step
from nbflow.plan import Plan, sizes


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
    assert sizes(count, threads, alone=True) == [1] * count


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(tree=trees(), threads=st.integers(1, 8))
def test_any_plan_computes_every_node_once_and_in_order(tree: Any, threads: int) -> None:
    flow: Flow = written(tree).flow
    for variant in (flow, flow.options(fuse=False)):
        topology = variant.topology
        found = Plan.of(topology, threads)
        placed: list[tuple[int, int]] = []
        for number, segment in enumerate(found.segments):
            assert all(each < number for each in segment.upstream)
            reachable = {n for each in segment.upstream for n in found.segments[each].positions}
            for position in segment.positions:
                assert number in found.homes[position]
                before = {each for _, each in placed if each in segment.positions}
                if topology.nodes[position].call.elements is None:
                    assert set(topology.upstream[position]) <= reachable | before
                    placed.append((number, position))
                else:
                    assert segment.positions == (position,)
                    placed.extend((number, position) for _ in range(segment.stop - segment.start))
        for position, node in enumerate(topology.nodes):
            count = 1 if node.call.elements is None else node.call.elements.count
            assert sum(each == position for _, each in placed) == count
