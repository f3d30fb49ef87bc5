"""What a person sees: JupyterLab in a real browser, and the saved notebook afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
]

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


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(each) for each in CELLS]
    cells[4]["metadata"]["tags"] = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
        },
    )
    nbformat.write(notebook, root / "work.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {
        name: str(tmp_path_factory.mktemp(name.lower()))
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(f"--port={port}", f"--notebook-dir={root}", "--IdentityProvider.token="),
            "--LabApp.extension_manager=readonly",
        ],
        env={**os.environ, **folders},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/api/status")
        yield f"http://127.0.0.1:{port}", root
    finally:
        server.terminate()
        server.wait(timeout=30)


def _until_it_answers(address):
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address, timeout=2).close()
            return
        if time.monotonic() > deadline:
            pytest.fail("JupyterLab did not start")
        time.sleep(0.2)


@pytest.fixture
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield browser.new_page(viewport={"width": 1280, "height": 3000})
        browser.close()


def open_notebook(page, address, name):
    page.goto(f"{address}/lab/tree/{name}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")


def pictures(page):
    """Wait until every picture has been decoded, and give their widths."""
    images = page.locator(".jp-OutputArea img[src^='data:image/svg+xml']")
    images.first.wait_for()
    for number in range(images.count()):
        images.nth(number).evaluate("image => image.decode()")
    return [images.nth(n).evaluate("image => image.naturalWidth") for n in range(images.count())]


def test_flow_run_and_failure_are_seen_while_live_and_after_reopening(lab, page):
    address, root = lab
    open_notebook(page, address, "work.ipynb")
    # Before the kernel is there, "Run" would ask which one is meant.
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.get_by_text("'the end'").wait_for(timeout=90_000)

    # Live: the plan, the run and the failed run are pictures, with tables beside them.
    assert len(pictures(page)) == 3
    assert all(pictures(page))
    assert page.locator(".jp-OutputArea").get_by_text("completed").count() > 0
    assert page.locator(".jp-OutputArea").get_by_text("failed").count() > 0
    assert page.locator(".jp-OutputArea details").count() >= 2
    assert page.title() != "stolen"

    page.keyboard.press("Control+s")
    _until_saved(root / "work.ipynb")

    # In another place, without a kernel and untrusted: the same.
    notebook = json.loads((root / "work.ipynb").read_text(encoding="utf-8"))
    notebook["metadata"]["kernelspec"] = {"name": "gone", "display_name": "gone", "language": "x"}
    (root / "copy.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    open_notebook(page, address, "copy.ipynb")
    assert len(pictures(page)) >= 3
    assert all(pictures(page))
    assert page.title() != "stolen"


def _until_saved(path):
    deadline = time.monotonic() + 30
    while "data:image/svg+xml" not in path.read_text(encoding="utf-8"):
        if time.monotonic() > deadline:
            pytest.fail("the notebook was not saved")
        time.sleep(0.2)


def test_exported_page_shows_pictures_and_runs_nothing_of_the_users(tmp_path, page):
    cells = [nbformat.v4.new_code_cell(each) for each in CELLS]
    cells[4]["metadata"]["tags"] = ["raises-exception"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "work.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--execute", "--to", "html", "work.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    page.goto((tmp_path / "work.html").as_uri())

    images = page.locator("img[src^='data:image/svg+xml']")
    widths = [images.nth(n).evaluate("image => image.naturalWidth") for n in range(images.count())]
    assert len(widths) == 3
    assert all(widths)
    assert page.title() != "stolen"
    assert Path(tmp_path / "work.html").stat().st_size < 2_000_000
