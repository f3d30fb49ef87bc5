"""The same in Jupyter Notebook 7, which has one notebook on a page and no tabs."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("notebook")
pytestmark = [pytest.mark.timeout(200)]

CELLS = [
    """import pathlib, time
import nbflow
from nbflow import step
nbflow.connect();""",
    """@step
def extract(n, gate):
    while not pathlib.Path(gate).exists():
        time.sleep(0.02)
    return [{"city": "Oslo"}] * n

@step
def load(rows):
    return len(rows)

etl = extract.s(300, str(pathlib.Path('seven').resolve())) >> load
etl""",
    "run = etl.run()",
    "'the' + ' end'",
]


def status_of(page, name, status):
    page.wait_for_function(
        """([name, status]) => [...document.querySelectorAll("[data-nbflow-run]")].some((host) =>
            [...host.shadowRoot?.querySelectorAll("g.node") ?? []].some((node) =>
                node.textContent.includes(name) && node.dataset.status === status))""",
        arg=[name, status],
        timeout=60_000,
    )


def test_a_run_is_drawn_followed_and_left_as_a_report(lab, page):
    lab.write("seven.ipynb", CELLS)
    page.goto(f"{lab.address}/notebooks/seven.ipynb")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.get_by_text("Python 3 (ipykernel)").first.wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()

    # The flow draws itself, and then the run colours.
    page.locator(".jp-OutputArea img[src^='data:image/svg+xml']").first.wait_for(timeout=60_000)
    status_of(page, "extract", "running")
    (lab.root / "seven").touch()
    status_of(page, "load", "completed")
    page.get_by_text("'the end'").wait_for(timeout=60_000)

    page.locator("g.node").filter(has_text="extract").last.click()
    page.locator(".sheet td", has_text="Oslo").first.wait_for()

    saved = lab.saved(page, "seven.ipynb", "completed")
    assert "widget-view" not in saved
    notebook = json.loads(saved)
    outputs = [json.dumps(cell["outputs"]) for cell in notebook["cells"]]
    assert sum("data-nbflow" in each for each in outputs) == 1

    # Opened again, the kernel still knows of it; and where there is none, the report is there.
    page.goto(f"{lab.address}/notebooks/seven.ipynb")
    page.get_by_text("2 of 2 steps").wait_for()
    notebook["metadata"]["kernelspec"] = {"name": "gone", "display_name": "gone", "language": "x"}
    (lab.root / "later7.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    page.goto(f"{lab.address}/notebooks/later7.ipynb")
    report = page.locator(".jp-OutputArea", has_text="2 steps · ")
    report.locator("img[src^='data:image/svg+xml']").wait_for()
    assert report.get_by_text("completed").first.is_visible()
    assert page.locator(".jp-OutputArea").get_by_text("model not found").count() == 0
