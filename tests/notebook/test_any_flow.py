"""Whatever is composed, it is drawn: random flows, before and after random runs."""

from __future__ import annotations

import re

from gallery import event, planned
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import written_flows

from nbflow.notebook.arms import wires
from nbflow.notebook.draw import digraph
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.report import report
from nbflow.notebook.text import tree
from nbflow.record.events import Status

NODE = re.compile(r"^\t+(\w+) \[", re.MULTILINE)
EDGE = re.compile(r"^\t(\w+) -> (\w+)", re.MULTILINE)


@settings(max_examples=120, deadline=None)
@given(written_flows(depth=3))
def test_any_flow_is_drawn_whole_and_the_same_again(written) -> None:
    flow = written.flow
    source = digraph(flow, collapse=False).source
    nodes = set(NODE.findall(source))
    assert {f"n{position}" for position in range(len(flow))} <= nodes
    assert all({tail, head} <= nodes for tail, head in EDGE.findall(source))
    assert source == digraph(flow, collapse=False).source
    text = tree(flow)
    assert len(text.splitlines()) == len(flow) + 1
    assert all(name in text for name in flow.steps)
    assert mermaid(flow).count("subgraph") == mermaid(flow).count("    end")


@settings(max_examples=120, deadline=None)
@given(written_flows(depth=3))
def test_the_edges_lead_from_every_step_to_whatever_needs_it(written) -> None:
    topology = written.flow.topology
    upstream = wires(topology).upstream
    assert all(tail < head for head, above in enumerate(upstream) for tail in above)
    reached: list[set[int]] = []
    for above in upstream:
        reached.append(set(above).union(*(reached[each] for each in above)))
    # An edge is only left out where other edges lead the same way.
    for position, needed in enumerate(topology.upstream):
        assert set(needed) <= reached[position]


@settings(max_examples=60, deadline=None)
@given(written_flows(depth=3), st.data())
def test_any_run_is_reported(written, data) -> None:
    flow = written.flow
    statuses = data.draw(
        st.lists(st.sampled_from(list(Status)), min_size=len(flow), max_size=len(flow))
    )
    pairs = zip(flow.steps, statuses, strict=True)
    state = planned(flow).apply(event(name, status, 1001.0) for name, status in pairs)
    made = report(flow, state)
    assert made.picture is not None
    assert made.picture.svg
    assert made.html.startswith("<div")
    assert all(name in made.text for name in flow.steps)
