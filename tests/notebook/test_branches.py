"""Branches in pictures: diamonds, one edge for each arm, and the way a run went."""

from __future__ import annotations

import re
from enum import Enum

import pytest
from gallery import HOSTILE, event, extract, load, named, planned, run_of

from nbflow import Flow, branch, param, switch
from nbflow.notebook.arms import case_of, wires
from nbflow.notebook.draw import digraph
from nbflow.notebook.mermaid import mermaid
from nbflow.notebook.picture import picture
from nbflow.notebook.text import tree
from nbflow.record.events import Status

raw, is_big, is_huge, heavy, light, tidy, join = map(
    named, ["raw", "is_big", "is_huge", "heavy", "light", "tidy", "join"]
)
EDGE = re.compile(r"^\t(\w+) -> (\w+)(?: \[(.*)\])?$", re.MULTILINE)
LABEL = re.compile(r'label=("(?:[^"\\]|\\.)*"|\S+)')


def drawn(flow: Flow, **options: object) -> dict[tuple[str, str], str]:
    """Give the edges by the names of what they connect, with their attributes."""
    source = digraph(flow, **options).source
    names = {}
    for line in source.splitlines():
        node = re.match(r"^\t+(\w+) \[", line)
        found = LABEL.search(line)
        if node and found:
            names[node[1]] = found[1].strip('"').split(r"\n")[0]
    return {(names[tail], names[head]): said for tail, head, said in EDGE.findall(source)}


def test_a_branch_is_a_diamond_with_one_labelled_edge_for_each_arm() -> None:
    flow = raw >> branch(is_big, heavy, light) >> join
    edges = drawn(flow)
    assert set(edges) == {
        ("raw", "is_big"),
        ("is_big", "heavy"),
        ("is_big", "light"),
        ("heavy", "join"),
        ("light", "join"),
    }
    assert 'label=" True "' in edges["is_big", "heavy"]
    assert 'label=" False "' in edges["is_big", "light"]
    assert re.search(r"label=is_big .*shape=diamond", digraph(flow).source)


def test_an_arm_of_several_steps_begins_once_and_ends_in_the_join() -> None:
    flow = raw >> branch(is_big, [heavy, tidy] >> named("both").s(), light) >> join
    assert set(drawn(flow)) >= {("is_big", "heavy"), ("is_big", "tidy"), ("both", "join")}
    assert ("is_big", "both") not in drawn(flow)


def test_nested_branches_lead_from_diamond_to_diamond() -> None:
    flow = raw >> branch(is_big, branch(is_huge, heavy, tidy), light) >> join
    edges = drawn(flow)
    assert set(edges) == {
        ("raw", "is_big"),
        ("is_big", "is_huge"),
        ("is_huge", "heavy"),
        ("is_huge", "tidy"),
        ("is_big", "light"),
        ("heavy", "join"),
        ("tidy", "join"),
        ("light", "join"),
    }
    assert "True" in edges["is_big", "is_huge"]


def test_one_branch_after_the_other_is_a_chain_of_diamonds() -> None:
    flow = raw >> branch(is_big, heavy, light) >> branch(is_huge, tidy, load) >> join
    edges = set(drawn(flow))
    assert {("heavy", "is_huge"), ("light", "is_huge"), ("is_huge", "tidy")} <= edges
    assert not {("heavy", "tidy"), ("is_big", "is_huge")} & edges


def test_without_otherwise_the_other_way_ends() -> None:
    source = digraph(raw >> branch(is_big, heavy) >> join).source
    assert "shape=point" in source
    assert re.search(r'n1 -> s0 \[.*label=" False "|n1 -> s0 \[label=" False "', source)
    assert "n1 -> n3" not in source


def test_an_arm_that_is_a_constant_hangs_on_the_diamond() -> None:
    for flow in (raw >> branch(is_big, heavy, 0) >> join, raw >> branch(is_big, heavy, 0)):
        edges = drawn(flow)
        assert "False" in edges["is_big", "0"]
        assert (("0", "join") in edges) == ("join" in flow)


def test_an_arm_that_hands_on_what_is_there_anyway_leads_to_its_consumer() -> None:
    flow = raw >> branch(is_big, heavy, param("fallback")) >> join
    edges = drawn(flow)
    assert "False" in edges["is_big", "join"]
    assert ("fallback", "join") in edges
    alone = drawn(raw >> branch(is_big, heavy, param("fallback")))
    assert "False" in alone["is_big", "fallback"]


def test_what_a_branch_gets_from_outside_flows_through_the_diamond() -> None:
    for flow in (4 >> branch(is_big, heavy, light), param("n") >> branch(is_big, heavy, light)):
        inside = {"is_big", "heavy", "light"}
        (fed,) = [head for tail, head in drawn(flow) if tail not in inside]
        assert fed == "is_big"


def test_an_open_branch_misses_its_input_once() -> None:
    from nbflow import step

    @step
    def asks(table): ...

    @step
    def takes(table): ...

    @step
    def adds(table, other): ...

    edges = drawn(branch(asks, takes, adds))
    assert {each for each in edges if each[0].endswith("= ?")} == {
        ("table = ?", "asks"),
        ("other = ?", "adds"),
    }


def test_a_switch_names_its_cases_shortly_and_its_default() -> None:
    cases = {"a case with a very long name": heavy, 3: light, None: tidy}
    edges = drawn(raw >> switch(named("kind"), cases, default=load) >> join)
    assert '" a case wit… name "' in edges["kind", "heavy"]
    assert '" 3 "' in edges["kind", "light"]
    assert '" None "' in edges["kind", "tidy"]
    assert '" default "' in edges["kind", "load"]


def test_a_case_is_never_asked_for_its_text() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError

        __str__ = __repr__

    class Colour(Enum):
        RED = 1

    cases = {Loud(): heavy, Colour.RED: light, int: tidy, (1, 2): load}
    flow = raw >> switch(named("kind"), cases) >> join
    said = " ".join(drawn(flow).values())
    assert all(each in said for each in ("Loud", "RED", "int", "tuple of 2"))
    assert picture(flow).text.count("Loud: heavy") == 1


def test_a_step_with_a_condition_says_so() -> None:
    def is_csv(value: object) -> bool:
        return True

    flow = raw >> heavy.options(when=is_csv)
    assert r'label="heavy\nwhen is_csv"' in digraph(flow).source
    assert "heavy (when is_csv)" in tree(flow)
    assert '"heavy, when is_csv"' in mermaid(flow)


def test_many_alike_branches_are_one_diamond() -> None:
    flow = [raw.s(n) >> branch(is_big, heavy, light) >> tidy.s() for n in range(20)] >> join
    edges = drawn(flow)
    assert "True" in edges["is_big × 20", "heavy × 20"]
    assert "False" in edges["is_big × 20", "light × 20"]
    assert re.search(r"is_big × 20.*peripheries=3.*shape=diamond", digraph(flow).source)


def test_many_branches_that_differ_stay_small_and_whole() -> None:
    flow = raw >> tidy
    for n in range(75):
        flow = flow >> branch(named(f"q{n}"), named(f"a{n}"), named(f"b{n}")) >> named(f"j{n}")
    source = digraph(flow).source
    assert len(re.findall(r"^\t\w+ \[", source, re.MULTILINE)) < 150
    assert picture(flow).svg


def test_focus_keeps_the_diamond_of_an_arm() -> None:
    flow = raw >> branch(is_big, heavy >> tidy, light) >> join
    assert ("is_big", "heavy") in drawn(flow, focus="heavy")
    assert ("is_big", "light") not in drawn(flow, focus="heavy")


# After a run


def state_of(flow: Flow, **reasons: str):
    events = []
    for name in flow.steps:
        status = Status.SKIPPED if name in reasons else Status.COMPLETED
        made = event(name, status, 1001.0)
        events.append(made if name not in reasons else _with_reason(made, reasons[name]))
    return planned(flow).apply(events)


def _with_reason(made, reason: str):
    import dataclasses

    return dataclasses.replace(made, reason=reason)


def test_the_taken_arm_is_strong_and_the_other_says_why() -> None:
    flow = raw >> branch(is_big, heavy >> tidy, light) >> join
    state = state_of(flow, heavy="is_big was False", tidy="heavy was skipped")
    edges = drawn(flow, state=state)
    assert "penwidth=2.2" in edges["is_big", "light"]
    for ends in (("is_big", "heavy"), ("heavy", "tidy"), ("tidy", "join")):
        assert "dashed" in edges[ends]
    assert "dashed" not in edges["light", "join"]
    assert r"heavy\n– is_big was False" in digraph(flow, state=state).source
    assert "True: heavy      – skipped, is_big was False" in tree(flow, state)


@pytest.mark.parametrize("otherwise", [0, None, param("fallback")])
def test_an_arm_without_steps_was_taken_if_no_other_was(otherwise: object) -> None:
    flow = raw >> branch(is_big, heavy, otherwise) >> join
    idle = {0: "0", None: ""}.get(otherwise if otherwise in (0, None) else "", "join")
    skipped = state_of(flow, heavy="is_big was False")
    assert "penwidth=2.2" in drawn(flow, state=skipped)["is_big", idle]
    ran = state_of(flow)
    assert "penwidth=2.2" in drawn(flow, state=ran)["is_big", "heavy"]
    assert "penwidth=2.2" not in drawn(flow, state=ran)["is_big", idle]


def test_no_way_is_told_before_it_was_decided() -> None:
    flow = raw >> branch(is_big, heavy, light) >> join
    for state in (planned(flow), run_of(flow, dict.fromkeys(flow.steps[1:], Status.PENDING))):
        assert not any("penwidth" in said for said in drawn(flow, state=state).values())
    lost = dict.fromkeys(["heavy", "light", "join"], Status.SKIPPED)
    failed = run_of(flow, {"is_big": Status.FAILED, **lost})
    assert not any("penwidth" in said for said in drawn(flow, state=failed).values())


def test_the_edges_of_the_flow_are_those_of_the_picture_without_a_branch() -> None:
    flow = [extract >> tidy, raw] >> join >> load.si()
    topology = flow.topology
    assert wires(topology).upstream == topology.upstream


def test_a_picture_of_branches_is_never_upside_down() -> None:
    flow = raw >> branch(is_big, branch(is_huge, heavy, 0), branch(named("odd"), tidy)) >> join
    assert all(
        tail < head for head, above in enumerate(wires(flow.topology).upstream) for tail in above
    )


def test_mermaid_has_diamonds_and_labels() -> None:
    text = mermaid(raw >> switch(is_big, {'a"|b': heavy}, default=light) >> join)
    assert 'n1{"is_big"}' in text
    assert 'n1 -->|"a#34;#124;b"| n2' in text
    assert 'n1 -->|"default"| n3' in text


def test_the_text_tells_branches_in_words() -> None:
    flow = raw >> branch(is_big, branch(is_huge, heavy, tidy), 0) >> join
    assert tree(flow) == (
        "join: 6 steps\n"
        "raw\n"
        "◇ is_big (False: 0)\n"
        "└─ True: ◇ is_huge\n"
        "   ├─ True: heavy\n"
        "   └─ False: tidy\n"
        "join ← heavy, tidy"
    )
    assert "◇ is_big (False: nothing)" in tree(raw >> branch(is_big, heavy))


def test_hostile_cases_conditions_and_reasons_stay_text() -> None:
    from xml.etree import ElementTree

    def condition(value: object) -> bool:
        return True

    condition.__name__ = HOSTILE[0]
    cases = {name: heavy.options(when=condition).s(n) for n, name in enumerate(HOSTILE)}
    flow = raw >> switch(named(HOSTILE[2]), cases) >> join
    reason = f"{HOSTILE[6]} was {HOSTILE[3]}"
    state = state_of(flow, **dict.fromkeys(flow.steps[2:-1], reason))
    for each in (digraph(flow, collapse=False), digraph(flow, state=state, collapse=False)):
        assert len(EDGE.findall(each.source)) == 2 * len(HOSTILE) + 1
        assert "label=<" not in each.source
    svg = picture(flow, state, collapse=False).svg or ""
    kinds = {each.tag.rpartition("}")[2] for each in ElementTree.fromstring(svg).iter()}
    assert kinds <= {"svg", "g", "title", "path", "polygon", "ellipse", "text", "a", "polyline"}
    edge = re.compile(r'    \w+ -->(\|"[^"|<>`\\\[\]{}()]*"\|)? \w+')
    few = mermaid(raw >> switch(named("kind"), dict(zip(HOSTILE[:8], [heavy, light] * 4))))
    assert all(edge.fullmatch(line) for line in few.splitlines() if "-->" in line)


def test_case_names_are_short_words() -> None:
    from nbflow.algebra.decision import Decision

    decision = Decision("kind", ("", True, 2**70, [1]), default=True)
    assert [case_of(decision, arm) for arm in range(5)] == [
        "''",
        "True",
        "int",
        "list of 1",
        "default",
    ]
