"""The HTML of a run: escaped, bounded, and made only of what untrusted notebooks keep."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from gallery import ERROR, HOSTILE, chain_of, etl, event, merge, named, parse, run_of, wide

from nbflow import group
from nbflow.notebook.html import element, escaped
from nbflow.notebook.picture import picture
from nbflow.notebook.report import report
from nbflow.notebook.steptable import preview as preview_markup
from nbflow.record.events import ErrorRecord, Status
from nbflow.record.state import RunState, Shape
from nbflow.values.preview import preview

ELEMENTS = {
    "div", "span", "b", "p", "br", "img", "pre", "details", "summary",
    "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"style", "src", "alt", "open", "cellpadding", "cellspacing", "data-nbflow"}
VOID = {"img", "br"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and keeps what is seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.images: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.images += [value or "" for name, value in attrs if name == "src"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = unknown_decl = handle_pi = handle_comment


def hostile_state() -> tuple[object, RunState]:
    flow = group(*(named(name).s() for name in HOSTILE)) >> merge
    state = run_of(flow)
    steps = {}
    for number, (name, each) in enumerate(state.steps.items()):
        text = HOSTILE[number % len(HOSTILE)]
        seen = preview([{text: text, "other": None}])
        failed = number % 2 == 0
        steps[name] = replace(
            each,
            status=Status.FAILED if failed else Status.COMPLETED,
            error=ErrorRecord(text, text, text) if failed else None,
            preview=seen,
            log=text,
            reason=text,
            worker=text,
        )
    return flow, replace(state, steps=steps, name=HOSTILE[0], run_id=HOSTILE[2])


def test_text_is_escaped_for_elements_and_attributes() -> None:
    shown = element("p", '<b>&"', title='"><script>')
    assert shown == '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;&quot;</p>'
    assert escaped(escaped("<")) == "&lt;"


def test_no_user_text_becomes_an_element_or_an_attribute() -> None:
    flow, state = hostile_state()
    page = Page(report(flow, state).html)
    assert set(page.elements) <= ELEMENTS
    assert page.attributes <= ATTRIBUTES
    assert any("<script>alert(1)</script>" in text for text in page.texts)


def test_no_user_text_reaches_the_image_but_as_text() -> None:
    flow, state = hostile_state()
    (source,) = Page(report(flow, state).html).images
    svg = base64.b64decode(source.removeprefix("data:image/svg+xml;base64,"))
    assert not any("script" in each.tag for each in ElementTree.fromstring(svg).iter())


def test_only_what_an_untrusted_notebook_keeps_is_used() -> None:
    flow = etl()
    html = report(flow, run_of(flow, {"load": Status.FAILED})).html
    assert set(Page(html).elements) <= ELEMENTS
    assert not re.search(r"<style|<script|<svg|class=|onclick|javascript:|\bid=", html)


def test_the_table_tells_every_step_and_the_failed_first() -> None:
    flow = etl()
    html = report(flow, run_of(flow, {"merge": Status.FAILED, "load": Status.SKIPPED})).html
    rows = re.findall(r"<tr><td.*?</tr>", html.split("reason</th>")[1].split("</table>")[0])
    names = [re.search(r"<b>(.*?)</b>", row).group(1) for row in rows]  # type: ignore[union-attr]
    assert names == ["merge", "extract", "clean", "weather", "hourly", "load"]
    assert "✗ failed" in rows[0]
    assert "KeyError: &#x27;sales&#x27;" in rows[0]
    assert all(each in rows[1] for each in ("1,204", "250 ms", "kB", "tcp://127.0.0.1:4711"))
    assert "&#x27;clean&#x27; failed" in rows[-1]


def test_a_failed_step_is_open_with_its_traceback_and_its_log() -> None:
    flow = etl()
    html = report(flow, run_of(flow, {"merge": Status.FAILED})).html
    assert html.count('open="open"') == 1
    assert "line 3, in clean" in html
    assert "merge says hello" in html


def test_a_preview_shows_names_types_cells_and_what_is_missing() -> None:
    page = Page(preview_markup(preview([{"city": "Oslo", "sales": None}])))
    assert {"city", "sales", "Oslo", "NaN"} <= set(page.texts)


def test_what_is_no_table_is_shown_as_text() -> None:
    page = Page(preview_markup(preview(object())))
    assert any("object" in text for text in page.texts)


@pytest.mark.parametrize(
    ("flow", "given"),
    [
        (wide(1000), {}),
        (chain_of(2000), {}),
        (wide(1000), {f"clean_{n}": Status.FAILED for n in range(2, 900)}),
    ],
    ids=["group", "chain", "failures"],
)
def test_two_thousand_steps_stay_below_300_kilobytes(flow: object, given: object) -> None:
    made = report(flow, run_of(flow, given))
    assert len(made.html) < 300_000
    assert "more steps; run.steps has all" in made.html
    assert "without details here" in made.html


def test_long_logs_and_tracebacks_keep_their_ends() -> None:
    long = ErrorRecord("E", "m", "start\n" + "x" * 100_000 + "\nthe end")
    state = RunState.planned("r", "f", {"a": Shape()}, 0.0)
    state = state.apply([replace(event("a", Status.FAILED, 1.0), error=long)])
    html = report(None, state).html
    assert "the end" in html
    assert len(html) < 20_000


def test_colours_of_a_terminal_are_left_out_of_logs() -> None:
    state = RunState.planned("r", "f", {"a": Shape()}, 0.0)
    told = replace(event("a", Status.COMPLETED, 1.0), log="\x1b[31mred\x1b[0m alert")
    assert "red alert" in report(None, state.apply([told])).html


def test_a_mapped_step_shows_an_element() -> None:
    flow = parse.map(range(3)) >> merge
    html = report(flow, run_of(flow)).html
    assert "parse × 3" in html
    assert "element 0" in html


def test_the_picture_of_a_flow_says_the_same_in_words() -> None:
    page = Page(picture(etl()).html)
    assert page.elements.count("img") == 1
    assert any("merge ← clean, hourly" in text for text in page.texts)


def test_the_error_of_a_run_is_shown_without_a_flow() -> None:
    state = RunState.planned("r", "f", {"a": Shape()}, 0.0).apply([event("a", Status.FAILED, 1.0)])
    assert ERROR.type_name in report(None, state).html
