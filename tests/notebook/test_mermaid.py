"""The drawing as Mermaid, escaped and as small as the picture."""

from __future__ import annotations

import re

from gallery import HOSTILE, etl, extract, load, merge, named, parse, wide

from nbflow import group
from nbflow.notebook.mermaid import mermaid


def test_a_flow_is_a_flowchart() -> None:
    assert mermaid(etl()) == (
        "flowchart LR\n"
        '    n0["extract"]\n'
        '    n1["clean"]\n'
        '    n2["weather"]\n'
        '    n3["hourly"]\n'
        '    n4["merge"]\n'
        '    n5["load"]\n'
        "    n0 --> n1\n"
        "    n2 --> n3\n"
        "    n1 --> n4\n"
        "    n3 --> n4\n"
        "    n4 --> n5\n"
    )


def test_order_only_edges_are_dotted_and_maps_have_a_shape() -> None:
    text = mermaid(parse.map(range(3)) >> load.si())
    assert '[["parse × 3"]]' in text
    assert "n0 -.-> n1" in text


def test_a_wide_group_is_one_node() -> None:
    assert mermaid(wide(2000)).count('["') == 4


def test_hostile_names_leave_the_structure_alone() -> None:
    flow = group(*(named(name).s() for name in HOSTILE)) >> merge
    lines = mermaid(flow).splitlines()[1:]
    node = re.compile(r'    n\d+\["[^"\[\]<>&`\\|{}()]*"\]')
    edge = re.compile(r"    n\d+ --> n\d+")
    assert all(node.fullmatch(line) or edge.fullmatch(line) for line in lines)
    assert len(lines) == 2 * len(HOSTILE) + 1


def test_letters_of_every_script_stay_readable() -> None:
    assert "日本語" in mermaid(extract >> named("日本語"))
