"""Pictures and reports: complete bundles that are always shown, never computed for."""

from __future__ import annotations

import dataclasses
import re

import pytest
from gallery import chain_of, clean, etl, event, extract, load, merge, named, run_of, wide

from nbflow import FlowError, group, step
from nbflow.notebook.picture import picture
from nbflow.notebook.report import report
from nbflow.record.events import Status
from nbflow.record.state import RunState, Shape


def test_a_flow_shows_itself_as_html_and_text() -> None:
    bundle = etl()._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert '<img src="data:image/svg+xml;base64,' in bundle["text/html"]
    assert bundle["text/plain"].startswith("etl: 6 steps")


def test_show_draws_with_options() -> None:
    assert "rankdir=TB" in etl().show(direction="TB").dot
    assert len(wide(50).show(collapse=False).dot) > len(wide(50).show().dot)
    assert "further away" in chain_of(20).show(focus="clean_9").dot


def test_show_refuses_an_option_that_means_nothing() -> None:
    with pytest.raises(FlowError, match="direction"):
        etl().show(direction="sideways")
    with pytest.raises(FlowError, match="no drawing option 'theme'"):
        etl().show(theme="dark")


def test_a_picture_is_a_value() -> None:
    drawn = picture(etl())
    assert drawn == picture(etl())
    assert repr(drawn) == drawn.text
    with pytest.raises(dataclasses.FrozenInstanceError):
        drawn.dot = ""  # type: ignore[misc]


def test_drawing_calls_no_step() -> None:
    calls = []

    @step
    def counted(*args):
        calls.append(args)

    flow = [counted.s(1) >> counted, counted.s(2)] >> merge
    picture(flow).mimebundle()
    flow.to_mermaid()
    assert calls == []


def test_without_a_renderer_the_text_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBFLOW_RENDERER", "none")
    flow = etl()
    assert "merge ← clean, hourly" in picture(flow).html
    assert "<img" not in picture(flow).html
    html = report(flow, run_of(flow, {"load": Status.FAILED})).html
    assert "merge ← clean, hourly" in html
    assert "KeyError" in html


def test_open_and_empty_flows_are_drawn() -> None:
    @step
    def first(table, other):
        return table

    assert "open at first" in picture(first >> clean).text
    assert picture(first >> clean).svg
    assert picture(group()).html


def test_a_flow_that_cannot_be_walked_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    flow = etl()

    def broken(*_: object) -> None:
        raise RuntimeError("nothing works")

    monkeypatch.setattr("nbflow.algebra.flow.Topology.of", broken)
    fresh = type(flow)(flow.expression, {}, "etl")
    assert "nothing works" in fresh._repr_mimebundle_()["text/plain"]
    assert "nothing works" in fresh._repr_mimebundle_()["text/html"]


def test_a_run_is_reported_with_headline_picture_and_table() -> None:
    flow = etl()
    made = report(flow, run_of(flow))
    assert set(made.mimebundle()) == {"text/html", "text/plain"}
    assert repr(made).startswith("✓ etl: completed, 6 steps, 1.0 s, run r-1a2b")
    order = [made.html.index(each) for each in ("✓ completed", "r-1a2b", "<img", "<table")]
    assert order == sorted(order)


def test_what_failed_comes_before_the_table() -> None:
    flow = etl()
    html = report(flow, run_of(flow, {"load": Status.FAILED})).html
    assert html.index("Traceback") < html.index("<table")


@pytest.mark.parametrize("status", list(Status))
def test_a_run_in_any_status_can_be_reported(status: Status) -> None:
    flow = etl()
    made = report(flow, run_of(flow, dict.fromkeys(flow.steps, status)))
    assert status.value in made.html
    assert status.value in made.text


def test_a_run_before_its_first_event_can_be_reported() -> None:
    flow = etl()
    made = report(flow, RunState.planned("r", "etl", dict.fromkeys(flow.steps, Shape()), 0.0))
    assert "6 pending" in made.text


def test_a_run_whose_flow_is_not_known_is_reported_without_a_picture() -> None:
    made = report(None, run_of(etl()))
    assert "<img" not in made.html
    assert "<table" in made.html
    assert "weather" in made.text


def test_a_run_of_other_steps_than_the_flow_has_is_reported() -> None:
    state = RunState.planned("r", "x", {"zzz": Shape()}, 0.0)
    made = report(etl(), state.apply([event("zzz", Status.COMPLETED, 1.0)]))
    assert "zzz" in made.html


def test_deterministic_reports_are_the_same_whenever_and_wherever_they_ran(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NBFLOW_DETERMINISTIC", "1")
    flow = etl()
    given = {"merge": Status.FAILED, "load": Status.SKIPPED}
    first = run_of(flow, given, at=1.0, run_id="r-1")
    second = run_of(flow, given, at=5000.5, run_id="r-2")
    steps = {
        name: dataclasses.replace(
            each, worker="tcp://127.0.0.1:9", seconds=9.75, bytes=7, started=3.0, ended=12.75
        )
        for name, each in second.steps.items()
    }
    second = dataclasses.replace(second, steps=steps, ended=9000.0)
    one, two = report(flow, first).mimebundle(), report(flow, second).mimebundle()
    assert one == two
    assert "1,204 × 2" in one["text/plain"]
    assert "✗ 1 failed" in one["text/html"]


def test_deterministic_reports_leave_out_addresses_and_tracebacks() -> None:
    state = RunState.planned("r", "f", {"a": Shape()}, 0.0)
    failed = event("a", Status.FAILED, 1.0)
    error = dataclasses.replace(failed.error, message="<T object at 0x7f00deadbeef>")
    made = report(None, state.apply([dataclasses.replace(failed, error=error)]), deterministic=True)
    assert "7f00deadbeef" not in made.html + made.text
    assert "line 3, in clean" not in made.html


def test_a_chain_of_ten_thousand_is_drawn() -> None:
    drawn = picture(chain_of(10_000))
    assert drawn.svg
    assert len(drawn.html) < 100_000


def test_a_wide_picture_shrinks_a_little_and_then_scrolls() -> None:
    for flow in (etl(), chain_of(100)):
        shown = picture(flow)
        width = int(re.match(r'<svg width="(\d+)', shown.svg)[1])
        assert f"max-width: max(100%, {int(0.75 * width)}px)" in shown.html


def test_the_alternative_text_of_the_image_says_what_it_shows() -> None:
    html = picture(named('"quoted"') >> extract >> load).html
    assert 'alt="load: 3 steps. Steps: &quot;quoted&quot;, extract, load"' in html
