"""The timeline of a run as a picture, as text and as a file."""

from __future__ import annotations

import base64
import random
import re
import xml.dom.minidom

import pytest
from gallery import HOSTILE, etl, extract, named, planned, wide

from nbflow import chain
from nbflow.errors import FlowError
from nbflow.notebook.gantt import drawn
from nbflow.notebook.lanes import lanes_of
from nbflow.notebook.scale import Scale
from nbflow.notebook.style import LOOKS
from nbflow.notebook.timeline import timeline
from nbflow.record.events import ElementRecords, Event, Status
from nbflow.record.spans import Span

LIMIT = 500_000


def of(flow, events):
    return timeline(flow.topology, planned(flow).apply(events), events)


def texts(svg):
    document = xml.dom.minidom.parseString(svg)
    return [each.firstChild.data for each in document.getElementsByTagName("text")]


def some():
    w = "tcp://127.0.0.1:4711"
    return [
        Event("extract", Status.COMPLETED, 1001.0, 1, w, 1.0),
        Event("clean", Status.RETRYING, 1001.5, 1, w, 0.4, retry_at=1002.5),
        Event("clean", Status.COMPLETED, 1003.0, 2, w, 0.5),
        Event("weather", Status.FAILED, 1002.0, 1, "tcp://127.0.0.1:4712", 2.0),
        Event("hourly", Status.SKIPPED, 1002.0, reason="weather failed"),
    ]


def test_shows_workers_attempts_statuses_and_what_was_skipped():
    made = of(etl(), some())

    said = texts(made.svg)
    assert {"worker 1", "127.0.0.1:4711", "worker 2", "extract"} <= set(said)
    assert "clean · attempt 2" in said
    assert {"failed", "failed, tried again", "critical path", "waiting"} <= set(said)
    assert "– skipped: hourly" in said
    assert "critical path: extract → clean (1.9 s of work)" in said
    for status in (Status.COMPLETED, Status.FAILED, Status.RETRYING):
        assert LOOKS[status].fill in made.svg


def test_is_an_image_that_an_untrusted_notebook_shows():
    bundle = of(etl(), some()).mimebundle()

    source = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', bundle["text/html"])
    assert set(bundle) == {"text/html", "text/plain"}
    assert base64.b64decode(source.group(1)).decode().startswith("<svg")
    assert "<svg" not in bundle["text/html"]
    assert bundle["text/plain"].startswith("etl: 6 steps on 2 workers in 3.0 s")
    assert "extract *|===" in bundle["text/plain"]


def test_is_saved_as_svg_and_as_nothing_else(tmp_path):
    made = of(etl(), some())

    assert made.save(tmp_path / "x.svg").read_text(encoding="utf-8") == made.svg
    with pytest.raises(FlowError, match=r"'x\.png'; expected is a file that ends in \.svg"):
        made.save(tmp_path / "x.png")
    with pytest.raises(FlowError, match="there is no drawing"):
        of(etl(), []).save(tmp_path / "x.svg")


def test_hostile_names_are_shown_and_do_nothing():
    flow = chain(*[named(each) for each in HOSTILE])
    events = [
        Event(name, Status.COMPLETED, 1000.0 + n, 1, f"<script>{n % 3}", 0.9)
        for n, name in enumerate(flow.topology.names)
    ]

    svg = of(flow, events).svg

    document = xml.dom.minidom.parseString(svg)
    kinds = {each.tagName for each in document.getElementsByTagName("*")}
    assert kinds <= {"svg", "title", "text", "rect", "line", "polyline"}
    assert not any(each.isascii() and not each.isprintable() for each in texts(svg))


@pytest.mark.parametrize("failing", [0.0, 0.1, 0.5])
def test_a_hundred_thousand_elements_stay_small(failing):
    chance = random.Random(1)
    flow = range(5) >> extract.map()
    events, seconds = [], (0.012,) * 250
    for number in range(400):
        statuses = tuple(
            Status.FAILED if chance.random() < failing else Status.COMPLETED for _ in seconds
        )
        records = ElementRecords(250 * number, statuses, seconds)
        worker, at = f"tcp://10.0.0.{number % 64}:1", 1000.0 + 3 * (number // 64)
        events.append(Event("extract", Status.RUNNING, at, 1, worker, 3.0, elements=records))

    svg = timeline(flow.topology, planned(flow), events).svg

    assert len(svg) < LIMIT
    assert "24 lanes with less to do not shown" in texts(svg)
    assert ("✗" in svg) == bool(failing)


def test_thousands_of_steps_stay_small():
    flow, chance = wide(1500), random.Random(1)
    events = [
        Event(name, Status.COMPLETED, 1000 + 60 * chance.random(), 1, f"tcp://{n % 40}:1", 0.3)
        for n, name in enumerate(flow.topology.names)
    ]

    assert 0 < len(of(flow, events).svg) < LIMIT


def test_nothing_that_ran_is_said_in_words():
    assert repr(of(etl(), [])) == "etl: no step has run"
    assert "<img" not in of(etl(), []).mimebundle()["text/html"]


def test_times_are_left_out_where_everything_is_to_be_the_same(monkeypatch):
    monkeypatch.setenv("NBFLOW_DETERMINISTIC", "1")

    assert repr(of(etl(), some())) == "etl: 6 steps; times differ from run to run"


def test_a_thread_does_one_thing_at_a_time():
    spans = [Span("a", "w", float(n), n + 2.5, Status.COMPLETED) for n in range(5)]

    lanes = lanes_of(spans)

    assert len(lanes) == 3
    for lane in lanes:
        assert all(a.end <= b.start for a, b in zip(lane.spans, lane.spans[1:], strict=False))


def test_a_long_pause_is_cut_short_and_said():
    events = [
        Event("extract", Status.COMPLETED, 1001.0, 1, "a", 1.0),
        Event("clean", Status.COMPLETED, 9000.0, 1, "a", 1.0),
    ]

    said = texts(of(etl(), events).svg)

    assert "2 h 13 min" in said
    assert {"0", "+500 ms"} <= set(said) or "+0.5 s" in said


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 0.02, 0.7, 3.0, 59, 61, 4000, 3e5, 1e7])
def test_ticks_can_be_read_whatever_the_time(seconds):
    ticks = Scale.of([(0.0, seconds)], 0.0, seconds, 100.0, 900.0).ticks()

    assert ticks[0] == (100.0, "0")
    assert 1 <= len(ticks) <= 14
    assert len({said for _, said in ticks}) == len(ticks)
    assert all(b[0] - a[0] > 40 for a, b in zip(ticks, ticks[1:], strict=False))


def test_drawing_never_fails_the_notebook(monkeypatch):
    monkeypatch.setattr("nbflow.notebook.timeline.drawn", lambda chart: 1 / 0)

    assert "etl: 6 steps" in of(etl(), some()).mimebundle()["text/html"]
    assert callable(drawn)
