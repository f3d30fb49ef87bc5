"""What a person sees: JupyterLab in a real browser, and the saved notebook afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = [pytest.mark.timeout(240)]

CELLS = [
    "import pandas as pd\nfrom nbflow import step\n%load_ext nbflow",
    """@step
def load(n):
    return pd.DataFrame({"n": range(n), "<b>x</b>": "<script>document.title='stolen'</script>"})

@step(name="<img src=x onerror=document.title='stolen'>")
def clean(df):
    print("<script>document.title='stolen'</script>")
    return df.head(3)

@step
def fail(df):
    raise ValueError("<script>document.title='stolen'</script>")

flow = load.s(5) >> clean""",
    "flow",
    "%flow run flow",
    "%flow run (flow>>fail)",
    "'the' + ' end'",
]


def pictures(page):
    """Wait until every picture has been decoded, and give their widths."""
    images = page.locator(".jp-OutputArea img[src^='data:image/svg+xml']")
    images.first.wait_for()
    for number in range(images.count()):
        images.nth(number).evaluate("image => image.decode()")
    return [images.nth(n).evaluate("image => image.naturalWidth") for n in range(images.count())]


def test_flow_run_and_failure_are_seen_while_live_and_after_reopening(lab, page):
    lab.write("work.ipynb", CELLS, may_fail=(4,))
    lab.run_all(page, "work.ipynb")
    page.get_by_text("'the end'").wait_for(timeout=90_000)

    # Live: the plan, the run and the failed run are pictures, with tables beside them.
    assert len(pictures(page)) == 3
    assert all(pictures(page))
    assert page.locator(".jp-OutputArea").get_by_text("completed").count() > 0
    assert page.locator(".jp-OutputArea").get_by_text("failed").count() > 0
    assert page.locator(".jp-OutputArea details").count() >= 2
    assert page.title() != "stolen"

    notebook = json.loads(lab.saved(page, "work.ipynb", "data:image/svg+xml"))

    # In another place, without a kernel and untrusted: the same.
    notebook["metadata"]["kernelspec"] = {"name": "gone", "display_name": "gone", "language": "x"}
    (lab.root / "copy.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    lab.open(page, "copy.ipynb")
    assert len(pictures(page)) >= 3
    assert all(pictures(page))
    assert page.title() != "stolen"


def test_exported_page_shows_pictures_and_runs_nothing_of_the_users(tmp_path, page, on_cluster):
    cells = [nbformat.v4.new_code_cell(each) for each in CELLS]
    cells[4]["metadata"]["tags"] = ["raises-exception"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "work.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "work.ipynb"]
    subprocess.run(command, cwd=tmp_path, env=on_cluster, check=True, capture_output=True)

    page.goto((tmp_path / "work.html").as_uri())

    images = page.locator("img[src^='data:image/svg+xml']")
    widths = [images.nth(n).evaluate("image => image.naturalWidth") for n in range(images.count())]
    assert len(widths) == 3
    assert all(widths)
    assert page.title() != "stolen"
    assert Path(tmp_path / "work.html").stat().st_size < 2_000_000
