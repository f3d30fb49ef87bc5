"""How large the panel shows a picture, in a real browser; this needs no kernel."""

from __future__ import annotations

import json
from pathlib import Path

from gallery import chain_of, named, planned, run_of

import nbflow.notebook
from nbflow import Flow
from nbflow.notebook.glance import Glance
from nbflow.record.events import Status

SCRIPT = Path(nbflow.notebook.__file__).with_name("panel.js")
# What anywidget gives a widget in the page.
SHOW = """
const whole = JSON.parse(document.getElementById("whole").textContent);
const model = { get: () => whole, on() {}, send() {} };
panel.render({ model, el: document.getElementById("place") });
"""


def shown(page, flow: Flow, state=None):
    """Show a run in a page of its own."""
    state = state or run_of(flow)
    glance = Glance(flow, state)
    glance.look(state, 1010.0)
    whole = json.dumps(glance.whole).replace("<", "\\u003c")
    script = SCRIPT.read_text(encoding="utf-8").replace("export default", "const panel =")
    page.set_content(
        f'<div id="place"></div><script type="application/json" id="whole">{whole}</script>'
        f'<script type="module">{script}\n{SHOW}</script>'
    )
    page.locator("svg").wait_for()


def scale(page) -> float:
    return page.evaluate(
        """() => {
            const svg = document.getElementById("place").shadowRoot.querySelector("svg");
            return svg.clientWidth / (svg.viewBox.baseVal.width * 96 / 72);
        }"""
    )


def until_scale_is(page, least: float, most: float) -> None:
    page.wait_for_function(
        """([least, most]) => {
            const svg = document.getElementById("place").shadowRoot.querySelector("svg");
            const scale = svg.clientWidth / (svg.viewBox.baseVal.width * 96 / 72);
            return least <= scale && scale <= most;
        }""",
        arg=[least, most],
        timeout=20_000,
    )


def resize(page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})


def test_a_picture_is_as_wide_as_the_panel_as_long_as_it_is_legible(page):
    resize(page, 1100)
    shown(page, chain_of(5))
    until_scale_is(page, 0.78, 0.97)
    view = page.locator(".view")
    assert view.evaluate("each => each.scrollWidth <= each.clientWidth")

    resize(page, 2000)
    until_scale_is(page, 0.99, 1.01)

    # What would be illegible scrolls.
    resize(page, 400)
    until_scale_is(page, 0.74, 0.76)
    assert view.evaluate("each => each.scrollWidth > each.clientWidth")


def test_a_size_that_was_chosen_stays(page):
    resize(page, 1100)
    shown(page, chain_of(5))
    until_scale_is(page, 0.78, 0.97)

    page.get_by_label("Larger").click()
    chosen = scale(page)
    resize(page, 800)
    page.wait_for_function("window.innerWidth === 800")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")

    assert abs(scale(page) - chosen) < 0.01


def test_what_failed_is_brought_into_view(page):
    flow = chain_of(4) >> named("broken")
    resize(page, 500)
    shown(page, flow, run_of(flow, {"broken": Status.FAILED}))
    until_scale_is(page, 0.74, 0.76)
    step = page.locator("g.node").filter(has_text="broken")

    def right() -> float:
        return step.bounding_box()["x"] + step.bounding_box()["width"]

    assert right() > 500
    page.locator(".problems button").first.click()
    assert 0 < step.bounding_box()["x"]
    assert right() <= 500


def test_a_long_chain_is_shown_in_rows_while_it_runs(page):
    resize(page, 1250)
    flow = chain_of(40)
    shown(page, flow, planned(flow))
    until_scale_is(page, 0.74, 1.01)
    view = page.locator(".view")
    assert view.evaluate("each => each.scrollWidth <= each.clientWidth")
