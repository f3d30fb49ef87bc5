"""Whatever a step gives, says or is called: it is shown, and does nothing to whoever looks."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.timeout(280)]

FOLLOWED = """
import pathlib, time
import nbflow
from nbflow import step

@step
def slow():
    while not pathlib.Path(GATE).exists():
        time.sleep(0.02)
    return 1

(slow.s() >> step(str)).run()
"""


@pytest.fixture
def gate(lab):
    path = lab.root / "gate"
    path.unlink(missing_ok=True)
    yield path
    path.touch()


def followed(gate):
    return FOLLOWED.replace("GATE", repr(str(gate)))


def head(page):
    return page.locator("[data-nbflow-run] .head").first


def until_it_says(page, text):
    head(page).get_by_text(text).first.wait_for(timeout=60_000)


STOLEN = "window.top.stolen=1"
HOSTILE = (
    f"</td></pre></title></style><script>{STOLEN}</script><img src=x onerror='{STOLEN}'>"
    f'"><svg onload={STOLEN}><a href="javascript:{STOLEN}">[x](javascript:{STOLEN})</a>'
    "${window.top.stolen=1}]]>--><iframe srcdoc='<script>window.top.stolen=1</script>'></iframe>"
)
# What stands for every object in JavaScript.
INHERITED = ("__proto__", "constructor", "toString")

FLOW = f"""
import logging, sys, warnings
import pandas as pd
import nbflow
from nbflow import param, step

BAD = {HOSTILE!r}

class Bad:
    def __repr__(self):
        return BAD
    def _repr_html_(self):
        return BAD
    def _repr_mimebundle_(self, **_):
        return {{"text/html": BAD, "application/javascript": {STOLEN!r}}}

class Error(Exception):
    pass

Error.__name__ = BAD

def load(n, given=BAD):
    return pd.DataFrame({{BAD: [BAD, Bad(), b"x"] * n, "b": [BAD] * 3 * n}}, index=[BAD] * 3 * n)

def parse(item):
    print(BAD, item)
    if item == 1:
        raise Error(BAD)
    return {{BAD: BAD}}

def say(df):
    print(BAD)
    sys.stderr.write("\\x1b]8;;javascript:" + {STOLEN!r} + "\\x07link\\x1b]8;;\\x07")
    logging.getLogger(BAD).warning(BAD)
    warnings.warn(BAD)
    return Bad()

def fail(x):
    raise Error(BAD, Bad())

for each in (load, parse, say, fail):
    each.__doc__ = BAD

loaded = 4 >> step(load, name=BAD).s(given=BAD)
parsed = [0, 1] >> step(parse, name="parse " + BAD).map(key=lambda n: f"{{n}} {{BAD}}", on_error="collect")
said = loaded >> step(say, name="say " + BAD)
names = [said >> step(str, name=each) for each in {INHERITED}]
failed = said >> step(fail, name="fail " + BAD)
flow = [parsed, *names, failed] >> step(len)
flow = flow.named(BAD)
"""

SHOWN = (
    "flow",
    "nbflow.last_run() if flow.run(raise_on_error=False) else None",
    "run = nbflow.last_run(); run.panel()",
    "run.timeline()",
    "run.rows()",
    "run.steps",
    "run.diff(flow.run(raise_on_error=False, display=None))",
    "print(run.log('say ' + BAD)); run.preview('say ' + BAD)",
    "run[BAD]",
    "run.table(BAD)",
    "run.dead_letters",
    "%load_ext nbflow",
    "%flow rows",
    "%flow status",
    "from IPython.display import display; display({'text/vnd.mermaid': flow.to_mermaid()}, raw=True)",
    "display({'image/svg+xml': run.timeline().svg}, raw=True)",
    "flow.run()",
    "'the' + ' end'",
)

# Whether anything of theirs has run, or would run at a click, anywhere on a page.
HARM = """() => {
    const found = [];
    const look = (root) => {
        for (const each of root.querySelectorAll("*")) {
            if (each.shadowRoot) look(each.shadowRoot);
            const isFrame = each.matches("iframe, object, embed") && /stolen/.test(each.outerHTML);
            const isScript = each.matches("script") && /^\\s*window.top.stolen/.test(each.textContent);
            if (isFrame || isScript) found.push(each.outerHTML);
            for (const { name, value } of each.attributes) {
                if (/^on/i.test(name) && /stolen/.test(value)) found.push(`${name}=${value}`);
                if (/^(xlink:)?href|src$/i.test(name) && /^\\s*javascript:/i.test(value)) found.push(value);
            }
        }
    };
    look(document);
    return [window.top.stolen ?? "nothing", found];
}"""


def assert_harmless(page):
    assert page.evaluate(HARM) == ["nothing", []]


def test_nothing_that_a_flow_shows_runs_on_the_page(lab, page):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    lab.write("hostile.ipynb", [FLOW, *SHOWN], may_fail=(len(SHOWN) - 1,))
    lab.run_all(page, "hostile.ipynb")
    page.get_by_text("'the end'").wait_for(timeout=120_000)
    page.screenshot(path="/tmp/h26/hostile1.png", full_page=True)

    # All that can be opened or clicked is.
    panel = page.locator("[data-nbflow-run]").first
    nodes = panel.locator("g.node")
    titles = []
    for number in range(nodes.count()):
        nodes.nth(number).dispatch_event("click")
        titles.append(panel.locator(".sheet h4").inner_text())
        for each in panel.locator(".sheet details").all():
            each.evaluate("each => (each.open = true)")
        assert_harmless(page)
    assert set(INHERITED) <= set(titles)
    for each in page.locator("details").all():
        each.evaluate("each => (each.open = true)")
    page.screenshot(path="/tmp/h26/hostile2.png", full_page=True)
    assert_harmless(page)
    # It is all there to be read.
    assert page.locator(".sheet").first.get_by_text("window.top.stolen=1").count() > 0


def test_the_page_of_a_report_runs_nothing(tmp_path, page, on_cluster):
    (tmp_path / "flows.py").write_text(FLOW, encoding="utf-8")
    command = [sys.executable, "-m", "nbflow", "run", "flows.py:flow", "--report", "report.html"]
    done = subprocess.run(
        command, cwd=tmp_path, env=on_cluster, capture_output=True, text=True, timeout=120
    )
    report = tmp_path / "report.html"
    assert report.exists(), done.stderr

    page.goto(report.as_uri())

    for each in page.locator("details").all():
        each.evaluate("each => (each.open = true)")
    assert page.get_by_text("window.top.stolen=1").count() > 0
    assert_harmless(page)


def test_a_panel_says_that_its_kernel_was_restarted_and_a_new_run_has_a_fresh_one(lab, page, gate):
    lab.write("restarted.ipynb", [followed(gate)])
    lab.run_all(page, "restarted.ipynb")
    until_it_says(page, "running")

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()

    until_it_says(page, "kernel stopped")
    said = page.locator("[data-nbflow-run] .lost").inner_text()
    assert "The kernel has stopped" in said
    assert "nbflow.load(" in said
    assert not page.locator("[data-nbflow-run] .stop").is_visible()
    page.screenshot(path="/tmp/h26/restarted.png")
    # What was known is there to be looked at all the same.
    page.locator("g.node").first.click()
    page.locator(".sheet").get_by_text("the kernel has stopped").wait_for()

    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    until_it_says(page, "running")
    gate.touch()
    until_it_says(page, "completed")
    assert page.locator("[data-nbflow-run]").count() == 1
    assert not page.locator("[data-nbflow-run] .lost").is_visible()


def test_a_panel_says_that_its_kernel_has_died(lab, page, gate):
    died = "import os, threading\nthreading.Timer(3, os._exit, (1,)).start()"
    lab.write("died.ipynb", [died + followed(gate)])
    lab.run_all(page, "died.ipynb")

    until_it_says(page, "running")
    until_it_says(page, "kernel stopped")
