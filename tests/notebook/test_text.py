"""The twin in text: every step, in order, with all that there is to say of it."""

from __future__ import annotations

from gallery import HOSTILE, chain_of, clean, etl, extract, load, merge, named, parse, run_of, wide

from nbflow import group, param
from nbflow.notebook.text import listing, tree
from nbflow.record.events import Status
from nbflow.record.state import RunState, Shape


def test_branches_are_indented_and_a_join_names_what_it_joins() -> None:
    assert tree(etl()) == (
        "etl: 6 steps\n├─ extract\n│  clean\n└─ weather\n   hourly\nmerge ← clean, hourly\nload"
    )


def test_a_branch_hangs_on_the_step_that_it_branches_from() -> None:
    start = extract >> clean
    assert tree(start >> [parse, load] >> merge) == (
        "merge: 5 steps\nextract\nclean\n├─ parse\n└─ load\nmerge ← parse, load"
    )


def test_what_is_mapped_open_given_or_only_ordered_is_said() -> None:
    text = tree(parse.map(range(12)) >> extract.s(param("path")) >> load.si())
    assert "parse × 12" in text
    assert "extract (param path)" in text
    assert "load, after extract" in text
    assert "open at abs" in tree(group(abs) >> merge)


def test_every_step_is_named() -> None:
    flow = wide(100)
    lines = tree(flow).splitlines()
    assert all(any(line.endswith(name) for line in lines) for name in flow.steps[:-2])
    assert len(lines) == len(flow) + 1


def test_a_chain_of_ten_thousand_stays_at_the_margin_and_says_what_is_left_out() -> None:
    lines = tree(chain_of(10_000), limit=100).splitlines()
    assert len(lines) == 102
    assert lines[-1] == "… 9,900 more steps"
    assert not any(line.startswith(" ") for line in lines)


def test_branches_upon_branches_do_not_indent_for_ever() -> None:
    spine = extract >> clean
    leaves = []
    for _ in range(500):
        leaves.append(spine >> parse.s())
        spine = spine >> clean.s()
    lines = tree([*leaves, spine] >> merge, limit=2000).splitlines()
    assert max(len(line) - len(line.lstrip(" │├└─")) for line in lines) < 60
    # Too deep to be seen from the indentation, so it is said.
    assert any("clean_300 ← clean_299" in line for line in lines)


def test_a_run_tells_status_time_attempts_size_and_reason_of_each_step() -> None:
    flow = etl()
    given = {"clean": Status.FAILED, "merge": Status.SKIPPED, "load": Status.PENDING}
    lines = tree(flow, run_of(flow, given)).splitlines()
    assert lines[0].startswith("◐ etl: running, 6 steps")
    assert lines[1].endswith("✓ completed, 250 ms, 1,204 × 2")
    assert lines[2].endswith("✗ failed, 250 ms, 3 attempts, KeyError: 'sales'")
    assert lines[5].endswith("– skipped, 'clean' failed")
    assert lines[6].endswith("○ pending")


def test_the_headline_of_a_run_counts_its_steps() -> None:
    flow = etl()
    headline = tree(flow, run_of(flow, {"load": Status.FAILED})).splitlines()[0]
    assert headline == "✗ etl: failed, 6 steps, 1.0 s, run r-1a2b (5 completed, 1 failed)"


def test_a_mapped_step_tells_its_elements() -> None:
    flow = parse.map(range(12)) >> merge
    assert "✓ completed, 12/12 elements, 1.0 s, 1,200 × 2" in tree(flow, run_of(flow))


def test_failures_are_named_even_where_steps_are_left_out() -> None:
    flow = chain_of(500)
    state = run_of(flow, {"clean_400": Status.FAILED})
    last = tree(flow, state, limit=50).splitlines()[-1]
    assert last == "… 450 more steps, of which 1 failed: clean_400"


def test_deterministic_text_has_neither_times_nor_ids() -> None:
    flow = etl()
    one = tree(flow, run_of(flow, at=1.0, run_id="r-1"), deterministic=True)
    two = tree(flow, run_of(flow, at=9.9, run_id="r-2"), deterministic=True)
    assert one == two
    assert "1,204 × 2" in one


def test_hostile_names_stay_on_their_lines() -> None:
    flow = group(*(named(name).s() for name in HOSTILE)) >> merge
    lines = tree(flow).splitlines()
    assert len(lines) == len(HOSTILE) + 2
    assert all(line.replace("\u200d", "").isprintable() for line in lines)
    assert max(map(len, lines)) < 400


def test_a_run_without_its_flow_lists_its_steps() -> None:
    state = RunState.planned("r1", "etl", {"extract": Shape(), "load": Shape()}, 0.0)
    assert listing(state, deterministic=True) == (
        "◐ etl: running, 2 steps (2 pending)\nextract  ○ pending\nload     ○ pending"
    )
