"""The drawing as DOT: what is drawn, how much of it, and always the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pandas as pd
import pytest
from gallery import (
    HOSTILE,
    chain_of,
    clean,
    etl,
    extract,
    load,
    mapped_event,
    merge,
    named,
    parse,
    run_of,
    wide,
)

from nbflow import Flow, FlowError, UnknownStepError, group, param
from nbflow.notebook.draw import digraph
from nbflow.record.events import Status
from nbflow.record.state import RunState, Shape

NODE = re.compile(r"^\t+(\w+) \[", re.MULTILINE)
EDGE = re.compile(r"^\t(\w+) -> (\w+)(.*)$", re.MULTILINE)


def nodes(source: str) -> list[str]:
    return [each for each in NODE.findall(source) if each not in ("graph", "node", "edge")]


def edges(source: str) -> set[tuple[str, str]]:
    return {(tail, head) for tail, head, _ in EDGE.findall(source)}


def line_of(source: str, label: str) -> str:
    return next(line for line in source.splitlines() if f"label={label}" in line)


def test_a_node_is_named_by_its_position_and_labelled_by_its_step() -> None:
    source = digraph(etl()).source
    assert nodes(source) == ["n0", "n1", "n2", "n3", "n4", "n5"]
    assert edges(source) == {("n0", "n1"), ("n2", "n3"), ("n1", "n4"), ("n3", "n4"), ("n4", "n5")}
    assert "label=weather" in source


def test_an_edge_that_only_orders_is_dashed() -> None:
    found = EDGE.findall(digraph(extract >> load >> named("notify").si()).source)
    assert ["dashed" in attributes for _, _, attributes in found] == [False, True]


def test_a_mapped_step_has_a_shape_of_its_own_and_says_how_many() -> None:
    source = digraph(parse.map(range(12)) >> merge).source
    assert "peripheries=2" in line_of(source, '"parse × 12"')


def test_eight_alike_members_are_drawn_side_by_side() -> None:
    assert len(nodes(digraph(wide(8)).source)) == 18


def test_alike_chains_become_a_chain_of_stacks() -> None:
    source = digraph(wide(100)).source
    assert 'label="extract × 100"' in source
    assert 'label="clean × 100"' in source
    assert edges(source) == {("n0", "n1"), ("n1", "n200"), ("n200", "n201")}


def test_collapse_false_draws_every_step() -> None:
    assert len(nodes(digraph(wide(100), collapse=False).source)) == 202


def test_groups_under_different_steps_are_different_stacks() -> None:
    arms = [[extract.s(i) for i in range(n)] >> merge.s() for n in (20, 20)]
    source = digraph(arms >> load).source
    assert source.count('label="extract × 20"') == 2


def test_alike_arms_that_branch_are_stacked_too() -> None:
    def arm(number: int) -> Flow:
        start = extract.s(number)
        return [start >> clean.s(), start >> parse.s()] >> merge.s()

    source = digraph([arm(number) for number in range(40)] >> load).source
    assert len(nodes(source)) == 5
    assert 'label="parse × 40"' in source


def test_steps_that_differ_are_not_stacked() -> None:
    flow = group(*(named(f"step {n}").s() for n in range(20))) >> merge
    assert len(nodes(digraph(flow).source)) == 21


def test_a_long_chain_folds_and_says_so() -> None:
    source = digraph(chain_of(2000)).source
    assert len(nodes(source)) == 3
    assert "… 1,998 steps …" in source
    assert "2,000 steps drawn as 3" in source


def test_a_failed_step_stays_in_view_when_a_chain_folds() -> None:
    flow = chain_of(300)
    state = run_of(flow, {"clean_150": Status.FAILED})
    assert re.search(r'label="clean_150\\n✗ failed', digraph(flow, state=state).source)


@pytest.mark.parametrize(
    "flow",
    [
        wide(2000),
        group(extract.s(n) for n in range(50_000)) >> merge,
        chain_of(5000),
        group(*(named(f"step {n}").s() for n in range(400))) >> merge,
        extract.s([param(f"p{n}") for n in range(400)]) >> load,
        [number >> clean.s() for number in range(400)] >> merge,
    ],
    ids=["arms", "group", "chain", "unlike", "params", "constants"],
)
def test_the_number_of_nodes_is_bounded(flow: Flow) -> None:
    assert len(nodes(digraph(flow).source)) <= 150


def test_a_staircase_of_thousands_is_bounded_and_stays_acyclic() -> None:
    spine, leaves = extract >> clean, []
    for _ in range(1000):
        leaves.append(spine >> parse.s())
        spine = spine >> clean.s()
    source = digraph([*leaves, spine] >> merge).source
    assert len(nodes(source)) <= 150
    assert all(int(tail[1:]) < int(head[1:]) for tail, head in edges(source))


def test_a_tree_of_pairs_is_one_stack_for_each_level() -> None:
    level = [extract.s(number) for number in range(256)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [pair >> merge.s() for pair in pairs]
    source = digraph(level[0]).source
    assert all(f'"{label}"' in source for label in ("extract × 256", "merge × 128", "merge × 16"))


def test_params_constants_and_missing_inputs_are_nodes() -> None:
    df = pd.DataFrame({"a": [1, 2]})
    joined = named("join")
    source = digraph((df >> clean, extract.s(param("path"))) >> joined).source
    assert 'label="DataFrame 2 × 1"' in source
    assert "ellipse" in line_of(source, "path")
    assert "dotted" in line_of(digraph(named_open() >> load).source, '"table = ?"')


def named_open() -> Flow:
    from nbflow import step

    @step
    def first(table):
        return table

    return first >> clean


def test_a_constant_never_shows_the_text_in_it() -> None:
    assert "hunter2" not in digraph("hunter2" >> clean >> load).source


def test_a_constant_is_described_without_asking_it() -> None:
    class Proud:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(name)

        def __repr__(self) -> str:
            raise AssertionError

        __str__ = __len__ = __bool__ = __eq__ = __repr__  # type: ignore[assignment]

    assert "label=Proud" in digraph(Proud() >> clean).source


def test_focus_shows_a_step_and_its_neighbours() -> None:
    source = digraph(chain_of(10), focus="clean_4").source
    assert {"n3", "n4", "n5"} <= set(nodes(source))
    assert "label=clean_7" not in source
    assert "7 steps further away not shown" in source
    assert source.count("… 1 more") == 2


def test_a_focused_step_is_never_inside_a_stack() -> None:
    source = digraph(wide(100), focus="clean_50", hops=5).source
    assert "penwidth=2" in line_of(source, "clean_50")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"direction": "up"}, "'direction' is 'up'; it must be 'LR'"),
        ({"collapse": 3}, "'collapse' is 3; it must be True or False"),
        ({"hops": -1}, "'hops' is -1"),
        ({"focus": 7}, "'focus' is 7; it must be the name"),
        ({"focus": []}, r"'focus' is \[\]"),
        ({"colour": "red"}, "no drawing option 'colour'; "),
        ({"collaps": True}, "did you mean 'collapse'"),
    ],
)
def test_an_option_that_means_nothing_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(FlowError, match=said):
        digraph(etl(), **options)


def test_an_unknown_focus_suggests_the_step_that_was_meant() -> None:
    with pytest.raises(UnknownStepError, match="did you mean 'clean'"):
        digraph(etl(), focus="claen")


def test_a_run_shows_sign_time_attempts_and_sizes() -> None:
    flow = etl()
    given = {"clean": Status.FAILED, "merge": Status.SKIPPED, "load": Status.SKIPPED}
    source = digraph(flow, state=run_of(flow, given)).source
    assert r'label="extract\n✓ 250 ms"' in source
    assert (
        r"""label="clean\n✗ failed · 250 ms · 3 attempts\nKeyError: 'sales'" """.strip() in source
    )
    assert r"""label="load\n– 'clean' failed" """.strip() in source
    assert 'label=" 1,204 × 2 "' in source


@pytest.mark.parametrize("status", list(Status))
def test_every_status_has_a_sign_and_a_word_or_a_time(status: Status) -> None:
    flow = extract >> clean
    source = digraph(flow, state=run_of(flow, {"clean": status})).source
    said = line_of(source, r'"clean\n')
    # What was skipped has its reason in place of the word.
    assert status.value in said or "✓ 250 ms" in said or "– 'clean' failed" in said


def test_a_stack_counts_its_members_by_status_and_looks_like_the_worst() -> None:
    flow = wide(100)
    state = run_of(flow, {"clean_5": Status.FAILED, "clean_9": Status.RUNNING})
    line = line_of(digraph(flow, state=state).source, r'"clean × 100\n')
    assert "✗ 1 failed · ◐ 1 running · ✓ 98" in line
    assert "#d55e00" in line


def test_a_mapped_step_shows_how_far_it_is() -> None:
    flow = parse.map(range(100)) >> merge
    fresh = RunState.planned(
        "r", "f", {"parse": Shape(mapped=True, total=100), "merge": Shape()}, 0.0
    )
    source = digraph(flow, state=fresh.apply([mapped_event("parse", 37, 1.0, failed=2)])).source
    assert r"parse × 100\n◐ 35/100 · ✗ 2 failed" in source


def test_a_deterministic_run_shows_no_times() -> None:
    flow = etl()
    source = digraph(flow, state=run_of(flow), deterministic=True).source
    assert "250 ms" not in source
    assert "1,204 × 2" in source


def test_a_run_without_some_steps_is_drawn_all_the_same() -> None:
    state = RunState.planned("r", "other", {"extract": Shape()}, 0.0)
    assert len(nodes(digraph(etl(), state=state).source)) == 6


def test_an_empty_flow_says_that_it_is_empty() -> None:
    assert "an empty flow" in digraph(group()).source


def test_user_text_never_becomes_an_attribute_or_a_node() -> None:
    flow = group(*(named(name).s() for name in HOSTILE)) >> merge
    source = digraph(flow).source
    assert len(nodes(source)) == len(HOSTILE) + 1
    assert len(source.splitlines()) == len(HOSTILE) * 2 + 6
    assert "label=<" not in source
    assert source.encode("utf-8")
    assert max(map(len, source.splitlines())) < 1000


PROGRAM = """
from nbflow import branch, group
from gallery import clean, etl, extract, load, merge, parse, run_of, wide
from nbflow.record.events import Status
from nbflow.notebook.picture import picture
from nbflow.notebook.report import report
mapped = extract >> (clean >> branch(parse, load, 0)).map(max_concurrency=2) >> merge
capped = group((extract.s(n) >> clean for n in range(5)), max_concurrency=2) >> merge
for flow in (etl(), wide(30), [4 >> clean, 5 >> load] >> merge, mapped, capped):
    print(picture(flow).html)
    print(report(flow, run_of(flow, {"clean": Status.FAILED})).html)
"""


def test_pictures_are_the_same_bytes_in_every_process() -> None:
    drawn = set()
    for seed in ("0", "1", "77"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True
        )
        drawn.add(done.stdout)
    assert len(drawn) == 1
    assert len(drawn.pop()) > 10_000
