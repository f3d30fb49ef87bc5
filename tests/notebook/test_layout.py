"""How pictures are laid out: rows, order, what is said where, and overviews by first words."""

from __future__ import annotations

import re

import pytest
from gallery import chain_of, load, merge, named, run_of, wide

from nbflow import Flow, group, step
from nbflow.notebook.draw import digraph
from nbflow.notebook.layout import breaks
from nbflow.notebook.picture import picture
from nbflow.notebook.scene import scene
from nbflow.record.events import Status

NODE = re.compile(
    r'class="node">\s*<title>(\w+)</title>.*?<text [^>]*?x="([-\d.]+)" y="([-\d.]+)"', re.S
)
# So wide a picture fits a notebook, with the text three quarters of its size.
FITS = 1200


def places(svg: str) -> dict[str, tuple[float, float]]:
    return {key: (float(x), float(y)) for key, x, y in NODE.findall(svg)}


def width(svg: str) -> int:
    return int(re.match(r'<svg width="(\d+)', svg).group(1))


def mesh(size: int, layers: int) -> Flow:
    level = [named(f"source_{n}").s(n) for n in range(size)]
    for layer in range(layers):
        pairs = zip(level, level[1:] + level[:1], strict=True)
        level = [pair >> named(f"mix_{layer}_{n}").s() for n, pair in enumerate(pairs)]
    return level >> merge


def arms(number: int) -> list[Flow]:
    return [named(f"read_{n}").s(n) >> named(f"parse_{n}") for n in range(number)]


@pytest.mark.parametrize("is_run", [False, True])
@pytest.mark.parametrize("length", [12, 25, 60, 140])
def test_a_long_chain_goes_on_in_the_next_row_below(length: int, is_run: bool) -> None:
    flow = chain_of(length)
    svg = picture(flow, run_of(flow) if is_run else None).svg
    found = places(svg)

    assert width(svg) <= FITS
    before = found["n0"]
    for n in range(1, length):
        x, y = found[f"n{n}"]
        in_the_row = x > before[0] and abs(y - before[1]) < 5
        in_the_next = x <= before[0] and y > before[1] + 20
        assert in_the_row or in_the_next, n
        before = x, y


def test_a_picture_that_fits_has_one_row() -> None:
    assert "constraint" not in digraph(chain_of(8)).source
    assert "constraint" not in digraph(wide(8)).source


def test_from_top_to_bottom_nothing_is_broken() -> None:
    assert "constraint" not in digraph(chain_of(60), direction="TB").source


def test_a_row_ends_only_where_one_arrow_leads_on() -> None:
    flow = mesh(3, 20)
    assert "constraint" not in digraph(flow).source

    two = chain_of(12) >> (step(abs) >> step(str)).named("middle")
    seen = scene(([two, two >> load] >> merge >> chain_of(14)).topology)
    lines = {each.key: [each.title] for each in seen.figures}
    for arrow in breaks(seen, lines, {}):
        others = [each for each in seen.arrows if each.head == arrow.head]
        assert others == [arrow]


def test_steps_of_a_map_stay_in_one_row() -> None:
    inner = step(abs)
    for _ in range(24):
        inner = inner >> step(abs)
    source = digraph([1, 2] >> inner.map() >> step(sum)).source
    assert "constraint" not in source


@pytest.mark.parametrize("is_run", [False, True])
def test_members_of_a_frame_keep_their_order(is_run: bool) -> None:
    flow = group(*arms(5), max_concurrency=2) >> merge
    found = places(picture(flow, run_of(flow) if is_run else None).svg)
    heights = [found[f"n{2 * n}"][1] for n in range(5)]
    assert heights == sorted(heights)


def test_what_flows_in_stands_beside_what_it_flows_into() -> None:
    flow = group(*(4 >> named(f"part_{n}").s() for n in range(4))) >> merge
    found = places(picture(flow).svg)
    parts = [found[f"n{n}"][1] for n in range(4)]
    values = [y for key, (_, y) in found.items() if key.startswith("c")]
    assert parts == sorted(parts)
    assert len(values) == 4
    assert all(abs(a - b) < 5 for a, b in zip(parts, sorted(values), strict=True))


def test_where_arrows_part_and_meet_sizes_stand_on_the_figures() -> None:
    flow = mesh(3, 2)
    source = digraph(flow, state=run_of(flow)).source
    said = [line for line in source.splitlines() if "->" in line and "1,204" in line]
    # What only comes together is said along its arrows.
    last = flow.topology.positions["merge"]
    assert len(said) == 3
    assert all(f"-> n{last} " in line for line in said)
    assert re.search(r'label="source_0\\n✓ 250 ms · 1,204 × 2"', source)


def test_a_bold_name_has_more_margin_the_longer_it_is() -> None:
    flow = named("a_name_of_thirty_signs_or_more_") >> load
    source = digraph(flow, state=run_of(flow)).source
    assert re.search(r'label="a_name_of_\w+\\n✓ 250 ms".* margin="0.2[5-9],', source)


def test_a_crowd_of_steps_is_gathered_by_the_first_words_of_their_names() -> None:
    source = digraph(group(*arms(99)) >> merge >> load).source
    assert all(f'"{label} × 99"' in source for label in ("read_…", "parse_…"))
    assert "200 steps drawn as 4" in source


def test_crowds_of_other_sizes_are_not_gathered_together() -> None:
    sides = [arms(number) >> named(f"sum_{number}").s() for number in (60, 80)]
    source = digraph(sides >> merge).source
    assert all(f'"read_… × {number}"' in source for number in (60, 80))
    assert all(f"label=sum_{number}" in source for number in (60, 80))


def test_of_a_crowd_the_one_asked_for_is_seen() -> None:
    shown = digraph(group(*arms(99)) >> merge, focus="parse_7").source
    assert "label=read_7" in shown
    assert "label=parse_7" in shown


def test_a_failure_in_a_crowd_is_seen() -> None:
    flow = group(*arms(99)) >> merge
    source = digraph(flow, state=run_of(flow, {"parse_7": Status.FAILED})).source
    assert re.search(r'label="parse_… × 99\\n✗ 1 failed · ✓ 98', source)
