"""Maps and limits in pictures: how many elements, and what belongs together."""

from __future__ import annotations

import dataclasses
import re

from gallery import ERROR, etl, event, extract, load, mapped_event, merge, named, parse, planned

from nbflow import branch, chunks, group
from nbflow.notebook.draw import digraph
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.report import report
from nbflow.notebook.text import tree
from nbflow.record.events import DeadLetter, ElementRecords, Event, Status

years, download, tidy, is_big = map(named, ["years", "download", "tidy", "is_big"])


def inside(source: str, cluster: str) -> str:
    """Give what stands between the braces of a cluster."""
    at = source.index(f"subgraph cluster_{cluster} {{")
    depth = 0
    for end, sign in enumerate(source[at:], at):
        depth += (sign == "{") - (sign == "}")
        if sign == "}" and depth == 0:
            return source[at:end]
    raise AssertionError


def test_a_map_of_an_unknown_length_says_so_until_it_is_known() -> None:
    flow = extract >> parse.map() >> merge
    assert 'label="parse × …"' in digraph(flow).source
    state = planned(flow).apply([mapped_event("parse", 12, 1001.0, total=37)])
    assert r"parse × 37\n◐ 12/37" in digraph(flow, state=state).source
    assert "parse × …" in tree(flow)
    assert "parse × 37" in tree(flow, state)
    assert "parse × 37" in report(flow, state).html


def test_the_steps_of_one_mapped_flow_share_a_frame() -> None:
    flow = extract >> (tidy >> download).map(max_concurrency=2) >> merge
    source = digraph(flow).source
    frame = inside(source, "g0")
    assert 'label="for each element, at most 2 at once"' in frame
    assert "label=tidy" in frame
    assert "label=download" in frame
    assert "label=merge" not in frame
    assert "n0 -> n2" not in source
    state = planned(flow).apply([mapped_event("tidy", 37, 1001.0)])
    assert "for each of 37, at most 2 at once" in digraph(flow, state=state).source


def test_maps_in_maps_are_frames_in_frames() -> None:
    inner = (tidy >> download).map()
    flow = extract >> (years >> inner >> merge).map() >> load
    outer = inside(digraph(flow).source, "g0")
    assert "label=years" in outer
    assert "label=tidy" in inside(outer, "g1")
    assert "label=years" not in inside(outer, "g1")


def test_a_single_step_has_no_frame() -> None:
    flow = extract >> (years >> download.map() >> merge).map() >> load
    source = digraph(flow).source
    assert "cluster_g1" not in source
    assert re.search(r'label="download × …" .*peripheries=2', source)
    assert "cluster" not in digraph(parse.map(range(3)) >> merge).source


def test_a_branch_inside_a_map_stays_inside() -> None:
    flow = extract >> (tidy >> branch(is_big, load, 0) >> download).map() >> merge
    frame = inside(digraph(flow).source, "g0")
    assert "shape=diamond" in frame
    assert "label=0" in frame


def test_limits_are_said() -> None:
    assert r"parse × 9\nat most 2 at once" in digraph(parse.map(range(9), max_concurrency=2)).source
    flow = group((extract.s(n) >> tidy for n in range(4)), max_concurrency=2) >> merge
    frame = inside(digraph(flow).source, "g0")
    assert 'label="at most 2 at once"' in frame
    assert frame.count("label=tidy") == 4
    assert "extract (at most 2 of 4 at once)" in tree(flow)
    lone = group((extract.s(n) for n in range(40)), max_concurrency=2) >> merge
    assert r"extract × 40\nat most 2 at once" in digraph(lone).source


def test_chunks_and_reductions_are_said() -> None:
    flow = extract >> chunks(tidy, None, 8) >> merge.reduce(split_every=4)
    source = digraph(flow).source
    assert r"tidy × …\nchunks of 8" in source
    assert r"merge\nin parts of 4" in source
    assert '"merge, in parts of 4"' in mermaid(flow)


def test_alike_mapped_steps_are_a_stack_that_says_so() -> None:
    flow = group(parse.map([n, n]) for n in range(20)) >> merge
    assert r"parse × 20\neach × 2" in digraph(flow).source


def test_an_open_map_misses_its_items_once() -> None:
    source = digraph((tidy >> download).map()).source
    assert source.count("items = ?") == 1


def test_mermaid_has_subgraphs() -> None:
    text = mermaid(extract >> (tidy >> download).map() >> merge)
    assert '    subgraph g0["for each element"]\n        n1["tidy"]\n        n2["download"]' in text


def test_the_order_inside_a_frame_is_the_written_one() -> None:
    flow = extract >> (tidy >> [years, download]).map() >> merge
    upwards = [inside(digraph(flow, direction=each).source, "g0") for each in ("LR", "TB")]
    # From left to right, Graphviz begins at the bottom of a frame.
    assert [each.index("years") < each.index("download") for each in upwards] == [False, True]


# After a run


def aside(name: str, total: int) -> Event:
    """Make the event of a map of which the first two elements were put aside."""
    records = ElementRecords(
        0,
        (Status.FAILED,) * 2 + (Status.COMPLETED,) * (total - 2),
        (0.1,) * total,
        errors={0: ERROR, 1: ERROR},
        attempts={1: 3},
        labels={0: "<eu>", 1: "us"},
        letters={0: DeadLetter(None, "'<eu>.csv'"), 1: DeadLetter(None, "'us.csv'")},
    )
    return Event(name, Status.RUNNING, 1001.0, seconds=1.0, elements=records, total=total)


def test_failures_that_were_put_aside_are_counted_and_listed() -> None:
    flow = extract >> parse.map(on_error="collect") >> merge
    done = event("extract", Status.COMPLETED, 1001.0)
    state = planned(flow).apply([done, aside("parse", 100), event("merge", Status.COMPLETED, 1002)])
    assert state.status is Status.COMPLETED
    source = digraph(flow, state=state).source
    assert r"parse × 100\n✓ 98/100 · 2 put aside" in source
    assert "✓ completed, 98/100 elements, 2 put aside" in tree(flow, state)
    html = report(flow, state).html
    assert "2 put aside" in html
    for each in ("&lt;eu&gt;", "us.csv", "KeyError: &#x27;sales&#x27;", ">3<"):
        assert each in html
    assert "<eu>" not in html


def test_many_failed_elements_are_bounded() -> None:
    flow = parse.map(range(5000)) >> merge
    state = planned(flow).apply([mapped_event("parse", 5000, 1001.0, failed=4000)])
    html = report(flow, state).html
    assert "… 3,980 more elements" in html
    assert len(html) < 100_000


def skipped(name: str, total: int, reasons: dict[int, str]) -> Event:
    statuses = tuple(Status.SKIPPED if n in reasons else Status.COMPLETED for n in range(total))
    records = ElementRecords(
        0, statuses, (0.1,) * total, reasons=reasons, spared=frozenset(reasons)
    )
    return Event(name, Status.RUNNING, 1001.0, seconds=1.0, elements=records, total=total)


def test_a_mapped_arm_tells_for_how_many_elements_it_was_taken() -> None:
    flow = extract >> (tidy >> branch(is_big, load, years)).map() >> merge
    state = planned(flow).apply(
        [
            mapped_event("tidy", 9, 1001.0),
            mapped_event("is_big", 9, 1001.0),
            skipped("load", 9, dict.fromkeys(range(5), "is_big was False")),
            skipped("years", 9, dict.fromkeys(range(9), "is_big was True")),
        ]
    )
    source = digraph(flow, state=state).source
    assert r"load\n✓ 4/9 · 5 skipped" in source
    assert r"years\n– is_big was True" in source
    various = skipped("years", 9, {n: f"is_big was {n}" for n in range(9)})
    source = digraph(flow, state=planned(flow).apply([various])).source
    assert r"years\n– 9 skipped" in source


def test_a_retry_says_what_was_tried_and_when_the_next_attempt_comes() -> None:
    flow = etl()
    at = 1_700_000_000.0
    waiting = Event("clean", Status.RETRYING, 1001.0, attempt=2, retry_at=at, reason="OSError: no")
    state = planned(flow).apply([waiting])
    source = digraph(flow, state=state).source
    assert re.search(r"clean\\n↻ retrying after attempt 2\\nnext at \d\d:\d\d:\d\d\"", source)
    assert re.search(r"↻ retrying after attempt 2, next at [\d:]+, OSError: no", tree(flow, state))
    assert "next at" in report(flow, state).html
    quiet = digraph(flow, state=state, deterministic=True).source
    assert r"clean\n↻ retrying after attempt 2" in quiet
    assert "next at" not in quiet + tree(flow, state, deterministic=True)


def test_a_time_that_no_clock_shows_is_left_out() -> None:
    state = planned(etl()).apply([Event("clean", Status.RETRYING, 1.0, retry_at=float("inf"))])
    assert "next at" not in digraph(etl(), state=state).source


def test_what_a_failure_took_along_names_the_culprit() -> None:
    flow = etl()
    lost = dataclasses.replace(event("merge", Status.SKIPPED, 1001.0), reason="clean failed")
    state = planned(flow).apply(
        [
            event("clean", Status.FAILED, 1001.0),
            lost,
            dataclasses.replace(lost, step="load"),
            event("hourly", Status.COMPLETED, 1001.0),
        ]
    )
    source = digraph(flow, state=state).source
    assert r"merge\n– clean failed" in source
    assert r"load\n– clean failed" in source
    assert re.search(r'label="clean\\n✗ failed.*penwidth=2.6', source)
    assert "n1 -> n4 [style=dashed]" in source
    assert "n4 -> n5 [style=dashed]" in source


def test_deterministic_reasons_have_no_addresses() -> None:
    flow = etl()
    lost = dataclasses.replace(
        event("merge", Status.SKIPPED, 1001.0), reason="kind was <T at 0x7f00deadbeef>"
    )
    state = planned(flow).apply([lost])
    made = report(flow, state, deterministic=True)
    assert "deadbeef" not in made.html + made.text
    assert made.picture is not None
    assert "deadbeef" not in made.picture.dot
