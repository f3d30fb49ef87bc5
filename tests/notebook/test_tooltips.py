"""What pictures say where the mouse rests on them, and what none of them ever says."""

from __future__ import annotations

import functools
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbflow import param, step
from nbflow.notebook.about import about
from nbflow.notebook.draw import digraph
from nbflow.notebook.glance import Glance
from nbflow.notebook.picture import picture
from nbflow.notebook.report import report
from nbflow.notebook.saving import ENDINGS
from nbflow.notebook.secrecy import HIDDEN, said
from nbflow.notebook.text import tree
from nbflow.record.events import Event, Status
from nbflow.record.state import RunState
from nbflow.running.drive import shapes

SVG = "{http://www.w3.org/2000/svg}"
CANARY = "hush-7391-hush"
NUMBER = 739_173_917
NAMES = [
    "password",
    "api_token",
    "SECRET",
    "key",
    "aws_secret_key",
    "Credentials",
    "PASSWD",
    "sshKey",
]


@step
def load(day, region="eu"):
    """Read what was sold.

    The rest of the docstring is not shown.
    """
    return [day, region]


@step
def clean(rows, password=None):
    """Drop what is <empty>."""
    return rows


def titles(svg):
    """Give what is said where the mouse rests on a node, by the name that stands on it."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == "node":
            inner = group.find(f"{SVG}g/{SVG}title")
            name = next(group.iter(f"{SVG}text")).text
            found[name] = None if inner is None else inner.text
    return found


def test_a_saved_picture_says_what_each_step_does_and_with_what(tmp_path):
    flow = load.s(3, region="us") >> clean.s(password=CANARY)

    found = titles(flow.save(tmp_path / "etl.svg").read_text())

    assert found["load"] == "load\nRead what was sold.\nwith day=3, region='us'"
    assert found["clean"] == f"clean\nDrop what is <empty>.\nwith password={HIDDEN}"


def test_a_run_says_what_is_wrong_before_it_says_what_the_step_does(cluster, tmp_path):
    @step
    def broken(rows):
        """Never works."""
        raise ValueError("no rows")

    run = (load.s(1) >> broken).run(raise_on_error=False)
    found = titles(run.save(tmp_path / "run.svg").read_text())

    assert found["broken"] == "broken · ValueError: no rows\nNever works."


def test_an_image_in_a_notebook_holds_nothing_that_nobody_can_see():
    flow = load.s(3, region="us") >> clean

    assert "Read what was sold" not in (flow.show().svg or "")
    assert "Read what was sold" not in flow.show().html


def test_the_live_panel_says_it_too():
    flow = load.s(3) >> clean

    glance = Glance(flow, RunState.planned("r1", "etl", shapes(flow.topology), 100.0))

    assert titles(glance.whole["svg"])["load"] == "load\nRead what was sold.\nwith day=3"


def test_what_a_stack_says_holds_for_all_of_its_steps():
    flow = [load.s(n) for n in range(20)] >> clean
    dot = digraph(flow, hover=True).source

    [said_of_stack] = re.findall(r'tooltip="(load.*?)"', dot)
    assert said_of_stack.endswith("\\nRead what was sold.")


def test_bars_of_a_timeline_say_what_they_stand_for(cluster):
    run = (load.s(1) >> clean.map()).run()
    svg = run.timeline().svg

    root = ElementTree.fromstring(svg)
    found = [each.findtext(f"{SVG}title") or "" for each in root.iter(f"{SVG}rect")]
    assert any(re.fullmatch(r"load, completed, [<\d.]+ \w+", each) for each in found)
    assert any(re.match(r"clean.*, completed", each) for each in found)


def test_hostile_docstrings_are_text():
    def load(n):
        """</title><script>alert(1)</script>"""

    svg = picture(4 >> step(load), hover=True).svg or ""

    assert "<script" not in svg
    assert "</title><script>alert(1)</script>" in titles(svg)["load"]


def test_drawing_never_fails_whatever_a_function_is():
    class Odd:
        is_asked = False
        __name__ = "odd"

        @property
        def __doc__(self):
            return 1 / 0 if self.is_asked else None

        def __call__(self, n):
            return n

    odd = Odd()
    flow = 4 >> step(odd) >> step(functools.partial(load, region="us")) >> step(print)
    odd.is_asked = True

    assert picture(flow, hover=True).dot


# Secrets


class Settings:
    """An object that writes its fields, as a dataclass does."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def __repr__(self):
        return f"Settings({self.name}={self.value!r}, size=3)"


def function_of(name, default=None, first=False):
    """Make a function that has a parameter of a name."""
    parameters = [f"{name}={default!r}", "rows=None"][:: 1 if first else -1]
    names: dict = {}
    exec(f"def connect({', '.join(parameters)}, config=None):\n    return rows\n", names)
    return names["connect"]


@st.composite
def flows(draw):
    """Flows that are given a secret in one of the ways there are."""
    name = draw(st.sampled_from(NAMES))
    secret = draw(st.sampled_from([CANARY, NUMBER, [CANARY], {"any": CANARY}]))
    way = draw(
        st.sampled_from(
            ["named", "placed", "default", "flown", "spread", "nested", "object", "url", "param"]
        )
    )
    connect = step(function_of(name))
    if way == "named":
        return load.s(1) >> connect.s(**{name: secret})
    if way == "placed":
        return connect.s(None, secret) >> clean
    if way == "default":
        return load.s(1) >> step(function_of(name, secret))
    if way == "flown":
        return [secret] >> step(function_of(name, first=True))
    if way == "spread":
        return {name: secret} >> connect
    if way == "nested":
        return load.s(1) >> connect.s(config=[{"size": 3, name: secret}])
    if way == "object":
        return load.s(1) >> connect.s(config=Settings(name, CANARY))
    if way == "url":
        return load.s(1) >> connect.s(config=f"postgres://me:{CANARY}@host/db")
    return param(name, secret) >> connect


def shown(flow, folder):
    """Give all that is ever shown of a flow, and of runs of it."""
    begun = RunState.planned("r1", "etl", shapes(flow.topology), 100.0)
    events = [Event(n, Status.COMPLETED, 105.0, 1, "w", 2.0) for n in flow.topology.names]
    for state in (None, begun, begun.apply(events)):
        drawn = picture(flow, state, hover=True)
        yield from (drawn.dot, drawn.svg or "", drawn.text, drawn.html, tree(flow, state))
        if state is not None:
            glance = Glance(flow, state)
            glance.look(state, 106.0)
            yield from (report(flow, state).html, json.dumps(glance.whole))
    for each in ENDINGS:
        if each not in (".png", ".pdf"):
            yield flow.save(folder / f"flow{each}").read_text(encoding="utf-8")
    yield from (flow.to_dot(), flow.to_mermaid(), repr(flow))
    yield from (str(about(node)) for node in flow.topology.nodes)


@settings(max_examples=60, deadline=None)
@given(flows())
def test_no_secret_is_ever_shown(tmp_path_factory, flow):
    for each in shown(flow, tmp_path_factory.mktemp("saved")):
        assert CANARY not in each
        assert str(NUMBER) not in each


def test_no_secret_is_shown_of_a_real_run(cluster, tmp_path):
    flow = load.s(1) >> clean.s(password=CANARY) >> step(len)
    other = load.s(1) >> clean.s(password=CANARY + "2") >> step(len)
    run = flow.run()

    outputs = [run.save(tmp_path / f"run{each}").read_bytes() for each in ENDINGS]
    drawing = run.timeline()
    outputs += [text.encode() for text in (repr(run), drawing.svg, drawing.text)]
    outputs += [text.encode() for text in (run.steps.to_string(), run.rows().to_string())]
    outputs.append(other.run().diff(run).to_string().encode())
    assert not any(CANARY.encode() in each for each in outputs)


def test_a_source_does_not_tell_what_a_parameter_hides():
    @step
    def connect(rows, password="hush-7391-hush", *, token: str = "hush-7391-hush"):
        """Connect."""
        secret_key = "hush-7391-hush"
        options = {"api_token": "hush-7391-hush"}
        return rows, secret_key, options

    told = str(about((load.s(1) >> connect).topology.nodes[1]))

    assert CANARY not in told
    assert "def connect" in told


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n", 3, "3"),
        ("path", "eu.csv", "'eu.csv'"),
        ("password", "hush", HIDDEN),
        ("config", {"key": "hush", "n": 1}, f"{{'key': {HIDDEN}, 'n': 1}}"),
        ("url", "s3://bucket/key/part", "'s3://bucket/key/part'"),
        ("url", "https://me:hush@host", f"'https://me:{HIDDEN}@host'"),
    ],
)
def test_arguments_are_said_without_what_is_secret(name, value, expected):
    assert said(name, value, 80) == expected
