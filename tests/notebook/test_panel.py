"""The live panel, in a real JupyterLab in a real browser."""

from __future__ import annotations

import json
import time

import pytest

pytestmark = [pytest.mark.timeout(280)]

BEGIN = """import pathlib, time
import nbflow
from nbflow import step
nbflow.connect();

# Workers may be elsewhere.
here = pathlib.Path.cwd()

def until(name):
    while not (here / name).exists():
        time.sleep(0.02)
"""

HOSTILE = "<img src=x onerror=document.title='stolen'>"

ETL = f"""
@step
def extract(n):
    "Read the flights."
    until("extract")
    return [{{"city": "Oslo", "{HOSTILE}": "{HOSTILE}"}}] * n

@step(name="{HOSTILE}")
def clean(rows):
    until("clean")
    print("{HOSTILE}")
    return rows[:2]

@step
def fail(rows):
    raise ValueError("{HOSTILE}")

@step
def load(rows):
    return len(rows)

cleaned = extract.s(300) >> clean
run = nbflow.group(cleaned >> load, cleaned >> fail).run(raise_on_error=False)
"""


def node(page, name):
    return page.locator("g.node").filter(has_text=name).last


def until_it_is(page, name, status):
    page.wait_for_function(
        """([name, status]) => [...document.querySelectorAll("[data-nbflow-run]")].some((host) =>
            [...host.shadowRoot?.querySelectorAll("g.node") ?? []].some((node) =>
                node.textContent.includes(name) && node.dataset.status === status))""",
        arg=[name, status],
        timeout=60_000,
    )


def is_busy(page):
    return page.locator(".jp-InputPrompt").filter(has_text="[*]").count() > 0


@pytest.fixture
def gates(lab):
    gates = [lab.root / name for name in ("extract", "clean", "go", "first", "second", "mended")]
    for gate in gates:
        gate.unlink(missing_ok=True)
    yield lambda name: (lab.root / name).touch()
    # Whoever waits would keep a thread of the cluster, which others use after this.
    for gate in gates:
        gate.touch()


def test_a_run_is_followed_and_looked_into_while_its_cell_is_blocked(lab, page, gates):
    lab.write("live.ipynb", [BEGIN, ETL, "'the' + ' end'"])
    lab.run_all(page, "live.ipynb")

    # Colours change.
    until_it_is(page, "extract", "running")
    until_it_is(page, "load", "pending")
    gates("extract")
    until_it_is(page, "extract", "completed")
    until_it_is(page, "onerror", "running")
    assert is_busy(page)

    # A click shows the table at once: it needs no kernel.
    begun = time.monotonic()
    node(page, "extract").click()
    page.locator(".sheet td", has_text="Oslo").first.wait_for()
    assert time.monotonic() - begun < 5.0  # a guard; it is far below a second
    assert page.locator(".sheet").get_by_text("the first 10 × 2 of 300 × 2").is_visible()
    page.get_by_text("what it does").click()
    assert page.locator(".sheet").get_by_text("Read the flights.").first.is_visible()
    assert is_busy(page)

    # The keyboard does it too, and does not write into the notebook.
    cells = page.locator(".jp-Cell").count()
    node(page, "load").focus()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    assert page.locator(".sheet h4").inner_text() == "load"
    assert page.locator(".jp-Cell").count() == cells

    gates("clean")
    page.get_by_text("'the end'").wait_for(timeout=60_000)
    until_it_is(page, "fail", "failed")
    assert any("300 × 2" in each for each in page.locator("g.edge").all_text_contents())
    # What failed comes first, and stays clickable.
    page.locator(".problems button").first.click()
    assert page.locator(".sheet").get_by_text("ValueError").first.is_visible()
    assert page.title() != "stolen"

    # What is saved needs neither the panel nor a kernel.
    saved = lab.saved(page, "live.ipynb", "failed")
    assert "widget-view" not in saved
    notebook = json.loads(saved)
    notebook["metadata"]["kernelspec"] = {"name": "gone", "display_name": "gone", "language": "x"}
    (lab.root / "later.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    lab.open(page, "later.ipynb")
    page.locator(".jp-OutputArea img[src^='data:image/svg+xml']").first.wait_for()
    assert page.locator(".jp-OutputArea").get_by_text("model not found").count() == 0
    assert page.locator(".jp-OutputArea").get_by_text("failed").count() > 0
    assert page.title() != "stolen"


def test_what_is_saved_while_it_runs_reads_well(lab, page, gates):
    lab.write("early.ipynb", [BEGIN, ETL])
    lab.run_all(page, "early.ipynb")
    until_it_is(page, "extract", "running")

    saved = lab.saved(page, "early.ipynb", "data:image/svg+xml")

    assert "widget-view" not in saved
    assert "running" in saved
    gates("extract")
    gates("clean")
    until_it_is(page, "fail", "failed")


def test_the_stop_button_cancels_the_run_while_its_cell_is_blocked(lab, page, gates):
    cells = [
        BEGIN,
        """@step
def first():
    until("go")
    return 1

@step
def second(x):
    return x

(first >> second).run()""",
        "nbflow.last_run().wait(30); str(nbflow.last_run().status) + ' at the end'",
    ]
    lab.write("stop.ipynb", cells, may_fail=(1,))
    lab.run_all(page, "stop.ipynb")
    until_it_is(page, "first", "running")

    page.locator("button.stop").click()
    page.get_by_text("stopping; what runs ends first").wait_for()
    gates("go")

    page.get_by_text("'cancelled at the end'").wait_for(timeout=60_000)
    until_it_is(page, "second", "cancelled")


def test_large_runs_do_not_freeze_the_page_and_two_panels_agree(lab, page, gates):
    cells = [
        BEGIN,
        """@step
def slow(x):
    time.sleep(0.002)
    return x

flow = nbflow.group(*[slow.s(n) >> slow.options(name="next") for n in range(1_000)])
run = flow.submit()""",
        "run.panel()",
        "run.panel()",
        "run.wait(120); 'half way'",
        "range(50_000) >> step(lambda x: x).named('tiny').map() >> step(len)",
        "_.run(display='live'); 'the' + ' end'",
    ]
    lab.write("large.ipynb", cells)
    lab.open(page, "large.ipynb")
    page.evaluate(
        """() => {
            window.longest = 0;
            new PerformanceObserver((list) => {
                for (const each of list.getEntries()) {
                    window.longest = Math.max(window.longest, each.duration);
                }
            }).observe({ entryTypes: ["longtask"] });
        }"""
    )
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.evaluate("window.longest = 0")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_text("'the end'").wait_for(timeout=150_000)

    panels = page.locator("[data-nbflow-run]")
    assert panels.count() >= 2
    texts = [panels.nth(n).locator(".head").inner_text() for n in range(2)]
    assert all("2000 of 2000 steps" in each for each in texts)
    panels.nth(0).locator("g.node").first.click()
    assert panels.nth(0).locator(".sheet").is_visible()
    assert not panels.nth(1).locator(".sheet").is_visible()
    # A guard for machines that do much else; 170 ms were measured on one that did.
    assert page.evaluate("window.longest") < 1_000


MENDED = """
%load_ext nbflow

@step
def slow():
    until("second" if (here / "mended").exists() else "first")
    if not (here / "mended").exists():
        raise ValueError("no luck")
    return 1

flow = (slow.s() >> step(str)).named("mended")
"""


def test_a_run_that_goes_on_has_a_panel_of_its_own(lab, page, gates):
    lab.write(
        "resumed.ipynb",
        [
            *(BEGIN, MENDED, "run = %flow run flow --no-raise"),
            "(here / 'mended').touch()",
            *("run = %flow resume run", "'the' + ' end'"),
        ],
    )
    lab.run_all(page, "resumed.ipynb")
    heads = page.locator("[data-nbflow-run] .head")
    until_it_is(page, "slow", "running")
    gates("first")
    until_it_is(page, "slow", "failed")
    until_it_is(page, "slow", "running")
    # The first one stays as it ended, while the second goes on.
    assert ["failed" in each for each in heads.all_inner_texts()] == [True, False]
    gates("second")
    page.get_by_text("'the end'").wait_for(timeout=60_000)
    until_it_is(page, "slow", "completed")
    assert ["completed" in each for each in heads.all_inner_texts()] == [False, True]
